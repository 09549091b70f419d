"""For plain threads: the watches that call functions, and the caches. By hand, for they have no async counterparts that
could be called as they are."""

import asyncio
from collections.abc import Callable, ItemsView, Iterator, Mapping, ValuesView
from concurrent.futures import Future
from functools import partial
from typing import Self, TypeVar

from zk.model.record import Zxid
from zkclient.cache import Cache, Listener
from zkclient.cache import CacheChanges as AsyncCacheChanges
from zkclient.caches import NODES_MAX
from zkclient.caches import ChildrenCache as AsyncChildrenCache
from zkclient.caches import NodeCache as AsyncNodeCache
from zkclient.caches import TreeCache as AsyncTreeCache
from zkclient.client import AsyncZooKeeper
from zkclient.datawatch import (
    C,
    ChildrenFunction,
    D,
    DataFunction,
    Feed,
    V,
    arguments_max,
    children_feed,
    data_feed,
    follow,
)
from zkclient.picture import CacheChange
from zkclient.results import NodeData
from zkclient.threads import Session
from zkclient.twins import BlockTwin, ThreadClient, Twin

T = TypeVar("T")
K = TypeVar("K", bound=Cache)
M = TypeVar("M", AsyncTreeCache, AsyncChildrenCache)


def watch(session: Session, make: Callable[[AsyncZooKeeper], Feed[V]], function: Callable[..., object]) -> None:
    """Call `function` here and now, and behind every later change in the thread of the client's callbacks."""

    async def begin(client: AsyncZooKeeper) -> tuple[Feed[V], V]:
        feed = make(client)
        try:
            return feed, (await feed.next())[0]
        except BaseException:
            feed.close()
            raise

    async def go_on(client: AsyncZooKeeper, feed: Feed[V]) -> None:
        client.driver.start_task(follow, feed, function, partial(_call_in_thread, session))

    session.running()
    client = session.client
    feed, value = session.run(begin(client))
    goes_on = False
    try:
        goes_on = function(*(*value, None)[: arguments_max(function)]) is not False
    finally:
        session.run(go_on(client, feed) if goes_on else _at_once(feed.close))


async def _call_in_thread(session: Session, function: Callable[..., object], arguments: tuple[object, ...]) -> object:
    result: Future[object] = Future()
    session.callbacks.call(partial(_call, function, arguments), result)
    return await asyncio.wrap_future(result)


def _call(function: Callable[..., object], arguments: tuple[object, ...], result: Future[object]) -> None:
    if result.set_running_or_notify_cancel():
        try:
            result.set_result(function(*arguments))
        except Exception as error:
            result.set_exception(error)


class DataWatch:
    """Call a function with a node's data and stat, at once, and again after every change.

        @zk.DataWatch("/config")
        def configure(data, stat):
            ...

    A missing node is told as (None, None), also when it is deleted. A function with a third argument gets the last
    event there, None at first. The first call is made by the thread that decorates, and what it raises comes out there;
    later calls are made in the thread of the client's callbacks, one after the other, and may use the client. What
    changes several times during one call is told once, as it is then. The watch lasts over reconnects and sessions,
    until the function returns False or the client is closed; a forked child does not inherit it. What later calls
    raise is logged.
    """

    def __init__(self, client: ThreadClient, path: str, func: DataFunction | None = None) -> None:
        self._session = client._session
        self._path = path
        if func is not None:
            self(func)

    def __call__(self, function: D) -> D:
        """Begin to watch; gives `function` back."""
        watch(self._session, lambda client: data_feed(client, self._path), function)
        return function


class ChildrenWatch:
    """Call a function with the sorted names of a node's children, at once, and again when one has come or gone.

        @zk.ChildrenWatch("/workers")
        def workers_changed(names):
            ...

    A missing node has no children: (). A function with a second argument gets the last event there. All else is as of
    DataWatch.
    """

    def __init__(self, client: ThreadClient, path: str, func: ChildrenFunction | None = None) -> None:
        self._session = client._session
        self._path = path
        if func is not None:
            self(func)

    def __call__(self, function: C) -> C:
        """Begin to watch; gives `function` back."""
        watch(self._session, lambda client: children_feed(client, self._path), function)
        return function


class CacheChanges(Twin[AsyncCacheChanges]):
    """An iterator of the changes of a cache. It ends when the cache is closed, and raises what else ends it."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> CacheChange:
        try:
            return self._session.run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None


async def _at_once(do: Callable[[], T]) -> T:
    """`do` in the loop's thread."""
    return do()


