"""The service with etcd's words."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest
from zkclient import EventType, NodeData, NotEmptyError, ZooKeeper
from zkclient.etcd import Client, Delete, Get, ModZxid, Put, Response, Value, Version

from zk.server.testing import ServerProcess


@pytest.fixture
def client(own_server: ServerProcess) -> Iterator[Client]:
    with Client(own_server.address.host, own_server.address.port) as client:
        yield client


def test_the_tutorials_run_as_written(own_server: ServerProcess) -> None:
    port = own_server.address.port
    script = f"""
from zkclient import ZooKeeper
from zkclient.etcd import Client
zk = ZooKeeper('localhost:{port}')
zk.create('/config', 'config.json', flags=ZooKeeper.EPHEMERAL)
config = zk.get('/config')
print(config)
data, stat = zk.get('/config')
print(data, stat.version)
zk.close()

client = Client(host='localhost', port={port})
client.put('/config', 'config.json')
config = client.get('/config')
print(config)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=30)
    assert (ended.stdout, ended.stderr) == ("config.json\nb'config.json' 0\nconfig.json\n", "")


def test_a_parent_that_was_made_by_itself_and_got_a_value_stays_without_its_children(client: Client) -> None:
    client.put("/parent/child", "1")
    client.put("/parent", "2")
    client.delete("/parent/child")
    parent = client.get("/parent")
    assert parent is not None
    assert (str(parent), parent.stat.ephemeral_owner) == ("2", 0)  # no container: those are taken away when empty


def test_keys_are_paths_whose_parents_are_made_by_themselves(client: Client) -> None:
    assert client.get("/a/b") is None
    client.put("a/b", "1")
    assert str(client.get("/a/b")) == "1"
    client.put("/a/b", "2")
    client.put("/a/c", b"3")
    client.put("/ab", "4")
    assert {key: str(value) for key, value in client.get_prefix("/a/").items()} == {"/a/b": "2", "/a/c": "3"}
    assert list(client.get_prefix("/a")) == ["/a", "/a/b", "/a/c", "/ab"]
    assert client.get_prefix("/none/") == {}
    with pytest.raises(NotEmptyError):
        client.delete("/a")
    assert (client.delete("/ab"), client.delete("/ab")) == (True, False)
    assert client.delete_prefix("/a/") == 2


def test_put_if_absent_and_replace_tell_whether_they_did_it(client: Client) -> None:
    assert client.put_if_absent("/x/leader", "one")
    assert not client.put_if_absent("/x/leader", "two")
    assert not client.replace("/x/leader", "two", "three")
    assert client.replace("/x/leader", "one", "three")
    assert not client.replace("/x/none", "one", "three")
    assert str(client.get("/x/leader")) == "three"


def test_a_transaction_does_the_one_or_the_other(client: Client) -> None:
    def take() -> tuple[bool, tuple[Response, ...]]:
        return client.transaction(
            [Version("/leader", "==", 0)],
            [Put("/leader", "me"), Put("/log/1", "took")],
            [Get("/leader"), Delete("/none")],
        )

    assert take() == (True, (None, None))
    held, (leader, deleted) = take()
    assert isinstance(leader, NodeData)
    assert (held, str(leader), deleted) == (False, "me", False)
    assert client.get("/none") is None
    zxid = leader.stat.mzxid
    assert client.transaction([ModZxid("/leader", "<", zxid + 1), Value("/no", "!=", "x")], [Delete("/leader")]) == (
        True,
        (True,),
    )
    assert client.get("/no") is None


def test_swaps_by_many_threads_lose_nothing(client: Client) -> None:
    client.put("/n", "0")

    def add() -> None:
        for _ in range(10):
            while True:
                old = str(client.get("/n"))
                if client.replace("/n", old, str(int(old) + 1)):
                    break

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert str(client.get("/n")) == "40"


def test_a_lease_refreshes_its_keys_and_takes_them_with_it(client: Client) -> None:
    lease = client.lease(60)
    with client.watch("/s/1") as events:
        client.put("/s/1", "x", lease=lease)
        client.put("/s/2", "x", lease=lease)
        client.delete("/s/2")
        keys = [lease.keys]
        lease.refresh()
        keys.append(lease.keys)
        lease.revoke()
        assert [next(events).type for _ in range(3)] == [EventType.CREATED, EventType.DATA_CHANGED, EventType.DELETED]
    assert [*keys, lease.keys] == [("/s/1", "/s/2"), ("/s/1",), ()]


def test_a_block_refreshes_its_lease_and_revokes_it(client: Client) -> None:
    with client.watch("/s/1") as events:
        with client.lease(0.6) as lease:
            client.put("/s/1", "x", lease=lease)
            types = [next(events).type for _ in range(4)]
            assert types == [EventType.CREATED] + 3 * [EventType.DATA_CHANGED]
            client.delete("/s/1")
            client.put("/s/1", "another's")
        assert str(client.get("/s/1")) == "another's"
    with client.lease(60) as lease:
        client.put("/s/1", "x", lease=lease)
    assert client.get("/s/1") is None


def test_a_watch_tells_from_a_zxid_on(client: Client) -> None:
    client.put("/w/a", "1")
    node = client.get("/w/a")
    assert node is not None
    client.put("/w/b", "2")
    with client.watch("/w/", prefix=True, from_zxid=node.stat.mzxid) as events:
        assert [next(events).path for _ in range(2)] == ["/w/a", "/w/b"]
    heard: SimpleQueue[str] = SimpleQueue()
    events = client.watch("/w/a", from_zxid=node.stat.mzxid + 1, callback=lambda event: heard.put(event.type.name))
    client.put("/w/b", "3")
    client.put("/w/a", "4")
    assert heard.get(timeout=10) == "DATA_CHANGED"
    events.close()


def test_a_lock_excludes(client: Client, own_server: ServerProcess) -> None:
    with client.lock("jobs") as held, ZooKeeper(str(own_server.address)) as zk:
        held.check()
        assert len(zk.Lock("/jobs").contenders()) == 1
