"""What must hold for locks and elections: who truly was first when, told from the history of the broadcast alone.

The referee follows the contenders' nodes from transaction to transaction, and holds against them what the clients
believe. The clients' clocks are a little faster than any server's: the promise of sessions assumes that they are no
slower, and so each rule here is exact. Read recipes.py next: the clients.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zkclient import AsyncZooKeeper, Held
from zkclient.recipes.contenders import LOCK, SHARED_LOCK, in_order
from zkclient.recipes.readwritelock import WRITER

from zk.model.acl import ANYONE
from zk.model.errors import APIError
from zk.model.paths import basename, join
from zk.model.record import SessionId, Zxid, record
from zk.model.replies import ChildrenReply, Reply
from zk.model.requests import Call, Create, GetChildren, GetData
from zk.model.znode import Znode
from zk.sim.eventloop import EventLoop
from zk.sim.trace import zxid_text
from zk.sim.witness import Witness
from zk.sim.world import World

NO_TOKEN = Zxid(0)
MARKS = (LOCK, SHARED_LOCK)


@record
class Place:
    """A contender's node. `token` is its czxid."""

    name: str
    token: Zxid
    owner: SessionId
    identifier: str


class Rules:
    """Of a lock, or an election: one holds, in the order of asking. Source: docs/recipes.md."""

    def holds(self, queue: Sequence[Place], index: int) -> bool:
        """Whether the one at `index` is to be granted its place."""
        return index == 0

    def alone(self, name: str) -> bool:
        """Whether nobody else holds beside the one with this name."""
        return True

    def waits_for(self, queue: Sequence[Place], index: int) -> int:
        """The index of the one that it watches until then; -1: of nobody."""
        return index - 1

    def watches_all(self, index: int) -> bool:
        """Whether it may watch all who come and go."""
        return False


class ReadersAndWriters(Rules):
    """Of a read-write lock: readers share, a writer excludes everyone, in the order of asking."""

    def holds(self, queue: Sequence[Place], index: int) -> bool:
        return index == 0 or self.waits_for(queue, index) < 0

    def alone(self, name: str) -> bool:
        return name.startswith(WRITER)

    def waits_for(self, queue: Sequence[Place], index: int) -> int:
        if self.alone(queue[index].name):
            return index - 1
        return next((before for before in reversed(range(index)) if self.alone(queue[before].name)), -1)


class Leases(Rules):
    """Of a semaphore: so many hold at a time. The next one watches who comes and goes."""

    def __init__(self, number: int) -> None:
        self.number = number

    def holds(self, queue: Sequence[Place], index: int) -> bool:
        return index < self.number

    def alone(self, name: str) -> bool:
        return False

    def watches_all(self, index: int) -> bool:
        return index <= self.number


FIRST = Rules()


@dataclass(slots=True, eq=False)
class Claim:
    """`who` believes to hold `contest`, from its grant to the end of its body."""

    who: str
    contest: str
    held: Held
    client: AsyncZooKeeper
    loop: EventLoop
    session: SessionId = field(init=False)

    def __post_init__(self) -> None:
        self.session = self.client.session_id


@dataclass(slots=True)
class _Contest:
    """One path. `queues` says who stood in it from each zxid on."""

    rules: Rules
    pzxid: Zxid | None = None
    queues: list[tuple[Zxid, tuple[Place, ...]]] = field(default_factory=lambda: [(Zxid(0), ())])
    firsts: list[Place] = field(default_factory=list)  # all who ever were first, in their order
    granted: set[Zxid] = field(default_factory=lambda: {NO_TOKEN})
    last: Zxid = NO_TOKEN  # the highest token granted
    last_alone: Zxid = NO_TOKEN  # the highest one granted to somebody who holds alone
    claims: dict[Zxid, Claim] = field(default_factory=dict)
    marked: set[Zxid] = field(default_factory=set)  # contenders that somebody is about to delete
    deleted: dict[Zxid, Zxid] = field(default_factory=dict)  # those of them that were, and when
    robbed: set[SessionId] = field(default_factory=set)  # whose they were

    @property
    def queue(self) -> tuple[Place, ...]:
        return self.queues[-1][1]


