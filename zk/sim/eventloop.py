"""An asyncio event loop in virtual time: one simulated process whose code is coroutines.

It owns the turns of that process, its clock and its stalls. Each turn is one event of the world; what a turn does takes
no time, and the next one comes a moment later. Everything that asyncio and anyio do with time or with readiness goes
through here, so a seed determines the order of every step. Sockets, threads and signals there are none: a process talks
to the world over streams (streams.py).
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from math import inf
from typing import Any, TypeVar, TypeVarTuple

from zk.sim.world import World

TURN_US = 10
"""From one turn to the next: without it, code that tries again and again would keep time from passing."""

CATCH_UP_US = 100 * TURN_US
"""Behind a stall, so long until all is done that was due."""

TURNS_TO_END_MAX = 100_000

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
SECOND_US = 1_000_000


class _Task(asyncio.Task[T]):
    """Knows in which order the tasks were born.

    anyio keeps what it cancels in sets, whose order depends on addresses. So whatever is cancelled without a pause
    wakes up in the order of its birth.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, T],
        loop: "EventLoop",
        number: int,
        name: str | None,
        context: Context | None,
    ) -> None:
        super().__init__(coroutine, loop=loop, name=name, context=context)
        self._event_loop = loop
        self.number = number

    def cancel(self, msg: object | None = None) -> bool:
        loop = self._event_loop
        outer, loop.cancelling = loop.cancelling, loop.cancelling or self.number
        try:
            return super().cancel(msg)
        finally:
            loop.cancelling = outer


class EventLoop(asyncio.BaseEventLoop):
    """One process. Its clock runs at `rate` times the true speed.

    An exception that nobody in the process catches ends the run, as one that comes out of the world's own actions does.
    """

    def __init__(self, world: World, rate: float = 1.0) -> None:
        super().__init__()
        self.world = world
        self.over = False  # the run has ended: whatever still runs is only brought to its end
        self.cancelling = 0  # the number of the task that is being cancelled
        self._rate = rate
        self._soon: deque[asyncio.Handle] = deque()
        self._cancelled: list[tuple[int, asyncio.Handle]] = []
        self._later: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._tasks = 0
        self._timers = 0
        self._in_turn = False
        self._turn_at_us = -1  # when the next turn is to come; -1: nothing is to be done
        self._stalled_until_us = -inf
        self._skipped_us = 0
        self._failure: BaseException | None = None
        self.on_turn: Callable[[], None] = lambda: None  # called before each turn; may stall it

    # ---- the process

    @property
    def stalled(self) -> bool:
        """Whether the process does not run at the moment, or has only just begun again."""
        return self._stalled_until_us + CATCH_UP_US > self.world.now_us

    def stall(self, duration_us: float) -> None:
        """Do nothing for so long (SIGSTOP, a machine that swaps); with infinity, never again. What should have been
        done meanwhile is done then."""
        self._stalled_until_us = max(self._stalled_until_us, self.world.now_us + duration_us)

    def abort(self, failure: BaseException) -> None:
        """End the run with `failure` behind the present turn."""
        if self._failure is None:
            self._failure = failure

    def end(self, main: "asyncio.Task[None]") -> None:
        """The run is over: cancel `main`, and let it clean up, apart from the world. Time is skipped, and passes by
        turns as it did before."""
        self.over = True
        main.cancel()
        for _ in range(TURNS_TO_END_MAX):
            if main.done():
                break
            if not self._soon and not self._cancelled:
                assert self._later, f"{main} waits for nothing"
                self._skipped_us += max(0, self._us_until(self._later[0][0]))
            self._turn()
            self._skipped_us += TURN_US
        assert main.done(), f"{main} does not end"
        if not main.cancelled():
            main.exception()  # was told, or comes of the end
        self.close()

    # ---- turns

    def _wake(self, at_us: int) -> None:
        """Let the next turn come at `at_us`, if not before."""
        if self._in_turn or self.over or (0 <= self._turn_at_us <= at_us):
            return
        self._turn_at_us = at_us
        self.world.after(at_us - self.world.now_us, lambda: self._come(at_us))

    def _come(self, at_us: int) -> None:
        if at_us != self._turn_at_us or self.over:
            return  # an earlier turn was wanted after this one, or it is too late for any
        self._turn_at_us = -1
        self.on_turn()
        if self._stalled_until_us <= self.world.now_us:
            self._turn()
            if self._failure is not None:
                raise self._failure
        self._wake_for_next()

    def _wake_for_next(self) -> None:
        if self._soon or self._cancelled:
            at_us = float(self.world.now_us + TURN_US)
        elif self._later:
            at_us = self.world.now_us + self._us_until(self._later[0][0])
        else:
            return
        at_us = max(at_us, self._stalled_until_us)
        if at_us < inf:
            self._wake(int(at_us))

    def _turn(self) -> None:
        """Do all that is due now; what comes of it is for the next turn."""
        now = self.time()
        while self._later and (self._later[0][0] <= now or self._later[0][2].cancelled()):
            self._soon.append(heapq.heappop(self._later)[2])
        self._settle_cancelled()
        due, self._soon = self._soon, deque()
        self._in_turn = True
        asyncio._set_running_loop(self)
        try:
            for handle in due:
                if not handle.cancelled():
                    handle._run()
        finally:
            asyncio._set_running_loop(None)
            self._in_turn = False
        while self._later and self._later[0][2].cancelled():
            heapq.heappop(self._later)

    def _settle_cancelled(self) -> None:
        if self._cancelled:
            self._cancelled.sort(key=lambda entry: entry[0])
            self._soon.extend(handle for _, handle in self._cancelled)
            self._cancelled.clear()

    def _us_until(self, when: float) -> int:
        return max(TURN_US, int((when - self.time()) * SECOND_US / self._rate) + 1)

    # ---- what asyncio and anyio ask of a loop

    def time(self) -> float:
        return (self.world.now_us + self._skipped_us) * self._rate / SECOND_US

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if self.cancelling:
            self._cancelled.append((self.cancelling, handle))
        else:
            self._settle_cancelled()
            self._soon.append(handle)
        self._wake(self.world.now_us + TURN_US)
        return handle

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if when < inf:
            self._timers += 1
            heapq.heappush(self._later, (when, self._timers, handle))
            self._wake(self.world.now_us + self._us_until(when))
        return handle

    def create_task(  # type: ignore[override]  # no generators: only coroutines are tasks
        self, coroutine: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        self._tasks += 1
        return _Task(coroutine, self, self._tasks, name, context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self.over:
            self.abort(context.get("exception") or RuntimeError(context["message"]))
