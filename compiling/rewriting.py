"""Turns a module's source into one that mypyc makes something quick of. What it does stays the same.

Four changes: records are written out as plain classes, constants are marked as final, classes that the simulator or
tests derive from are marked as open to that, and docstrings of classes, which the compiler drops, are given back at the
end. All else stays as it was, to the letter.
"""

import ast
import re
from collections import Counter
from collections.abc import Collection

from compiling.records import written_out

HEAD = """
from typing import Any, ClassVar, Final

from zk.described import describe, described, document, mypyc_attr
"""
"""What the rewritten modules need, behind the docstring."""

_MAKES_TYPES = frozenset({"TypeVar", "NewType", "ParamSpec"})


def rewritten(source: str, derived_from: Collection[str]) -> str:
    """The module for the compiler; `derived_from` are the names of classes that need not be compiled to be derived
    from. ValueError at a record that is declared in a way that is not known here."""
    source = _opened(_final(written_out(source)), derived_from)
    first = ast.parse(source).body[0]
    behind_docstring = (first.end_lineno or 0) if isinstance(first, ast.Expr) else 0
    lines = source.split("\n")
    return "\n".join([*lines[:behind_docstring], *HEAD.split("\n"), *lines[behind_docstring:], _documented(source)])


def _documented(source: str) -> str:
    classes = [part for part in ast.parse(source).body if isinstance(part, ast.ClassDef)]
    texts = [(cls.name, ast.get_docstring(cls, clean=False)) for cls in classes]
    return f"document({{{', '.join(f'{name}: {text!r}' for name, text in texts if text)}}})\n"


def _opened(source: str, names: Collection[str]) -> str:
    for name in names:
        source = re.sub(
            rf"^class {name}\b", r"@mypyc_attr(allow_interpreted_subclasses=True)\n\g<0>", source, flags=re.M
        )
    return source


def _final(source: str) -> str:
    """The module with `NAME = value` as `NAME: Final = value`, wherever it stays the only value: compiled code then
    need not look it up by its name. Aliases of types are no values, and stay."""
    module = ast.parse(source)
    assigned = Counter(name for statement in module.body for name in _assigned(statement))
    changed = {name for node in ast.walk(module) if isinstance(node, ast.Global) for name in node.names}
    constants = {name for name, times in assigned.items() if times == 1 and not name.startswith("__")} - changed
    lines = source.split("\n")
    for statement in module.body:
        line = lines[statement.lineno - 1]
        match statement:
            case ast.Assign([ast.Name(name)], value) if name in constants and not _is_type(value):
                line = f"{name}: Final{line.removeprefix(name)}"
            case ast.AnnAssign(ast.Name(name), annotation, ast.expr()) if name in constants:
                declared = ast.get_source_segment(source, annotation) or ""
                line = line.replace(f"{name}: {declared}", f"{name}: Final[{declared}]", 1)
                if isinstance(statement.value, ast.Tuple):  # else there would be two objects, one for outside
                    literal = ast.get_source_segment(source, statement.value) or ""
                    line = line.replace(f" = {literal}", f" = tuple([{literal[1:-1]}])")
        lines[statement.lineno - 1] = line
    return "\n".join(lines)


def _assigned(statement: ast.stmt) -> list[str]:
    return [node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _is_type(value: ast.expr) -> bool:
    match value:
        case ast.Name() | ast.Subscript() | ast.BinOp(op=ast.BitOr()):
            return True
        case ast.Attribute(attr=name):
            return name[:1].isupper() and not name.isupper()
        case ast.Call(ast.Name(name)):
            return name in _MAKES_TYPES
    return False
