"""What each write must do to the nodes, by the rules in docs/semantics.md: the first thing that is wrong with it (in
the documented order of checks), or what it leaves behind.

Naive on purpose, and apart from the production tree. Read next: ledger.py.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zk.model import paths
from zk.model.acl import Acl, Identity, Perms
from zk.model.errors import (
    APIError,
    BadArgumentsError,
    BadVersionError,
    InvalidACLError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    QuotaExceededError,
    RuntimeInconsistencyError,
)
from zk.model.events import EventType
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Body, Created, StatReply
from zk.model.requests import (
    ANY_VERSION,
    Check,
    Create,
    CreateMode,
    Delete,
    Multi,
    NameMembers,
    Reap,
    SetAcl,
    SetData,
    Write,
)
from zk.model.znode import Znode
from zk.tree.changes import Change

Outcome = Body | type[APIError] | tuple["Body | type[APIError]", ...]
"""What must be answered: of a refusal its kind, of a Multi or MultiRead the outcome of each operation."""

QUOTA = "/zookeeper/quota"
LIMITS = "/zookeeper_limits"
STATS = "/zookeeper_stats"
_STORED_MODE = {
    CreateMode.PERSISTENT_SEQUENTIAL: CreateMode.PERSISTENT,
    CreateMode.EPHEMERAL_SEQUENTIAL: CreateMode.EPHEMERAL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL: CreateMode.PERSISTENT_WITH_TTL,
}


def allows(acl: Sequence[Acl], perm: Perms, identities: Sequence[Identity]) -> bool:
    """Whether the ACL grants `perm` to the world, or to one of these identities."""
    return any(
        entry.perms & perm and (entry.scheme == "world" or Identity(entry.scheme, entry.id) in identities)
        for entry in acl
    )


class Draft:
    """A transaction under way: the nodes that it looked at, as it would leave them.

    `before` are the nodes as they were, `usage` counts the nodes and bytes at a path and below it, among these.
    """

    def __init__(
        self, before: Mapping[str, Znode], usage: Callable[[str], tuple[int, int]], zxid: Zxid, time_ms: int
    ) -> None:
        self.zxid = zxid
        self.time_ms = time_ms
        self.znodes: dict[str, Znode | None] = {}
        self.changes: list[Change] = []
        self._before = before
        self._usage_before = usage

    def node(self, path: str) -> Znode | None:
        if path not in self.znodes:
            self.znodes[path] = self._before.get(path)
        return self.znodes[path]

    def add(self, path: str, node: Znode) -> None:
        parent_path = paths.parent(path)
        parent = self.znodes[parent_path]
        assert parent is not None
        self.znodes[path] = node
        self.znodes[parent_path] = replace(
            parent, created=parent.created + 1, num_children=parent.num_children + 1, pzxid=self.zxid
        )
        self.changes.append(Change(EventType.CREATED, path, self.zxid, node.acl, parent.acl))

    def remove(self, path: str) -> None:
        node, parent = self.node(path), self.node(paths.parent(path))
        assert node is not None
        assert parent is not None
        self.znodes[path] = None
        self.znodes[paths.parent(path)] = replace(parent, num_children=parent.num_children - 1, pzxid=self.zxid)
        self.changes.append(Change(EventType.DELETED, path, self.zxid, node.acl, parent.acl))

    def discard(self) -> None:
        """It fails: everything is as it was."""
        self.changes.clear()
        for path in self.znodes:
            self.znodes[path] = self._before.get(path)

    # ---- quotas

    def breaks_quota(self, path: str, more_count: int, more_bytes: int) -> bool:
        """Whether the hard limit of the deepest quota above `path` forbids the growth."""
        root = path
        while root != "/":
            limits = self._peek(f"{QUOTA}{root}{LIMITS}")
            if limits is not None:
                hard = dict(re.findall(rb"(count|byte)HardLimit=(-?\d+)", limits.data))
                used = self._usage(root)
                return any(
                    more > 0 and 0 <= int(hard.get(what, -1)) < used[index] + more
                    for index, (what, more) in enumerate(((b"count", more_count), (b"byte", more_bytes)))
                )
            root = paths.parent(root)
        return False

    def write_quota_stats(self, roots: Iterable[str]) -> None:
        """The usage, in the stats nodes of those `roots` that have a quota. Nobody is told."""
        for root in roots:
            stats = self._peek(f"{QUOTA}{root}{STATS}")
            if stats is not None and self._peek(f"{QUOTA}{root}{LIMITS}") is not None:
                text = b"count=%d,bytes=%d" % self._usage(root)
                if stats.data != text:
                    self.znodes[f"{QUOTA}{root}{STATS}"] = replace(stats, data=text)

    def _peek(self, path: str) -> Znode | None:
        return self.znodes[path] if path in self.znodes else self._before.get(path)

    def _usage(self, root: str) -> tuple[int, int]:
        count, size = self._usage_before(root)
        for path, node in self.znodes.items():
            if paths.is_inside(path, root):
                for each, sign in ((self._before.get(path), -1), (node, 1)):
                    if each is not None:
                        count += sign
                        size += sign * len(each.data)
        return count, size


# ---- single operations: what they do, or the first thing that is wrong, in the documented order of checks


def operate(
    draft: Draft, request: Write, session: SessionId, identities: Sequence[Identity]
) -> "Body | type[APIError]":
    return _OPERATIONS[type(request)](draft, request, session, identities)


def _create(
    draft: Draft, request: Create, session: SessionId, identities: Sequence[Identity]
) -> Created | type[APIError]:
    mode = request.mode
    acl = _stored_acl(request.acl, identities)
    if not acl:
        return InvalidACLError
    parent_path = request.path.rpartition("/")[0] or "/"
    parent = draft.node(parent_path)
    if parent is None:
        return NoNodeError
    if not allows(parent.acl, Perms.CREATE, identities):
        return NoAuthError
    path = f"{request.path}{parent.created:010d}" if mode.sequential else request.path
    if draft.node(path) is not None:
        return NodeExistsError
    if parent.owner:
        return NoChildrenForEphemeralsError
    if draft.breaks_quota(path, 1, len(request.data)):
        return QuotaExceededError
    zxid, time_ms = draft.zxid, draft.time_ms
    owner = session if mode.ephemeral else SessionId(0)
    node = Znode(
        data=request.data,
        acl=acl,
        czxid=zxid,
        mzxid=zxid,
        pzxid=zxid,
        ctime=time_ms,
        mtime=time_ms,
        version=0,
        created=0,
        aversion=0,
        owner=owner,
        num_children=0,
        mode=_STORED_MODE.get(mode, mode),
        ttl_ms=request.ttl_ms,
    )
    draft.add(path, node)
    return Created(path, node.stat)


def _stored_acl(acl: Sequence[Acl], identities: Sequence[Identity]) -> tuple[Acl, ...]:
    """() if it is refused: 'auth' stands for the caller's identities, and must not stand for nobody."""
    stored: list[Acl] = []
    for entry in acl:
        mine = [Acl(entry.perms, each.scheme, each.id) for each in identities if each.scheme == "digest"]
        if entry.scheme == "auth" and not mine:
            return ()
        stored += mine if entry.scheme == "auth" else [entry]
    return tuple(dict.fromkeys(stored))


