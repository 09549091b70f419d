"""The rewriting before a compiled build: what a module does, and what is known of its records, stays the same."""

import inspect
import sys
from contextlib import chdir
from copy import copy
from dataclasses import fields, is_dataclass, replace
from gc import collect
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY
from weakref import ref

import pytest

import zk
from compiling import described
from compiling.hook import DERIVED_FROM, compile_together, hot_modules, lacking
from compiling.rewriting import rewritten

ROOT = Path(__file__).parents[2]
MODULES = hot_modules(ROOT)

SAMPLE = '''"""Of a tree's leaves."""

from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from zk.model.record import record

T = TypeVar("T")
Size = int | float
GREEN = "green"
LIMIT: int = 3
LIMITS: tuple[int, ...] = (LIMIT,)
count = 0
twice = 1
twice = 2


def note() -> None:
    global count
    count += 1


@record
class Leaf:
    """It falls."""

    colour: str
    size: Size = 1
    """In centimetres."""
    seen: bool = field(default=False, init=False, repr=False, compare=False)

    @property
    def large(self) -> bool:
        return self.size > LIMIT


@record
class Bud:
    """Nothing is known of it."""


@dataclass(slots=True)
class Twig:
    leaves: list[Leaf] = field(default_factory=list)


@record
class Fall:
    why: Exception


class Fruit(NamedTuple):
    """Its figures."""

    weight: int


def limits() -> tuple[int, ...]:
    return LIMITS


class Tree:
    """It is derived
    from."""
'''


