"""The connection of its own that the client has on asyncio: what it must do as well as anyio's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute
from zkclient.connecting import over_tcp
from zkclient.quick import BUFFER_BYTES, QuickStream

MUCH = bytes(range(256)) * (16 * BUFFER_BYTES // 256)  # more than all buffers on the way


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[QuickStream, ByteStream]]:
    """A connection, and its other end."""
    accepted: list[ByteStream] = []
    arrived, done = anyio.Event(), anyio.Event()

    async def accept(stream: ByteStream) -> None:
        accepted.append(stream)
        arrived.set()
        await done.wait()

    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, accept)
        stream = await over_tcp("127.0.0.1", listener.extra(SocketAttribute.local_port))
        assert isinstance(stream, QuickStream)
        await arrived.wait()
        async with accepted[0]:
            yield stream, accepted[0]
        await stream.aclose()
        done.set()
        tasks.cancel_scope.cancel()


async def take(stream: ByteStream, total: int, max_bytes: int) -> bytes:
    data = b""
    while len(data) < total:
        piece = await stream.receive(max_bytes)
        assert 0 < len(piece) <= max_bytes
        data += piece
    return data


@pytest.mark.parametrize("max_bytes", [65_536, BUFFER_BYTES - 1, BUFFER_BYTES])
async def test_what_nobody_takes_waits_and_nothing_is_lost(max_bytes: int) -> None:
    async with connected() as (stream, other), anyio.create_task_group() as tasks:
        tasks.start_soon(other.send, MUCH)
        await anyio.wait_all_tasks_blocked()
        assert await take(stream, len(MUCH), max_bytes) == MUCH


async def test_who_sends_more_than_the_other_end_takes_must_wait() -> None:
    async with connected() as (stream, other), anyio.create_task_group() as tasks:
        sent: list[int] = []

        async def send() -> None:
            for number in range(8):
                await stream.send(MUCH)
                sent.append(number)

        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert len(sent) < 8
        assert await take(other, 8 * len(MUCH), BUFFER_BYTES) == 8 * MUCH
        await anyio.wait_all_tasks_blocked()
        assert sent == list(range(8))


async def test_what_is_written_at_once_stands_behind_what_was_sent_before() -> None:
    async with connected() as (stream, other), anyio.create_task_group() as tasks:
        tasks.start_soon(stream.send, MUCH)
        await anyio.wait_all_tasks_blocked()
        stream.write(b"behind")
        assert await take(other, len(MUCH) + 6, BUFFER_BYTES) == MUCH + b"behind"


async def test_the_end_comes_behind_all_that_was_sent_and_is_told_again_and_again() -> None:
    async with connected() as (stream, other):
        await other.send(b"last words")
        await other.aclose()
        assert await take(stream, 10, 4) == b"last words"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await stream.send(b"to nobody")


async def test_the_end_is_told_while_what_was_sent_has_yet_to_leave_and_the_stream_can_be_closed_after_it_has() -> None:
    async with connected() as (stream, other):
        stream.write(8 * MUCH)
        await other.send_eof()
        with anyio.fail_after(10), pytest.raises(anyio.EndOfStream):
            await stream.receive()
        assert await take(other, 8 * len(MUCH), BUFFER_BYTES) == 8 * MUCH
        await anyio.wait_all_tasks_blocked()
        stream.write(b"to nobody")
        await stream.aclose()


@pytest.mark.parametrize("wait", [QuickStream.receive, lambda stream: stream.send(32 * MUCH)])
async def test_who_waits_can_be_cancelled(wait: Callable[[QuickStream], "asyncio.Future[object]"]) -> None:
    async with connected() as (stream, other):
        with anyio.move_on_after(0.05) as scope:
            await wait(stream)
        assert scope.cancelled_caught
        await other.send(b"still here")
        assert await stream.receive() == b"still here"
