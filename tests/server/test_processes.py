"""Real server processes: started, killed, told to stop, started again; what they promise must hold each time."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import ANY

import pytest

from tests.disks import quick_directory
from zk.model.errors import NoNodeError
from zk.model.limits import KIB, MIB
from zk.model.record import ServerId, SessionId
from zk.model.replies import DONE, Body, ConnectReply, Created, DataReply, Reply, StatusReply
from zk.model.requests import Call, ClientRequest, Connect, Create, CreateMode, Delete, GetData, Sync
from zk.server.config import Address
from zk.server.testing import Ensemble, ServerProcess, free_ports, start_ensemble, start_server
from zk.wire.native import ClientConnection

STOP_S = 2.0  # what is measured by it has its disk in memory: how long a sync takes is no matter of the server's


class Session:
    """A client that waits for every answer."""

    def __init__(self, server: ServerProcess) -> None:
        self.socket = socket.create_connection((server.address.host, server.address.port), 10)
        self._native = ClientConnection("test")
        self._xid = 0
        self.socket.sendall(self._native.hello())
        assert isinstance(self.ask(Connect(SessionId(0), b"", 40_000)), ConnectReply)

    def ask(self, request: ClientRequest) -> Body | Exception:
        self.send(request)
        while True:
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionError("the server closed the connection")
            for item in self._native.receive(data):
                if isinstance(item, Reply) and item.xid == self._xid:
                    return item.body

    def send(self, request: ClientRequest) -> None:
        self._xid += 1
        self.socket.sendall(self._native.call(Call(self._xid, request)))

    def create(self, path: str) -> None:
        assert isinstance(self.ask(Create(path, path.encode())), Created)

    def has(self, path: str) -> bool:
        body = self.ask(GetData(path))
        return isinstance(body, DataReply) and body.data == path.encode()


@contextmanager
def session(server: ServerProcess) -> Iterator[Session]:
    opened = Session(server)
    with opened.socket:
        yield opened


def everything(status: StatusReply) -> tuple[int, int, str]:
    return status.zxid, status.znodes, status.digest


# ---- start


def test_a_server_alone_keeps_what_it_acknowledged_when_it_is_killed(tmp_path: Path) -> None:
    with start_server(tmp_path / "data") as server:
        with session(server) as client:
            for n in range(200):
                client.create(f"/{n}")
        before = server.status()
        server.kill()
        server.start()
        server.wait_until_serving()
        with session(server) as client:
            assert all(client.has(f"/{n}") for n in range(200))
        assert server.status().znodes == before.znodes
        assert "listens on" in server.log
        assert str(tmp_path / "data") in server.log


def test_a_port_in_use_ends_the_start_with_a_reason(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        server = ServerProcess(ServerId(1), address, tmp_path / "data")
        server.start()
        assert server.wait() == 1
    assert f"server 1 ends: [Errno 98] can't listen on {address}: Address already in use" in server.log
    assert "Traceback" not in server.log


def test_a_data_directory_has_one_server_at_a_time(tmp_path: Path) -> None:
    with start_server(tmp_path / "data"):
        second = ServerProcess(ServerId(1), Address("127.0.0.1", free_ports(1)[0]), tmp_path / "data")
        second.start()
        assert second.wait() == 1
        assert "CRITICAL server 1 ends: " in second.log
        assert "Traceback" not in second.log


def test_a_mistake_in_the_configuration_is_told_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "zk.server", "--listen", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("--listen: 'nowhere' is not allowed; HOST:PORT is")
    assert done.stderr.count("\n") == 1


def test_a_log_of_one_server_is_not_taken_for_a_log_of_three(tmp_path: Path) -> None:
    with start_server(tmp_path) as alone:
        alone.terminate()
    ports = free_ports(3)
    peers = [(ServerId(n), Address("127.0.0.1", port)) for n, port in enumerate(ports, 1)]
    server = ServerProcess(ServerId(1), alone.address, tmp_path, peers)
    server.start()
    assert server.wait() == 1
    assert "the log belongs to an ensemble of the servers 1, but this one is configured for 1, 2, 3" in server.log


def test_a_server_of_another_ensemble_is_turned_away(tmp_path: Path) -> None:
    ports = free_ports(4)
    peers = [(ServerId(n), Address("127.0.0.1", port)) for n, port in zip((1, 2), ports, strict=False)]
    listens = [Address("127.0.0.1", port) for port in ports[2:]]
    ours = ServerProcess(ServerId(1), listens[0], tmp_path / "1", peers)
    theirs = ServerProcess(ServerId(2), listens[1], tmp_path / "2", peers, ["--cluster", "other"])
    try:
        ours.start()
        theirs.start()
        ours.wait_for_line("belongs to the ensemble 'other', this server to 'zk'")
        theirs.wait_for_line("belongs to the ensemble 'zk', this server to 'other'")
    finally:
        ours.kill()
        theirs.kill()


# ---- stop


def test_sigterm_closes_the_clients_and_ends_the_process_with_0() -> None:
    with quick_directory() as data, start_server(data) as server, session(server) as client:
        client.create("/a")
        started = time.monotonic()
        server.signal(signal.SIGTERM)
        assert client.socket.recv(1_000) == b""
        client.socket.close()
        assert server.wait() == 0
        assert time.monotonic() - started < STOP_S


def test_sigterm_answers_what_is_under_way(tmp_path: Path) -> None:
    with start_server(tmp_path / "data") as server, session(server) as client:
        server.signal(signal.SIGSTOP)
        client.send(Create("/under-way", b""))
        server.signal(signal.SIGCONT)
        client.send(Sync())
        body = client.ask(Sync())  # all before it is answered
        assert not isinstance(body, Exception)
        server.signal(signal.SIGTERM)
        assert client.socket.recv(1_000) == b""
        client.socket.close()
        assert server.wait() == 0


def test_sigterm_does_not_wait_for_a_client_that_takes_nothing() -> None:
    with quick_directory() as data, start_server(data) as server, session(server) as client:
        client.ask(Create("/big", bytes(1_000_000)))
        for _ in range(50):
            client.send(GetData("/big"))
        started = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - started < STOP_S


def test_a_leader_that_is_told_to_stop_hands_over() -> None:
    with quick_directory() as data, start_ensemble(data) as ensemble:
        leader = ensemble.leader()
        rest = [server for server in ensemble.servers if server is not leader]
        with session(rest[0]) as client:
            client.create("/before")
        seen = {server.id: len(server.lines) for server in rest}
        started = time.monotonic()
        assert leader.terminate() == 0
        assert time.monotonic() - started < STOP_S
        for server in rest:
            server.wait_for_line(": serving", since=seen[server.id])
        assert time.monotonic() - started < STOP_S
        with session(rest[1]) as client:
            assert not isinstance(client.ask(Sync()), Exception)
            assert client.has("/before")
            client.create("/after")


# ---- kill


def test_another_leads_when_the_leader_is_killed_and_the_killed_one_catches_up(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        leader = ensemble.leader()
        rest = [server for server in ensemble.servers if server is not leader]
        with session(leader) as client:
            for n in range(100):
                client.create(f"/a{n}")
        leader.kill()
        ensemble.wait_for_leader(leader)  # the others may still call it their leader for a moment
        ensemble.wait_until_serving()
        with session(rest[0]) as client:
            assert not isinstance(client.ask(Sync()), Exception)
            assert all(client.has(f"/a{n}") for n in range(100))
            for n in range(100):
                client.create(f"/b{n}")
        leader.start()
        leader.wait_until_serving()
        assert same_everywhere(ensemble)


def test_a_leader_that_was_paused_follows_its_successor(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        paused = ensemble.leader()
        rest = [server for server in ensemble.servers if server is not paused]
        seen = {server.id: len(server.lines) for server in ensemble.servers}
        paused.signal(signal.SIGSTOP)
        for server in rest:
            server.wait_for_line(": serving", since=seen[server.id])
        with session(rest[0]) as client:
            client.create("/meanwhile")
        paused.signal(signal.SIGCONT)
        paused.wait_for_line(f"server {paused.id} follows", since=seen[paused.id])
        with session(paused) as client:
            assert not isinstance(client.ask(Sync()), Exception)
            assert client.has("/meanwhile")


def test_all_killed_at_the_same_moment_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        acknowledged: list[str] = []
        for attempt in range(3):
            with session(ensemble.servers[attempt]) as client:
                for n in range(50):
                    acknowledged.append(f"/{attempt}-{n}")
                    client.create(acknowledged[-1])
                for n in range(20):
                    client.send(Create(f"/unknown-{attempt}-{n}", b""))
                ensemble.kill()
            ensemble.start()
            ensemble.wait_until_serving()
            with session(ensemble.servers[2 - attempt]) as client:
                assert not isinstance(client.ask(Sync()), Exception)
                assert all(client.has(path) for path in acknowledged)
        assert same_everywhere(ensemble)


def test_containers_are_looked_after_as_often_as_the_operator_says() -> None:
    options = ("--container-check-ms", "50")
    with quick_directory() as data, start_server(data, options=options) as server, session(server) as client:
        assert isinstance(client.ask(Create("/container", b"", mode=CreateMode.CONTAINER)), Created)
        client.create("/container/child")
        assert client.ask(Delete("/container/child")) == DONE
        deadline_s = time.monotonic() + 5
        while not isinstance(client.ask(GetData("/container")), NoNodeError):
            assert time.monotonic() < deadline_s


def same_everywhere(ensemble: Ensemble) -> bool:
    """Whether all servers hold the same, once each has caught up with what was committed."""
    with ExitStack() as stack:
        clients = [stack.enter_context(session(server)) for server in ensemble.servers]
        for client in clients:  # only now, for each session that is opened is a transaction too
            assert not isinstance(client.ask(Sync()), Exception)
        return len({everything(server.status()) for server in ensemble.servers}) == 1


def test_the_largest_write_that_may_be_allowed_passes_through_an_ensemble(tmp_path: Path) -> None:
    config = tmp_path / "zk.toml"
    config.write_text(f"[limits]\nframe_bytes_max = {32 * MIB}\ndata_bytes_max = {32 * MIB}\n")
    data = bytes(32 * MIB - KIB)
    with start_ensemble(tmp_path, options=("--config", str(config))) as ensemble:
        leader = ensemble.leader()
        for server in ensemble.servers:
            with session(server) as client:
                assert client.ask(Create(f"/{server.id}", data)) == Created(f"/{server.id}", ANY)
        assert (ensemble.leader(), leader.status().epoch) == (leader, 1)


def test_a_server_imports_nothing_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zk.py").write_text("raise SystemExit('of somebody else')")
    monkeypatch.chdir(tmp_path)
    with start_server(tmp_path / "data") as server, session(server) as opened:
        opened.create("/a")
        assert opened.has("/a")
