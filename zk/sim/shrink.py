"""A shorter run that breaks the same invariant, for people to read.

Fewer servers, a shorter war; then faults and wishes are taken out by delta debugging: large groups of them first, then
smaller ones. What is left out changes all that nature does next, so that a shorter run is tried with several natures.
Source: Zeller, Hildebrandt, "Simplifying and isolating failure-inducing input" (IEEE TSE 2002).
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from zk.model.record import record
from zk.sim.plan import Plan
from zk.sim.world import Violation

RUNS_MAX = 3_000
"""How many runs a search may take."""

NATURES = 3
"""With so many natures a shorter run is tried before it is given up."""

TIME_MAX_S = 60.0
"""How long a search may take; the run under way then is the last."""

Attempt = Callable[[Plan, int | None], Violation | None]
"""Run a plan, up to some time in milliseconds if given."""


@record
class Shrunk:
    """The shortest run that was found, and how many were tried."""

    plan: Plan
    violation: Violation
    runs: int


def shrink(
    plan: Plan,
    violation: Violation,
    attempt: Attempt,
    runs_max: int = RUNS_MAX,
    time_max_s: float = TIME_MAX_S,
    clock: Callable[[], float] = time.monotonic,
) -> Shrunk:
    """Look for a shorter run than `plan`, which ends in `violation`."""
    search = _Search(plan, violation, attempt, runs_max, clock() + time_max_s, clock)
    search.servers()
    before = None
    while before != search.plan:
        before = search.plan
        search.war()
        search.faults()
        search.wishes()
    return Shrunk(search.plan, search.violation, search.runs)


class _Search:
    """`plan` ends in `violation`, and is the shortest so far."""

    def __init__(
        self,
        plan: Plan,
        violation: Violation,
        attempt: Attempt,
        runs_max: int,
        end_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.plan = plan
        self.violation = violation
        self.runs = 0
        self._attempt = attempt
        self._runs_max = runs_max
        self._end_s = end_s
        self._clock = clock

    def _breaks(self, plan: Plan) -> bool:
        """Whether `plan`, in some nature, breaks the same invariant: then it is the shortest so far."""
        for nature in range(plan.nature, plan.nature + NATURES):
            if self.runs >= self._runs_max or self._clock() >= self._end_s:
                return False
            self.runs += 1
            found = self._attempt(replace(plan, nature=nature), self._stop_ms)
            if found is not None and found.invariant == self.violation.invariant:
                self.plan, self.violation = replace(plan, nature=nature), found
                return True
        return False

    @property
    def _in_war(self) -> bool:
        return self.violation.time_ms <= self.plan.peace_ms

    @property
    def _stop_ms(self) -> int | None:
        """What has not broken somewhat later than it did is not waited for, unless it takes peace to break it."""
        return int(self.violation.time_ms * 1.25) + 500 if self._in_war else None

    def servers(self) -> None:
        """As few as will do."""
        for fewer in range(1, self.plan.servers, 2):
            if self._breaks(replace(self.plan, servers=fewer)):
                return

    def war(self) -> None:
        """Where it takes peace to break it, as short a war as will do, by halves."""
        while not self._in_war and self.plan.peace_ms > 100:
            if not self._breaks(replace(self.plan, war_ms=self.plan.peace_ms // 2)):
                return

    def faults(self) -> None:
        numbers = _numbers(self.plan.only_faults, self.violation.faults)
        self._drop(numbers, lambda kept: replace(self.plan, only_faults=frozenset(kept)))

    def wishes(self) -> None:
        numbers = _numbers(self.plan.only_wishes, self.violation.wishes)
        self._drop(numbers, lambda kept: replace(self.plan, only_wishes=frozenset(kept)))

    def _drop(self, numbers: Sequence[int], plan: Callable[[Iterable[int]], Plan]) -> None:
        """Take out of `numbers` what can be: groups from the end on, of half the size each time round."""
        size = len(numbers)
        while size:
            end = len(numbers)
            while end > 0:
                fewer = [*numbers[: max(0, end - size)], *numbers[end:]]
                if self._breaks(plan(fewer)):
                    numbers = fewer
                end -= size
            size //= 2


def _numbers(only: frozenset[int] | None, count: int) -> Sequence[int]:
    return range(1, count + 1) if only is None else sorted(number for number in only if number <= count)
