"""The log file's codec and scan, on bytes alone."""

import struct
from collections.abc import Sequence
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk.broadcast.records import Entry, EntryKind, Promise, Record, SnapshotRef, Truncate
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import make_zxid
from zk.storage.preamble import UnknownFormatError, UnreadableFileError
from zk.storage.segment import (
    SEGMENT_MAGIC,
    Identity,
    Scan,
    SegmentHeader,
    decode_header,
    encode_batch,
    encode_header,
    encode_records,
    scan,
)

zxids = st.builds(make_zxid, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
epochs = st.integers(0, 2**32 - 1).map(Epoch)
epoch_ends = st.lists(st.tuples(epochs, zxids), max_size=3).map(tuple)
snapshot_refs = st.builds(SnapshotRef, zxids, st.text(), st.text(), epoch_ends, st.binary(max_size=20), st.booleans())
records = st.one_of(
    st.builds(Entry, zxids, st.sampled_from(EntryKind), st.binary(max_size=80)),
    st.builds(Promise, epochs),
    st.builds(Truncate, zxids),
    snapshot_refs,
)
batches = st.lists(st.lists(records, min_size=1, max_size=5).map(tuple), max_size=6)
headers = st.builds(
    SegmentHeader,
    st.integers(1, 10**10 - 1),
    st.none() | st.tuples(st.integers(1, 10**10 - 1), st.integers(0, 2**40)),
    st.builds(Identity, st.text(), st.integers(1, 255).map(ServerId)),
    st.text(),
    epochs,
    zxids,
    epoch_ends,
    st.binary(max_size=20),
    st.none() | snapshot_refs,
    st.just(0),
)
HEADER = SegmentHeader(
    7, (6, 400), Identity("test", ServerId(1)), "disk", Epoch(3), make_zxid(3, 9), ((Epoch(3), make_zxid(3, 9)),), b"m",
    None, 0,
)  # fmt: skip


def write(parts: Sequence[tuple[Record, ...]], syncs: Sequence[bool] = ()) -> tuple[bytes, list[int]]:
    """A segment with these batches, and the offset behind each. `syncs` says behind which the log was synced."""
    data, seed = encode_header(HEADER)
    chain, first, durable_upto, ends = seed, 0, 0, []
    for index, part in enumerate(parts):
        batch, chain = encode_batch(encode_records(part), first, durable_upto, chain, seed)
        data += batch
        first += len(part)
        ends.append(len(data))
        if index < len(syncs) and syncs[index]:
            durable_upto = len(data)
    return data, ends


def held(found: Scan) -> list[tuple[Record, ...]]:
    return [batch.records for batch in found.batches]


@given(headers)
@settings(deadline=None)
def test_a_header_comes_back_as_it_was(header: SegmentHeader) -> None:
    data, crc = encode_header(header)
    assert decode_header(data + b"rest") == (header, len(data), crc)


@given(batches, st.integers(0, 5_000))
@settings(deadline=None)
def test_batches_come_back_as_they_were(parts: list[tuple[Record, ...]], zeroes: int) -> None:
    data, ends = write(parts)
    found = scan("log", data + bytes(zeroes))
    assert (held(found), found.end, found.torn, found.defect) == (parts, [len(write([])[0]), *ends][-1], False, None)


@given(batches, st.data())
@settings(deadline=None)
def test_a_log_cut_anywhere_is_a_torn_tail_behind_whole_batches(
    parts: list[tuple[Record, ...]], draw: st.DataObject
) -> None:
    data, ends = write(parts)
    start = len(write([])[0])
    cut = draw.draw(st.integers(start, len(data)))
    left = data[:cut] + bytes(draw.draw(st.integers(0, 100)))
    found = scan("log", left)
    whole = sum(left[:end] == data[:end] for end in ends)  # what was cut off a batch may have been zeroes
    assert found.defect is None
    assert held(found) == parts[:whole]
    assert found.end == [start, *ends][whole]
    assert found.torn == any(data[found.end : cut])


@given(
    st.lists(st.lists(records, min_size=1, max_size=3).map(tuple), min_size=2, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.data(),
)
@settings(deadline=None)
def test_a_flipped_bit_is_corruption_exactly_if_it_was_once_durable(
    parts: list[tuple[Record, ...]], syncs: list[bool], draw: st.DataObject
) -> None:
    data, ends = write(parts, syncs)
    start = len(write([])[0])
    # what a batch behind it says was synced; the last batch has nothing behind it
    durable = [0] + [end for end, synced in zip(ends[:-1], syncs, strict=False) if synced]
    at = draw.draw(st.integers(start, len(data) - 1))
    flipped = bytearray(data)
    flipped[at] ^= 1 << draw.draw(st.integers(0, 7))
    hit = sum(end <= at for end in ends)
    # a header that is hit itself can't testify
    witnesses = [
        upto
        for index, upto in enumerate([0, *[max([0, *(e for e in durable if e <= end)]) for end in ends[:-1]]])
        if index > hit
    ]
    found = scan("log", bytes(flipped))
    assert held(found) == parts[:hit]
    assert found.end == [start, *ends][hit]
    assert (found.defect is not None) == any(upto > found.end for upto in witnesses)
    if found.defect is not None:
        assert (found.defect.file, found.defect.offset) == ("log", found.end)


@given(batches, st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), max_size=8))
@settings(deadline=None)
def test_no_damage_makes_the_scan_fail_or_invent(
    parts: list[tuple[Record, ...]], changes: list[tuple[int, int]]
) -> None:
    data, _ = write(parts)
    start = len(write([])[0])
    changed = bytearray(data)
    for at, byte in changes:
        if start + at < len(changed):
            changed[start + at] = byte
    found = held(scan("log", bytes(changed)))
    assert found == parts[: len(found)]


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_any_bytes_are_a_header_or_a_clear_error(data: bytes) -> None:
    with pytest.raises((UnreadableFileError, UnknownFormatError)):
        decode_header(data)


