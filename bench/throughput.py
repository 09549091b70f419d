"""Throughput and latency of one server and of three, with the load generator beside them on the same machine.

    python bench/throughput.py            # prints the table of docs/performance.md

What to look at: operations per second, and the CPU that one operation costs all servers together (`server us/op`). The
generator is not
the bottleneck where its own CPU share stays well below one core (`generator CPU`).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from zk.server.testing import cpu_seconds, start_ensemble

LOADGEN = Path(__file__).with_name("loadgen.py")
SHAPES = ((50, 1), (8, 128))
OPERATIONS = ("get", "set", "create")


def measure(size: int, connections: int, window: int, operation: str, total: int) -> dict[str, float]:
    """One cell of the table, on a fresh ensemble of `size` servers."""
    with tempfile.TemporaryDirectory() as directory, start_ensemble(Path(directory), size) as ensemble:
        before = sum(cpu_seconds(server.pid) for server in ensemble.servers)
        shape = ["--connections", str(connections), "--window", str(window)]
        work = ["--operation", operation, "--total", str(total)]
        command = [sys.executable, str(LOADGEN), "--servers", ensemble.hosts, *shape, *work]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        used = sum(cpu_seconds(server.pid) for server in ensemble.servers) - before
    figures: dict[str, float] = json.loads(result.stdout)
    figures["server_us"] = used / figures["operations"] * 1e6
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=OPERATIONS)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of operations")
    options = parser.parse_args()
    print("| servers | connections x window | operation | ops/s | p50 ms | p99 ms | server us/op | generator CPU |")
    print("|---|---|---|---|---|---|---|---|")
    for size in options.sizes:
        for connections, window in SHAPES:
            for operation in options.operations:
                total = int((60_000 if window == 1 else 300_000) * options.scale)
                figures = measure(size, connections, window, operation, total)
                assert figures["errors"] == 0, figures
                print(
                    f"| {size} | {connections} x {window} | {operation} "
                    f"| {figures['operations'] / figures['seconds']:,.0f} "
                    f"| {figures['p50_ms']:.2f} | {figures['p99_ms']:.2f} | {figures['server_us']:.1f} "
                    f"| {figures['cpu_seconds'] / figures['seconds']:.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
