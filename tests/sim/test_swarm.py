"""A bounded number of seeds in every run of the tests; campaigns take more, by `python -m zk.sim`."""

from collections import Counter

import pytest

from zk.sim import Mode, Trace, run
from zk.sim.checkers import COVERED


@pytest.mark.parametrize(
    ("servers", "mode", "seeds"),
    [
        (1, Mode.UNIFORM, 20),
        (1, Mode.FOCUSED, 20),
        (3, Mode.UNIFORM, 40),
        (3, Mode.FOCUSED, 80),
        (5, Mode.UNIFORM, 15),
        (5, Mode.FOCUSED, 40),
    ],
)
def test_the_engine_holds_every_invariant(servers: int, mode: Mode, seeds: int) -> None:
    for seed in range(seeds):
        run(seed, servers, mode)


def test_a_campaign_meets_everything_that_it_is_meant_to_prove() -> None:
    counters: Counter[str] = Counter()
    for seed in range(1_000, 1_030):
        counters += run(seed, 3, Mode.UNIFORM).counters
    assert [name for name in COVERED if not counters[name]] == []


@pytest.mark.parametrize("mode", list(Mode))
def test_the_same_seed_gives_the_same_run(mode: Mode) -> None:
    def traced(seed: int) -> tuple[str, int]:
        trace = Trace()
        events = run(seed, 3, mode, trace).events
        return trace.digest, events

    assert traced(7) == traced(7)
    assert traced(7) != traced(8)


def test_to_trace_a_run_does_not_change_it() -> None:
    assert run(7, 3, Mode.FOCUSED) == run(7, 3, Mode.FOCUSED, Trace())
