"""What every file of ours begins with: a magic, a format number, and a checked JSON text that says what the file is.

This beginning is the same in every format to come, so that an older program can tell a newer file from a damaged one.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from zlib import crc32

from zk.broadcast.records import EpochEnds, SnapshotRef
from zk.model.record import Epoch, Zxid
from zk.storage.directory import Directory

FORMAT = 1
_HEAD = struct.Struct(">8sIII")  # magic, format, length of the text, crc of these and the text
_CRC = struct.Struct(">I")


class UnreadableFileError(ValueError):
    """The beginning of a file can't be read: it is damaged, or the file is not one of ours."""


class UnknownFormatError(ValueError):
    """The file was written by a later version of this program."""


def encode_preamble(magic: bytes, fields: Mapping[str, object]) -> tuple[bytes, int]:
    """The bytes that begin the file, and their crc."""
    text = json.dumps(fields, sort_keys=True).encode()
    head = _HEAD.pack(magic, FORMAT, len(text), 0)[: -_CRC.size]
    crc = crc32(text, crc32(head))
    return b"".join((head, _CRC.pack(crc), text)), crc


def decode_preamble(magic: bytes, data: bytes) -> tuple[bytes, int, int]:
    """The JSON text at the beginning of `data`, the offset behind it, and the crc.

    Raises UnreadableFileError or UnknownFormatError.
    """
    if len(data) < _HEAD.size:
        raise UnreadableFileError("the file ends within its header")
    found, version, length, crc = _HEAD.unpack_from(data)
    if found != magic:
        raise UnreadableFileError("the file does not begin as one of ours")
    end = _HEAD.size + length
    text = data[_HEAD.size : end]
    if len(text) < length or crc32(text, crc32(data[: _HEAD.size - _CRC.size])) != crc:
        raise UnreadableFileError("the header has a wrong checksum")
    if version != FORMAT:
        raise UnknownFormatError(f"the file has format {version}, this program knows format {FORMAT} only")
    return text, end, crc


def read_preamble(directory: Directory, name: str) -> bytes:
    """The bytes of the file's preamble, and no more, for `decode_preamble`; any bytes if it has none."""
    head = directory.read(name, 0, _HEAD.size)
    if len(head) < _HEAD.size:
        return head
    return head + directory.read(name, _HEAD.size, min(_HEAD.unpack(head)[2], directory.size(name)))


def snapshot_fields(ref: SnapshotRef) -> dict[str, object]:
    """`ref` as it stands in a JSON text."""
    return {
        "zxid": ref.zxid,
        "file": ref.file,
        "digest": ref.digest,
        "epochs": ref.epochs,
        "membership": ref.membership.decode("latin-1"),
        "installed": ref.installed,
    }


def snapshot_from(fields: Mapping[str, object]) -> SnapshotRef:
    """The inverse of `snapshot_fields`. Raises ValueError."""
    match fields:
        case {
            "zxid": int(zxid),
            "file": str(file),
            "digest": str(digest),
            "epochs": list(epochs),
            "membership": str(membership),
            "installed": bool(installed),
        }:
            return SnapshotRef(Zxid(zxid), file, digest, epochs_from(epochs), membership.encode("latin-1"), installed)
    raise ValueError("not a snapshot reference")


def epochs_from(pairs: Iterable[tuple[int, int]]) -> EpochEnds:
    """Epoch ends as read from a JSON text. Raises ValueError or TypeError."""
    return tuple((Epoch(int(epoch)), Zxid(int(last))) for epoch, last in pairs)
