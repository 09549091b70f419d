"""Locks and elections by the real recipes: production clients as simulated processes beside the servers.

Each process runs the client unchanged, on an event loop of its own, over streams of its own. It stalls between any two
turns, its line goes dark, its connections break, it dies and another one takes its place. What it believes is for the
referee to judge. Read referee.py for the rules, eventloop.py and streams.py for the ground that a process stands on.
"""

from collections.abc import Callable, Sequence
from math import inf
from random import Random

import anyio
from zkclient import (
    AsyncZooKeeper,
    ConnectionLossError,
    Held,
    LockLost,
    NoNodeError,
    NotEmptyError,
    OperationTimeoutError,
    SessionExpiredError,
    ThrottledError,
    TransactionFailed,
)
from zkclient.recipes.contenders import Contest

from zk.model.paths import join
from zk.model.record import ServerId
from zk.sim.clients import TIMEOUT_MS
from zk.sim.eventloop import EventLoop
from zk.sim.links import Links
from zk.sim.referee import FIRST, Claim, Leases, Place, ReadersAndWriters, Referee, Rules
from zk.sim.streams import PORT, Line, host_of
from zk.sim.witness import Witness
from zk.sim.world import MS, Violation, World

LOCK = "/locks/one"
ELECTION = "/leaders/one"
SHARED = "/locks/shared"
LEASED = "/leases/two"
LEASES = 2
RULES: dict[str, Rules] = {LOCK: FIRST, ELECTION: FIRST, SHARED: ReadersAndWriters(), LEASED: Leases(LEASES)}
COUNTERS = {LOCK: "/counters/lock", ELECTION: "/counters/election"}
COMPETITORS = 3
STRUCK_SHARE = 0.06
"""How often a holder is struck just when it holds."""
CALL_SECONDS_MAX = 3.0
REST_WITHIN_MS = 6_000
"""In peace so much time suffices for all who wait to hold in turn, and for the sessions of the dead to end."""

NOT_NOW = (LockLost, SessionExpiredError, OperationTimeoutError, ConnectionLossError, ThrottledError)
"""What may become of any attempt while faults strike."""


class Recipes:
    """All processes of a run. Use it as a context manager: whatever still runs at the end is brought to its end.

    Its `committed` is to be told of the history, the witness is told by it. Faults strike until `peace_ms`.
    """

    def __init__(
        self, world: World, links: Links, witness: Witness, servers: Sequence[ServerId], peace_ms: int
    ) -> None:
        self.world = world
        self.links = links
        self.servers = tuple(servers)
        self.referee = Referee(world, witness, RULES, tuple(COUNTERS.values()))
        self.varied = Random(f"contests of {world.seed}").choice((LOCK, SHARED, LEASED))  # what most compete for
        self.resting = False
        self._war_until_us = peace_ms * MS
        self._processes: list[Process] = []

    def begin(self) -> None:
        """Let there be processes."""
        for number in range(COMPETITORS):
            self.add(Competitor, number, 1)
        self.add(Observer, COMPETITORS, 1)
        self.add(Intruder, COMPETITORS + 1, 1)

    def add(self, kind: "type[Process]", number: int, life: int) -> None:
        """One process, in its first life or a later one."""
        self._processes.append(kind(self, number, life))

    def __enter__(self) -> "Recipes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.loop.end(process.main)

    @property
    def at_war(self) -> bool:
        return self.world.now_us < self._war_until_us

    @property
    def _over(self) -> bool:
        """Whether nobody is at anything any more, and the sessions of those that died are over, too."""
        return all(process.idle for process in self._processes) and not any(self.referee.queues().values())

    def rest(self) -> None:
        """Let everyone finish what is under way, and no more. In peace all get their turn, and leave nothing."""
        self.resting = True
        until_us = self.world.now_us + REST_WITHIN_MS * MS
        while self.world.now_us < until_us and not self._over:
            self.world.run(self.world.now_us + 100 * MS)
        busy = [process.name for process in self._processes if not process.idle]
        if busy:
            self.world.fail("liveness", f"in peace {busy} still wait for locks: {self.referee.queues()}")
        self.referee.no_one_left()


