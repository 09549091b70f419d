"""Queues and barriers in storms: production clients in virtual time, each process struck again and again at random.

Lines go dark, for shorter or longer than a session lasts; connections break; processes stall, or die and begin anew;
servers are killed. Meanwhile a judge hears of all that the processes believe. In peace everything must come to its end.
"""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from math import inf
from random import Random

import anyio
import pytest
from zkclient import (
    AsyncZooKeeper,
    ConnectionLossError,
    DoubleBarrier,
    LockLost,
    OperationTimeoutError,
    Queue,
    SessionExpiredError,
    Task,
    WorkQueue,
)

from zk.model.record import SessionId, Zxid
from zk.model.replies import Reply
from zk.model.requests import Call
from zk.sim.eventloop import EventLoop
from zk.sim.scenario import Scenario
from zk.sim.streams import PORT, host_of
from zk.sim.world import MS

PATH = "/storm"
TIMEOUT_MS = 1_000
WAR_MS = 12_000
PEACE_MS_MAX = 30_000
NOT_NOW = (LockLost, SessionExpiredError, OperationTimeoutError, ConnectionLossError)


class Process:
    """One process and its client; `live` is what it does, until the storm is over and it has nothing to do."""

    def __init__(self, storm: "Storm", name: str, live: Callable[["Process"], Awaitable[None]], life: int = 1) -> None:
        self.storm = storm
        self.name = f"{name}.{life}"
        self.random = Random(f"{self.name} of {storm.seed}")
        self.dead = False
        self.done = False
        self._died_us = 0
        self._life = (name, live, life)
        self.loop = EventLoop(storm.scenario.world, rate=self.random.uniform(1.03, 1.06))
        self.line = storm.scenario.line(self.loop, self)
        self.zk = AsyncZooKeeper(
            ",".join(f"{host_of(server)}:{PORT}" for server in storm.scenario.servers),
            session_timeout_ms=TIMEOUT_MS,
            timeout=3.0,
            connect=self.line.connect,
            chance=self.random,
        )
        self.main = self.loop.create_task(self._run())

    def answered(self, session: SessionId, call: Call, reply: Reply) -> None:
        """Of no interest."""

    @property
    def believes(self) -> bool:
        """Whether it is up and running: who sleeps believes nothing."""
        return not self.dead and not self.loop.stalled

    @property
    def forgotten(self) -> bool:
        """Whether it is dead, and its sessions are over."""
        return self.dead and self._died_us + 2 * TIMEOUT_MS * MS < self.storm.world.now_us

    async def _run(self) -> None:
        try:
            async with self.zk:
                await self._life[1](self)
                self.done = True
                await anyio.sleep_forever()
        except Exception as error:
            self.loop.abort(error)
            raise

    def die(self) -> None:
        name, live, life = self._life
        self.dead = self.done = True
        self._died_us = self.storm.world.now_us
        self.loop.stall(inf)
        self.line.cut()
        self.storm.scenario.world.after(200 * MS, lambda: self.storm.begin(name, live, life + 1))


class Storm:
    """Strikes the processes that it `begin`s, every `pace_ms` or so. `rough`: sessions are lost, and processes die."""

    def __init__(self, scenario: Scenario, seed: int, *, rough: bool, pace_ms: int) -> None:
        self.scenario = scenario
        self.world = scenario.world
        self.seed = seed
        self.rough = rough
        self.pace_ms = pace_ms
        self.over = False
        self._random = Random(f"storm {seed}")
        self._processes: list[Process] = []

    def begin(self, name: str, live: Callable[[Process], Awaitable[None]], life: int = 1) -> None:
        self._processes.append(Process(self, name, live, life))

    def rage(self) -> None:
        """War, then peace, until everybody is done."""
        self._strike_later()
        self.scenario.run_ms(WAR_MS)
        self.over = True
        self.scenario.heal()
        until_us = self.world.now_us + PEACE_MS_MAX * MS
        while not all(process.done for process in self._processes):
            assert self.world.now_us < until_us, f"{[p.name for p in self._processes if not p.done]} wait for ever"
            self.scenario.run_ms(50)
        self.scenario.run_ms(2 * TIMEOUT_MS)

    def end(self) -> None:
        for process in self._processes:
            process.loop.end(process.main)

    async def has_ended_for(self, process: Process, queue: Queue | WorkQueue) -> bool:
        """Whether nobody puts anything into the queue any more, and nothing is left in it."""
        if not self.over or not all(other.done for other in self._processes if other.name.startswith("producer")):
            return False
        with suppress(*NOT_NOW):
            await process.zk.sync()
            return await queue.size() == 0
        return False

    def left(self, *names: str) -> list[str]:
        """The nodes below these children of the path."""
        roots = tuple(f"{PATH}/{name}/" for name in names)
        return [path for path in self.scenario.replica(self.scenario.leader()).tree.znodes if path.startswith(roots)]

    def _strike_later(self) -> None:
        self.world.after(int(self._random.expovariate(1 / self.pace_ms) + 1) * MS, self._strike)

    def _strike(self) -> None:
        if self.over:
            return
        self._strike_later()
        random = self._random
        process = random.choice([process for process in self._processes if not process.dead])
        draw, duration_ms = random.random(), random.uniform(5, 3 * TIMEOUT_MS if self.rough else TIMEOUT_MS / 5)
        if draw < 0.35:
            process.line.darken(duration_ms * MS)
        elif draw < 0.6:
            process.line.reset()
        elif draw < 0.8:
            process.loop.stall(min(duration_ms, 2 * TIMEOUT_MS) * MS)
        elif draw < 0.9 and self.rough:
            process.die()
        elif draw > 0.97:
            self._kill_a_server()

    def _kill_a_server(self) -> None:
        server = self._random.choice(self.scenario.servers)
        if all(self.scenario.role(other) is not None for other in self.scenario.servers):
            self.scenario.kill(server)
            self.world.after(int(self._random.uniform(5, 300)) * MS, self.scenario.heal)


