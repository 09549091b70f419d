"""Snapshots: a server's own, written in slices beside the traffic, and those for servers that are too far behind."""

import random
from typing import TYPE_CHECKING

from zk.broadcast.records import Recovered
from zk.broadcast.zab import ZabConfig
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import Epoch, ServerId
from zk.model.replies import ConnectReply, Created
from zk.model.requests import AddWatch, Create, GetData, SetData
from zk.model.znode import Znode
from zk.replica.config import ReplicaConfig
from zk.replica.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.replica.conftest import Cluster

ONE = ServerId(1)


def fill(cluster: "Cluster", server_id: int, count: int) -> None:
    client = cluster.connect(server_id).open(timeout_ms=40_000)
    for number in range(count):
        client.call(Create(f"/n{number}", b"old"))
    cluster.settle()


def test_an_own_snapshot_holds_the_tree_of_its_zxid_though_writes_go_on(new_cluster: "Callable[..., Cluster]") -> None:
    cluster = new_cluster(1, snapshot_every_txns=60, snapshot_nodes_per_slice=5)
    fill(cluster, 1, 50)
    server = cluster.servers[ONE]
    client = cluster.connect(1).open(timeout_ms=40_000)
    digests = {}
    number = 0
    while not (cluster.slices.get(ONE) and cluster.slices[ONE][-1].last):
        client.ask(SetData(f"/n{number}", b"new"))
        digests[server.engine.delivered] = server.tree.digest()
        number += 1
        cluster.advance(20)
    assert len(cluster.slices[ONE]) > 5  # and one write beside each
    ref = cluster.slices[ONE][0].ref
    assert {piece.ref for piece in cluster.slices[ONE]} == {ref}
    assert digests[ref.zxid] == ref.digest
    restarted = Replica(
        ReplicaConfig(ZabConfig(ONE, frozenset({ONE}), "test")),
        Recovered("disk-1", Epoch(1), ref, (), False),
        [piece.chunk for piece in cluster.slices[ONE]],
        random.Random(1),
        0,
        0,
    )
    assert (restarted.tree.zxid, restarted.tree.digest()) == (ref.zxid, ref.digest)


def test_snapshot_after_snapshot_is_taken_one_at_a_time(new_cluster: "Callable[..., Cluster]") -> None:
    cluster = new_cluster(1, snapshot_every_txns=20, snapshot_nodes_per_slice=10)
    client = cluster.connect(1).open(timeout_ms=40_000)
    for _ in range(300):
        client.ask(SetData("/", b""))
        cluster.advance(20)
    cluster.advance(500)
    runs = [piece.ref.zxid for piece in cluster.slices[ONE]]
    assert runs == sorted(runs)
    assert len(set(runs)) >= 10
    assert sum(piece.last for piece in cluster.slices[ONE]) == len(set(runs))


def test_a_follower_that_is_too_far_behind_gets_a_snapshot_and_its_clients_register_again(
    new_cluster: "Callable[..., Cluster]",
) -> None:
    cluster = new_cluster(3, {"history_entries_max": 10}, leaderless_ms_max=1_000_000)
    behind, leader = cluster.follower_id, cluster.leader_id
    watcher = cluster.connect(behind).open(40_000)
    watcher.ask(AddWatch("/n5", WatchMode.PERSISTENT))
    cluster.cut_off(behind)
    fill(cluster, leader, 1_200)
    cluster.connect(leader).open().ask(SetData("/n5", b"new"))
    cluster.rejoin(behind)
    cluster.run_until(lambda: cluster.servers[behind].serving)
    assert watcher.closed == "this server was caught up by a snapshot: attach again"
    assert cluster.servers[behind].tree.digest() == cluster.servers[leader].tree.digest()
    assert cluster.servers[behind].status().watches == 0

    again = cluster.connect(behind)
    assert isinstance(again.attach(watcher.session, 40_000), ConnectReply)
    again.ask(AddWatch("/n5", WatchMode.PERSISTENT, since=watcher.received[-1].zxid))
    events = [item for item in again.received if isinstance(item, WatchEvent)]
    assert [(event.type, event.path) for event in events] == [(EventType.RESYNC, "/n5")]
    answer = again.ask(GetData("/n5"))
    assert isinstance(answer, Znode)
    assert answer.data == b"new"
    assert isinstance(again.ask(Create("/more", b"")), Created)
