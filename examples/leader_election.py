"""Start it several times: one of them leads, and another takes over when it ends or dies.

python examples/leader_election.py NAME [--server HOST:PORT,…]
"""

import argparse
import asyncio

from zkclient import AsyncZooKeeper

ROUNDS = 3


async def main(name: str, hosts: str) -> None:
    async with AsyncZooKeeper(hosts) as zk:
        # Waits for its turn. The body is cancelled should the leadership be lost.
        async with zk.Election("/leader", name) as leadership:
            print(f"{name} leads; token {leadership.token}")
            for _ in range(ROUNDS):
                await zk.put("/leader-was-here", name)
                await asyncio.sleep(0.1)
        print(f"{name} steps down")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("--server", default="127.0.0.1:2181")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.name, arguments.server))
