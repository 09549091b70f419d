"""What one server takes: time from process start to serving, and resident memory; empty, with 100,000 znodes, and
started again with them. And how long a server inside a test's process takes to start.

    python bench/footprint.py
    python bench/footprint.py --beside zookeeper etcd       # the same of ZooKeeper and etcd, where they are installed
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services import NAMES, START, Server
from sides import LOADGEN, print_head, print_row

HEAD = ("", "empty: s to serving", "MB", "znodes just created: MB", "after kill -9: s to serving", "MB")
EMBEDDED = """
import statistics, time
from zkclient import ZooKeeper

began = time.perf_counter()
from zkclient.testing import EmbeddedServer
print(f"embedded: {(time.perf_counter() - began) * 1e3:.0f} ms to import", end=", ")

starts, answers = [], []
for _ in range(20):
    began = time.perf_counter()
    with EmbeddedServer() as server:
        starts.append(time.perf_counter() - began)
        with ZooKeeper(server.hosts) as zk:
            zk.create("/a")
            answers.append(time.perf_counter() - began)
median, worst = statistics.median(starts) * 1e3, max(starts) * 1e3
print(f"{median:.1f} ms to serving (median of 20; {worst:.1f} ms at most)", end=", ")
print(f"{statistics.median(answers) * 1e3:.1f} ms to the first answer")
"""


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB of 10^6 bytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no VmRSS for process {pid}")


@contextmanager
def timed(name: str, directory: Path) -> Iterator[tuple[Server, str, str]]:
    """A server alone, the seconds until it served, and the memory that it took then."""
    started = time.perf_counter()
    with START[name](directory, 1) as service:
        seconds = time.perf_counter() - started
        [server] = service.servers
        yield server, f"{seconds:.2f}", f"{resident_mb(server.pid):.0f}"


def measure(name: str, directory: Path, znodes: int, size: int) -> None:
    """One row."""
    with timed(name, directory) as (server, *empty):
        shape = ["--connections", "8", "--window", "64", "--operation", "create"]
        work = ["--wire", name, "--total", str(znodes), "--size", str(size)]
        command = [sys.executable, str(LOADGEN), "--servers", server.hosts, *shape, *work]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        created = f"{resident_mb(server.pid):.0f}"
        server.kill()
    with timed(name, directory) as (_, *again):
        print_row(NAMES[name], *empty, created, *again)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--znodes", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100, help="bytes of data in each")
    parser.add_argument("--beside", nargs="+", choices=list(START), default=[], help="other services to measure, too")
    options = parser.parse_args()
    subprocess.run([sys.executable, "-c", EMBEDDED], check=True)
    print(f"\n{options.znodes:,} znodes of {options.size} bytes:\n")
    print_head(*HEAD)
    for name in ("native", *options.beside):
        with tempfile.TemporaryDirectory() as directory:
            measure(name, Path(directory), options.znodes, options.size)


if __name__ == "__main__":
    main()
