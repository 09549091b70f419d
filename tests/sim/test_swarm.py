"""A bounded number of seeds in every run of the tests; campaigns take more, by `zk sim`."""

import pytest

from zk.sim import Layer, Mode, Plan, Trace, run


@pytest.mark.parametrize(
    ("servers", "mode", "seeds"),
    [
        (1, Mode.UNIFORM, 15),
        (1, Mode.FOCUSED, 15),
        (3, Mode.UNIFORM, 30),
        (3, Mode.FOCUSED, 50),
        (5, Mode.UNIFORM, 8),
        (5, Mode.FOCUSED, 25),
        (7, Mode.FOCUSED, 5),
    ],
)
def test_the_engine_holds_every_invariant(servers: int, mode: Mode, seeds: int) -> None:
    for seed in range(seeds):
        run(Plan(seed, servers, mode, Layer.BROADCAST))


@pytest.mark.parametrize("mode", list(Mode))
def test_the_same_seed_gives_the_same_run(mode: Mode) -> None:
    def traced(seed: int) -> tuple[str, int]:
        trace = Trace()
        events = run(Plan(seed, 3, mode, Layer.BROADCAST), trace).events
        return trace.digest, events

    assert traced(7) == traced(7)
    assert traced(7) != traced(8)


def test_to_trace_a_run_does_not_change_it() -> None:
    plan = Plan(7, mode=Mode.FOCUSED, layer=Layer.BROADCAST)
    assert run(plan) == run(plan, Trace())
