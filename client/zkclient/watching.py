"""WatchStream: the consumer's end of a watch, with its bounded buffer."""

from collections import deque
from types import TracebackType
from typing import Self

import anyio

from zk.model.errors import ZKError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import Zxid
from zkclient.driver import Driver
from zkclient.errors import ClientClosedError
from zkclient.watchers import Stream


class Inbox:
    """Events that wait for their consumer: at most `size`. Holds no reference to the consumer."""

    def __init__(self, path: str, chroot: str, size: int) -> None:
        self._path = path
        self._chroot = chroot
        self._size = size
        self._events: deque[WatchEvent] = deque()
        self._end: ZKError | None = None
        self._arrived = anyio.Event()

    def put(self, event: WatchEvent | ZKError) -> None:
        if isinstance(event, ZKError):
            self._end = event
        else:
            if len(self._events) >= self._size:
                self._make_room(event.zxid)
            self._events.append(event)
        self._arrived.set()

    def close(self) -> None:
        self._events.clear()
        self._end = ClientClosedError("the stream was closed")
        self._arrived.set()

    async def get(self) -> WatchEvent:
        while not self._events:
            if isinstance(self._end, ClientClosedError):
                raise StopAsyncIteration
            if self._end is not None:
                raise self._end
            self._arrived = anyio.Event()
            await self._arrived.wait()
        event = self._events.popleft()
        if not self._chroot:
            return event
        return WatchEvent(event.type, event.path[len(self._chroot) :] or "/", event.zxid)

    def _make_room(self, zxid: Zxid) -> None:
        """Keep the latest of equal events; if that leaves it more than half full, one RESYNC instead of all."""
        latest: dict[tuple[EventType, str], WatchEvent] = {}
        for event in self._events:
            key = event.type, event.path
            latest.pop(key, None)
            latest[key] = event
        self._events = deque(latest.values())
        if len(self._events) > self._size // 2:
            self._events = deque([WatchEvent(EventType.RESYNC, self._path, zxid)])


class WatchStream:
    """`async for event in stream`. It ends when it is closed: by `close`, by leaving its `with` block, when the last
    reference goes, or with the client."""

    def __init__(
        self, driver: Driver, chroot: str, path: str, mode: WatchMode, since: Zxid | None, buffer_size: int
    ) -> None:
        self._driver = driver
        self._inbox = Inbox(path, chroot, buffer_size)
        self._stream: Stream = driver.watch(path, mode, since, self._inbox.put)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchEvent:
        return await self._inbox.get()

    def close(self) -> None:
        """Stop watching."""
        self._inbox.close()
        self._driver.unwatch(self._stream)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # A collector may run in any thread: only leave a mark, on which the driver's own task acts.
        if hasattr(self, "_stream"):
            self._driver.forget(self._stream)
