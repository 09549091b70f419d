"""Connections of clients over real sockets: framing, order, back-pressure, fairness, limits, and every kind of end."""

import os
import resource
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from zk.model.events import EventType, WatchEvent
from zk.model.record import ConnectionId, Zxid
from zk.model.replies import Body, PathsReply
from zk.model.requests import Call, Exists, Ping
from zk.replica.events import ClientDisconnected, ClientReceived
from zk.server.clients import CALLS_PER_ROUND, LINGER_MS, REASONS_PER_COMPLAINT
from zk.server.connection import CALLS_PER_TURN
from zk.server.listener import ACCEPT_PAUSE_MS

if TYPE_CHECKING:
    from tests.server.conftest import Caller, Edge, OpenEdge

pytestmark = pytest.mark.trio

PING = Ping()
EVENT = WatchEvent(EventType.DATA_CHANGED, "/" + "x" * 1_000, Zxid(1))


def big(call: Call) -> Body:
    """An answer of 100 KB."""
    return PathsReply(tuple(f"/{n:099}" for n in range(1_000)))


async def greeted(edge: "Edge") -> "Caller":
    caller = await edge.connect()
    await caller.hello()
    await caller.greeting()
    return caller


def use_up_file_descriptors(held: list[int]) -> None:
    with suppress(OSError):
        while True:
            held.append(os.dup(0))


# ---- in and out


