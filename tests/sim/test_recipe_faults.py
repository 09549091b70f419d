"""Every recipe of contenders under every fault: a calm world, and one thing that goes wrong, at each moment in turn.

A victim and its rivals take what they compete for, a few times. The fault strikes when the victim is given its first
answer, in the next story its second one, and so on; it is cancelled at each turn of its event loop. Whatever the
moment: they never hold together what they must not, tokens grow, all come to an end, and nothing is left behind.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from random import Random

import anyio
import pytest
from zkclient import (
    AsyncZooKeeper,
    ConnectionLossError,
    Held,
    LockLost,
    OperationTimeoutError,
    SessionExpiredError,
)

from zk.model.record import SessionId
from zk.model.replies import Reply
from zk.model.requests import Call, Connect, Delete, Ping
from zk.sim.eventloop import EventLoop
from zk.sim.scenario import Scenario
from zk.sim.scenario_client import ScenarioClient
from zk.sim.streams import PORT, host_of
from zk.sim.world import MS

PATH = "/contest/one"
TIMEOUT_MS = 1_000
HOLD_SECONDS = 0.02
LEASES = 2
STORY_MS_MAX = 20_000
LOSSES = (LockLost, SessionExpiredError, OperationTimeoutError, ConnectionLossError)

Taken = AbstractAsyncContextManager[Held]


@dataclass(frozen=True)
class Kind:
    """One way to compete. `exclusive`: nobody else holds at the same time. `together`: how many others may. `cancels`:
    a loss cancels the body."""

    take: Callable[[AsyncZooKeeper], Taken]
    exclusive: bool = True
    together: int = 0
    cancels: bool = True


@asynccontextmanager
async def latched(zk: AsyncZooKeeper) -> AsyncIterator[Held]:
    async with zk.LeaderLatch(PATH) as latch:
        yield await latch.wait()


@asynccontextmanager
async def leased(zk: AsyncZooKeeper) -> AsyncIterator[Held]:
    """As if one could wait for it."""
    lease = zk.Lease("/leases/one", duration=0.3)
    while (held := await lease.acquire()) is None:
        await anyio.sleep(4 * HOLD_SECONDS)
    yield held
    await lease.release()


LOCK = Kind(lambda zk: zk.Lock(PATH, identifier="someone"))
ELECTION = Kind(lambda zk: zk.Election(PATH, "someone"))
READER = Kind(lambda zk: zk.ReadWriteLock(PATH).read_lock(), exclusive=False, together=9)
WRITER = Kind(lambda zk: zk.ReadWriteLock(PATH).write_lock())
LEASE = Kind(lambda zk: zk.Semaphore(PATH, max_leases=LEASES), exclusive=False, together=LEASES - 1)
CONTESTS = {
    "lock": (LOCK, LOCK, LOCK),
    "lock that is re-entrant": (Kind(lambda zk: zk.RLock(PATH)), LOCK),
    "election": (ELECTION, ELECTION),
    "latch in an election": (Kind(latched, cancels=False), ELECTION),
    "lease for a time": (Kind(leased, cancels=False),) * 2,
    "reader among writers": (READER, WRITER, WRITER),
    "writer among readers": (WRITER, READER, READER, READER),
    "semaphore": (LEASE, LEASE, LEASE, LEASE),
    "semaphore of one": (Kind(lambda zk: zk.Semaphore(PATH, max_leases=1)),) * 2,
}


@dataclass
class Judge:
    """Sees who holds. What it finds it writes down: an error in a body whose place is lost is only another's cause."""

    holding: list[tuple[Kind, Held]] = field(default_factory=list)
    tokens: list[int] = field(default_factory=lambda: [0])
    exclusive_token: int = 0
    found: list[str] = field(default_factory=list)

    def granted(self, kind: Kind, held: Held) -> None:
        others = [other for other, its in self.holding if not its.lost.is_set()]
        if len(others) > kind.together or any(other.exclusive for other in others):
            self.found.append(f"{held.path} is granted beside {others}")
        if held.token in self.tokens or held.token <= (max(self.tokens) if kind.exclusive else self.exclusive_token):
            self.found.append(f"{held.path} is granted by {held.token} after {self.tokens}")
        self.tokens.append(held.token)
        if kind.exclusive:
            self.exclusive_token = held.token
        self.holding.append((kind, held))

    def ended(self, kind: Kind, held: Held) -> None:
        self.holding.remove((kind, held))


