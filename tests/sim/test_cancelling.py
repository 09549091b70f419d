"""Whatever a program awaits of the client may be cancelled, at every moment: the client goes on, and nothing is left.

A client as a simulated process does each thing again and again, and is cancelled at the first turn of its event loop,
the second one, and so on, until it is done before that. Behind each attempt: the next write is done once, under the
next version; no call, watch, listener or task is left of it, and no ephemeral node. (With faults at each of these
moments too: test_recipe_faults, test_recipe_promises.)
"""

import gc
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random

import anyio
import pytest
from zkclient import (
    OPEN_ACL,
    AsyncZooKeeper,
    EventType,
    GetData,
    LockLost,
    OperationTimeoutError,
    WatchEvent,
)

from zk.model.record import SessionId
from zk.model.replies import Reply
from zk.model.requests import Call
from zk.sim.eventloop import EventLoop
from zk.sim.plays import left_of
from zk.sim.scenario import Scenario
from zk.sim.streams import PORT, host_of

WRITES = "/writes"
SETTLE_SECONDS_MAX = 5.0
ATTEMPTS_MAX = 400
STORY_MS_MAX = 600_000


@dataclass(frozen=True)
class Stage:
    """What an attempt is made with: a client, another one that is never cancelled, and a node of its own."""

    zk: AsyncZooKeeper
    other: AsyncZooKeeper
    path: str
    another: Callable[[], AsyncZooKeeper]


Act = Callable[[Stage], Awaitable[object]]


@asynccontextmanager
async def afterwards(cleanup: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """What a program does at the end, cancelled or not."""
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True), suppress(LockLost):
            await cleanup()


def unheard(event: WatchEvent) -> None:
    """Watches, and has nothing to hear."""
    raise AssertionError(event)


# ---- what is cancelled: operations


async def pages(s: Stage) -> None:
    async for _ in s.zk.pages(s.path, page_size=1):
        pass


async def walk(s: Stage) -> None:
    async for _ in s.zk.walk(s.path):
        pass


async def transaction(s: Stage) -> None:
    async with s.zk.transaction() as transaction:
        transaction.set(s.path, "1").create(f"{s.path}/new")


async def one_shot(s: Stage) -> None:
    """Cancelled or answered, it watches no more: who was not answered does not watch."""
    told = anyio.Event()
    await s.zk.get(s.path, watch=lambda _: told.set())
    async with afterwards(lambda: s.other.set(s.path, "1")):
        pass
    await told.wait()


async def taken_back(s: Stage) -> None:
    event: list[WatchEvent] = []
    await s.zk.exists(f"{s.path}/none", watch=event.append)
    await s.zk.remove_all_watches(f"{s.path}/none")
    assert [each.type for each in event] == [EventType.DATA_WATCH_REMOVED]


async def stream(s: Stage) -> None:
    with s.zk.watch(s.path, recursive=True) as events:
        await s.zk.set(s.path, "1")
        assert (await anext(events)).type is EventType.DATA_CHANGED


async def a_client(s: Stage) -> None:
    """From its first call to its end."""
    async with s.another() as zk:
        await zk.create(f"{s.path}/mine", ephemeral=True)


OPERATIONS: dict[str, Act] = {
    "status": lambda s: s.zk.status(),
    "whoami": lambda s: s.zk.whoami(),
    "add_auth": lambda s: s.zk.add_auth("digest", "anna:secret"),
    "sync": lambda s: s.zk.sync(),
    "create": lambda s: s.zk.create(f"{s.path}/a/b", sequence=True, makepath=True),
    "ensure_path": lambda s: s.zk.ensure_path(f"{s.path}/a/b"),
    "put": lambda s: s.zk.put(f"{s.path}/a/b", "1", makepath=True),
    "update": lambda s: s.zk.update(s.path, lambda data: data + b"1"),
    "set": lambda s: s.zk.set(s.path, "1"),
    "delete": lambda s: s.zk.delete(s.path, recursive=True),
    "set_acls": lambda s: s.zk.set_acls(s.path, OPEN_ACL),
    "exists": lambda s: s.zk.exists(s.path),
    "get": lambda s: s.zk.get(s.path, read="linearizable"),
    "get_children": lambda s: s.zk.get_children(s.path),
    "count": lambda s: s.zk.count(s.path),
    "get_acls": lambda s: s.zk.get_acls(s.path),
    "get_ephemerals": lambda s: s.zk.get_ephemerals(),
    "multi_read": lambda s: s.zk.multi_read([GetData(s.path)]),
    "remove_all_watches": taken_back,
}
OTHERS: dict[str, Act] = {
    "pages": pages,
    "walk": walk,
    "transaction": transaction,
    "one-shot watch": one_shot,
    "stream": stream,
    "a client": a_client,
}

# ---- what is cancelled: caches and watches


async def tree_cache(s: Stage) -> None:
    async with s.zk.TreeCache(s.path) as cache:
        changes = cache.changes()
        stat = await s.zk.set(s.path, "1")
        await cache.wait_until(stat.mzxid)
        await anext(changes)


