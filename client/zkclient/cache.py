"""What the caches have in common (caches.py): what is below a path, kept at hand, in the servers' order.

A watch stream begins before the first read, so every later change is told; it lasts over reconnects and sessions. What
changed is read, many nodes at one instant, and put together by a Picture (picture.py), which knows when it is whole.
Where the service does not remember far enough back (RESYNC), all is read again, and the differences are told.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from zk.model.errors import APIError, BadArgumentsError, ZKError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.paths import join
from zk.model.record import Zxid
from zk.model.replies import Body, ChildrenPageReply, DataReply, MultiReply
from zk.model.requests import ClientRequest, GetChildrenPage, GetData, MultiRead
from zkclient.errors import ClientClosedError, OperationTimeoutError
from zkclient.picture import CacheChange, Picture, is_same
from zkclient.results import NodeData

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

READS_AT_ONCE = 500  # nodes in one read; fewer where they are large
PAGES_AT_ONCE = 8  # nodes whose children are listed at the same time
REFUSED_SECONDS = 0.5  # behind a refusal, before it is tried again

Listener = Callable[[CacheChange], object]
_log = logging.getLogger(__name__)


class Cache:
    """What the caches have in common. `depth` is how far below `path` it looks: 0, 1 or infinity."""

    def __init__(
        self, client: "AsyncZooKeeper", path: str, depth: float, nodes_max: int, timeout: float | None
    ) -> None:
        self._client = client
        self._driver = client.driver
        self._path = path
        self._depth = depth
        self._timeout = timeout
        self._picture = Picture(nodes_max)
        self._scope: anyio.CancelScope | None = None
        self._due = anyio.Event()
        self._moved = anyio.Event()
        self._reads_at_once = READS_AT_ONCE
        self._error: ZKError | None = None
        self._listeners: list[Listener] = []
        self._followers: list[CacheChanges] = []

    async def __aenter__(self) -> Self:
        """Begin, and wait until everything is there. Raises OperationTimeoutError, TooManyNodesError, or what the
        service refuses."""
        if self._scope is not None:
            raise RuntimeError("a cache can be entered once: make another one")
        self._scope = anyio.CancelScope()
        mode = WatchMode.RECURSIVE if self._depth else WatchMode.PERSISTENT
        self._stream = self._driver.watch(self._client.absolute(self._path), mode, None, self._on_event)
        self._driver.start_task(self._run, self._scope)
        try:
            await self._until(Zxid(1), self._client.deadline(self._timeout))
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    @property
    def path(self) -> str:
        return self._path

    @property
    def zxid(self) -> Zxid:
        """Every change up to this one is shown."""
        return self._picture.zxid

    @property
    def exact(self) -> bool:
        """Whether all that is shown is as it was at `zxid`, at one instant. That is so but for one case: changes that
        come, for 20 reads in a row, faster than they can be read. Then some nodes are shown as they were a little
        later, until the cache has caught up; none older."""
        return self._picture.exact

    async def wait_until(self, zxid: Zxid | int, *, timeout: float | None = None) -> None:
        """Return when everything up to `zxid` is shown, which is of a transaction that is done: a `stat.mzxid`, the
        `last_zxid` of any client. Raises OperationTimeoutError, or what has ended the cache."""
        deadline = self._client.deadline(timeout)
        if self._picture.zxid < zxid and self._error is None:
            if self._client.last_zxid < zxid:
                await self._client.sync(self._path, timeout=timeout)
            self._due.set()  # it may be of no change here: then only another read tells how far the servers have come
        await self._until(Zxid(zxid), deadline)

    def add_listener(self, listener: Listener) -> None:
        """Call `listener` with every change from here on: one call per node and step, gone ones first, then parents
        before children. The cache shows all of the step by then. It must not block; what it raises is logged."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        with suppress(ValueError):  # it was not there, or is not any more
            self._listeners.remove(listener)

    def changes(self) -> "CacheChanges":
        """An async iterator of the changes from here on. To a slow consumer several changes of a node become one."""
        return CacheChanges(self)

    # ---- for the caches

    def _nodes(self) -> dict[str, NodeData]:
        if self._error is not None:
            raise self._error
        if not self._picture.zxid:
            raise RuntimeError(f"use the cache inside its block: async with zk.{type(self).__name__}(..) as cache")
        return self._picture.nodes

    # ---- what is told

    def _on_event(self, event: WatchEvent | ZKError) -> None:
        if isinstance(event, ZKError):
            self._end(event)
        elif event.type is EventType.RESYNC:
            self._picture.start_over()
        elif event.type is not EventType.CHILDREN_CHANGED:
            path = self._client.local(event.path)
            if self._depth_of(path) > self._depth:
                return
            self._picture.on_event(event.type, path, event.zxid)
        self._due.set()

    def _depth_of(self, path: str) -> int:
        if path == self._path:
            return 0
        return path.count("/", len(self._path) if self._path != "/" else 0)

    # ---- reading

    async def _run(self, scope: anyio.CancelScope) -> None:
        with scope:
            while self._error is None:
                try:
                    if self._picture.to_fill:
                        await self._fill()
                    else:
                        await self._due.wait()
                        self._due = anyio.Event()
                        await self._catch_up()
                except BadArgumentsError as error:
                    if self._reads_at_once == 1:
                        self._end(error)
                    self._reads_at_once = max(1, self._reads_at_once // 8)  # the answer would have been too long
                    self._due.set()
                except APIError as error:
                    _log.warning("the cache of %s: %s; trying again", self._path, error)
                    self._due.set()
                    await anyio.sleep(REFUSED_SECONDS)
                except ZKError as error:
                    self._end(error)

    async def _catch_up(self) -> None:
        picture = self._picture
        generation = picture.generation
        zxid = await self._read_nodes(picture.unread or (self._path,))
        if picture.generation == generation and self._error is None:
            self._tell(picture.advance(zxid))
            if picture.unread:
                self._due.set()

    async def _read_nodes(self, paths: Sequence[str]) -> Zxid:
        """Let the picture learn of them. The zxid of the last answer."""
        picture, zxid = self._picture, Zxid(0)
        generation = picture.generation
        for start in range(0, len(paths), self._reads_at_once):
            some = paths[start : start + self._reads_at_once]
            request = MultiRead(tuple(GetData(self._client.absolute(path)) for path in some))
            reply = await self._driver.finish_call(self._driver.start_call(request, inf))
            assert isinstance(reply.body, MultiReply)
            if picture.generation != generation:
                break
            zxid = reply.zxid
            for path, found in zip(some, reply.body.results, strict=True):
                picture.learn(path, zxid, _node(found, zxid))
        return zxid

    async def _fill(self) -> None:
        """Read everything, page by page; what changes meanwhile is told."""
        picture = self._picture
        generation = picture.generation
        zxid = await self._read_nodes((self._path,))
        to_list = [(self._path, "")] if self._depth else []
        while to_list and picture.generation == generation:
            pages, to_list = to_list[:PAGES_AT_ONCE], to_list[PAGES_AT_ONCE:]
            requests = [self._page(path, start_after) for path, start_after in pages]
            for (path, _), reply in zip(pages, await self._driver.call_all(requests, inf), strict=True):
                if isinstance(reply, BadArgumentsError):
                    raise reply
                if picture.generation != generation:
                    return
                if not isinstance(reply, APIError):
                    zxid = max(zxid, reply.zxid)
                    assert isinstance(reply.body, ChildrenPageReply)
                    to_list += self._learn_page(path, reply.body, reply.zxid)
        if picture.generation == generation:
            picture.filled()
            self._due.set()

    def _page(self, path: str, start_after: str) -> ClientRequest:
        return GetChildrenPage(self._client.absolute(path), "", start_after, self._reads_at_once, with_data=True)

    def _learn_page(self, path: str, page: ChildrenPageReply, zxid: Zxid) -> list[tuple[str, str]]:
        """What is to be listed next."""
        to_list: list[tuple[str, str]] = []
        for entry in page.entries:
            if entry.stat is None or entry.data is None:
                continue  # this client may not read it
            child = join(path, entry.name)
            self._picture.learn(child, zxid, NodeData(entry.data, entry.stat, zxid))
            if entry.stat.num_children and self._depth_of(child) < self._depth:
                to_list.append((child, ""))
        if page.more:
            to_list.append((path, page.entries[-1].name))
        return to_list

    # ---- telling

    def _tell(self, changes: Sequence[CacheChange]) -> None:
        self._wake()
        for follower in tuple(self._followers):
            follower.add(changes)
        for change in changes:
            for listener in tuple(self._listeners):
                try:
                    listener(change)
                except Exception:
                    _log.exception("a listener of the cache of %s failed on %s", self._path, change)

    def _wake(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()

    async def _until(self, zxid: Zxid, deadline: float) -> None:
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                while self._error is None and self._picture.zxid < zxid:
                    await self._moved.wait()
        except TimeoutError:
            missing = self._driver.machine.why_no_server()
            what = f"at {zxid:#x}" if self._picture.zxid else "filled"
            why = f": no server to be had ({missing})" if missing else ""
            raise OperationTimeoutError(f"the cache of {self._path} was not {what} in time{why}") from None
        if self._error is not None:
            raise self._error

    def _end(self, error: ZKError) -> None:
        if self._error is None:
            self._error = error
            self._driver.unwatch(self._stream)
            self._wake()
            for follower in self._followers:
                follower.wake()

    def _close(self) -> None:
        self._end(ClientClosedError("the cache was closed"))
        if self._scope is not None:
            self._scope.cancel()


def _node(found: Body | APIError, zxid: Zxid) -> NodeData | None:
    return NodeData(found.data, found.stat, zxid) if isinstance(found, DataReply) else None


class CacheChanges:
    """An async iterator of the changes of a cache. It ends when the cache is closed, and raises what else ends it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._known: dict[str, NodeData | None] = {}  # what has changed since, as the consumer knows it
        self._arrived = anyio.Event()
        cache._followers.append(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> CacheChange:
        cache = self._cache
        while True:
            while self._known:
                path = next(iter(self._known))
                change = CacheChange(path, self._known.pop(path), cache._picture.nodes.get(path))
                if not is_same(change.old, change.new):
                    return change
            if isinstance(cache._error, ClientClosedError):
                raise StopAsyncIteration
            if cache._error is not None:
                raise cache._error
            self._arrived = anyio.Event()
            await self._arrived.wait()

    # ---- for the cache

    def add(self, changes: Sequence[CacheChange]) -> None:
        for change in changes:
            if change.new is None and self._known.get(change.path, change) is None:
                del self._known[change.path]  # it came and went
            else:
                self._known.setdefault(change.path, change.old)
        self.wake()

    def wake(self) -> None:
        self._arrived.set()
