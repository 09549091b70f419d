"""Locks and elections by the real recipes, beside the other clients of simulated servers."""

import subprocess
import sys

import pytest

from zk.sim import Mode, Plan, run
from zk.sim.swarm import RECIPES_EVERY

SAW = (
    "locks held",
    "leaders elected by the recipe",
    "acquires cancelled",
    "acquires timed out",
    "guarded writes",
    "leaders observed",
    "fault: process stalls",
    "fault: line dark",
    "fault: process dies",
)


@pytest.mark.parametrize(("servers", "mode"), [(1, Mode.FOCUSED), (3, Mode.FOCUSED), (3, Mode.UNIFORM)])
def test_one_holds_at_a_time_and_all_get_their_turn(servers: int, mode: Mode) -> None:
    counters = run(Plan(2 * RECIPES_EVERY, servers, mode)).counters
    assert [name for name in SAW if not counters[name]] == []


DIGEST = """
from zk.sim import Mode, Plan, Trace, run
trace = Trace()
print(run(Plan(0, mode=Mode.FOCUSED), trace).events, trace.digest)
"""


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    runs = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": hash_seed},
        ).stdout
        for hash_seed in ("1", "7")
    }
    assert len(runs) == 1
