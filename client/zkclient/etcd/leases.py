"""Leases: sessions that end when nobody refreshes them.

The keys of a lease are ephemeral nodes of its session. So they go together, in one transaction: when it is revoked,
when it runs out, and when its process was gone or cut off for as long as the session lasts.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import ceil, inf
from ssl import SSLContext
from time import monotonic
from types import TracebackType
from typing import Self

import anyio

from zk.model.errors import BadArgumentsError, ZKError
from zk.model.record import SessionId, record
from zk.model.requests import CloseSession
from zkclient.blocking import ZooKeeper
from zkclient.client import AsyncZooKeeper
from zkclient.errors import ClientClosedError, SessionExpiredError
from zkclient.results import State
from zkclient.twins import ThreadClient

SESSION_TIMEOUT_MS_MAX = 2**31 - 1  # what can be asked for; the service has limits of its own


@record
class Access:
    """How sessions reach the service, and as whom: as of `ZooKeeper`."""

    hosts: str
    timeout: float
    auth: Sequence[tuple[str, str | bytes]]
    tls: SSLContext | None


class LeaseSession(AsyncZooKeeper):
    """In the event loop: a session that ends when it was not refreshed for `ttl` seconds, and no other one follows it.

    To leave the block does not end it: then nobody keeps it alive any more.
    """

    def __init__(self, access: Access, ttl: float) -> None:
        timeout_ms = min(ceil(ttl * 1000), SESSION_TIMEOUT_MS_MAX)
        super().__init__(
            access.hosts, session_timeout_ms=timeout_ms, timeout=access.timeout, auth=access.auth, tls=access.tls
        )
        self.ends_at: float = inf  # in the time of event loops and of `monotonic`
        self._ttl = ttl
        self.add_listener(self._state_changed)

    async def begin(self) -> SessionId:
        """Open it. Its number."""
        await self.refresh()
        self.driver.start_task(self._run_out)
        return self.session_id

    async def refresh(self) -> None:
        """Count the time anew, from before this call: if the session lives, as the leader has confirmed then."""
        ends_at = anyio.current_time() + self._ttl
        await self.sync()
        self.ends_at = ends_at

    async def keep(self) -> None:
        """Let it live for as long as its process."""
        await self.sync()
        self.ends_at = inf

    async def end(self, timeout: float | None = None) -> None:
        """End it now."""
        await self._call(CloseSession(), timeout)

    def forsake(self) -> None:
        """Don't keep it alive any more."""
        self.driver.machine.close()
        self.driver.kick()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.forsake()
        await super().__aexit__(exc_type, exc, traceback)

    async def _run_out(self) -> None:
        while (left := self.ends_at - anyio.current_time()) > 0:
            await anyio.sleep(left)
        with suppress(ZKError):
            await self.end(inf)  # or it is lost first

    def _state_changed(self, state: State) -> None:
        if state is State.LOST:
            self.forsake()


class LeaseZooKeeper(ZooKeeper):
    """The same for plain threads. A forked child's never has a session: the lease is its parent's."""

    def __init__(self, access: Access, ttl: float) -> None:
        process = os.getpid()

        def make() -> LeaseSession:
            leased = LeaseSession(access, ttl)
            if os.getpid() != process:
                leased.forsake()
            return leased

        ThreadClient.__init__(self, make)

    @property
    def ends_at(self) -> float:
        """When it ends unless it is refreshed, in the time of `monotonic`."""
        return self._leased.ends_at

    def begin(self) -> SessionId:
        return self._session.run(self._leased.begin())

    def refresh(self) -> None:
        self._session.run(self._leased.refresh())

    def keep(self) -> None:
        self._session.run(self._leased.keep())

    def end(self) -> None:
        self._session.run(self._leased.end())

    @property
    def _leased(self) -> LeaseSession:
        client = self._session.client
        assert isinstance(client, LeaseSession)
        return client


class Lease:
    """Keys that were put with it vanish together when it was not refreshed for `ttl` seconds, or is revoked.

        with client.lease(10) as lease:                 # kept while the block lasts, and revoked at its end
            client.put("/services/web/1", "10.0.0.1:80", lease=lease)

    Without the block, call `refresh` in time.

    It is a session of its own, with a connection, which this object keeps alive until the time is over. When the
    process ends, is stopped or cut off, or closes the client, the keys vanish as soon as the service has not heard of
    it for the session's timeout. That is `ttl`, fitted into the servers' range (4 to 40 s, if not set otherwise). Other
    processes may put and delete its keys, but can't use or refresh the lease.

    What uses it when it is over raises SessionExpiredError.
    """

    id: SessionId
    """What its keys have as `lease_id`."""
    ttl: float
    """For how many seconds a refresh is good."""

    def __init__(self, access: Access, ttl: float) -> None:
        if not ttl > 0:
            raise BadArgumentsError(hint=f"a lease's ttl must be more than 0 seconds, not {ttl}")
        self.ttl = ttl
        self._zk = LeaseZooKeeper(access, ttl)
        try:
            self.id = self._zk.begin()
        except BaseException:
            self._zk.close()
            raise

    @property
    def over(self) -> bool:
        """Whether it is known to be over: revoked, run out, lost, or another process's."""
        return self._zk.state is State.CLOSED

    @property
    def remaining_ttl(self) -> float:
        """How many seconds it will last if it is not refreshed; infinity inside its block, 0 if it is over."""
        return 0.0 if self.over else max(0.0, self._zk.ends_at - monotonic())

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it has, sorted; asks the service."""
        with self.in_use() as zk:
            return zk.get_ephemerals()

    def refresh(self) -> None:
        """Let the keys live for `ttl` seconds from now on."""
        with self.in_use() as zk:
            zk.refresh()

    def revoke(self) -> None:
        """Remove the keys now, in one transaction. Nothing happens if it is over."""
        with suppress(SessionExpiredError), self.in_use() as zk:
            zk.end()

    def __enter__(self) -> Self:
        with self.in_use() as zk:
            zk.keep()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.revoke()

    # ---- for the client

    @contextmanager
    def in_use(self) -> Iterator[LeaseZooKeeper]:
        """Its session."""
        try:
            yield self._zk
        except ClientClosedError:
            raise SessionExpiredError("", "the lease is over", maybe_applied=True) from None

    def forsake(self) -> None:
        """Don't keep it alive any more."""
        self._zk.close()
