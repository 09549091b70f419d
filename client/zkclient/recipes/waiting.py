"""What recipes wait with: an alarm that watches nodes for as long as somebody waits, and leaves no watch behind; and
a line of those who wait for the same."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Self, TypeVar

import anyio

from zk.model.errors import ZKError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.paths import join
from zkclient.errors import LockLost, OperationTimeoutError, SessionExpiredError
from zkclient.recipes.contenders import Contest
from zkclient.watchers import Stream

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

LINE = "line"  # below the path of the recipe
T = TypeVar("T")


class Alarm:
    """Goes off when one of the nodes that it watches changes, and whenever `ring` is called.

    What happens before `wait` is called counts too, so: watch, look, wait, look again. It goes on over reconnects and
    new sessions. Use it as a context manager.
    """

    def __init__(self, client: "AsyncZooKeeper") -> None:
        self._client = client
        self._streams: list[Stream] = []
        self._rung = anyio.Event()
        self._failure: ZKError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch_nothing()

    def watch(self, path: str, *types: EventType, below: bool = False) -> None:
        """Go off at events of these types: of the node at `path`; or, with `below`, also of all nodes below it."""
        mode = WatchMode.RECURSIVE if below else WatchMode.PERSISTENT
        told = partial(self._told, frozenset((*types, EventType.RESYNC)))
        self._streams.append(self._client.driver.watch(self._client.absolute(path), mode, None, told))

    def watch_nothing(self) -> None:
        """Forget what was watched."""
        for stream in self._streams:
            self._client.driver.unwatch(stream)
        self._streams.clear()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, deadline: float, what: str) -> None:
        """Until it goes off; at once, if it did since the last time. Raises OperationTimeoutError, with `what` was
        waited for, or why a node can't be watched."""
        try:
            with anyio.fail_after(deadline - anyio.current_time()):
                await self._rung.wait()
        except TimeoutError:
            raise OperationTimeoutError(what) from None
        self._rung = anyio.Event()
        if self._failure is not None:
            raise self._failure

    def _told(self, types: frozenset[EventType], event: WatchEvent | ZKError) -> None:
        if isinstance(event, ZKError):
            self._failure = event
            self._rung.set()
        elif event.type in types:
            self._rung.set()


async def in_line(
    client: "AsyncZooKeeper",
    path: str,
    attempt: Callable[[], Awaitable[T | None]],
    watch: Callable[[Alarm], None],
    deadline: float,
    what: str,
) -> T:
    """What `attempt` gives, as soon as it gives anything. Who gets nothing stands in a line below `path`, and only the
    first one in it watches, and tries again: what comes for one wakes one."""
    while (found := await attempt()) is None:
        try:
            place = await Contest(client, join(path, LINE), "", None).acquire(timeout=deadline - anyio.current_time())
        except (LockLost, SessionExpiredError):
            continue  # only the place in the line is gone
        try:
            with Alarm(client) as alarm:
                watch(alarm)
                while (found := await attempt()) is None:
                    await alarm.wait(deadline, what)
        finally:
            client.driver.post(place.leave())  # nobody waits for that: what was found must not be lost here
        return found
    return found
