"""A trial: a site to harm, guests who suffer from it, and what must hold when all is well again."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from zkclient import AsyncZooKeeper, EventType, State, WatchEvent
from zkclient.errors import ClientClosedError

from tests.disks import quick_directory
from zk.faults.namespaces import Loss, Site, between, host_name, start_site, why_not
from zk.history import Recorder, check
from zk.server.testing import ServerProcess

T = TypeVar("T")

SESSION_TIMEOUT_MS = 4_000
GUEST = "guest"


class Guest:
    """A client with a session of its own, driven from the test's thread. `states`, and the `events` that its watch
    told, have the time of `time.monotonic` with them."""

    def __init__(self, portal: BlockingPortal, zk: AsyncZooKeeper) -> None:
        self.zk = zk
        self.states: list[tuple[float, State]] = []
        self.events: list[tuple[float, WatchEvent]] = []
        self._portal = portal
        portal.call(zk.add_listener, lambda state: self.states.append((time.monotonic(), state)))

    def do(self, call: Callable[..., Awaitable[T]], *args: object, **options: object) -> T:
        """Make a call of the client, and wait for what comes of it."""
        return self._portal.call(partial(call, *args, **options))

    @property
    def attached_to(self) -> str:
        """The server, as 'host:port'; "" for none."""
        return self._portal.call(self.zk.statistics).server

    def watch(self, path: str) -> None:
        """Let `events` hear of everything at `path` and below, from what this client has seen last on."""
        stream = self._portal.call(partial(self.zk.watch, path, recursive=True, since=self.zk.last_zxid))

        async def listen() -> None:
            with suppress(ClientClosedError):
                async for event in stream:
                    self.events.append((time.monotonic(), event))

        self._portal.start_task_soon(listen)

    def told_s(self, kind: EventType, path: str) -> float | None:
        """When it was told that this happened; None if it was not."""
        return next((at_s for at_s, event in self.events if (event.type, event.path) == (kind, path)), None)

    @property
    def lost_s(self) -> float | None:
        """When its session was lost; None if it was not."""
        return next((at_s for at_s, state in self.states if state is State.LOST), None)


class Trial:
    """`site` is what the fault happens to; all that the test enters is left when it is over."""

    def __init__(self, site: Site, stack: ExitStack) -> None:
        self.site = site
        self.network = site.network
        self.ensemble = site.ensemble
        self.leader = site.ensemble.leader()
        self.followers = site.others(self.leader)
        self._stack = stack

    def guest(
        self,
        first: ServerProcess,
        others: Sequence[ServerProcess] = (),
        host: str = GUEST,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
    ) -> Guest:
        """A guest that is attached to the server `first` and may move to `others`."""
        self.network.cut(between([host], map(host_name, others)), Loss.REFUSED)
        with self.network.entered(host):
            portal = self._stack.enter_context(start_blocking_portal())  # its thread begins on that host, and stays
        hosts = ",".join(str(server.address) for server in (first, *others))
        client = AsyncZooKeeper(hosts, session_timeout_ms=session_timeout_ms, timeout=15)
        guest = Guest(portal, self._stack.enter_context(portal.wrap_async_context_manager(client)))
        guest.do(client.sync)
        assert guest.attached_to == str(first.address)
        self.network.heal()
        return guest

    def load(self) -> Recorder:
        """Clients of all servers on the host CLIENTS, busy while the block lasts."""
        addresses = [str(server.address) for server in self.ensemble.servers]
        return Recorder(addresses, session_timeout_ms=SESSION_TIMEOUT_MS, pause_ms=10)

    def marks(self) -> Mapping[ServerProcess, int]:
        """Where the servers' logs end now."""
        return {server: len(server.lines) for server in self.ensemble.servers}

    def until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Look again and again."""
        begun_s = time.monotonic()
        while not condition():
            assert time.monotonic() < begun_s + within_s, f"not within {within_s} s: {what}"
            time.sleep(0.005)

    def check(self, recorder: Recorder) -> None:
        """With all ways healed, all servers agree in time; and what the clients were told may have been so."""
        self.ensemble.wait_until_agreed()
        check(recorder.history)
        for server in self.ensemble.servers:
            assert "Traceback" not in server.log
            assert "CRITICAL" not in server.log


@pytest.fixture
def open_trial() -> Iterator[Callable[..., Trial]]:
    """Start an ensemble of a size in a network of its own; the test's thread is among the clients then."""
    reason = why_not()
    if reason:
        pytest.skip(f"no network namespaces here: {reason}")
    with ExitStack() as stack:

        def open_one(size: int = 3) -> Trial:
            directory = stack.enter_context(quick_directory())  # what is timed here is the network
            return Trial(stack.enter_context(start_site(directory, size, guests=[GUEST])), stack)

        yield open_one