class CacheTwin(BlockTwin[K]):
    """What the caches have in common. A forked child enters a cache of its own anew."""

    def __init__(self, session: Session, make: Callable[[AsyncZooKeeper], K]) -> None:
        super().__init__(session, make)
        self._told: dict[Listener, Listener] = {}

    @property
    def path(self) -> str:
        return self._inner.path

    @property
    def zxid(self) -> Zxid:
        """Every change up to this one is shown."""
        return self._inner.zxid

    @property
    def exact(self) -> bool:
        """Whether all that is shown is as it was at `zxid`, at one instant. See `TreeCache`."""
        return self._inner.exact

    def wait_until(self, zxid: Zxid | int, *, timeout: float | None = None) -> None:
        """Return when everything up to `zxid` is shown, which is of a transaction that is done: a `stat.mzxid`, the
        `last_zxid` of any client. Raises OperationTimeoutError, or what has ended the cache."""
        self._session.run(self._inner.wait_until(zxid, timeout=timeout))

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with every change from here on, in the thread of the client's callbacks, where it may use the
        client."""
        told = self._told[listener] = partial(self._session.callbacks.call, listener)
        self._session.run(_at_once(partial(self._inner.add_listener, told)))

    def remove_listener(self, listener: Listener) -> None:
        told = self._told.pop(listener, None)
        if told is not None:
            self._session.run(_at_once(partial(self._inner.remove_listener, told)))

    def changes(self) -> CacheChanges:
        """An iterator of the changes from here on. To a slow consumer several changes of a node become one."""
        return CacheChanges._of(self._session, self._session.run(_at_once(self._inner.changes)))


class MappingTwin(CacheTwin[M], Mapping[str, NodeData]):
    """A mapping that changes while a thread looks at it: what belongs together is to be taken from one `snapshot`."""

    def __getitem__(self, key: str) -> NodeData:
        return self._inner[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.snapshot())

    def __len__(self) -> int:
        return len(self._inner)

    def snapshot(self) -> dict[str, NodeData]:
        """All of it, as it is at one instant."""
        return self._session.run(_at_once(partial(dict[str, NodeData], self._inner)))

    def items(self) -> ItemsView[str, NodeData]:
        return self.snapshot().items()

    def values(self) -> ValuesView[NodeData]:
        return self.snapshot().values()


class TreeCache(MappingTwin[AsyncTreeCache]):
    """`path` and all below it, as a mapping from paths to nodes, kept up to date.

        with zk.TreeCache("/config") as cache:
            print(cache["/config/db"])
            for change in cache.changes():
                print(change.type.name, change.path, change.new)

    All is as of the TreeCache for coroutines; `snapshot()` is one state, which can be looked at in peace.
    """

    def __init__(
        self, client: ThreadClient, path: str, *, nodes_max: int = NODES_MAX, timeout: float | None = None
    ) -> None:
        super().__init__(client._session, lambda made: AsyncTreeCache(made, path, nodes_max=nodes_max, timeout=timeout))

    def children(self, path: str) -> tuple[str, ...]:
        """The sorted names of the children of `path`."""
        return self._session.run(_at_once(partial(self._inner.children, path)))


class ChildrenCache(MappingTwin[AsyncChildrenCache]):
    """The children of `path`, as a mapping from names to nodes, kept up to date. A missing node has none.

        with zk.ChildrenCache("/workers") as workers:
            for name, node in workers.items():
                print(name, node)

    All else is as of TreeCache. The changes of `path` itself are told too.
    """

    def __init__(
        self, client: ThreadClient, path: str, *, nodes_max: int = NODES_MAX, timeout: float | None = None
    ) -> None:
        super().__init__(
            client._session, lambda made: AsyncChildrenCache(made, path, nodes_max=nodes_max, timeout=timeout)
        )


class NodeCache(CacheTwin[AsyncNodeCache]):
    """One node, kept up to date: `cache.node` is its data and stat, None while it is missing.

        with zk.NodeCache("/config") as config:
            print(config.node)

    All else is as of TreeCache.
    """

    def __init__(self, client: ThreadClient, path: str, *, timeout: float | None = None) -> None:
        super().__init__(client._session, lambda made: AsyncNodeCache(made, path, timeout=timeout))

    @property
    def node(self) -> NodeData | None:
        return self._inner.node
