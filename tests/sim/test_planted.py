"""The simulator finds what it is there to find: each planted bug is caught within its budget of seeds.

The plants live in plants/*.py. One that needs more seeds than there is time for in every run has a story besides, told
in test_stories.py; here as many of its seeds are run as show that its patch still fits the code.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import zk.sim
from zk.broadcast.zab.following import Following
from zk.build import COMPILED
from zk.sim import Plan, Plant, Violation, load_plants, run
from zk.sim.plant import patched

PLANTS = load_plants(Path(__file__).parent / "plants")
SIMULATOR = Path(zk.sim.__file__).parent
DEEP_SEEDS = 1
SEEN_BY_OTHERS = {
    "linearizability": "whatever breaks it, a check that knows more speaks first: test_opinion.py",
    "configurations": "memberships are static but for their foundings",
    "codec": "tests/wire",
}
"""Invariants that no planted bug is known to break."""


def first_violation(plant: Plant, seeds: int) -> Violation | None:
    with plant.plant():
        for seed in range(seeds):
            try:
                run(Plan(seed, plant.servers, plant.mode, plant.layer))
            except Violation as violation:
                return violation
    return None


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
@pytest.mark.parametrize("plant", [pytest.param(plant, id=plant.name) for plant in PLANTS.values() if not plant.deep])
def test_a_planted_bug_is_caught(plant: Plant) -> None:
    violation = first_violation(plant, plant.seeds)
    assert violation is not None, f"{plant.name} survives {plant.seeds} seeds: {plant.what}"
    assert violation.invariant in plant.invariants, str(violation)


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
@pytest.mark.parametrize("plant", [pytest.param(plant, id=plant.name) for plant in PLANTS.values() if plant.deep])
def test_a_deep_planted_bug_fits_the_code_still(plant: Plant) -> None:
    violation = first_violation(plant, DEEP_SEEDS)
    assert violation is None or violation.invariant in plant.invariants, str(violation)


def invariants() -> Iterator[str]:
    """All that the simulator's source knows: what `fail` is called with first, or behind whom it is about."""
    for path in SIMULATOR.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                bound = ast.unparse(node.func) == "partial" and ast.unparse(node.args[0]).endswith("fail")
                if bound or ast.unparse(node.func).endswith("fail"):
                    yield from next(filter(None, map(_texts, node.args[:2])), ())


def _texts(argument: ast.expr) -> list[str]:
    parts = (argument.body, argument.orelse) if isinstance(argument, ast.IfExp) else (argument,)
    return [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def test_each_invariant_is_broken_by_some_planted_bug() -> None:
    planted = {invariant for plant in PLANTS.values() for invariant in plant.invariants}
    known = set(invariants())
    assert len(known) > 35
    assert known - planted == SEEN_BY_OTHERS.keys()
    assert planted - known == {"assertions"}


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_a_plant_that_does_not_fit_the_code_says_so() -> None:
    def on_ping(self: Following) -> None:
        """Takes less than the original."""

    with pytest.raises(AssertionError, match="has no 'on_pang'"), patched((Following, "on_pang", on_ping)):
        pass
    with pytest.raises(AssertionError, match="takes other arguments"), patched((Following, "on_ping", on_ping)):
        pass


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_what_was_planted_is_gone_behind_the_block() -> None:
    before = {name: vars(Following)[name] for name in ("on_proposal", "_acknowledge")}
    for plant in PLANTS.values():
        with plant.plant():
            pass
    assert {name: vars(Following)[name] for name in before} == before
