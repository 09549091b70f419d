"""What docs/recipes.md promises of queues, barriers, counters and groups, under every fault of zk.sim.plays.

Each recipe has a play, which names what is promised and judges at the end; the fault strikes its first actor at each of
its answers in turn. Only what a recipe is said to raise is caught here. (Locks, elections, leases and the like are in
test_recipe_faults; the moments between the answers, in test_cancelling; many faults at once, in test_recipe_storms.)
"""

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from itertools import combinations
from math import inf

import anyio
import pytest
from zkclient import (
    AsyncZooKeeper,
    ConnectionLossError,
    Held,
    LockLost,
    OperationTimeoutError,
    Partitioner,
    Party,
    Queue,
    SessionExpiredError,
    Task,
    WorkQueue,
)

from zk.model.znode import Znode
from zk.sim.plays import (
    FAULT_NAMES,
    FAULTS,
    FIRST,
    TIMEOUT_MS,
    Actor,
    Part,
    Play,
    Stage,
    is_cancelled_while_cut_off,
    strike_at_answers,
)

SOON = 0.2
PATIENCE = 4 * TIMEOUT_MS / 1_000
"""Seconds: longer than any fault lasts, and all that comes of it."""


async def again(step: Callable[[], Awaitable[object]]) -> None:
    """What a program does whose write may be repeated."""
    while True:
        with suppress(SessionExpiredError):
            await step()
            return


# ---- queues


class Queued(Play):
    """The first actor puts items and takes some; another one takes, and one more puts.

    Promised: who waits is served; no item is delivered twice; and one that was put is delivered, but for those that a
    session had taken which ended before it said so.
    """

    def __init__(self) -> None:
        self.put: set[bytes] = set()
        self.got: list[bytes] = []
        self.got_by: dict[tuple[str, int], list[bytes]] = defaultdict(list)  # name and life of who got it
        self._begun: set[bytes] = set()
        self._refused: set[bytes] = set()
        self._unheard: list[tuple[Actor, int]] = []  # takings that gave nothing, and whose sessions they were of
        self._excused: set[bytes] = set()

    def queue(self, zk: AsyncZooKeeper) -> Queue:
        return zk.Queue(self.path)

    def parts(self) -> Sequence[Part]:
        return [self._both, self._take, self._put]

    def spoiled(self) -> None:
        self._excused |= self._begun

    def end(self, stage: Stage) -> None:
        lost = self.put - set(self.got) - self._excused
        if len(lost) > sum(actor.dead or actor.zk.session_id != session for actor, session in self._unheard):
            self.finds.append(f"{lost} are lost")
        if len(set(self.got)) < len(self.got) or set(self.got) & self._refused:
            self.finds.append(f"they got {self.got}, and {self._refused} were not put")

    async def _both(self, actor: Actor) -> None:
        await self._put_one(actor, 0)
        await self._put_one(actor, 1)
        await self._take(actor)

    async def _put(self, actor: Actor) -> None:
        for number in range(3):
            await anyio.sleep(0.03)
            await self._put_one(actor, number)

    async def _put_one(self, actor: Actor, number: int) -> None:
        item = f"{actor.name}.{actor.life} {number}".encode()
        self._begun.add(item)
        try:
            await self.put_at(actor, item, number)
            self.put.add(item)
        except SessionExpiredError as error:
            if not error.maybe_applied:
                self._refused.add(item)

    async def put_at(self, actor: Actor, item: bytes, number: int) -> None:
        await self.queue(actor.zk).put(item)

    async def _take(self, actor: Actor) -> None:
        """Until nothing has come for long."""
        queue = self.queue(actor.zk)
        while True:
            taking = actor, actor.zk.session_id
            self._unheard.append(taking)
            try:
                item = await queue.get(timeout=PATIENCE)
            except SessionExpiredError as error:
                if not error.maybe_applied:
                    self.finds.append("it should have gone on in the next session")
                continue
            except OperationTimeoutError:
                self._unheard.remove(taking)
                return
            self._unheard.remove(taking)
            self.got.append(item)
            self.got_by[actor.name, actor.life].append(item)


