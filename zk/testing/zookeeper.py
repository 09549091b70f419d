"""Apache ZooKeeper itself, as Debian packages it: what tests compare this service with, and benchmarks.

    with start_zookeeper(directory, size=3) as zookeeper:
        KazooClient(zookeeper.hosts)

Where it is not installed, `zookeeper_missing` says what is, and tests skip. No process is left behind.
"""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zk.server.config import Address
from zk.server.testing import AGAIN_S, free_ports

JAR = Path("/usr/share/java/zookeeper.jar")
START_TIMEOUT_S = 60.0
_MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
_QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m")


def zookeeper_missing() -> str | None:
    """Why ZooKeeper can't be started here; None if it can."""
    if not JAR.exists():
        return f"{JAR} is not there: Debian's package libzookeeper-java has it"
    return None if shutil.which("java") else "there is no java"


class ZooKeeperProcess:
    """One server of Apache ZooKeeper; its configuration, data and log are in `directory`.

    `settings` are lines of zoo.cfg, `properties` Java's (without "-D"). `quick_start` spares the Java compiler its
    work: it starts sooner, and serves more slowly.
    """

    def __init__(
        self,
        listen: Address,
        directory: Path,
        settings: Mapping[str, str],
        properties: Mapping[str, str],
        quick_start: bool,
    ) -> None:
        self.address = listen
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        lines = {
            "tickTime": "2000",
            "initLimit": "10",
            "syncLimit": "5",
            "dataDir": str(directory),
            "clientPort": str(listen.port),
            "clientPortAddress": listen.host,
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            **settings,
        }
        config = directory / "zoo.cfg"
        config.write_text("".join(f"{name}={value}\n" for name, value in lines.items()))
        options = (*(_QUICK_START if quick_start else ()), *(f"-D{name}={value}" for name, value in properties.items()))
        self._command = ["java", *options, "-cp", str(JAR), _MAIN, str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def hosts(self) -> str:
        """Where it listens, as a client takes it."""
        return str(self.address)

    @property
    def pid(self) -> int:
        assert self._process is not None, "it was never started"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        assert not self.running, "it runs already"
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def ask(self, word: str) -> str:
        """The answer to a four-letter word. OSError if it can't be asked."""
        with socket.create_connection((self.address.host, self.address.port), timeout=5.0) as asked:
            asked.sendall(word.encode())
            answer = b""
            while data := asked.recv(65_536):
                answer += data
        return answer.decode()

    def wait_until_serving(self, timeout_s: float = START_TIMEOUT_S) -> str:
        """Wait until it serves clients; what it is: 'standalone', 'leader' or 'follower'."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                answer = self.ask("srvr")
            except OSError:
                answer = ""
            for line in answer.splitlines():
                if line.startswith("Mode: "):
                    return line.removeprefix("Mode: ")
            log = (self.directory / "log").read_text(errors="replace")
            if not self.running:
                raise ChildProcessError(f"ZooKeeper ended at its start:\n{log}")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"waited {timeout_s} s for ZooKeeper to serve: {answer}\n{log}")
            time.sleep(AGAIN_S)


class ZooKeeper:
    """Some servers of Apache ZooKeeper that belong together."""

    def __init__(self, servers: Sequence[ZooKeeperProcess]) -> None:
        self.servers = tuple(servers)

    @property
    def hosts(self) -> str:
        """Where they listen, as a client takes it."""
        return ",".join(server.hosts for server in self.servers)

    def leader(self) -> ZooKeeperProcess:
        return next(server for server in self.servers if server.wait_until_serving() in ("leader", "standalone"))


@contextmanager
def start_zookeeper(
    directory: Path,
    size: int = 1,
    *,
    settings: Mapping[str, str] | None = None,
    properties: Mapping[str, str] | None = None,
    quick_start: bool = False,
) -> Iterator[ZooKeeper]:
    """ZooKeeper with its defaults, alone or as an ensemble, serving; data in subdirectories of `directory`."""
    clients, quorum, election = (ports := free_ports(3 * size))[:size], ports[size : 2 * size], ports[2 * size :]
    members = {f"server.{n}": f"127.0.0.1:{quorum[n - 1]}:{election[n - 1]}" for n in range(1, size + 1) if size > 1}
    with ExitStack() as stack:
        servers = []
        for n, port in enumerate(clients, 1):
            own = directory / f"zookeeper-{n}"
            lines = {**members, **(settings or {})}
            server = ZooKeeperProcess(Address("127.0.0.1", port), own, lines, properties or {}, quick_start)
            (own / "myid").write_text(f"{n}\n")
            stack.callback(server.kill)
            server.start()
            servers.append(server)
        for server in servers:
            server.wait_until_serving()
        yield ZooKeeper(servers)
