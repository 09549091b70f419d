"""A leader sees to it that /zookeeper/config names the ensemble's members."""

from tests.replica.conftest import Cluster
from zk.tree.members import CONFIG

MEMBERS = ("server.1=a:1:1:participant", "server.2=b:1:1:participant", "server.3=c:1:1:participant")


def test_a_new_ensemble_writes_its_members_once() -> None:
    cluster = Cluster(3, members=MEMBERS)
    cluster.advance(1_000)
    texts = {replica.tree.znodes[CONFIG].data for replica in cluster.servers.values()}
    [text] = texts
    assert text.decode().splitlines()[:-1] == list(MEMBERS)
    assert {replica.tree.znodes[CONFIG].version for replica in cluster.servers.values()} == {1}

    first = cluster.leader_id
    cluster.cut_off(first)
    cluster.run_until(lambda: cluster.leader is not None and cluster.leader.serving)
    cluster.advance(1_000)
    assert cluster.leader is not None
    assert cluster.leader_id != first
    assert cluster.leader.tree.znodes[CONFIG].data == text


def test_a_server_alone_writes_nothing() -> None:
    cluster = Cluster(1)
    cluster.advance(1_000)
    [replica] = cluster.servers.values()
    assert (replica.tree.znodes[CONFIG].data, replica.tree.znodes[CONFIG].version) == (b"", 0)
