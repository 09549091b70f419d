"""What the README and the examples show runs as written, but for the ports: it can run beside other servers."""

import itertools
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from zkclient import ZooKeeper

from tests.disks import quick_directory
from tests.ports import free_base_port
from zk.server.testing import ServerProcess, start_server

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
SHELL = [text for language, text in BLOCKS if language == "sh"]
PYTHON = [text for language, text in BLOCKS if language == "python"]
TIMEOUT_S = 60
CRON_RUNS = 6  # more than one server has time for before the other is there


def environment(**more: str) -> dict[str, str]:
    """This one, with the commands of the running Python first, and no settings of the caller's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ZK_")}
    return clean | {"PATH": f"{Path(sys.executable).parent}:{clean['PATH']}"} | more


@pytest.fixture(scope="module")
def base_port() -> Iterator[int]:
    """The README's ensemble, started by the README's command, on other ports."""
    [start] = [text for text in SHELL if "ensemble up" in text]
    port = free_base_port()
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
    for_tasks, for_threads = (
        subprocess.run(
            [sys.executable, "-c", with_ports(program, base_port)],
            capture_output=True,
            text=True,
            env=environment(),
            timeout=TIMEOUT_S,
        )
        for program in PYTHON
    )
    assert (for_tasks.returncode, for_tasks.stdout) == (0, '{"db": "db2.example.org"}\n'), for_tasks.stderr
    assert (for_threads.returncode, for_threads.stdout) == (0, '{"db": "db3.example.org"}\n'), for_threads.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with quick_directory() as data, start_server(data) as running_server:
        yield running_server


def example(name: str, server: ServerProcess, *arguments: str) -> list[str]:
    """The command that runs an example; it must be short."""
    source = ROOT / "examples" / f"{name}.py"
    assert len(source.read_text().splitlines()) <= 60
    return [sys.executable, str(source), *arguments[:1], "--server", str(server.address), *arguments[1:]]


def run_example(name: str, server: ServerProcess, *arguments: str) -> list[str]:
    """The lines that an example prints; it must end well."""
    command = example(name, server, *arguments)
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def started_example(name: str, server: ServerProcess, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """An example that runs beside others; Ctrl-C ends it well, if it has not ended before."""
    command = example(name, server, *arguments)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, errors) == (0, "")


def next_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def test_the_lock_example(server: ServerProcess) -> None:
    first, last = run_example("lock", server)
    assert re.fullmatch(r"lock held; fencing token \d+", first)
    assert last == "lock released"


def test_the_leader_election_example(server: ServerProcess) -> None:
    first, last = run_example("leader_election", server, "anna")
    assert re.fullmatch(r"anna leads; token \d+", first)
    assert last == "anna steps down"


def test_the_config_watch_example(server: ServerProcess) -> None:
    with ZooKeeper(str(server.address)) as zk, started_example("config_watch", server, "/config") as process:
        zk.create("/config", '{"workers": 2}')
        assert next_line(process) == "version 0: {'workers': 2}"
        zk.set("/config", "nonsense")
        assert next_line(process).startswith("version 1 is no JSON")
        zk.set("/config", '{"workers": 5}')
        assert next_line(process) == "version 2: {'workers': 5}"
        zk.delete("/config")
        assert next_line(process) == "deleted"
        process.wait(TIMEOUT_S)


def test_the_service_registry_example(server: ServerProcess) -> None:
    with started_example("service_registry", server) as first:
        one = next_line(first).removeprefix("serving on ")
        assert (next_line(first), next_line(first)) == (f"present: {one}", f"{one} says hello")
        with started_example("service_registry", server) as second:
            two = next_line(second).removeprefix("serving on ")
            both = " ".join(sorted((one, two), key=int))
            assert next_line(second) == f"present: {both}"
            assert next_line(first) == f"present: {both}"
            assert re.fullmatch(rf"({one}|{two}) says hello", next_line(first))
        assert next_line(first) == f"present: {one}"


def test_the_work_queue_example(server: ServerProcess, tmp_path: Path) -> None:
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.write_text("")
    assert run_example("work_queue", server, "put", str(missing), str(there)) == []
    assert run_example("work_queue", server, "work", "--idle", "1") == [
        f"{missing}: No such file or directory, attempt 1",
        f"{missing}: No such file or directory, attempt 2",
        f"e3b0c442 {there}",
        f"given up: {missing}",
    ]


def test_the_distributed_cron_example(server: ServerProcess) -> None:
    """One of two runs the command; when it is stopped, the other one goes on. No run is begun twice."""
    arguments = ("--every=0.5", f"--runs={CRON_RUNS}", "sh", "-c", "echo run $CRON_RUN")
    with started_example("distributed_cron", server, *arguments) as first, ZooKeeper(str(server.address)) as zk:
        assert next_line(first) == "run 1"
        with started_example("distributed_cron", server, *arguments) as second:
            while len(zk.Election("/cron/leader").candidates()) < 2:
                pass
            first.send_signal(signal.SIGINT)
            said = first.communicate(timeout=TIMEOUT_S)[0] + second.communicate(timeout=TIMEOUT_S)[0]
    runs = [line for line in said.splitlines() if "ended" not in line]
    all_runs = [f"run {number}" for number in range(2, CRON_RUNS + 1)]
    assert runs in [all_runs, *([*all_runs[:at], *all_runs[at + 1 :]] for at in range(len(all_runs) - 1))], (
        "all but the one in whose midst the first was stopped, if it was"
    )