class Process:
    """One process and its client. `idle`: nothing is under way any more."""

    def __init__(self, recipes: Recipes, number: int, life: int) -> None:
        self.recipes = recipes
        self.world = recipes.world
        self.number = number
        self.life = life
        self.name = f"app {number}.{life}"
        self.random = Random(f"{self.name} of {self.world.seed}")
        self.loop = EventLoop(self.world, rate=self.random.uniform(1.03, 1.06))
        self.line = Line(self.world, recipes.links, self.loop, recipes.servers, recipes.referee)
        self.zk = AsyncZooKeeper(
            ",".join(f"{host_of(server)}:{PORT}" for server in recipes.servers),
            session_timeout_ms=TIMEOUT_MS,
            timeout=CALL_SECONDS_MAX,
            connect=self.line.connect,
            chance=self.random,
        )
        self.dead = False
        self._at_rest = False
        self._turns_to_stall = 0
        self.main = self.loop.create_task(self._run())
        self.loop.on_turn = self._perhaps_stall
        self._strike_later()

    @property
    def idle(self) -> bool:
        return self.dead or self._at_rest

    async def _run(self) -> None:
        try:
            async with self.zk:
                await self.live()
                self._at_rest = True
                await anyio.sleep_forever()  # the session lives on: it hides nothing
        except Exception as error:
            self.loop.abort(error)
            raise

    async def live(self) -> None:
        """What the process does, until all rest."""
        raise NotImplementedError

    def judge(self, question: Callable[[], None]) -> None:
        """Ask the referee. What it finds ends the run, and not only the present task."""
        try:
            question()
        except Violation as violation:
            self.loop.abort(violation)

    def note(self, counter: str, what: str) -> None:
        if not self.loop.over:
            self.world.counters[counter] += 1
            self.world.log(self.name, what)

    # ---- what befalls it

    def _perhaps_stall(self) -> None:
        """A process can stand still between any two turns: so turns are what is counted, not time."""
        self._turns_to_stall -= 1
        if self._turns_to_stall >= 0 or not self.recipes.at_war:
            return
        self._turns_to_stall = int(self.random.expovariate(1 / 300))
        stall_ms = self.random.choice((self.random.uniform(1, 40), self.random.uniform(0.2, 1.6) * TIMEOUT_MS))
        if self.world.strikes():
            self.note("fault: process stalls", f"stalls for {stall_ms:.1f} ms")
            self.loop.stall(stall_ms * MS)

    def _strike_later(self) -> None:
        self.world.after(int(self.random.expovariate(1 / 2_500) + 1) * MS, self._strike)

    def _strike(self) -> None:
        if self.dead or not self.recipes.at_war:
            return
        self._strike_later()
        draw, again_ms, dark_ms = self.random.random(), self.random.uniform(10, 3_000), self.random.uniform(100, 3_000)
        if not self.world.strikes():
            return
        if draw < 0.4:
            self.note("fault: line dark", f"is cut off for {dark_ms:.0f} ms")
            self.line.darken(dark_ms * MS)
        elif draw < 0.7:
            self.note("fault: connections reset", "loses its connections")
            self.line.reset()
        else:
            self._die(silently=draw > 0.85, again_ms=int(again_ms))

    def _die(self, silently: bool, again_ms: int) -> None:
        """The process is killed; silently, if its machine goes with it."""
        self.note("fault: process dies", "dies with its machine" if silently else "dies")
        self.dead = True
        self.loop.stall(inf)
        if silently:
            self.line.darken(inf)
        else:
            self.line.cut()
        self.world.after(again_ms * MS, lambda: self.recipes.add(type(self), self.number, self.life + 1))


