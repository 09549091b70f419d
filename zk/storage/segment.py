"""The log file: pure codec and scan. Bytes in, records and an exact verdict out; it never touches a disk.

A segment is a header, then batches, then zeroes:

    header  magic, format, length, crc, JSON (SegmentHeader)
    batch   magic, body length, number of its first record, durable_upto, chain, body crc, header crc; then the body
    body    records: u32 length, u8 kind, u64 zxid, payload

Every batch header's crc starts from the crc of the segment's header, and `chain` is the header crc of the batch before:
a batch counts only in its own segment and place. `durable_upto` is the offset known to be synced when the batch was
written. It is what tells a torn tail from corruption: whatever is unreadable below a later batch's `durable_upto` was
once durable.

Read next: `zk.storage.recovery`, which reads whole logs, and `zk.storage.store`, which writes them.
"""

import json
import struct
from collections.abc import Sequence
from typing import assert_never
from zlib import crc32

from librt.strings import BytesWriter

from zk.broadcast.records import Entry, EntryKind, EpochEnds, Promise, Record, SnapshotRef, Truncate
from zk.model.limits import MIB
from zk.model.record import Epoch, ServerId, Zxid, record
from zk.storage.errors import Defect
from zk.storage.preamble import (
    UnreadableFileError,
    decode_preamble,
    encode_preamble,
    epochs_from,
    snapshot_fields,
    snapshot_from,
)
from zk.wire.unsigned import write_u32, write_u64

SEGMENT_MAGIC = b"zk log\r\n"
BATCH_MAGIC = b"\xf5zkB"
_BATCH = struct.Struct(">4sIQQIII")  # see the module's docstring
_BATCH_UNCHECKED_BYTES = _BATCH.size - 4  # what the crc, its last field, is of
_RECORD = struct.Struct(">IBQ")  # length of the payload, kind, zxid (or epoch)
_ZEROES = bytes(1 * MIB)

_PROMISE, _TRUNCATE, _SNAPSHOT = 16, 17, 18  # kinds of records beside EntryKind's
_ENTRY_KINDS = {int(kind): kind for kind in EntryKind}


@record
class Identity:
    """Whose data a directory holds: of which ensemble (a name that the operator chose), of which of its servers."""

    cluster: str
    server_id: ServerId


@record
class SegmentHeader:
    """What a segment says of itself and of all that came before it.

    `previous` names the segment that this one continues, and the offset up to which that one counts; None for the
    first of a log. The base_… fields say where the log stood when this segment began, `snapshot` is the newest snapshot
    that it named by then. `born_bytes` of batches were durable behind the header before the file had its name.
    """

    number: int
    previous: tuple[int, int] | None
    identity: Identity
    disk_uuid: str
    accepted_epoch: Epoch
    base_zxid: Zxid
    base_epochs: EpochEnds
    membership: bytes
    snapshot: SnapshotRef | None
    born_bytes: int


@record
class Batch:
    """A batch as it lies in its segment, from `offset` to `end`."""

    offset: int
    end: int
    records: tuple[Record, ...]


@record
class Scan:
    """What a segment holds. Its batches are whole and in order up to `end`.

    `durable_upto` is the offset that is certain to have been synced once. `torn`: what follows `end` was never certain
    to be durable, and is no part of the log. `defect`: something that was once durable can't be read.
    """

    batches: tuple[Batch, ...]
    end: int
    durable_upto: int
    torn: bool
    defect: Defect | None


def encode_header(header: SegmentHeader) -> tuple[bytes, int]:
    """The bytes that begin the segment, and the crc from which its batches' crcs start."""
    fields = {
        "number": header.number,
        "previous": header.previous,
        "cluster": header.identity.cluster,
        "server_id": header.identity.server_id,
        "disk_uuid": header.disk_uuid,
        "accepted_epoch": header.accepted_epoch,
        "base_zxid": header.base_zxid,
        "base_epochs": header.base_epochs,
        "membership": header.membership.decode("latin-1"),
        "snapshot": None if header.snapshot is None else snapshot_fields(header.snapshot),
        "born_bytes": header.born_bytes,
    }
    return encode_preamble(SEGMENT_MAGIC, fields)


