"""The order within a session: calls are answered in the order in which they came, and none shows a later write."""

from typing import TYPE_CHECKING

import pytest

from zk.model.errors import AuthFailedError, BadArgumentsError, SessionExpiredError, SessionMovedError
from zk.model.events import EventType, WatchMode
from zk.model.peering import ReadIndexAnswer
from zk.model.replies import DONE, Created, Reply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    CloseSession,
    Connect,
    Create,
    CreateMode,
    GetData,
    GetStatus,
    Ping,
    SetData,
    Sync,
)
from zk.model.znode import Znode
from zk.replica.events import Flush

if TYPE_CHECKING:
    from tests.replica.conftest import Cluster, TestClient

SEQUENTIAL = CreateMode.PERSISTENT_SEQUENTIAL


def replies(client: "TestClient") -> list[Reply]:
    return [item for item in client.received if isinstance(item, Reply)]


def data(client: "TestClient", xid: int) -> bytes:
    answer = client.answer_to(xid)
    assert isinstance(answer, Znode), answer
    return answer.data


def test_a_read_between_two_writes_shows_the_first_and_not_the_second(three: "Cluster") -> None:
    for server in (1, 2, 3):
        client = three.connect(server).open()
        path = f"/n{server}"
        client.call(Create(path, b"first"))
        between = client.call(GetData(path))
        client.call(SetData(path, b"second"))
        three.settle()
        assert data(client, between) == b"first"


def test_a_linearizable_read_in_front_of_an_own_write_does_not_show_it(three: "Cluster") -> None:
    for server in (1, 2, 3):
        client = three.connect(server).open()
        path = f"/n{server}"
        client.ask(Create(path, b"first"))
        xids = [
            client.call(Ping()),
            client.call(Sync()),
            client.call(GetData(path), linearizable=True),
            client.call(SetData(path, b"second")),
            client.call(GetData(path), linearizable=True),
        ]
        three.settle()
        assert [reply.xid for reply in replies(client)[-5:]] == xids
        assert (data(client, xids[2]), data(client, xids[4])) == (b"first", b"second")


def test_an_own_write_that_is_applied_answers_what_waits_in_front_of_it(three: "Cluster") -> None:
    client = three.connect(three.follower_id).open()
    client.ask(Create("/n", b"first"))
    del client.received[:]
    three.lost_kinds.add(ReadIndexAnswer)
    read = client.call(GetData("/n", watch=True), linearizable=True)
    ping = client.call(Ping())
    write = client.call(SetData("/n", b"second"))
    waits = client.call(GetData("/n"), linearizable=True)
    three.settle()
    told = [item.xid if isinstance(item, Reply) else item.type for item in client.received]
    assert told == [read, ping, EventType.DATA_CHANGED, write]
    assert data(client, read) == b"first"
    assert client.answer_to(waits) is None


def test_a_watch_asked_for_in_front_of_an_own_write_is_told_of_it(three: "Cluster") -> None:
    client = three.connect(three.follower_id).open()
    client.ask(Create("/n", b"first"))
    del client.received[:]
    ping = client.call(Ping())
    watch = client.call(AddWatch("/n", WatchMode.PERSISTENT))
    write = client.call(SetData("/n", b"second"))
    three.settle()
    told = [item.xid if isinstance(item, Reply) else (item.type, item.path) for item in client.received]
    assert told == [ping, watch, (EventType.DATA_CHANGED, "/n"), write]


def test_zxids_of_answers_never_go_backwards(three: "Cluster") -> None:
    client = three.connect(three.follower_id).open()
    for number in range(20):
        client.call(Create(f"/n{number}", b""))
        client.call(GetData(f"/n{number}"), linearizable=number % 3 == 0)
    three.settle()
    zxids = [reply.zxid for reply in replies(client)]
    assert len(zxids) == 41
    assert zxids == sorted(zxids)


def test_a_read_that_waits_holds_up_what_came_behind_it_and_nobody_else(three: "Cluster") -> None:
    writer = three.connect(three.leader_id).open()
    late = three.follower_id
    client, other = three.connect(late).open(), three.connect(late).open()
    three.stopped_disks.add(late)
    writer.ask(Create("/a", b""))
    ahead = client.call(GetData("/"), at_least=replies(writer)[-1].zxid)
    behind = client.call(GetData("/"))
    three.settle()
    assert isinstance(other.ask(GetData("/")), Znode)
    assert (client.answer_to(ahead), client.answer_to(behind)) == (None, None)
    three.start_disk(late)
    assert [reply.xid for reply in replies(client)[-2:]] == [ahead, behind]


