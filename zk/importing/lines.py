"""Trees as lines of JSON: what `zk export` writes and `zk import` reads, one node a line, parents first.

    {"path": "/app/a", "mode": "persistent", "data": "text", "acl": [{"scheme": …, "id": …, "perms": "cdrwa"}], …}

`data_base64` stands in place of `data` where that is no text; `ttl_ms` goes with the mode that has one; `stat` is for
information, and not read. Only `path` must be there: a line may be written by hand.
"""

import base64
import binascii
import json
from collections.abc import Iterable, Mapping

from zk.model.acl import OPEN_ACL, PERM_LETTERS, Acl, perms_from, perms_text
from zk.model.errors import APIError, BadArgumentsError, ZKError
from zk.model.paths import is_inside, join, validate
from zk.model.record import record
from zk.model.replies import NodeReply
from zk.model.requests import TTL_MS_MAX, CreateMode

_MODES = {
    mode.name.lower(): mode
    for mode in (CreateMode.PERSISTENT, CreateMode.EPHEMERAL, CreateMode.CONTAINER, CreateMode.PERSISTENT_WITH_TTL)
}
_FIELDS = frozenset({"path", "mode", "ttl_ms", "data", "data_base64", "acl", "stat"})


class LineError(ZKError):
    """Line `number` can't be imported; `cause` is the service's refusal, if it is one."""

    def __init__(self, number: int, why: str, cause: APIError | None = None) -> None:
        self.number = number
        self.cause = cause
        super().__init__(f"line {number}: {why}")


@record
class Line:
    """One node to be created."""

    number: int
    path: str
    data: bytes
    acl: tuple[Acl, ...]
    mode: CreateMode
    ttl_ms: int


# ---- writing


def to_line(path: str, node: NodeReply, data_fields: Mapping[str, object], stat: Mapping[str, object]) -> str:
    """The line of one node, without its end; data and stat in the form in which they are shown elsewhere too."""
    fields: dict[str, object] = {"path": path, "mode": node.mode.name.lower()}
    if node.ttl_ms:
        fields["ttl_ms"] = node.ttl_ms
    fields |= data_fields
    fields["acl"] = [{"scheme": each.scheme, "id": each.id, "perms": perms_text(each.perms)} for each in node.acl]
    fields["stat"] = stat
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


# ---- reading


def read_lines(lines: Iterable[str]) -> tuple[Line, ...]:
    """What the lines say, parents first. Raises LineError at the first that is wrong; empty ones don't count."""
    found: dict[str, Line] = {}
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        line = _Reading(number).line(text)
        if line.path in found:
            raise LineError(number, f"{line.path} has a line already: {found[line.path].number}")
        found[line.path] = line
    return tuple(found[path] for path in sorted(found))


def moved(lines: tuple[Line, ...], top: str) -> tuple[Line, ...]:
    """The same below `top` instead of below the first of them."""
    old = lines[0].path
    result = []
    for line in lines:
        if not is_inside(line.path, old):
            raise LineError(line.number, f"{line.path} is not below {old}, so it can't be moved with it")
        rest = line.path[len(old) :].lstrip("/")
        path = join(top, rest) if rest else top
        result.append(Line(line.number, path, line.data, line.acl, line.mode, line.ttl_ms))
    return tuple(result)


class _Reading:
    """Reads one line."""

    def __init__(self, number: int) -> None:
        self._number = number

    def line(self, text: str) -> Line:
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise self._wrong(f"it is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise self._wrong("a line is a JSON object")
        unknown = sorted(fields.keys() - _FIELDS)
        if unknown:
            raise self._wrong(f"there is no field {unknown[0]!r}; there are {', '.join(sorted(_FIELDS))}")
        path = self._path(fields.get("path"))
        mode = self._mode(fields.get("mode", "persistent"))
        ttl_ms = self._ttl_ms(fields.get("ttl_ms", 0), mode)
        return Line(self._number, path, self._data(fields), self._acl(fields.get("acl")), mode, ttl_ms)

    def _wrong(self, why: str) -> LineError:
        return LineError(self._number, why)

    def _path(self, value: object) -> str:
        if not isinstance(value, str):
            raise self._wrong("its path must be text")
        try:
            validate(value)
        except BadArgumentsError as error:
            raise self._wrong(f"path {value!r}: {error.hint}") from error
        return value

    def _mode(self, value: object) -> CreateMode:
        if not isinstance(value, str) or value not in _MODES:
            raise self._wrong(f"mode {value!r}; there are {', '.join(_MODES)}")
        return _MODES[value]

    def _ttl_ms(self, value: object, mode: CreateMode) -> int:
        if type(value) is not int or (value != 0) != mode.has_ttl or not 0 <= value <= TTL_MS_MAX:
            raise self._wrong(f"a ttl_ms of {value!r} does not go with mode {mode.name.lower()}")
        return value

    def _data(self, fields: Mapping[str, object]) -> bytes:
        text, encoded = fields.get("data", ""), fields.get("data_base64", "")
        if not isinstance(text, str) or not isinstance(encoded, str) or {"data", "data_base64"} <= fields.keys():
            raise self._wrong("the node's data is text, in either data or data_base64")
        try:
            return base64.b64decode(encoded, validate=True) if encoded else text.encode()
        except (binascii.Error, UnicodeEncodeError) as error:
            raise self._wrong(f"its data: {error}") from error

    def _acl(self, value: object) -> tuple[Acl, ...]:
        if value is None:
            return OPEN_ACL
        if not isinstance(value, list) or not value:
            raise self._wrong("acl is a list of at least one entry")
        return tuple(self._entry(entry) for entry in value)

    def _entry(self, value: object) -> Acl:
        if not isinstance(value, dict) or value.keys() != {"scheme", "id", "perms"}:
            raise self._wrong("an entry of acl has scheme, id and perms")
        scheme, name, letters = value["scheme"], value["id"], value["perms"]
        if not all(isinstance(each, str) for each in (scheme, name, letters)) or not set(letters) <= set(PERM_LETTERS):
            raise self._wrong(f"an entry of acl is of texts, its perms of the letters {''.join(PERM_LETTERS)}")
        return Acl(perms_from(letters), scheme, name)
