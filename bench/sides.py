"""Services side by side: each works under the same load generator, in turns, so that whatever else the machine does
slows all of them."""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from services import Service
from zk.build import VERSION
from zk.server.testing import cpu_seconds

LOADGEN = Path(__file__).with_name("loadgen.py")


@dataclass
class Figures:
    """What one round measured; or the medians of some, and all refusals.

    `cpu_us` is what an operation costs all servers together; `generator` is the load generator's share of one core: far
    below 1, it is not the bottleneck. `broken` of the rounds came to no end: a server closed a connection, as one does
    that lost its leader, or did not answer.
    """

    per_second: float
    cpu_us: float
    p50_ms: float
    p99_ms: float
    generator: float
    refused: int
    broken: int = 0

    @property
    def rate(self) -> str:
        """Operations per second that were done."""
        blemishes = {"refused": self.refused, "broken off": self.broken}
        said = ", ".join(f"{count:,.0f} {blemish}" for blemish, count in blemishes.items() if count)
        return f"{self.per_second:,.0f}" + (f" ({said})" if said else "")


@dataclass
class Case:
    """What all sides are to do: `total` operations over `connections`, with `window` of them outstanding on each."""

    connections: int
    window: int
    operation: str
    total: int

    @property
    def shape(self) -> str:
        return f"{self.connections} x {self.window}"


@dataclass
class Side:
    """A service, how it is spoken to, and what each round of the case under way measured."""

    wire: str
    service: Service
    may_refuse: bool = False
    rounds: list[Figures] = field(default_factory=list)
    broken: int = 0

    def run(self, case: Case) -> None:
        root = f"/bench-{time.time_ns()}"  # each round has its own
        shape = ["--connections", str(case.connections), "--window", str(case.window)]
        work = ["--operation", case.operation, "--total", str(case.total), "--root", root]
        command = [sys.executable, str(LOADGEN), "--servers", self.service.hosts, "--wire", self.wire, *shape, *work]
        before_s = self._used_s()
        ended = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
        used_s = self._used_s() - before_s
        if ended.returncode:
            self.broken += 1
            return
        found = json.loads(ended.stdout)
        refused = sum(found["refused"].values())
        assert self.may_refuse or not refused, (self.wire, case, found)
        self.rounds.append(
            Figures(
                per_second=(found["operations"] - refused) / found["seconds"],
                cpu_us=used_s / found["operations"] * 1e6,
                p50_ms=found["p50_ms"],
                p99_ms=found["p99_ms"],
                generator=found["cpu_seconds"] / found["seconds"],
                refused=refused,
            )
        )

    def medians(self) -> Figures:
        """Of the rounds so far, which are then forgotten."""
        rounds, broken = self.rounds, self.broken
        self.rounds, self.broken = [], 0
        if not rounds:
            raise RuntimeError(f"all rounds were broken off: see above what the load generator says of {self.wire}")
        medians = Figures(*(statistics.median(getattr(each, item.name) for each in rounds) for item in fields(Figures)))
        return replace(medians, refused=sum(each.refused for each in rounds), broken=broken)

    def _used_s(self) -> float:
        return sum(cpu_seconds(server.pid) for server in self.service.servers)


def compare(sides: Sequence[Side], case: Case, rounds: int) -> list[Figures]:
    """The medians of each side."""
    for _ in range(rounds):
        for side in sides:
            side.run(case)
    return [side.medians() for side in sides]


def parse(description: str | None, operations: Sequence[str], rounds: int) -> argparse.Namespace:
    """The options of a benchmark, which is to make so many rounds if it is not told otherwise."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--operations", nargs="+", choices=operations, default=operations)
    parser.add_argument("--rounds", type=int, default=rounds, help="of each side, in each case; the medians count")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of operations in a round")
    return parser.parse_args()


def print_row(*cells: str) -> None:
    """A row of a table of docs/performance.md."""
    print(f"| {' | '.join(cells)} |", flush=True)


def print_head(*names: str) -> None:
    """Which build this service is, and the head of a table."""
    print(f"{VERSION}\n")
    print_row(*names)
    print(f"|{'---|' * len(names)}")
