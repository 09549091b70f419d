"""Digest: one number for the whole state, so that servers can tell whether they agree.

The sum (modulo 2**60) of one hash per znode: a write takes the old znode's hash out and puts the new one in, in any
order. The hashes are xxh3's: they tell states apart that differ by a defect or a damage, and not by design; servers
trust each other.
"""

from collections.abc import Iterable, Mapping

import xxhash
from librt.strings import BytesWriter, read_i64_be, write_i32_be, write_i64_be

from zk.model.acl import OPEN_ACL, Acl
from zk.model.data import NO_DATA
from zk.model.errors import APIError
from zk.model.record import SessionId, Zxid
from zk.model.session import UNHASHED, Session
from zk.model.znode import Znode

_MODULO = (1 << 60) - 1
"""A sum of two such numbers is still one that compiled code need not put into an object."""

_xxh3 = xxhash.xxh3_64_digest  # dear to look up
_NULL = -1  # in place of the length of data that is null


def _hash(message: BytesWriter) -> int:
    return read_i64_be(_xxh3(message.getvalue()), 0) & _MODULO


def znode_hash(path: str, znode: Znode) -> int:
    """Every lasting attribute of one znode, together with its path."""
    name = path.encode()
    acl = _OPEN_ACL_ENCODED if znode.acl is OPEN_ACL else _encode_acl(znode.acl)
    data = znode.data
    size = len(data)
    if not size and data is NO_DATA:
        size = _NULL
    mode: int = znode.mode  # as a number, which compiled code can write by itself
    message = BytesWriter()
    write_i32_be(message, len(name))
    write_i32_be(message, len(acl))
    write_i32_be(message, size)
    write_i64_be(message, znode.czxid)
    write_i64_be(message, znode.mzxid)
    write_i64_be(message, znode.pzxid)
    write_i64_be(message, znode.ctime)
    write_i64_be(message, znode.mtime)
    write_i64_be(message, znode.version)
    write_i64_be(message, znode.created)
    write_i64_be(message, znode.aversion)
    write_i64_be(message, znode.owner)
    write_i64_be(message, znode.num_children)
    write_i64_be(message, mode)
    write_i64_be(message, znode.ttl_ms)
    message.write(name)
    message.write(acl)
    message.write(data)
    return _hash(message)


def _encode_acl(acl: Iterable[Acl]) -> bytes:
    return b"".join(f"{entry.perms}\0{entry.scheme}\0{entry.id}\0\0".encode(errors="surrogatepass") for entry in acl)


_OPEN_ACL_ENCODED = _encode_acl(OPEN_ACL)


def znodes_sum(znodes: Mapping[str, Znode]) -> int:
    """The sum over all znodes, from nothing."""
    total = 0
    for path, znode in znodes.items():
        total = (total + znode_hash(path, znode)) & _MODULO
    return total


def session_hash(session: Session) -> int:
    """Every attribute of one session; of the kept answers their xids, zxids and result codes."""
    identities = "".join(f"{who.scheme}\0{who.id}\0\0" for who in session.identities).encode(errors="surrogatepass")
    message = BytesWriter()
    write_i32_be(message, len(session.answers))
    write_i32_be(message, len(session.secret))
    write_i32_be(message, len(identities))
    write_i64_be(message, session.id)
    write_i64_be(message, session.timeout_ms)
    write_i64_be(message, session.generation)
    write_i64_be(message, session.n)
    write_i64_be(message, session.floor)
    message.write(session.secret)
    message.write(identities)
    for xid, (zxid, result) in session.answers.items():
        write_i64_be(message, xid)
        write_i64_be(message, zxid)
        write_i32_be(message, int(result.code) if isinstance(result, APIError) else 0)
    return _hash(message)


def restoration_hash(session_id: SessionId, last_zxid: Zxid, znodes: int) -> int:
    """A tree that is being brought here; `znodes` is the sum of what has come so far."""
    message = BytesWriter()
    message.write(b"restoration")
    write_i64_be(message, session_id)
    write_i64_be(message, last_zxid)
    write_i64_be(message, znodes)
    return _hash(message)


def restored_hash(zxid: Zxid) -> int:
    """When a tree was brought here; nothing, if that never was."""
    if not zxid:
        return 0
    message = BytesWriter()
    message.write(b"restored")
    write_i64_be(message, zxid)
    return _hash(message)


def combined(znodes: int, sessions: Iterable[Session], restoration: int = 0) -> str:
    """The digest as text: the znodes' sum, all the sessions, and the hashes of what is being, or was, brought."""
    total = znodes + restoration
    for session in sessions:
        if session.hash == UNHASHED:
            session.hash = session_hash(session)
        total = (total + session.hash) & _MODULO
    return f"{total & _MODULO:015x}"


class ZnodesSum:
    """Keeps `znodes_sum` of a mapping that changes.

    What comes and goes is counted at once. What is replaced may be so many times more, and is counted when the sum is
    asked for: until then `changed` holds, by their paths, the znodes that are still in the sum. `bytes` is how much all
    that is counted holds: paths, in characters, and data.
    """

    __slots__ = ("_sum", "bytes", "changed")

    def __init__(self, settled: int, size_bytes: int) -> None:
        self._sum = settled
        self.bytes = size_bytes
        self.changed: dict[str, Znode] = {}

    def include(self, other: "ZnodesSum") -> None:
        """The znodes of `other`, which is settled, are among these from here on."""
        assert not other.changed
        self._sum = (self._sum + other._sum) & _MODULO
        self.bytes += other.bytes

    def came(self, path: str, znode: Znode) -> None:
        """There is a znode where there was none."""
        self._sum = (self._sum + znode_hash(path, znode)) & _MODULO
        self.bytes += len(path) + len(znode.data)

    def went(self, path: str, znode: Znode) -> None:
        """There is no znode any more where this one was."""
        if path in self.changed:
            znode = self.changed[path]
            del self.changed[path]
        self._sum = (self._sum - znode_hash(path, znode)) & _MODULO
        self.bytes -= len(path) + len(znode.data)

    def replaced(self, path: str, old: Znode) -> None:
        """There is another znode where `old` was."""
        self.changed.setdefault(path, old)

    def settle(self, znodes: dict[str, Znode]) -> int:
        """Bring the sum up to date and give it."""
        total = self._sum
        for path, old in self.changed.items():
            new = znodes[path]
            if new is not old:
                total = (total - znode_hash(path, old) + znode_hash(path, new)) & _MODULO
                self.bytes += len(new.data) - len(old.data)
        self.changed.clear()
        self._sum = total
        return total