def decode_header(data: bytes) -> tuple[SegmentHeader, int, int]:
    """The header, the offset behind it, and the crc from which the batches' crcs start.

    Raises UnreadableFileError or UnknownFormatError.
    """
    text, end, crc = decode_preamble(SEGMENT_MAGIC, data)
    try:
        fields = json.loads(text)
        previous = fields["previous"]
        header = SegmentHeader(
            number=fields["number"],
            previous=None if previous is None else (previous[0], previous[1]),
            identity=Identity(fields["cluster"], ServerId(fields["server_id"])),
            disk_uuid=fields["disk_uuid"],
            accepted_epoch=Epoch(fields["accepted_epoch"]),
            base_zxid=Zxid(fields["base_zxid"]),
            base_epochs=epochs_from(fields["base_epochs"]),
            membership=fields["membership"].encode("latin-1"),
            snapshot=None if fields["snapshot"] is None else snapshot_from(fields["snapshot"]),
            born_bytes=int(fields["born_bytes"]),
        )
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UnreadableFileError(f"the header lacks something: {error!r}") from error
    return header, end, crc


def encode_records(records: Sequence[Record]) -> bytes:
    """The body of a batch. On the path of every write."""
    out = BytesWriter()
    for item in records:
        if isinstance(item, Entry):
            _write_record(out, item.kind, item.zxid, item.payload)
        else:
            _write_rare(out, item)
    return out.getvalue()


def encode_batch(body: bytes, first: int, durable_upto: int, chain: int, seed: int) -> tuple[bytes, int]:
    """The batch around `body`, and the chain for the next one.

    `first` counts the records of this segment before it; `chain` is the batch before's, `seed` for the first one.
    """
    out = BytesWriter()
    out.write(BATCH_MAGIC)
    write_u32(out, len(body))
    write_u64(out, first)
    write_u64(out, durable_upto)
    write_u32(out, chain)
    write_u32(out, crc32(body))
    crc = crc32(out.getvalue(), seed)
    write_u32(out, crc)
    out.write(body)
    return out.getvalue(), crc


BATCH_OVERHEAD_BYTES = _BATCH.size


def scan(file: str, data: bytes, limit: int | None = None, marked_upto: int = 0) -> Scan:
    """Read all batches of the segment `data`, whose header must be readable (as for `decode_header`).

    `limit`: a later segment says that this one counts up to there, which proves that it was durable up to there; None
    for the newest segment. `marked_upto`: the offset up to which the mark file says that it was synced.
    """
    header, start, seed = decode_header(data)
    born_upto = start + header.born_bytes
    stop = len(data) if limit is None else min(limit, len(data))
    batches: list[Batch] = []
    durable_upto = max(marked_upto, limit or 0, born_upto)
    offset, chain, first = start, seed, 0
    why = ""
    while offset < stop:
        head = _batch_head(data, offset, seed)
        if head is None:
            why = "no valid batch begins here"
            break
        length, number, upto, previous, body_crc, crc = head
        body_at = offset + _BATCH.size
        end = body_at + length
        if previous != chain or number != first or upto > offset:
            why = "the batch here does not continue the one before"
            break
        if end > stop:
            why = "the batch here is cut off"
            break
        body = data[body_at:end]
        if crc32(body) != body_crc:
            why = "the batch here has a wrong checksum"
            break
        try:
            records = _decode_records(body)
        except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
            defect = Defect(file, offset, f"the batch here is whole, but holds what this version can't read ({error})")
            return Scan(tuple(batches), offset, durable_upto, False, defect)
        batches.append(Batch(offset, end, records))
        durable_upto = max(durable_upto, upto)
        offset, chain, first = end, crc, first + len(records)
    if offset == limit:
        return Scan(tuple(batches), offset, durable_upto, False, None)
    evidence = _evidence(data, offset, seed, limit, marked_upto, born_upto)
    if evidence:
        defect = Defect(file, offset, f"{why or 'the log ends here'}, but was once durable: {evidence}")
        return Scan(tuple(batches), offset, durable_upto, False, defect)
    return Scan(tuple(batches), offset, durable_upto, not _is_zero(data, offset), None)


