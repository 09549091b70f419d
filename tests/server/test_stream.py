"""A stream over a real pair of sockets."""

import socket
from collections.abc import Iterator

import pytest

from zk.server.stream import FEW_BYTES, RECEIVE_BYTES, SEND_BYTES, Stream


@pytest.fixture
def pair() -> Iterator[tuple[Stream, socket.socket]]:
    here, there = socket.socketpair()
    with there:
        stream = Stream(here)
        yield stream, there
        stream.close()


def test_nothing_that_has_arrived_is_none_and_an_end_is_no_bytes(pair: tuple[Stream, socket.socket]) -> None:
    stream, there = pair
    assert stream.receive() is None
    there.close()
    assert (stream.receive(), stream.broken) == (b"", False)


def test_who_sends_much_once_is_read_in_large_pieces_from_then_on(pair: tuple[Stream, socket.socket]) -> None:
    stream, there = pair
    much = bytes(range(256)) * 8
    for expected in ([much[:FEW_BYTES], much[FEW_BYTES:]], [much], [b"few"], [much]):
        there.sendall(b"".join(expected))
        assert [stream.receive() for _ in expected] == expected
        assert stream.receive() is None
    assert len(much) < RECEIVE_BYTES


@pytest.mark.parametrize("sizes", [[1], [100, 0, 100], [SEND_BYTES * 3, 5], [70_000] * 9, [10] * 50_000])
def test_what_is_queued_arrives_in_its_order_however_little_the_other_side_takes(
    pair: tuple[Stream, socket.socket], sizes: list[int]
) -> None:
    stream, there = pair
    there.setblocking(False)
    parts = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    arrived = b""
    for number, part in enumerate(parts):
        stream.queue(part)
        if number % 7_000 == 0:
            stream.flush()
    while stream.unsent_bytes or len(arrived) < sum(sizes):
        before = stream.unsent_bytes
        stream.flush()
        received = there.recv(30_000)
        assert stream.unsent_bytes <= before
        arrived += received
    assert arrived == b"".join(parts)
    assert not stream.broken


def test_what_can_not_be_sent_breaks_the_stream(pair: tuple[Stream, socket.socket]) -> None:
    stream, there = pair
    there.close()
    stream.queue(b"lost")
    stream.flush()
    assert (stream.broken, stream.receive()) == (True, b"")


def test_a_closed_stream_has_nothing_to_send(pair: tuple[Stream, socket.socket]) -> None:
    stream, _ = pair
    stream.queue(b"x")
    stream.queue(b"y")
    stream.close()
    assert (stream.unsent_bytes, stream.fileno()) == (0, -1)
    stream.flush()
    assert not stream.broken
