"""`zk sim` at work: what runs, how far it is, and what came of it.

Read zk/sim/campaign.py for what a campaign is, and zk/sim/shrink.py for how a violation is made short.
"""

import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from zk.build import COMPILED
from zk.cli.exits import ExitCode
from zk.cli.output import Format, Printer
from zk.model.record import record
from zk.sim import coverage
from zk.sim.campaign import PlantRef, Tally, attempt, outcomes, plan_of
from zk.sim.plan import Layer, Mode, Plan
from zk.sim.plant import load_plants, plants_folder
from zk.sim.shrink import RUNS_MAX, Shrunk, shrink
from zk.sim.trace import Trace
from zk.sim.world import Violation

SEEDS = 100
TRACE_LINES = 40


@record
class Order:
    """What the command line pins; None: what the seed, the plant or the mode chooses."""

    start: int = 0
    seeds: int | None = None
    servers: int | None = None
    mode: Mode | None = None
    layer: Layer | None = None
    only_faults: frozenset[int] | None = None
    only_wishes: frozenset[int] | None = None
    war_ms: int | None = None
    nature: int = 0

    @property
    def varied(self) -> bool:
        return (self.servers, self.mode, self.layer) == (None, None, None)

    @property
    def shortened(self) -> bool:
        return (self.only_faults, self.only_wishes, self.war_ms) != (None, None, None)

    def plans(self) -> Sequence[Plan]:
        seeds = self.seeds or (1 if self.shortened else SEEDS)
        return [
            replace(
                plan_of(seed, self.servers, self.mode, self.layer),
                only_faults=self.only_faults,
                only_wishes=self.only_wishes,
                war_ms=self.war_ms,
                nature=self.nature,
            )
            for seed in range(self.start, self.start + seeds)
        ]


def list_plants() -> int:
    """All that can be planted, a line for each."""
    rows = Printer(Format.TABLE).many(("name", "runs", "seeds", "what"))
    for plant in load_plants(_folder()).values():
        runs = f"{plant.layer.value} {plant.mode.value} {plant.servers}"
        rows.add({"name": plant.name, "runs": runs, "seeds": plant.seeds, "what": plant.what})
    rows.close()
    return ExitCode.OK


def run(order: Order, plant_name: str | None, jobs: int, *, trace: bool, digest: bool = False) -> int:
    """Do what was ordered; the exit code. With `digest`, what is printed is the same wherever the runs are."""
    plant = _find(plant_name) if plant_name is not None else None
    if plant is not None:
        order = _as_planted(order, plant)
    plans = order.plans()
    began_s = time.monotonic()
    tracing = Trace(print) if trace else Trace() if digest else None
    tally, violation = _campaign(plans, 1 if tracing else jobs, plant, tracing, digest=digest)
    summary = _summary(tally, None if digest else time.monotonic() - began_s)
    if violation is not None:
        plan = plans[violation.seed - order.start]
        print(f"{summary}\n\n{violation}\n  {command(plan, plant)}")
        if not trace and not order.shortened:
            _show_shortest(plan, violation, plant)
        return ExitCode.ERROR
    if plant is not None and _shown_by_a_story(plant):
        print(summary)
        return ExitCode.ERROR
    if plant is not None:
        print(f"the planted bug survived: {plant.name}")
    unseen = coverage.unseen(tally.counters)
    proves = not unseen or plant is not None or not order.varied or tally.runs < coverage.SEEDS_MIN
    if not proves:
        print(f"never happened, so that nothing is proved about it: {', '.join(unseen)}")
    print(summary)
    return ExitCode.OK if proves else ExitCode.ERROR


# ---- plants


def _folder() -> Path:
    folder = plants_folder()
    if folder is None:
        raise typer.BadParameter("the bugs to plant are in tests/sim/plants of a source checkout: run zk sim in one")
    return folder


def _find(name: str) -> PlantRef:
    folder = _folder()
    if name not in load_plants(folder):
        raise typer.BadParameter(f"{folder} has no plant {name!r}: zk sim --list-plants lists them")
    if COMPILED:
        raise typer.BadParameter("bugs can't be planted into compiled code: run zk sim where it is pure Python")
    return PlantRef(folder, name)


def _as_planted(order: Order, ref: PlantRef) -> Order:
    plant = ref.find()
    return replace(
        order,
        seeds=order.seeds or (1 if order.shortened else plant.seeds),
        servers=order.servers or plant.servers,
        mode=order.mode or plant.mode,
        layer=order.layer or plant.layer,
    )


