"""What asyncio does quicker when it is asked directly than by way of anyio. Elsewhere anyio's own is used.

Each message of anyio's TCP stream stops and starts reading, or lets all other tasks run; each event of it is three
objects. Together that is about as much work as a call needs otherwise. Read `driver` next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

import anyio
from anyio.abc import ByteStream, SocketAttribute

from zkclient.calling import TaskWaiter
from zkclient.calls import Outcome

BUFFER_BYTES = 256 * 1024


def asyncio_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that the calling task runs on, if it is asyncio's."""
    try:
        return asyncio.get_running_loop() if asyncio.current_task() is not None else None
    except RuntimeError:
        return None


class QuickWaiter(TaskWaiter):
    """Where a task of asyncio waits for the outcome of a call."""

    __slots__ = ("_future",)

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.outcome = None
        self._future = loop.create_future()

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        if not self._future.done():  # who waited was cancelled
            self._future.set_result(None)

    def wait(self) -> Awaitable[None]:
        return self._future


class QuickStream(asyncio.BufferedProtocol, ByteStream):
    """Made by `loop.create_connection`. One task receives, or listens; one sends."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._buffer = bytearray(BUFFER_BYTES)
        self._filled = 0  # bytes of the buffer that nobody has taken yet
        self._arrived = asyncio.Event()  # something, or the end
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._listener: Callable[[bytes], None] | None = None
        self._failure: Exception | None = None  # of the listener

    # ---- the stream

    def write(self, data: bytes) -> None:
        """Send without waiting, behind what was sent before. If the connection is gone, so is the data."""
        self._transport.write(data)

    @property
    def is_sending(self) -> bool:
        """Whether something that was written has yet to leave."""
        return self._transport.get_write_buffer_size() > 0

    async def send(self, item: bytes) -> None:
        self._transport.write(item)
        if not self._writable.is_set():
            await self._writable.wait()
        if self._ended:
            raise anyio.BrokenResourceError

    async def receive(self, max_bytes: int = BUFFER_BYTES) -> bytes:
        """All that has come, if that is not more than `max_bytes`."""
        while not self._filled:
            if self._ended:
                raise anyio.EndOfStream
            self._arrived.clear()
            await self._arrived.wait()
        taken = min(self._filled, max_bytes)
        data = bytes(memoryview(self._buffer)[:taken])
        if self._filled == BUFFER_BYTES:
            self._transport.resume_reading()
        self._buffer[: self._filled - taken] = self._buffer[taken : self._filled]
        self._filled -= taken
        return data

    async def listen(self, listener: Callable[[bytes], None]) -> NoReturn:
        """Have `listener` called with all that comes, as soon as it comes: no task has to wake up for it. Raises what
        the listener raises, and EndOfStream at the end."""
        if self._filled:
            listener(await self.receive())
        self._listener = listener
        while not self._ended and self._failure is None:
            self._arrived.clear()
            await self._arrived.wait()
        raise self._failure or anyio.EndOfStream

    async def send_eof(self) -> None:
        self._transport.write_eof()

    async def aclose(self) -> None:
        self._transport.abort()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:  # as anyio types its own
        return {SocketAttribute.raw_socket: lambda: self._transport.get_extra_info("socket")}

    # ---- for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._listener is not None:
            self._tell(self._listener, bytes(memoryview(self._buffer)[:nbytes]))
            return
        self._filled += nbytes
        if self._filled == BUFFER_BYTES:
            self._transport.pause_reading()  # until somebody takes it
        self._arrived.set()

    def _tell(self, listener: Callable[[bytes], None], data: bytes) -> None:
        if self._failure is None:
            try:
                listener(data)
            except Exception as error:
                self._failure = error
                self._arrived.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def eof_received(self) -> bool:
        """Nothing more comes: the end, also of what has yet to leave. True: the transport waits for `aclose`. By itself
        it would close once that had left, and no call of it would work any more."""
        self.connection_lost(None)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._arrived.set()
        self._writable.set()