class QueuedByPriority(Queued):
    """The first actor puts items, and takes them; in the end another one takes what it has left.

    Promised besides: the more urgent ones come first, and of those that are as urgent, the older ones.
    """

    PRIORITIES = (500, 1, 500)

    def __init__(self) -> None:
        super().__init__()
        self._over = False

    def queue(self, zk: AsyncZooKeeper) -> Queue:
        return zk.PriorityQueue(self.path)

    def parts(self) -> Sequence[Part]:
        return [self._alone, self._rest]

    def end(self, stage: Stage) -> None:
        super().end(stage)
        for (name, _), got in self.got_by.items():
            if name == FIRST and got != sorted(got, key=lambda item: (self.PRIORITIES[int(item[-1:])], item)):
                self.finds.append(f"it got {got}")

    async def _alone(self, actor: Actor) -> None:
        try:
            await self._put(actor)
            await self._take(actor)
        finally:
            self._over = True

    async def _rest(self, actor: Actor) -> None:
        while not self._over:
            await anyio.sleep(SOON)
        await self._take(actor)

    async def put_at(self, actor: Actor, item: bytes, number: int) -> None:
        await actor.zk.PriorityQueue(self.path).put(item, self.PRIORITIES[number])


class GivenUp(Play):
    """The first actor puts an item and takes another one, with little patience.

    Promised: unless it is told so, the one is not there, and the other one is.
    """

    def __init__(self, patience: float | None) -> None:
        self._patience = patience
        self._expected = {"put": set[bytes](), "taken": {b"old"}}

    def parts(self) -> Sequence[Part]:
        return [self._put_and_take, lambda actor: actor.zk.Queue(f"{self.path}/taken").put("old")]

    def may_stay(self, name: str, node: Znode) -> bool:
        return "/items/" in name

    def end(self, stage: Stage) -> None:
        nodes = stage.nodes()
        for name, expected in self._expected.items():
            items = {node.data for path, node in nodes.items() if path.startswith(f"{self.path}/{name}/items/")}
            if items != expected:
                self.finds.append(f"{name}: there is {items}, not {expected}")

    async def _put_and_take(self, actor: Actor) -> None:
        await anyio.sleep(0.1)
        with suppress(OperationTimeoutError, ConnectionLossError):
            await actor.zk.Queue(f"{self.path}/put").put("new", timeout=self._patience)
            self._expected["put"] = {b"new"}
        with suppress(OperationTimeoutError, ConnectionLossError):
            await actor.zk.Queue(f"{self.path}/taken").get(timeout=self._patience)
            self._expected["taken"] = set()


class GivenBackError(Exception):
    """What the body of a task raises."""


class Worked(Play):
    """All put items, and work on them; the first time an item is given back.

    Promised: what was put is worked on until somebody has finished it, by one at a time, under tokens that grow; what
    is finished never comes back.
    """

    DELIVERIES_MAX = 1_000

    def __init__(self) -> None:
        self.put: set[bytes] = set()
        self.unsure: set[bytes] = set()  # whether they were put, or finished, nobody knows
        self.finished: set[bytes] = set()
        self.excused: set[bytes] = set()
        self.deliveries: Counter[bytes] = Counter()
        self._tokens: dict[bytes, int] = {}
        self._working: list[tuple[Actor, Task]] = []

    def parts(self) -> Sequence[Part]:
        return [self._work, self._work]

    def spoiled(self) -> None:
        self.excused |= self.put | self.unsure

    def end(self, stage: Stage) -> None:
        lost = self.put - self.finished - self.unsure - self.excused
        if lost:
            self.finds.append(f"nobody has finished {lost}")

    async def _work(self, actor: Actor) -> None:
        queue = actor.zk.WorkQueue(self.path, deliveries_max=self.DELIVERIES_MAX)
        await self._put_one(actor, queue)
        with suppress(OperationTimeoutError):
            while True:
                await self._work_on(actor, await queue.claim(timeout=PATIENCE))

    async def _put_one(self, actor: Actor, queue: WorkQueue) -> None:
        item = f"{actor.name}.{actor.life}".encode()
        self.unsure.add(item)
        with suppress(SessionExpiredError):
            await queue.put(item)
            self.put.add(item)
            self.unsure.remove(item)

    async def _work_on(self, actor: Actor, task: Task) -> None:
        item = task.data
        try:
            async with task:
                self._begins(actor, task)
                try:
                    await anyio.sleep(0.01)
                    self.body(task)
                    self.unsure.add(item)
                finally:
                    self._working.remove((actor, task))
            self.finished.add(item)
        except GivenBackError:
            pass
        except LockLost:
            self.unsure.discard(item)
        except SessionExpiredError as error:
            if not error.maybe_applied:
                self.unsure.discard(item)

    def body(self, task: Task) -> None:
        if task.deliveries == 1:
            raise GivenBackError

    def _begins(self, actor: Actor, task: Task) -> None:
        item = task.data
        others = [
            who.name
            for who, other in self._working
            if other.data == item and not (who.dead or other.held.lost.is_set())
        ]
        if item in self.finished or task.token <= self._tokens.get(item, 0) or others:
            self.finds.append(f"{item!r} comes to {actor.name}: {self.finished}, {self._tokens}, {others}")
        self._tokens[item] = task.token
        self.deliveries[item] += 1
        self._working.append((actor, task))


