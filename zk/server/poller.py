"""Says which sockets are ready, so that one task can serve them all.

`EpollPoller` holds every socket in one epoll, itself a file descriptor that trio waits on: a wake-up costs the same
whether one socket is ready or a thousand. `TaskPoller` does the same with a trio task per socket, for systems without
epoll. Neither reads or writes anything. Read runtime.py next.
"""

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

import trio

READ = 1
WRITE = 2


class Source(Protocol):
    """Something with a file descriptor that the runtime serves."""

    def fileno(self) -> int: ...

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


@asynccontextmanager
async def open_poller(epoll: bool = hasattr(select, "epoll")) -> AsyncIterator[Poller]:
    """The best poller of this system."""
    if epoll:
        poller = EpollPoller()
        try:
            yield poller
        finally:
            poller.close()
    else:
        async with trio.open_nursery() as nursery:
            yield TaskPoller(nursery)
            nursery.cancel_scope.cancel()


_EVENTS_MAX = 1_024  # per poll; the rest is said in the next round
_TO_EPOLL = (0, select.EPOLLIN, select.EPOLLOUT, select.EPOLLIN | select.EPOLLOUT) if hasattr(select, "epoll") else ()
_FROM_EPOLL = {events: ready for ready, events in enumerate(_TO_EPOLL)}


class EpollPoller:
    """One epoll for all."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._sources: dict[int, Source] = {}

    def close(self) -> None:
        self._epoll.close()

    def register(self, source: Source, interest: int) -> None:
        self._epoll.register(source.fileno(), _TO_EPOLL[interest])
        self._sources[source.fileno()] = source

    def modify(self, source: Source, interest: int) -> None:
        self._epoll.modify(source.fileno(), _TO_EPOLL[interest])

    def unregister(self, source: Source) -> None:
        self._epoll.unregister(source.fileno())
        del self._sources[source.fileno()]

    async def wait(self) -> None:
        await trio.lowlevel.wait_readable(self._epoll.fileno())

    def poll(self, patience_ms: int = 0) -> list[tuple[Source, int]]:
        sources = self._sources
        found = self._epoll.poll(patience_ms / 1_000, _EVENTS_MAX)  # beside READ and WRITE: a hang-up or an error
        return [(sources[fd], _FROM_EPOLL.get(events, READ | WRITE)) for fd, events in found]


class _Registration:
    """A source of a TaskPoller, and the scopes of the tasks that wait for it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.fd = source.fileno()
        self.ready = 0
        self.taken = trio.Event()  # set when `poll` has handed out `ready`: then it is time to look again
        self.scopes: dict[int, trio.CancelScope] = {}


class TaskPoller:
    """A trio task for each thing that a source waits for."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._registrations: dict[int, _Registration] = {}
        self._ready: dict[int, _Registration] = {}
        self._some_ready = trio.Event()

    def register(self, source: Source, interest: int) -> None:
        self._registrations[source.fileno()] = _Registration(source)
        self.modify(source, interest)

    def modify(self, source: Source, interest: int) -> None:
        registration = self._registrations[source.fileno()]
        for bit in (READ, WRITE):
            if interest & bit and bit not in registration.scopes:
                scope = registration.scopes[bit] = trio.CancelScope()
                self._nursery.start_soon(self._watch, registration, bit, scope)
            elif not interest & bit and bit in registration.scopes:
                registration.scopes.pop(bit).cancel()

    def unregister(self, source: Source) -> None:
        self.modify(source, 0)
        del self._registrations[source.fileno()]
        self._ready.pop(source.fileno(), None)

    async def wait(self) -> None:
        await self._some_ready.wait()

    def poll(self, patience_ms: int = 0) -> list[tuple[Source, int]]:
        ready = [(registration.source, registration.ready) for registration in self._ready.values()]
        for registration in self._ready.values():
            registration.ready = 0
            registration.taken.set()
            registration.taken = trio.Event()
        self._ready = {}
        if self._some_ready.is_set():
            self._some_ready = trio.Event()
        return ready

    async def _watch(self, registration: _Registration, bit: int, scope: trio.CancelScope) -> None:
        wait = trio.lowlevel.wait_readable if bit == READ else trio.lowlevel.wait_writable
        with scope:
            while True:
                await trio.lowlevel.checkpoint_if_cancelled()  # a successor may wait already, and only one may
                await wait(registration.fd)
                registration.ready |= bit
                self._ready[registration.fd] = registration
                self._some_ready.set()
                await registration.taken.wait()
