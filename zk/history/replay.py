"""The cheap check: every answer names its zxid, so the order in which everything happened needs no search.

The whole history is replayed in the order of the zxids: each answer must come from the state there, and an operation
that was over before another was called must stand before it. That is linearizability with the service's own order as
the witness (Herlihy and Wing 1990), in about the time it takes to sort; fit for millions of operations. Ordinary reads
are held to it too, but for time: each shows the state at its zxid.

A write of unknown outcome takes its place when its value is read. While others of them are about, what can't be
explained is put down to one of them, once for each: this check gives the benefit of the doubt, `linearizability` does
not.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from zk.history.history import History, HistoryError, Operation, is_refusal, zxid_text
from zk.history.model import Node, Wrong, after
from zk.model.errors import NoNodeError
from zk.model.record import Zxid, record
from zk.model.replies import Created, DataReply, MultiReply, StatReply
from zk.model.requests import Create, Delete, GetData, Multi, SetData
from zk.model.stat import Stat
from zk.model.znode import Znode


@record
class Placed:
    """An operation and its place in the order."""

    zxid: Zxid
    operation: Operation


def check_replay(history: History) -> None:
    """Raises HistoryError unless the zxids order everything that was answered, and explain it."""
    operations = history.operations
    placed, lost = _place(operations)
    _in_real_time(placed)
    _in_zxid_order(placed, lost)


def _place(operations: Sequence[Operation]) -> tuple[list[Placed], list[Operation]]:
    """All operations whose place is known, by zxid, a write before the reads that show it; and those whose place is
    not known."""
    placed = [Placed(operation.answer.zxid, operation) for operation in operations if operation.answer is not None]
    writes: dict[Zxid, Operation] = {}
    for place in placed:
        if place.operation.is_write:
            other = writes.setdefault(place.zxid, place.operation)
            if other is not place.operation:
                raise HistoryError(f"two writes share a zxid:\n  {other}\n  {place.operation}")
    unknown = [operation for operation in operations if operation.answer is None]
    by_value = {value: operation for operation in unknown for value in _values(operation)}
    found: dict[int, Placed] = {}
    for read in operations:
        body = None if read.answer is None else read.answer.body
        if not isinstance(body, DataReply | Znode):
            continue
        write = by_value.get((read.paths[0], body.data))
        if write is None:
            continue
        zxid = body.stat.mzxid
        known = found.setdefault(id(write), Placed(zxid, write))
        if known.zxid != zxid:
            raise HistoryError(f"done twice, at {zxid_text(known.zxid)} and at {zxid_text(zxid)}:\n  {write}\n  {read}")
        other = writes.setdefault(zxid, write)
        if other is not write:
            raise HistoryError(f"shown as written by another:\n  {write}\n  {other}\n  {read}")
    placed += found.values()
    placed.sort(key=lambda place: (place.zxid, not place.operation.is_write))
    return placed, [operation for operation in unknown if id(operation) not in found]


def _values(operation: Operation) -> Iterable[tuple[str, bytes]]:
    """What it writes where."""
    request = operation.request
    for part in request.operations if isinstance(request, Multi) else (request,):
        if isinstance(part, Create | SetData):
            yield part.path, part.data


def _in_real_time(placed: Sequence[Placed]) -> None:
    """What was over before another was called stands before it."""
    over = sorted(placed, key=lambda place: place.operation.returned_us)
    next_over = 0
    newest: Placed | None = None  # of those that are over
    for place in sorted(placed, key=lambda place: place.operation.called_us):
        operation = place.operation
        while over[next_over].operation.returned_us < operation.called_us:
            if newest is None or over[next_over].zxid > newest.zxid:
                newest = over[next_over]
            next_over += 1
        if newest is None or not (operation.is_write or operation.linearizable):
            continue
        if place.zxid < newest.zxid or (place.zxid == newest.zxid and operation.is_write):
            raise HistoryError(
                f"the second was called after the first was over, and stands before it, at {zxid_text(place.zxid)}:\n"
                f"  {newest.operation}\n  {operation}"
            )


def _in_zxid_order(placed: Sequence[Placed], lost: Sequence[Operation]) -> None:
    """Every answer comes from the state that the writes before it made. `lost`: may stand anywhere."""
    nodes: dict[str, Node | None] = {path: None for place in placed for path in place.operation.paths}
    suspects: dict[str, list[Operation]] = {}
    for operation in sorted(lost, key=lambda operation: operation.called_us):
        for path in operation.paths:
            suspects.setdefault(path, []).append(operation)
    last_write: dict[str, Operation] = {}
    blamed: set[int] = set()
    for place in placed:
        operation = place.operation
        paths = operation.paths
        try:
            nodes.update(after(nodes, operation))
        except KeyError:  # not known
            _forget(nodes, operation)
        except Wrong as wrong:
            suspect = _suspect(operation, suspects, blamed)
            if suspect is None:
                before = "".join(f"\n  {last_write[path]}" for path in paths if path in last_write)
                raise HistoryError(f"in the order of the zxids, {wrong}:{before}\n  {operation}") from None
            blamed.add(id(suspect))
            _forget(nodes, operation)
        if operation.is_write:
            last_write.update(dict.fromkeys(paths, operation))


def _forget(nodes: dict[str, Node | None], operation: Operation) -> None:
    """Of what `operation` touches, only what its own answer says is known."""
    for path in operation.paths:
        nodes.pop(path, None)
    nodes.update(_shown(operation))


def _suspect(
    operation: Operation, suspects: Mapping[str, Sequence[Operation]], blamed: Collection[int]
) -> Operation | None:
    """A write whose place is not known, that may be why `operation` was answered as it was."""
    for path in operation.paths:
        for suspect in suspects.get(path, ()):
            if suspect.called_us < operation.returned_us and id(suspect) not in blamed:
                return suspect
    return None


def _shown(operation: Operation) -> dict[str, Node | None]:
    """What an answer alone says of the nodes behind it, as far as it says all."""
    request, answer = operation.request, operation.answer
    if answer is None:
        return {}
    if isinstance(answer.body, NoNodeError) and not isinstance(request, Multi):
        return {request.path: None}
    if is_refusal(answer.body):
        return {}
    if isinstance(request, GetData):
        assert isinstance(answer.body, DataReply | Znode)
        return {request.path: _node(answer.body.data, answer.body.stat)}
    shown: dict[str, Node | None] = {}
    parts = request.operations if isinstance(request, Multi) else (request,)
    bodies = answer.body.results if isinstance(answer.body, MultiReply) else (answer.body,)
    for part, body in zip(parts, bodies, strict=True):
        if isinstance(part, Delete):
            shown[part.path] = None
        elif isinstance(part, Create | SetData) and isinstance(body, Created | StatReply):
            shown[part.path] = _node(part.data, body.stat)
    return shown


def _node(data: bytes, stat: Stat) -> Node:
    return Node(data, stat.version, stat.czxid, stat.mzxid)
