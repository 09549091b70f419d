"""Files are jobs, and any number of workers computes their checksums. Kill a worker: its job goes to another one.

python examples/work_queue.py put FILE… [--server HOST:PORT,…]
python examples/work_queue.py work [--idle SECONDS] [--server HOST:PORT,…]
"""

import argparse
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from zkclient import LockLost, OperationTimeoutError, ZooKeeper

DELIVERIES_MAX = 2


def work(zk: ZooKeeper, idle_s: float) -> None:
    """Work until there has been nothing to do for a while."""
    jobs = zk.WorkQueue("/jobs", deliveries_max=DELIVERIES_MAX)
    while True:
        try:
            task = jobs.claim(timeout=idle_s)
        except OperationTimeoutError:
            break
        file = task.data.decode()
        try:
            with task:  # acknowledged at its end; an error gives the job back
                checksum = sha256(Path(file).read_bytes()).hexdigest()
                # A worker may die between this and the end: the job is done again then, and must bear that.
                zk.put(f"/checksums/{quote(file, safe='')}", checksum, makepath=True)
            print(f"{checksum[:8]} {file}")
        except OSError as error:
            print(f"{file}: {error.strerror}, attempt {task.deliveries}")
        except LockLost:
            print(f"{file}: the session was lost, another worker has it now")
    while (dead := jobs.dead_letters().poll()) is not None:
        print(f"given up: {dead.decode()}")


def main(arguments: argparse.Namespace) -> None:
    with ZooKeeper(arguments.server) as zk:
        if arguments.command == "work":
            work(zk, arguments.idle)
        else:
            for file in arguments.files:
                zk.WorkQueue("/jobs").put(str(file.resolve()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    putting, working = commands.add_parser("put"), commands.add_parser("work")
    putting.add_argument("files", nargs="+", type=Path)
    working.add_argument("--idle", type=float, default=60.0)
    for command in (putting, working):
        command.add_argument("--server", default="127.0.0.1:2181")
    main(parser.parse_args())
