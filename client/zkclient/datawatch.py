"""DataWatch and ChildrenWatch: a function that is called with what a node has, and again whenever that has changed.

A persistent watch begins before the first read, and lasts over reconnects and sessions. Behind every change the node is
read anew: what changes several times during one call is told once, as it is then; the last value is always told.
"""

import logging
from collections.abc import Awaitable, Callable, Hashable
from inspect import Parameter, isawaitable, signature
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio

from zk.model.errors import NoNodeError, ZKError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.stat import Stat
from zkclient.errors import ClientClosedError

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

V = TypeVar("V", bound=tuple[object, ...])
_log = logging.getLogger(__name__)

DataFunction = (
    Callable[[bytes | None, Stat | None], object] | Callable[[bytes | None, Stat | None, WatchEvent | None], object]
)
"""Called with data and stat, (None, None) for a missing node; if it takes a third argument, with the last event behind
which the node was read, None at first. It ends its watch by returning False."""

ChildrenFunction = Callable[[tuple[str, ...]], object] | Callable[[tuple[str, ...], WatchEvent | None], object]
"""Called with the sorted names, () for a missing node; if it takes a second argument, with the last event. It ends its
watch by returning False."""

D = TypeVar("D", bound=DataFunction)
C = TypeVar("C", bound=ChildrenFunction)
Call = Callable[[Callable[..., object], tuple[object, ...]], Awaitable[object]]
"""How a function is called with its arguments, and its result waited for."""


class Feed(Generic[V]):
    """What a node has, by `read`: at first as it is, then as it is after each change; until it is closed.

    `read` gives the value and a version that differs where the value is another one; `kinds` are the events that may
    change it.
    """

    def __init__(
        self,
        client: "AsyncZooKeeper",
        path: str,
        kinds: frozenset[EventType],
        read: Callable[["AsyncZooKeeper", str], Awaitable[tuple[Hashable, V]]],
    ) -> None:
        self.path = path
        self.ended: ZKError | None = None
        self._client = client
        self._kinds = kinds
        self._read = read
        self._event: WatchEvent | None = None
        self._told: Hashable = None
        self._changed = anyio.Event()
        self._changed.set()
        self._stream = client.driver.watch(client.absolute(path), WatchMode.PERSISTENT, None, self._on_event)

    async def next(self) -> tuple[V, WatchEvent | None]:
        """The value, with the last event behind it, as soon as it is another one than before. Raises ClientClosedError,
        or what the service refuses; it may be called again, unless the feed has `ended`."""
        while True:
            await self._changed.wait()
            if self.ended is not None:
                raise self.ended
            self._changed = anyio.Event()
            event = self._event
            try:
                version, value = await self._read(self._client, self.path)
            except anyio.get_cancelled_exc_class():
                self._changed.set()
                raise
            if version != self._told:
                self._told = version
                return value, event

    def close(self) -> None:
        """Stop watching."""
        self._client.driver.unwatch(self._stream)

    def _on_event(self, event: WatchEvent | ZKError) -> None:
        if isinstance(event, ZKError):
            self.ended = event
        elif event.type in self._kinds:
            self._event = WatchEvent(event.type, self.path, event.zxid)
        else:
            return
        self._changed.set()


def data_feed(client: "AsyncZooKeeper", path: str) -> Feed[tuple[bytes | None, Stat | None]]:
    """Of a node's data and stat; (None, None) while there is no node."""
    kinds = frozenset({EventType.CREATED, EventType.DELETED, EventType.DATA_CHANGED, EventType.RESYNC})
    return Feed(client, path, kinds, _read_data)


def children_feed(client: "AsyncZooKeeper", path: str) -> Feed[tuple[tuple[str, ...]]]:
    """Of the sorted names of a node's children; () while there is no node."""
    kinds = frozenset({EventType.CREATED, EventType.DELETED, EventType.CHILDREN_CHANGED, EventType.RESYNC})
    return Feed(client, path, kinds, _read_children)


async def _read_data(client: "AsyncZooKeeper", path: str) -> tuple[Hashable, tuple[bytes | None, Stat | None]]:
    try:
        data, stat = await client.get(path, timeout=inf)
    except NoNodeError:
        return 0, (None, None)
    return (stat.czxid, stat.mzxid), (data, stat)


async def _read_children(client: "AsyncZooKeeper", path: str) -> tuple[Hashable, tuple[tuple[str, ...]]]:
    try:
        names, stat = await client.get_children(path, include_stat=True, timeout=inf)
    except NoNodeError:
        return 0, ((),)
    return (stat.czxid, stat.pzxid), (names,)


async def follow(feed: Feed[V], function: Callable[..., object], call: Call) -> None:
    """Call `function` with each value of `feed`, until it returns False or the client is closed."""
    taken = arguments_max(function)
    try:
        while True:
            try:
                value, event = await feed.next()
                if await call(function, (*value, event)[:taken]) is False:
                    return
            except ClientClosedError:
                return
            except Exception:
                _log.exception("the watch of %s: a call of %s failed, or the read before it", feed.path, function)
                if feed.ended is not None:
                    return
    finally:
        feed.close()


def arguments_max(function: Callable[..., object]) -> int | None:
    """How many positional arguments it takes; None: any number."""
    parameters = signature(function).parameters.values()
    if any(parameter.kind is Parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    return sum(
        parameter.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
    )


async def call_in_task(function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    """Call a plain function or a coroutine function."""
    result = function(*arguments)
    return await result if isawaitable(result) else result


class DataWatch:
    """Call a function with a node's data and stat, soon, and again after every change.

        @zk.DataWatch("/config")
        def configure(data, stat):
            ...

    A missing node is told as (None, None), also when it is deleted. A function with a third argument gets the last
    event there. It may be a coroutine function, runs in a task of the client's, one call after the other, and may use
    the client. What changes several times during one call is told once, as it is then. The watch lasts over reconnects
    and sessions, until the function returns False or the client is closed. What the function raises is logged.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, func: DataFunction | None = None) -> None:
        self._client = client
        self._path = path
        if func is not None:
            self(func)

    def __call__(self, function: D) -> D:
        """Begin to watch; gives `function` back."""
        driver = self._client.driver
        driver.start_task(follow, data_feed(self._client, self._path), function, call_in_task)
        return function


class ChildrenWatch:
    """Call a function with the sorted names of a node's children, soon, and again when one has come or gone.

        @zk.ChildrenWatch("/workers")
        def workers_changed(names):
            ...

    A missing node has no children: (). A function with a second argument gets the last event there. All else is as of
    DataWatch.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, func: ChildrenFunction | None = None) -> None:
        self._client = client
        self._path = path
        if func is not None:
            self(func)

    def __call__(self, function: C) -> C:
        """Begin to watch; gives `function` back."""
        driver = self._client.driver
        driver.start_task(follow, children_feed(self._client, self._path), function, call_in_task)
        return function
