"""Whole replicas with clients, through a bounded number of seeds."""

import os
import subprocess
import sys

import pytest

from zk.sim import Mode, Plan, run


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


_PRINT_DIGEST = """
from zk.sim import Mode, Plan, Trace, run
trace = Trace()
run(Plan(3, mode=Mode.FOCUSED), trace)
print(trace.digest)
"""


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    """Whatever order a set of strings has there."""

    def traced(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.run(
            [sys.executable, "-c", _PRINT_DIGEST], check=True, capture_output=True, text=True, env=environment
        ).stdout

    assert traced("1") == traced("2")
