"""What a server takes: start-up time when empty, and with 100,000 znodes of 100 bytes the memory and the time from
process start to serving.

python bench/footprint.py
"""

import argparse
import tempfile
import time
from pathlib import Path

from bench_load import fill

from zk.server.testing import start_server


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MB of 10^6 bytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"no VmRSS for process {pid}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--znodes", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=100, help="bytes of data in each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        started = time.perf_counter()
        with start_server(data) as server:
            print(f"empty server: {time.perf_counter() - started:.2f} s to serving, {resident_mb(server.pid):.0f} MB")
            fill(server.address, options.znodes, options.size)
            print(f"{options.znodes:,} znodes of {options.size} bytes just created: {resident_mb(server.pid):.0f} MB")
            server.kill()
        started = time.perf_counter()
        with start_server(data) as server:
            print(
                f"restarted after kill -9: {time.perf_counter() - started:.2f} s to serving,
                {resident_mb(server.pid):.0f} MB"
            )


if __name__ == "__main__":
    main()
