"""The world of a simulation: virtual time, one source of chance, and what to do when an invariant breaks.

It owns the order of events. Nothing in `zk.sim` looks at a real clock or draws a number from anywhere else, so a seed
determines a run to the last byte. Read `network`, `disk` and `node` next: what lives in the world.
"""

import heapq
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NoReturn

from zk.sim.trace import Trace

MS = 1_000
"""One millisecond in the world's unit, the microsecond."""

Action = Callable[[], None]


class Violation(AssertionError):  # noqa: N818 - a finding about the code under test, no error of this program
    """An invariant broke: `run(seed, …)` with the same arguments shows it again."""

    def __init__(self, seed: int, time_ms: float, invariant: str, detail: str) -> None:
        self.seed = seed
        self.time_ms = time_ms
        self.invariant = invariant
        self.detail = detail
        super().__init__(f"seed {seed} at {time_ms:.3f} ms: {invariant}: {detail}")


class World:
    """A heap of things to come. `now_us` is the true time, which no simulated server knows.

    Three sources of chance, so that to take a fault or a wish out of a run leaves the rest of it mostly as it was:
    `random` for nature (delays, disks, what servers draw), `fate` for which faults strike and when, `wishes` for what
    clients ask. `counters` says how often what happened; coverage.py says what must have.

    >>> world = World(seed=1)
    >>> world.after(5 * MS, lambda: print("at", world.now_us))
    >>> world.run(until_us=10 * MS)
    at 5000
    """

    def __init__(self, seed: int, trace: Trace | None = None) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.fate = Random(f"fate of {seed}")
        self.wishes = Random(f"wishes of {seed}")
        self.counters: Counter[str] = Counter()
        self.trace = trace
        self.now_us = 0
        self.events = 0
        self._to_come: list[tuple[int, int, Action]] = []
        self._scheduled = 0

    def after(self, delay_us: int, action: Action) -> None:
        """Do `action` when `delay_us` have passed; of two for the same instant, the first one asked for comes first."""
        self._scheduled += 1
        heapq.heappush(self._to_come, (self.now_us + delay_us, self._scheduled, action))

    def run(self, until_us: int) -> None:
        """Let time pass up to `until_us`. An exception that comes out of an action is a violation like any other."""
        to_come = self._to_come
        try:
            while to_come and to_come[0][0] <= until_us:
                self.now_us, _, action = heapq.heappop(to_come)
                self.events += 1
                action()
        except Violation:
            raise
        except Exception as error:
            raise Violation(self.seed, self.now_us / MS, "assertions", repr(error)) from error
        self.now_us = until_us

    def log(self, who: str, what: str) -> None:
        """One line of the trace. Look at `trace` first where making `what` costs anything."""
        if self.trace is not None:
            self.trace.line(self.now_us, who, what)

    def fail(self, invariant: str, detail: str) -> NoReturn:
        """Raise Violation."""
        self.log("*", f"VIOLATION {invariant}: {detail}")
        raise Violation(self.seed, self.now_us / MS, invariant, detail)
