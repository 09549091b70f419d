"""Many runs: what a seed stands for in a campaign, and how runs spread over processes.

The number of processes changes how long a campaign takes, and nothing else: outcomes come in the order of the plans.
Read coverage.py next: what a campaign must have seen; and shrink.py: what becomes of a violation.
"""

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path
from threading import Thread

from zk.model.record import record
from zk.sim.plan import Layer, Mode, Plan
from zk.sim.plant import Plant, load_plants
from zk.sim.swarm import Result, run
from zk.sim.trace import Trace
from zk.sim.world import Violation

_SERVERS = (3, 5, 1, 3, 5, 3, 3, 5, 1, 3, 7)
_MODES = (Mode.UNIFORM, Mode.FOCUSED)
_LAYERS = (Layer.SERVICE, Layer.SERVICE, Layer.BROADCAST, Layer.SERVICE, Layer.SERVICE)
_AHEAD = 8  # plans per process that wait their turn, so that none is idle while a slow run is waited for

Outcome = Result | Violation


def plan_of(seed: int, servers: int | None = None, mode: Mode | None = None, layer: Layer | None = None) -> Plan:
    """What a campaign runs for `seed`. What is not given goes round in cycles of 11, 2 and 5 seeds, so that each
    combination comes up in any 110 seeds."""
    return Plan(
        seed,
        servers if servers is not None else _SERVERS[seed % len(_SERVERS)],
        mode if mode is not None else _MODES[seed % len(_MODES)],
        layer if layer is not None else _LAYERS[seed % len(_LAYERS)],
    )


@record
class PlantRef:
    """A plant by where it is found: so it can be told to another process."""

    folder: Path
    name: str

    def find(self) -> Plant:
        return _plants(self.folder)[self.name]


@cache
def _plants(folder: Path) -> Mapping[str, Plant]:
    return load_plants(folder)


def attempt(
    plan: Plan, plant: PlantRef | None = None, trace: Trace | None = None, stop_ms: int | None = None
) -> Outcome:
    """One run, with the bug planted for just so long; a violation is an outcome like another."""
    with plant.find().plant() if plant is not None else nullcontext():
        try:
            return run(plan, trace, stop_ms)
        except Violation as violation:
            return violation


def outcomes(
    plans: Iterable[Plan], jobs: int = 1, plant: PlantRef | None = None, trace: Trace | None = None
) -> Iterator[Outcome]:
    """The outcome of each plan, in their order, up to the first violation. `jobs` > 1: in so many processes, which only
    the main thread can begin, and untraced."""
    assert jobs == 1 or trace is None
    with closing(_one_by_one(plans, plant, trace) if jobs == 1 else _spread(plans, jobs, plant)) as each:
        for outcome in each:
            yield outcome
            if isinstance(outcome, Violation):
                return


@dataclass(slots=True)
class Tally:
    """What the runs of a campaign amount to."""

    runs: int = 0
    events: int = 0
    time_ms: float = 0.0
    counters: Counter[str] = field(default_factory=Counter)

    def add(self, outcome: Outcome) -> None:
        self.runs += 1
        self.events += outcome.events
        self.time_ms += outcome.time_ms
        if isinstance(outcome, Result):
            self.counters += outcome.counters


# ---- processes


def _one_by_one(plans: Iterable[Plan], plant: PlantRef | None, trace: Trace | None) -> Generator[Outcome, None, None]:
    for plan in plans:
        yield attempt(plan, plant, trace)


def _spread(plans: Iterable[Plan], jobs: int, plant: PlantRef | None) -> Generator[Outcome, None, None]:
    remaining = iter(plans)
    context = multiprocessing.get_context("spawn")  # nothing of this process is in them, whatever it had done before
    executor = ProcessPoolExecutor(jobs, context, _begin_work)
    try:
        with _interrupts_ignored():
            waiting = deque(executor.submit(attempt, plan, plant) for plan in islice(remaining, jobs * _AHEAD))
        while waiting:
            yield _outcome(waiting.popleft())
            waiting.extend(executor.submit(attempt, plan, plant) for plan in islice(remaining, 1))
    finally:
        executor.shutdown(cancel_futures=True)


def _outcome(future: "Future[Outcome]") -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise ChildProcessError("a process of the simulation was ended from outside: out of memory?") from error


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, as they do nothing about it, until they say otherwise."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)


def _begin_work() -> None:
    """In a worker: end with the campaign, at once and without a word, whether by Ctrl-C or by the parent's own end."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
