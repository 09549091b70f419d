"""etcd itself, as Debian packages it: what benchmarks compare this service with.

    with start_etcd(directory, size=3) as etcd:
        …  # etcd.hosts

Where it is not installed, `etcd_missing` says what is. No process is left behind.
"""

import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from zk.server.config import Address
from zk.server.testing import AGAIN_S, free_ports

START_TIMEOUT_S = 30.0
ASK_TIMEOUT_S = 5.0


def etcd_missing() -> str | None:
    """Why etcd can't be started here; None if it can."""
    return None if shutil.which("etcd") else "there is no etcd: Debian's package etcd-server has it"


def ask(hosts: str, path: str, body: object = None) -> dict[str, object]:
    """A request to the JSON gateway of one server: POST if there is a body. OSError if it can't be asked or refuses."""
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"http://{hosts}{path}", data, ASK_TIMEOUT_S) as response:
        answer: dict[str, object] = json.load(response)
    return answer


class EtcdProcess:
    """One server of etcd, running; its data and log are in `directory`."""

    def __init__(self, name: str, listen: Address, peer: Address, cluster: str, directory: Path) -> None:
        self.address = listen
        self._log = directory / f"{name}.log"
        client, peers = f"http://{listen}", f"http://{peer}"
        command = ["etcd", "--name", name, "--data-dir", str(directory / name), "--logger", "zap"]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", cluster]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    @property
    def hosts(self) -> str:
        """Where it listens, as a client takes it."""
        return str(self.address)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """kill -9, and wait until it is dead."""
        self._process.kill()
        self._process.wait()

    def leads(self) -> bool:
        status = ask(self.hosts, "/v3/maintenance/status", {})
        assert isinstance(status["header"], dict)
        return bool(status["leader"] == status["header"]["member_id"])

    def wait_until_serving(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it serves clients, and all servers agree on its answer."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                if ask(self.hosts, "/health") == {"health": "true"}:
                    return
            except OSError:  # it does not listen yet, or has no leader
                pass
            if self._process.poll() is not None:
                raise ChildProcessError(f"etcd ended at its start:\n{self._log.read_text(errors='replace')}")
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"waited {timeout_s} s for etcd:\n{self._log.read_text(errors='replace')}")
            time.sleep(AGAIN_S)


class Etcd:
    """Some servers of etcd that belong together."""

    def __init__(self, servers: Sequence[EtcdProcess]) -> None:
        self.servers = tuple(servers)

    @property
    def hosts(self) -> str:
        """Where they listen, as a client takes it."""
        return ",".join(server.hosts for server in self.servers)

    def leader(self) -> EtcdProcess:
        return next(server for server in self.servers if server.leads())


@contextmanager
def start_etcd(directory: Path, size: int = 1) -> Iterator[Etcd]:
    """etcd with its defaults, alone or as a cluster, serving; data in subdirectories of `directory`."""
    if missing := etcd_missing():
        raise FileNotFoundError(missing)
    directory.mkdir(parents=True, exist_ok=True)
    clients, peers = (ports := [Address("127.0.0.1", port) for port in free_ports(2 * size)])[:size], ports[size:]
    cluster = ",".join(f"etcd-{n}=http://{peer}" for n, peer in enumerate(peers, 1))
    with ExitStack() as stack:
        servers = []
        for n, (client, peer) in enumerate(zip(clients, peers, strict=True), 1):
            server = EtcdProcess(f"etcd-{n}", client, peer, cluster, directory)
            stack.callback(server.kill)
            servers.append(server)
        for server in servers:
            server.wait_until_serving()
        yield Etcd(servers)
