"""The service with etcd's words."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from math import inf
from queue import SimpleQueue

import pytest
from zkclient import (
    BadArgumentsError,
    ClientClosedError,
    EventType,
    NotEmptyError,
    SessionExpiredError,
    ZooKeeper,
)
from zkclient.etcd import Client, KeyValue, Response
from zkclient.testing import EmbeddedServer

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
    t = client.transactions

    def take() -> tuple[bool, tuple[Response, ...]]:
        return client.transaction(
            compare=[t.version("/leader") == 0],
            success=[t.put("/leader", "me"), t.put("/log/1", "took")],
            failure=[t.get("/leader"), t.delete("/none")],
        )

    assert take() == (True, (None, None))
    held, (leader, deleted) = take()
    assert isinstance(leader, KeyValue)
    assert (held, str(leader), deleted) == (False, "me", False)
    assert client.get("/none") is None
    compare = [t.mod("/leader") < leader.mod_revision + 1, t.value("/no") != "x", t.value("/leader") > "a"]
    assert client.transaction(compare, [t.delete("/leader")]) == (True, (True,))
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


def found(client: Client, key: str) -> tuple[str, int, int] | None:
    """The value, the version and the lease of a key."""
    node = client.get(key)
    return None if node is None else (str(node), node.version, node.lease_id)


def test_what_was_found_has_etcds_words(client: Client) -> None:
    client.put("/m", "1")
    client.put("/m", "2")
    node = client.get("/m")
    assert node is not None
    stat = node.stat
    assert (node.value, node.version, node.create_revision, node.mod_revision, node.lease_id) == (
        b"2",
        2,
        stat.czxid,
        stat.mzxid,
        0,
    )


def test_a_put_gives_and_takes_the_lease_in_one_transaction(client: Client) -> None:
    one, other = client.lease(60), client.lease(60)
    client.put("/s/1", "a", lease=one)
    with client.watch("/s/1") as events:
        client.put("/s/1", "b", lease=one)
        states = [found(client, "/s/1")]
        client.put("/s/1", "c", lease=other)
        states.append(found(client, "/s/1"))
        client.put("/s/1", "d")
        states.append(found(client, "/s/1"))
        told = [next(events) for _ in range(5)]
    assert states == [("b", 2, one.id), ("c", 1, other.id), ("d", 1, 0)]
    assert [event.type.name for event in told] == ["DATA_CHANGED", "DELETED", "CREATED", "DELETED", "CREATED"]
    assert (told[1].zxid, told[3].zxid) == (told[2].zxid, told[4].zxid)
    assert one.id != other.id


def test_keys_of_a_lease_go_together_when_it_is_revoked(client: Client) -> None:
    lease = client.lease(60)
    client.put("/s/1", "x", lease=lease)
    assert client.put_if_absent("/s/2", "x", lease=lease)
    assert not client.put_if_absent("/s/2", "y", lease=lease)
    client.put("/s/3", "x", lease=lease)
    client.put("/s/3", "stays")
    assert lease.keys == ("/s/1", "/s/2")
    with client.watch_prefix("/s/") as events:
        lease.revoke()
        told = [next(events) for _ in range(2)]
    assert [(event.type.name, event.path) for event in told] == [("DELETED", "/s/1"), ("DELETED", "/s/2")]
    assert told[0].zxid == told[1].zxid
    assert (list(client.get_prefix("/s/")), lease.over, lease.remaining_ttl) == (["/s/3"], True, 0)
    lease.revoke()
    for use in (lease.refresh, lambda: lease.keys, lambda: client.put("/s/4", "x", lease=lease)):
        with pytest.raises(SessionExpiredError, match="the lease is over"):
            use()


def test_a_lease_runs_out_when_it_is_not_refreshed(client: Client) -> None:
    granted = time.monotonic()
    lease = client.lease(0.5)
    client.put("/s/1", "x", lease=lease)
    with client.watch("/s/1") as events:
        lease.refresh()
        refreshed = time.monotonic()
        assert 0 < lease.remaining_ttl <= 0.5
        assert next(events).type is EventType.DELETED
    assert granted + 0.5 <= refreshed + 0.5 <= time.monotonic() <= refreshed + 0.5 + 2


def test_a_block_keeps_its_lease_and_revokes_it(client: Client) -> None:
    with client.lease(0.2) as lease:
        client.put("/s/1", "x", lease=lease)
        with client.watch("/s/1") as events, client.lease(0.6) as other:
            client.put("/s/2", "x", lease=other)  # and its own time passes, too
            assert lease.remaining_ttl == inf
            client.put("/s/1", "y", lease=lease)
            assert next(events).type is EventType.DATA_CHANGED
    assert client.get_prefix("/s/") == {}


def test_keys_of_a_lease_go_soon_after_its_process(client: Client, own_server: ServerProcess) -> None:
    script = f"""
