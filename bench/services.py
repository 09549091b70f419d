"""The services that benchmarks put side by side, by the name of the wire that the load generator speaks to them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from etcd_server import start_etcd
from zk.server.testing import start_ensemble
from zk.testing.zookeeper import start_zookeeper


class Server(Protocol):
    """One process."""

    @property
    def hosts(self) -> str: ...

    @property
    def pid(self) -> int: ...

    def kill(self) -> None: ...


class Service(Protocol):
    """Servers that belong together."""

    @property
    def hosts(self) -> str: ...

    @property
    def servers(self) -> Sequence[Server]: ...

    def leader(self) -> Server: ...


NAMES: Mapping[str, str] = {"native": "zk", "zookeeper": "ZooKeeper", "etcd": "etcd"}
START: Mapping[str, Callable[[Path, int], AbstractContextManager[Service]]] = {
    "native": start_ensemble,
    "zookeeper": start_zookeeper,
    "etcd": start_etcd,
}
"""Each starts so many servers, serving, with their data in a directory, which may be that of earlier ones."""
