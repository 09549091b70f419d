"""Fifty processes contend for one lock while the servers are killed with -9, one every two seconds, and start again.
One holder after the other is stopped in the middle (SIGSTOP), until its session is over and another one holds the lock;
then it goes on, none the wiser.

The storm lasts 15 s, or as long as is asked for:

    STRESS_SECONDS=60 python3 -m pytest tests/faults/test_stress.py -rP      # -rP shows the figures
"""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from zkclient import ZooKeeper

from tests.faults.contender import FENCED, LOCK
from zk.model.paths import parent
from zk.server.testing import Ensemble, start_ensemble

STRESS_S = float(os.environ.get("STRESS_SECONDS", "15"))
CONTENDERS = 50
KILL_EVERY_S = 2.0
DEAD_S = 0.7
STOP_EVERY_S = 5.0  # from one that goes on to the next one that is stopped
WATCH_S = 0.1
FINISH_S = 60.0  # to begin, and to end, on a machine that does other things too
SCRIPT = Path(__file__).with_name("contender.py")


class Happened(NamedTuple):
    """A line of the contenders' events."""

    what: str
    contender: int
    token: int
    at_ns: int
    version: int


class Contenders:
    """The processes, and what they tell."""

    def __init__(self, hosts: str, directory: Path) -> None:
        self._directory = directory
        self.errors = directory / "errors"
        with self.errors.open("ab") as errors:
            commands = ([sys.executable, str(SCRIPT), hosts, str(n), str(directory)] for n in range(CONTENDERS))
            self.processes = [subprocess.Popen(command, stderr=errors) for command in commands]

    def events(self) -> list[Happened]:
        events = self._directory / "events"
        lines = events.read_text().splitlines() if events.exists() else []
        return [Happened(line.split()[0], *map(int, line.split()[1:])) for line in lines]

    def told(self, what: str) -> list[Happened]:
        return [event for event in self.events() if event.what == what]

    def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + FINISH_S
        while len(self.told("ready")) < CONTENDERS:
            assert time.monotonic() < deadline_s, self.errors.read_text()
            time.sleep(0.2)

    def finish(self) -> None:
        (self._directory / "over").touch()
        deadline_s = time.monotonic() + FINISH_S
        ended = [process.wait(max(0.0, deadline_s - time.monotonic())) for process in self.processes]
        assert (ended, self.errors.read_text()) == ([0] * CONTENDERS, "")


class Stopper:
    """Has holders stopped, and lets each go on when another one holds the lock; until the end of its block."""

    def __init__(self, contenders: Contenders, directory: Path) -> None:
        self._contenders = contenders
        self._order = directory / "stop"
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Stopper":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            stopped = self._stopped()
            self._order.touch()
            while self._stopped() == stopped and not (self._ending.is_set() and self._withdrawn()):
                time.sleep(WATCH_S)
            if self._stopped() > stopped:
                holder = self._contenders.told("stopped")[-1]
                while not any(event.token > holder.token for event in self._contenders.told("enter")):
                    time.sleep(WATCH_S)
                self._contenders.processes[holder.contender].send_signal(signal.SIGCONT)
            if self._ending.wait(STOP_EVERY_S):
                return

    def _stopped(self) -> int:
        return len(self._contenders.told("stopped"))

    def _withdrawn(self) -> bool:
        """Whether nobody had taken the order yet."""
        try:
            self._order.unlink()
        except FileNotFoundError:
            return False
        return True


@contextmanager
def contending(hosts: str, directory: Path) -> Iterator[Contenders]:
    contenders = Contenders(hosts, directory)
    try:
        contenders.wait_until_ready()
        yield contenders
        contenders.finish()
    finally:
        for process in contenders.processes:
            process.kill()  # those that are left after a failure
            process.wait()


