"""Every fault that the server inside the test's process has to offer, met by the real client."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import anyio
import pytest
import zkclient.testing
from zkclient import AsyncZooKeeper, NoNodeError, SessionExpiredError, State, ZooKeeper
from zkclient.testing import EmbeddedServer

TIMEOUT_S = 20
EVER = 1_000_000


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def zk(server: EmbeddedServer) -> Iterator[ZooKeeper]:
    with ZooKeeper(server.hosts, session_timeout_ms=10_000) as zk:
        yield zk


class States:
    """The states of a client as they come, to be waited for."""

    def __init__(self, zk: ZooKeeper) -> None:
        self._coming: SimpleQueue[State] = SimpleQueue()
        zk.add_listener(self._coming.put)

    def until(self, last: State) -> list[State]:
        """Those up to `last`."""
        seen = [self._coming.get(timeout=TIMEOUT_S)]
        while seen[-1] is not last:
            seen.append(self._coming.get(timeout=TIMEOUT_S))
        return seen


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.002)


# ---- lost replies


@pytest.mark.parametrize("count", [1, 3])
def test_a_write_whose_replies_are_lost_is_done_once(server: EmbeddedServer, zk: ZooKeeper, count: int) -> None:
    zk.create("/a")
    server.drop_replies(count)
    assert zk.set("/a", "x").version == 1
    assert server.replies_to_drop == 0
    assert zk.get("/a").stat.version == 1
    assert zk.statistics().connects == 1 + count


def test_neither_the_first_connection_nor_pings_use_lost_replies_up(server: EmbeddedServer) -> None:
    server.drop_replies()
    with ZooKeeper(server.hosts, session_timeout_ms=1_200) as zk:
        zk.create("/a")
        assert (zk.statistics().connects, server.replies_to_drop) == (2, 0)
        server.drop_replies()
        heard = zk.statistics().bytes_received
        wait_until(lambda: zk.statistics().bytes_received > heard)
        assert server.replies_to_drop == 1
        assert zk.create("/b") == "/b"
        assert server.replies_to_drop == 0


# ---- sessions


def test_an_expired_session_is_lost_with_its_ephemeral_nodes_and_another_follows(
    server: EmbeddedServer, zk: ZooKeeper
) -> None:
    zk.create("/mine", ephemeral=True)
    expired, states = zk.session_id, States(zk)
    server.expire(expired)
    assert states.until(State.CONNECTED) == [State.SUSPENDED, State.LOST, State.CONNECTED]
    assert zk.session_id != expired
    assert zk.exists("/mine") is None


def test_a_write_under_way_from_an_expired_session_says_that_it_may_have_been_done(
    server: EmbeddedServer, zk: ZooKeeper
) -> None:
    zk.create("/a")
    server.drop_replies(EVER)
    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(zk.set, "/a", "x")
        wait_until(lambda: server.replies_to_drop < EVER)
        server.expire(zk.session_id)
        with pytest.raises(SessionExpiredError) as caught:
            writing.result(TIMEOUT_S)
    assert caught.value.maybe_applied


def test_who_expires_no_session_is_told_which_there_are(server: EmbeddedServer, zk: ZooKeeper) -> None:
    with pytest.raises(LookupError, match=r"no session 0, only none\. \(A client has none before its first call"):
        server.expire(zk.session_id)
    zk.ensure_path("/a")
    with pytest.raises(LookupError, match=f"no session 1, only {zk.session_id}"):
        server.expire(1)


# ---- pauses


def test_a_paused_server_suspends_its_clients_and_loses_none_of_them(server: EmbeddedServer) -> None:
    with ZooKeeper(server.hosts, session_timeout_ms=3_000) as zk:  # a third of it is left to come back in
        zk.create("/mine", ephemeral=True)
        session_id, states = zk.session_id, States(zk)
        server.pause()
        assert states.until(State.SUSPENDED) == [State.SUSPENDED]
        server.resume()
        assert states.until(State.CONNECTED)[-1:] == [State.CONNECTED]
        assert zk.session_id == session_id
        stat = zk.exists("/mine")
        assert stat is not None
        assert stat.ephemeral_owner == session_id


def test_clients_give_up_what_they_hold_though_a_paused_server_still_keeps_it(server: EmbeddedServer) -> None:
    with ZooKeeper(server.hosts, session_timeout_ms=300) as zk:
        zk.create("/mine", ephemeral=True)
        states = States(zk)
        server.pause()
        assert states.until(State.LOST)[-2:] == [State.SUSPENDED, State.LOST]
        server.resume()
        states.until(State.CONNECTED)


# ---- time


def test_time_put_forward_deletes_ttl_nodes_and_empty_containers_and_no_session(
    server: EmbeddedServer, zk: ZooKeeper
) -> None:
    zk.create("/mine", ephemeral=True)
    zk.create("/ttl", ttl_ms=3_600_000)
    zk.create("/container", container=True)
    zk.create("/container/child")
    server.advance(1_800)
    assert zk.get_children("/") == ("container", "mine", "ttl", "zookeeper")
    zk.delete("/container/child")
    server.advance(1_801)
    assert zk.get_children("/") == ("mine", "zookeeper")
    assert zk.statistics().connects == 1


def test_time_put_forward_ends_the_session_of_a_client_that_is_kept_away(server: EmbeddedServer, zk: ZooKeeper) -> None:
    zk.create("/mine", ephemeral=True)
    session_id, states = zk.session_id, States(zk)
    server.refuse()
    assert states.until(State.SUSPENDED) == [State.SUSPENDED]
    server.advance(11)
    server.allow()
    assert states.until(State.CONNECTED) == [State.LOST, State.CONNECTED]
    assert zk.session_id != session_id
    assert zk.exists("/mine") is None


def test_new_nodes_bear_the_time_that_was_put_forward(server: EmbeddedServer, zk: ZooKeeper) -> None:
    zk.create("/a")
    server.advance(3_600)
    zk.create("/b")
    elapsed_ms = zk.get("/b").stat.ctime - zk.get("/a").stat.ctime
    assert 3_599 <= elapsed_ms / 1_000 < 3_600 + TIMEOUT_S


# ---- connections, and lives


def test_connections_are_refused_until_they_are_allowed_again(server: EmbeddedServer, zk: ZooKeeper) -> None:
    zk.create("/mine", ephemeral=True)
    states = States(zk)
    server.refuse()
    host, port = server.hosts.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
    server.allow()
    server.allow()  # nothing more
    assert states.until(State.CONNECTED) == [State.SUSPENDED, State.CONNECTED]
    assert zk.exists("/mine") is not None


def test_a_restart_keeps_data_and_sessions(server: EmbeddedServer, zk: ZooKeeper) -> None:
    zk.create("/mine", ephemeral=True)
    for letter in "abcd":  # more than one file of the log holds
        zk.put("/big", letter * 600_000)
    session_id, hosts = zk.session_id, server.hosts
    server.restart()
    assert server.hosts == hosts
    assert zk.get("/big").data == b"d" * 600_000
    assert zk.session_id == session_id
    assert zk.exists("/mine") is not None


def test_a_restart_without_its_data_is_another_service_at_the_same_address(
    server: EmbeddedServer, zk: ZooKeeper
) -> None:
    zk.create("/a")
    states = States(zk)
    server.restart(keep_data=False)
    assert states.until(State.CONNECTED) == [State.SUSPENDED, State.LOST, State.CONNECTED]
    with pytest.raises(NoNodeError):
        zk.get("/a")


def test_a_stopped_server_is_gone_until_it_is_started(server: EmbeddedServer, zk: ZooKeeper) -> None:
    zk.create("/a")
    states = States(zk)
    server.pause()
    server.stop()
    assert states.until(State.SUSPENDED) == [State.SUSPENDED]
    for call in (server.stop, server.drop_replies, server.pause, server.restart):
        with pytest.raises(RuntimeError, match="the server is stopped"):
            call()
    server.start()
    assert zk.exists("/a") is not None
    with pytest.raises(RuntimeError, match="runs already"):
        server.start()


def test_only_a_server_that_goes_on_can_be_told_to_fail(server: EmbeddedServer) -> None:
    server.pause()
    for call in (server.refuse, server.allow, server.drop_replies):
        with pytest.raises(RuntimeError, match="the server is paused: resume"):
            call()
    with pytest.raises(RuntimeError, match="paused already"):
        server.pause()
    server.resume()
    with pytest.raises(ValueError, match="forward only"):
        server.advance(-1)


def test_nothing_is_left_of_a_server_that_was_stopped() -> None:
    before = set(threading.enumerate())
    with EmbeddedServer(), EmbeddedServer():
        assert len(set(threading.enumerate()) - before) == 6
    assert set(threading.enumerate()) - before == set()


@pytest.mark.anyio
async def test_coroutines_of_either_event_loop_may_use_it() -> None:
    with EmbeddedServer() as server:
        async with AsyncZooKeeper(server.hosts) as zk:
            await zk.create("/a")
            server.drop_replies()
            assert (await zk.set("/a", "x")).version == 1
            lost = anyio.Event()
            zk.add_listener(lambda state: lost.set() if state is State.LOST else None)
            server.expire(zk.session_id)
            with anyio.fail_after(TIMEOUT_S):
                await lost.wait()
            server.restart()
            assert str(await zk.get("/a")) == "x"


def test_it_is_imported_only_when_it_is_asked_for() -> None:
    script = "import sys; from zkclient.testing import Link; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert {"trio", "zk.server", "zk.testing", "zk.tree"} & set(ran.stdout.split()) == set()


def test_other_names_are_missing_as_everywhere() -> None:
    with pytest.raises(AttributeError, match=r"module 'zkclient\.testing' has no attribute 'Nothing'"):
        _ = zkclient.testing.Nothing
