"""Lock: mutual exclusion between processes, with a fencing token."""

from typing import TYPE_CHECKING

from zkclient.recipes.contenders import Contest

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Lock(Contest):
    """At most one holder at a time, in the order in which they asked.

        async with zk.Lock("/locks/report") as held:
            await store.write(report, fencing_token=held.token)

    The body runs in a cancel scope: if the lock is lost (the session is lost, or somebody deletes the lock's node), the
    body is cancelled and `LockLost` raised; also if the body had just finished. Cancelling from outside passes through.
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
