"""A client that writes without a pause, to see for how long the service takes no writes, and whether each was done
exactly once."""

import time
from itertools import pairwise

import anyio
from zkclient import AsyncZooKeeper

from zk.cli.demo import plan

PAUSE_S = 0.005  # between two writes: the resolution of what is measured, and little load


class Probe:
    """Remembers its acknowledged writes. Each raises the node's version by one."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self.acknowledged_s: list[float] = []  # when each write was answered

    async def run(self) -> None:
        """Write until cancelled. A write under way at the end is finished: what is counted is what was answered."""
        async with AsyncZooKeeper(self._servers) as zk:
            await zk.create(plan.PROBE)
            while True:
                with anyio.CancelScope(shield=True):
                    await zk.set(plan.PROBE, str(len(self.acknowledged_s) + 1))
                self.acknowledged_s.append(time.monotonic())
                await anyio.sleep(PAUSE_S)

    def outage_ms(self, fault_s: float) -> float:
        """The longest time between two neighbouring acknowledgements since just before the fault."""
        around = [at for at in self.acknowledged_s if at > fault_s - 0.1]
        return max((later - earlier) * 1_000 for earlier, later in pairwise(around))
