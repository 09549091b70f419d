"""A real server for the client's tests, and clients with a corner of its tree each."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest
from zkclient import AsyncZooKeeper

from tests.disks import quick_directory
from zk.server.testing import ServerProcess, start_server

OPTIONS = ("--session-timeout-ms", "400:40000")


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    """One server for all tests that don't harm it."""
    with quick_directory() as data, start_server(data, options=OPTIONS) as process:
        yield process


@pytest.fixture
def own_server() -> Iterator[ServerProcess]:
    """A server that the test may kill."""
    with quick_directory() as data, start_server(data, options=OPTIONS) as process:
        yield process


_corners = count()


@pytest.fixture
def corner() -> str:
    """A path of the test's own, to be used as a chroot."""
    return f"/corner-{next(_corners)}"


@pytest.fixture
def connect(server: ServerProcess, corner: str) -> Callable[..., AsyncZooKeeper]:
    """Makes clients that live in the test's corner."""

    def connect(address: str = str(server.address), **options: object) -> AsyncZooKeeper:
        return AsyncZooKeeper(f"{address}{corner}", **options)  # type: ignore[arg-type]  # as the test gives them

    return connect