def _batch_head(data: bytes, offset: int, seed: int) -> tuple[int, int, int, int, int, int] | None:
    """Length, number of the first record, durable_upto, chain, body crc and header crc; None if there is no header."""
    if len(data) - offset < _BATCH.size:
        return None
    magic, length, first, upto, chain, body_crc, crc = _BATCH.unpack_from(data, offset)
    if magic != BATCH_MAGIC or crc32(data[offset : offset + _BATCH_UNCHECKED_BYTES], seed) != crc:
        return None
    return length, first, upto, chain, body_crc, crc


def _evidence(data: bytes, offset: int, seed: int, limit: int | None, marked_upto: int, born_upto: int) -> str:
    """How it is known that the bytes at `offset` were once durable; empty if it is not.

    A later batch alone proves nothing: unsynced pages reach the disk in any order. Its `durable_upto` does.
    """
    if limit is not None:
        return f"a later segment continues this one from offset {limit} on"
    if born_upto > offset:
        return f"the segment was given its name when all up to offset {born_upto} had been synced"
    if marked_upto > offset:
        return f"the mark file says that all up to offset {marked_upto} was synced"
    at = data.find(BATCH_MAGIC, offset + 1)
    while at >= 0:
        head = _batch_head(data, at, seed)
        if head is not None and offset < head[2] <= at:
            return f"the batch at offset {at} was written when all up to offset {head[2]} had been synced"
        at = data.find(BATCH_MAGIC, at + 1)
    return ""


def _is_zero(data: bytes, offset: int) -> bool:
    """Whether nothing but zeroes follows. Compares whole blocks: a segment may be empty for 64 MiB."""
    return all(
        data.startswith(_ZEROES[: len(data) - at] if len(data) - at < len(_ZEROES) else _ZEROES, at)
        for at in range(offset, len(data), len(_ZEROES))
    )


# ---- records


def _decode_records(body: bytes) -> tuple[Record, ...]:
    unpack, entry_kinds = _RECORD.unpack_from, _ENTRY_KINDS
    records: list[Record] = []
    at, end, head_bytes = 0, len(body), _RECORD.size
    while at < end:
        length, kind, zxid = unpack(body, at)
        at += head_bytes
        payload = body[at : at + length]
        at += length
        entry_kind = entry_kinds.get(kind)
        if entry_kind is not None:
            records.append(Entry(zxid, entry_kind, payload))
        else:
            records.append(_decode_rare(kind, zxid, payload))
    if at != end:
        raise ValueError("its last record is cut off")
    return tuple(records)


def _write_record(out: BytesWriter, kind: int, zxid: int, payload: bytes) -> None:
    write_u32(out, len(payload))
    out.append(kind)
    write_u64(out, zxid)
    out.write(payload)


def _write_rare(out: BytesWriter, item: Promise | Truncate | SnapshotRef) -> None:
    match item:
        case Promise(epoch):
            _write_record(out, _PROMISE, epoch, b"")
        case Truncate(zxid):
            _write_record(out, _TRUNCATE, zxid, b"")
        case SnapshotRef():
            payload = json.dumps(snapshot_fields(item), sort_keys=True).encode()
            _write_record(out, _SNAPSHOT, item.zxid, payload)
        case _:
            assert_never(item)


def _decode_rare(kind: int, zxid: int, payload: bytes) -> Record:
    if kind == _PROMISE:
        return Promise(Epoch(zxid))
    if kind == _TRUNCATE:
        return Truncate(Zxid(zxid))
    if kind == _SNAPSHOT:
        return snapshot_from(json.loads(payload))
    raise ValueError(f"unknown kind of record {kind}")
