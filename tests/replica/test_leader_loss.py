"""The leader is lost: with writes, reads, attaches and expiries under way."""

from typing import TYPE_CHECKING

from zk.model.errors import NoNodeError, SessionExpiredError, SessionMovedError
from zk.model.peering import Forward, Heard, ReadIndexAnswer, ReadIndexAsk
from zk.model.record import ServerId
from zk.model.replies import DONE, ConnectReply, Created, StatReply
from zk.model.requests import Connect, Create, CreateMode, Exists, GetData, Ping, SetData
from zk.model.znode import Znode
from zk.replica.events import Flush, PeerReceived, SendPeer

if TYPE_CHECKING:
    from tests.replica.conftest import Cluster, TestClient

SEQUENTIAL = CreateMode.PERSISTENT_SEQUENTIAL


def next_leader(cluster: "Cluster", old_leader: ServerId) -> None:
    cluster.run_until(lambda: cluster.leader is not None and cluster.leader_id != old_leader)


def again(client: "TestClient", cluster: "Cluster", server_id: int) -> "TestClient":
    """The same session over a new connection."""
    new = cluster.connect(server_id)
    assert isinstance(new.attach(client.session), ConnectReply)
    return new


def test_only_clients_with_writes_under_way_are_sent_away(three: "Cluster") -> None:
    old_leader, follower = three.leader_id, three.follower_id
    writing, reading, idle = (three.connect(follower).open() for _ in range(3))
    writing.call(Create("/a", b""))
    three.step(follower, Flush())
    read = reading.call(GetData("/"), linearizable=True)
    three.cut_off(old_leader)
    assert writing.closed == "the leader was lost while writes were under way: attach again and resend"
    assert (reading.closed, idle.closed) == (None, None)
    next_leader(three, old_leader)
    three.settle()
    assert isinstance(reading.answer_to(read), Znode)
    assert isinstance(idle.ask(Create("/b", b"")), Created)


def test_a_write_that_had_not_left_goes_to_the_next_leader(three: "Cluster") -> None:
    old_leader, follower = three.leader_id, three.follower_id
    client = three.connect(follower).open()
    three.cut_off(old_leader)
    xid = client.call(Create("/a", b""))
    next_leader(three, old_leader)
    three.settle()
    assert isinstance(client.answer_to(xid), Created)
    assert client.closed is None


def test_a_deposed_leaders_own_clients_resend_and_nothing_is_done_twice(three: "Cluster") -> None:
    old_leader = three.leader_id
    client = three.connect(old_leader).open()
    three.cut_off(old_leader)
    xid = client.call(Create("/job-", b"", mode=SEQUENTIAL))
    three.step(old_leader, Flush())
    next_leader(three, old_leader)
    assert client.answer_to(xid) is None
    assert client.closed is not None
    new = again(client, three, three.leader_id)
    new.call(Create("/job-", b"", mode=SEQUENTIAL), xid=xid)
    three.settle()
    three.rejoin(old_leader)
    three.run_until(lambda: all(server.serving for server in three.servers.values()))
    created = new.answer_to(xid)
    assert isinstance(created, Created)
    assert created.path == "/job-0000000000"
    for number in three.servers:
        assert isinstance(three.connect(number).open().ask(Exists("/job-0000000001")), NoNodeError)


def test_a_forward_that_arrives_in_a_later_epoch_is_refused_once_its_session_has_attached_again(
    three: "Cluster",
) -> None:
    leader, follower = three.leader_id, three.follower_id
    old = three.connect(follower).open()
    late = old.call(Create("/late", b""))
    three.step(follower, Flush())
    (forward,) = [
        effect for effect in three.effects[follower] if isinstance(effect, SendPeer) and type(effect.message) is Forward
    ]
    three.cut_off(follower)
    three.rejoin(follower)
    three.run_until(lambda: all(server.serving for server in three.servers.values()))
    new = again(old, three, leader)
    three.step(leader, PeerReceived(follower, three.connection(leader, follower), forward.message))
    three.settle()
    assert isinstance(new.ask(Exists("/late")), NoNodeError)
    new.call(Create("/late", b""), xid=late)
    three.settle()
    assert isinstance(new.answer_to(late), Created)


def test_a_resend_while_the_first_copy_is_under_way_is_done_once(three: "Cluster") -> None:
    follower = three.follower_id
    old = three.connect(follower).open()
    xid = old.call(Create("/job-", b"", mode=SEQUENTIAL))
    three.step(follower, Flush())
    new = three.connect(three.leader_id)
    new.call(Connect(old.session.session_id, old.session.secret, 10_000))
    new.call(Create("/job-", b"", mode=SEQUENTIAL), xid=xid)
    three.settle()
    answers = [client.answer_to(xid) for client in (old, new)]
    assert isinstance(answers[1], Created)
    assert answers[0] == answers[1] or isinstance(answers[0], SessionMovedError)
    assert isinstance(new.ask(Exists("/job-0000000001")), NoNodeError)