def _shown_by_a_story(ref: PlantRef) -> bool:
    """What seeds do not find a hand-written story may show."""
    plant = ref.find()
    for story in plant.stories:
        try:
            with plant.plant():
                story()
        except AssertionError as error:
            print(f"no seed found {plant.name}, but its story does: {story.__name__}")
            print(f"  {str(error) or 'its own claim does not hold'}")
            return True
    return False


# ---- runs


def _campaign(
    plans: Sequence[Plan], jobs: int, plant: PlantRef | None, trace: Trace | None, *, digest: bool
) -> tuple[Tally, Violation | None]:
    """The runs up to the first violation. With `digest`, print the trace's after each."""
    tally = Tally()
    with _progress("seeds", len(plans)) as advance:
        for plan, outcome in zip(plans, outcomes(plans, min(jobs, len(plans)), plant, trace), strict=False):
            tally.add(outcome)
            advance()
            if digest and trace is not None:
                print(f"{trace.digest} up to seed {plan.seed}")
            if isinstance(outcome, Violation):
                return tally, outcome
    return tally, None


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[], object]]:
    """On a terminal, a bar that moves each time the function given is called."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)


# ---- what came of it


def _summary(tally: Tally, took_s: float | None) -> str:
    counted = ", ".join(f"{name} {count:,}" for name, count in sorted(tally.counters.items()))
    speed = "" if took_s is None else f"{tally.events / took_s:,.0f} events/s, "
    return (
        f"{tally.runs} seeds, {tally.events:,} events, {speed}"
        f"{tally.time_ms / 1000:,.0f} s of virtual time: {counted or 'no run was completed'}"
    )


def _show_shortest(plan: Plan, violation: Violation, plant: PlantRef | None) -> None:
    """Look for a shorter run, and show the end of its trace and how to have all of it."""
    shrunk = _shrunk(plan, violation, plant)
    print(
        f"\nthe shortest of {shrunk.runs} others that break it: {_size(shrunk.plan, shrunk.violation)} "
        f"(the first: {_size(plan, violation)})"
    )
    lines: deque[str] = deque(maxlen=TRACE_LINES)
    count = 0
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", prefix=f"zk-sim-{plan.seed}-", suffix=".trace", delete=False
    ) as file:

        def write(line: str) -> None:
            nonlocal count
            count += 1
            lines.append(line)
            file.write(f"{line}\n")

        attempt(shrunk.plan, plant, Trace(write))
    print(f"its last {len(lines)} of {count} lines of trace; all are in {file.name}")
    for line in lines:
        print(f"  {line}")
    print(f"\n{shrunk.violation}\n  {command(shrunk.plan, plant)} --trace")


def _shrunk(plan: Plan, violation: Violation, plant: PlantRef | None) -> Shrunk:
    with _progress("shrinking", RUNS_MAX) as advance:

        def again(plan: Plan, stop_ms: int | None) -> Violation | None:
            outcome = attempt(plan, plant, stop_ms=stop_ms)
            advance()
            return outcome if isinstance(outcome, Violation) else None

        return shrink(plan, violation, again)


def _size(plan: Plan, violation: Violation) -> str:
    faults, wishes = (
        sum(number <= asked for number in only) if only is not None else asked
        for only, asked in ((plan.only_faults, violation.faults), (plan.only_wishes, violation.wishes))
    )
    return f"{plan.servers} servers, {faults} faults, {wishes} wishes, {violation.events} events"


def command(plan: Plan, plant: PlantRef | None) -> str:
    """The command line that does this run again."""
    words = [f"zk sim --start {plan.seed} --seeds 1 --servers {plan.servers}"]
    words.append(f"--mode {plan.mode.value} --layer {plan.layer.value}")
    if plant is not None:
        words.append(f"--plant {plant.name}")
    if plan.nature:
        words.append(f"--nature {plan.nature}")
    if plan.war_ms is not None:
        words.append(f"--war-ms {plan.war_ms}")
    if plan.only_faults is not None:
        words.append(f"--only-faults {numbers_text(plan.only_faults)}")
    if plan.only_wishes is not None:
        words.append(f"--only-wishes {numbers_text(plan.only_wishes)}")
    return " ".join(words)


def numbers_text(numbers: frozenset[int]) -> str:
    """Numbers as the options take them: 3,5-9."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges) or "none"