async def test_calls_are_answered_in_their_order(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        caller = await greeted(edge)
        await caller.send(3)
        await caller.send(2)
        assert await caller.receive(5) == [1, 2, 3, 4, 5]
        assert edge.calls() == [1, 2, 3, 4, 5]


async def test_it_does_not_matter_how_the_bytes_are_cut(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        caller = await edge.connect()
        for byte in caller.native.hello() + caller.encoded(3):
            await caller.stream.send_all(bytes([byte]))
            await edge.settled()
        assert await caller.receive(3) == [1, 2, 3]


async def test_two_thousand_pipelined_calls_are_answered(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        caller = await greeted(edge)
        await caller.send(2_000)
        assert await caller.receive(2_000) == list(range(1, 2_001))


async def test_an_event_reaches_every_connection_that_watches(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        callers = [await greeted(edge) for _ in range(300)]
        for caller in callers:
            await caller.send()
            await caller.receive(1)
        for connection in edge.connected:
            edge.clients.answer(connection, [EVENT])
        edge.wake()
        for caller in callers:
            await caller.receive_event(EVENT)


# ---- back-pressure and fairness


async def test_a_client_that_does_not_read_is_not_read_until_it_does(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        edge.body = big
        caller = await greeted(edge)
        await caller.send(1_000)
        await edge.settled()
        handed_over = len(edge.calls())
        assert handed_over < 200
        await edge.settled()
        assert len(edge.calls()) == handed_over
        assert await caller.receive(1_000) == list(range(1, 1_001))


async def test_a_client_that_leaves_events_unread_is_cut_off_at_the_limit(
    open_edge: "OpenEdge", caplog: pytest.LogCaptureFixture
) -> None:
    async with open_edge(send_buffer_bytes_max=100_000) as edge:
        caller = await greeted(edge)
        await caller.send()
        await caller.receive(1)
        [connection] = edge.connected
        sent = 0
        while edge.events[-1] != ClientDisconnected(connection) and sent < 100_000:
            edge.clients.answer(connection, [EVENT] * 10)
            sent += 10
            edge.round()
        assert sent < 100_000, "it was never cut off"
    assert "it does not read (send_buffer_bytes_max)" in caplog.text


async def test_no_more_calls_are_outstanding_than_the_limit_says(open_edge: "OpenEdge") -> None:
    async with open_edge(outstanding_requests_max=10) as edge:
        edge.answering = False
        caller = await greeted(edge)
        await caller.send(25)
        await edge.settled()
        [connection] = edge.connected
        assert edge.calls() == list(range(1, 11))
        edge.answer(connection, [Call(xid, Exists("/")) for xid in (1, 2, 3)])
        edge.wake()
        await edge.settled()
        assert edge.calls() == list(range(1, 14))
        edge.answering = True
        edge.answer(connection, [Call(xid, Exists("/")) for xid in range(4, 14)])
        edge.wake()
        assert await caller.receive(25) == list(range(1, 26))


async def test_one_greedy_client_does_not_keep_another_waiting(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        greedy, modest = await greeted(edge), await greeted(edge)
        await edge.until(lambda: len(edge.connected) == 2)
        edge.backlogged = True
        await greedy.send(1_500)
        await edge.settled()
        await modest.send()
        await edge.settled()
        edge.backlogged = False
        edge.round()
        edge.wake()
        await modest.receive(1)
        _, second = edge.connected
        before = edge.events[: edge.events.index(ClientReceived(second, [Call(1, PING)]))]
        assert sum(len(event.calls) for event in before if isinstance(event, ClientReceived)) <= CALLS_PER_TURN
        assert await greedy.receive(1_500) == list(range(1, 1_501))


async def test_many_greedy_clients_leave_room_between_their_calls(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        edge.backlogged = True
        callers = [await greeted(edge) for _ in range(20)]
        for caller in callers:
            await caller.send(CALLS_PER_TURN)
        await edge.settled()
        edge.backlogged = False
        edge.round()
        assert len(edge.calls()) == CALLS_PER_ROUND
        edge.wake()
        for caller in callers:
            assert await caller.receive(CALLS_PER_TURN) == list(range(1, CALLS_PER_TURN + 1))


async def test_while_the_replica_is_backlogged_calls_wait(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        edge.backlogged = True
        caller = await greeted(edge)
        await caller.send(3)
        await edge.settled()
        assert edge.calls() == []
        edge.backlogged = False
        await greeted(edge)  # whatever ends the backlog also brings about a round
        assert await caller.receive(3) == [1, 2, 3]


# ---- limits


async def test_beyond_connections_max_a_connection_is_closed_at_once(
    open_edge: "OpenEdge", caplog: pytest.LogCaptureFixture
) -> None:
    async with open_edge(connections_max=2) as edge:
        first, _second = await greeted(edge), await greeted(edge)
        third = await edge.connect()
        assert await third.receive_all() == []
        edge.clients.tick()
        assert "refused 1 connections: connections_max is 2" in caplog.text
        await first.stream.aclose()
        await edge.until(lambda: ClientDisconnected(edge.connected[0]) in edge.events)
        fourth = await greeted(edge)
        await fourth.send()
        assert await fourth.receive(1) == [1]


async def test_the_operator_hears_of_refusals_by_their_reasons_and_of_so_many_only(
    open_edge: "OpenEdge", caplog: pytest.LogCaptureFixture
) -> None:
    async with open_edge() as edge:
        await edge.settled()
        for number in range(REASONS_PER_COMPLAINT + 5):
            edge.clients.complain_of(f"reason {number}")
            edge.clients.complain_of("reason 0")
        edge.clients.tick()
        told = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
        assert told == [
            f"refused {REASONS_PER_COMPLAINT + 6} connections: reason 0",
            *[f"refused 1 connections: reason {number}" for number in range(1, REASONS_PER_COMPLAINT)],
            "refused 5 connections: other reasons",
        ]


async def test_one_address_has_a_limit_of_its_own(open_edge: "OpenEdge", caplog: pytest.LogCaptureFixture) -> None:
    async with open_edge(connections_per_address_max=1) as edge:
        first = await greeted(edge)
        assert await (await edge.connect()).receive_all() == []
        edge.clients.tick()
        assert "connections_per_address_max is 1, 127.0.0.1 has them" in caplog.text
        await first.send()
        assert await first.receive(1) == [1]


async def test_who_makes_no_call_is_closed_after_the_handshake_timeout(open_edge: "OpenEdge") -> None:
    async with open_edge(handshake_timeout_ms=50) as edge:
        silent, half_open, speaking = await edge.connect(), await greeted(edge), await greeted(edge)
        await speaking.send()
        await speaking.receive(1)
        edge.clients.now_ms = 49
        edge.clients.tick()
        assert len(edge.disconnected) == 0
        edge.clients.now_ms = 50
        edge.clients.tick()
        edge.wake()
        assert await silent.receive_all() == []
        assert await half_open.receive_all() == []
        await speaking.send()
        assert await speaking.receive(2) == [1, 2]


async def test_without_file_descriptors_accepting_pauses_instead_of_spinning(
    open_edge: "OpenEdge", caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[int] = []
    async with open_edge() as edge:
        with socket.socket() as client:
            client.setblocking(False)
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
            try:
                use_up_file_descriptors(held)
                with suppress(BlockingIOError):
                    client.connect(edge.address)
                await edge.settled()
                assert caplog.text.count(f"no new connections for {ACCEPT_PAUSE_MS} ms: Too many open files") == 1
            finally:
                for fd in held:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            assert edge.connected == []
            edge.clients.now_ms = ACCEPT_PAUSE_MS
            edge.clients.tick()
            await edge.until(lambda: edge.connected == [1])


# ---- ends


@pytest.mark.parametrize(
    ("garbage", "farewell"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", ""),
        (b"\xc1nope", ""),
        (b"\xc1zk1\x01", "the server closed the connection"),
    ],
    ids=["another protocol", "half a magic", "no hello"],
)
async def test_who_speaks_something_else_is_closed(open_edge: "OpenEdge", garbage: bytes, farewell: str) -> None:
    async with open_edge() as edge:
        caller = await edge.connect()
        await caller.stream.send_all(garbage)
        assert await caller.receive_all() == []
        assert farewell in caller.farewell
        assert edge.disconnected == edge.connected


async def test_answers_given_before_a_malformed_call_still_arrive_with_the_farewell(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        caller = await greeted(edge)
        await caller.send(2)
        await caller.receive(2)
        await caller.stream.send_all(b"\xff" * 1_000_000)  # more than the server will ever read
        assert await caller.receive_all() == [1, 2]
        assert caller.farewell.startswith("the server closed the connection")


async def test_a_closed_connection_takes_what_was_given_out_before(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        edge.body = big
        edge.answering = False
        caller = await greeted(edge)
        await caller.send(50)
        await edge.until(lambda: len(edge.calls()) == 50)
        [connection] = edge.connected
        edge.answer(connection, [Call(xid, Exists("/")) for xid in range(1, 51)])
        edge.clients.close(connection, "a test")
        edge.answer(connection, [Call(51, Exists("/"))])
        edge.wake()
        assert await caller.receive_all() == list(range(1, 51))
        assert edge.disconnected == [connection]


async def test_a_closed_connection_whose_client_stays_is_dropped_in_the_end(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        await greeted(edge)
        await edge.until(lambda: len(edge.connected) == 1)
        edge.clients.close(edge.connected[0], "a test")
        edge.wake()
        assert not edge.clients.empty
        edge.clients.now_ms = LINGER_MS
        edge.clients.tick()
        assert edge.clients.empty


async def test_the_end_of_a_client_is_told_once_and_after_its_last_calls(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        edge.answering = False
        caller = await greeted(edge)
        await caller.send(1_000)
        await caller.stream.aclose()
        await edge.until(lambda: bool(edge.disconnected))
        await edge.settled()
        assert edge.calls() == list(range(1, 1_001))
        assert edge.disconnected == edge.connected
        assert edge.events[-1] == ClientDisconnected(edge.connected[0])
        assert edge.clients.empty


async def test_an_answer_never_reaches_the_next_user_of_a_file_descriptor(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        edge.answering = False
        old = await greeted(edge)
        await old.send()
        await edge.until(lambda: edge.calls() == [1])
        await old.stream.aclose()
        await edge.until(lambda: bool(edge.disconnected))
        new = await greeted(edge)
        await edge.until(lambda: len(edge.connected) == 2)
        edge.answer(ConnectionId(1), [Call(1, Exists("/"))])
        edge.answering = True
        await new.send(2)
        assert await new.receive(2) == [1, 2]
        assert edge.connected == [1, 2]


async def test_draining_answers_what_is_under_way_and_takes_nothing_new(open_edge: "OpenEdge") -> None:
    async with open_edge() as edge:
        edge.answering = False
        caller = await greeted(edge)
        await caller.send(2)
        await edge.until(lambda: edge.calls() == [1, 2])
        edge.clients.drain()
        await caller.send(3)
        await edge.settled()
        assert edge.calls() == [1, 2]
        assert edge.clients.outstanding == 2
        edge.answer(edge.connected[0], [Call(1, Exists("/")), Call(2, Exists("/"))])
        assert edge.clients.outstanding == 0
        edge.wake()
        with pytest.raises(OSError, match="all attempts to connect"):
            await edge.connect()
        edge.clients.close_all("the server stops")
        edge.wake()
        assert await caller.receive_all() == [1, 2]
        await caller.stream.aclose()
        await edge.until(lambda: edge.clients.empty)
