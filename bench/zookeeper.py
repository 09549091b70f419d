"""This service and ZooKeeper side by side on one machine, under the same load generator.

    python bench/zookeeper.py             # prints a table of docs/performance.md

Needs ZooKeeper's jar and java. Three sides take turns, round by round, so that whatever else the machine does slows all
of them: this service by its own protocol, this service by ZooKeeper's, and ZooKeeper. All sync every write to disk, and
keep their data in the same file system. What to look at, of the medians over the rounds: `ratio`, this service's
throughput by ZooKeeper's protocol against ZooKeeper's own, and `face`, what that protocol costs the servers here
against their own one, in CPU per operation.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from zk.server.testing import cpu_seconds, start_ensemble
from zk.testing.zookeeper import start_zookeeper

LOADGEN = Path(__file__).with_name("loadgen.py")
SHAPES = ((50, 1), (8, 128))
OPERATIONS = ("get", "set", "create", "mix")
WARM_UP_ROUNDS = 2  # java compiles what it runs often


@dataclass
class Side:
    """Servers, how they are spoken to, and what each round of the case under way measured."""

    wire: str
    hosts: str
    pids: Sequence[int]
    per_second: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def run(self, connections: int, window: int, operation: str, total: int) -> None:
        root = f"/bench-{time.time_ns()}"  # each round has its own
        shape = ["--connections", str(connections), "--window", str(window)]
        work = ["--operation", operation, "--total", str(total), "--root", root]
        command = [sys.executable, str(LOADGEN), "--servers", self.hosts, "--wire", self.wire, *shape, *work]
        before_s = sum(map(cpu_seconds, self.pids))
        figures = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        used_s = sum(map(cpu_seconds, self.pids)) - before_s
        assert figures["errors"] == 0, figures
        self.per_second.append(figures["operations"] / figures["seconds"])
        self.cpu_us.append(used_s / figures["operations"] * 1e6)

    def medians(self) -> tuple[float, float]:
        """Of the rounds so far, which are then forgotten."""
        found = statistics.median(self.per_second), statistics.median(self.cpu_us)
        self.per_second.clear()
        self.cpu_us.clear()
        return found


def row(size: int, connections: int, window: int, operation: str, sides: Sequence[Side]) -> str:
    (own_rate, own_us), (face_rate, face_us), (its_rate, its_us) = (side.medians() for side in sides)
    cells = (
        f"{size}",
        f"{connections} x {window}",
        operation,
        f"{own_rate:,.0f}",
        f"{face_rate:,.0f}",
        f"{its_rate:,.0f}",
        f"**{face_rate / its_rate:.1f}**",
        f"{own_us:.1f}",
        f"{face_us:.1f}",
        f"{its_us:.1f}",
        f"**{face_us / own_us - 1:+.0%}**",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS)
    parser.add_argument("--rounds", type=int, default=5, help="of each side, in each case")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of operations in a round")
    options = parser.parse_args()
    print(
        "| servers | connections x window | operation | native, ops/s | ZooKeeper's wire, ops/s | ZooKeeper, ops/s ",
        end="",
    )
    print("| ratio | native, us/op | ZooKeeper's wire, us/op | ZooKeeper, us/op | face |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
            ours = stack.enter_context(start_ensemble(Path(directory), size))
            pids = [server.pid for server in ours.servers]
            its = stack.enter_context(start_zookeeper(Path(directory) / "zookeeper", size))
            zookeeper = Side("zookeeper", its.hosts, [server.pid for server in its.servers])
            sides = (Side("native", ours.hosts, pids), Side("zookeeper", ours.hosts, pids), zookeeper)
            for connections, window in SHAPES:
                for operation in options.operations:
                    total = int((10_000 if window == 1 else 40_000) * options.scale)
                    for _ in range(WARM_UP_ROUNDS):
                        zookeeper.run(connections, window, operation, total)
                    zookeeper.medians()
                    for _ in range(options.rounds):
                        for side in sides:
                            side.run(connections, window, operation, total)
                    print(row(size, connections, window, operation, sides), flush=True)


if __name__ == "__main__":
    main()
