"""Goes by a configuration that may change at any time, until it is deleted. In plain threads.

python examples/config_watch.py [PATH] [--server HOST:PORT,…]

Then, elsewhere:  zk create /config '{"workers": 2}';  zk set /config '{"workers": 5}';  zk rm /config
"""

import argparse
import json
import threading
from contextlib import suppress

from zkclient import Stat, ZooKeeper


def main(path: str, hosts: str) -> None:
    deleted = threading.Event()
    known = False

    with ZooKeeper(hosts) as zk:
        # Called at once, and behind every change; also one that came while no server was to be had.
        @zk.DataWatch(path)
        def configure(data: bytes | None, stat: Stat | None) -> None:
            nonlocal known
            if data is None or stat is None:
                if known:
                    deleted.set()
                return
            known = True
            try:
                print(f"version {stat.version}: {json.loads(data)}", flush=True)
            except ValueError as error:
                print(f"version {stat.version} is no JSON ({error}): the former one stays", flush=True)

        deleted.wait()
    print("deleted")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("path", nargs="?", default="/config")
    parser.add_argument("--server", default="127.0.0.1:2181")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        main(arguments.path, arguments.server)
