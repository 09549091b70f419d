"""The times that go into the log: stamped by the leader, and never backwards, whatever the servers' clocks say."""

from typing import TYPE_CHECKING

from zk.model.record import ServerId
from zk.model.requests import Create, Delete, GetData, SetData
from zk.model.znode import Znode
from zk.tree.tree import Tree
from zk.wire.snapshot import chunks, load

if TYPE_CHECKING:
    from tests.replica.conftest import Cluster, TestClient

DAY_MS = 24 * 3_600_000


def mtime(client: "TestClient", path: str) -> int:
    found = client.ask(GetData(path))
    assert isinstance(found, Znode)
    return found.mtime


def change_leader(cluster: "Cluster") -> ServerId:
    """The old leader, cut off."""
    old_leader = cluster.leader_id
    cluster.cut_off(old_leader)
    cluster.run_until(lambda: cluster.leader is not None and cluster.leader_id != old_leader)
    return old_leader


def test_a_leader_whose_clock_is_set_back_repeats_its_last_stamp(three: "Cluster") -> None:
    client = three.connect(three.leader_id).open()
    client.ask(Create("/a", b""))
    before = mtime(client, "/a")
    three.clocks_ahead_ms[three.leader_id] = -DAY_MS
    three.advance(100)
    client.ask(SetData("/a", b"later"))
    assert mtime(client, "/a") == before


def test_a_new_leader_whose_clock_is_behind_does_not_stamp_backwards(three: "Cluster") -> None:
    three.clocks_ahead_ms[three.leader_id] = DAY_MS
    three.advance(100)
    follower = three.follower_id
    client = three.connect(follower).open()
    client.ask(Create("/a", b""))
    ahead = mtime(client, "/a")
    change_leader(three)
    client = three.connect(follower).open()
    client.ask(SetData("/a", b"later"))
    assert mtime(client, "/a") == ahead
    client.ask(Create("/b", b""))
    assert mtime(client, "/b") == ahead


def test_a_snapshot_knows_the_last_stamp_though_no_znode_shows_it(three: "Cluster") -> None:
    client = three.connect().open()
    client.ask(Create("/a", b""))
    stamped = mtime(client, "/a")
    three.advance(100)
    client.ask(Delete("/a"))
    leader = three.leader
    assert leader is not None
    loaded = Tree(load(chunks(leader.tree.image())))
    assert loaded.time_ms == leader.tree.time_ms == stamped + 100
