"""Real server processes for tests, benchmarks and the demo: started on free ports, watched, killed, started again.

Everything waits for events (a line of a server's log, the end of a process) up to a deadline; where there is no event,
servers are asked again and again. The context managers leave no process behind.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

from zk.model.errors import APIError
from zk.model.record import ServerId, SessionId
from zk.model.replies import Body, ConnectReply, Reply, StatusReply
from zk.model.requests import Call, ClientRequest, ClientWrite, Connect, GetStatus
from zk.server.config import Address
from zk.wire.native import ClientConnection

T = TypeVar("T")

TIMEOUT_S = 20.0
AGAIN_S = 0.02  # between two questions to the same servers
SERVING = ("leader", "follower", "learner")
VOTING = ("leader", "follower")


class ServerProcess:
    """One `python -m zk.server` of the zk that is imported here, also where the working directory has another one
    (`-P`). `lines` is what it has logged, over all its lives.

    `prefix` is a command that runs the server's own, in its own process: ("env", "NAME=value"), ("nsenter", …).
    """

    def __init__(
        self,
        server_id: ServerId,
        listen: Address,
        data: Path,
        peers: Sequence[tuple[ServerId, Address]] = (),
        options: Sequence[str] = (),
        on_line: Callable[[str], None] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.id = server_id
        self.address = listen
        self.data = data
        self.lines: list[str] = []
        self._command = [*prefix, sys.executable, "-P", "-m", "zk.server", "--id", str(server_id)]
        self._command += ["--listen", str(listen), "--data", str(data)]
        for peer, address in peers:
            self._command += ["--peer", f"{peer}={address}"]
        self._command += options
        self._on_line = on_line
        self._changed = threading.Condition()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    # ---- life and death

    def start(self) -> None:
        assert not self.running, "it runs already"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ZK_")}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()

    @property
    def hosts(self) -> str:
        """Where it listens, as a client takes it."""
        return str(self.address)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was never started"
        return self._process.pid

    def signal(self, number: int) -> None:
        """SIGTERM, SIGINT …"""
        os.kill(self.pid, number)

    def pause(self) -> None:
        """SIGSTOP, and wait until it stands still."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        if self.running:
            self.signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> int:
        """SIGTERM, and wait; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Wait for the end of the process; the exit code, or minus the signal that killed it."""
        assert self._process is not None, "it was never started"
        code = self._process.wait(timeout_s)
        if self._reader is not None:
            self._reader.join(timeout_s)
        return code

    # ---- what it says and does

    def status(self, timeout_s: float = 5.0) -> StatusReply:
        """Ask it what it is doing. OSError if it can't be asked."""
        connection = ClientConnection("zk.server.testing")
        with socket.create_connection((self.address.host, self.address.port), timeout_s) as asked:
            asked.sendall(connection.hello() + connection.call(Call(1, GetStatus())))
            while data := asked.recv(65_536):
                for item in connection.receive(data):
                    if isinstance(item, Reply) and isinstance(item.body, StatusReply):
                        return item.body
        raise ConnectionError(f"server {self.id} closed the connection instead of answering")

    def wait_for_line(self, text: str, since: int = 0, timeout_s: float = TIMEOUT_S) -> str:
        """The first line of its log that contains `text`, from line `since` on."""
        return self._wait(lambda: next((line for line in self.lines[since:] if text in line), None), text, timeout_s)

    def wait_until_serving(self, timeout_s: float = TIMEOUT_S) -> StatusReply:
        """Its status, once it serves clients."""

        def serving() -> StatusReply | None:
            try:
                status = self.status()
            except OSError:
                return None
            return status if status.role in SERVING and status.leader else None

        return self._wait(serving, "that it serves", timeout_s)

    def _wait(self, look: Callable[[], T | None], what: str, timeout_s: float) -> T:
        """Look, and again after every line that it logs."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            count = len(self.lines)
            found = look()
            if found is not None:
                return found
            with self._changed:
                left_s = deadline_s - time.monotonic()
                if not self._changed.wait_for(partial(self._has_news, count), left_s):
                    raise TimeoutError(f"server {self.id}: waited {timeout_s} s for {what}:\n{self.log}")
            if not self.running and len(self.lines) == count:
                raise ChildProcessError(f"server {self.id} ended, while waited for {what}:\n{self.log}")

    def _has_news(self, since: int) -> bool:
        return len(self.lines) > since or not self.running

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stderr is not None
        with process.stderr as stderr:
            for line in stderr:
                with self._changed:
                    self.lines.append(line.rstrip("\n"))
                    self._changed.notify_all()
                if self._on_line is not None:
                    self._on_line(line.rstrip("\n"))
        process.wait()
        with self._changed:
            self._changed.notify_all()


class Ensemble:
    """Some servers that belong together."""

    def __init__(self, servers: Sequence[ServerProcess]) -> None:
        self.servers = tuple(servers)

    @property
    def hosts(self) -> str:
        """Where they listen, as a client takes it."""
        return ",".join(server.hosts for server in self.servers)

    def server(self, server_id: int) -> ServerProcess:
        return next(server for server in self.servers if server.id == server_id)

    def others(self, *apart_from: ServerProcess) -> tuple[ServerProcess, ...]:
        return tuple(server for server in self.servers if server not in apart_from)

    def start(self) -> None:
        """Start all that are not running."""
        for server in self.servers:
            if not server.running:
                server.start()

    def wait_until_serving(self, timeout_s: float = TIMEOUT_S) -> ServerProcess:
        """Wait until all running servers serve; the leader."""
        statuses = [server.wait_until_serving(timeout_s) for server in self.servers if server.running]
        return self.server(statuses[0].leader)

    def leader(self, timeout_s: float = TIMEOUT_S) -> ServerProcess:
        """The server that the first running one takes for the leader."""
        return self.server(next(s for s in self.servers if s.running).wait_until_serving(timeout_s).leader)

    def wait_for_leader(self, other_than: ServerProcess, timeout_s: float = TIMEOUT_S) -> ServerProcess:
        """Wait until another server than this one leads; to be asked while this one is stopped or dead."""
        asked = next(server for server in self.servers if server.running and server is not other_than)
        deadline_s = time.monotonic() + timeout_s
        while (leader := asked.wait_until_serving(timeout_s).leader) == other_than.id:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"waited {timeout_s} s for another leader than {other_than.id}:\n{asked.log}")
            time.sleep(AGAIN_S)
        return self.server(leader)

    def wait_until_agreed(self, timeout_s: float = TIMEOUT_S) -> StatusReply:
        """Wait until all servers have a vote and hold the same tree; the leader's status.

        Trees that differ at the same zxid would do so for ever: that is an AssertionError at once.
        """
        self.wait_until_serving(timeout_s)
        deadline_s = time.monotonic() + timeout_s
        while True:
            statuses = [server.status() for server in self.servers]
            trees = {(status.zxid, status.digest) for status in statuses}
            assert len(trees) == len({zxid for zxid, _ in trees}), f"different trees at the same zxid: {statuses}"
            leading = [status for status in statuses if status.role == "leader"]
            if len(trees) == len(leading) == 1 and all(status.role in VOTING for status in statuses):
                return leading[0]
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"waited {timeout_s} s for the servers to agree: {statuses}")
            time.sleep(AGAIN_S)

    def kill(self) -> None:
        """kill -9 all of them at the same moment."""
        running = [server for server in self.servers if server.running]
        for server in running:
            server.signal(signal.SIGKILL)
        for server in running:
            server.wait()


class Session:
    """A client with one connection to one server, which asks and waits for the answer: to see exactly what that server
    says. It sends nothing by itself, no pings either."""

    def __init__(self, server: ServerProcess, timeout_ms: int = 40_000, earlier: "Session | None" = None) -> None:
        """Open a session, or attach `earlier` again. APIError if the server refuses, ConnectionError if it ends the
        connection, as it does when it loses its leader meanwhile."""
        self._native = ClientConnection("zk.server.testing")
        self._xid: int = 0 if earlier is None else earlier._xid
        self._answered = self._xid
        self._answers: dict[int, Reply] = {}
        self.id: SessionId = SessionId(0) if earlier is None else earlier.id
        self.secret: bytes = b"" if earlier is None else earlier.secret
        self.socket = socket.create_connection((server.address.host, server.address.port), TIMEOUT_S)
        try:
            self.socket.sendall(self._native.hello())
            body = self.ask(Connect(self.id, self.secret, timeout_ms))
        except OSError:
            self.socket.close()
            raise
        if isinstance(body, Exception):
            self.socket.close()
            raise body
        assert isinstance(body, ConnectReply)
        self.id, self.secret = body.session_id, body.secret

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection. The session stays, until it expires."""
        self.socket.close()

    def ask(self, request: ClientRequest, *, linearizable: bool = False) -> Body | APIError:
        """The answer to `request`."""
        return self.answer(self.send(request, linearizable=linearizable))

    def send(self, request: ClientRequest, *, linearizable: bool = False) -> int:
        """Send a request without waiting; its number, for `answer`."""
        self._xid += 1
        floor = self._answered + 1 if isinstance(request, ClientWrite) else 0
        call = Call(self._xid, request, floor=floor, linearizable=linearizable)
        self.socket.sendall(self._native.call(call))
        return self._xid

    def answer(self, xid: int) -> Body | APIError:
        """The answer to what was sent with this number. ConnectionError if the server closed the connection."""
        while xid not in self._answers:
            data = self.socket.recv(65_536)
            if not data:
                raise ConnectionError("the server closed the connection")
            for item in self._native.receive(data):
                if isinstance(item, Reply):
                    self._answers[item.xid] = item
                    self._answered = item.xid
        return self._answers.pop(xid).body