def storm_over(
    seed: int,
    servers: int,
    prepare: Callable[[Storm], None],
    afterwards: Callable[[Storm], None],
    *,
    rough: bool = True,
    pace_ms: int = 120,
) -> None:
    with Scenario(servers, tune=lambda config: replace(config, reap_interval_ms=60)) as scenario:
        scenario.world.random = Random(seed)
        storm = Storm(scenario, seed, rough=rough, pace_ms=pace_ms)
        try:
            prepare(storm)
            storm.rage()
            afterwards(storm)
        finally:
            storm.end()


def producer(put: set[bytes], items: int, kind: type[Queue] | type[WorkQueue]) -> Callable[[Process], Awaitable[None]]:
    """Puts that many items, each life its own; `put` gets those whose put was answered."""

    async def produce(process: Process) -> None:
        for n in range(items):
            await anyio.sleep(process.random.uniform(0, 0.3))
            value = f"{process.name}-{n}".encode()
            with suppress(*NOT_NOW):
                await kind(process.zk, PATH).put(value)
                put.add(value)

    return produce


# ---- WorkQueue


class Foreman:
    """Hears who works on what."""

    def __init__(self) -> None:
        self.put: set[bytes] = set()
        self.delivered: set[bytes] = set()
        self.finished: set[bytes] = set()
        self._working: dict[bytes, list[tuple[Process, Task]]] = defaultdict(list)
        self._tokens: dict[bytes, Zxid] = {}

    def begins(self, process: Process, task: Task) -> None:
        item = task.data
        assert item not in self.finished, "what is finished never comes back"
        assert task.token > self._tokens.get(item, 0), "tokens grow"
        others = [who.name for who, other in self._working[item] if who.believes and not other.held.lost.is_set()]
        assert others == [], f"{process.name} works on what they work on"
        self.delivered.add(item)
        self._tokens[item] = task.token
        self._working[item].append((process, task))

    def ends(self, process: Process, task: Task) -> None:
        self._working[task.data].remove((process, task))

    async def work(self, process: Process) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(self._work, process)

    async def _work(self, process: Process) -> None:
        queue = WorkQueue(process.zk, PATH, deliveries_max=10_000)
        while not await process.storm.has_ended_for(process, queue):
            patience = process.random.uniform(0, 1) if process.random.random() < 0.3 else inf
            with suppress(*NOT_NOW), anyio.move_on_after(patience):
                await self._work_on(process, await queue.claim(timeout=0.5))

    async def _work_on(self, process: Process, task: Task) -> None:
        async with task:
            self.begins(process, task)
            try:
                await anyio.sleep(process.random.uniform(0, 0.05))
                if process.random.random() < 0.2:
                    await task.nack()
                    return
            finally:
                self.ends(process, task)
        self.finished.add(task.data)


