"""How long the service takes no writes when its leader is killed with -9: the longest gap between two acknowledged
writes.

    python bench/failover.py

A client on a follower writes one after the other; the median over several ensembles is what to look at.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import anyio
from zkclient import AsyncZooKeeper

from zk.server.testing import Ensemble, start_ensemble

WRITES_BEFORE = 200
WRITES_AFTER = 200


async def longest_gap_ms(ensemble: Ensemble) -> float:
    """Write steadily through the death of the leader."""
    leader = ensemble.leader()
    hosts = ",".join(str(server.address) for server in ensemble.servers if server is not leader)
    async with AsyncZooKeeper(hosts, timeout=30) as zk:
        await zk.create("/probe", "")
        acknowledged_at: list[float] = []
        for number in range(WRITES_BEFORE + WRITES_AFTER):
            if number == WRITES_BEFORE:
                leader.kill()
            await zk.set("/probe", str(number))
            acknowledged_at.append(time.perf_counter())
        assert (await zk.get("/probe")).stat.version == WRITES_BEFORE + WRITES_AFTER, "a write was lost or done twice"
    return max(b - a for a, b in itertools.pairwise(acknowledged_at)) * 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    gaps: list[float] = []
    for _ in range(options.repeat):
        with tempfile.TemporaryDirectory() as directory, start_ensemble(Path(directory), 3) as ensemble:
            gaps.append(anyio.run(longest_gap_ms, ensemble))
    print(f"writes stood still at the leader's death, ms: {sorted(map(round, gaps))}")
    print(f"median {statistics.median(gaps):.0f} ms")


if __name__ == "__main__":
    main()