def _delete(draft: Draft, request: Delete, session: SessionId, identities: Sequence[Identity]) -> Body | type[APIError]:
    if request.path in paths.RESERVED:
        return BadArgumentsError
    parent = draft.node(paths.parent(request.path))
    if parent is None:
        return NoNodeError
    if not allows(parent.acl, Perms.DELETE, identities):
        return NoAuthError
    node = draft.node(request.path)
    if node is None:
        return NoNodeError
    if request.version not in (ANY_VERSION, node.version):
        return BadVersionError
    if node.num_children:
        return NotEmptyError
    draft.remove(request.path)
    return DONE


def _set_data(
    draft: Draft, request: SetData, session: SessionId, identities: Sequence[Identity]
) -> Body | type[APIError]:
    node = draft.node(request.path)
    if node is None:
        return NoNodeError
    if not allows(node.acl, Perms.WRITE, identities):
        return NoAuthError
    if draft.breaks_quota(request.path, 0, len(request.data) - len(node.data)):
        return QuotaExceededError
    if request.version not in (ANY_VERSION, node.version):
        return BadVersionError
    node = replace(node, data=request.data, version=node.version + 1, mzxid=draft.zxid, mtime=draft.time_ms)
    draft.znodes[request.path] = node
    draft.changes.append(Change(EventType.DATA_CHANGED, request.path, draft.zxid, node.acl))
    return StatReply(node.stat)


