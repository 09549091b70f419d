"""Every recipe of contenders under every fault of zk.sim.plays: one thing goes wrong, at each moment in turn.

A victim and its rivals take what they compete for, a few times. The fault strikes when the victim is given its first
answer, in the next telling its second one, and so on; it is cancelled at each turn of its event loop. Whatever the
moment: they never hold together what they must not, tokens grow, all come to an end, and nothing is left behind. (The
other recipes are in test_recipe_promises.)
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from random import Random

import anyio
import pytest
from zkclient import AsyncZooKeeper, Held, LockLost, SessionExpiredError

from zk.sim.plays import FAULT_NAMES, FAULTS, Actor, Part, Play, Stage, Troupe, strike_at_answers
from zk.sim.world import MS

HOLD_SECONDS = 0.02
LEASES = 2
LOSSES = (LockLost, SessionExpiredError)

Taken = AbstractAsyncContextManager[Held]


@dataclass(frozen=True)
class Kind:
    """One way to compete. `exclusive`: nobody else holds at the same time. `together`: how many others may. `cancels`:
    a loss cancels the body."""

    take: Callable[[AsyncZooKeeper, str], Taken]
    exclusive: bool = True
    together: int = 0
    cancels: bool = True


@asynccontextmanager
async def latched(zk: AsyncZooKeeper, path: str) -> AsyncIterator[Held]:
    async with zk.LeaderLatch(path) as latch:
        yield await latch.wait()


@asynccontextmanager
async def leased(zk: AsyncZooKeeper, path: str) -> AsyncIterator[Held]:
    """As if one could wait for it."""
    lease = zk.Lease(path, duration=0.3)
    while (held := await lease.acquire()) is None:
        await anyio.sleep(4 * HOLD_SECONDS)
    yield held
    await lease.release()


LOCK = Kind(lambda zk, path: zk.Lock(path, identifier="someone"))
ELECTION = Kind(lambda zk, path: zk.Election(path, "someone"))
READER = Kind(lambda zk, path: zk.ReadWriteLock(path).read_lock(), exclusive=False, together=9)
WRITER = Kind(lambda zk, path: zk.ReadWriteLock(path).write_lock())
LEASE = Kind(lambda zk, path: zk.Semaphore(path, max_leases=LEASES), exclusive=False, together=LEASES - 1)
CONTESTS = {
    "lock": (LOCK, LOCK, LOCK),
    "lock that is re-entrant": (Kind(lambda zk, path: zk.RLock(path)), LOCK),
    "election": (ELECTION, ELECTION),
    "latch in an election": (Kind(latched, cancels=False), ELECTION),
    "lease for a time": (Kind(leased, cancels=False),) * 2,
    "reader among writers": (READER, WRITER, WRITER),
    "writer among readers": (WRITER, READER, READER, READER),
    "semaphore": (LEASE, LEASE, LEASE, LEASE),
    "semaphore of one": (Kind(lambda zk, path: zk.Semaphore(path, max_leases=1)),) * 2,
}


class Contest(Play):
    """All compete, so many times each."""

    def __init__(self, kinds: Sequence[Kind], rounds: int) -> None:
        self.holding: list[tuple[Actor, Kind, Held]] = []
        self.tokens = [0]
        self._kinds = kinds
        self._rounds = rounds
        self._exclusive_token = 0

    def parts(self) -> Sequence[Part]:
        return [partial(self._compete, kind) for kind in self._kinds]

    async def _compete(self, kind: Kind, actor: Actor) -> None:
        for _ in range(self._rounds):
            with suppress(*LOSSES):
                async with kind.take(actor.zk, self.path) as held:
                    self._granted(actor, kind, held)
                    try:
                        await self.hold(actor, kind, held)
                    finally:
                        self.holding.remove((actor, kind, held))

    async def hold(self, actor: Actor, kind: Kind, held: Held) -> None:
        """What it does while it holds. Losing it comes between."""
        for _ in range(2):
            lost = held.lost.is_set()
            await actor.zk.sync()
            await anyio.sleep(HOLD_SECONDS / 2)
            if lost and kind.cancels:
                self.finds.append(f"the body at {held.path} runs on after the loss")
        held.check()

    def _granted(self, actor: Actor, kind: Kind, held: Held) -> None:
        others = [other for who, other, its in self.holding if not (who.dead or its.lost.is_set())]
        if len(others) > kind.together or any(other.exclusive for other in others):
            self.finds.append(f"{held.path} is granted beside {others}")
        if held.token in self.tokens or held.token <= (max(self.tokens) if kind.exclusive else self._exclusive_token):
            self.finds.append(f"{held.path} is granted by {held.token} after {self.tokens}")
        self.tokens.append(held.token)
        if kind.exclusive:
            self._exclusive_token = held.token
        self.holding.append((actor, kind, held))


@pytest.mark.parametrize("fault", range(len(FAULTS)), ids=FAULT_NAMES)
@pytest.mark.parametrize("contest", CONTESTS)
def test_whatever_answer_the_fault_comes_with(contest: str, fault: int) -> None:
    assert strike_at_answers(lambda: Contest(CONTESTS[contest], 2), fault, every=6) > 8


@pytest.mark.parametrize("contest", CONTESTS)
def test_whatever_turn_it_is_cancelled_at(contest: str) -> None:
    cancel_at = 0

    def cancel(number: int) -> None:
        if number == cancel_at:
            victim.cancel()

    with Stage(1) as stage:
        cancelled = True
        while cancelled:
            cancel_at += 1
            troupe = Troupe(stage, Contest(CONTESTS[contest], 1))
            victim = troupe.actors[0]
            victim.on_turn = cancel
            troupe.perform()
            cancelled = victim.turns >= cancel_at
    assert cancel_at > 15, "there were several moments to cancel at"


class Sociable(Contest):
    """Whoever holds a lease does so until all leases are held, or nobody else is left to take one."""

    def __init__(self, size: int) -> None:
        super().__init__([LEASE] * size, rounds=3)
        self.crowd: Sequence[Actor] = ()

    async def hold(self, actor: Actor, kind: Kind, held: Held) -> None:
        while len(self.holding) < min(LEASES, sum(not other.done for other in self.crowd)):
            await anyio.sleep(HOLD_SECONDS)
        await anyio.sleep(actor.world.random.uniform(0, 0.003))


@pytest.mark.parametrize("seed", range(10))
def test_no_lease_of_a_semaphore_lies_idle_while_somebody_waits(seed: int) -> None:
    """Messages take as long as chance will have it."""
    with Stage(1) as stage:
        stage.world.random = Random(seed)
        assert len(set(meet(stage, 6, lambda late, number: None).tokens[1:])) == 6 * 3


@pytest.mark.parametrize("size", [3, 4, 5])
def test_nor_if_a_waiter_hears_late_of_anything(size: int) -> None:
    with Stage(1) as stage:
        for late_at in range(1, 16):

            def darken(late: Actor, number: int, late_at: int = late_at) -> None:
                if number == late_at:
                    late.line.darken(200 * MS)

            meet(stage, size, darken)


def meet(stage: Stage, size: int, on_answer: Callable[[Actor, int], None]) -> Contest:
    """So many meet, a few times; `on_answer` is told of each answer to the last one to ask."""
    contest = Sociable(size)
    troupe = Troupe(stage, contest)
    contest.crowd = troupe.actors
    late = troupe.actors[-1]
    late.on_answer = partial(on_answer, late)
    troupe.perform()
    return contest
