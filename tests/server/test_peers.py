"""Connections between servers over real sockets: introduced, read, lost, made again; strangers turned away."""

import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

import pytest
import trio

from zk.broadcast.engine import PeerConnected, PeerDisconnected
from zk.broadcast.messages import Ack
from zk.model.limits import MIB
from zk.model.peering import Forward
from zk.model.record import ConnectionId, Epoch, ServerId, Zxid
from zk.replica.events import Event, PeerReceived
from zk.server.config import Address
from zk.server.listener import listen
from zk.server.peers import HELLO_TIMEOUT_MS, SEND_BUFFER_BYTES_MAX, Peers
from zk.server.poller import Poller
from zk.server.polling import open_poller
from zk.server.testing import free_ports
from zk.wire.peer import VERSION, Hello, encode

pytestmark = pytest.mark.trio

VOTERS = (ServerId(1), ServerId(2))


def hello(server_id: int) -> Hello:
    return Hello("zk", ServerId(server_id), f"disk {server_id}", VERSION, VOTERS)


async def test_a_second_process_with_the_id_of_a_connected_server_is_turned_away() -> None:
    async with two() as (one, other):
        await connected(one, other)
        impostor = replace(hello(2), disk_uuid="another disk")
        with trio.fail_after(5), socket.create_connection((one.address.host, one.address.port)) as second:
            await trio.to_thread.run_sync(second.sendall, encode(impostor))
            while await trio.to_thread.run_sync(second.recv, 65_536):
                pass
        assert one.count(PeerConnected) == 1
        assert one.count(PeerDisconnected) == 0


def ack(n: int) -> Ack:
    return Ack(Epoch(1), 1, Zxid(n))


class Side:
    """The peers of one server; what they tell its replica is kept in `events`."""

    def __init__(self, poller: Poller, mine: Hello) -> None:
        self.events: list[Event] = []
        self._posted: deque[Event] = deque()
        self.poller = poller
        self.peers = Peers(poller, mine, self.events.append, self._posted.append)
        listening = listen(Address("127.0.0.1", 0))
        self.address = Address("127.0.0.1", listening.getsockname()[1])
        self.peers.listen(listening)
        self._changed = trio.Event()

    async def run(self) -> None:
        while True:
            await self.poller.wait()
            self.round()

    def round(self) -> None:
        for source, ready in self.poller.poll():
            source.on_ready(ready)
        self.peers.flush()
        self.events.extend(self._posted)
        self._posted.clear()
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(5):
            while not condition():
                await self._changed.wait()

    @property
    def newest(self) -> ConnectionId:
        return next(event.connection for event in reversed(self.events) if isinstance(event, PeerConnected))

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


@asynccontextmanager
async def two(epoll: bool = True, second: Hello | None = None) -> AsyncIterator[tuple[Side, Side]]:
    """Server 1, and server 2 which dials it and introduces itself by `second`."""
    async with open_poller(epoll) as one, open_poller(epoll) as other, trio.open_nursery() as nursery:
        sides = Side(one, hello(1)), Side(other, second or hello(2))
        for side in sides:
            nursery.start_soon(side.run)
        nursery.start_soon(sides[1].peers.keep_connected, ServerId(1), sides[0].address)
        try:
            yield sides
        finally:
            nursery.cancel_scope.cancel()
            for side in sides:
                side.peers.drop_all()


async def connected(*sides: Side) -> None:
    for side in sides:
        await side.until(partial(side.count, PeerConnected))


@pytest.mark.parametrize("epoll", [True, False])
async def test_two_servers_meet_and_what_one_sends_reaches_the_other_in_order(epoll: bool) -> None:
    async with two(epoll) as (one, other):
        await connected(one, other)
        assert one.events == [PeerConnected(ServerId(2), ConnectionId(1), "disk 2")]
        assert other.events == [PeerConnected(ServerId(1), ConnectionId(1), "disk 1")]
        for n in range(1, 501):
            one.peers.send(ConnectionId(1), ack(n))
        one.peers.flush()
        await other.until(lambda: other.count(PeerReceived) == 500)
        assert other.events[1:] == [PeerReceived(ServerId(1), ConnectionId(1), ack(n)) for n in range(1, 501)]


async def test_a_message_larger_than_any_buffer_arrives() -> None:
    async with two() as (one, other):
        await connected(one, other)
        message = Forward((bytes(20_000_000),))
        one.peers.send(ConnectionId(1), message)
        one.peers.flush()
        await other.until(lambda: other.count(PeerReceived) == 1)
        assert other.events[-1] == PeerReceived(ServerId(1), ConnectionId(1), message)


async def test_a_broken_connection_is_told_at_once_and_made_again() -> None:
    async with two() as (one, other):
        await connected(one, other)
        one.peers.disconnect(ConnectionId(1), "a test")
        one.round()
        assert one.events[-1] == PeerDisconnected(ServerId(2), ConnectionId(1))
        await other.until(lambda: other.count(PeerConnected) == 2)
        assert other.events == [
            PeerConnected(ServerId(1), ConnectionId(1), "disk 1"),
            PeerDisconnected(ServerId(1), ConnectionId(1)),
            PeerConnected(ServerId(1), ConnectionId(2), "disk 1"),
        ]
        one.peers.send(ConnectionId(1), ack(1))  # to a connection that is no more: to nobody
        one.peers.send(ConnectionId(2), ack(2))
        one.peers.flush()
        await other.until(lambda: other.count(PeerReceived) == 1)
        assert other.events[-1] == PeerReceived(ServerId(1), ConnectionId(2), ack(2))


