"""zkclient against this server and kazoo against ZooKeeper, side by side on one machine.

    pip install 'zkensemble[bench]'       # kazoo
    python bench/clients.py               # prints the client's table of docs/performance.md

Needs ZooKeeper's jar and java. Both servers are alone, sync every write to disk, and keep their data in the same file
system. The two sides take turns, slice by slice, so that whatever else the machine does slows both; the medians over
the slices are compared. What to look at: the ratios, above 1 where zkclient is faster.
"""

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kazoo.client import KazooClient
from zkclient import AsyncZooKeeper, ZooKeeper

from sides import print_head, print_row
from zk.server.testing import start_server
from zk.testing.zookeeper import start_zookeeper

NODE, LOCK = "/bench", "/bench-lock"
DATA = b"x" * 100
THREADS = 8
OUTSTANDING = 500  # calls at a time, when they are pipelined
WARM_UP_S = 1.0  # java compiles what it runs often


@dataclass
class Slice:
    """What one side did in one slice. Latencies are of one thread that makes one call after the other."""

    operations: int
    seconds: float
    cpu_seconds: float
    p50_us: float = 0.0
    p99_us: float = 0.0

    @property
    def per_second(self) -> float:
        return self.operations / self.seconds

    @property
    def cpu_us(self) -> float:
        """User and system time of the client's process for one operation."""
        return self.cpu_seconds / self.operations * 1e6


class Side(ABC):
    """A client, attached to the server it is made for."""

    def __init__(self, zk: ZooKeeper | KazooClient) -> None:
        zk.start()
        zk.create(NODE, DATA)
        self._zk = zk
        self._lock = zk.Lock(LOCK)

    def get(self) -> object:
        return self._zk.get(NODE)

    def set(self) -> object:
        return self._zk.set(NODE, DATA)

    def lock(self) -> None:
        """Acquire and release a lock that nobody else wants."""
        with self._lock:
            pass

    def close(self) -> None:
        self._zk.stop()

    @abstractmethod
    def pipelined(self, operation: str, seconds: float) -> Slice:
        """`OUTSTANDING` calls at a time: for each answer the next call."""


class Ours(Side):
    """zkclient."""

    def __init__(self, hosts: str) -> None:
        super().__init__(ZooKeeper(hosts))
        self._hosts = hosts

    def pipelined(self, operation: str, seconds: float) -> Slice:
        return asyncio.run(self._pipelined(operation, seconds))

    async def _pipelined(self, operation: str, seconds: float) -> Slice:
        async with AsyncZooKeeper(self._hosts) as zk:
            await zk.whoami()  # it is connected
            call = partial(zk.get, NODE) if operation == "get" else partial(zk.set, NODE, DATA)
            count, cpu_s, began_s = 0, time.process_time(), time.perf_counter()

            async def work() -> None:
                nonlocal count
                while time.perf_counter() < began_s + seconds:
                    await call()
                    count += 1

            await asyncio.gather(*(work() for _ in range(OUTSTANDING)))
            return Slice(count, time.perf_counter() - began_s, time.process_time() - cpu_s)


class Kazoo(Side):
    """kazoo."""

    def __init__(self, hosts: str) -> None:
        self._client = KazooClient(hosts)
        super().__init__(self._client)

    def pipelined(self, operation: str, seconds: float) -> Slice:
        call = (
            partial(self._client.get_async, NODE) if operation == "get" else partial(self._client.set_async, NODE, DATA)
        )
        count, cpu_s, began_s = 0, time.process_time(), time.perf_counter()
        asked = deque(call() for _ in range(OUTSTANDING))
        while asked:
            asked.popleft().get()
            count += 1
            if time.perf_counter() < began_s + seconds:
                asked.append(call())
        return Slice(count, time.perf_counter() - began_s, time.process_time() - cpu_s)


def one_after_the_other(call: Callable[[], object], seconds: float) -> Slice:
    """One thread."""
    took_s: list[float] = []
    cpu_s, began_s = time.process_time(), time.perf_counter()
    while (before_s := time.perf_counter()) < began_s + seconds:
        call()
        took_s.append(time.perf_counter() - before_s)
    whole = Slice(len(took_s), time.perf_counter() - began_s, time.process_time() - cpu_s)
    took_s.sort()
    whole.p50_us = took_s[len(took_s) // 2] * 1e6
    whole.p99_us = took_s[len(took_s) * 99 // 100] * 1e6
    return whole


def by_threads(call: Callable[[], object], seconds: float) -> Slice:
    """`THREADS` threads share one client."""
    counts: list[int] = []
    cpu_s, began_s = time.process_time(), time.perf_counter()

    def work() -> None:
        count = 0
        while time.perf_counter() < began_s + seconds:
            call()
            count += 1
        counts.append(count)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Slice(sum(counts), time.perf_counter() - began_s, time.process_time() - cpu_s)


CASES: dict[str, Callable[[Side, float], Slice]] = {
    "get, one thread": lambda side, seconds: one_after_the_other(side.get, seconds),
    "set, one thread": lambda side, seconds: one_after_the_other(side.set, seconds),
    f"get, {THREADS} threads": lambda side, seconds: by_threads(side.get, seconds),
    f"set, {THREADS} threads": lambda side, seconds: by_threads(side.set, seconds),
    "get, pipelined": lambda side, seconds: side.pipelined("get", seconds),
    "set, pipelined": lambda side, seconds: side.pipelined("set", seconds),
    "lock, acquire and release": lambda side, seconds: one_after_the_other(side.lock, seconds),
}


def compare(ours: Side, kazoo: Side, run: Callable[[Side, float], Slice], slices: int, seconds: float) -> str:
    """The rest of a row of the table, from slices in turn."""
    for side in (ours, kazoo):
        run(side, WARM_UP_S)
    pairs = [(run(ours, seconds), run(kazoo, seconds)) for _ in range(slices)]

    def median(measure: Callable[[Slice], float]) -> tuple[float, float]:
        return statistics.median(measure(a) for a, _ in pairs), statistics.median(measure(b) for _, b in pairs)

    rate, cpu_us = median(lambda each: each.per_second), median(lambda each: each.cpu_us)
    p50_us, p99_us = median(lambda each: each.p50_us), median(lambda each: each.p99_us)
    cells = [
        f"{ours_us:,.0f} / {its_us:,.0f} ({its_us / ours_us:.1f})" if ours_us else ""
        for ours_us, its_us in (p50_us, p99_us, cpu_us)
    ]
    return " | ".join((f"{rate[0]:,.0f} / {rate[1]:,.0f} (**{rate[0] / rate[1]:.1f}**)", *cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--slices", type=int, default=5, help="of each side, in each case")
    parser.add_argument("--seconds", type=float, default=0.3, help="how long a slice is")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        data = Path(directory)
        with (
            start_server(data / "ours") as server,
            start_zookeeper(data / "zookeeper") as zookeeper,
        ):
            ours, kazoo = Ours(server.hosts), Kazoo(zookeeper.hosts)
            print_head("zkclient / kazoo (ratio)", "operations/s", "p50 us", "p99 us", "client's CPU us/op")
            for case in options.cases:
                print_row(case, compare(ours, kazoo, CASES[case], options.slices, options.seconds))
            ours.close()
            kazoo.close()


if __name__ == "__main__":
    main()
