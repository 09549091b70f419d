"""A network of its own for a test: hosts in Linux network namespaces, joined by a router that loses what it is told to.

    with open_network(["server-1", "server-2", "clients"]) as network, network.entered("clients"):
        ...                                   # sockets of this thread, and of what it starts, are the client's
        network.cut(between(["server-1"], ["server-2"]))
        network.heal()

Every host has one interface and one address, and all traffic between two of them passes the router, in one namespace
more, where nftables forwards, drops or rejects it. The namespaces have no names: they are held open by this process
alone, so that nothing is left of them when it ends, however it ends; the machine's own network is never touched.

Needs root, and the commands `ip`, `nft` and `nsenter`: `why_not` says what is missing.
"""

import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from itertools import product
from pathlib import Path

from zk.model.record import ServerId, record
from zk.server.config import Address
from zk.server.testing import Ensemble, ServerProcess, running

CLIENT_PORT = 2181
PEER_PORT = 2888
CLIENTS = "clients"
HOSTS_MAX = 200  # by the addresses: 10.77.HOST.2

_COMMANDS = ("ip", "nft", "nsenter")
_CLONE_NEWNET = 0x4000_0000

Way = tuple[str, str]
"""From one host to another; the way back is another."""


class Loss(Enum):
    """What the router does with a packet on a cut way. The value is nftables' word for it."""

    SILENT = "drop"
    """It vanishes: the sender learns nothing."""
    REFUSED = "reject with tcp reset"
    """The sender's connection is reset at once."""


class NoNetworkError(Exception):
    """This machine can't give a test a network of its own; the text says why."""


@record
class Host:
    """`namespace` is a path that holds as long as the network is open; `prefix` is for `ServerProcess`."""

    name: str
    address: str
    namespace: str

    @property
    def prefix(self) -> tuple[str, ...]:
        """Put before a command, it runs the command on this host, in the same process."""
        return ("nsenter", f"--net={self.namespace}")


class Network:
    """Made by `open_network`."""

    def __init__(self, router: Host, hosts: Sequence[Host]) -> None:
        self._router = router
        self._hosts = {host.name: host for host in hosts}

    def host(self, name: str) -> Host:
        return self._hosts[name]

    @contextmanager
    def entered(self, name: str) -> Iterator[None]:
        """Inside the block this thread is on that host, with the sockets it opens, the threads and the processes it
        starts. Sockets that were open before stay where they are."""
        with _entered(self.host(name).namespace):
            yield

    def cut(self, ways: Iterable[Way], loss: Loss = Loss.SILENT) -> None:
        """From now on these ways lose everything, and all others nothing: also what was cut before flows again."""
        lines = []
        for source, target in ways:
            pair = f"ip saddr {self.host(source).address} ip daddr {self.host(target).address}"
            lines.append(f"{pair} meta l4proto tcp {loss.value}")
        self._filter(lines)

    def heal(self) -> None:
        """No way is cut any more."""
        self._filter([])

    def _filter(self, lines: Sequence[str]) -> None:
        """Replace all rules, in one transaction."""
        rules = "".join(f"    {line}\n" for line in lines)
        chain = f"  chain forward {{\n    type filter hook forward priority 0;\n{rules}  }}\n"
        table = "table ip faults"
        _run(self._router, ["nft", "-f", "-"], f"{table}\nflush {table}\n{table} {{\n{chain}}}\n")


def between(left: Iterable[str], right: Iterable[str]) -> tuple[Way, ...]:
    """All ways from each of `left` to each of `right`, and back."""
    pairs = tuple(product(left, right))
    return pairs + tuple((target, source) for source, target in pairs)


def one_way(sources: Iterable[str], targets: Iterable[str]) -> tuple[Way, ...]:
    """All ways from each source to each target, and none back."""
    return tuple(product(sources, targets))


def why_not() -> str:
    """Why there can be no network of namespaces here; "" if there can."""
    missing = [command for command in _COMMANDS if shutil.which(command) is None]
    if missing:
        return f"the commands {', '.join(missing)} are missing (Debian's packages: iproute2, nftables, util-linux)"
    if os.geteuid() != 0:
        return "only root may make network namespaces"
    try:
        with open_network(["probe"]):
            return ""
    except NoNetworkError as error:
        return str(error)