async def test_a_newer_connection_of_the_same_server_replaces_the_older_one() -> None:
    async with two() as (one, other):
        await connected(one, other)
        again = await trio.open_tcp_stream(one.address.host, one.address.port)
        await again.send_all(encode(hello(2)))
        await one.until(lambda: one.count(PeerDisconnected) == 1)
        assert one.events == [
            PeerConnected(ServerId(2), ConnectionId(1), "disk 2"),
            PeerConnected(ServerId(2), ConnectionId(2), "disk 2"),
            PeerDisconnected(ServerId(2), ConnectionId(1)),
        ]
        await again.aclose()


@pytest.mark.parametrize(
    ("stranger", "complaint"),
    [
        (replace(hello(2), cluster_name="prod"), "belongs to the ensemble 'prod', this server to 'zk'"),
        (replace(hello(2), version=VERSION + 1), f"speaks version {VERSION + 1} of the servers' protocol"),
        (replace(hello(2), voters=(ServerId(2),)), "is configured with the peers 2, this server with 1, 2"),
        (replace(hello(2), server_id=ServerId(1)), "calls itself server 1, as this one does"),
        (replace(hello(2), server_id=ServerId(9)), "calls itself server 9"),
    ],
    ids=["cluster", "version", "voters", "my own id", "unknown id"],
)
async def test_who_does_not_belong_here_is_turned_away_with_a_reason(
    stranger: Hello, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with two(second=stranger) as (one, _):
        await one.until(lambda: "a server at 127.0.0.1" in caplog.text)
        assert complaint in caplog.text
        assert one.events == []


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (b"\xc1zk1", "the other side does not speak their protocol"),
        (encode(hello(2)) * 2, "does not speak our protocol"),
        (encode(hello(2)) + encode(hello(2))[4:], "must introduce itself once, and first"),
        (encode(hello(2))[:4] + encode(ack(1)), "must introduce itself once, and first"),
    ],
    ids=["a client", "magic twice", "hello twice", "no hello"],
)
async def test_who_breaks_the_protocol_is_cut_off(
    said: bytes, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with two() as (one, other):
        await connected(one, other)
        stranger = await trio.open_tcp_stream(one.address.host, one.address.port)
        await stranger.send_all(said)
        await one.until(lambda: complaint in caplog.text)
        await stranger.aclose()


async def test_who_says_nothing_is_cut_off_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    async with two() as (one, other):
        await connected(one, other)
        silent = await trio.open_tcp_stream(one.address.host, one.address.port)
        assert await silent.receive_some(4) == b"\xc1zkp"
        one.peers.now_ms = HELLO_TIMEOUT_MS - 1
        one.peers.tick()
        assert "did not introduce itself" not in caplog.text
        one.peers.now_ms = HELLO_TIMEOUT_MS
        one.peers.tick()
        assert "a server at 127.0.0.1 did not introduce itself within 2000 ms" in caplog.text
        await silent.aclose()


async def test_a_peer_that_takes_nothing_is_cut_off_at_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    forward = Forward((bytes(MIB),))
    async with two() as (one, other):
        await connected(one, other)
        with socket.create_connection((one.address.host, one.address.port)) as deaf:
            deaf.sendall(encode(hello(2)))
            await one.until(lambda: one.count(PeerConnected) == 2)
            connection = one.newest
            unsent_bytes_max = 0
            while PeerDisconnected(ServerId(2), connection) not in one.events:
                unsent_bytes_max = max(unsent_bytes_max, one.peers.unsent_bytes)
                one.peers.send(connection, forward)
                one.round()
        assert SEND_BUFFER_BYTES_MAX - 2 * MIB < unsent_bytes_max <= SEND_BUFFER_BYTES_MAX
        assert "takes too little" in caplog.text


async def test_a_server_that_is_not_there_is_told_once_and_dialled_again(caplog: pytest.LogCaptureFixture) -> None:
    address = Address("127.0.0.1", free_ports(1)[0])
    async with open_poller() as poller, trio.open_nursery() as nursery:
        side = Side(poller, hello(2))
        nursery.start_soon(side.run)
        nursery.start_soon(side.peers.keep_connected, ServerId(1), address)
        with trio.fail_after(5):
            while "can't be reached: Connection refused" not in caplog.text:
                await trio.lowlevel.checkpoint()
        with socket.create_server((address.host, address.port)) as listening:
            listening.setblocking(False)
            with trio.fail_after(5):
                await trio.lowlevel.wait_readable(listening.fileno())
        assert caplog.text.count("can't be reached") == 1
        nursery.cancel_scope.cancel()
        side.peers.drop_all()
