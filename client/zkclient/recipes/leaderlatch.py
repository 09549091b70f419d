"""LeaderLatch: to be the leader whenever possible, beside whatever else the process does."""

from collections.abc import Callable
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from zkclient.driver import tell
from zkclient.errors import (
    ConnectionLossError,
    LockLost,
    OperationTimeoutError,
    SessionExpiredError,
    ThrottledError,
    ZKError,
)
from zkclient.recipes.election import Election
from zkclient.recipes.held import LEAVE_SECONDS_MAX, Held

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

PAUSE_SECONDS = 0.2  # before it stands for election again
FOR_THE_MOMENT = (LockLost, SessionExpiredError, OperationTimeoutError, ConnectionLossError, ThrottledError)


class LeaderLatch:
    """A candidate in the background: it leads when its turn comes, and stands again when it has lost the leadership.

        async with zk.LeaderLatch("/leader", "host-1") as latch:
            while True:
                if latch.has_leadership:
                    ...                                # what only the leader does

    The block goes on whether this process leads or not: so what only the leader may do asks `has_leadership` before
    each step, or writes with `zk.transaction(guard=await latch.wait())`. Where the work is one body that should end
    with the leadership, take an `Election`, in whose queue this stands too: `Election(path).leader()` names the leader.

    A listener is called with True when this process begins to lead, and with False when it leads no more, in turn.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, id: str = "") -> None:  # noqa: A002 - as Election's
        self._driver = client.driver
        self._path = path
        self._election = Election(client, path, id)
        self._leadership: Held | None = None
        self._failure: ZKError | None = None
        self._changed = anyio.Event()
        self._over = anyio.Event()
        self._work: anyio.CancelScope | None = None
        self._listeners: list[Callable[[bool], object]] = []

    async def start(self) -> None:
        """Stand for election, until `close`."""
        if self._work is not None:
            raise RuntimeError("a latch can be started once: make another one")
        self._work = anyio.CancelScope()
        self._driver.start_task(self._run, self._work)

    async def close(self) -> None:
        """Give up the leadership, or the candidature."""
        if self._work is not None:
            self._work.cancel()
            with anyio.move_on_after(LEAVE_SECONDS_MAX, shield=True):
                await self._over.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def has_leadership(self) -> bool:
        """Whether this process leads, as far as can be known: nobody else does before this says so."""
        held = self._leadership
        return held is not None and not held.lost_by_now()

    async def wait(self, *, timeout: float | None = None) -> Held:
        """Wait until this process leads. What it holds then has the fencing `token`, and is lost with the leadership.

        Raises OperationTimeoutError after `timeout` seconds; and what the service says, if it refuses the candidate.
        """
        try:
            with anyio.fail_after(inf if timeout is None else timeout):
                while True:
                    if self.has_leadership and self._leadership is not None:
                        return self._leadership
                    if self._failure is not None:
                        raise self._failure
                    if self._work is None or self._over.is_set():
                        raise RuntimeError("the latch does not stand for election: it is not started, or closed")
                    await self._changed.wait()
        except TimeoutError:
            missing = self._driver.machine.why_no_server()
            why = f": no server to be had ({missing})" if missing else ""
            raise OperationTimeoutError(f"{self._path}: this process does not lead yet{why}") from None

    def add_listener(self, listener: Callable[[bool], object]) -> None:
        """Call `listener` when this process begins to lead, and when it does no more. It must not block."""
        self._listeners.append(listener)

    # ---- in the background

    async def _run(self, work: anyio.CancelScope) -> None:
        try:
            with work:
                while self._failure is None:
                    await self._stand()
        finally:
            self._over.set()
            self._change()

    async def _stand(self) -> None:
        """One candidature."""
        try:
            held = await self._election.acquire()
        except FOR_THE_MOMENT:
            await anyio.sleep(PAUSE_SECONDS)
        except ZKError as error:
            self._failure = error
        else:
            await self._lead(held)

    async def _lead(self, held: Held) -> None:
        self._leadership = held
        self._tell(leads=True)
        held.on_lost(self._depose)
        try:
            await held.lost.wait()
        finally:
            self._depose()
            with suppress(LockLost):
                await self._election.release()

    def _depose(self) -> None:
        """Before anybody else can lead."""
        if self._leadership is not None:
            self._leadership = None
            self._tell(leads=False)

    def _tell(self, *, leads: bool) -> None:
        self._change()
        for listener in tuple(self._listeners):
            tell(listener, leads)

    def _change(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