class Competitor(Process):
    """Takes locks and leads, again and again, in several tasks at once."""

    async def live(self) -> None:
        async with anyio.create_task_group() as tasks:
            for contest in (LOCK, ELECTION, self.recipes.varied, self.recipes.varied):
                tasks.start_soon(self._compete, contest)

    async def _compete(self, contest: str) -> None:
        attempts = 0
        pace = self.random.choice((0.02, 0.1, 0.4))
        while True:
            await anyio.sleep(self.random.uniform(0, 2 * pace))
            if self.recipes.resting:
                return
            attempts += 1
            if self.world.wants():
                await self._attempt(contest, f"{self.name}/{attempts}")

    async def _attempt(self, contest: str, identifier: str) -> None:
        """Wait for the place, hold it for a while; or give up, one way or another."""
        random = self.random
        timeout = random.uniform(0, 0.6) if random.random() < 0.25 else None
        patience = random.uniform(0, 0.6) if random.random() < 0.25 else inf
        counter, recipe = self._recipe(contest, identifier, timeout)
        try:
            with anyio.move_on_after(patience):
                await self._hold(contest, counter, recipe)
        except OperationTimeoutError as error:
            self.note("acquires timed out", f"{contest}: {error}")
        except LockLost as error:
            self.note("locks lost", f"{contest}: {error}")
        except (SessionExpiredError, ConnectionLossError, ThrottledError) as error:
            self.note("acquires failed", f"{contest}: {error}")

    def _recipe(self, contest: str, identifier: str, timeout: float | None) -> tuple[str, Contest]:
        """By which recipe, and the name under which it is counted."""
        if contest == LOCK:
            return "locks held", self.zk.Lock(contest, identifier=identifier, timeout=timeout)
        if contest == ELECTION:
            return "leaders elected by the recipe", self.zk.Election(contest, identifier, timeout=timeout)
        if contest == LEASED:
            leases = self.zk.Semaphore(contest, max_leases=LEASES, identifier=identifier, timeout=timeout)
            return "leases held", leases
        shared = self.zk.ReadWriteLock(contest, identifier=identifier, timeout=timeout)
        if self.random.random() < 0.6:
            return "read locks held", shared.read_lock()
        return "write locks held", shared.write_lock()

    async def _hold(self, contest: str, counter: str, recipe: Contest) -> None:
        referee = self.recipes.referee
        waiting = True
        try:
            async with recipe as held:
                waiting = False
                claim = Claim(self.name, contest, held, self.zk, self.loop)
                self.judge(lambda: referee.granted(claim))
                self.note(counter, f"holds {held.path}")
                try:
                    await self._work(claim)
                finally:
                    may_believe = referee.may_believe(claim)
                    referee.ended(claim)
        except anyio.get_cancelled_exc_class():
            self.note("acquires cancelled" if waiting else "holders cancelled", f"is cancelled at {contest}")
            raise
        if not may_believe:
            self.judge(lambda: referee.ended_unlocked(claim))

    async def _work(self, claim: Claim) -> None:
        random, held, referee = self.random, claim.held, self.recipes.referee
        for _ in range(random.randrange(4)):
            self._perhaps_strike_the_holder()
            lost_before = held.lost.is_set()
            await anyio.sleep(random.uniform(0, 0.03))
            if lost_before:
                self.judge(lambda: referee.ran_on(claim))
            if random.random() < 0.5:
                held.check()
                self.judge(lambda: referee.still(claim))
            if random.random() < 0.5 and claim.contest in COUNTERS:
                await self._raise_by_one(COUNTERS[claim.contest], held)

    def _perhaps_strike_the_holder(self) -> None:
        """It stands still, or hears nothing, for about as long as its session lasts."""
        struck = self.random.random() < STRUCK_SHARE
        duration_ms, stands_still = self.random.uniform(0.6, 1.8) * TIMEOUT_MS, self.random.random() < 0.5
        if not struck or not self.recipes.at_war or not self.world.strikes():
            return
        if stands_still:
            self.note("fault: process stalls", f"stalls for {duration_ms:.1f} ms while it holds")
            self.loop.stall(duration_ms * MS)
        else:
            self.note("fault: line dark", f"is cut off for {duration_ms:.0f} ms while it holds")
            self.line.darken(duration_ms * MS)

    async def _raise_by_one(self, path: str, held: Held) -> None:
        await self.zk.ensure_path(path)
        value = int((await self.zk.get(path)).data or b"0")
        async with self.zk.transaction(guard=held) as txn:
            txn.set(path, str(value + 1))
        self.world.counters["guarded writes"] += 1


class Observer(Process):
    """Follows who leads, and never leads itself."""

    def __init__(self, recipes: Recipes, number: int, life: int) -> None:
        self._leader: str | None = None
        super().__init__(recipes, number, life)

    @property
    def idle(self) -> bool:
        """It has nothing to wait for once it was told that nobody leads."""
        return self.dead or self._leader is None

    async def live(self) -> None:
        while True:
            try:
                await self._follow()
            except NOT_NOW as error:
                self.note("observations failed", str(error))

    async def _follow(self) -> None:
        referee = self.recipes.referee
        async for leader in self.zk.Election(ELECTION).leaders():
            self._leader = leader
            self.note("leaders observed", f"sees {leader} lead")
            self.judge(lambda: referee.observed(self.name, ELECTION, self._leader))


class Intruder(Process):
    """Deletes the nodes of others: of one who holds or waits; of all, and the path with them."""

    async def live(self) -> None:
        while self.recipes.at_war:
            await anyio.sleep(self.random.expovariate(1 / 0.8))
            contest, everyone = self.random.choice(tuple(RULES)), self.random.random() < 0.4
            queue = self.recipes.referee.queues()[contest]
            if queue and self.recipes.at_war and self.world.strikes():
                self.note("fault: contenders deleted", f"deletes {'all' if everyone else 'the first one'} at {contest}")
                await self._delete(contest, queue if everyone else queue[:1], everyone)

    async def _delete(self, contest: str, places: Sequence[Place], everyone: bool) -> None:
        try:
            for place in places:
                self.recipes.referee.mark(contest, place)
                path = join(contest, place.name)
                async with self.zk.transaction() as txn:
                    txn.check(path, czxid=place.token).delete(path)
            if everyone:
                await self.zk.delete(contest)
        except (TransactionFailed, NotEmptyError, NoNodeError, *NOT_NOW) as error:
            self.note("deletions failed", str(error))
