"""Shrinking: what can go, goes; what breaks is the same invariant; and a search has its limits."""

from collections.abc import Callable

from zk.sim import Layer, Mode, Plan, Violation
from zk.sim.shrink import Shrunk, shrink

PLAN = Plan(7, servers=5, mode=Mode.UNIFORM, layer=Layer.SERVICE)


def violation(plan: Plan, invariant: str = "agreement", time_ms: float = 2_000.0) -> Violation:
    return Violation(plan.seed, time_ms, invariant, "…", events=100, faults=40, wishes=300)


def takes_place(only: frozenset[int] | None, number: int) -> bool:
    return only is None or number in only


def shortest(breaks: Callable[[Plan], Violation | None], plan: Plan = PLAN, runs_max: int = 500) -> Shrunk:
    first = breaks(plan)
    assert first is not None
    return shrink(plan, first, lambda plan, stop_ms: breaks(plan), runs_max)


def test_only_the_faults_and_wishes_that_it_takes_are_left() -> None:
    def breaks(plan: Plan) -> Violation | None:
        needed = (
            takes_place(plan.only_faults, 3)
            and takes_place(plan.only_faults, 40)
            and all(takes_place(plan.only_wishes, number) for number in (1, 200, 201))
        )
        return violation(plan) if needed else None

    shrunk = shortest(breaks)
    assert (shrunk.plan.only_faults, shrunk.plan.only_wishes) == (frozenset({3, 40}), frozenset({1, 200, 201}))
    assert shrunk.violation.args == violation(shrunk.plan).args
    assert shrunk.runs < 300


def test_a_shorter_run_may_take_another_nature() -> None:
    def breaks(plan: Plan) -> Violation | None:
        return violation(plan) if plan == PLAN or plan.nature >= 2 else None

    assert shortest(breaks).plan == Plan(7, 1, PLAN.mode, PLAN.layer, frozenset(), frozenset(), nature=2)


def test_where_it_takes_none_the_first_runs_show_it() -> None:
    shrunk = shortest(violation)
    assert shrunk.plan == Plan(7, 1, PLAN.mode, PLAN.layer, frozenset(), frozenset())
    assert shrunk.runs == 3


def test_as_few_servers_are_left_as_will_do() -> None:
    assert shortest(lambda plan: violation(plan) if plan.servers >= 3 else None).plan.servers == 3


def test_another_invariant_that_breaks_is_another_bug() -> None:
    def breaks(plan: Plan) -> Violation | None:
        return violation(plan, "agreement" if plan.servers == 5 else "one leader")

    assert shortest(breaks).plan.servers == 5


def test_a_violation_in_peace_needs_as_short_a_war_as_will_do() -> None:
    def breaks(plan: Plan) -> Violation | None:
        return violation(plan, "liveness", plan.peace_ms + 9_000.0) if plan.peace_ms >= 1_000 else None

    assert shortest(breaks).plan.war_ms == 1_500


def test_a_run_is_not_continued_long_after_the_violation_it_might_show() -> None:
    stops: list[int | None] = []

    def attempt(plan: Plan, stop_ms: int | None) -> None:
        stops.append(stop_ms)

    shrink(PLAN, violation(PLAN), attempt)
    assert set(stops) == {3_000}
    stops.clear()
    shrink(PLAN, violation(PLAN, "liveness", 21_000.0), attempt)
    assert set(stops) == {None}


def test_a_search_ends_after_so_many_runs_or_so_much_time() -> None:
    def breaks(plan: Plan) -> Violation | None:
        return violation(plan) if plan == PLAN else None

    assert shortest(breaks, runs_max=10).runs == 10
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 1
        return now_s

    shrunk = shrink(PLAN, violation(PLAN), lambda plan, stop_ms: None, time_max_s=5.5, clock=clock)
    assert (shrunk.plan, shrunk.runs) == (PLAN, 5)
