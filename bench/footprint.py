"""What a server takes: time from process start to serving, and resident memory; empty, and with 100,000 znodes. And how
long a server inside a test's process takes to start.

python bench/footprint.py
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zk.server.testing import ServerProcess, start_server

LOADGEN = Path(__file__).with_name("loadgen.py")
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
def timed_server(data: Path, what: str) -> Iterator[ServerProcess]:
    started = time.perf_counter()
    with start_server(data) as server:
        seconds = time.perf_counter() - started
        status = server.status()
        print(f"{what}: {seconds:.2f} s to serving, {resident_mb(server.pid):.0f} MB, {status.znodes:,} znodes")
        yield server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--znodes", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100, help="bytes of data in each")
    options = parser.parse_args()
    subprocess.run([sys.executable, "-c", EMBEDDED], check=True)
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory) / "data"
        with timed_server(data, "empty"):
            pass
        with timed_server(data, "empty, second start") as server:
            shape = ["--connections", "8", "--window", "64", "--operation", "create"]
            work = ["--total", str(options.znodes), "--size", str(options.size)]
            command = [sys.executable, str(LOADGEN), "--servers", str(server.address), *shape, *work]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            print(f"{options.znodes:,} znodes of {options.size} bytes just created: {resident_mb(server.pid):.0f} MB")
            server.kill()
        with timed_server(data, "after kill -9") as server:
            server.terminate()
        with timed_server(data, "after SIGTERM"):
            pass


if __name__ == "__main__":
    main()
