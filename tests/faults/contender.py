"""A process of test_stress.py: acquires a lock, writes its token under it, releases it, again and again.

    python tests/faults/contender.py HOSTS NUMBER DIRECTORY

Numbers that are even use the client for coroutines, odd ones that for threads. What happens is appended to
DIRECTORY/events, one line each: what, NUMBER, the token, when (ns of the clock that all processes share), and for
"wrote" the version that came of it. Whoever holds the lock and finds DIRECTORY/stop takes that away and stands still
(SIGSTOP), until somebody else lets it go on. It ends when there is DIRECTORY/over.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import anyio
from zkclient import AsyncZooKeeper, LockLost, SessionExpiredError, ZooKeeper

from zk.model.stat import Stat

LOCK, FENCED = "/stress/lock", "/stress/fenced"
SESSION_TIMEOUT_MS = 2_000
CALL_S = 30.0  # longer than any time without a leader here


class Contender:
    """Tells what happens, and knows when to stop."""

    def __init__(self, hosts: str, number: int, directory: Path) -> None:
        self._hosts = hosts
        self._number = number
        self._over = directory / "over"
        self._stop = directory / "stop"
        self._events = os.open(directory / "events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def tell(self, what: str, token: int = 0, version: int = 0) -> None:
        os.write(self._events, f"{what} {self._number} {token} {time.monotonic_ns()} {version}\n".encode())

    def tell_written(self, token: int, result: object) -> None:
        assert isinstance(result, Stat)
        self.tell("wrote", token, result.version)

    def enter(self, token: int) -> None:
        self.tell("enter", token)
        with suppress(FileNotFoundError):
            self._stop.unlink()
            self.tell("stopped", token)
            os.kill(os.getpid(), signal.SIGSTOP)

    def contend(self) -> None:
        with ZooKeeper(self._hosts, session_timeout_ms=SESSION_TIMEOUT_MS, timeout=CALL_S) as zk:
            zk.start()
            self.tell("ready")
            lock = zk.Lock(LOCK, identifier=str(self._number))
            while not self._over.exists():
                token = 0
                try:
                    with lock as held:
                        token = held.token
                        self.enter(token)
                        try:
                            written = zk.transaction(guard=held).set(FENCED, str(token)).commit()
                            self.tell_written(token, written[0])
                        finally:
                            self.tell("exit", token)
                except (LockLost, SessionExpiredError):
                    self.tell("lost", token)
        self.tell("finished")

    async def contend_async(self) -> None:
        async with AsyncZooKeeper(self._hosts, session_timeout_ms=SESSION_TIMEOUT_MS, timeout=CALL_S) as zk:
            await zk.whoami()
            self.tell("ready")
            lock = zk.Lock(LOCK, identifier=str(self._number))
            while not self._over.exists():
                token = 0
                try:
                    async with lock as held:
                        token = held.token
                        self.enter(token)
                        try:
                            written = await zk.transaction(guard=held).set(FENCED, str(token)).commit()
                            self.tell_written(token, written[0])
                        finally:
                            self.tell("exit", token)
                except (LockLost, SessionExpiredError):
                    self.tell("lost", token)
        self.tell("finished")


def main() -> None:
    hosts, number, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    contender = Contender(hosts, number, directory)
    with suppress(KeyboardInterrupt):
        if number % 2:
            contender.contend()
        else:
            anyio.run(contender.contend_async)


if __name__ == "__main__":
    main()
