"""What the README and the examples show runs as written, but for the ports: it can run beside other servers."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from zk.server.testing import ServerProcess, free_ports, start_server

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
PYTHON = [text for language, text in BLOCKS if language == "python"]
TIMEOUT_S = 60


def environment(**more: str) -> dict[str, str]:
    """This one, with the commands of the running Python first, and no settings of the caller's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZK_")}
    return clean | {"PATH": f"{Path(sys.executable).parent}:{clean['PATH']}"} | more


@pytest.fixture(scope="module")
def base_port() -> Iterator[int]:
    """The README's ensemble, started by the README's command, on other ports."""
    [start] = [text for text in SHELL if "ensemble up" in text]
    port = free_ports(6)[0]
    command = start.strip().replace("2181", str(port))
    with running(command) as process:
        assert process.stdout is not None
        serving = (line for line in process.stdout if "serving" in line)
        assert len(list(itertools.islice(serving, 3))) == 3
        yield port


@contextmanager
def running(command: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_S)


def with_ports(text: str, base_port: int) -> str:
    return re.sub(r"\b218([123])\b", lambda found: str(base_port + int(found[1]) - 1), text)


@pytest.mark.slow
def test_the_tour_of_the_readme_runs_as_written(base_port: int) -> None:
    [tour] = [text for text in SHELL if "ZK_SERVER" in text]
    script = "set -e\n" + with_ports(tour, base_port)
    done = subprocess.run(
        ["/bin/sh", "-c", script], input="ls /\n", capture_output=True, text=True, env=environment(), timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{"db": "db2.example.org"}' in done.stdout
    [program] = PYTHON
    done = subprocess.run(
        [sys.executable, "-c", with_ports(program, base_port)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '{"db": "db2.example.org"}\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(tmp_path_factory.mktemp("examples") / "data") as running_server:
        yield running_server


def run_example(name: str, *arguments: str) -> list[str]:
    """The lines that an example prints; it must be short, and end well."""
    source = ROOT / "examples" / f"{name}.py"
    assert len(source.read_text().splitlines()) <= 60
    done = subprocess.run(
        [sys.executable, str(source), *arguments], capture_output=True, text=True, env=environment(), timeout=TIMEOUT_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_lock_example(server: ServerProcess) -> None:
    first, last = run_example("lock", str(server.address))
    assert re.fullmatch(r"lock held; fencing token \d+", first)
    assert last == "lock released"


def test_the_leader_election_example(server: ServerProcess) -> None:
    first, last = run_example("leader_election", "anna", str(server.address))
    assert re.fullmatch(r"anna leads; token \d+", first)
    assert last == "anna steps down"
