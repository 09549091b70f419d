"""The client's end and the server's understand each other: what goes in at one comes out at the other."""

import pytest

from zk.model.acl import READ_ACL, Acl, Identity
from zk.model.errors import APIError, BadArgumentsError, BadVersionError, NoNodeError, RuntimeInconsistencyError
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import SessionId, Zxid
from zk.model.replies import (
    DONE,
    AclReply,
    Body,
    ChildrenReply,
    ConnectReply,
    CountReply,
    Created,
    DataReply,
    IdentitiesReply,
    MultiReply,
    PathsReply,
    Reply,
    SaslReply,
    StatReply,
)
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Call,
    Check,
    CheckWatches,
    ClientRequest,
    CloseSession,
    Connect,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    GetStatus,
    Multi,
    MultiRead,
    Ping,
    RemoveWatches,
    Sasl,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper.client import UNTOLD, ClientConnection
from zk.wire.zookeeper.connection import ServerConnection

CONNECT = Connect(SessionId(7), b"s" * 16, 4_000, Zxid(9))
STAT = Stat(Zxid(1), Zxid(2), 3, 4, 5, 6, 7, SessionId(8), 1, 10, Zxid(11))
ZNODE = Znode(b"x", READ_ACL, Zxid(1), Zxid(2), Zxid(11), 3, 4, 5, 8, 7, SessionId(8), 10, CreateMode.EPHEMERAL, 0)
MULTI = Multi((Create("/a", b""), Delete("/b", 3), SetData("/c", b"", 4), Check("/d", 5)))

ANSWERED: list[tuple[ClientRequest, Body | APIError, Body | APIError]] = [  # request, answer, answer as it arrives
    (Create("/a", b"x"), Created("/a", STAT), Created("/a", STAT)),
    (Create("/a", b"x", READ_ACL, CreateMode.CONTAINER), Created("/a", STAT), Created("/a", STAT)),
    (Create("/a", b"", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=5), Created("/a", STAT), Created("/a", STAT)),
    (Delete("/a", 3), DONE, DONE),
    (Delete("/a", 3), BadVersionError("/a", "said by the server"), BadVersionError("/a")),
    (SetData("/a", b"y", 3), StatReply(STAT), StatReply(STAT)),
    (SetAcl("/a", (Acl(1, "ip", "::1"),), 3), StatReply(STAT), StatReply(STAT)),
    (Exists("/a", watch=True), StatReply(STAT), StatReply(STAT)),
    (Exists("/a"), NoNodeError("/a"), NoNodeError("/a")),
    (GetData("/a", watch=True), ZNODE, DataReply(b"x", ZNODE.stat)),
    (GetAcl("/a"), AclReply(READ_ACL, STAT), AclReply(READ_ACL, STAT)),
    (GetChildren("/a"), ChildrenReply(("b", "é"), STAT), ChildrenReply(("b", "é"), STAT)),
    (CountDescendants("/a"), CountReply(3), CountReply(3)),
    (GetEphemerals("/a"), PathsReply(("/a",)), PathsReply(("/a",))),
    (WhoAmI(), IdentitiesReply((Identity("ip", "::1"),)), IdentitiesReply((Identity("ip", "::1"),))),
    (
        MULTI,
        MultiReply((Created("/a", STAT), DONE, StatReply(STAT), DONE)),
        MultiReply((Created("/a", UNTOLD), DONE, StatReply(STAT), DONE)),
    ),
    (
        MULTI,
        MultiReply((DONE, NoNodeError("/b"), RuntimeInconsistencyError(), RuntimeInconsistencyError())),
        MultiReply((DONE, NoNodeError(), RuntimeInconsistencyError(), RuntimeInconsistencyError())),
    ),
    (
        MultiRead((GetData("/a"), GetChildren("/b"), GetData("/c"))),
        MultiReply((ZNODE, ChildrenReply(("c",), STAT), NoNodeError("/c"))),
        MultiReply((DataReply(b"x", ZNODE.stat), ChildrenReply(("c",), UNTOLD), NoNodeError())),
    ),
    (Ping(), DONE, DONE),
    (Sync("/a"), DONE, DONE),
    (AddAuth("digest", b"ann:secret"), DONE, DONE),
    (Sasl(b"token"), SaslReply(b"word"), SaslReply(b"word")),
    (AddWatch("/a", WatchMode.RECURSIVE), DONE, DONE),
    (RemoveWatches("/a", WatcherType.ANY), DONE, DONE),
    (CheckWatches("/a", WatcherType.PERSISTENT), DONE, DONE),
    (SetWatches(Zxid(1), ("/a",), ("/b",), ("/c",)), DONE, DONE),
    (SetWatches(Zxid(1), ("/a",), ("/b",), ("/c",), ("/d",), ("/e",)), DONE, DONE),
    (CloseSession(), DONE, DONE),
]