@contextmanager
def start_server(data: Path, *, options: Sequence[str] = ()) -> Iterator[ServerProcess]:
    """One server alone, serving."""
    [port] = free_ports(1)
    server = ServerProcess(ServerId(1), Address("127.0.0.1", port), data, (), options)
    with running([server]):
        yield server


@contextmanager
def start_ensemble(
    directory: Path, size: int = 3, *, options: Sequence[str] = (), on_line: Callable[[int, str], None] | None = None
) -> Iterator[Ensemble]:
    """Servers 1 to `size`, serving; their data in subdirectories of `directory`. `on_line` hears what each logs."""
    ports = free_ports(2 * size)
    peers = [(ServerId(n), Address("127.0.0.1", port)) for n, port in enumerate(ports[size:], 1)]
    servers = []
    for (server_id, _), port in zip(peers, ports, strict=False):
        hear = None if on_line is None else lambda line, n=server_id: on_line(n, line)
        address = Address("127.0.0.1", port)
        servers.append(ServerProcess(server_id, address, directory / f"server-{server_id}", peers, options, hear))
    with running(servers) as ensemble:
        yield ensemble


@contextmanager
def running(servers: Sequence[ServerProcess]) -> Iterator[Ensemble]:
    """These servers, serving."""
    ensemble = Ensemble(servers)
    try:
        ensemble.start()
        ensemble.wait_until_serving()
        yield ensemble
    finally:
        for server in ensemble.servers:
            if server.running:
                server.signal(signal.SIGKILL)  # also ends one that was stopped
                server.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time that a process has taken so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on; below those that the kernel gives to outgoing connections."""
    held: list[socket.socket] = []
    first = random.randrange(11_000, 30_000)
    try:
        for port in range(first, 32_000):
            candidate = socket.socket()
            held.append(candidate)
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                held.pop().close()
            if len(held) == count:
                return [listening.getsockname()[1] for listening in held]
    finally:
        for listening in held:
            listening.close()
    raise OSError("no free ports between 11000 and 32000")