def _set_acl(
    draft: Draft, request: SetAcl, session: SessionId, identities: Sequence[Identity]
) -> Body | type[APIError]:
    acl = _stored_acl(request.acl, identities)
    if not acl:
        return InvalidACLError
    node = draft.node(request.path)
    if node is None:
        return NoNodeError
    if not allows(node.acl, Perms.ADMIN, identities):
        return NoAuthError
    if request.version not in (ANY_VERSION, node.aversion):
        return BadVersionError
    node = replace(node, acl=acl, aversion=node.aversion + 1)
    draft.znodes[request.path] = node
    return StatReply(node.stat)


def _check(draft: Draft, request: Check, session: SessionId, identities: Sequence[Identity]) -> Body | type[APIError]:
    node = draft.node(request.path)
    if node is None:
        return NoNodeError
    if not allows(node.acl, Perms.READ, identities):
        return NoAuthError
    if request.version not in (ANY_VERSION, node.version) or request.czxid not in (0, node.czxid):
        return BadVersionError
    return DONE


# The type of the request is the key under which its function stands, which no checker can follow: hence Any.
_OPERATIONS: Mapping[type, Callable[[Draft, Any, SessionId, Sequence[Identity]], Body | type[APIError]]] = {
    Create: _create,
    Delete: _delete,
    SetData: _set_data,
    SetAcl: _set_acl,
    Check: _check,
}


def multi(draft: Draft, request: Multi, session: SessionId, identities: Sequence[Identity]) -> Outcome:
    """All or nothing: in front of the culprit all is well, behind it nothing was tried."""
    outcomes: list[Body | type[APIError]] = []
    for operation in request.operations:
        outcomes.append(operate(draft, operation, session, identities))
        if isinstance(outcomes[-1], type):
            draft.discard()
            good, behind = len(outcomes) - 1, len(request.operations) - len(outcomes)
            return (*[DONE] * good, outcomes[-1], *[RuntimeInconsistencyError] * behind)
    return tuple(outcomes)


def name_members(draft: Draft, request: NameMembers) -> Outcome:
    """The members' lines, and the zxid in the last one."""
    path = "/zookeeper/config"
    node = draft.node(path)
    assert node is not None
    data = "".join(f"{member}\n" for member in request.members) + f"version={draft.zxid:x}"
    draft.znodes[path] = replace(
        node, data=data.encode(), version=node.version + 1, mzxid=draft.zxid, mtime=draft.time_ms
    )
    draft.changes.append(Change(EventType.DATA_CHANGED, path, draft.zxid, node.acl))
    return DONE


def reap(draft: Draft, request: Reap) -> Outcome:
    """Containers go that had children and have none, nodes with a TTL that have none and whose time is over."""
    node = draft.node(request.path)
    if node is None:
        return NoNodeError
    emptied = node.mode is CreateMode.CONTAINER and node.created > 0
    over = node.mode is CreateMode.PERSISTENT_WITH_TTL and node.mtime + node.ttl_ms <= draft.time_ms
    if node.num_children or not (emptied or over):
        return BadArgumentsError
    draft.remove(request.path)
    return DONE