import os
from zkclient.etcd import Client
client = Client(port={own_server.address.port})
client.put('/s/1', 'x', lease=client.lease(1))
client.put('/s/2', 'x', lease=client.lease(1000))
{{end}}
"""
    for end in ("os._exit(0)", "client.close()"):
        with client.watch("/s/1") as events:
            started = time.monotonic()
            subprocess.run([sys.executable, "-c", script.format(end=end)], check=True, timeout=30)
            assert client.get("/s/2") is not None  # up to the session's timeout
            assert [next(events).type for _ in range(2)] == [EventType.CREATED, EventType.DELETED]
            assert time.monotonic() - started < 10
        client.put("/s/2", "taken over")


def test_a_lease_whose_session_is_over_has_no_successor() -> None:
    with EmbeddedServer() as server, Client(hosts=server.hosts) as client:
        with client.lease(60) as lease:
            client.put("/s/1", "x", lease=lease)
            with client.watch("/s/1") as events:
                server.expire(lease.id)
                assert next(events).type is EventType.DELETED
            for use in (lease.refresh, lambda: client.put("/s/1", "x", lease=lease)):
                with pytest.raises(SessionExpiredError, match="the lease is over"):
                    use()
            assert (lease.over, lease.remaining_ttl, found(client, "/s/1")) == (True, 0, None)
        client.put("/s/1", "x")


def test_a_forked_child_can_not_use_its_parents_lease(own_server: ServerProcess) -> None:
    script = f"""
import os
from zkclient import SessionExpiredError
from zkclient.etcd import Client
client = Client(port={own_server.address.port})
lease = client.lease(60)
client.put('/s/1', 'x', lease=lease)
child = os.fork()
try:
    client.put('/s/1', 'y', lease=lease)
    print(client.get('/s/1'), flush=True)
except SessionExpiredError as error:
    print(error.hint, lease.over, client.get('/s/1').lease_id == lease.id, flush=True)
if child:
    os.waitpid(child, 0)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=30)
    assert (sorted(ended.stdout.splitlines()), ended.stderr) == (["the lease is over True True", "y"], "")


def test_a_transaction_may_put_by_one_lease(client: Client) -> None:
    lease = client.lease(60)
    t = client.transactions
    held, _ = client.transaction(
        [t.version("/leader") == 0], [t.put("/leader", "me", lease), t.put("/leaders/1", "me")], []
    )
    assert held
    assert (found(client, "/leader"), found(client, "/leaders/1")) == (("me", 1, lease.id), ("me", 1, 0))
    with pytest.raises(BadArgumentsError, match="one lease only"):
        client.transaction([], [t.put("/a", "", lease), t.put("/b", "", client.lease(60))])
    with pytest.raises(NotEmptyError):
        client.transaction([], [t.put("/leaders", "", lease)])
    lease.revoke()
    assert found(client, "/leader") is None


def test_a_transaction_makes_keys_and_those_above_them(client: Client) -> None:
    t = client.transactions
    assert client.transaction(
        [t.version("/x") == 0, t.create("/x/y/z") == 0, t.version("/w/v") == 0, t.value("/x") != "1"],
        [t.put("/x", "1"), t.put("/x/y/z", "2")],
    ) == (True, (None, None))
    assert {key: str(value) for key, value in client.get_prefix("/x").items()} == {"/x": "1", "/x/y": "", "/x/y/z": "2"}
    assert client.get_prefix("/w/") == {}


def test_what_can_not_be_compared_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="the version of /a is compared with a number, not with 'x'"):
        _ = client.transactions.version("/a") == "x"
    with pytest.raises(TypeError, match="the value of /a is compared with text or bytes, not with 1"):
        _ = client.transactions.value("/a") < 1


def test_a_watch_tells_from_a_zxid_on(client: Client) -> None:
    client.put("/w/a", "1")
    node = client.get("/w/a")
    assert node is not None
    client.put("/w/b", "2")
    with client.watch_prefix("/w/", from_zxid=node.stat.mzxid) as events:
        assert [next(events).path for _ in range(2)] == ["/w/a", "/w/b"]
    heard: SimpleQueue[str] = SimpleQueue()
    events = client.watch("/w/a", from_zxid=node.stat.mzxid + 1, callback=lambda event: heard.put(event.type.name))
    client.put("/w/b", "3")
    client.put("/w/a", "4")
    assert heard.get(timeout=10) == "DATA_CHANGED"
    events.close()


def test_a_lock_excludes(client: Client, own_server: ServerProcess) -> None:
    with client.lock("jobs", ttl=5) as held, ZooKeeper(str(own_server.address)) as zk:
        held.check()
        assert len(zk.Lock("/locks/jobs").contenders()) == 1
        assert client.lock("jobs").try_acquire(timeout=5) is None
        assert zk.get(held.path).stat.ephemeral_owner != client.zk.session_id


def test_a_client_of_several_hosts_with_a_chroot(own_server: ServerProcess) -> None:
    with ZooKeeper(str(own_server.address)) as zk, Client(hosts=f"127.0.0.1:1,{own_server.address}/shop") as shop:
        zk.ensure_path("/shop")
        shop.put("a/b", "1", lease=shop.lease(60))
        assert (zk.get("/shop/a/b").data, list(shop.get_prefix("a"))) == (b"1", ["/a", "/a/b"])


def test_a_closed_client_grants_nothing(own_server: ServerProcess) -> None:
    client = Client(port=own_server.address.port)
    lease = client.lease(60)
    client.close()
    assert lease.over
    with pytest.raises(ClientClosedError):
        client.lease(60)
    with pytest.raises(ClientClosedError):
        client.lock("jobs")
