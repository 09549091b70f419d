"""Throughput and latency of one server and of three, with the load generator beside them on the same machine.

    python bench/throughput.py            # prints the table of docs/performance.md

What to look at: operations per second, and the CPU that one operation costs all servers together (`server us/op`). The
generator is not the bottleneck where its own CPU share stays well below one core (`generator CPU`).
"""

import tempfile
from pathlib import Path

from sides import Case, Figures, Side, compare, parse, print_head, print_row
from zk.server.testing import start_ensemble

SHAPES = ((50, 1), (8, 128))
OPERATIONS = ("get", "set", "create")
HEAD = (
    "servers",
    "connections x window",
    "operation",
    "ops/s",
    "p50 ms",
    "p99 ms",
    "server us/op",
    "generator CPU",
)


def measure(size: int, case: Case, rounds: int) -> Figures:
    """One cell of the table, on a fresh ensemble of `size` servers."""
    with tempfile.TemporaryDirectory() as directory, start_ensemble(Path(directory), size) as ensemble:
        [figures] = compare([Side("native", ensemble)], case, rounds)
    return figures


def main() -> None:
    options = parse(__doc__, OPERATIONS, rounds=1)
    print_head(*HEAD)
    for size in options.sizes:
        for connections, window in SHAPES:
            for operation in options.operations:
                total = int((60_000 if window == 1 else 300_000) * options.scale)
                case = Case(connections, window, operation, total)
                figures = measure(size, case, options.rounds)
                print_row(
                    str(size),
                    case.shape,
                    operation,
                    figures.rate,
                    f"{figures.p50_ms:.2f}",
                    f"{figures.p99_ms:.2f}",
                    f"{figures.cpu_us:.1f}",
                    f"{figures.generator:.0%}",
                )


if __name__ == "__main__":
    main()
