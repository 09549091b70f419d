"""What is known of classes at run time, though the build or the compiler left it out. In the compiled wheel only."""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr as mypyc_attr  # what the compiler knows it by
else:

    def mypyc_attr(**attributes: object) -> Callable[[T], T]:
        """Nothing, where nothing is compiled: so the wheel does not need the compiler's package."""
        return lambda cls: cls


described: Any = dataclasses.field
"""A field's options. Under this name, for a type checker takes the other to return the field's value."""


def describe(written_out: type, fields: list[Any]) -> None:
    """Let `fields` and `replace` see the class, which was a record, as if it had been declared with these."""
    declared = dataclasses.make_dataclass(written_out.__name__, fields, init=False, repr=False, eq=False)
    for name in ("__dataclass_fields__", "__annotations__"):
        setattr(written_out, name, getattr(declared, name))


def document(texts: dict[type, str]) -> None:
    """Give the classes their docstrings back."""
    for cls, text in texts.items():
        cls.__doc__ = text
