"""A real server for the tests of the commands, and `zk` as a process."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.disks import quick_directory
from zk.server.testing import ServerProcess, start_server


@pytest.fixture(scope="session")
def server() -> Iterator[ServerProcess]:
    with quick_directory() as data, start_server(data) as server:
        yield server


@pytest.fixture
def start(server: ServerProcess, tmp_path: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `zk` as a process, with pipes unless told otherwise; ends those that are left."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **options: int) -> "subprocess.Popen[str]":
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        environment = {**os.environ, "ZK_SERVER": str(server.address), "HOME": str(tmp_path), "TERM": "xterm"}
        started.append(
            subprocess.Popen(  # type: ignore[call-overload]  # the checker can't see through the options
                [sys.executable, "-m", "zk.cli", *arguments], text=True, env=environment, **streams
            )
        )
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()
