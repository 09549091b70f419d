"""The poller of this system: the epoll of poller.py, or a trio task for whatever a source waits for."""

import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from zk.server.poller import READ, WRITE, EpollPoller, Poller, Source


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
