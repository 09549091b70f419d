"""The ledger: what the history of transactions amounts to, worked out from the rules in docs/semantics.md and from
nothing else.

It is the naive twin of the production tree: a dict of nodes, counted through where the tree keeps an index, and the
state of every moment kept, so that a defect in the tree can't hide in what the tree is held against. It judges nobody:
what must agree with it stands in witness.py, answers.py and watching.py.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
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
    SessionExpiredError,
    SessionMovedError,
)
from zk.model.events import EventType
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Body, ConnectReply, Created, StatReply
from zk.model.requests import (
    ANY_VERSION,
    AttachSession,
    Authenticate,
    Check,
    CloseSession,
    Create,
    CreateMode,
    Delete,
    ExpireSession,
    Multi,
    OpenSession,
    Reap,
    SetAcl,
    SetData,
    Txn,
    Write,
)
from zk.model.znode import Znode
from zk.sim.timelines import SetTimeline, Timeline
from zk.tree.changes import Change
from zk.tree.store import first_znodes

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


@dataclass(slots=True)
class Standing:
    """One session."""

    secret: bytes
    timeout_ms: int
    identities: tuple[Identity, ...]
    generation: Zxid
    n: int = 0
    floor: int = 0
    answers: dict[int, tuple[Zxid, Body | APIError]] = field(default_factory=dict)


@dataclass(slots=True)
class Posted:
    """What one transaction must have done. `known`: the answer of the same write when it was done before."""

    zxid: Zxid
    outcome: Outcome
    changes: tuple[Change, ...] = ()
    closed: tuple[SessionId, ...] = ()
    looked_at: tuple[str, ...] = ()  # the nodes that it changed, or could have
    known: tuple[Zxid, Body | APIError] | None = None


def allows(acl: Sequence[Acl], perm: Perms, identities: Sequence[Identity]) -> bool:
    """Whether the ACL grants `perm` to the world, or to one of these identities."""
    return any(
        entry.perms & perm and (entry.scheme == "world" or Identity(entry.scheme, entry.id) in identities)
        for entry in acl
    )


class Ledger:
    """All that was and is. `znodes` and `sessions` are the state at `zxid`; `changes` tells of everything that
    happened to nodes, in order, one item per transaction."""

    def __init__(self) -> None:
        self.zxid = Zxid(0)
        self.znodes: dict[str, Znode] = first_znodes()
        self.sessions: dict[SessionId, Standing] = {}
        self.changes: list[tuple[Zxid, tuple[Change, ...]]] = []
        self._nodes: dict[str, Timeline[Znode | None]] = {path: Timeline(node) for path, node in self.znodes.items()}
        self._children: defaultdict[str, SetTimeline] = defaultdict(SetTimeline)
        self._children["/"] = SetTimeline(("zookeeper",))
        self._children["/zookeeper"] = SetTimeline(("quota", "config"))
        self._owned: defaultdict[SessionId, SetTimeline] = defaultdict(SetTimeline)
        self._identities: dict[SessionId, Timeline[tuple[Identity, ...]]] = {}

    # ---- what was when

    def node_at(self, path: str, zxid: Zxid) -> Znode | None:
        timeline = self._nodes.get(path)
        return None if timeline is None else timeline.at(zxid)

    def children(self, path: str) -> SetTimeline:
        """The names of the children."""
        return self._children[path]

    def owned(self, session: SessionId) -> SetTimeline:
        """The paths of the session's ephemerals."""
        return self._owned[session]

    def identities_at(self, session: SessionId, zxid: Zxid) -> tuple[Identity, ...]:
        return self._identities[session].at(zxid)

    def below_at(self, path: str, zxid: Zxid) -> int:
        """How many nodes there were below `path`."""
        names = self._children[path].at(zxid) if path in self._children else ()
        return sum(1 + self.below_at(paths.join(path, name), zxid) for name in names)

    def usage(self, root: str) -> tuple[int, int]:
        """How many nodes and bytes there are at `root` and below it."""
        node = self.znodes.get(root)
        if node is None:
            return 0, 0
        count, size = 1, len(node.data)
        for name in self._children[root].now if root in self._children else ():
            more_count, more_bytes = self.usage(paths.join(root, name))
            count, size = count + more_count, size + more_bytes
        return count, size

    def since(self, zxid: Zxid, until: Zxid) -> Sequence[tuple[Zxid, tuple[Change, ...]]]:
        """The changes of all transactions after `zxid`, up to `until`."""
        first = bisect_right(self.changes, zxid, key=itemgetter(0))
        return self.changes[first : bisect_right(self.changes, until, key=itemgetter(0))]

    # ---- the next transaction

    def post(self, zxid: Zxid, txn: Txn) -> Posted:
        """Enter the next transaction of the history, and say what it must have done."""
        self.zxid = zxid
        draft = Draft(self, zxid, txn.time_ms)
        posted = Posted(zxid, DONE)
        self._carry_out(draft, txn, posted)
        if draft.changes:
            draft.write_quota_stats()
            posted.changes = tuple(draft.changes)
            self.changes.append((zxid, posted.changes))
        posted.looked_at = tuple(draft.znodes)
        for path, node in draft.znodes.items():
            if node is not self.znodes.get(path):
                self._enter(zxid, path, node)
        return posted

    def keep_answer(self, session: SessionId, xid: int, body: Body | APIError) -> None:
        """The write `xid` of the last transaction was answered so: a resend gets the same."""
        if session in self.sessions:
            self.sessions[session].answers[xid] = (self.zxid, body)

    def _carry_out(self, draft: "Draft", txn: Txn, posted: Posted) -> None:
        if txn.session_id == 0:
            posted.outcome = self._server_write(draft, txn.request, posted)
            return
        who = self.sessions.get(txn.session_id)
        if who is None:
            posted.outcome = SessionExpiredError
        elif (txn.generation, txn.n) != (who.generation, who.n + 1):
            posted.outcome = SessionMovedError
        else:
            who.n = txn.n
            posted.known = who.answers.get(txn.xid)
            who.floor = max(who.floor, txn.floor)
            for xid in [xid for xid in who.answers if xid < who.floor]:
                del who.answers[xid]
            if posted.known is None:
                posted.outcome = self._client_write(draft, txn, who, posted)

    def _server_write(self, draft: "Draft", request: Write, posted: Posted) -> Outcome:
        match request:
            case OpenSession():
                if request.session_id in self.sessions:
                    return BadArgumentsError
                self.sessions[request.session_id] = Standing(
                    request.secret, request.timeout_ms, request.identities, draft.zxid
                )
                self._identities[request.session_id] = Timeline(request.identities)
                return ConnectReply(request.session_id, request.secret, request.timeout_ms)
            case AttachSession():
                who = self.sessions.get(request.session_id)
                if who is None or who.secret != request.secret:
                    return SessionExpiredError
                who.generation, who.n, who.timeout_ms = draft.zxid, 0, request.timeout_ms
                added = [each for each in who.identities if each.scheme == "digest" and each not in request.identities]
                self._identify(draft.zxid, request.session_id, (*request.identities, *added))
                return ConnectReply(request.session_id, who.secret, who.timeout_ms)
            case ExpireSession():
                who = self.sessions.get(request.session_id)
                if who is None:
                    return SessionExpiredError
                if who.generation != request.generation:
                    return SessionMovedError
                return self._end(draft, request.session_id, posted)
            case Reap():
                return _reap(draft, request)
            case _:
                raise AssertionError(f"{request!r} is a client's")

    def _client_write(self, draft: "Draft", txn: Txn, who: Standing, posted: Posted) -> Outcome:
        match txn.request:
            case Multi():
                return _multi(draft, txn.request, txn.session_id, who.identities)
            case Authenticate():
                if txn.request.identity not in who.identities:
                    self._identify(draft.zxid, txn.session_id, (*who.identities, txn.request.identity))
                return DONE
            case CloseSession():
                return self._end(draft, txn.session_id, posted)
            case _:
                return _operate(draft, txn.request, txn.session_id, who.identities)

    def _identify(self, zxid: Zxid, session: SessionId, identities: tuple[Identity, ...]) -> None:
        self.sessions[session].identities = identities
        self._identities[session].note(zxid, identities)

    def _end(self, draft: "Draft", session: SessionId, posted: Posted) -> Outcome:
        for path in sorted(self._owned[session].now):
            draft.remove(path)
        del self.sessions[session]
        posted.closed = (session,)
        return DONE

    def _enter(self, zxid: Zxid, path: str, node: Znode | None) -> None:
        """`path` is now this."""
        old = self.znodes.get(path)
        if path not in self._nodes:
            self._nodes[path] = Timeline(None)
        self._nodes[path].note(zxid, node)
        siblings = self._children[paths.parent(path)]
        if old is not None and (node is None or node.czxid != old.czxid):
            siblings.remove(zxid, paths.basename(path))
            if old.owner:
                self._owned[old.owner].remove(zxid, path)
        if node is None:
            del self.znodes[path]
            return
        self.znodes[path] = node
        if old is None or node.czxid != old.czxid:
            siblings.add(zxid, paths.basename(path))
            if node.owner:
                self._owned[node.owner].add(zxid, path)


