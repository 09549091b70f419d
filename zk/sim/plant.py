"""Planted bugs: known defects, put into the production code from outside, that the simulator must find.

They live beside the tests, in the modules of a folder: a tuple `PLANTS`, and a mapping `STORIES` from the names of
plants to their stories. Here is what a plant is, and how they are found.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from inspect import signature
from pathlib import Path

from zk.model.record import record
from zk.sim.plan import Layer, Mode

SEEDS_MAX = {Layer.BROADCAST: 300, Layer.SERVICE: 30}
"""So many seeds of a plant are run in every run of the tests: those of whole servers take thirty times as long."""


Story = Callable[[], None]


@record
class Plant:
    """One defect. `plant()` is in force within its `with` block.

    `seeds`: within so many, from 0 on, of such runs (`layer`, `mode`, `servers`) one of the `invariants` breaks; 0
    if seeds are not known to find it: then a story does (scenario.py).
    """

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[object]]
    invariants: frozenset[str]
    seeds: int
    layer: Layer = Layer.SERVICE
    mode: Mode = Mode.UNIFORM
    servers: int = 3
    stories: tuple[Story, ...] = ()
    """Each ends well without the defect, and raises AssertionError (mostly a Violation) with it."""

    @property
    def deep(self) -> bool:
        """Whether seeds find it so rarely, or so late, that it needs a story of its own."""
        return not 0 < self.seeds <= SEEDS_MAX[self.layer]


@contextmanager
def patched(*changes: tuple[object, str, object]) -> Iterator[None]:
    """In force within the `with` block: each (class or module, name, replacement).

    A replacement for what is no longer there, or takes other arguments by now, would plant nothing: that is an
    AssertionError, at once.
    """
    originals = []
    for target, name, replacement in changes:
        assert name in vars(target), f"{target!r} has no {name!r}: the plant does not fit the code any more"
        original = vars(target)[name]
        if callable(original) and not isinstance(original, type):
            assert callable(replacement), f"{name!r} of {target!r} is a function: the plant does not fit it"
            assert list(signature(original).parameters) == list(signature(replacement).parameters), (
                f"{name!r} of {target!r} takes other arguments than the plant's replacement"
            )
        originals.append(original)
    try:
        for target, name, replacement in changes:
            setattr(target, name, replacement)
        yield
    finally:
        for (target, name, _), original in zip(changes, originals, strict=True):
            setattr(target, name, original)


def plants_folder() -> Path | None:
    """Where the plants are: in the source checkout that this package belongs to, or that one stands in."""
    roots = (Path(__file__).parents[2], Path.cwd())
    return next((folder for root in roots if (folder := root / "tests" / "sim" / "plants").is_dir()), None)


def load_plants(folder: Path) -> Mapping[str, Plant]:
    """All plants of the modules in `folder` with their stories, by name."""
    plants: dict[str, Plant] = {}
    stories: dict[str, tuple[Story, ...]] = {}
    for path in sorted(folder.glob("*.py")):
        spec = spec_from_file_location(f"zk_plants_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        sys.modules[module.__name__] = module
        spec.loader.exec_module(module)
        for plant in getattr(module, "PLANTS", ()):
            assert isinstance(plant, Plant)
            assert plant.name not in plants, f"two plants are named {plant.name!r}"
            plants[plant.name] = plant
        for name, told in getattr(module, "STORIES", {}).items():
            stories[name] = (*stories.get(name, ()), *told)
    assert stories.keys() <= plants.keys(), f"no plants have these names: {sorted(stories.keys() - plants.keys())}"
    return {name: replace(plant, stories=stories.get(name, ())) for name, plant in plants.items()}
