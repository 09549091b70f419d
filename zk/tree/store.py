"""Store: the sessions, the znodes, and every index beside these, kept in step by three operations: insert, replace,
remove.

All indexes (children, ephemerals by session, what to reap, quotas) follow from the znodes: they are rebuilt on load and
are in no snapshot. While a journal is open, what happened can be undone by putting the old znodes back.
"""

import dataclasses

from zk.model import paths
from zk.model.acl import OPEN_ACL, READ_ACL, Acl
from zk.model.errors import NoNodeError
from zk.model.record import SessionId, Zxid
from zk.model.requests import CreateMode
from zk.model.session import Session
from zk.model.znode import Znode
from zk.tree.changes import Change
from zk.tree.children import Children
from zk.tree.digest import ZnodesSum
from zk.tree.quotas import PREFIX as QUOTA_PREFIX
from zk.tree.quotas import Quotas, stats_path
from zk.tree.reaping import ReapIndex
from zk.tree.restoration import Restoration

_INTERNED_ACLS_MAX = 10_000  # an economy only: beyond it the table starts anew
_SORTED_LISTS_MAX = 1_000  # likewise
_NEVER = Zxid(0)


def _first_znode(acl: tuple[Acl, ...], num_children: int) -> Znode:
    zero = Zxid(0)
    return Znode(b"", acl, zero, zero, zero, 0, 0, 0, 0, 0, SessionId(0), num_children, CreateMode.PERSISTENT, 0)


def first_znodes() -> dict[str, Znode]:
    """What every tree begins with. As in ZooKeeper, these nodes were not counted when they were made."""
    return {
        "/": _first_znode(OPEN_ACL, 1),
        "/zookeeper": _first_znode(OPEN_ACL, 2),
        "/zookeeper/quota": _first_znode(OPEN_ACL, 0),
        "/zookeeper/config": _first_znode(READ_ACL, 0),
    }


