"""A worker's journal: what the service told it, in a file of its own, as soon as it was told. The demo holds
the tree against it. It needs no fsync: what is killed is the worker, not the machine."""

import json
import time
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from zk.model.record import record


class What(StrEnum):
    LEADS = "leads"  # it won the election
    GRANTED = "granted"  # it got a job's lock
    RECORDED = "recorded"  # the transaction with a job's result was answered


@record
class Entry:
    """`token` is the fencing token of the lock or leadership, `job` is '' for a leadership. `at_ns` is a clock that all
    processes of this machine share."""

    what: What
    job: str
    token: int
    at_ns: int


class Journal:
    """Appends to the journal of one worker."""

    def __init__(self, directory: Path, worker: str) -> None:
        self._path = directory / f"{worker}.journal"

    def write(self, what: What, job: str, token: int) -> None:
        line = json.dumps([what, job, token, time.monotonic_ns()]) + "\n"
        with self._path.open("a") as file:
            file.write(line)


def read_journals(directory: Path) -> Mapping[str, tuple[Entry, ...]]:
    """Every worker's entries, by its name. A last line that a kill cut off counts for nothing."""
    return {file.stem: _read(file) for file in sorted(directory.glob("*.journal"))}


def _read(file: Path) -> tuple[Entry, ...]:
    lines = file.read_text().split("\n")[:-1]
    fields = (json.loads(line) for line in lines)
    return tuple(Entry(What(what), job, token, at_ns) for what, job, token, at_ns in fields)