def test_calls_behind_a_close_are_refused_not_read(three: "Cluster") -> None:
    for server in (1, 2, 3):
        client = three.connect(server).open()
        xids = [client.call(CloseSession()), client.call(GetData("/")), client.call(Create("/late", b""))]
        three.settle()
        answers = [client.answer_to(xid) for xid in xids]
        assert answers[0] == DONE
        assert [type(answer) for answer in answers[1:]] == [SessionExpiredError, SessionExpiredError]
        assert client.closed == "the session is over"


def test_a_close_behind_a_ping_answers_both(three: "Cluster") -> None:
    client = three.connect(three.follower_id).open()
    ping, close = client.call(Ping()), client.call(CloseSession())
    three.settle()
    assert (client.answer_to(ping), client.answer_to(close)) == (DONE, DONE)


def test_a_write_that_was_done_is_never_refused_because_the_session_moved(three: "Cluster") -> None:
    old = three.connect(1).open()
    ping = old.call(Ping())
    done = old.call(Create("/done", b""))
    three.step(old.server_id, Flush())
    new = three.connect(2)
    new.attach(old.session)
    answer = old.answer_to(done)
    exists = isinstance(new.ask(GetData("/done"), linearizable=True), Znode)
    assert exists == isinstance(answer, Created)
    assert exists or isinstance(answer, SessionMovedError)
    assert old.answer_to(ping) is not None


def test_a_failed_credential_in_a_pipeline_ends_the_connection_behind_all_that_came_before(one: "Cluster") -> None:
    client = one.connect().open()
    before = client.call(Create("/before", b""))
    failed = client.call(AddAuth("unheard-of", b"x"))
    behind = client.call(GetData("/before"))
    one.settle()
    assert isinstance(client.answer_to(before), Created)
    assert isinstance(client.answer_to(failed), AuthFailedError)
    assert client.answer_to(behind) is None
    assert client.closed is not None
    assert "unheard-of" in client.closed


def test_a_second_connect_is_refused_in_its_turn_and_the_session_goes_on(one: "Cluster") -> None:
    client = one.connect()
    first = client.call(Connect(client.session.session_id, b"", 10_000))
    second = client.call(Connect(client.session.session_id, b"", 10_000))
    third = client.call(GetData("/"))
    one.settle()
    assert [reply.xid for reply in replies(client)] == [first, second, third]
    assert isinstance(client.answer_to(second), BadArgumentsError)
    assert isinstance(client.answer_to(third), Znode)
    assert client.closed is None


def test_a_status_asked_for_behind_connect_is_answered_behind_it(one: "Cluster") -> None:
    client = one.connect()
    xids = [client.call(Connect(client.session.session_id, b"", 10_000)), client.call(GetStatus())]
    one.settle()
    assert [reply.xid for reply in replies(client)] == xids


def test_two_connections_that_attach_the_same_session_at_once_end_with_one(three: "Cluster") -> None:
    session = three.connect(1).open().session
    for servers in ((1, 1), (1, 2), (3, 2)):
        pair = [three.connect(server) for server in servers]
        xids = [client.call(Connect(session.session_id, session.secret, 10_000)) for client in pair]
        three.settle()
        assert all(client.answer_to(xid) is not None for client, xid in zip(pair, xids, strict=True))
        left = [client for client in pair if client.closed is None]
        assert len(left) == 1
        assert left[0].ask(Sync()) == DONE


@pytest.mark.parametrize("at_the_leader", [True, False])
def test_a_flood_of_large_writes_is_answered_in_order_and_costs_no_follower(
    three: "Cluster", at_the_leader: bool
) -> None:
    leader = three.leader_id
    followers = [server for server in three.servers if server != leader]
    client = three.connect(leader if at_the_leader else three.follower_id).open()
    links = [three.connection(leader, follower) for follower in followers]
    xids = [client.call(Create("/large-", b"x" * 900_000, mode=SEQUENTIAL)) for _ in range(30)]
    three.settle()
    answers = [client.answer_to(xid) for xid in xids]
    assert [a.path if isinstance(a, Created) else a for a in answers] == [f"/large-{n:010}" for n in range(30)]
    assert (three.leader_id, client.closed) == (leader, None)
    assert [three.connection(leader, follower) for follower in followers] == links
