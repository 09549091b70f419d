"""Cutting a stream into arrays, whoever sends it and however it is cut."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk.wire.framing import SHORT_BYTES, FrameReader, ProtocolError
from zk.wire.packing import pack

KIB = 1024
MIB = 1024 * KIB

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=20) | st.binary(max_size=300)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=10)
arrays = st.lists(values, max_size=6).map(tuple)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[begin:end] for begin, end in pairwise(edges)]


@given(st.lists(arrays, max_size=8), st.lists(st.integers(0, 10_000), max_size=10))
def test_arrays_come_out_whole_wherever_the_stream_is_cut(frames: list[tuple[object, ...]], cuts: list[int]) -> None:
    reader = FrameReader(MIB)
    data = b"".join(pack(frame) for frame in frames)
    assert [frame for piece in pieces_of(data, cuts) for frame in reader.feed(piece)] == frames
    assert reader.buffered_bytes == 0


def test_a_stream_may_arrive_byte_by_byte() -> None:
    frames = [(1, "abc", (b"x" * 300,)), (), (2, None)]
    data = b"".join(pack(frame) for frame in frames)
    reader = FrameReader(KIB)
    assert [frame for at in range(len(data)) for frame in reader.feed(data[at : at + 1])] == frames


@pytest.mark.parametrize("size", [10, SHORT_BYTES, 5_000])
def test_a_frame_is_taken_up_to_its_limit_and_not_beyond(size: int) -> None:
    frame = pack((bytes(size),))
    assert FrameReader(len(frame)).feed(frame) == [(bytes(size),)]
    with pytest.raises(ProtocolError, match="the limit for one"):
        FrameReader(len(frame) - 1).feed(frame)
    cautious = FrameReader(len(frame) - 1)
    assert cautious.feed(frame[:-1]) == []
    with pytest.raises(ProtocolError, match="the limit for one"):
        cautious.feed(frame[-1:])


def test_frames_within_the_limit_may_arrive_in_one_piece_beyond_it() -> None:
    frame = (bytes(100),)
    assert FrameReader(128).feed(pack(frame) * 50) == [frame] * 50


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xc1", "not MessagePack"),
        (b"\x93\x01\xc1", "not MessagePack"),
        (b"\x91\xa1\xff", "utf-8"),
        (b"\x91\x81\x01\x01", "not MessagePack"),
        (b"\x91\xd4\x01\x00", "not MessagePack"),
        (b"\x91\xd6\xff\x00\x00\x00\x00", "not MessagePack"),
        (b"\x05", "expected an array"),
        (b"\x90\xc0", "expected an array"),
        (b"\xa3abc", "expected an array"),
        (b"\x91" * 5_000 + b"\x00", "not MessagePack"),
    ],
    ids=[
        "unused byte",
        "nested unused byte",
        "no utf-8",
        "map",
        "extension",
        "timestamp",
        "int",
        "nil",
        "text",
        "deep",
    ],
)
def test_what_is_no_array_of_plain_values_ends_the_stream(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        FrameReader(MIB).feed(data)


@given(st.lists(st.binary(max_size=700), max_size=5))
def test_any_bytes_give_arrays_or_a_protocol_error_and_are_never_kept_beyond_the_limit(received: list[bytes]) -> None:
    reader = FrameReader(KIB)
    try:
        for data in received:
            for frame in reader.feed(data):
                assert type(frame) is tuple
            assert reader.buffered_bytes <= KIB
    except ProtocolError:
        return


HOSTILE = {
    "arrays of 65,535 arrays of …": b"\xdc\xff\xff",
    "arrays of 2**32 - 1 arrays of …": b"\xdd\xff\xff\xff\xff",
    "arrays of 2,000 arrays of …": b"\xdc\x07\xd0",
}


@pytest.mark.parametrize("header", HOSTILE.values(), ids=HOSTILE.keys())
@pytest.mark.parametrize("count", [100, 800])
def test_what_headers_promise_takes_no_memory(header: bytes, count: int) -> None:
    reader = FrameReader(4 * MIB)
    tracemalloc.start()
    try:
        reader.feed(header * count)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 256 * KIB
    assert reader.buffered_bytes == len(header) * count


def test_a_long_binary_that_trickles_in_is_not_parsed_again_and_again() -> None:
    frame = pack((bytes(4 * MIB - 100),))
    reader = FrameReader(4 * MIB)
    last = len(frame) - 20_000
    assert reader.feed(frame[:last]) == []
    for at in range(last, len(frame) - 1):
        assert reader.feed(frame[at : at + 1]) == []
    assert reader.feed(frame[-1:]) == [(bytes(4 * MIB - 100),)]
