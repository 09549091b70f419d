"""Read-only mode: a server without a leader serves what it has applied to those who asked for it, and nothing else."""

from random import Random
from typing import TYPE_CHECKING

import pytest

from zk.broadcast.records import Recovered
from zk.broadcast.zab import ZabConfig
from zk.model.acl import Acl, Identity
from zk.model.errors import (
    AuthFailedError,
    NoAuthError,
    NotReadOnlyError,
    SessionExpiredError,
    ThrottledError,
)
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import ConnectionId, Epoch, ServerId, SessionId, Zxid
from zk.model.replies import DONE, ConnectReply, Created, IdentitiesReply, PathsReply, Reply, StatusReply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Call,
    Check,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetChildren,
    GetData,
    GetEphemerals,
    GetStatus,
    Multi,
    Ping,
    Sasl,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from zk.model.znode import Znode
from zk.replica.config import ReplicaConfig
from zk.replica.events import Answer, ClientConnected, ClientReceived, Effect, Event, Tick
from zk.replica.replica import Replica
from zk.tree.acl import digest_identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.replica.conftest import Cluster, TestClient

HERE = Identity("ip", "127.0.0.1")
ANN = digest_identity(b"ann:secret")
AFTER_MS = 1_600  # a little more than leaderless_ms_max
NONE = ConnectReply(SessionId(0), b"", 0)


@pytest.fixture
def three(new_cluster: "Callable[..., Cluster]") -> "Cluster":
    """Three servers with a leader, which may all be read-only."""
    return new_cluster(3, read_only_mode=True)


def cut_off_follower(cluster: "Cluster", after_ms: int = AFTER_MS) -> ServerId:
    """A server that has had no leader for so long."""
    alone = cluster.follower_id
    cluster.cut_off(alone)
    cluster.advance(after_ms)
    return alone


def connect(client: "TestClient", session: ConnectReply = NONE, last_zxid: int = 0) -> int:
    """Ask for a session, or for this one, even if it is read-only."""
    return client.call(Connect(session.session_id, session.secret, 10_000, Zxid(last_zxid), read_only=True))


def read_only(cluster: "Cluster", server: ServerId, session: ConnectReply = NONE) -> "TestClient":
    client = cluster.connect(server)
    answer = client.answer_to(connect(client, session))
    assert isinstance(answer, ConnectReply)
    assert answer.read_only
    client.session = answer
    return client


def data(answer: object) -> bytes:
    assert isinstance(answer, Znode)
    return answer.data


def test_who_asked_for_it_is_served_the_state_as_it_was_when_the_leader_was_lost(three: "Cluster") -> None:
    writer = three.connect(three.leader_id).open()
    writer.ask(Create("/n", b"before"))
    alone = cut_off_follower(three)
    writer.ask(SetData("/n", b"after"))
    client = read_only(three, alone)
    assert [log.text.partition(" of zxid")[0] for log in three.logs[alone]] == ["without a leader, the state"]
    assert data(client.ask(GetData("/n"))) == b"before"
    assert data(writer.ask(GetData("/n"))) == b"after"
    assert client.session.timeout_ms == 10_000


def test_while_there_is_a_leader_the_wish_makes_no_difference(three: "Cluster") -> None:
    client = three.connect()
    xid = connect(client)
    three.settle()
    answer = client.answer_to(xid)
    assert isinstance(answer, ConnectReply)
    assert not answer.read_only
    assert isinstance(client.ask(Create("/n", b"")), Created)


@pytest.mark.parametrize(
    "request_",
    [
        Create("/m", b""),
        SetData("/n", b""),
        Delete("/n"),
        SetAcl("/n", (Acl(31, "world", "anyone"),)),
        Check("/n"),
        Multi((Check("/n"),)),
        Sync(),
    ],
    ids=lambda request: type(request).__name__,
)
def test_what_needs_a_leader_is_refused_and_the_connection_goes_on(three: "Cluster", request_: ClientRequest) -> None:
    client = read_only(three, cut_off_follower(three))
    assert isinstance(client.ask(request_), NotReadOnlyError)
    assert client.closed is None