class Troubled(Scenario):
    """With somebody who may delete what others need."""

    vandal: ScenarioClient

    def __enter__(self) -> "Troubled":
        super().__enter__()
        self.vandal = self.client()
        return self


class Party:
    """A process with a client, which competes in rounds."""

    def __init__(self, scenario: Troubled, judge: Judge, kind: Kind, rounds: int) -> None:
        self.scenario = scenario
        self.world = scenario.world
        self.judge = judge
        self.kind = kind
        self.done = False
        self.answers = 0
        self.turns = 0
        self.on_answer: Callable[[int], None] = lambda number: None  # told as it comes
        self.on_turn: Callable[[int], None] = lambda number: None
        self._scope: anyio.CancelScope | None = None
        self._rounds = rounds
        self.loop = EventLoop(self.world)
        self.line = scenario.line(self.loop, self)
        self.zk = AsyncZooKeeper(
            ",".join(f"{host_of(server)}:{PORT}" for server in scenario.servers),
            session_timeout_ms=TIMEOUT_MS,
            connect=self.line.connect,
            chance=Random(0),
        )
        self.main = self.loop.create_task(self._run())

    def answered(self, session: SessionId, call: Call, reply: Reply) -> None:
        """Told by the line."""
        if not isinstance(call.request, Ping | Connect) and not self.done:
            self.answers += 1
            self.on_answer(self.answers)

    async def _run(self) -> None:
        try:
            async with self.zk:
                await self.zk.sync()
                self.loop.on_turn = self._count
                with anyio.CancelScope() as self._scope:
                    for _ in range(self._rounds):
                        await self._compete()
                self.done = True
                self._finish = anyio.Event()
                await self._finish.wait()  # the session lives on: it hides nothing
        except Exception as error:
            self.loop.abort(error)
            raise

    def cancel(self) -> None:
        """Cancel its competing from outside."""
        if self._scope is not None:
            self.loop.call_soon(self._scope.cancel)

    def finish(self) -> None:
        """The session may end."""
        self.loop.call_soon(self._finish.set)

    def _count(self) -> None:
        if not self.done:
            self.turns += 1
            self.on_turn(self.turns)

    async def _compete(self) -> None:
        try:
            async with self.kind.take(self.zk) as held:
                self.judge.granted(self.kind, held)
                try:
                    await self.hold(held)
                finally:
                    self.judge.ended(self.kind, held)
        except LOSSES:
            pass

    async def hold(self, held: Held) -> None:
        """What it does while it holds. Losing it comes between."""
        for _ in range(2):
            lost = held.lost.is_set()
            await self.zk.sync()
            await anyio.sleep(HOLD_SECONDS / 2)
            if lost and self.kind.cancels:
                self.judge.found.append(f"the body at {held.path} runs on after the loss")
        held.check()


def play(scenario: Troubled, contest: str, rounds: int, prepare: Callable[[Party], None]) -> Party:
    """One story, from beginning to end. The victim, which `prepare` was given before it began."""
    judge = Judge()
    parties = [Party(scenario, judge, kind, rounds) for kind in CONTESTS[contest]]
    prepare(parties[0])
    play_out(scenario, judge, parties)
    return parties[0]


def play_out(scenario: Troubled, judge: Judge, parties: Sequence[Party]) -> None:
    until_us = scenario.world.now_us + STORY_MS_MAX * MS

    def comes_about(condition: Callable[[], bool]) -> bool:
        while not condition() and scenario.world.now_us < until_us:
            scenario.run_ms(20)
        return condition()

    assert comes_about(lambda: all(party.done for party in parties)), f"they wait for ever: {contenders(scenario)}"
    assert comes_about(lambda: contenders(scenario) == ()), f"left behind: {contenders(scenario)}"
    assert judge.found == []
    for party in parties:
        party.finish()
    assert comes_about(lambda: all(party.main.done() for party in parties))
    for party in parties:
        party.loop.end(party.main)


def contenders(scenario: Troubled) -> tuple[str, ...]:
    znodes = scenario.replica(scenario.run_until_leader()).tree.znodes
    return tuple(path for path in znodes if path.startswith(f"{PATH}/"))


def loses_the_answer(victim: Party) -> None:
    """The connection breaks, and this answer with it."""
    victim.line.darken(1 * MS)
    victim.line.reset()


def loses_its_session(victim: Party) -> None:
    """This answer does not come, nor anything more for longer than the session lasts."""
    victim.line.darken(2 * TIMEOUT_MS * MS)


