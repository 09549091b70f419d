"""Snapshots of ZooKeeper's: a file header, the sessions, the ACLs by number, the nodes, and a seal: the Adler-32 of all
that is before it, and "/".

Behind it, version 3.6 and later put a digest, and 3.9 a zxid, each with a seal of its own; both may be missing. A file
may be compressed as a whole. What is not sealed was never finished. Source: Apache ZooKeeper 3.4 to 3.9, FileSnap.
"""

import zlib
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

from zk.importing.fields import FileReader
from zk.importing.snappy import MAGIC as SNAPPY_MAGIC
from zk.importing.snappy import SnappyError, decode_stream
from zk.importing.source import DamagedSourceError
from zk.importing.tree import Node, ZooKeeperTree
from zk.model.acl import OPEN_ACL, Acl
from zk.model.errors import MarshallingError
from zk.model.record import Zxid

HEADER = Struct(">4siq")  # magic, version, database id
VERSION = 2  # of both kinds of files, since 3.1
_MAGIC = b"ZKSN"
_GZIP_MAGIC = b"\x1f\x8b"
_INFLATED_AT_ONCE = 4096  # so that of a damaged file all is had that stands before the damage
_STAT = Struct(">qqqqqiiiqq")  # acl, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid
_END_OF_NODES = "/"
_NO_ACL = -1  # the number of the open one, which is in no table
_DIGEST_BYTES, _ZXID_BYTES, _SEAL_BYTES = 20, 8, 13


@dataclass(slots=True)
class Snapshot:
    """What a snapshot holds. `digest` is the tree's, if it is said, as of `digest_zxid`."""

    tree: ZooKeeperTree
    digest: int | None = None
    digest_zxid: int = 0


def read_snapshot(file: Path, zxid: Zxid, *, salvage: bool = False) -> tuple[Snapshot, DamagedSourceError | None]:
    """The snapshot in `file`, whose name says `zxid`. Raises DamagedSourceError, unless with `salvage` something could
    be read in front of the damage: then that, and the damage.
    """
    content, damage = _decompressed(file)
    if damage is not None and not salvage:
        raise damage
    snapshot, reader = Snapshot(ZooKeeperTree(zxid)), FileReader(content)
    try:
        _read(reader, content, snapshot)
    except (MarshallingError, KeyError, ValueError) as error:
        why = f"the parent of {error} is missing" if isinstance(error, KeyError) else _plain(error)
        damage = damage or DamagedSourceError(str(file), why, offset=min(reader.at, len(content)))
        if not salvage or "/" not in snapshot.tree.nodes:
            raise damage from error
    return snapshot, damage


def _plain(error: Exception) -> str:
    return error.hint if isinstance(error, MarshallingError) else str(error)


# ---- compression


def _decompressed(file: Path) -> tuple[bytes, DamagedSourceError | None]:
    """The content of the file; if it is damaged, as much of it as stands before the damage."""
    stored = file.read_bytes()
    if not stored:
        return b"", DamagedSourceError(str(file), "the file is empty", offset=0)
    if stored.startswith(_GZIP_MAGIC):
        return _inflated(file, stored)
    if stored.startswith(SNAPPY_MAGIC):
        try:
            return decode_stream(stored), None
        except SnappyError as error:
            damage = DamagedSourceError(str(file), f"its compression (snappy): {error}", offset=error.offset)
            return decode_stream(stored[: error.offset]), damage
    return stored, None


def _inflated(file: Path, stored: bytes) -> tuple[bytes, DamagedSourceError | None]:
    inflate = zlib.decompressobj(wbits=31)  # with gzip's header and checksum
    content = bytearray()
    try:
        for begin in range(0, len(stored), _INFLATED_AT_ONCE):
            content += inflate.decompress(stored[begin : begin + _INFLATED_AT_ONCE])
    except zlib.error as error:
        return bytes(content), DamagedSourceError(str(file), f"its compression (gzip) is damaged: {error}")
    if not inflate.eof:
        return bytes(content), DamagedSourceError(str(file), "its compression (gzip) was never finished")
    return bytes(content), None


# ---- content


def _read(reader: FileReader, content: bytes, snapshot: Snapshot) -> None:
    read_header(reader, _MAGIC, "snapshot")
    tree = snapshot.tree
    count = reader.int32()
    for _ in range(count):
        session = reader.int64()
        tree.sessions[session] = reader.int32()
    acls = _read_acls(reader)
    _read_nodes(reader, acls, tree)
    _check_seal(reader, content)
    left = len(content) - reader.at
    if left in (_DIGEST_BYTES + _SEAL_BYTES, _DIGEST_BYTES + _ZXID_BYTES + 2 * _SEAL_BYTES):
        digest_zxid, version, digest = reader.int64(), reader.int32(), reader.int64()
        _check_seal(reader, content)
        if version == 2:
            snapshot.digest, snapshot.digest_zxid = digest & (1 << 64) - 1, digest_zxid
    if len(content) - reader.at == _ZXID_BYTES + _SEAL_BYTES:
        reader.int64()  # the last transaction when it was finished: but what came meanwhile may be missing in it
        _check_seal(reader, content)
    if reader.left > 0:
        raise ValueError(f"{len(content) - reader.at} bytes too many behind its end")


def read_header(reader: FileReader, wanted: bytes, kind: str) -> None:
    """The header that all of ZooKeeper's files have. ValueError if it is of no `kind` that is known here."""
    magic, version, _ = HEADER.unpack(reader.take(HEADER.size))
    if magic != wanted:
        raise ValueError(f"this is no {kind} of ZooKeeper's: it begins with {magic!r} instead of {wanted!r}")
    if version != VERSION:
        raise ValueError(f"a {kind} of version {version}; version {VERSION} is known here")


def _read_acls(reader: FileReader) -> dict[int, tuple[Acl, ...]]:
    acls: dict[int, tuple[Acl, ...]] = {}
    for _ in range(reader.int32()):
        number = reader.int64()
        acls[number] = reader.acl()
    return acls


def _read_nodes(reader: FileReader, acls: dict[int, tuple[Acl, ...]], tree: ZooKeeperTree) -> None:
    while (path := reader.string()) != _END_OF_NODES:
        data = reader.data()
        acl, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = reader.fields(_STAT)
        entries = OPEN_ACL if acl == _NO_ACL else acls.get(acl)
        node = Node(data, entries, czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid)
        tree.load(path or "/", node)


def _check_seal(reader: FileReader, content: bytes) -> None:
    at = reader.at
    found = zlib.adler32(memoryview(content)[:at])
    sealed, slash = reader.int64(), reader.string()
    if slash != "/":
        raise ValueError("it was never finished: its seal is missing")
    if sealed != found:
        raise ValueError(f"its checksum is wrong: 0x{found:08x}, and the seal at byte {at} says 0x{sealed:08x}")