def test_reads_that_can_not_be_good_enough_are_refused(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    client = read_only(three, alone)
    applied = three.servers[alone].clients.applied
    assert isinstance(client.ask(GetChildren("/"), linearizable=True), NotReadOnlyError)
    assert isinstance(client.ask(GetChildren("/"), at_least=applied + 1), NotReadOnlyError)
    assert not isinstance(client.ask(GetChildren("/"), at_least=applied), NotReadOnlyError)


def test_pings_status_and_watches_need_no_leader(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    client = read_only(three, alone)
    assert client.ask(Ping()) == DONE
    status = client.ask(GetStatus())
    assert isinstance(status, StatusReply)
    assert (status.server_id, status.role, status.leader) == (alone, "read-only", 0)
    assert client.ask(AddWatch("/n", WatchMode.PERSISTENT)) == DONE
    client.call(SetWatches(Zxid(1), data=("/gone",)))
    assert client.received[-1] == WatchEvent(EventType.DELETED, "/gone", three.servers[alone].clients.applied)


def test_who_did_not_ask_is_refused_as_without_the_mode(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    client = three.connect(alone)
    assert isinstance(client.ask(Connect(SessionId(0), b"", 10_000)), ThrottledError)
    assert client.closed is not None


@pytest.mark.parametrize("read_only_mode", [False, True])
def test_who_waits_for_a_leader_is_served_when_it_has_waited_long_enough(
    new_cluster: "Callable[..., Cluster]", read_only_mode: bool
) -> None:
    three = new_cluster(3, read_only_mode=read_only_mode)
    alone = cut_off_follower(three, 100)
    client = three.connect(alone)
    xid, read = connect(client), client.call(Exists("/"))
    three.advance(500)
    assert client.received == []
    three.advance(AFTER_MS)
    answer = client.answer_to(xid)
    if read_only_mode:
        assert isinstance(answer, ConnectReply)
        assert answer.read_only
        assert [item.xid for item in client.received if isinstance(item, Reply)] == [xid, read]
    else:
        assert isinstance(answer, ThrottledError)


def test_what_a_read_only_client_had_asked_for_before_opens_no_session_later(three: "Cluster") -> None:
    alone = cut_off_follower(three, 100)
    client = three.connect(alone)
    connect(client)
    three.advance(AFTER_MS)
    three.rejoin(alone)
    three.run_until(lambda: three.servers[alone].serving)
    three.advance(100)
    assert len(three.servers[alone].tree.sessions) == 0


def test_with_a_leader_again_read_only_connections_are_closed_and_come_back_in_full(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    client = read_only(three, alone)
    three.rejoin(alone)
    three.run_until(lambda: three.servers[alone].serving)
    assert client.closed == "this server has a leader again: connect as before"
    again = three.connect(alone)
    xid = connect(again)
    three.settle()
    answer = again.answer_to(xid)
    assert isinstance(answer, ConnectReply)
    assert not answer.read_only
    assert isinstance(again.ask(Create("/n", b"")), Created)


def test_a_read_only_client_is_told_nothing_of_what_a_new_leader_brings(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    client = read_only(three, alone)
    assert client.ask(AddWatch("/n", WatchMode.PERSISTENT)) == DONE
    elsewhere = three.connect(three.leader_id).open()
    assert isinstance(elsewhere.ask(Create("/n", b"")), Created)
    three.rejoin(alone)
    three.run_until(lambda: "/n" in three.servers[alone].tree.znodes)
    assert client.closed == "this server has a leader again: connect as before"
    assert [item for item in client.received if isinstance(item, WatchEvent)] == []


def test_a_session_goes_on_read_only_and_then_in_full(three: "Cluster") -> None:
    alone = three.follower_id
    first = three.connect(alone).open()
    first.ask(AddAuth("digest", b"ann:secret"))
    first.ask(Create("/mine", b"x", (Acl(31, "auth", ""),), CreateMode.EPHEMERAL))
    three.cut_off(alone)
    three.advance(AFTER_MS)
    assert first.closed is not None
    client = read_only(three, alone, first.session)
    assert client.session == ConnectReply(first.session.session_id, first.session.secret, 10_000, read_only=True)
    assert client.ask(WhoAmI()) == IdentitiesReply((HERE, ANN))
    assert data(client.ask(GetData("/mine"))) == b"x"
    assert client.ask(GetEphemerals()) == PathsReply(("/mine",))
    assert isinstance(client.ask(CloseSession()), NotReadOnlyError)
    three.rejoin(alone)
    three.run_until(lambda: three.servers[alone].serving)
    back = three.connect(alone)
    assert isinstance(back.attach(first.session), ConnectReply)
    assert back.ask(GetEphemerals()) == PathsReply(("/mine",))


def test_a_session_that_is_read_only_expires_all_the_same(three: "Cluster") -> None:
    alone = three.follower_id
    first = three.connect(alone).open(timeout_ms=4_000)
    three.cut_off(alone)
    three.advance(AFTER_MS)
    client = read_only(three, alone, first.session)
    for _ in range(4):
        three.advance(1_000)
        assert client.ask(Ping()) == DONE
    three.rejoin(alone)
    three.run_until(lambda: three.servers[alone].serving)
    assert isinstance(three.connect(alone).attach(first.session), SessionExpiredError)


def test_a_wrong_secret_proves_nothing(three: "Cluster") -> None:
    alone = three.follower_id
    session = three.connect(alone).open().session
    three.cut_off(alone)
    three.advance(AFTER_MS)
    thief = three.connect(alone)
    xid = connect(thief, ConnectReply(session.session_id, b"0" * 16, 0))
    assert isinstance(thief.answer_to(xid), SessionExpiredError)
    assert thief.closed is not None


def test_a_session_that_is_unknown_here_is_who_its_connection_proves(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    owner = three.connect(three.leader_id).open()
    owner.ask(AddAuth("digest", b"ann:secret"))
    client = read_only(three, alone, owner.session)
    assert client.session.session_id == owner.session.session_id
    assert client.ask(WhoAmI()) == IdentitiesReply((HERE,))
    assert client.ask(GetEphemerals()) == PathsReply(())
    assert isinstance(client.ask(CloseSession()), NotReadOnlyError)


def test_credentials_count_for_the_connection_alone(new_cluster: "Callable[..., Cluster]") -> None:
    three = new_cluster(3, read_only_mode=True, super_digest=digest_identity(b"super:secret").id)
    owner = three.connect(three.follower_id).open()
    owner.ask(AddAuth("digest", b"ann:secret"))
    owner.ask(Create("/hers", b"", (Acl(31, "auth", ""),)))
    alone = cut_off_follower(three)
    ann, chief = read_only(three, alone), read_only(three, alone)
    assert isinstance(ann.ask(GetData("/hers")), NoAuthError)
    assert ann.ask(AddAuth("digest", b"ann:secret")) == DONE
    assert ann.ask(WhoAmI()) == IdentitiesReply((HERE, ANN))
    assert isinstance(ann.ask(GetData("/hers")), Znode)
    assert chief.ask(AddAuth("digest", b"super:secret")) == DONE
    assert isinstance(chief.ask(GetData("/hers")), Znode)
    assert isinstance(ann.ask(AddAuth("nonsense", b"")), AuthFailedError)
    assert ann.closed is not None
    assert isinstance(read_only(three, alone).ask(GetData("/hers")), NoAuthError)


def test_sasl_needs_no_leader(new_cluster: "Callable[..., Cluster]") -> None:
    three = new_cluster(3, read_only_mode=True, sasl_users={"bob": "secret"})
    client = read_only(three, cut_off_follower(three))
    client.ask(Sasl(b""))
    assert isinstance(client.ask(Sasl(b"proves nothing")), AuthFailedError)


def test_a_client_that_has_seen_more_is_sent_elsewhere(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    client = three.connect(alone)
    xid = connect(client, last_zxid=three.servers[alone].clients.applied + 1)
    assert isinstance(client.answer_to(xid), ThrottledError)
    assert client.closed is not None


def test_a_session_made_for_the_connection_ends_with_a_goodbye(three: "Cluster") -> None:
    client = read_only(three, cut_off_follower(three))
    assert client.ask(CloseSession()) == DONE
    assert client.closed == "the session is over"


def test_a_silent_read_only_client_is_let_go_after_its_timeout(three: "Cluster") -> None:
    alone = cut_off_follower(three)
    silent, lively = read_only(three, alone), read_only(three, alone)
    three.advance(9_900)
    lively.ask(Ping())
    assert silent.closed is None
    three.advance(200)
    assert silent.closed == "nothing was heard of a read-only client for its timeout"
    assert lively.closed is None


def test_a_server_that_has_had_no_leader_since_its_start_is_never_read_only() -> None:
    """What of its log is valid, it can't tell."""
    zab = ZabConfig(ServerId(1), frozenset(map(ServerId, (1, 2, 3))), "test")
    recovered = Recovered("disk-1", Epoch(0), None, (), False)
    replica = Replica(ReplicaConfig(zab, read_only_mode=True), recovered, None, Random(1), 0, 0)
    connection = ConnectionId(1)
    call = Call(1, Connect(SessionId(0), b"", 10_000, read_only=True))
    steps: list[Event] = [ClientConnected(connection, (HERE,)), ClientReceived(connection, [call])]
    effects: list[Effect] = []
    for now_ms in range(0, 5_000, 20):
        effects += replica.step(now_ms, Tick(now_ms))
        if now_ms == 3_000:
            for step in steps:
                effects += replica.step(now_ms, step)
    (answer,) = [effect for effect in effects if isinstance(effect, Answer)]
    assert [type(item.body) for item in answer.items if isinstance(item, Reply)] == [ThrottledError]


def test_a_leader_that_lost_its_quorum_is_read_only_too(three: "Cluster") -> None:
    leader = three.leader_id
    client = three.connect(leader).open()
    client.ask(Create("/n", b"x"))
    three.cut_off(leader)
    three.advance(3_000)
    assert data(read_only(three, leader, client.session).ask(GetData("/n"))) == b"x"