def storm(ensemble: Ensemble) -> int:
    """Kill the servers in turn, and every fourth time the leader. How many were killed."""
    in_turn = itertools.cycle((*(lambda each=each: each for each in ensemble.servers), ensemble.leader))
    began_s = time.monotonic()
    for number, choose in enumerate(in_turn):
        due_s = began_s + number * KILL_EVERY_S
        if due_s >= began_s + STRESS_S:
            return number
        time.sleep(max(0.0, due_s - time.monotonic()))
        killed = choose()
        killed.kill()
        time.sleep(DEAD_S)
        killed.start()
    raise AssertionError("a cycle never ends")


def assert_one_holder_at_a_time(events: Sequence[Happened]) -> None:
    """Each grant has a token of its own, grants follow each other in the order of their tokens, and whoever did not
    lose the lock had left it before the next one came."""
    entered = sorted((event for event in events if event.what == "enter"), key=lambda event: event.at_ns)
    tokens = [event.token for event in entered]
    assert tokens == sorted(set(tokens))
    left_ns = {event.token: event.at_ns for event in events if event.what == "exit"}
    assert left_ns.keys() == set(tokens)
    lost = {event.token for event in events if event.what == "lost"}
    overlaps = [
        (holder, after)
        for holder, after in itertools.pairwise(entered)
        if holder.token not in lost and left_ns[holder.token] > after.at_ns
    ]
    assert overlaps == []


def assert_tokens_went_up(events: Sequence[Happened], version: int) -> None:
    """The fenced node saw each write once, and the tokens in their order. `version` is its last."""
    written = sorted((event for event in events if event.what == "wrote"), key=lambda event: event.version)
    tokens = [event.token for event in written]
    assert tokens == sorted(set(tokens))
    untold = len([event for event in events if event.what == "lost"])  # each may have written without hearing of it
    versions = [event.version for event in written]
    assert versions == sorted(set(versions))
    assert version - untold <= len(versions) <= version


def assert_who_was_stopped_did_nothing(events: Sequence[Happened]) -> None:
    """It had lost the lock when it went on: it was told so, and its write was refused."""
    stopped = {event.token for event in events if event.what == "stopped"}
    assert stopped
    assert stopped <= {event.token for event in events if event.what == "lost"}
    assert stopped.isdisjoint(event.token for event in events if event.what == "wrote")


@pytest.mark.timeout(STRESS_S + 3 * FINISH_S)
def test_fifty_contenders_hold_a_lock_one_at_a_time_while_servers_are_killed(tmp_path: Path) -> None:
    with start_ensemble(tmp_path / "servers", options=("--session-timeout-ms", "1000:40000")) as ensemble:
        with ZooKeeper(ensemble.hosts) as zk:
            zk.create(FENCED, makepath=True)
            with contending(ensemble.hosts, tmp_path) as contenders, Stopper(contenders, tmp_path):
                killed = storm(ensemble)
                ensemble.wait_until_serving()
            nodes = set(zk.walk(parent(FENCED), read="linearizable"))
            version = zk.get(FENCED, read="linearizable").stat.version
        events = contenders.events()
        assert_one_holder_at_a_time(events)
        assert_tokens_went_up(events, version)
        assert_who_was_stopped_did_nothing(events)
        assert nodes - {LOCK} == {parent(FENCED), FENCED}  # the lock's own node may be gone already
        ensemble.wait_until_agreed()
        assert not any("Traceback" in server.log for server in ensemble.servers)
    happened = Counter(event.what for event in events)
    grants = Counter(event.contender for event in events if event.what == "enter")
    assert happened["finished"] == len(grants) == CONTENDERS
    longest_ns = max(b.at_ns - a.at_ns for a, b in itertools.pairwise(e for e in events if e.what == "enter"))
    print(
        f"{killed} servers killed in {STRESS_S:.0f} s; {happened['enter']} grants, {min(grants.values())} to "
        f"{max(grants.values())} each, {happened['lost']} lost, {happened['stopped']} of them while stopped; "
        f"the longest time without one {longest_ns / 1e9:.2f} s"
    )
