"""How long the service takes no writes when its leader is killed with -9: the longest gap between two acknowledged
writes.

    python bench/failover.py
    python bench/failover.py --beside zookeeper etcd        # the same of ZooKeeper and etcd, where they are installed

A client of the two followers begins a write every 5 ms, whatever has become of those before: one that is lost with the
leader does not hold up what is measured. The median over several ensembles is what to look at, and how many writes
ended in an error or without an answer: the client does not know whether they were done. Of ours there may be none.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from zkclient import ZooKeeper

from etcd_server import ask
from services import NAMES, START
from sides import print_head, print_row

NODE = "/probe"
EVERY_S = 0.005
BEFORE_S, AFTER_S = 1.0, 0.5  # of steady writes around the gap
GAP_S_MAX = 30.0
OUTSTANDING_MAX = 1_000

Write = Callable[[], object]


@contextmanager
def our_writer(hosts: Sequence[str]) -> Iterator[Write]:
    with ZooKeeper(",".join(hosts), timeout=GAP_S_MAX) as zk:
        zk.create(NODE)
        yield lambda: zk.set(NODE, b"x")


@contextmanager
def kazoo_writer(hosts: Sequence[str]) -> Iterator[Write]:
    from kazoo.client import KazooClient

    client = KazooClient(",".join(hosts))
    client.start()
    try:
        client.create(NODE)
        yield lambda: client.set(NODE, b"x")
    finally:
        client.stop()
        client.close()


@contextmanager
def etcd_writer(hosts: Sequence[str]) -> Iterator[Write]:
    in_turn = itertools.cycle(hosts)
    yield lambda: ask(next(in_turn), "/v3/kv/put", {"key": "L3Byb2Jl", "value": "eA=="})  # /probe, x


WRITERS: Mapping[str, Callable[[Sequence[str]], AbstractContextManager[Write]]] = {
    "native": our_writer,
    "zookeeper": kazoo_writer,
    "etcd": etcd_writer,
}


def stand_still(name: str, directory: Path) -> tuple[float, int]:
    """Write steadily through the death of the leader: the longest gap in ms, and how many writes had no answer."""
    acknowledged: list[tuple[float, float]] = []  # when it began, and when it was
    writes: list[Future[None]] = []
    with START[name](directory, 3) as service:
        leader = service.leader()
        hosts = [server.hosts for server in service.servers if server is not leader]
        with WRITERS[name](hosts) as write, ThreadPoolExecutor(OUTSTANDING_MAX) as pool:

            def one() -> None:
                began_s = time.perf_counter()
                write()
                acknowledged.append((began_s, time.perf_counter()))

            def begin(until: Callable[[], bool]) -> None:
                while not until():
                    writes.append(pool.submit(one))
                    time.sleep(EVERY_S)

            def begin_for(seconds: float) -> None:
                end_s = time.perf_counter() + seconds
                begin(lambda: time.perf_counter() > end_s)

            begin_for(BEFORE_S)
            leader.kill()
            killed_s = time.perf_counter()
            begin(lambda: acknowledged[-1][0] > killed_s or time.perf_counter() > killed_s + GAP_S_MAX)
            begin_for(AFTER_S)
    assert any(began_s > killed_s for began_s, _ in acknowledged), f"no write for {GAP_S_MAX} s"
    gap_s = max(b - a for a, b in itertools.pairwise(sorted(at for _, at in acknowledged)))
    return gap_s * 1_000, sum(each.exception() is not None for each in writes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--beside", nargs="+", choices=list(START), default=[], help="other services to measure, too")
    options = parser.parse_args()
    print_head("", "no writes for, ms", "median", "writes without an answer")
    for name in ("native", *options.beside):
        gaps, lost = [], []
        for _ in range(options.repeat):
            with tempfile.TemporaryDirectory() as directory:
                gap_ms, unanswered = stand_still(name, Path(directory))
            gaps.append(gap_ms)
            lost.append(unanswered)
        assert name != "native" or not any(lost), f"{lost} writes failed"
        each = ", ".join(f"{gap_ms:,.0f}" for gap_ms in sorted(gaps))
        print_row(NAMES[name], each, f"{statistics.median(gaps):,.0f}", f"{statistics.median(lost):.0f}")


if __name__ == "__main__":
    main()
