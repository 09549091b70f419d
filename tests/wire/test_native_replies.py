"""Answers and events: from a server's values through the bytes into a client's values."""

from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from zk.model.acl import OPEN_ACL
from zk.model.errors import BadArgumentsError, NoNodeError
from zk.model.events import EventType, WatchEvent
from zk.model.limits import DEFAULT_LIMITS
from zk.model.record import SessionId, Zxid
from zk.model.replies import (
    DONE,
    ChildrenReply,
    Created,
    DataReply,
    MultiReply,
    Reply,
    StatReply,
)
from zk.model.requests import CreateMode
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.wire.native import ClientConnection, ProtocolError, ServerConnection, ServerHello
from zk.wire.native.replies import encode_event, reply_bytes_max
from zk.wire.packing import pack


def connected(server: ServerConnection | None = None) -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection("test"), server or ServerConnection()
    server.receive(client.hello())
    client.receive(server.greeting())
    return client, server


def znode(data: bytes = b"x") -> Znode:
    five = Zxid(5)
    return Znode(data, OPEN_ACL, five, five, five, 1, 2, 3, 4, 0, SessionId(0), 1, CreateMode.PERSISTENT, 0)


@given(st.data())
def test_every_answer_and_event_comes_out_as_it_went_in(
    replies_and_events: SearchStrategy[Reply | WatchEvent], data: st.DataObject
) -> None:
    client, server = connected()
    items = data.draw(st.lists(replies_and_events, max_size=5))
    assert client.receive(server.send(items)) == items


@given(st.data())
def test_a_server_may_be_heard_in_pieces(
    replies_and_events: SearchStrategy[Reply | WatchEvent], data: st.DataObject
) -> None:
    client, server = ClientConnection("test"), ServerConnection()
    server.receive(client.hello())
    items = data.draw(st.lists(replies_and_events, max_size=4))
    stream = server.greeting() + server.send(items)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    received = [
        item for begin, end in pairwise(sorted({0, len(stream), *cuts})) for item in client.receive(stream[begin:end])
    ]
    assert isinstance(received[0], ServerHello)
    assert received[1:] == items


@given(st.data())
def test_the_answers_that_are_written_by_hand_are_the_bytes_of_messagepack(
    stats: SearchStrategy[Stat], data: st.DataObject
) -> None:
    _, server = connected()
    stat, xid, zxid = data.draw(stats), data.draw(st.integers(0, 2**63 - 1)), data.draw(st.integers(0, 2**64 - 1))
    path = data.draw(st.text(st.characters(codec="utf-8")))
    items: list[Reply | WatchEvent] = [
        Reply(xid, Zxid(zxid), body) for body in (DONE, StatReply(stat), Created(path, stat))
    ]
    head = b"\xd3" + xid.to_bytes(8, "big") + b"\xcf" + zxid.to_bytes(8, "big")
    assert [server.send([item]) for item in items] == [
        b"\x93" + head + pack(0),
        b"\x94" + head + pack(2) + pack(stat.figures),
        pack((xid, zxid, 1, path, stat.figures)),
    ]


def test_a_znode_comes_out_as_its_data_and_stat_and_is_encoded_once() -> None:
    client, server = connected()
    node = znode()
    item = Reply(1, Zxid(9), node)
    first = server.send([item])
    assert client.receive(first) == [Reply(1, Zxid(9), DataReply(b"x", node.stat))]
    tail = node.tail
    assert tail is not None
    assert first.endswith(tail)
    assert server.send([item]) == first
    assert node.tail is tail


def test_an_event_for_many_connections_is_encoded_once() -> None:
    event = WatchEvent(EventType.CREATED, "/a", Zxid(5))
    assert ServerConnection().send([event]) == pack((-1, 5, 1, "/a"))
    first = encode_event(event)
    assert ServerConnection().send([event]) == first
    assert encode_event(event) is first
    assert ServerConnection().send([WatchEvent(EventType.CREATED, "/b", Zxid(5))]) == pack((-1, 5, 1, "/b"))


