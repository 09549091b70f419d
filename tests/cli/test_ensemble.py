"""`zk ensemble up` and `zk server`: real processes, started and stopped."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import quick_directory
from tests.ports import free_base_port
from zk.cli import ensemble


def pids_of(log: str) -> set[int]:
    return {int(pid) for pid in re.findall(r"pid (\d+)", log)}


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def temporary() -> Iterator[Path]:
    """The directory for temporary files: what takes longer to stop than a server may is killed."""
    with quick_directory() as directory:
        yield directory


@pytest.fixture
def up(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[str]"]:
    port = free_base_port()
    monkeypatch.setenv("TMPDIR", str(temporary))
    process = subprocess.Popen(
        [sys.executable, "-m", "zk.cli", "ensemble", "up", "--size", "3", "--base-port", str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def wait_until_serving(up: "subprocess.Popen[str]") -> tuple[str, list[str]]:
    """The connect string and the lines of the log until all three serve."""
    assert up.stdout is not None
    assert up.stderr is not None
    connect = up.stdout.readline().strip()
    lines: list[str] = []
    while sum(": serving" in line for line in lines) < 3:
        lines.append(up.stderr.readline())
    return connect, lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ensemble_serves_until_it_is_asked_to_stop(
    up: "subprocess.Popen[str]", number: signal.Signals, temporary: Path
) -> None:
    connect, lines = wait_until_serving(up)
    status = subprocess.run([sys.executable, "-m", "zk.cli", "status", "--server", connect], capture_output=True)
    assert status.returncode == 0
    assert {line[:4] for line in lines if ": serving" in line} == {"s1| ", "s2| ", "s3| "}
    assert any(temporary.iterdir())
    up.send_signal(number)
    out, err = up.communicate(timeout=10)  # the logs end when the servers have: they hold the same pipe
    assert (up.returncode, out) == (0, "")
    assert err.count("exit code 0") == 3
    assert not any(temporary.iterdir())  # the temporary data is gone


def test_no_server_outlives_an_ensemble_that_is_killed(up: "subprocess.Popen[str]") -> None:
    connect, _ = wait_until_serving(up)
    up.kill()
    up.communicate(timeout=10)
    while (
        subprocess.run([sys.executable, "-m", "zk.cli", "status", *connect.split(",")], capture_output=True).returncode
        == 0
    ):
        pass  # they hand over and drain for a moment; pytest's own timeout is the limit


def test_members_have_consecutive_ports_and_directories_of_their_own(tmp_path: Path) -> None:
    members = ensemble.plan(2, 3000, tmp_path)
    assert members == (
        ensemble.Member(1, 3000, 3100, tmp_path / "s1"),
        ensemble.Member(2, 3001, 3101, tmp_path / "s2"),
    )
    assert ensemble.connect_string(members) == "127.0.0.1:3000,127.0.0.1:3001"
