"""Processes of a scenario whose clients are production ones: each does what the story says, in virtual time.

>>> from zk.sim.scenario import Scenario
>>> with Scenario(contests={"/lock": FIRST}) as s:
...     one, other = s.app(), s.app()
...     claim = one.take(one.zk.Lock("/lock"))
...     waiting = other.begin(other.taking(other.zk.Lock("/lock")))
...     one.darken_ms(3_000)
...     s.run_until(waiting.done)
...     claim.held.lost.is_set()
True

Who takes something by `take` is judged: who is granted what, and until when one may believe in it, is held against the
rules of the scenario's `contests`. Read referee.py for the rules, streams.py and eventloop.py for the ground.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from random import Random
from typing import Any, TypeVar

import anyio
from zkclient import AsyncZooKeeper
from zkclient.recipes.contenders import Contest

from zk.model.paths import parent
from zk.model.record import ServerId, SessionId
from zk.model.replies import Reply
from zk.model.requests import Call
from zk.sim.eventloop import EventLoop
from zk.sim.links import Links
from zk.sim.referee import FIRST, Claim, Referee
from zk.sim.streams import PORT, Line, host_of
from zk.sim.world import MS, World

__all__ = ["FIRST", "ScenarioApp"]

CLOCK_RATE = 1.04
"""How fast a client's clock runs: no slower than any server's, as the promise of sessions assumes."""

T = TypeVar("T")


class ScenarioApp:
    """One process with the client `zk`, which knows `servers`."""

    def __init__(
        self,
        world: World,
        links: Links,
        servers: Sequence[ServerId],
        referee: Referee,
        timeout_ms: int,
        run_until: Callable[[Callable[[], object]], None],
        read_only: bool = False,
    ) -> None:
        self.on_answer: Callable[[Call, Reply], object] = lambda call, reply: None
        """Called before the process is given an answer."""
        self._world = world
        self._referee = referee
        self._run_until = run_until
        self._loop = EventLoop(world, CLOCK_RATE)
        self._line = Line(world, links, self._loop, servers, self)
        self.zk = AsyncZooKeeper(
            ",".join(f"{host_of(server)}:{PORT}" for server in servers),
            session_timeout_ms=timeout_ms,
            read_only=read_only,
            connect=self._line.connect,
            chance=Random(0),
        )
        self._tasks: list[asyncio.Task[Any]] = []
        self._main = self._loop.create_task(self._run())
        self.do(self.zk.sync())

    async def _run(self) -> None:
        async with self.zk:
            try:
                await anyio.sleep_forever()
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks)

    def end(self) -> None:
        """The story is over."""
        self._loop.end(self._main)

    # ---- what it does

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Let it do this while the story goes on."""
        task = self._loop.create_task(work)
        self._tasks.append(task)
        return task

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Let it do this, and wait for the end."""
        task = self.begin(work)
        self._run_until(task.done)
        return task.result()

    async def taking(self, recipe: Contest) -> Claim:
        """Acquire, and believe in it."""
        held = await recipe.acquire()
        claim = Claim("the app", parent(held.path), held, self.zk, self._loop)
        self._referee.granted(claim)
        return claim

    def take(self, recipe: Contest) -> Claim:
        return self.do(self.taking(recipe))

    # ---- what befalls it

    def stall_ms(self, duration_ms: float) -> None:
        """It does not run for so long, from its next turn on."""
        self._loop.stall(duration_ms * MS)

    def darken_ms(self, duration_ms: float) -> None:
        """It can't be reached, and reaches nobody, for so long; nobody is told."""
        self._line.darken(duration_ms * MS)

    def answered(self, session: SessionId, call: Call, reply: Reply) -> None:
        """Told by the line."""
        self._referee.answered(session, call, reply)
        self.on_answer(call, reply)
