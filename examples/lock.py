"""Only one process at a time writes the report, even if several are started at the same moment.

python examples/lock.py [--server HOST:PORT,…]
"""

import argparse
import asyncio

from zkclient import AsyncZooKeeper


async def main(hosts: str) -> None:
    async with AsyncZooKeeper(hosts) as zk:
        # The body is cancelled, and LockLost raised, should the session be lost while it runs.
        async with zk.Lock("/locks/report") as held:
            print(f"lock held; fencing token {held.token}")
            # Writes into the service can be made to depend on the lock: refused if it is no longer ours.
            async with zk.transaction(guard=held) as transaction:
                transaction.create("/report-", f"written under token {held.token}", sequence=True)
        print("lock released")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="127.0.0.1:2181")
    asyncio.run(main(parser.parse_args().server))
