"""Reads: session, at least at a zxid, linearizable; also while the leader changes."""

from typing import TYPE_CHECKING

from zk.model.peering import ReadIndexAnswer
from zk.model.record import Zxid
from zk.model.replies import DONE, Reply
from zk.model.requests import Create, GetData, SetData, Sync
from zk.model.znode import Znode
from zk.model.zxids import make_zxid
from zk.replica.events import PeerReceived

if TYPE_CHECKING:
    from tests.replica.conftest import Cluster, TestClient


def data(answer: object) -> bytes:
    assert isinstance(answer, Znode), answer
    return answer.data


def zxid_of_last_answer(client: "TestClient") -> Zxid:
    return [item.zxid for item in client.received if isinstance(item, Reply)][-1]


def test_a_session_read_is_answered_at_once_also_by_a_server_that_lost_its_leader(three: "Cluster") -> None:
    client = three.connect(three.follower_id).open()
    client.ask(Create("/n", b"here"))
    three.cut_off(client.server_id)
    xid = client.call(GetData("/n"))
    assert data(client.answer_to(xid)) == b"here"


def test_a_read_at_least_at_a_zxid_waits_until_the_server_has_applied_it(three: "Cluster") -> None:
    writer = three.connect(three.leader_id).open()
    writer.ask(Create("/n", b"old"))
    behind = three.follower_id
    reader = three.connect(behind).open()
    three.stopped_disks.add(behind)
    writer.ask(SetData("/n", b"new"))
    plain = reader.call(GetData("/n"))
    causal = reader.call(GetData("/n"), at_least=zxid_of_last_answer(writer))
    three.settle()
    assert data(reader.answer_to(plain)) == b"old"
    assert reader.answer_to(causal) is None
    three.start_disk(behind)
    assert data(reader.answer_to(causal)) == b"new"


def test_a_read_at_least_at_a_zxid_that_is_yet_to_come_waits_for_it(three: "Cluster") -> None:
    client, writer = three.connect(three.follower_id).open(), three.connect(three.leader_id).open()
    early = client.call(GetData("/n"), at_least=zxid_of_last_answer(writer) + 1)
    three.settle()
    assert client.answer_to(early) is None
    writer.ask(Create("/n", b"now"))
    assert data(client.answer_to(early)) == b"now"


def test_a_linearizable_read_on_a_follower_shows_every_write_acknowledged_before_it(three: "Cluster") -> None:
    writer = three.connect(three.leader_id).open()
    writer.ask(Create("/n", b"old"))
    behind = three.follower_id
    reader = three.connect(behind).open()
    three.stopped_disks.add(behind)
    writer.ask(SetData("/n", b"new"))
    xid, sync = reader.call(GetData("/n"), linearizable=True), reader.call(Sync())
    three.settle()
    assert (reader.answer_to(xid), reader.answer_to(sync)) == (None, None)
    three.start_disk(behind)
    assert (data(reader.answer_to(xid)), reader.answer_to(sync)) == (b"new", DONE)


def test_a_deposed_leader_never_answers_a_linearizable_read_from_its_old_state(three: "Cluster") -> None:
    old_leader = three.leader_id
    reader = three.connect(old_leader).open()
    reader.ask(Create("/n", b"old"))
    writer = three.connect(three.follower_id).open()
    three.cut_off(old_leader)
    xid = reader.call(GetData("/n"), linearizable=True)
    three.run_until(lambda: three.leader is not None and three.leader_id != old_leader)
    writer.ask(SetData("/n", b"new"))
    assert reader.answer_to(xid) is None
    three.rejoin(old_leader)
    three.run_until(lambda: reader.answer_to(xid) is not None)
    assert data(reader.answer_to(xid)) == b"new"


def test_a_read_whose_leader_is_lost_is_asked_of_the_next_one(three: "Cluster") -> None:
    reader = three.connect(three.follower_id).open()
    reader.ask(Create("/n", b"x"))
    old_leader = three.leader_id
    three.cut_off(old_leader)
    xid = reader.call(GetData("/n"), linearizable=True)
    three.settle()
    assert reader.answer_to(xid) is None
    three.run_until(lambda: reader.answer_to(xid) is not None)
    assert data(reader.answer_to(xid)) == b"x"
    assert three.leader_id != old_leader
    assert reader.closed is None


def test_an_answer_of_a_server_that_does_not_lead_makes_the_read_be_asked_again(three: "Cluster") -> None:
    follower, leader = three.follower_id, three.leader_id
    reader = three.connect(follower).open()
    reader.ask(Create("/n", b"x"))
    xid = reader.call(GetData("/n"), linearizable=True)
    connection = three.connection(follower, leader)
    token = three.ask_of(follower)
    three.step(follower, PeerReceived(leader, connection, ReadIndexAnswer(token, None)))
    three.step(follower, PeerReceived(leader, connection, ReadIndexAnswer(token, make_zxid(0, 0))))
    assert reader.answer_to(xid) is None  # the second is an answer to a question that is not asked any more
    three.settle()
    assert data(reader.answer_to(xid)) == b"x"


def test_reads_of_many_clients_share_one_question(three: "Cluster") -> None:
    follower = three.follower_id
    readers = [three.connect(follower).open() for _ in range(5)]
    three.settle()
    xids = [reader.call(GetData("/"), linearizable=True) for reader in readers]
    three.ask_of(follower)
    three.settle()
    assert all(isinstance(reader.answer_to(xid), Znode) for reader, xid in zip(readers, xids, strict=True))