def test_the_bytes_of_answers_stay_what_they_are() -> None:
    _, server = connected()
    stat = Stat(Zxid(1), Zxid(2), 3, 4, 5, 6, 7, SessionId(8), 9, 10, Zxid(11))
    assert server.send([Reply(1, Zxid(2), DONE)]).hex() == "93d30000000000000001cf000000000000000200"
    assert server.send([Reply(1, Zxid(2), Created("/a", stat))]).hex() == "95010201a22f619b0102030405060708090a0b"
    assert server.send([Reply(1, Zxid(2), NoNodeError("/a", "no"))]).hex() == "950102d09ba22f61a26e6f"
    assert server.send([Reply(1, Zxid(2), znode())]).hex() == (
        "95d30000000000000001cf000000000000000203c401789b0505010203070000010105"
    )
    assert server.send([WatchEvent(EventType.DELETED, "/a", Zxid(300))]).hex() == "94ffcd012c02a22f61"
    assert server.send([Reply(1, Zxid(2), MultiReply((DONE, NoNodeError("/a", "no"))))]).hex() == (
        "9401020a92910093d09ba22f61a26e6f"
    )


# ---- limits


def test_an_answer_that_is_too_long_becomes_a_refusal_that_says_what_to_do() -> None:
    client, server = connected(ServerConnection(replace(DEFAULT_LIMITS, frame_bytes_max=500, multi_operations_max=1)))
    names = tuple(f"child-{number:010d}" for number in range(100))
    (reply,) = client.receive(server.send([Reply(1, Zxid(2), ChildrenReply(names, znode().stat))]))
    assert isinstance(reply, Reply)
    assert isinstance(reply.body, BadArgumentsError)
    with pytest.raises(BadArgumentsError, match="page by page"):
        raise reply.body


def test_the_longest_answer_to_a_write_fits() -> None:
    limits = replace(DEFAULT_LIMITS, frame_bytes_max=100_000, multi_operations_max=1_000)
    big = 2**63 - 1
    stat = Stat(Zxid(big), Zxid(big), big, big, big, big, big, SessionId(big), big, big, Zxid(big))
    path = "/" + "é" * 40
    smallest_create = len(pack((15, path, b"", None, 2, 0)))
    assert smallest_create * 1_000 < limits.frame_bytes_max
    reply = Reply(big, Zxid(big), MultiReply((Created(path + "9" * 19, stat),) * 1_000))
    client, server = connected(ServerConnection(limits))
    encoded = server.send([reply])
    assert client.receive(encoded) == [reply]
    assert len(encoded) <= reply_bytes_max(limits)


# ---- bad servers


@pytest.mark.parametrize(
    "frame",
    [
        (),
        (1,),
        (1, 2),
        ("1", 2, 0),
        (1, 2, "0"),
        (1, 2, 99),
        (1, 2, 0, 0),
        (1, 2, 1, "/a"),
        (1, 2, 2, (1, 2)),
        (1, 2, 2, 5),
        (1, 2, -101),
        (1, 2, -101, 5, 6),
        (-1, 2, 50, "/a"),
        (-1, 2, 1, 5),
        (1, 2, 10, 5),
        (1, 2, 10, (5,)),
        (1, 2, 10, ((),)),
        (1, 2, 10, ((10, ()),)),
    ],
    ids=repr,
)
def test_what_is_no_answer_is_a_protocol_error(frame: tuple[object, ...]) -> None:
    client, _ = connected()
    with pytest.raises(ProtocolError, match="is no answer"):
        client.receive(pack(frame))


@given(st.lists(st.binary(max_size=200), max_size=4), st.booleans())
def test_any_bytes_from_a_server_give_items_or_a_protocol_error(received: list[bytes], greeted: bool) -> None:
    client = connected()[0] if greeted else ClientConnection("test")
    with suppress(ProtocolError):
        for data in received:
            client.receive(data)


@given(st.data())
def test_damaged_answers_give_items_or_a_protocol_error(
    replies_and_events: SearchStrategy[Reply | WatchEvent], data: st.DataObject
) -> None:
    client, server = connected()
    stream = bytearray(server.send(data.draw(st.lists(replies_and_events, min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        client.receive(bytes(stream))
