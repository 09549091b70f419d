"""The times that go into the log: stamped by the leader, and never backwards, whatever the servers' clocks say."""

from typing import TYPE_CHECKING

from zk.model.record import ServerId, Zxid
from zk.model.requests import Create, GetData, SetData
from zk.model.znode import Znode
from zk.tree.image import Image
from zk.tree.tree import Tree

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


def test_a_tree_just_loaded_knows_the_newest_stamp_that_a_znode_shows(three: "Cluster") -> None:
    client = three.connect().open()
    client.ask(Create("/a", b""))
    client.ask(Create("/b", b""))
    leader = three.leader
    assert leader is not None
    image = leader.tree.image()
    assert Tree(image).time_ms == mtime(client, "/b")
    assert Tree(Image(Zxid(0), {}, {}, 0)).time_ms == 0