@contextmanager
def open_network(names: Sequence[str]) -> Iterator[Network]:
    """A network with a host of each name. NoNetworkError if this machine doesn't allow it."""
    assert len(names) <= HOSTS_MAX
    with ExitStack() as stack:
        router = Host("router", "", stack.enter_context(_new_namespace()))
        hosts = [
            Host(name, f"10.77.{number}.2", stack.enter_context(_new_namespace()))
            for number, name in enumerate(names, 1)
        ]
        _run(router, ["ip", "link", "set", "lo", "up"])
        for number, host in enumerate(hosts, 1):
            _plug_in(router, number, host)
        with _entered(router.namespace):
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        network = Network(router, hosts)
        network.heal()
        yield network


@record
class Site:
    """An ensemble and the network that it lives in."""

    network: Network
    ensemble: Ensemble

    def others(self, *servers: ServerProcess) -> tuple[ServerProcess, ...]:
        return tuple(server for server in self.ensemble.servers if server not in servers)

    def part(self, left: Sequence[ServerProcess], right: Sequence[ServerProcess], loss: Loss = Loss.SILENT) -> None:
        """From now on the servers of the one side and those of the other can't talk to each other; clients can to
        all."""
        self.network.cut(between(map(host_name, left), map(host_name, right)), loss)


def host_name(server: ServerProcess) -> str:
    """What the host of a server is called."""
    return f"server-{server.id}"


@contextmanager
def start_site(
    directory: Path, size: int = 3, *, guests: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[Site]:
    """Servers 1 to `size`, serving, each on a host of its own; inside the block this thread is on the host CLIENTS.
    `guests` are the names of further hosts without servers."""
    names = [f"server-{number}" for number in range(1, size + 1)]
    with open_network([*names, CLIENTS, *guests]) as network, network.entered(CLIENTS):
        hosts = [network.host(name) for name in names]
        peers = [(ServerId(number), Address(host.address, PEER_PORT)) for number, host in enumerate(hosts, 1)]
        servers = [
            ServerProcess(
                server_id,
                Address(host.address, CLIENT_PORT),
                directory / host.name,
                peers,
                options,
                prefix=host.prefix,
            )
            for (server_id, _), host in zip(peers, hosts, strict=True)
        ]
        with running(servers) as ensemble:
            yield Site(network, ensemble)


def _plug_in(router: Host, number: int, host: Host) -> None:
    port, gateway = f"port{number}", host.address.removesuffix("2") + "1"
    _run(
        router,
        ["ip", "-batch", "-"],
        f"link add name {port} type veth peer name eth0 netns {host.namespace}\n"
        f"addr add {gateway}/24 dev {port}\n"
        f"link set {port} up\n",
    )
    _run(
        host,
        ["ip", "-batch", "-"],
        f"link set lo up\naddr add {host.address}/24 dev eth0\nlink set eth0 up\nroute add default via {gateway}\n",
    )


def _run(host: Host, command: Sequence[str], text: str = "") -> None:
    done = subprocess.run([*host.prefix, *command], input=text, text=True, capture_output=True, check=False)
    if done.returncode != 0:
        raise NoNetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


# ---- namespaces: Python has names for these system calls only from 3.12 on

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise NoNetworkError(f"{what}: {os.strerror(ctypes.get_errno())}")


def _own_namespace() -> int:
    """A file descriptor of the namespace that this thread is in."""
    return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _new_namespace() -> Iterator[str]:
    """A path to a fresh namespace, as good as this process holds it: other processes may use it too."""
    before_fd = _own_namespace()
    try:
        _check(_libc.unshare(_CLONE_NEWNET), "a network namespace can't be made")
        try:
            namespace_fd = _own_namespace()
        finally:
            _check(_libc.setns(before_fd, _CLONE_NEWNET), "there is no way back into the namespace before")
    finally:
        os.close(before_fd)
    try:
        yield f"/proc/{os.getpid()}/fd/{namespace_fd}"
    finally:
        os.close(namespace_fd)


@contextmanager
def _entered(namespace: str) -> Iterator[None]:
    before_fd = _own_namespace()
    inside_fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_libc.setns(inside_fd, _CLONE_NEWNET), f"{namespace} can't be entered")
        try:
            yield
        finally:
            _check(_libc.setns(before_fd, _CLONE_NEWNET), "there is no way back into the namespace before")
    finally:
        os.close(inside_fd)
        os.close(before_fd)