PARTS = [(Entry(make_zxid(3, n), EntryKind.TXN, b"x" * 40),) for n in range(10, 14)]


def test_a_later_batch_alone_proves_nothing() -> None:
    data, ends = write(PARTS)  # never synced: pages reached the disk in any order
    found = scan("log", data[: ends[0]] + bytes(ends[1] - ends[0]) + data[ends[1] :])
    assert (held(found), found.torn, found.defect) == (PARTS[:1], True, None)


def test_a_later_batch_that_knew_of_the_sync_proves_corruption() -> None:
    data, ends = write(PARTS, [False, True])
    found = scan("log", data[: ends[0]] + bytes(ends[1] - ends[0]) + data[ends[1] :])
    assert found.defect is not None
    assert str(found.defect) == (
        f"log, offset {ends[0]}: no valid batch begins here, but was once durable: the batch at offset {ends[1]} was"
        f" written when all up to offset {ends[1]} had been synced"
    )


def test_the_mark_proves_that_missing_zeroes_are_corruption() -> None:
    data, ends = write(PARTS)
    lost = data[: ends[2]] + bytes(1_000)
    assert scan("log", lost, marked_upto=ends[2]).defect is None
    defect = scan("log", lost, marked_upto=ends[3]).defect
    assert defect is not None
    assert str(defect) == (
        f"log, offset {ends[2]}: no valid batch begins here, but was once durable: the mark file says that all up"
        f" to offset {ends[3]} was synced"
    )


def test_a_later_segment_proves_all_up_to_where_it_continues() -> None:
    data, ends = write(PARTS)
    assert scan("log", data, limit=ends[3]).defect is None
    assert held(scan("log", data, limit=ends[1])) == PARTS[:2]
    assert scan("log", data[: ends[1]], limit=ends[2]).defect is not None


def test_a_batch_of_another_place_does_not_count() -> None:
    data, ends = write(PARTS)
    again = data[: ends[1]] + data[ends[0] : ends[1]]
    assert held(scan("log", again)) == PARTS[:2]


def test_a_batch_of_another_segment_does_not_count() -> None:
    data, ends = write(PARTS)
    other, _ = encode_header(
        SegmentHeader(8, (7, ends[3]), HEADER.identity, "disk", Epoch(3), Zxid(0), (), b"", None, 0)
    )
    start = len(write([])[0])
    assert held(scan("log", other + data[start:])) == []


def test_a_later_format_is_told_from_damage() -> None:
    head = struct.pack(">8sII", SEGMENT_MAGIC, 2, 2)
    data = head + crc32(b"{}", crc32(head)).to_bytes(4, "big") + b"{}"
    with pytest.raises(UnknownFormatError, match="the file has format 2, this program knows format 1 only"):
        decode_header(data)
    with pytest.raises(UnreadableFileError, match="wrong checksum"):
        decode_header(data[:-1] + b"!")
