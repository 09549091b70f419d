"""For tests: `EmbeddedServer`, a server inside the test's own process; and `Link`, between a client and a server or
between two servers, which is slow, and fails when told to.

The server lives in `zk.testing`, and is imported when it is asked for: the client needs none of it.
"""

import random
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream

from zkclient.hosts import split_host

if TYPE_CHECKING:
    from zk.testing.embedded import EmbeddedServer

__all__ = ["EmbeddedServer", "Link"]

CHUNK_BYTES = 65_536


def __getattr__(name: str) -> object:
    if name == "EmbeddedServer":
        from zk.testing.embedded import EmbeddedServer

        return EmbeddedServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


class Link:
    """Connect to `address` instead of to `server`.

    `cut` breaks all connections, `refuse` also new ones, until `allow`. `swallow_replies` lets requests through and
    nothing back; `swallowed` is set when something was. Every byte arrives `delay_ms` later, and up to `jitter_ms`
    more, in either direction. Use it as an async context manager.
    """

    def __init__(self, server: str, *, delay_ms: float = 0, jitter_ms: float = 0) -> None:
        self.address: str = ""
        self.swallowed: anyio.Event = anyio.Event()
        self._server = server
        self._delay_ms = delay_ms
        self._jitter_ms = jitter_ms
        self._refusing = False
        self._swallowing = False
        self._connections: set[anyio.CancelScope] = set()
        self._tasks: TaskGroup | None = None

    async def __aenter__(self) -> Self:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.address = f"127.0.0.1:{listener.extra(SocketAttribute.local_port)}"
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._tasks.start_soon(self._listen, listener)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._tasks.cancel_scope.cancel()
        await self._tasks.__aexit__(None, None, None)

    def cut(self) -> None:
        for connection in self._connections:
            connection.cancel()

    def refuse(self) -> None:
        self._refusing = True
        self.cut()

    def allow(self) -> None:
        self._refusing = self._swallowing = False

    def swallow_replies(self) -> None:
        self._swallowing = True
        self.swallowed = anyio.Event()

    async def _listen(self, listener: Listener[SocketStream]) -> None:
        async with listener:
            await listener.serve(self._serve, self._tasks)

    async def _serve(self, client: SocketStream) -> None:
        async with client:
            if self._refusing:
                return
            with anyio.CancelScope() as connection, suppress(OSError):
                self._connections.add(connection)
                host, port = split_host(self._server)
                async with await anyio.connect_tcp(host, port) as server, anyio.create_task_group() as tasks:
                    tasks.start_soon(self._pump, client, server, False, connection)
                    tasks.start_soon(self._pump, server, client, True, connection)
            self._connections.discard(connection)

    async def _pump(
        self, source: SocketStream, target: SocketStream, replies: bool, connection: anyio.CancelScope
    ) -> None:
        """Take what comes at once, and let it arrive when it is due, in its order."""
        way_in, way_out = anyio.create_memory_object_stream[tuple[float, bytes]](inf)
        due_s = 0.0
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._deliver, way_out, target)
            with way_in, suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    data = await source.receive(CHUNK_BYTES)
                    if replies and self._swallowing:
                        self.swallowed.set()
                    else:
                        delay_ms = self._delay_ms + random.uniform(0, self._jitter_ms)
                        due_s = max(due_s, anyio.current_time() + delay_ms / 1_000)
                        way_in.send_nowait((due_s, data))
        connection.cancel()

    async def _deliver(self, way_out: MemoryObjectReceiveStream[tuple[float, bytes]], target: SocketStream) -> None:
        with way_out, suppress(anyio.BrokenResourceError):
            async for due_s, data in way_out:
                await anyio.sleep_until(due_s)
                await target.send(data)
