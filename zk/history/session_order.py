"""What one client may rely on, whatever the others do: the order of its own calls, and time that never goes back.

Ordinary reads may be old, but not older than what the same client has seen or done before, on whatever server, and not
beyond a watched change that it was not told of. Source: semantics of reads and of watches; Terry et al., "Session
guarantees for weakly consistent replicated data" (PDIS 1994), for the names.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from zk.history.history import History, HistoryError, Operation, Told, is_refusal, zxid_text
from zk.model.errors import APIError, NoNodeError
from zk.model.events import EventType
from zk.model.record import Zxid, record
from zk.model.requests import Check, Delete, Exists, GetData, Multi


@record
class _Change:
    """A write that was answered, at one of its paths."""

    zxid: Zxid
    operation: Operation
    deletes: bool


@record
class _Changes:
    """What is known to have happened to each path, by zxid; and where a node may have been deleted besides."""

    of_path: Mapping[str, Sequence[_Change]]
    maybe_deleted: frozenset[str]


@dataclass(slots=True)
class _Client:
    """What a client knows: its last answer, the one that showed most, its last write that was answered, and the reads
    whose watches were not told yet, by path."""

    last: Operation | None = None
    newest: Operation | None = None
    last_write: Operation | None = None
    watches: dict[str, Operation] = field(default_factory=dict)


def check_session_order(history: History) -> None:
    """Raises HistoryError at the first answer, or watch event, that a client must not get."""
    changes = _changes(history)
    clients: dict[str, _Client] = {}
    for happening in history.happenings:
        client = clients.setdefault(happening.client, _Client())
        if isinstance(happening, Told):
            _told(client, happening)
        elif happening.answer is not None:
            _in_order(client, happening)
            _no_watch_missed(client, happening, changes)
            _watch_set(client, happening)


def _changes(history: History) -> _Changes:
    of_path: dict[str, list[_Change]] = {}
    maybe_deleted: set[str] = set()
    for operation in history.operations:
        request, answer = operation.request, operation.answer
        if isinstance(request, GetData | Exists) or (answer is not None and is_refusal(answer.body)):
            continue
        for part in request.operations if isinstance(request, Multi) else (request,):
            deletes = isinstance(part, Delete)
            if answer is not None and not isinstance(part, Check):
                of_path.setdefault(part.path, []).append(_Change(answer.zxid, operation, deletes))
            elif deletes:
                maybe_deleted.add(part.path)
    for changes in of_path.values():
        changes.sort(key=_position)
    return _Changes(of_path, frozenset(maybe_deleted))


def _position(change: _Change) -> Zxid:
    return change.zxid


def _in_order(client: _Client, operation: Operation) -> None:
    """First in, first out; a client reads what it wrote, never less than it read before, and what it asked for.

    Only a write that was sent again may have been done before what the client has seen since: a read that was called
    before it, and sent again too, found it done. Source: semantics, exactly once.
    """
    zxid = _zxid(operation)
    if zxid < operation.at_least:
        _fail(f"a read that asked for at least {zxid_text(operation.at_least)} is answered with less", operation)
    last, newest, last_write = client.last, client.newest, client.last_write
    client.last = operation
    if newest is None or zxid >= _zxid(newest):
        client.newest = operation
    if operation.is_write:
        client.last_write = operation
    if last is None or newest is None:
        return
    if operation.called_us < last.called_us:
        _fail("the second was called first, and is answered last", last, operation)
    before = last_write if operation.is_write and operation.resent else newest
    if before is None:
        return
    if zxid < _zxid(before):
        what = "what the client wrote" if before.is_write else "what the client has seen"
        _fail(f"{what} is gone", before, operation)
    if operation.is_write and zxid == _zxid(before):
        _fail("a write was done before what the client had called first", before, operation)


def _watch_set(client: _Client, operation: Operation) -> None:
    """A read with a watch leaves one, unless it found nothing to watch."""
    request = operation.request
    if isinstance(request, GetData | Exists) and request.watch:
        assert operation.answer is not None
        refused = isinstance(operation.answer.body, APIError)
        if not refused or (isinstance(request, Exists) and isinstance(operation.answer.body, NoNodeError)):
            client.watches[request.path] = operation


def _told(client: _Client, told: Told) -> None:
    """A watch is told before any answer shows the change. Source: semantics of watches, order."""
    watch = client.watches.pop(told.event.path, None)
    if watch is None or told.event.type is EventType.RESYNC:
        return  # set by a read that was answered too late to be part of the history; or to be set again
    newest = client.newest
    assert newest is not None, "it has set the watch"
    if told.event.zxid <= _zxid(newest):
        _fail("a watch is told of a change only after an answer that shows it", watch, newest, told)


def _no_watch_missed(client: _Client, operation: Operation, changes: _Changes) -> None:
    """No answer shows a state beyond a change of what the client watches. A missing node that came and went again may
    have done so while the client had no connection, and that is not told. Source: semantics of watches, reconnect."""
    if operation.is_write and operation.resent:
        return  # its answer may be an old one: what it did may be undone again, and that is not told either
    for path, watch in client.watches.items():
        of_path = changes.of_path.get(path, ())
        first = bisect_right(of_path, _zxid(watch), key=_position)
        end = bisect_right(of_path, _zxid(operation), key=_position)
        if first >= end:
            continue
        came_and_went = of_path[end - 1].deletes or path in changes.maybe_deleted
        if came_and_went and watch.answer is not None and isinstance(watch.answer.body, NoNodeError):
            continue
        change = of_path[first].operation
        _fail("an answer shows a change of what the client watches, and it was not told", watch, change, operation)


def _zxid(operation: Operation) -> Zxid:
    assert operation.answer is not None
    return operation.answer.zxid


def _fail(what: str, *happenings: Operation | Told) -> NoReturn:
    raise HistoryError("\n".join((f"{what}:", *(f"  {happening}" for happening in happenings))))
