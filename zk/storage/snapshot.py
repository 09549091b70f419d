"""The snapshot file: the delivered state at exactly one zxid, as opaque chunks. Written once, verified, never changed.

    header   magic, format, length, crc, JSON: the cluster, and what the file holds
    chunk    u8 1, u32 length, u32 crc; then the chunk. The crc starts from the one before it: order counts
    footer   u8 2, u32 number of chunks, u32 crc of the last chunk; u64 zxid, u32 crc. Nothing follows

A file counts only once a record of the log names it, and only if it is whole. `SnapshotWriter` and the readers share
no state with the log: they may run in a thread of their own.
"""

import json
import struct
from collections.abc import Iterator
from zlib import crc32

from zk.broadcast.records import SnapshotRef
from zk.storage.directory import Directory
from zk.storage.errors import Defect
from zk.storage.names import TMP
from zk.storage.preamble import (
    UnknownFormatError,
    UnreadableFileError,
    decode_preamble,
    encode_preamble,
    read_preamble,
)

SNAPSHOT_MAGIC = b"zk snap\n"
_CHUNK = struct.Struct(">BII")
_FOOTER_REST = struct.Struct(">QI")
_IS_CHUNK, _IS_FOOTER = 1, 2


class SnapshotDefectError(Exception):
    """A snapshot file is not what the record that names it says. `defect` says where and why."""

    def __init__(self, defect: Defect) -> None:
        super().__init__(str(defect))
        self.defect = defect


class SnapshotWriter:
    """Writes one snapshot file, chunk by chunk, under a temporary name until it is durable and verified.

    Any method may raise OSError; then call `abandon`, and the directory is as before.
    """

    def __init__(self, directory: Directory, cluster: str, ref: SnapshotRef) -> None:
        self._directory = directory
        self._cluster = cluster
        self._ref = ref
        self._tmp = ref.file + TMP
        header, self._crc = encode_preamble(SNAPSHOT_MAGIC, _identity(cluster, ref))
        self._count = 0
        self._file = directory.create(self._tmp)
        self._file.write(0, header)
        self._end = len(header)

    def write(self, chunk: bytes) -> None:
        """Add the next chunk."""
        self._crc = crc32(chunk, self._crc)
        self._count += 1
        self._put(_CHUNK.pack(_IS_CHUNK, len(chunk), self._crc) + chunk)

    def finish(self) -> None:
        """Make the file durable, read it back, and give it its name. Only now may a record name it.

        Raises SnapshotDefectError if what is read is not what was written.
        """
        footer = _CHUNK.pack(_IS_FOOTER, self._count, self._crc)
        zxid = self._ref.zxid.to_bytes(8, "big")
        self._put(footer + zxid + crc32(zxid, crc32(footer)).to_bytes(4, "big"))
        self._file.sync()
        self._file.close()
        for _chunk in read_chunks(self._directory, self._cluster, self._ref, self._tmp):
            pass
        self._directory.rename(self._tmp, self._ref.file)
        self._directory.sync_names()

    def abandon(self) -> None:
        """Give up: nothing will name this file."""
        self._file.close()
        self._directory.remove(self._tmp)

    def _put(self, data: bytes) -> None:
        self._file.write(self._end, data)
        self._end += len(data)


def read_chunks(directory: Directory, cluster: str, ref: SnapshotRef, name: str = "") -> Iterator[bytes]:
    """The chunks of the snapshot file that `ref` names, each checked; the whole file is checked when they end.

    Raises SnapshotDefectError if the file is missing, damaged, or another one than `ref` says; OSError.
    """
    name = name or ref.file
    try:
        size = directory.size(name)
    except FileNotFoundError:
        raise SnapshotDefectError(Defect(name, 0, "the snapshot is missing")) from None
    try:
        text, offset, crc = decode_preamble(SNAPSHOT_MAGIC, read_preamble(directory, name))
    except (UnreadableFileError, UnknownFormatError) as error:
        raise SnapshotDefectError(Defect(name, 0, f"not a readable snapshot: {error}")) from error
    found = json.loads(text)
    if any(found.get(key) != value for key, value in _identity(cluster, ref).items()):
        raise SnapshotDefectError(Defect(name, 0, "another snapshot than the one that the log names"))
    count = 0
    while True:
        head = directory.read(name, offset, _CHUNK.size)
        if len(head) < _CHUNK.size:
            raise SnapshotDefectError(Defect(name, offset, "the snapshot is cut off"))
        kind, number, expected = _CHUNK.unpack(head)
        if kind != _IS_CHUNK:
            break
        chunk = directory.read(name, offset + _CHUNK.size, min(number, size))
        crc = crc32(chunk, crc)
        if len(chunk) < number or crc != expected:
            raise SnapshotDefectError(Defect(name, offset, "a chunk has a wrong checksum or is cut off"))
        yield chunk
        count += 1
        offset += _CHUNK.size + number
    rest = directory.read(name, offset + _CHUNK.size, _FOOTER_REST.size + 1)
    zxid = ref.zxid.to_bytes(8, "big")
    if (kind, number, expected) != (_IS_FOOTER, count, crc) or rest != _FOOTER_REST.pack(
        ref.zxid, crc32(zxid, crc32(head))
    ):
        raise SnapshotDefectError(Defect(name, offset, "the snapshot's footer is damaged or contradicts its chunks"))


def _identity(cluster: str, ref: SnapshotRef) -> dict[str, object]:
    """What makes two snapshots the same: equal digests at equal zxid are equal states."""
    return {"cluster": cluster, "zxid": ref.zxid, "digest": ref.digest}
