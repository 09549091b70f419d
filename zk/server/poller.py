"""Says which sockets are ready, so that one task can serve them all.

`EpollPoller` holds every socket in one epoll, itself a file descriptor that trio waits on: a wake-up costs the same
whether one socket is ready or a thousand. polling.py has another one, for systems without epoll. Neither reads or
writes anything. Read runtime.py next.
"""

import select
from abc import ABC, abstractmethod
from typing import Protocol

import trio

READ = 1  # as epoll has them
WRITE = 4

_EVENTS_MAX = 1_024  # per poll; the rest is said in the next round


class Source(ABC):
    """Something with a file descriptor that the runtime serves."""

    __slots__ = ()

    @abstractmethod
    def fileno(self) -> int: ...

    @abstractmethod
    def on_ready(self, ready: int) -> None:
        """Read or write (READ, WRITE bits of `ready`) as much as is fair, without waiting."""


class Poller(Protocol):
    """Level-triggered: what is still ready is said again."""

    def register(self, source: Source, interest: int) -> None: ...

    def modify(self, source: Source, interest: int) -> None: ...

    def unregister(self, source: Source) -> None:
        """To be called before the file descriptor is closed."""

    async def wait(self) -> None:
        """Return when a source is ready, or earlier. Always gives other tasks their turn."""

    def poll(self, patience_ms: int = 0) -> list[tuple[Source, int]]:
        """What is ready now, with its READ and WRITE bits. A broken connection is ready for what it can't do: the
        attempt tells. If nothing is, a poller that can wait for so long by itself: no task has its turn meanwhile."""


class EpollPoller:
    """One epoll for all."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sources: dict[int, Source] = {}

    def close(self) -> None:
        self._epoll.close()

    def register(self, source: Source, interest: int) -> None:
        self._epoll.register(source.fileno(), interest)
        self._sources[source.fileno()] = source

    def modify(self, source: Source, interest: int) -> None:
        self._epoll.modify(source.fileno(), interest)

    def unregister(self, source: Source) -> None:
        self._epoll.unregister(source.fileno())
        del self._sources[source.fileno()]

    async def wait(self) -> None:
        await trio.lowlevel.wait_readable(self._epoll.fileno())

    def poll(self, patience_ms: int = 0) -> list[tuple[Source, int]]:
        sources = self._sources
        ready: list[tuple[Source, int]] = []
        for fd, events in self._epoll.poll(patience_ms / 1_000, _EVENTS_MAX):
            hung_up = events & ~(READ | WRITE)  # or there was an error
            ready.append((sources[fd], READ | WRITE if hung_up else events))
        return ready
