"""Read-only mode with real servers and clients: ZooKeeper's own, and ours."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NotReadOnlyCallError
from kazoo.protocol.states import KeeperState
from zkclient import NotReadOnlyError, State, ZooKeeper

from zk.server.testing import AGAIN_S, Ensemble, start_ensemble
from zk.testing.zookeeper import JAR, zookeeper_missing

WITHIN_S = 30.0


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Ensemble]:
    with start_ensemble(tmp_path, options=("--read-only-mode",)) as ensemble:
        yield ensemble


def wait_for(states: "Queue[object]", wanted: Callable[[], bool]) -> None:
    """Until it is so, looking whenever the client says that its state is another one."""
    while not wanted():
        states.get(timeout=WITHIN_S)


def test_clients_read_on_without_a_quorum_and_write_again_when_there_is_one(three: Ensemble) -> None:
    alone, *others = three.servers
    kazoo_states: Queue[object] = Queue()
    own_states: Queue[object] = Queue()
    kazoo = KazooClient(three.hosts, read_only=True)
    with ZooKeeper(three.hosts, read_only=True) as own:
        kazoo.add_listener(kazoo_states.put)
        own.add_listener(own_states.put)
        kazoo.start(WITHIN_S)
        try:
            own.create("/n", b"x")
            three.wait_until_agreed()  # two of three acknowledge: without it, the one that is left may know less
            sessions = (kazoo.client_id, own.session_id)
            for server in others:
                server.kill()
            wait_for(kazoo_states, lambda: kazoo.client_state == KeeperState.CONNECTED_RO)
            wait_for(own_states, lambda: own.state is State.CONNECTED_READ_ONLY)
            assert (kazoo.get("/n")[0], own.get("/n").data) == (b"x", b"x")
            with pytest.raises(NotReadOnlyCallError):
                kazoo.set("/n", b"y")
            with pytest.raises(NotReadOnlyError):
                own.set("/n", b"y")
            assert alone.status().role == "read-only"
            for server in others:
                server.start()
            wait_for(kazoo_states, lambda: kazoo.client_state == KeeperState.CONNECTED)
            wait_for(own_states, lambda: own.state is State.CONNECTED)
            assert (kazoo.set("/n", b"z").version, own.get("/n", read="linearizable").data) == (1, b"z")
            assert (kazoo.client_id, own.session_id) == sessions
        finally:
            kazoo.stop()
            kazoo.close()


@pytest.mark.skipif(zookeeper_missing() is not None, reason=str(zookeeper_missing()))
def test_zookeepers_java_client_reads_on_without_a_quorum(three: Ensemble) -> None:
    alone, *others = three.servers
    with ZooKeeper(alone.hosts) as own:
        own.create("/n", b"to be read")
    for server in others:
        server.kill()
    while alone.status().role != "read-only":  # the client gives up what it was asked before it is connected
        time.sleep(AGAIN_S)
    told = subprocess.run(
        [
            "java",
            "-XX:TieredStopAtLevel=1",
            "-cp",
            JAR,
            "org.apache.zookeeper.ZooKeeperMain",
            "-server",
            alone.hosts,
            "-r",
        ],
        input="get /n\nset /n other\nget /n\nquit\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "state:ConnectedReadOnly" in told.stdout
    assert told.stdout.count("to be read\n") == 2
    assert "Not a read-only call" in told.stdout + told.stderr