class WorkedInVain(Worked):
    """Nobody can finish anything.

    Promised: every item is with the dead letters in the end, once, after at most so many deliveries.
    """

    DELIVERIES_MAX = 2

    def body(self, task: Task) -> None:
        raise GivenBackError

    def may_stay(self, name: str, node: Znode) -> bool:
        return name.startswith("dead/items/")

    def end(self, stage: Stage) -> None:
        below = f"{self.path}/dead/items/"
        letters = Counter(node.data for path, node in stage.nodes().items() if path.startswith(below))
        if (
            max(letters.values(), default=1) > 1
            or not self.put - self.excused <= set(letters) <= self.put | self.unsure
        ):
            self.finds.append(f"{self.put} were put, and perhaps {self.unsure}, and {letters} are dead letters")
        if max(self.deliveries.values(), default=0) > self.DELIVERIES_MAX:
            self.finds.append(f"they were delivered so often: {self.deliveries}")


# ---- a number


class Counted(Play):
    """All add to a number.

    Promised: it is the sum of what was added, each once; of what raised with `maybe_applied`, perhaps.
    """

    def __init__(self) -> None:
        self._added: list[int] = []
        self._values: list[float] = []
        self._unsure: list[int] = []
        self._begun_anew = 0

    def parts(self) -> Sequence[Part]:
        return [partial(self._add, 1), partial(self._add, 10)]

    def spoiled(self) -> None:
        """It begins anew with nothing."""
        self._begun_anew += 1
        self._unsure += self._added
        self._added.clear()
        self._values.clear()

    def may_stay(self, name: str, node: Znode) -> bool:
        return name == "visits"

    def end(self, stage: Stage) -> None:
        node = stage.nodes().get(f"{self.path}/visits")
        value = int(node.data or 0) if node is not None else 0
        sums = {sum(some) for size in range(len(self._unsure) + 1) for some in combinations(self._unsure, size)}
        if value - sum(self._added) not in sums or len(set(self._values)) < len(self._values):
            self.finds.append(f"{value} after {self._added}, perhaps {self._unsure}; it was {self._values}")

    async def _add(self, delta: int, actor: Actor) -> None:
        counter = actor.zk.Counter(f"{self.path}/visits")
        for _ in range(3):
            self._unsure.append(delta)
            times = self._begun_anew
            try:
                value = await counter.add(delta)
            except SessionExpiredError as error:
                if not error.maybe_applied:
                    self._unsure.remove(delta)
            else:
                if times == self._begun_anew:
                    self._unsure.remove(delta)
                    self._added.append(delta)
                    self._values.append(value)


# ---- barriers


class Barred(Play):
    """One puts a barrier up and lifts it, others wait.

    Promised: who begins to wait behind an answered `create` goes on behind a `remove`, and not before. It hears of
    nothing else.
    """

    def __init__(self, first: str) -> None:
        self._first = first
        self._spoiled = False
        self._stands = False
        self._lifted = -inf  # when somebody began to lift it

    def parts(self) -> Sequence[Part]:
        return [self._keep, self._wait, self._wait] if self._first == "keeper" else [self._wait, self._wait, self._keep]

    def spoiled(self) -> None:
        """So it is lifted, or never stood."""
        self._spoiled = True
        self._stands = False

    async def _keep(self, actor: Actor) -> None:
        barrier = actor.zk.Barrier(f"{self.path}/barrier")
        try:
            await again(barrier.create)
            self._stands = not self._spoiled
            await anyio.sleep(0.2)
        finally:
            with anyio.CancelScope(shield=True):
                self._stands, self._lifted = False, anyio.current_time()
                await again(barrier.remove)

    async def _wait(self, actor: Actor) -> None:
        barrier = actor.zk.Barrier(f"{self.path}/barrier")
        with anyio.move_on_after(PATIENCE):
            while not self._stands:
                await anyio.sleep(0.01)
        began = anyio.current_time()
        await barrier.wait()
        if self._stands and self._lifted < began:
            self.finds.append(f"{actor.name} goes on while the barrier stands")