class Referee:
    """`contests` are the paths of locks and elections; `counters` those of numbers that only holders raise."""

    def __init__(
        self, world: World, witness: Witness, contests: Mapping[str, Rules], counters: Sequence[str] = ()
    ) -> None:
        self.world = world
        self._witness = witness
        self._contests = {path: _Contest(rules) for path, rules in contests.items()}
        self._counters = dict.fromkeys(counters, 0)
        self._observed: dict[str, int] = {}
        self._began: dict[SessionId, int] = {}  # by which call each session asked to create something first

    # ---- the history

    def committed(self, zxid: Zxid, payload: bytes) -> None:
        """The next transaction of the history; the witness is told first."""
        self._witness.committed(zxid, payload)
        znodes = self._witness.tree.znodes
        for path, contest in self._contests.items():
            znode = znodes.get(path)
            pzxid = None if znode is None else znode.pzxid
            if pzxid != contest.pzxid:
                contest.pzxid = pzxid
                self._queue_changed(path, contest, zxid)
        for path, value in self._counters.items():
            znode = znodes.get(path)
            if znode is not None and znode.mzxid == zxid and znode.version:
                self._raised_by_one(path, value, znode)
                self._counters[path] = value + 1

    def _queue_changed(self, path: str, contest: _Contest, zxid: Zxid) -> None:
        queue = self._read_queue(path)
        gone = {place.token for place in contest.queue} - {place.token for place in queue}
        contest.queues.append((zxid, queue))
        if queue and (not contest.firsts or contest.firsts[-1] != queue[0]):
            contest.firsts.append(queue[0])
        for token in sorted(gone):
            claim = contest.claims.get(token)
            if token in contest.marked:
                contest.deleted[token] = zxid
            if claim is not None and (token not in contest.marked or self._session_over(claim)):
                self._lost_in_time(claim)

    def mark(self, contest: str, place: Place) -> None:
        """Somebody is about to delete this contender: no holder can know that before it is told."""
        self._contests[contest].marked.add(place.token)
        self._contests[contest].robbed.add(place.owner)

    def _read_queue(self, path: str) -> tuple[Place, ...]:
        tree = self._witness.tree
        if path not in tree.znodes:
            return ()
        reply = tree.read(GetChildren(path), SessionId(0), (ANYONE,))
        assert isinstance(reply, ChildrenReply)
        places = []
        for contender in in_order(reply.names, MARKS):
            znode = tree.znodes[join(path, contender.name)]
            places.append(Place(contender.name, znode.czxid, znode.owner, znode.data.decode()))
        return tuple(places)

    # ---- the invariants

    def _raised_by_one(self, path: str, value: int, znode: Znode) -> None:
        """(23) Read, add one, write guarded by the lock: no such write is lost or comes twice. Source: what a lock is
        for; docs/recipes.md, rule 3."""
        if znode.data != b"%d" % (value + 1):
            self.world.fail("guarded writes", f"{path} was {value}, and {znode.data!r} is written under the lock")

    def _lost_in_time(self, claim: Claim) -> None:
        """(21) Before any server takes a holder's session for over, the holder has been told LOST, by its own clock.
        Source: semantics of sessions, pings. A process that does not run is told when it does."""
        if not claim.loop.stalled and not claim.held.lost.is_set():
            self.world.fail(
                "locks lost in time",
                f"the node of {claim.who} at {claim.contest} is gone with session {claim.session:#x}, and it holds on",
            )

    def granted(self, claim: Claim) -> None:
        """(22) Who is granted a place has it, by a live session, at this moment; and its token is higher than that of
        anybody who held before and not beside it: in the order of asking. Source: docs/recipes.md, rules 1 and 3."""
        contest = self._contests[claim.contest]
        token = claim.held.token
        alone = contest.rules.alone(basename(claim.held.path))
        self._may_hold(claim)
        before = contest.last if alone else contest.last_alone
        if (token <= before and token not in contest.deleted) or token in contest.granted:
            self._fail(claim, "fencing", f"its token comes after {zxid_text(max(before, token))}")
        contest.granted.add(token)
        contest.last = max(contest.last, token)
        if alone:
            contest.last_alone = max(contest.last_alone, token)
        contest.claims[token] = claim

    def still(self, claim: Claim) -> None:
        """(22) A check that passes is right. Source: docs/recipes.md, rule 2."""
        self._may_hold(claim)

    def ended(self, claim: Claim) -> None:
        """The holder's body has ended."""
        del self._contests[claim.contest].claims[claim.held.token]

    def may_believe(self, claim: Claim) -> bool:
        """Whether the holder truly holds at this moment, or is still to be told that somebody deleted its node."""
        contest = self._contests[claim.contest]
        queue, token = contest.queue, claim.held.token
        for index, place in enumerate(queue):
            if (place.token, place.owner) == (token, claim.session):
                return contest.rules.holds(queue, index)
        deleted = contest.deleted.get(token)
        return deleted is not None and claim.client.last_zxid < deleted and not self._session_over(claim)

    def _session_over(self, claim: Claim) -> bool:
        return claim.session not in self._witness.tree.sessions

    def ended_unlocked(self, claim: Claim) -> None:
        """(22) A body that outlived its lock ends with LockLost. Source: docs/recipes.md, rule 2."""
        self._fail(claim, "mutual exclusion", "its body ended without an error, after the place was lost")

    def ran_on(self, claim: Claim) -> None:
        """(22) The body of a lost lock is cancelled. Source: docs/recipes.md, rule 2."""
        self._fail(claim, "mutual exclusion", "its body runs on after the place was lost")

    def _may_hold(self, claim: Claim) -> None:
        if not self.may_believe(claim):
            queue = [f"{zxid_text(place.token)} of {place.owner:#x}" for place in self._contests[claim.contest].queue]
            self._fail(claim, "mutual exclusion", f"in truth the queue is {queue}")

    def answered(self, session: SessionId, call: Call, reply: Reply) -> None:
        """(24) Who waits watches the one that it waits for, and nobody else: a release wakes one. Source:
        docs/recipes.md, rule 7."""
        request = call.request
        if isinstance(request, Create):
            self._began.setdefault(session, call.xid)
        if not isinstance(request, GetData | GetChildren) or not request.watch or isinstance(reply.body, APIError):
            return
        if call.xid < self._began.get(session, call.xid):
            return  # asked for in an earlier session, whose contender went with it
        parent, _, name = request.path.rpartition("/")
        path, name = (request.path, "") if request.path in self._contests else (parent, name)
        contest = self._contests.get(path)
        if contest is None or session in contest.robbed:
            return  # it may take the node of a new queue for the one that it waited for: numbers begin anew
        rules = contest.rules
        index = bisect_right(contest.queues, reply.zxid, key=lambda entry: entry[0]) - 1
        queue = contest.queues[index][1]
        own = [index for index, place in enumerate(queue) if place.owner == session]
        if name:
            watched = next((index for index, place in enumerate(queue) if place.name == name), -1)
            if watched < 0:
                self.world.fail("reads", f"session {session:#x} is shown {request.path} at {zxid_text(reply.zxid)}")
            herd = all(watched not in (index, rules.waits_for(queue, index)) for index in own)
        else:
            herd = not any(rules.watches_all(index) for index in own)
        if own and herd:
            self.world.fail("no herd", f"session {session:#x} is at {own} in {path}, and watches {name or 'all'}")

    def observed(self, observer: str, contest: str, identifier: str | None) -> None:
        """(25) An observer is told only of those who led, and in their order. Source: semantics of reads, session."""
        if identifier is None:
            return
        firsts = self._contests[contest].firsts
        last = self._observed.get(observer, -1)
        index = next((index for index, place in enumerate(firsts) if place.identifier == identifier), -1)
        if index < last or index < 0:
            names = [place.identifier for place in firsts]
            self.world.fail("observed leaders", f"{observer} sees {identifier}, number {index} of {names}; saw {last}")
        self._observed[observer] = index

    def no_one_left(self) -> None:
        """(26) When all have released or given up, no contender is left behind. Source: docs/recipes.md, rule 4."""
        for path, contest in self._contests.items():
            if contest.queue:
                self.world.fail("no leaked contender", f"at {path} remain {contest.queue}")

    def queues(self) -> dict[str, tuple[Place, ...]]:
        """Who stands where at this moment, in truth."""
        return {path: contest.queue for path, contest in self._contests.items()}

    def _fail(self, claim: Claim, invariant: str, detail: str) -> None:
        who = f"{claim.who} (session {claim.session:#x})"
        self.world.fail(invariant, f"{who} holds {claim.contest} by {zxid_text(claim.held.token)}: {detail}")