async def children_cache(s: Stage) -> None:
    async with s.zk.ChildrenCache(s.path):
        await s.zk.create(f"{s.path}/new")


async def node_cache(s: Stage) -> None:
    async with s.zk.NodeCache(s.path):
        await s.zk.set(s.path, "1")


async def data_watch(s: Stage) -> None:
    told = anyio.Event()

    @s.zk.DataWatch(s.path)
    async def once(_data: bytes | None, _stat: object) -> bool:
        await s.zk.sync()
        told.set()
        return False

    await told.wait()


async def children_watch(s: Stage) -> None:
    told = anyio.Event()

    @s.zk.ChildrenWatch(s.path)
    def once(_names: tuple[str, ...]) -> bool:
        told.set()
        return False

    await told.wait()


# ---- what is cancelled: recipes


async def lock_of_another(s: Stage) -> None:
    """In vain, again and again."""
    with anyio.CancelScope(shield=True):
        await s.other.Lock(f"{s.path}/lock").acquire()
    with suppress(OperationTimeoutError):
        await s.zk.Lock(f"{s.path}/lock").acquire(timeout=0.1)


async def lock(s: Stage) -> None:
    lock = s.zk.Lock(f"{s.path}/lock")
    held = await lock.try_acquire()
    assert held is not None
    async with afterwards(lock.release):
        assert len(await lock.contenders()) == 1
        async with s.zk.transaction(guard=held) as transaction:
            transaction.set(s.path, "1")


async def reentrant_lock(s: Stage) -> None:
    lock = s.zk.RLock(f"{s.path}/lock")
    async with lock, lock:
        await lock.contenders()


async def semaphore(s: Stage) -> None:
    semaphore = s.zk.Semaphore(f"{s.path}/lock", max_leases=2)
    async with semaphore, s.zk.Semaphore(f"{s.path}/lock", max_leases=2):
        await semaphore.lease_holders()


async def semaphore_of_others(s: Stage) -> None:
    with anyio.CancelScope(shield=True):
        await s.other.Semaphore(f"{s.path}/lock", max_leases=1).acquire()
    with suppress(OperationTimeoutError):
        await s.zk.Semaphore(f"{s.path}/lock", max_leases=1).acquire(timeout=0.1)


async def read_write_lock(s: Stage) -> None:
    lock = s.zk.ReadWriteLock(f"{s.path}/lock")
    async with lock.read_lock():
        pass
    async with lock.write_lock():
        pass


async def election(s: Stage) -> None:
    election = s.zk.Election(f"{s.path}/election", "me")
    async with election:
        assert (await election.leader(), await election.candidates()) == ("me", ("me",))
        await anext(election.leaders())


async def leaders(s: Stage) -> None:
    """There is none to come."""
    with anyio.move_on_after(0.1):
        async for _ in s.zk.Election(f"{s.path}/election", "me").leaders():
            pass


async def latch(s: Stage) -> None:
    async with s.zk.LeaderLatch(f"{s.path}/election") as latch:
        await latch.wait()


async def lease(s: Stage) -> None:
    lease = s.zk.Lease(f"{s.path}/lease", duration=10)
    if await lease.acquire() is not None:
        async with afterwards(lease.release):
            await lease.renew()
            assert await lease.holder() is not None


async def barrier(s: Stage) -> None:
    barrier = s.zk.Barrier(f"{s.path}/barrier")
    await barrier.create()
    with suppress(OperationTimeoutError):
        await barrier.wait(timeout=0.1)
    await barrier.remove()
    await barrier.wait()


async def double_barrier(s: Stage) -> None:
    barrier = s.zk.DoubleBarrier(f"{s.path}/barrier", 1)
    await barrier.enter()
    async with afterwards(barrier.leave):
        pass


async def double_barrier_in_vain(s: Stage) -> None:
    with suppress(OperationTimeoutError):
        await s.zk.DoubleBarrier(f"{s.path}/barrier", 2).enter(timeout=0.1)


async def double_barrier_left(s: Stage) -> None:
    barrier = s.zk.DoubleBarrier(f"{s.path}/barrier", 1)
    with anyio.CancelScope(shield=True):
        await barrier.enter()
    await barrier.leave()


async def queue(s: Stage) -> None:
    queue = s.zk.PriorityQueue(f"{s.path}/queue")
    await queue.put("a")
    await queue.put("b", 7)
    assert (await queue.size(), await queue.poll(), await queue.get()) == (2, b"b", b"a")
    with suppress(OperationTimeoutError):
        await queue.get(timeout=0.1)


async def work_queue(s: Stage) -> None:
    queue = s.zk.WorkQueue(f"{s.path}/queue")
    await queue.put("a")
    task = await queue.claim()
    async with afterwards(task.nack):
        assert (await queue.size(), await queue.claimed()) == (1, 1)
    async with await queue.claim():
        pass
    with suppress(OperationTimeoutError):
        await queue.claim(timeout=0.1)