class Draft:
    """A transaction under way: the nodes that it looked at, as it would leave them. Nothing shows in the ledger yet."""

    def __init__(self, ledger: Ledger, zxid: Zxid, time_ms: int) -> None:
        self.zxid = zxid
        self.time_ms = time_ms
        self.znodes: dict[str, Znode | None] = {}
        self.changes: list[Change] = []
        self._ledger = ledger

    def node(self, path: str) -> Znode | None:
        if path not in self.znodes:
            self.znodes[path] = self._ledger.znodes.get(path)
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
            self.znodes[path] = self._ledger.znodes.get(path)

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

    def write_quota_stats(self) -> None:
        """The usage, in the stats nodes of whatever has a quota. Nobody is told."""
        known = self._ledger.children(QUOTA).now | {
            paths.basename(path) for path in self.znodes if paths.parent(path) == QUOTA
        }
        for name in known:  # the simulated clients set quotas on nodes below the root alone
            root = f"/{name}"
            stats = self._peek(f"{QUOTA}{root}{STATS}")
            if stats is not None and self._peek(f"{QUOTA}{root}{LIMITS}") is not None:
                text = b"count=%d,bytes=%d" % self._usage(root)
                if stats.data != text:
                    self.znodes[f"{QUOTA}{root}{STATS}"] = replace(stats, data=text)

    def _peek(self, path: str) -> Znode | None:
        return self.znodes[path] if path in self.znodes else self._ledger.znodes.get(path)

    def _usage(self, root: str) -> tuple[int, int]:
        count, size = self._ledger.usage(root)
        for path, node in self.znodes.items():
            if paths.is_inside(path, root):
                for each, sign in ((self._ledger.znodes.get(path), -1), (node, 1)):
                    if each is not None:
                        count += sign
                        size += sign * len(each.data)
        return count, size


# ---- single operations: what they do, or the first thing that is wrong, in the documented order of checks


def _operate(
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


def _multi(draft: Draft, request: Multi, session: SessionId, identities: Sequence[Identity]) -> Outcome:
    """All or nothing: in front of the culprit all is well, behind it nothing was tried."""
    outcomes: list[Body | type[APIError]] = []
    for operation in request.operations:
        outcomes.append(_operate(draft, operation, session, identities))
        if isinstance(outcomes[-1], type):
            draft.discard()
            good, behind = len(outcomes) - 1, len(request.operations) - len(outcomes)
            return (*[DONE] * good, outcomes[-1], *[RuntimeInconsistencyError] * behind)
    return tuple(outcomes)


def _reap(draft: Draft, request: Reap) -> Outcome:
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
