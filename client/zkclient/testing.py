"""For tests: a link between a client and a server that fails when it is told to."""

from contextlib import suppress
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import Listener, SocketAttribute, SocketStream, TaskGroup

from zkclient.hosts import split_host

CHUNK_BYTES = 65_536


class Link:
    """Connect to `address` instead of to `server`.

    `cut` breaks all connections, `refuse` also new ones, until `allow`. `swallow_replies` lets requests through and
    nothing back; `swallowed` is set when something was. Use it as an async context manager.
    """

    def __init__(self, server: str) -> None:
        self.address = ""
        self.swallowed = anyio.Event()
        self._server = server
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
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                data = await source.receive(CHUNK_BYTES)
                if replies and self._swallowing:
                    self.swallowed.set()
                else:
                    await target.send(data)
        connection.cancel()