async def counter(s: Stage) -> None:
    counter = s.zk.Counter(f"{s.path}/counter")
    assert await counter.add(2) - await counter.value() == 0


async def party(s: Stage) -> None:
    party = s.zk.Party(f"{s.path}/party", "me")
    async with afterwards(party.leave):
        await party.join()
        assert await party.members() == ("me",)


async def discovery(s: Stage) -> None:
    discovery = s.zk.Discovery(f"{s.path}/services")
    async with discovery.register("web", "10.0.0.1", 80, id="1"), discovery.find("web") as web:
        assert [each.port for each in await anext(web.changes())] == [80]
        assert await discovery.names() == ("web",)


async def partitioner(s: Stage) -> None:
    async with s.zk.Partitioner(f"{s.path}/shards", ["a", "b"], time_boundary=0.01) as shards:
        await shards.wait_for_acquire()
        with suppress(OperationTimeoutError):
            await shards.wait_for_release(timeout=0.01)


RECIPES: tuple[Act, ...] = (
    tree_cache,
    children_cache,
    node_cache,
    data_watch,
    children_watch,
    lock,
    lock_of_another,
    reentrant_lock,
    semaphore,
    semaphore_of_others,
    read_write_lock,
    election,
    leaders,
    latch,
    lease,
    barrier,
    double_barrier,
    double_barrier_in_vain,
    double_barrier_left,
    queue,
    work_queue,
    counter,
    party,
    discovery,
    partitioner,
)
ACTS: dict[str, Act] = OPERATIONS | OTHERS | {act.__name__: act for act in RECIPES}

# ---- how it is cancelled, and what is looked at then


class Program:
    """A process that does one thing, and is cancelled in it, at one moment after the other."""

    def __init__(self, scenario: Scenario, act: Act) -> None:
        self.attempts = 0
        self.loop = EventLoop(scenario.world)
        self._scenario = scenario
        self._line = scenario.line(self.loop, self)
        self._act = act
        self._zk = self.client()
        self._other = self.client()
        self.main = self.loop.create_task(self._run())

    def answered(self, session: SessionId, call: Call, reply: Reply) -> None:
        """Told by the line."""

    def client(self) -> AsyncZooKeeper:
        return AsyncZooKeeper(
            ",".join(f"{host_of(server)}:{PORT}" for server in self._scenario.servers),
            session_timeout_ms=2_000,
            connect=self._line.connect,
            chance=Random(0),
        )

    async def _run(self) -> None:
        try:
            async with self._zk, self._other:
                await self._other.whoami()
                await self._zk.create(WRITES)
                await anyio.sleep(0.1)
                self._clean = left_of(self._zk, self.loop)
                while await self._attempt():
                    assert self.attempts < ATTEMPTS_MAX, "it never ends"
        except BaseException as error:
            self.loop.abort(error)
            raise

    async def _attempt(self) -> bool:
        """Whether it was cancelled."""
        self.attempts += 1
        path = f"/attempt-{self.attempts}"
        await self._zk.create(path, "0")
        async with self._zk.transaction() as transaction:
            transaction.create(f"{path}/one").create(f"{path}/one/deep").create(f"{path}/two")
        turns = 0
        with anyio.CancelScope() as scope:

            def count() -> None:
                nonlocal turns
                turns += 1
                if turns == self.attempts:
                    self.loop.call_soon(scope.cancel)

            self.loop.on_turn = count
            try:
                await self._act(Stage(self._zk, self._other, path, self.client))
            finally:
                self.loop.on_turn = lambda: None
        await self._look()
        return scope.cancel_called

    async def _look(self) -> None:
        """The client works, and nothing is left."""
        stat = await self._zk.set(WRITES, "")
        assert stat.version == self.attempts
        until = self.loop.time() + SETTLE_SECONDS_MAX
        left = (await self._zk.get_ephemerals(), left_of(self._zk, self.loop))
        while left != ((), self._clean) and self.loop.time() < until:
            await anyio.sleep(0.02)
            left = (await self._zk.get_ephemerals(), left_of(self._zk, self.loop))
        assert left == ((), self._clean), f"cancelled at turn {self.attempts}"


@pytest.mark.parametrize("name", ACTS)
def test_whatever_turn_it_is_cancelled_at_the_client_goes_on_and_nothing_is_left(name: str) -> None:
    with Scenario(1) as scenario:
        program = Program(scenario, ACTS[name])
        try:
            scenario.run_until(program.main.done, within_ms=STORY_MS_MAX)
        finally:
            program.loop.end(program.main)
    gc.collect()  # what was not awaited, or not closed, says so now


def test_every_operation_of_the_client_is_cancelled_here() -> None:
    operations = [name for name, _ in inspect.getmembers(AsyncZooKeeper, inspect.iscoroutinefunction)]
    assert [name for name in operations if not name.startswith("_")] == sorted(OPERATIONS)
