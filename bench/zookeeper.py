"""This service and ZooKeeper side by side on one machine, under the same load generator.

    python bench/zookeeper.py             # prints a table of docs/performance.md

Needs ZooKeeper's jar and java. Three sides take turns, round by round, so that whatever else the machine does slows all
of them: this service by its own protocol, this service by ZooKeeper's, and ZooKeeper. All sync every write to disk, and
keep their data in the same file system. What to look at, of the medians over the rounds: `ratio`, this service's
throughput by ZooKeeper's protocol against ZooKeeper's own, and `face`, what that protocol costs the servers here
against their own one, in CPU per operation.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sides import Case, Figures, Side, compare, parse, print_head, print_row
from zk.server.testing import start_ensemble
from zk.testing.zookeeper import start_zookeeper

SHAPES = ((50, 1), (8, 128))
OPERATIONS = ("get", "set", "create", "mix")
WARM_UP_ROUNDS = 2  # java compiles what it runs often
HEAD = (
    "servers",
    "connections x window",
    "operation",
    "native, ops/s",
    "ZooKeeper's wire, ops/s",
    "ZooKeeper, ops/s",
    "ratio",
    "native, us/op",
    "ZooKeeper's wire, us/op",
    "ZooKeeper, us/op",
    "face",
)


def row(size: int, case: Case, found: Sequence[Figures]) -> None:
    own, face, its = found
    print_row(
        str(size),
        case.shape,
        case.operation,
        *(each.rate for each in found),
        f"**{face.per_second / its.per_second:.1f}**",
        *(f"{each.cpu_us:.1f}" for each in found),
        f"**{face.cpu_us / own.cpu_us - 1:+.0%}**",
    )


def main() -> None:
    options = parse(__doc__, OPERATIONS, rounds=5)
    print_head(*HEAD)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
            ours = stack.enter_context(start_ensemble(Path(directory), size))
            its = stack.enter_context(start_zookeeper(Path(directory) / "zookeeper", size))
            zookeeper = Side("zookeeper", its)
            sides = (Side("native", ours), Side("zookeeper", ours), zookeeper)
            for connections, window in SHAPES:
                for operation in options.operations:
                    total = int((10_000 if window == 1 else 40_000) * options.scale)
                    case = Case(connections, window, operation, total)
                    compare([zookeeper], case, WARM_UP_ROUNDS)
                    row(size, case, compare(sides, case, options.rounds))


if __name__ == "__main__":
    main()
