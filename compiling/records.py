"""Writes the records of a module out as plain classes, which mypyc can compile to C structs.

`@record` and `@dataclass` make `__init__` and the like while the program runs, out of reach of a compiler: an instance
would be built by the interpreter, which is most of what a write costs. `written_out` gives a module's source back with
these classes spelled out, and all else as it was, to the letter. What `dataclasses` knows of a class stays known, so
that `fields` and `replace` work as before.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

RECORD = ast.parse("dataclass(slots=True, unsafe_hash=True)", mode="eval").body
"""What `@record` stands for: see zk/model/record.py."""

VALUES = frozenset(
    {
        *("int", "float", "bool", "str", "bytes", "None", "tuple", "frozenset"),
        *("Zxid", "Epoch", "ServerId", "SessionId", "ConnectionId", "EntryKind", "EventType", "CreateMode"),
        *("Stat", "Acl", "Identity", "Entry", "Operation", "Write"),
    }
)
"""Types of what is made of others of them that were there before, and so is in no cycle of references."""

ACYCLIC = "@mypyc_attr(acyclic=True)"
"""What holds nothing but such values: the garbage collector, which keeps a server silent while it looks through all
that is new, need not know of it. Of all else it must: an error, for one, refers to its traceback, that to the variables
of who raised it, and one of these may be the reply with the error."""


@dataclass(frozen=True)
class Field:
    """One field as the source declares it; `options` are the arguments of its `field(…)`."""

    name: str
    type: str
    default: str | None
    options: dict[str, str]

    def is_in(self, what: str) -> bool:
        return self.options.get(what) != "False"

    @property
    def types(self) -> set[str]:
        """The names in its type."""
        nodes = list(ast.walk(ast.parse(self.type, mode="eval")))
        quoted = {str(node.value) for node in nodes if isinstance(node, ast.Constant) and node.value not in (None, ...)}
        return {node.id for node in nodes if isinstance(node, ast.Name)} | quoted

    @property
    def parameter(self) -> str:
        if "default_factory" in self.options:
            return f"{self.name}: {self.type} | None = None"
        return f"{self.name}: {self.type}" + ("" if self.default is None else f" = {self.default}")

    @property
    def initial(self) -> str:
        if not self.is_in("init"):
            assert self.default is not None, f"{self.name} has neither a parameter nor a default"
            return self.default
        factory = self.options.get("default_factory")
        return self.name if factory is None else f"{factory}() if {self.name} is None else {self.name}"

    @property
    def described(self) -> str:
        """For make_dataclass."""
        options = dict(self.options)
        if self.default is not None:
            options["default"] = self.default
        arguments = ", ".join(f"{key}={value}" for key, value in options.items())
        return f'("{self.name}", {self.type!r}, described({arguments}))'


def written_out(source: str) -> str:
    """The module with its records as plain classes. ValueError at one that is declared in a way that is not known
    here."""
    lines = source.split("\n")
    for part in reversed(ast.parse(source).body):
        if isinstance(part, ast.ClassDef) and _declaration(part) is not None:
            _write_out(lines, part)
    return "\n".join(lines)


def _declaration(cls: ast.ClassDef) -> ast.Call | None:
    """The call of `dataclass` that makes this class a record; None if it is none."""
    for decorator in cls.decorator_list:
        match decorator:
            case ast.Name("record"):
                assert isinstance(RECORD, ast.Call)
                return RECORD
            case ast.Name("dataclass"):
                return ast.Call(decorator, [], [])
            case ast.Call(ast.Name("dataclass")):
                return decorator
    return None


def _write_out(lines: list[str], cls: ast.ClassDef) -> None:
    """Put the methods where the fields were declared, and what the compiler is told in the place of the decorator."""
    declaration = _declaration(cls)
    if cls.bases or len(cls.decorator_list) != 1 or declaration is None:
        raise ValueError(f"{cls.name}, line {cls.lineno}: a record has no base and no other decorator")
    options = {option.arg: ast.unparse(option.value) for option in declaration.keywords if option.arg}
    unknown = options.keys() - {"slots", "unsafe_hash", "eq"}
    if unknown:
        raise ValueError(f"{cls.name}, line {cls.lineno}: {', '.join(unknown)} is not known here")
    fields = _fields(cls)
    body = cls.body
    where: list[ast.stmt] = [part for part in body if isinstance(part, ast.AnnAssign)] or body[:1]
    between = body[body.index(where[0]) : body.index(where[-1])]
    if not all(isinstance(part, (ast.AnnAssign, ast.Expr)) for part in between):
        raise ValueError(f"{cls.name}, line {cls.lineno}: between its fields a record has nothing but texts")
    begin, end = where[0].lineno - 1, where[-1].end_lineno
    assert end is not None
    assert cls.end_lineno is not None
    described = ", ".join(field.described for field in fields)
    lines[cls.end_lineno : cls.end_lineno] = ["", "", f"describe({cls.name}, [{described}])"]
    written = [f"    {line}" if line else "" for line in _class_body(cls.name, fields, options)]
    if fields:
        lines[begin:end] = written
    else:
        lines[end:end] = written
    decorator = cls.decorator_list[0]
    acyclic = all(field.types <= VALUES for field in fields)
    lines[decorator.lineno - 1 : decorator.end_lineno] = [ACYCLIC] if acyclic else []


def _fields(cls: ast.ClassDef) -> list[Field]:
    fields = []
    for part in cls.body:
        if isinstance(part, ast.AnnAssign):
            assert isinstance(part.target, ast.Name)
            options: dict[str, str] = {}
            default = None
            match part.value:
                case None:
                    pass
                case ast.Call(ast.Name("field"), [], keywords):
                    options = {option.arg: ast.unparse(option.value) for option in keywords if option.arg}
                    default = options.pop("default", None)
                case value:
                    default = ast.unparse(value)
            fields.append(Field(part.target.id, ast.unparse(part.annotation), default, options))
    return fields


def _class_body(name: str, fields: list[Field], options: dict[str, str]) -> Iterator[str]:
    taken = [field for field in fields if field.is_in("init")]
    compared = [field.name for field in fields if field.is_in("compare")]
    hashed = [field.name for field in fields if field.is_in("compare") and field.is_in("hash")]
    shown = [field.name for field in fields if field.is_in("repr")]
    yield "__dataclass_fields__: ClassVar[dict[str, Any]]"
    yield f"__match_args__: Final = ({''.join(f'{field.name!r}, ' for field in taken)})"
    yield ""
    yield f"def __init__({', '.join(['self', *(field.parameter for field in taken)])}) -> None:"
    yield from [f"    self.{field.name}: {field.type} = {field.initial}" for field in fields] or ["    pass"]
    yield ""
    yield "def __reduce__(self) -> tuple[Any, ...]:"  # for copy and pickle
    yield f"    return {name}, ({''.join(f'self.{field.name}, ' for field in taken)})"
    if options.get("eq") != "False":
        yield ""
        yield "def __eq__(self, other: object) -> bool:"
        yield f"    if not isinstance(other, {name}):"
        yield "        return NotImplemented"
        yield f"    return {' and '.join(f'self.{each} == other.{each}' for each in compared) or 'True'}"
    if options.get("unsafe_hash") == "True":
        yield ""
        yield "def __hash__(self) -> int:"
        yield f"    return hash(({''.join(f'self.{each}, ' for each in hashed)}))"
    text = ", ".join(f"{each}={{self.{each}!r}}" for each in shown)
    yield ""
    yield "def __repr__(self) -> str:"
    yield f'    return f"{name}({text})"'
