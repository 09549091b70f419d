"""Whole replicas with clients, through a bounded number of seeds."""

import pytest

from zk.sim import Mode, Plan, Trace, run


@pytest.mark.parametrize(
    ("servers", "mode", "seeds"),
    [
        (1, Mode.UNIFORM, 3),
        (1, Mode.FOCUSED, 3),
        (3, Mode.UNIFORM, 4),
        (3, Mode.FOCUSED, 8),
        (5, Mode.UNIFORM, 2),
        (5, Mode.FOCUSED, 4),
    ],
)
def test_clients_are_told_what_happened_and_nothing_else(servers: int, mode: Mode, seeds: int) -> None:
    for seed in range(seeds):
        run(Plan(seed, servers, mode))


def test_the_same_seed_gives_the_same_run() -> None:
    def traced() -> tuple[str, int]:
        trace = Trace()
        events = run(Plan(3, mode=Mode.FOCUSED), trace).events
        return trace.digest, events

    assert traced() == traced()
