"""Digest: one number for the whole state, so that servers can tell whether they agree.

The sum (modulo 2**128) of one hash per znode: a write takes the old znode's hash out and puts the new one in, in any
order. Writes only note what they touched; the hashing is done when the digest is asked for, or in slices before.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from struct import Struct

from zk.model.acl import OPEN_ACL, Acl
from zk.model.data import NO_DATA
from zk.model.errors import APIError
from zk.model.record import SessionId, Zxid
from zk.model.session import Session
from zk.model.znode import Znode

_MODULUS = 1 << 128
_NULL = 0xFFFF_FFFF  # in place of the length of data that is null
_FIGURES = Struct(">IIQQQqqqqqqqBqI")
_SESSION = Struct(">qqQQQIII")
_ANSWER = Struct(">QQi")
_RESTORATION = Struct(">qQ")
_number = int.from_bytes  # dear to look up


def _hash(message: bytes) -> int:
    return _number(blake2b(message, digest_size=16).digest(), "big")


def znode_hash(path: str, znode: Znode) -> int:
    """Every lasting attribute of one znode, together with its path."""
    name = path.encode()
    acl = _OPEN_ACL_ENCODED if znode.acl is OPEN_ACL else _encode_acl(znode.acl)
    figures = _FIGURES.pack(
        len(name),
        len(acl),
        znode.czxid,
        znode.mzxid,
        znode.pzxid,
        znode.ctime,
        znode.mtime,
        znode.version,
        znode.created,
        znode.aversion,
        znode.owner,
        znode.num_children,
        znode.mode,
        znode.ttl_ms,
        len(znode.data) if znode.data is not NO_DATA else _NULL,
    )
    return _hash(b"".join((figures, name, acl, znode.data)))


def _encode_acl(acl: Iterable[Acl]) -> bytes:
    return b"".join(f"{entry.perms}\0{entry.scheme}\0{entry.id}\0\0".encode(errors="surrogatepass") for entry in acl)


_OPEN_ACL_ENCODED = _encode_acl(OPEN_ACL)


def znodes_sum(znodes: Mapping[str, Znode]) -> int:
    """The sum over all znodes, from nothing."""
    return sum(znode_hash(path, znode) for path, znode in znodes.items()) % _MODULUS


def session_hash(session: Session) -> int:
    """Every attribute of one session; of the kept answers their xids, zxids and result codes."""
    identities = "".join(f"{who.scheme}\0{who.id}\0\0" for who in session.identities).encode(errors="surrogatepass")
    head = _SESSION.pack(
        session.id,
        session.timeout_ms,
        session.generation,
        session.n,
        session.floor,
        len(session.answers),
        len(session.secret),
        len(identities),
    )
    answers = [
        _ANSWER.pack(xid, zxid, int(result.code) if isinstance(result, APIError) else 0)
        for xid, (zxid, result) in session.answers.items()
    ]
    return _hash(b"".join((head, session.secret, identities, *answers)))


def restoration_hash(session_id: SessionId, last_zxid: Zxid, znodes: int) -> int:
    """A tree that is being brought here; `znodes` is the sum of what has come so far."""
    return _hash(b"restoration" + _RESTORATION.pack(session_id, last_zxid) + znodes.to_bytes(16, "big"))


def restored_hash(zxid: Zxid) -> int:
    """When a tree was brought here; nothing, if that never was."""
    return _hash(b"restored" + zxid.to_bytes(8, "big")) if zxid else 0


def combined(znodes: int, sessions: Iterable[Session], restoration: int = 0) -> str:
    """The digest as text: the znodes' sum, all the sessions, and the hashes of what is being, or was, brought."""
    total = znodes + restoration
    for session in sessions:
        if session.hash is None:
            session.hash = session_hash(session)
        total += session.hash
    return f"{total % _MODULUS:032x}"


class ZnodesSum:
    """Keeps `znodes_sum` of a mapping that changes: note what is touched in `changed`, settle at leisure.

    `bytes` is how much the settled znodes hold: their paths, in characters, and their data.
    """

    __slots__ = ("_sum", "bytes", "changed")

    def __init__(self, settled: int, size_bytes: int) -> None:
        self._sum = settled
        self.bytes = size_bytes
        self.changed: dict[str, Znode | None] = {}  # path -> the znode that is still in the sum, None: none is

    def include(self, other: "ZnodesSum") -> None:
        """The znodes of `other`, which is settled, are among these from here on."""
        assert not other.changed
        self._sum = (self._sum + other._sum) % _MODULUS
        self.bytes += other.bytes

    def settle(self, znodes: Mapping[str, Znode], at_most: int | None = None) -> int:
        """Bring the sum up to date (with `at_most`, only by that many paths) and give it."""
        total = self._sum
        changed = self.changed
        todo = len(changed) if at_most is None else min(at_most, len(changed))
        for _ in range(todo):
            path, old = changed.popitem()
            new = znodes.get(path)
            if new is not old:
                if old is not None:
                    total -= znode_hash(path, old)
                    self.bytes -= len(path) + len(old.data)
                if new is not None:
                    total += znode_hash(path, new)
                    self.bytes += len(path) + len(new.data)
        if not changed:
            changed.clear()  # popping leaves a large table standing; this gives it back
        self._sum = total % _MODULUS
        return self._sum
