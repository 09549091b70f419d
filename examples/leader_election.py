"""Start it several times: one of them leads, and another takes over when it ends or dies.

python examples/leader_election.py NAME [HOST:PORT,…]
"""

import asyncio
import sys

from zkclient import AsyncZooKeeper

ROUNDS = 3


async def main(name: str, hosts: str) -> None:
    async with AsyncZooKeeper(hosts) as zk:
        # Waits for its turn. The body is cancelled should the leadership be lost.
        async with zk.Election("/leader", name) as leadership:
            print(f"{name} leads; token {leadership.token}")
            for number in range(ROUNDS):
                await zk.create("/leader-was-here", name) if number == 0 else await zk.set("/leader-was-here", name)
                await asyncio.sleep(0.1)
        print(f"{name} steps down")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1:2181"))