class MetTwice(Play):
    """Two enter and leave, until both have done so, and once more.

    Promised: nobody enters without another one who is about to, nobody leaves while the other one is inside, unless
    that has lost its place.
    """

    def __init__(self) -> None:
        self._passed = [0, 0]
        self._gone = False
        self._came: list[tuple[Actor, float, float]] = []  # who entered, or tried to, from when until when
        self._inside: list[tuple[Actor, Held]] = []

    ROUNDS = 2

    def parts(self) -> Sequence[Part]:
        return [partial(self._member, number) for number in range(2)]

    async def _member(self, number: int, actor: Actor) -> None:
        try:
            while not (self._gone or all(self._passed[number] >= self.ROUNDS for number in range(2))):
                with suppress(LockLost, SessionExpiredError, OperationTimeoutError, ConnectionLossError):
                    await self._pass(actor)
                    self._passed[number] += 1
        finally:
            self._gone = True

    async def _pass(self, actor: Actor) -> None:
        barrier = actor.zk.DoubleBarrier(self.path, 2)
        began = anyio.current_time()
        trying = actor, began, inf
        self._came.append(trying)
        try:
            held = await barrier.enter(timeout=3 * SOON)
        except BaseException:
            self._came.remove(trying)
            over = anyio.current_time() + 2 * TIMEOUT_MS / 1_000  # its session may have kept the place for it
            self._came.append((actor, began, over))
            raise
        now = anyio.current_time()
        self._came.remove(trying)
        if not any(who.name != actor.name and until >= began for who, _, until in self._came):
            self.finds.append(f"{actor.name} has met nobody")
        self._came.append((actor, began, now))
        self._inside.append((actor, held))
        try:
            await anyio.sleep(0.02)
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(LockLost, OperationTimeoutError):
                await barrier.leave(timeout=PATIENCE)
            raise
        finally:
            self._inside.remove((actor, held))
        await barrier.leave()
        if any(not (who.dead or its.lost.is_set()) for who, its in self._inside):
            self.finds.append(f"{actor.name} has left before the other one")


# ---- groups


class Company(Play):
    """Two who stay until both have had their say, or are gone."""

    def __init__(self) -> None:
        self.said: dict[str, tuple[str, ...]] = {}
        self.present = ["actor 0", "actor 1"]

    def parts(self) -> Sequence[Part]:
        return [self._stay] * 2

    async def _stay(self, actor: Actor) -> None:
        try:
            await self.take_part(actor)
        finally:
            self.present.remove(actor.name)

    @abstractmethod
    async def take_part(self, actor: Actor) -> None:
        """Until all have had their say."""

    @property
    def all_said(self) -> bool:
        return all(name in self.said for name in self.present)

    async def sees_all(self, actor: Actor, look: Callable[[], Awaitable[Iterable[str]]]) -> None:
        """Sooner or later all who are present are seen, and nobody else; and so it stays, and so all see it."""
        since = inf
        while anyio.current_time() < since + PATIENCE:
            await anyio.sleep(2 * SOON)
            if sorted(await look()) != self.present:
                since = inf
            elif since == inf:
                since = anyio.current_time()
        self.said[actor.name] = ()
        while not self.all_said:
            await anyio.sleep(SOON)


class Joined(Company):
    """Each is a member, and joins again whenever it is out.

    Promised: soon the members are those who have joined and live, once each.
    """

    async def take_part(self, actor: Actor) -> None:
        party = actor.zk.Party(self.path, actor.name)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._be_a_member, party)
                await self.sees_all(actor, party.members)
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await party.leave()

    async def _be_a_member(self, party: Party) -> None:
        while True:
            with suppress(SessionExpiredError, LockLost):
                await (await party.join()).lost.wait()