def loses_its_session_afterwards(victim: Party) -> None:
    """This answer comes, and nothing more for longer than the session lasts."""
    victim.world.after(1, lambda: loses_its_session(victim))


def is_cancelled_while_cut_off(victim: Party) -> None:
    """This answer does not come, and the victim does not wait any longer for it."""
    victim.line.darken(300 * MS)
    victim.line.reset()
    victim.world.after(50 * MS, victim.cancel)


def loses_the_path(victim: Party) -> None:
    """Somebody deletes the path with all contenders."""
    vandal = victim.scenario.vandal
    for path in (*contenders(victim.scenario), PATH):
        vandal.ask(Delete(path))


def loses_the_server(victim: Party) -> None:
    """The server, the leader if there are several, is killed, and comes back soon."""
    scenario = victim.scenario
    leader = scenario.leader()
    victim.world.after(1, lambda: scenario.kill(leader))
    victim.world.after(200 * MS, lambda: scenario.start(leader))


def sees_the_leader_resign(victim: Party) -> None:
    """Another server leads."""
    scenario = victim.scenario
    victim.world.after(1, lambda: scenario.resign(scenario.leader()))


ONE_SERVER = (
    loses_the_answer,
    loses_its_session,
    loses_its_session_afterwards,
    is_cancelled_while_cut_off,
    loses_the_path,
    loses_the_server,
)
THREE_SERVERS = (loses_the_server, sees_the_leader_resign)
FAULTS = [(1, fault) for fault in ONE_SERVER] + [(3, fault) for fault in THREE_SERVERS]


@pytest.mark.parametrize(("servers", "fault"), FAULTS)
@pytest.mark.parametrize("contest", CONTESTS)
def test_whatever_answer_the_fault_comes_with(contest: str, servers: int, fault: Callable[[Party], None]) -> None:
    strike_at = 0

    def prepare(victim: Party) -> None:
        victim.on_answer = lambda number: fault(victim) if number == strike_at else None

    with Troubled(servers) as scenario:
        struck = True
        while struck:
            strike_at += 1
            struck = play(scenario, contest, 2, prepare).answers >= strike_at
    assert strike_at > 8, "there were several moments to strike at"


@pytest.mark.parametrize("contest", CONTESTS)
def test_whatever_turn_it_is_cancelled_at(contest: str) -> None:
    cancel_at = 0

    def prepare(victim: Party) -> None:
        victim.on_turn = lambda number: victim.cancel() if number == cancel_at else None

    with Troubled(1) as scenario:
        cancelled = True
        while cancelled:
            cancel_at += 1
            cancelled = play(scenario, contest, 1, prepare).turns >= cancel_at
    assert cancel_at > 15, "there were several moments to cancel at"


class Sociable(Party):
    """Holds a lease until all leases are held, or nobody else is left to take one."""

    crowd: Sequence[Party]

    async def hold(self, held: Held) -> None:
        crowd = self.crowd
        while len(self.judge.holding) < min(LEASES, sum(not party.done for party in crowd)):
            await anyio.sleep(HOLD_SECONDS)
        await anyio.sleep(self.world.random.uniform(0, 0.003))


@pytest.mark.parametrize("seed", range(10))
def test_no_lease_of_a_semaphore_lies_idle_while_somebody_waits(seed: int) -> None:
    """Messages take as long as chance will have it."""
    with Troubled(1) as scenario:
        scenario.world.random = Random(seed)
        assert len(set(meet(scenario, 6, lambda late: None).tokens[1:])) == 6 * 3


@pytest.mark.parametrize("size", [3, 4, 5])
def test_nor_if_a_waiter_hears_late_of_anything(size: int) -> None:
    late_at = 0

    def prepare(late: Party) -> None:
        late.on_answer = lambda number: late.line.darken(200 * MS) if number == late_at else None

    with Troubled(1) as scenario:
        while late_at < 15:
            late_at += 1
            meet(scenario, size, prepare)


def meet(scenario: Troubled, size: int, prepare: Callable[[Party], None]) -> Judge:
    """So many meet, a few times; `prepare` is given the last one to ask."""
    judge = Judge()
    crowd = [Sociable(scenario, judge, LEASE, rounds=3) for _ in range(size)]
    for party in crowd:
        party.crowd = crowd
    prepare(crowd[-1])
    play_out(scenario, judge, crowd)
    return judge
