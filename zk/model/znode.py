"""Znode: one node of the tree as an immutable value. A write replaces it."""

from dataclasses import dataclass, field

from zk.model.acl import Acl
from zk.model.record import SessionId, Zxid
from zk.model.requests import CreateMode
from zk.model.stat import Stat


@dataclass(slots=True, unsafe_hash=True)  # not @record: the tails are filled in later, all else never changes
class Znode:
    """Everything that belongs to one path.

    `created` counts creates below the node: it numbers sequential children and gives the visible `cversion`. `owner`
    is the session of an
    ephemeral, else 0. `mode` is never a sequential one: only the name remembers that. `ttl_ms` is 0 unless the mode
    has one.
    `tail` and `zookeeper_tail` cache the encoded (data, stat), one for each protocol; they are no part of the value.
    """

    data: bytes
    acl: tuple[Acl, ...]
    czxid: Zxid
    mzxid: Zxid
    pzxid: Zxid
    ctime: int
    mtime: int
    version: int
    created: int
    aversion: int
    owner: SessionId
    num_children: int
    mode: CreateMode
    ttl_ms: int
    tail: bytes | None = field(default=None, init=False, repr=False, compare=False)
    zookeeper_tail: bytes | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def stat(self) -> Stat:
        return Stat(
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            2 * self.created - self.num_children,
            self.aversion,
            self.owner,
            len(self.data),
            self.num_children,
            self.pzxid,
        )
