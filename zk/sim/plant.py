"""Planted bugs: known defects, put into the production code from outside, that the simulator must find.

They live beside the tests, a tuple `PLANTS` in each module of a folder; here is what one is, and how they are found.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from zk.model.record import record
from zk.sim.plan import Layer, Mode


@record
class Plant:
    """One defect. `plant()` is in force within its `with` block.

    `seeds`: within so many, from 0 on, of such runs (`layer`, `mode`, `servers`) one of the `invariants` breaks.
    """

    name: str
    what: str
    plant: Callable[[], AbstractContextManager[object]]
    invariants: frozenset[str]
    seeds: int
    layer: Layer = Layer.SERVICE
    mode: Mode = Mode.UNIFORM
    servers: int = 3


def load_plants(folder: Path) -> Mapping[str, Plant]:
    """All plants of the modules in `folder`, by name."""
    plants: dict[str, Plant] = {}
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
    return plants
