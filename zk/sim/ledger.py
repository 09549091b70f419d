"""The ledger: what the history of transactions amounts to, worked out from the rules in docs/semantics.md and from
nothing else.

It is the naive twin of the production tree: a dict of nodes, counted through where the tree keeps an index, and the
state of every moment kept, so that a defect in the tree can't hide in what the tree is held against. It judges nobody:
what must agree with it stands in witness.py, answers.py and watching.py.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import itemgetter

from zk.model import paths
from zk.model.acl import Identity
from zk.model.errors import APIError, BadArgumentsError, SessionExpiredError, SessionMovedError
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Body, ConnectReply
from zk.model.requests import (
    AttachSession,
    Authenticate,
    BeginRestore,
    CloseSession,
    ExpireSession,
    FinishRestore,
    Multi,
    NameMembers,
    OpenSession,
    Reap,
    Restore,
    Txn,
    Write,
)
from zk.model.znode import Znode
from zk.sim.draft import QUOTA, Draft, Outcome, multi, name_members, operate, reap
from zk.sim.restoring import Bringing, bring, finish, refused_to_begin
from zk.sim.timelines import SetTimeline, Timeline
from zk.tree.changes import Change
from zk.tree.store import first_znodes

NOBODY = SessionId(0)
"""Who has no session, or proves none."""


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


class Ledger:
    """All that was and is. `znodes` and `sessions` are the state at `zxid`; `changes` tells of everything that
    happened to nodes, in order, one item per transaction."""

    def __init__(self) -> None:
        self.zxid = Zxid(0)
        self.znodes: dict[str, Znode] = first_znodes()
        self.sessions: dict[SessionId, Standing] = {}
        self.bringing: Bringing | None = None
        self.restored = Zxid(0)
        self.changes: list[tuple[Zxid, tuple[Change, ...]]] = []
        self._nodes: dict[str, Timeline[Znode | None]] = {path: Timeline(node) for path, node in self.znodes.items()}
        self._children: defaultdict[str, SetTimeline] = defaultdict(SetTimeline)
        self._children["/"] = SetTimeline(("zookeeper",))
        self._children["/zookeeper"] = SetTimeline(("quota", "config"))
        self._owned: defaultdict[SessionId, SetTimeline] = defaultdict(SetTimeline)
        self._identities: dict[SessionId, Timeline[tuple[Identity, ...]]] = {NOBODY: Timeline(())}
        self._alive: dict[SessionId, Timeline[bool]] = {NOBODY: Timeline(False)}

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

    def alive_at(self, session: SessionId, zxid: Zxid) -> bool:
        return session in self._alive and self._alive[session].at(zxid)

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
        draft = Draft(self.znodes, self.usage, zxid, txn.time_ms)
        posted = Posted(zxid, DONE)
        self._carry_out(draft, txn, posted)
        if draft.changes:
            # The simulated clients set quotas on nodes below the root alone.
            about_quotas = {path[len(QUOTA) :] for path in draft.znodes if paths.parent(path) == QUOTA}
            draft.write_quota_stats(about_quotas.union(f"/{name}" for name in self._children[QUOTA].now))
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

    def _carry_out(self, draft: Draft, txn: Txn, posted: Posted) -> None:
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

    def _server_write(self, draft: Draft, request: Write, posted: Posted) -> Outcome:
        match request:
            case OpenSession(last_zxid=seen) | AttachSession(last_zxid=seen) if seen > draft.zxid:
                return BadArgumentsError
            case OpenSession():
                if request.session_id in self.sessions:
                    return BadArgumentsError
                self.sessions[request.session_id] = Standing(
                    request.secret, request.timeout_ms, request.identities, draft.zxid
                )
                self._identities[request.session_id] = Timeline(request.identities)
                alive = self._alive[request.session_id] = Timeline(False)
                alive.note(draft.zxid, True)
                return ConnectReply(request.session_id, request.secret, request.timeout_ms)
            case AttachSession():
                who = self.sessions.get(request.session_id)
                if who is None or who.secret != request.secret:
                    return SessionExpiredError
                who.generation, who.n, who.timeout_ms = draft.zxid, 0, request.timeout_ms
                proved = [each for each in who.identities if each.scheme in ("digest", "sasl", "super")]
                added = [each for each in proved if each not in request.identities]
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
                return reap(draft, request)
            case NameMembers():
                return name_members(draft, request)
            case _:
                raise AssertionError(f"{request!r} is a client's")

    def _client_write(self, draft: Draft, txn: Txn, who: Standing, posted: Posted) -> Outcome:
        match txn.request:
            case Multi():
                return multi(draft, txn.request, txn.session_id, who.identities)
            case Authenticate():
                added = [each for each in txn.request.identities if each not in who.identities]
                self._identify(draft.zxid, txn.session_id, (*who.identities, *added))
                return DONE
            case BeginRestore():
                asked, session = txn.request, txn.session_id
                refused = refused_to_begin(draft, asked, session, who.identities, self.bringing, self.znodes)
                if refused is None:
                    self.bringing = Bringing(session, asked.last_zxid)
                return refused or DONE
            case Restore():
                return bring(txn.request, txn.session_id, self.bringing)
            case FinishRestore():
                outcome = finish(draft, txn.request, txn.session_id, self.bringing, self.znodes)
                if outcome is DONE:
                    self.bringing, self.restored = None, draft.zxid
                return outcome
            case CloseSession():
                return self._end(draft, txn.session_id, posted)
            case _:
                return operate(draft, txn.request, txn.session_id, who.identities)

    def _identify(self, zxid: Zxid, session: SessionId, identities: tuple[Identity, ...]) -> None:
        self.sessions[session].identities = identities
        self._identities[session].note(zxid, identities)

    def _end(self, draft: Draft, session: SessionId, posted: Posted) -> Outcome:
        for path in sorted(self._owned[session].now):
            draft.remove(path)
        del self.sessions[session]
        self._alive[session].note(draft.zxid, False)
        if self.bringing is not None and self.bringing.session == session:
            self.bringing = None
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