class Found(Company):
    """Each is to be found, and looks for all.

    Promised: soon those are found who live, as they registered last.
    """

    async def take_part(self, actor: Actor) -> None:
        discovery = actor.zk.Discovery(self.path)
        async with AsyncExitStack() as stack:
            web = await stack.enter_async_context(discovery.find("web"))
            registration = partial(discovery.register, "web", actor.name, actor.life, id=actor.name)
            await again(lambda: stack.enter_async_context(registration()))

            async def look() -> Iterable[str]:
                return [each.address for each in web.present if each.id != actor.name or each.port == actor.life]

            await self.sees_all(actor, look)


class Shared(Company):
    """Each has its share of the partitions.

    Promised: no two have the same, and soon each is somebody's.
    """

    PARTITIONS = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self._owned: list[tuple[Actor, str, Held]] = []
        self._over = False

    def end(self, stage: Stage) -> None:
        shares = [partition for share in self.said.values() for partition in share]
        if sorted(shares) != list(self.PARTITIONS):
            self.finds.append(f"their shares are {self.said}")

    async def take_part(self, actor: Actor) -> None:
        while not self._over:
            with suppress(LockLost, SessionExpiredError):
                async with actor.zk.Partitioner(self.path, self.PARTITIONS, time_boundary=0.1) as shards:
                    while await self._share(actor, shards):
                        await shards.release_set()

    async def _share(self, actor: Actor, shards: Partitioner) -> bool:
        """Have a set until others want it, or all have had theirs for long."""
        mine = await shards.wait_for_acquire()
        owned = [(actor, partition, shards.held(partition)) for partition in mine]
        for who, partition, held in self._owned:
            if partition in mine and not (who.dead or held.lost.is_set()):
                self.finds.append(f"{partition} is given to {actor.name} beside {who.name}")
        self._owned += owned
        try:
            with anyio.move_on_after(PATIENCE):
                await shards.wait_for_release()
                return True
            self.said[actor.name] = mine
            while not (self._over or self.all_said):
                with suppress(OperationTimeoutError):
                    await shards.wait_for_release(timeout=SOON)
                    if not self._over:
                        del self.said[actor.name]
                        return True
            self._over = True
            return False
        finally:
            for one in owned:
                self._owned.remove(one)


class Observed(Play):
    """The first actor observes an election in which two others lead, one after the other.

    Promised: whatever it misses, it is told of the last one.
    """

    def __init__(self) -> None:
        self._over = False

    def parts(self) -> Sequence[Part]:
        return [self._observe, partial(self._lead, "one"), partial(self._lead, "another")]

    async def _observe(self, actor: Actor) -> None:
        try:
            async for leader in actor.zk.Election(self.path).leaders():
                if leader == "another":
                    return
        finally:
            self._over = True

    async def _lead(self, name: str, actor: Actor) -> None:
        await anyio.sleep(0.05 if name == "one" else 0.1)
        while not self._over:
            with suppress(LockLost, SessionExpiredError):
                async with actor.zk.Election(self.path, name):
                    await anyio.sleep(0.1)
                    while name == "another" and not self._over:
                        await anyio.sleep(SOON)
                if name == "one":
                    return


PLAYS: dict[str, tuple[Callable[[], Play], int]] = {
    "queue": (Queued, 12),
    "queue, by priority": (QueuedByPriority, 9),
    "work queue": (Worked, 8),
    "work queue, in vain": (WorkedInVain, 15),
    "counter": (Counted, 3),
    "barrier, waited at": (lambda: Barred("waiter"), 2),
    "barrier, kept": (lambda: Barred("keeper"), 2),
    "double barrier": (MetTwice, 9),
    "party": (Joined, 3),
    "discovery": (Found, 5),
    "partitioner": (Shared, 11),
    "election, observed": (Observed, 3),
}
"""Each with the number of answers of which one is struck, another one by each fault."""


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=FAULT_NAMES)
@pytest.mark.parametrize("name", PLAYS)
def test_it_keeps_its_promise_whatever_answer_the_fault_comes_with(name: str, number: int) -> None:
    play, every = PLAYS[name]
    strike_at_answers(play, number, every)


@pytest.mark.parametrize("patience", [0.02, None])
def test_a_put_or_a_get_that_is_given_up_is_undone(patience: float | None) -> None:
    cut_off = FAULTS.index((1, is_cancelled_while_cut_off))
    assert strike_at_answers(lambda: GivenUp(patience), cut_off, every=1) > 6
