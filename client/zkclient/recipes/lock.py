"""Lock: mutual exclusion between processes, with a fencing token."""

from types import TracebackType
from typing import TYPE_CHECKING

from zkclient.recipes.contenders import Held

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Lock:
    """At most one holder at a time, in the order in which they asked.

        async with zk.Lock("/locks/report") as held:
            await store.write(report, fencing_token=held.token)

    The body runs in a cancel scope: if the lock is lost (the session ends, or somebody deletes the lock's node), the
    body is cancelled and `LockLost` raised; also if the body had just finished. Cancelling from outside passes through.
    `timeout` (seconds) is the one deadline of an acquire, which then raises OperationTimeoutError and leaves nothing
    behind; without it the acquire waits for as long as it takes.

    A lock by itself can't protect anything outside this service: a process that was paused learns of its loss late.
    Hand `held.token` to the resource and let it refuse smaller tokens; for writes into this service use
    `zk.transaction(guard=held)`.
    """

    def __init__(
        self, client: "AsyncZooKeeper", path: str, *, identifier: str = "", timeout: float | None = None
    ) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Held:
        raise NotImplementedError

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        raise NotImplementedError

    async def contenders(self) -> tuple[str, ...]:
        """The identifiers of the holder and of all who wait, in their order."""
        raise NotImplementedError