class Store:
    """`zxid`, `time_ms`, `changes`, `closed` and `over_quota` belong to the transaction that is being applied; `begin`
    starts one."""

    __slots__ = (
        "_acls",
        "_journal",
        "_sorted",
        "changes",
        "children",
        "closed",
        "ephemerals",
        "over_quota",
        "quotas",
        "reap_index",
        "restoration",
        "restored",
        "sessions",
        "sum",
        "time_ms",
        "znodes",
        "zxid",
    )

    def __init__(
        self,
        zxid: Zxid,
        time_ms: int,
        znodes: dict[str, Znode],
        sessions: dict[SessionId, Session],
        settled_sum: int,
        restoration: Restoration | None = None,
        restored: Zxid = _NEVER,
    ) -> None:
        self.begin(zxid, time_ms)
        self.znodes = znodes
        self.sessions = sessions
        self.children: Children = {}
        self.ephemerals: dict[SessionId, dict[str, None]] = {}
        self.reap_index = ReapIndex()
        self.sum = ZnodesSum(settled_sum, sum(len(path) + len(znode.data) for path, znode in znodes.items()))
        self.restoration = restoration
        self.restored = restored  # when a tree was brought here, which replaced the reserved nodes; 0: never
        self._sorted: dict[str, list[str]] = {}
        self._journal: list[tuple[str, Znode | None]] | None = None
        self._acls: dict[tuple[Acl, ...], tuple[Acl, ...]] = {}
        for path, znode in znodes.items():
            if path != "/":
                self._enlist(path, paths.parent(path))
            if znode.mode:
                self._index_special(path, None, znode)
        self.quotas = Quotas(znodes, self.children)

    def begin(self, zxid: Zxid, time_ms: int) -> None:
        """Whatever is done from here on is done by transaction `zxid`."""
        self.zxid = zxid
        self.time_ms = time_ms
        self.changes: list[Change] = []
        self.closed: tuple[SessionId, ...] = ()
        self.over_quota: tuple[str, ...] = ()

    # ---- looking things up

    def missing(self, path: str) -> NoNodeError:
        """The refusal for a path at which there is no node; raises the other one if it could never be a node."""
        paths.validate(path)
        return NoNodeError(path)

    def sorted_children(self, path: str) -> list[str]:
        """The paths of the children, ascending; kept until a child comes or goes."""
        found = self._sorted.get(path)
        if found is None:
            found = sorted(self.children.get(path, ()))
            if found:
                # In this order the next sort, after a few changes, is one pass: 3 ms instead of 20 for 100,000 names.
                self.children[path] = dict.fromkeys(found)
            if len(self._sorted) >= _SORTED_LISTS_MAX:
                self._sorted.clear()
            self._sorted[path] = found
        return found

    def intern_acl(self, acl: tuple[Acl, ...]) -> tuple[Acl, ...]:
        """The one object that stands for all equal ACLs."""
        if acl is OPEN_ACL or acl == OPEN_ACL:
            return OPEN_ACL
        if len(self._acls) >= _INTERNED_ACLS_MAX:
            self._acls.clear()
        return self._acls.setdefault(acl, acl)

    def check_quota(self, path: str, more_count: int, more_bytes: int) -> None:
        """QuotaExceededError if a hard quota forbids the growth; a soft one is noted in `over_quota`."""
        root = self.quotas.check(path, more_count, more_bytes)
        if root is not None and root not in self.over_quota:
            self.over_quota = (*self.over_quota, root)

    def ephemerals_of(self, session_id: SessionId) -> tuple[str, ...]:
        """The paths of a session's ephemerals, ascending: in the same order on every server."""
        return tuple(sorted(self.ephemerals.get(session_id, ())))

    # ---- the three operations

    def insert(self, path: str, znode: Znode, parent_path: str) -> None:
        """A znode where there was none. The parent's own figures are the caller's to replace."""
        if self._journal is not None:
            self._journal.append((path, None))
        self.sum.came(path, znode)
        self.znodes[path] = znode
        self._enlist(path, parent_path)
        if self._sorted and parent_path in self._sorted:
            del self._sorted[parent_path]
        if znode.mode:
            self._index_special(path, None, znode)
        if self.quotas.roots or path.startswith(QUOTA_PREFIX):
            self.quotas.note(path, None, znode)

    def replace(self, path: str, old: Znode, new: Znode) -> None:
        """Another znode in place of `old`."""
        if self._journal is not None:
            self._journal.append((path, old))
        self.sum.replaced(path, old)
        self.znodes[path] = new
        if new.mode:
            self._index_special(path, old, new)
        if self.quotas.roots or path.startswith(QUOTA_PREFIX):
            self.quotas.note(path, old, new)

    def remove(self, path: str, old: Znode, parent_path: str) -> None:
        """No znode any more where `old` was."""
        if self._journal is not None:
            self._journal.append((path, old))
        self.sum.went(path, old)
        del self.znodes[path]
        siblings = self.children[parent_path]
        del siblings[path]
        if not siblings:
            del self.children[parent_path]
        if self._sorted and parent_path in self._sorted:
            del self._sorted[parent_path]
        if old.mode:
            self._index_special(path, old, None)
        if self.quotas.roots or path.startswith(QUOTA_PREFIX):
            self.quotas.note(path, old, None)

    def _enlist(self, path: str, parent_path: str) -> None:
        siblings = self.children.get(parent_path)
        if siblings is None:
            self.children[parent_path] = {path: None}
        else:
            siblings[path] = None

    def _index_special(self, path: str, old: Znode | None, new: Znode | None) -> None:
        znode = old if new is None else new
        assert znode is not None
        owner = znode.owner
        if not owner:
            self.reap_index.note(path, new)
        elif new is None:
            mine = self.ephemerals[owner]
            del mine[path]
            if not mine:
                del self.ephemerals[owner]
        elif old is None:
            self.ephemerals.setdefault(owner, {})[path] = None

    def add_all(self, brought: Restoration) -> None:
        """All that was brought is there at once. Nothing of it was there before; the parents are the caller's."""
        brought.settle()
        self.sum.include(brought.sum)
        self.znodes.update(brought.znodes)
        for path, children in brought.children.items():
            own = self.children.get(path)
            self.children[path] = children if own is None else {**own, **children}
        for path, znode in brought.znodes.items():
            if znode.mode:
                self._index_special(path, None, znode)
        self._sorted.clear()
        self.quotas = Quotas(self.znodes, self.children)
        self.quotas.unwritten.update(dict.fromkeys(self.quotas.roots))

    # ---- undo

    def open_journal(self) -> None:
        """From here on, remember how it was."""
        self._journal = []

    def close_journal(self, undo: bool) -> None:
        """Forget how it was; with `undo`, make it so again first."""
        journal, self._journal = self._journal, None
        if undo and journal:
            for path, old in reversed(journal):
                current = self.znodes.get(path)
                if old is None:
                    assert current is not None
                    self.remove(path, current, paths.parent(path))
                elif current is None:
                    self.insert(path, old, paths.parent(path))
                else:
                    self.replace(path, current, old)

    # ---- the end of a transaction

    def write_quota_stats(self) -> None:
        """Bring the stats nodes up to date. That is bookkeeping: no version, no time and no watch shows it."""
        behind = tuple(self.quotas.unwritten)
        for root in behind:
            text = self.quotas.stats(root)
            path = stats_path(root)
            znode = self.znodes.get(path)
            if text is not None and znode is not None and znode.data != text:
                self.replace(path, znode, dataclasses.replace(znode, data=text))
        self.quotas.unwritten.clear()  # what was written just now is no news
