"""This service and etcd side by side on one machine, under the same load generator.

    pip install 'zkensemble[bench]'       # hpack
    python bench/etcd.py                  # prints a table of docs/performance.md

Needs Debian's etcd-server. The two sides take turns, round by round, so that whatever else the machine does slows both.
Both sync every write to disk, and keep their data in the same file system; the connections are spread over all servers.
The generator speaks to each side in its own protocol: ours, and etcd's gRPC.

An ordinary `get` here answers from the server that it is sent to, as a serializable Range of etcd does; `linearizable`
is our read of that name, and etcd's ordinary Range. `set` is a Put of a key that is there, `create` one of a new key;
`mix` is nine gets and a set. What to look at, of the medians over the rounds: `ratio`, this service's throughput
against etcd's, and what an operation costs all servers together in CPU (`us/op`). `generator` is the load generator's
share of one core against each side. On a busy machine etcd refuses some calls with gRPC's status 14, unavailable: they
are shown, and are not counted as done.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from etcd_server import start_etcd
from loadgen import OPERATIONS
from sides import Case, Figures, Side, compare, parse, print_head, print_row
from zk.server.testing import start_ensemble

HEAD = (
    "servers",
    "connections x window",
    "operation",
    "ops/s",
    "etcd, ops/s",
    "ratio",
    "us/op",
    "etcd, us/op",
    "p50 / p99 ms",
    "etcd, p50 / p99 ms",
    "generator",
)


def cases(size: int, operations: Sequence[str], scale: float) -> list[Case]:
    """First a connection to each server that asks one thing after the other, then many clients, then busy ones.

    A pipelined mix is of fewer operations: etcd takes long for it.
    """
    shapes = ((size, 1, 2_000), (50, 1, 10_000), (8, 128, 20_000))
    return [
        Case(connections, window, operation, int(total * (0.5 if window > 1 and operation == "mix" else 1) * scale))
        for connections, window, total in shapes
        for operation in operations
    ]


def row(size: int, case: Case, found: Sequence[Figures]) -> None:
    ours, its = found
    in_order = case.window == 1  # else an answer may overtake another, and a latency be of another call
    print_row(
        str(size),
        case.shape,
        case.operation,
        *(each.rate for each in found),
        f"**{ours.per_second / its.per_second:.1f}**",
        *(f"{each.cpu_us:.1f}" for each in found),
        *(f"{each.p50_ms:.2f} / {each.p99_ms:.2f}" if in_order else "" for each in found),
        " / ".join(f"{each.generator:.0%}" for each in found),
    )


def main() -> None:
    options = parse(__doc__, OPERATIONS, rounds=3)
    print_head(*HEAD)
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
            ours = stack.enter_context(start_ensemble(Path(directory), size))
            its = stack.enter_context(start_etcd(Path(directory) / "etcd", size))
            sides = Side("native", ours), Side("etcd", its, may_refuse=True)
            for case in cases(size, options.operations, options.scale):
                row(size, case, compare(sides, case, options.rounds))


if __name__ == "__main__":
    main()