def test_a_connect_that_was_under_way_is_let_go_and_one_that_had_not_left_waits(three: "Cluster") -> None:
    old_leader, follower = three.leader_id, three.follower_id
    under_way = three.connect(follower)
    under_way.call(Connect(under_way.session.session_id, b"", 10_000))
    three.step(follower, Flush())
    waits = three.connect(follower)
    xid = waits.call(Connect(waits.session.session_id, b"", 10_000))
    three.cut_off(old_leader)
    assert under_way.closed is not None
    next_leader(three, old_leader)
    three.settle()
    assert isinstance(waits.answer_to(xid), ConnectReply)


def test_pings_hold_a_session_across_a_change_of_leaders(three: "Cluster") -> None:
    old_leader, follower = three.leader_id, three.follower_id
    client = three.connect(follower).open(timeout_ms=4_000)
    three.advance(3_000)
    xid = client.call(Ping())
    three.step(follower, Flush())  # the old leader is told, and lost
    three.cut_off(old_leader)
    three.run_until(lambda: client.answer_to(xid) == DONE)
    answered_ms = three.now_ms
    three.advance(3_900)
    assert client.closed is None
    assert isinstance(client.ask(Exists("/")), StatReply)
    assert three.now_ms - answered_ms < 4_000


def test_a_ping_that_is_asked_again_is_told_to_the_new_leader_too(three: "Cluster") -> None:
    old_leader = three.leader_id
    clients = {server: three.connect(server).open() for server in three.servers if server != old_leader}
    three.lost_kinds.add(ReadIndexAnswer)
    for client in clients.values():
        client.call(Ping())
    three.settle()  # the old leader has heard of them
    three.cut_off(old_leader)
    del three.sent[:]
    next_leader(three, old_leader)
    three.settle()
    follower = three.follower_id
    told = [message for sender, receiver, message in three.sent if (sender, receiver) == (follower, three.leader_id)]
    heard = told[next(index for index, message in enumerate(told) if isinstance(message, ReadIndexAsk)) - 1]
    assert isinstance(heard, Heard)
    assert heard.sessions == (clients[follower].session.session_id,)


def test_a_new_leader_gives_every_session_its_whole_timeout(three: "Cluster") -> None:
    old_leader, follower = three.leader_id, three.follower_id
    silent = three.connect(follower).open(timeout_ms=4_000)
    three.advance(3_500)
    three.cut_off(old_leader)
    next_leader(three, old_leader)
    three.advance(3_800)
    assert silent.closed is None
    three.advance(600)
    assert silent.closed == "the session is over"


def test_a_ping_that_comes_while_its_session_is_being_expired_is_not_answered(three: "Cluster") -> None:
    leader = three.leader_id
    follower = three.follower_id
    client = three.connect(follower).open(timeout_ms=4_000)
    three.advance(3_900)
    three.stopped_disks.update(three.servers)  # what is proposed from here on is not committed
    three.advance(160)
    assert three.servers[leader].engine.last > three.servers[leader].engine.commit
    xid = client.call(Ping())
    three.advance(40)
    assert client.answer_to(xid) is None
    for server_id in three.servers:
        three.start_disk(server_id)
    three.settle()
    assert isinstance(client.answer_to(xid), SessionExpiredError)


def test_an_expiry_is_void_once_the_session_was_attached_again(three: "Cluster") -> None:
    leader = three.leader_id
    old = three.connect(leader).open(timeout_ms=4_000)
    old.drop()
    three.advance(3_900)
    new = three.connect(leader)
    xid = new.call(Connect(old.session.session_id, old.session.secret, 4_000))
    three.step(leader, Flush())  # the attach is proposed in front of the expiry
    three.stopped_disks.update(three.servers)
    three.advance(160)
    for server_id in three.servers:
        three.start_disk(server_id)
    three.settle()
    assert isinstance(new.answer_to(xid), ConnectReply)
    assert isinstance(new.ask(SetData("/", b"")), StatReply)


def test_writes_wait_while_the_window_is_closed_and_all_are_done_in_order(three: "Cluster") -> None:
    leader = three.leader_id
    client = three.connect(leader).open()
    three.stopped_disks.update(three.servers)
    for _ in range(2_000):
        client.call(SetData("/", b""))
    three.settle()
    xids = [client.call(Create("/later-", b"", mode=SEQUENTIAL)) for _ in range(5)]
    three.settle()
    proposed = three.servers[leader].engine.last
    assert not three.servers[leader].engine.window_open
    assert client.answer_to(xids[-1]) is None
    for server_id in three.servers:
        three.start_disk(server_id)
    three.settle()
    answers = [client.answer_to(xid) for xid in xids]
    paths = [answer.path for answer in answers if isinstance(answer, Created)]
    assert paths == [f"/later-{number:010d}" for number in range(5)]
    assert three.servers[leader].engine.last == proposed + 5
