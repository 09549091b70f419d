"""The world of a simulation: virtual time, three sources of chance, and what to do when an invariant breaks.

It owns the order of events. Nothing in `zk.sim` looks at a real clock or draws a number from anywhere else, so a seed
determines a run to the last byte. Read `network`, `disk` and `node` next: what lives in the world.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from random import Random
from traceback import extract_tb
from typing import NoReturn

from zk.sim.trace import Trace

MS = 1_000
"""One millisecond in the world's unit, the microsecond."""

Action = Callable[[], None]


class Violation(AssertionError):  # noqa: N818 - a finding about the code under test, no error of this program
    """An invariant broke at `time_ms`, when so many `events` had happened, and `faults` and `wishes` had come up. `run`
    with the same plan shows it again."""

    def __init__(
        self, seed: int, time_ms: float, invariant: str, detail: str, events: int, faults: int, wishes: int
    ) -> None:
        super().__init__(seed, time_ms, invariant, detail, events, faults, wishes)  # what it is pickled by
        self.seed = seed
        self.time_ms = time_ms
        self.invariant = invariant
        self.detail = detail
        self.events = events
        self.faults = faults
        self.wishes = wishes

    def __str__(self) -> str:
        return f"seed {self.seed} at {self.time_ms:.3f} ms: {self.invariant}: {self.detail}"


class TimeIsUp(Exception):  # noqa: N818 - no error either
    """The world was to stop here."""


class World:
    """A heap of things to come. `now_us` is the true time, which no simulated server knows. It ends at `stop_ms`.

    Three sources of chance, so that to take a fault or a wish out of a run leaves the rest of it mostly as it was:
    `random` for nature (delays, disks, what servers draw), `fate` for which faults strike and when, `wishes` for what
    clients ask. `counters` says how often what happened; coverage.py says what must have.

    >>> world = World(seed=1)
    >>> world.after(5 * MS, lambda: print("at", world.now_us))
    >>> world.run(until_us=10 * MS)
    at 5000
    """

    def __init__(
        self,
        seed: int,
        trace: Trace | None = None,
        only_faults: Collection[int] | None = None,
        only_wishes: Collection[int] | None = None,
        stop_ms: int | None = None,
        nature: int = 0,
    ) -> None:
        self.seed = seed
        self.random = Random(nature << 64 | seed)
        self.fate = Random(f"fate of {seed}")
        self.wishes = Random(f"wishes of {seed}")
        self.counters: Counter[str] = Counter()
        self.trace = trace
        self.now_us = 0
        self.events = 0
        self.faults = 0
        self.wished = 0
        self._only_faults = only_faults
        self._only_wishes = only_wishes
        self._stop_us = None if stop_ms is None else stop_ms * MS
        self._to_come: list[tuple[int, int, Action]] = []
        self._scheduled = 0

    def after(self, delay_us: int, action: Action) -> None:
        """Do `action` when `delay_us` have passed; of two for the same instant, the first one asked for comes first."""
        self._scheduled += 1
        heapq.heappush(self._to_come, (self.now_us + delay_us, self._scheduled, action))

    def run(self, until_us: int) -> None:
        """Let time pass up to `until_us`. An exception that comes out of an action is a violation like any other.

        Raises TimeIsUp where the world stops before that.
        """
        end_us = until_us if self._stop_us is None else min(until_us, self._stop_us)
        to_come = self._to_come
        try:
            while to_come and to_come[0][0] <= end_us:
                self.now_us, _, action = heapq.heappop(to_come)
                self.events += 1
                action()
        except Violation:
            raise
        except Exception as error:
            place = extract_tb(error.__traceback__)[-1]
            what = f"{error!r} in {Path(place.filename).name}:{place.lineno}, {place.name}: {place.line}"
            self.log("*", f"VIOLATION assertions: {what}")
            raise self._violation("assertions", what) from error
        self.now_us = end_us
        if end_us < until_us:
            raise TimeIsUp

    def strikes(self) -> bool:
        """Whether the next fault takes place in this, perhaps shortened, run. Asked once before each, when all of its
        chance is drawn from `fate`: so to leave out one fault changes no other."""
        self.faults += 1
        return self._only_faults is None or self.faults in self._only_faults

    def wants(self) -> bool:
        """Whether the next operation of a client takes place; as `strikes`, for `wishes`."""
        self.wished += 1
        return self._only_wishes is None or self.wished in self._only_wishes

    def log(self, who: str, what: str) -> None:
        """One line of the trace. Look at `trace` first where making `what` costs anything."""
        if self.trace is not None:
            self.trace.line(self.now_us, who, what)

    def fail(self, invariant: str, detail: str) -> NoReturn:
        """Raise Violation."""
        self.log("*", f"VIOLATION {invariant}: {detail}")
        raise self._violation(invariant, detail)

    def _violation(self, invariant: str, detail: str) -> Violation:
        return Violation(
            self.seed, self.now_us / MS, invariant, detail, self.events, faults=self.faults, wishes=self.wished
        )
