"""Lock: mutual exclusion between processes, with a fencing token. RLock: the same, for code that calls itself."""

from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from zkclient.recipes.contenders import Contest
from zkclient.recipes.held import Held

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Lock(Contest):
    """At most one holder at a time, in the order in which they asked.

        async with zk.Lock("/locks/report") as held:
            await store.write(report, fencing_token=held.token)

    If the lock is lost (the session is lost, or somebody deletes the lock's node), `held.lost` is set, and the end of
    the block raises `LockLost`, also if the body had just finished.

    On event loops: the body runs in a cancel scope, and the loss cancels it. Cancelling from outside passes through.

    `timeout` (seconds) is the one deadline of an acquire, which then raises OperationTimeoutError and leaves nothing
    behind; without it the acquire waits for as long as it takes. `identifier` is for people who look at the queue.

    A lock by itself can't protect anything outside this service: a process that was paused learns of its loss late.
    Hand `held.token` to the resource and let it refuse smaller tokens; for writes into this service use
    `zk.transaction(guard=held)`.
    """

    def __init__(
        self, client: "AsyncZooKeeper", path: str, *, identifier: str = "", timeout: float | None = None
    ) -> None:
        super().__init__(client, path, identifier, timeout)


class RLock:
    """A `Lock` that whoever holds it may take again: it is free when it was released as often as it was taken.

        lock = zk.RLock("/locks/report")

        async def report() -> None:
            async with lock:
                ...

        async with lock:
            await report()                             # goes straight in, by the same held.token

    Whoever holds it is one task (in plain threads: one thread), by this object. Other tasks that use the object, those
    too that the holder starts, wait as anybody else, each as a contender of its own. An inner block costs no call to
    the service. A lock that is lost is lost to all its blocks, and the end of each says so.
    """

    def __init__(
        self, client: "AsyncZooKeeper", path: str, *, identifier: str = "", timeout: float | None = None
    ) -> None:
        self._client = client
        self._path = path
        self._identifier = identifier
        self._timeout = timeout
        self._holders: dict[int, _Reentrant] = {}

    async def acquire(self, *, timeout: float | None = None) -> Held:
        """Wait for the lock, until `release`; take it once more, if this task holds it. `timeout` as in the
        constructor."""
        return await self.of(_this_task()).acquire(timeout=timeout)

    async def try_acquire(self, *, timeout: float | None = None) -> Held | None:
        """Take the lock if it is free or this task's, until `release`; None if others are before. It waits for answers
        of the service only, up to `timeout`."""
        return await self.of(_this_task()).try_acquire(timeout=timeout)

    async def release(self) -> None:
        """Undo one acquire of this task. Raises LockLost if the lock had been lost before."""
        await self.of(_this_task()).release()

    async def contenders(self) -> tuple[str, ...]:
        """The identifiers of the one that holds the lock and of all who wait, in their order."""
        return await self.of(_this_task()).contenders()

    async def __aenter__(self) -> Held:
        return await self.of(_this_task()).__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self.of(_this_task()).__aexit__(exc_type, exc, traceback)

    # ---- for the twin

    def of(self, user: int) -> "_Reentrant":
        """The lock as `user` has it: a task, or a thread."""
        holder = self._holders.get(user)
        if holder is not None:
            return holder
        return _Reentrant(self._client, self._path, self._identifier, self._timeout, self._holders, user)


class _Reentrant(Contest):
    """One user's. It is in `holders` while it is held."""

    def __init__(
        self,
        client: "AsyncZooKeeper",
        path: str,
        identifier: str,
        timeout: float | None,
        holders: "dict[int, _Reentrant]",
        user: int,
    ) -> None:
        super().__init__(client, path, identifier, timeout)
        self._holders = holders
        self._user = user
        self._depth = 0

    async def _take(self, timeout: float | None, *, wait: bool) -> Held:
        held = self._held
        if held is not None:
            held.check()
        else:
            held = await super()._take(timeout, wait=wait)
            self._holders[self._user] = self
        self._depth += 1
        return held

    async def _give_back(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            del self._holders[self._user]
            await super()._give_back()


def _this_task() -> int:
    return anyio.get_current_task().id
