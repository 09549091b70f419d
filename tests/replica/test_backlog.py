"""When a server would rather not be given more calls: what its clients have under way has a limit in bytes."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from zk.model.requests import Create, CreateMode, SetData
from zk.replica.events import Flush
from zk.replica.replica import UNAPPLIED_BYTES_MAX

if TYPE_CHECKING:
    from tests.replica.conftest import Cluster, TestClient

LARGE = Create("/large-", bytes(UNAPPLIED_BYTES_MAX // 5), mode=CreateMode.PERSISTENT_SEQUENTIAL)


def test_a_server_is_backlogged_by_writes_of_many_bytes_until_they_are_applied(three: "Cluster") -> None:
    server = three.servers[three.follower_id]
    client, other = (three.connect(three.follower_id).open() for _ in range(2))
    for _ in range(4):
        client.call(LARGE)
    assert not server.backlogged
    other.call(LARGE)
    assert server.backlogged
    three.settle()
    assert (server.backlogged, server.clients.unapplied_bytes) == (False, 0)


def test_a_write_that_is_refused_by_the_tree_counts_no_more_either(one: "Cluster") -> None:
    client = one.connect().open()
    client.ask(SetData("/missing", b"x"))
    [server] = one.servers.values()
    assert server.clients.unapplied_bytes == 0


def drop(cluster: "Cluster", client: "TestClient") -> None:
    client.drop()


def lose_the_leader(cluster: "Cluster", client: "TestClient") -> None:
    cluster.cut_off(cluster.leader_id)
    cluster.run_until(lambda: client.closed is not None)


@pytest.mark.parametrize("harm", [drop, lose_the_leader])
def test_the_writes_of_a_connection_that_ends_count_no_more(
    three: "Cluster", harm: Callable[["Cluster", "TestClient"], None]
) -> None:
    server = three.servers[three.follower_id]
    client = three.connect(three.follower_id).open()
    for _ in range(6):
        client.call(LARGE)
    three.step(three.follower_id, Flush())
    client.call(LARGE)  # the others have left for the leader
    harm(three, client)
    assert (server.backlogged, server.clients.unapplied_bytes) == (False, 0)
    three.settle()
    assert server.clients.unapplied_bytes == 0