@pytest.mark.parametrize(("seed", "servers"), [(seed, 1 + 2 * (seed % 2)) for seed in range(6)])
def test_every_item_of_a_work_queue_is_finished_once_by_one_worker_at_a_time(seed: int, servers: int) -> None:
    foreman = Foreman()

    def prepare(storm: Storm) -> None:
        storm.begin("producer", producer(foreman.put, 40, WorkQueue))
        for number in range(3):
            storm.begin(f"worker {number}", foreman.work)

    def afterwards(storm: Storm) -> None:
        assert foreman.put <= foreman.delivered, "nothing is lost"
        assert storm.left("items", "claims", "line", "dead") == []

    storm_over(seed, servers, prepare, afterwards)
    assert len(foreman.finished) > 20


# ---- Queue


@pytest.mark.parametrize(("seed", "rough"), [(seed, seed % 2 == 1) for seed in range(6)])
def test_no_item_of_a_queue_is_delivered_twice_and_none_is_lost_with_sessions_that_last(seed: int, rough: bool) -> None:
    put: set[bytes] = set()
    got: Counter[bytes] = Counter()

    async def consume(process: Process) -> None:
        queue = Queue(process.zk, PATH)
        while not await process.storm.has_ended_for(process, queue):
            with suppress(*NOT_NOW), anyio.move_on_after(process.random.uniform(0, 0.4)):
                value = await queue.get(timeout=0.3)
                got[value] += 1
                assert got[value] == 1, "it was delivered before"

    def prepare(storm: Storm) -> None:
        storm.begin("producer", producer(put, 40, Queue))
        for number in range(3):
            storm.begin(f"consumer {number}", consume)

    def afterwards(storm: Storm) -> None:
        if not rough:
            assert put <= set(got), "nothing is lost"
        assert storm.left("items", "line") == []

    storm_over(seed, 1, prepare, afterwards, rough=rough)
    assert len(got) > 20


# ---- DoubleBarrier


MEMBERS = 3
LATE = 1  # too many for one round


class Gate:
    """Hears who enters and leaves. A round begins when enough have called `enter` that are not inside yet."""

    def __init__(self) -> None:
        self.passed = 0
        self._entering: dict[object, Process] = {}
        self._most: dict[object, int] = {}  # for each who enters, how many did so at once, at most
        self._inside: dict[object, tuple[Process, Zxid, Callable[[], bool]]] = {}
        self._ended: set[Zxid] = set()

    async def live(self, process: Process) -> None:
        while not process.storm.over:
            await anyio.sleep(process.random.uniform(0, 0.1))
            with suppress(*NOT_NOW):
                await self._round(process, "rounds", MEMBERS, 1.5)
        await self._round(process, "last", MEMBERS + LATE, None)

    async def _round(self, process: Process, name: str, members: int, timeout: float | None) -> None:
        barrier = DoubleBarrier(process.zk, f"{PATH}/{name}", members)
        me = object()
        self._entering[me] = process
        self._most[me] = 0
        entering = sum(not other.forgotten for other in self._entering.values())
        for one in self._most:
            self._most[one] = max(self._most[one], entering)
        try:
            held = await barrier.enter(timeout=timeout)
        except BaseException:
            self._gives_up(process, me)
            raise
        finally:
            most = self._most.pop(me)
        del self._entering[me]
        token = barrier._round.token
        assert most >= members, f"{process.name} enters before enough have come"
        assert token not in self._ended, f"{process.name} enters a round that others have ended"
        self._inside[me] = process, token, held.lost.is_set
        self.passed += 1
        try:
            await anyio.sleep(process.random.uniform(0, 0.03))
        finally:
            del self._inside[me]
        await barrier.leave()
        self._ended.add(token)
        inside = [who.name for who, its, lost in self._inside.values() if its == token and who.believes and not lost()]
        assert inside == [], f"{process.name} has left before they leave"

    def _gives_up(self, process: Process, me: object) -> None:
        """The node may be there for as long as the session lasts."""

        def forget() -> None:
            del self._entering[me]

        process.storm.world.after(2 * TIMEOUT_MS * MS, forget)


@pytest.mark.parametrize(("seed", "servers"), [(seed, 1 + 2 * (seed % 2)) for seed in range(6)])
def test_a_double_barrier_lets_nobody_pass_too_early_and_nobody_wait_for_ever(seed: int, servers: int) -> None:
    gate = Gate()

    def prepare(storm: Storm) -> None:
        for number in range(MEMBERS + LATE):
            storm.begin(f"member {number}", gate.live)

    def afterwards(storm: Storm) -> None:
        assert [path for path in storm.left("rounds", "last") if "member-" in path] == []

    storm_over(seed, servers, prepare, afterwards, pace_ms=500)
    assert gate.passed > 10
