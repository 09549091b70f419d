"""Fixtures for the tests of programs that use the service; pytest finds them once this package is installed.

| fixture | for | what |
|---|---|---|
| `zk_server` | the whole run | a server process of this run's own, shared by all tests: don't harm it |
| `zk_hosts` | one test | where clients find `zk_server`, in a corner (a chroot) that is this test's own |
| `zk_client` | one test | a `ZooKeeper` in that corner |
| `azk` | one test | an `AsyncZooKeeper` in that corner, to be entered: `async with azk` |
| `zk_ensemble` | one test | three server processes, to be killed, paused and started again |

Everything is imported inside the fixtures, since every run of pytest imports this file.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from zkclient import AsyncZooKeeper, ZooKeeper

    from zk.server.testing import Ensemble, ServerProcess

OPTIONS = ("--session-timeout-ms", "100:40000")  # short sessions, for tests that wait for their end
_corners = count(1)


@pytest.fixture(scope="session")
def zk_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server process that serves as long as the tests run, for all of them: so don't kill or pause it."""
    from zk.server.testing import start_server

    with start_server(tmp_path_factory.mktemp("zk") / "data", options=OPTIONS) as server:
        yield server


@pytest.fixture(scope="session")
def _zk_root(zk_server: ServerProcess) -> Iterator[ZooKeeper]:
    from zkclient import ZooKeeper

    with ZooKeeper(zk_server.hosts) as zk:
        yield zk


@pytest.fixture
def zk_hosts(zk_server: ServerProcess, _zk_root: ZooKeeper) -> str:
    """What to give to the program under test: 'host:port/corner', where it has a tree of its own, empty at first."""
    corner = _zk_root.create(f"/test-{next(_corners)}")
    return f"{zk_server.hosts}{corner}"


@pytest.fixture
def zk_client(zk_hosts: str) -> Iterator[ZooKeeper]:
    """A blocking client in the test's corner. Its session ends with the test."""
    from zkclient import ZooKeeper

    with ZooKeeper(zk_hosts) as zk:
        yield zk


@pytest.fixture
def azk(zk_hosts: str) -> AsyncZooKeeper:
    """A client for coroutines in the test's corner, whichever plugin runs them: to be entered by `async with azk`."""
    from zkclient import AsyncZooKeeper

    return AsyncZooKeeper(zk_hosts)


@pytest.fixture
def zk_ensemble(tmp_path: Path) -> Iterator[Ensemble]:
    """Three server processes of the test's own, serving: `kill`, `pause` and `start` them as you like."""
    from zk.server.testing import start_ensemble

    with start_ensemble(tmp_path / "zk", options=OPTIONS) as ensemble:
        yield ensemble
