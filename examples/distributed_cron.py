"""Runs a command every so many seconds, on one machine: start it on several, and another takes over when one dies.

python examples/distributed_cron.py [--every SECONDS] [--runs N] [--server HOST:PORT,…] COMMAND ARGUMENT…
"""

import argparse
import os
import time
from contextlib import suppress

import anyio
from zkclient import AsyncZooKeeper, Held, NodeExistsError

PATH = "/cron/job"  # its data is when the next run is due, its version how many there were


async def lead(zk: AsyncZooKeeper, leadership: Held, every_s: float, runs_max: int, command: list[str]) -> None:
    with suppress(NodeExistsError):
        await zk.create(PATH, str(time.time()))
    while True:
        due, stat = await zk.get(PATH)
        if runs_max and stat.version >= runs_max:
            return
        await anyio.sleep(max(0.0, float(due) - time.time()))
        # First it is written down: so a run is never begun twice, also if this machine dies in the midst of it.
        async with zk.transaction(guard=leadership) as transaction:  # refused if another one leads by now
            transaction.set(PATH, str(time.time() + every_s), version=stat.version)
        # The token grows with every leader: what the command writes elsewhere can be fenced by it.
        environment = os.environ | {"CRON_RUN": str(stat.version + 1), "CRON_TOKEN": str(leadership.token)}
        done = await anyio.run_process(command, stdout=None, stderr=None, check=False, env=environment)
        print(f"run {stat.version + 1} ended with {done.returncode}", flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--every", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--server", default="127.0.0.1:2181")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    # Waits to be the leader. The command is killed should the leadership be lost.
    async with AsyncZooKeeper(asked.server) as zk, zk.Election("/cron/leader") as leadership:
        await lead(zk, leadership, asked.every, asked.runs, asked.command)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(main)