@pytest.fixture(autouse=True)
def _support(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zk.described", described)


def _run(source: str, name: str = "sample") -> SimpleNamespace:
    module = {"__name__": name}
    sys.modules.setdefault("sample", sys)  # where dataclasses looks for the names of types
    exec(compile(source, name, "exec"), module)
    return SimpleNamespace(**module)


@pytest.fixture(scope="module")
def compiled_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if lacking():
        pytest.skip(lacking())
    folder = tmp_path_factory.mktemp("sample")
    (folder / "leaves.py").write_text(rewritten(SAMPLE, ()))
    with chdir(folder):
        compile_together(["leaves.py"], folder)
    return folder


@pytest.fixture(params=["interpreted", "compiled"])
def sample(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == "interpreted":
        return _run(rewritten(SAMPLE, {"Tree"}))
    monkeypatch.syspath_prepend(request.getfixturevalue("compiled_sample"))
    module = import_module("leaves")
    assert str(module.__file__).endswith(".so")
    return module


def test_a_record_is_made_and_compared_and_shown_as_before(sample: Any) -> None:
    before = _run(SAMPLE)
    for module in (before, sample):
        leaf = module.Leaf("red", size=5)
        assert (leaf.colour, leaf.size, leaf.seen, leaf.large) == ("red", 5, False, True)
        assert (leaf == module.Leaf("red", 5), leaf == module.Leaf("red"), leaf == "red") == (True, False, False)
        assert hash(leaf) == hash(("red", 5))
        assert (repr(leaf), repr(module.Bud())) == ("Leaf(colour='red', size=5)", "Bud()")
        assert copy(leaf) == leaf
        assert replace(leaf, colour="brown") == module.Leaf("brown", 5)
        assert module.Bud() == module.Bud()
        assert leaf == ANY
        with pytest.raises(TypeError):
            module.Bud("red")


def test_what_classes_say_of_themselves_stays(sample: Any) -> None:
    assert [cls.__doc__ for cls in (sample.Leaf, sample.Fruit, sample.Tree)] == [
        "It falls.",
        "Its figures.",
        "It is derived\n    from.",
    ]


def test_positions_in_a_pattern_are_those_of_the_fields(sample: Any) -> None:
    match sample.Leaf("red", 5):
        case sample.Leaf(colour, size):
            assert (colour, size) == ("red", 5)
        case _:
            pytest.fail("it does not match")


def test_what_a_factory_makes_is_made_anew_each_time(sample: Any) -> None:
    one, other = sample.Twig(), sample.Twig()
    one.leaves.append(sample.Bud())
    assert (len(one.leaves), other.leaves) == (1, [])


def test_a_constant_is_the_same_object_inside_and_outside(sample: Any) -> None:
    assert sample.LIMITS == (3,)
    assert sample.limits() is sample.LIMITS


def test_a_record_in_a_cycle_is_collected(sample: Any) -> None:
    class StormError(Exception):
        pass

    storm = StormError()
    storm.args = (sample.Fall(storm),)
    gone = ref(storm)
    del storm
    collect()
    assert gone() is None


def test_constants_are_final_and_nothing_else_is() -> None:
    lines = set(rewritten(SAMPLE, ()).split("\n"))
    assert lines >= {'GREEN: Final = "green"', "LIMIT: Final[int] = 3"}
    assert lines >= {'T = TypeVar("T")', "Size = int | float", "count = 0", "twice = 1", "twice = 2"}


def test_what_others_derive_from_is_marked_for_the_compiler() -> None:
    lines = rewritten(SAMPLE, {"Tree"}).split("\n")
    assert lines[lines.index("class Tree:") - 1] == "@mypyc_attr(allow_interpreted_subclasses=True)"


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ("@record\nclass Leaf(Bud):\n    size: int", "Leaf, line 2: a record has no base and no other decorator"),
        ("@final\n@record\nclass Leaf:\n    size: int", "Leaf, line 3: a record has no base and no other decorator"),
        ("@dataclass(order=True)\nclass Leaf:\n    size: int", "Leaf, line 2: order is not known here"),
        (
            "@record\nclass Leaf:\n    size: int\n    def falls(self): ...\n    colour: str",
            "Leaf, line 2: between its fields a record has nothing but texts",
        ),
    ],
)
def test_a_record_that_is_declared_in_another_way_is_refused(declared: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^{why}$"):
        rewritten(declared, ())


@pytest.mark.parametrize("name", MODULES)
def test_every_record_that_is_compiled_is_known_as_it_was(name: str) -> None:
    module = f"zk.{name.replace('/', '.')}"
    before = import_module(module)
    after = _run(rewritten((ROOT / f"zk/{name}.py").read_text(), DERIVED_FROM.get(name, ())), module)
    for cls in vars(before).values():
        if isinstance(cls, type) and is_dataclass(cls) and cls.__module__ == module:
            assert _known_of(getattr(after, cls.__name__)) == _known_of(cls)


def _known_of(cls: type) -> object:
    assert is_dataclass(cls)
    options = ("name", "default", "default_factory", "init", "repr", "hash", "compare")
    known = [[repr(getattr(field, option)) for option in options] for field in fields(cls)]
    return known, list(inspect.signature(cls).parameters), vars(cls)["__match_args__"]


def test_no_class_but_those_that_are_marked_is_derived_from_by_what_is_not_compiled() -> None:
    compiled = {f"zk.{name.replace('/', '.')}": DERIVED_FROM.get(name, set()) for name in MODULES}
    for found in walk_packages(zk.__path__, "zk."):
        if found.name not in compiled and not found.name.endswith("__main__"):
            for cls in vars(import_module(found.name)).values():
                if isinstance(cls, type) and cls.__module__ == found.name:
                    bases = {(base.__module__, base.__name__) for base in cls.__mro__ if base.__module__ in compiled}
                    assert all(base in compiled[module] for module, base in bases), f"{cls} derives from {bases}"


def test_where_there_is_no_compiler_the_build_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("setuptools", reason="setuptools is not installed: a compiled build needs it")
    pytest.importorskip("mypyc", reason="mypyc is not installed: it comes with mypy")
    monkeypatch.setenv("CC", "no-such-compiler -pthread")
    assert lacking().startswith("there is no C compiler: 'no-such-compiler -pthread' is not found")


def test_what_others_derive_from_may_itself_derive_from_something() -> None:
    lines = rewritten("class Source(ABC):\n    pass\n\n\nclass Sources(ABC):\n    pass\n", {"Source"}).split("\n")
    assert [line for line in lines if line.startswith("@")] == ["@mypyc_attr(allow_interpreted_subclasses=True)"]
