"""ZooKeeper's tree while it is put together: a snapshot's nodes, and what the transactions behind it do to them.

A snapshot of ZooKeeper's is fuzzy: while it was written, transactions went on, and it may hold the effect of some that
come behind it in the log. So applying is idempotent, in the way that ZooKeeper's own is: what is there already is no
error, and a parent's counters only grow. Source: Apache ZooKeeper 3.4 to 3.9, DataTree.
"""

from dataclasses import dataclass, field
from struct import Struct
from zlib import crc32

from zk.model.acl import OPEN_ACL, READ_ACL, Acl
from zk.model.paths import RESERVED, parent
from zk.model.record import SessionId, Zxid
from zk.model.requests import CreateMode
from zk.model.znode import Znode

CONTAINER_OWNER = -(1 << 63)
_NOT_COUNTED = -1  # a parent's count that the transaction does not know: it is the next one
_TTL_MARK, _TTL_BITS = 0xFF0000, (1 << 40) - 1  # the upper three bytes of a TTL node's "owner", and the TTL below them
_OLD_TTL_MARK = 0x80  # the uppermost byte in version 3.5.3
_UNSIGNED = (1 << 64) - 1
_FIGURES = Struct(">qqqqqiiiq")
_ROOT_TWINS = {"/": ""}


@dataclass(slots=True)
class Node:
    """One node as ZooKeeper keeps it. `acl` None: the snapshot names an ACL that it does not hold, since that was
    set while it was written; the log behind it tells."""

    data: bytes
    acl: tuple[Acl, ...] | None
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    owner: int
    pzxid: int
    children: set[str] = field(default_factory=set)


class ZooKeeperTree:
    """`nodes` by path, `sessions` with their timeouts; `zxid` is the last transaction applied."""

    def __init__(self, zxid: Zxid) -> None:
        self.zxid = zxid
        self.nodes: dict[str, Node] = {}
        self.sessions: dict[int, int] = {}
        self._ephemerals: dict[int, set[str]] = {}

    @classmethod
    def empty(cls) -> "ZooKeeperTree":
        """What ZooKeeper begins with."""
        tree = cls(Zxid(0))
        for path in sorted(RESERVED):
            acl = READ_ACL if path == "/zookeeper/config" else OPEN_ACL
            tree.load(path, Node(b"", acl, 0, 0, 0, 0, 0, 0, -1 if acl is READ_ACL else 0, 0, 0))
        return tree

    def load(self, path: str, node: Node) -> None:
        """A node of a snapshot. KeyError if its parent did not come before it."""
        if path != "/":
            self.nodes[parent(path)].children.add(path)
        self.nodes[path] = node
        if node.owner:
            self._ephemerals.setdefault(node.owner, set()).add(path)

    # ---- transactions: what there is already, or is no more, is left as it is

    def create(self, path: str, data: bytes, acl: tuple[Acl, ...], owner: int, count: int, time_ms: int) -> None:
        """`count` is what the parent's stored cversion becomes."""
        zxid = self.zxid
        above = self.nodes.get(parent(path))
        if above is None:
            return
        there = self.nodes.get(path)
        if there is not None:
            there.acl = acl  # the snapshot may name one that it does not hold
        if count == _NOT_COUNTED:
            count = above.cversion + 1
        if count > above.cversion:
            above.cversion = count
            above.pzxid = zxid
        if there is None:
            self.load(path, Node(data, acl, zxid, zxid, time_ms, time_ms, 0, 0, 0, owner, zxid))

    def delete(self, path: str) -> None:
        above = self.nodes.get(parent(path))
        if above is None:
            return
        above.children.discard(path)
        above.pzxid = max(above.pzxid, self.zxid)
        node = self.nodes.pop(path, None)
        if node is not None and node.owner:
            self._ephemerals.get(node.owner, set()).discard(path)

    def set_data(self, path: str, data: bytes, version: int, time_ms: int) -> None:
        node = self.nodes.get(path)
        if node is not None:
            node.data, node.version, node.mzxid, node.mtime = data, version, self.zxid, time_ms

    def set_acl(self, path: str, acl: tuple[Acl, ...], aversion: int) -> None:
        node = self.nodes.get(path)
        if node is not None:
            node.acl, node.aversion = acl, aversion

    def close_session(self, session: int, told: tuple[str, ...]) -> None:
        """`told` are the ephemerals that the transaction names; the session may have others."""
        self.sessions.pop(session, None)
        mine = self._ephemerals.pop(session, set())
        for path in (*told, *sorted(mine.difference(told))):
            self.delete(path)

    # ---- what it amounts to

    def digest(self) -> int:
        """ZooKeeper's own digest of the tree (version 2): ACLs and what is below /zookeeper are not in it."""
        total = 0
        for path, node in self.nodes.items():
            if path.startswith("/zookeeper/"):
                continue
            figures = _FIGURES.pack(
                node.czxid,
                node.mzxid,
                node.pzxid,
                node.ctime,
                node.mtime,
                node.version,
                node.cversion,
                node.aversion,
                node.owner,
            )
            total += crc32(figures, crc32(node.data, crc32(_ROOT_TWINS.get(path, path).encode())))
        return total & _UNSIGNED

    def znodes(self) -> tuple[dict[str, Znode], int]:
        """The nodes that outlive their sessions, parents first; and how many ephemerals are left out.

        A parent's count of creates stays as it is, so that sequential names go on where they were.
        """
        kinds = {path: self._kind(node.owner) for path, node in self.nodes.items()}
        left_out = {path for path, (mode, _) in kinds.items() if mode is CreateMode.EPHEMERAL}
        znodes: dict[str, Znode] = {}
        acls: dict[tuple[Acl, ...], tuple[Acl, ...]] = {OPEN_ACL: OPEN_ACL}
        waiting = ["/"]
        while waiting:
            path = waiting.pop()
            node = self.nodes[path]
            assert node.acl is not None
            children = sorted(node.children - left_out, reverse=True)
            mode, ttl_ms = kinds[path]
            znodes[path] = Znode(
                node.data,
                acls.setdefault(node.acl, node.acl),
                Zxid(node.czxid),
                Zxid(node.mzxid),
                Zxid(node.pzxid),
                node.ctime,
                node.mtime,
                node.version,
                node.cversion % (1 << 32),  # here it does not run over
                node.aversion,
                SessionId(0),
                len(children),
                mode,
                ttl_ms,
            )
            waiting += children
        return znodes, len(left_out)

    def _kind(self, owner: int) -> tuple[CreateMode, int]:
        """What an "ephemeral owner" says. ZooKeeper keeps kinds and TTLs in it too, and a session's id may look like
        one of them: a session that is open is meant itself."""
        if not owner:
            return CreateMode.PERSISTENT, 0
        if owner not in self.sessions:
            if owner == CONTAINER_OWNER:
                return CreateMode.CONTAINER, 0
            upper, lower = (owner & _UNSIGNED) >> 40, owner & _TTL_BITS
            if upper == _TTL_MARK or upper >> 16 == _OLD_TTL_MARK:
                return CreateMode.PERSISTENT_WITH_TTL, lower
        return CreateMode.EPHEMERAL, 0


def ttl_owner(ttl_ms: int) -> int:
    """The "ephemeral owner" that stands for a TTL."""
    return (_TTL_MARK << 40 | ttl_ms) - (1 << 64)
