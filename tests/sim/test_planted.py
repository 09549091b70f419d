"""The simulator finds what it is there to find: each planted bug is caught within its budget of seeds.

The plants live in plants/*.py. One that needs more seeds than there is time for in every run has a story besides, told
in test_stories.py; here as many of its seeds are run as show that its patch still fits the code.
"""

from pathlib import Path

import pytest

from zk.broadcast.zab.following import Following
from zk.sim import Plan, Plant, Violation, load_plants, run
from zk.sim.plant import patched

PLANTS = load_plants(Path(__file__).parent / "plants")
DEEP_SEEDS = 3


def first_violation(plant: Plant, seeds: int) -> Violation | None:
    with plant.plant():
        for seed in range(seeds):
            try:
                run(Plan(seed, plant.servers, plant.mode, plant.layer))
            except Violation as violation:
                return violation
    return None


@pytest.mark.parametrize("plant", [pytest.param(plant, id=plant.name) for plant in PLANTS.values() if not plant.deep])
def test_a_planted_bug_is_caught(plant: Plant) -> None:
    violation = first_violation(plant, plant.seeds)
    assert violation is not None, f"{plant.name} survives {plant.seeds} seeds: {plant.what}"
    assert violation.invariant in plant.invariants, str(violation)


@pytest.mark.parametrize("plant", [pytest.param(plant, id=plant.name) for plant in PLANTS.values() if plant.deep])
def test_a_deep_planted_bug_fits_the_code_still(plant: Plant) -> None:
    violation = first_violation(plant, DEEP_SEEDS)
    assert violation is None or violation.invariant in plant.invariants, str(violation)


def test_a_plant_that_does_not_fit_the_code_says_so() -> None:
    def on_ping(self: Following) -> None:
        """Takes less than the original."""

    with pytest.raises(AssertionError, match="has no 'on_pang'"), patched((Following, "on_pang", on_ping)):
        pass
    with pytest.raises(AssertionError, match="takes other arguments"), patched((Following, "on_ping", on_ping)):
        pass


def test_what_was_planted_is_gone_behind_the_block() -> None:
    before = {name: vars(Following)[name] for name in ("on_proposal", "_acknowledge")}
    for plant in PLANTS.values():
        with plant.plant():
            pass
    assert {name: vars(Following)[name] for name in before} == before