def both_ends() -> tuple[ClientConnection, ServerConnection]:
    """Connected."""
    client, server = ClientConnection(), ServerConnection()
    [call] = server.receive(client.call(Call(0, CONNECT)))
    assert call.request == CONNECT
    answer = ConnectReply(CONNECT.session_id, CONNECT.secret, 4_000)
    assert client.receive(server.send([Reply(0, Zxid(9), answer)])) == [Reply(0, Zxid(0), answer)]
    return client, server


@pytest.mark.parametrize(("request_", "answer", "arrived"), ANSWERED)
def test_a_request_and_its_answer_arrive(request_: ClientRequest, answer: Body, arrived: Body) -> None:
    client, server = both_ends()
    [call] = server.receive(client.call(Call(5, request_)))
    assert call.request == request_
    [reply] = client.receive(server.send([Reply(call.xid, Zxid(12), answer)]))
    assert isinstance(reply, Reply)
    assert (reply.xid, reply.body) == (5, arrived)


def test_answers_and_events_come_in_any_pieces() -> None:
    client, server = both_ends()
    calls = server.receive(b"".join(client.call(Call(xid, Exists("/a", watch=True))) for xid in (1, 2)))
    event = WatchEvent(EventType.CREATED, "/a", Zxid(-1))
    sent = server.send(
        [Reply(calls[0].xid, Zxid(3), NoNodeError()), event, Reply(calls[1].xid, Zxid(4), StatReply(STAT))]
    )
    heard = [item for byte in sent for item in client.receive(bytes([byte]))]
    assert heard == [Reply(1, Zxid(3), NoNodeError("/a")), event, Reply(2, Zxid(4), StatReply(STAT))]


@pytest.mark.parametrize(
    "call",
    [
        Call(1, GetStatus()),
        Call(1, GetChildrenPage("/")),
        Call(1, GetData("/"), linearizable=True),
        Call(1, GetData("/"), at_least=Zxid(5)),
        Call(1, AddWatch("/", WatchMode.PERSISTENT, since=Zxid(1))),
        Call(1, Check("/", czxid=Zxid(1))),
        Call(1, Multi((SetAcl("/", READ_ACL),))),
        Call(0, Exists("/")),
        Call(2**31, Exists("/")),
    ],
)
def test_what_the_protocol_has_no_words_for_is_refused(call: Call) -> None:
    client, _ = both_ends()
    with pytest.raises(BadArgumentsError):
        client.call(call)


@pytest.mark.parametrize(
    "received",
    [
        b"\xff\xff\xff\xff",
        b"\x7f\xff\xff\xff",
        b"\x00\x00\x00\x04abcd",
        b"\x00\x00\x00\x10" + bytes(16),  # an answer to nothing
        b"\x00\x00\x00\x10\xff\xff\xff\xff" + bytes(12),  # an event without anything
    ],
)
def test_what_is_no_answer_ends_the_connection(received: bytes) -> None:
    client, _ = both_ends()
    with pytest.raises(ProtocolError):
        client.receive(received)
