"""Sessions on a whole server: opened and attached through the log, moved, expired, and writes done exactly once."""

import logging
from typing import TYPE_CHECKING

from zk.model.errors import NodeExistsError, NoNodeError, SessionExpiredError, SessionMovedError
from zk.model.record import ServerId
from zk.model.replies import ConnectReply, Created, Done, StatReply
from zk.model.requests import CloseSession, Connect, Create, CreateMode, Exists, GetData, Ping, SetData
from zk.model.znode import Znode
from zk.replica.events import Flush

if TYPE_CHECKING:
    from tests.replica.conftest import Cluster

EPHEMERAL = CreateMode.EPHEMERAL


def test_a_new_session_has_an_id_a_secret_and_a_timeout_within_the_limits(one: "Cluster") -> None:
    session = one.connect().open(timeout_ms=1).session
    assert session.session_id > 0
    assert len(session.secret) == 16
    assert session.timeout_ms == 4_000
    assert one.connect().open(timeout_ms=1_000_000).session.timeout_ms == 40_000


def test_a_call_before_connect_is_refused_and_the_connection_closed(one: "Cluster") -> None:
    client = one.connect()
    assert isinstance(client.ask(GetData("/")), SessionExpiredError)
    assert client.closed is not None


def test_calls_sent_behind_connect_without_waiting_are_answered_in_order(three: "Cluster") -> None:
    client = three.connect(2)
    first = client.call(Connect(client.session.session_id, b"", 10_000))
    second = client.call(Create("/a", b"x"))
    third = client.call(GetData("/a"))
    three.settle()
    answers = [client.answer_to(xid) for xid in (first, second, third)]
    assert [type(answer) for answer in answers] == [ConnectReply, Created, Znode]


def test_a_session_moves_to_another_server_with_its_secret(three: "Cluster") -> None:
    old = three.connect(1).open()
    old.ask(Create("/mine", b"", mode=EPHEMERAL))
    new = three.connect(2)
    assert isinstance(new.attach(old.session), ConnectReply)
    assert old.closed is not None
    assert isinstance(new.ask(Exists("/mine")), StatReply)


def test_a_wrong_secret_is_an_expired_session(one: "Cluster") -> None:
    session = one.connect().open().session
    wrong = ConnectReply(session.session_id, b"0" * 16, session.timeout_ms)
    assert isinstance(one.connect().attach(wrong), SessionExpiredError)


def test_writes_of_the_old_connection_are_refused_once_the_session_moved(three: "Cluster") -> None:
    old = three.connect(1).open()
    new = three.connect(2)
    new.call(Connect(old.session.session_id, old.session.secret, 10_000))
    three.step(ServerId(2), Flush())
    late = old.call(Create("/late", b""))
    three.settle()
    assert isinstance(old.answer_to(late), SessionMovedError | Created)
    exists = new.ask(Exists("/late"))
    assert isinstance(exists, StatReply) == isinstance(old.answer_to(late), Created)


def test_a_resent_write_is_answered_from_memory_and_not_done_again(three: "Cluster") -> None:
    old = three.connect(1).open()
    created = old.ask(Create("/job-", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL))
    old.drop()
    new = three.connect(3)
    new.attach(old.session)
    again = new.call(Create("/job-", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL), xid=old.xid)
    three.settle()
    assert new.answer_to(again) == created
    assert isinstance(new.ask(Exists("/job-0000000001")), NoNodeError)


def test_a_refusal_is_remembered_like_any_other_answer(one: "Cluster") -> None:
    old = one.connect().open()
    old.ask(Create("/a", b""))
    refused = old.ask(Create("/a", b""))
    assert isinstance(refused, NodeExistsError)
    new = one.connect()
    new.attach(old.session)
    again = new.call(Create("/a", b""), xid=old.xid)
    one.settle()
    assert new.answer_to(again) == refused


def test_a_silent_session_expires_with_its_ephemerals(three: "Cluster") -> None:
    silent = three.connect(2).open(timeout_ms=4_000)
    silent.ask(Create("/mine", b"", mode=EPHEMERAL))
    other = three.connect(1).open(timeout_ms=40_000)
    three.advance(3_900)
    assert isinstance(other.ask(Exists("/mine")), StatReply)
    three.advance(600)
    assert isinstance(other.ask(Exists("/mine")), NoNodeError)
    assert silent.closed is not None
    assert isinstance(three.connect(3).attach(silent.session), SessionExpiredError)


def test_a_leader_that_was_paused_expires_nobody_for_it_and_says_so(one: "Cluster") -> None:
    client = one.connect(1).open(timeout_ms=4_000)
    one.advance(2_000)
    one.now_ms += 60_000
    one.advance(1_900)
    assert client.ask(Ping()) == Done()
    (log,) = one.logs[ServerId(1)]
    assert log.level == logging.WARNING
    assert log.text.startswith("this server did not run for 60020 ms: it was stopped or swapped out")


def test_pings_to_a_follower_keep_the_session_alive(three: "Cluster") -> None:
    assert three.leader is not None
    follower = next(number for number in (1, 2, 3) if number != three.leader.engine.leader)
    client = three.connect(follower).open(timeout_ms=4_000)
    client.ask(Create("/mine", b"", mode=EPHEMERAL))
    for _ in range(20):
        three.advance(1_000)
        assert client.ask(Ping()) == Done()
    assert isinstance(client.ask(Exists("/mine")), StatReply)


def test_a_ping_is_answered_only_by_a_server_that_a_leader_with_a_quorum_has_heard(three: "Cluster") -> None:
    assert three.leader is not None
    leader_id = three.leader.engine.leader
    client = three.connect(leader_id).open()
    three.cut_off(leader_id)
    xid = client.call(Ping())
    three.advance(200)
    assert client.answer_to(xid) is None


def test_closing_deletes_the_ephemerals_answers_and_closes_the_connection(three: "Cluster") -> None:
    client = three.connect(1).open()
    client.ask(Create("/mine", b"", mode=EPHEMERAL))
    assert client.ask(CloseSession()) == Done()
    assert client.closed is not None
    other = three.connect(2).open()
    assert isinstance(other.ask(Exists("/mine"), linearizable=True), NoNodeError)


def test_writes_go_on_after_the_leader_is_cut_off_and_nothing_is_done_twice(three: "Cluster") -> None:
    assert three.leader is not None
    leader_id = three.leader.engine.leader
    follower = next(number for number in (1, 2, 3) if number != leader_id)
    client = three.connect(follower).open()
    client.ask(Create("/n", b"0"))
    three.cut_off(leader_id)
    xid = client.call(SetData("/n", b"1"))
    three.run_until(lambda: three.leader is not None and three.leader.engine.leader != leader_id)
    three.advance(100)
    if client.answer_to(xid) is None:
        assert client.closed is not None
        new = three.connect(follower)
        new.attach(client.session)
        new.call(SetData("/n", b"1"), xid=xid)
        three.settle()
        client = new
    answer = client.answer_to(xid)
    assert isinstance(answer, StatReply)
    assert answer.stat.version == 1


def test_clients_are_sent_away_when_there_is_no_leader_for_long(three: "Cluster") -> None:
    assert three.leader is not None
    leader_id = three.leader.engine.leader
    client = three.connect(leader_id).open()
    three.cut_off(leader_id)
    three.advance(500)
    assert client.closed is None
    three.advance(2_500)
    assert client.closed is not None
    late = three.connect(leader_id)
    xid = late.call(Connect(client.session.session_id, client.session.secret, 10_000))
    three.advance(2_000)
    assert "no leader" in str(late.answer_to(xid))
    assert late.closed is not None
