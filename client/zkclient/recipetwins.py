"""For plain threads: what recipes have there alone, or do otherwise: operators, `len`, blocks (blocking.py is generated
upon it)."""

from collections.abc import Callable
from functools import cached_property, partial
from types import TracebackType
from typing import Self, TypeVar

from zkclient.errors import LockLost
from zkclient.recipes.counter import Counter as AsyncCounter
from zkclient.recipes.leaderlatch import LeaderLatch as AsyncLeaderLatch
from zkclient.recipes.lease import Lease as AsyncLease
from zkclient.recipes.queue import Items
from zkclient.recipes.workqueue import Task as AsyncTask
from zkclient.twins import BlockTwin, Held, Twin

C = TypeVar("C", bound=AsyncCounter)
I = TypeVar("I", bound=Items)  # noqa: E741 - items
T = TypeVar("T", bound=AsyncTask)


class CounterTwin(Twin[C]):
    @property
    def value(self) -> int | float:
        """What it is now."""
        return self._session.run(self._inner.value())

    def __iadd__(self, delta: int | float) -> Self:
        self._session.run(self._inner.add(delta))
        return self

    def __isub__(self, delta: int | float) -> Self:
        self._session.run(self._inner.add(-delta))
        return self


class LatchTwin(BlockTwin[AsyncLeaderLatch]):
    @property
    def has_leadership(self) -> bool:
        """Whether this process leads, as far as can be known: nobody else does before this says so."""

        async def has_leadership() -> bool:
            return self._inner.has_leadership

        return self._session.run(has_leadership())

    def wait(self, *, timeout: float | None = None) -> Held:
        """Wait until this process leads. What it holds then has the fencing `token`, and is lost with the leadership.

        Raises OperationTimeoutError after `timeout` seconds; and what the service says, if it refuses the candidate.
        """

        async def wait() -> Held:
            return Held._of(self._session, await self._inner.wait(timeout=timeout))

        return self._session.run(wait())

    def add_listener(self, listener: Callable[[bool], object]) -> None:
        """Call `listener` when this process begins to lead, and when it does no more, in the thread of the client's
        callbacks."""
        self._inner.add_listener(partial(self._session.callbacks.call, listener))


class LeaseTwin(Twin[AsyncLease]):
    def acquire(self, *, timeout: float | None = None) -> Held | None:
        """Take the lease if nobody has it; None if somebody has, be it by this object.

        What it gives has the fencing `token`, is `lost` when the time is over, and guards transactions. After an error
        with `maybe_applied` the lease may be nobody's until its time is over.
        """

        async def acquire(lease: AsyncLease) -> Held | None:
            inner = await lease.acquire(timeout=timeout)
            return None if inner is None else Held._of(self._session, inner)

        self._session.running()
        return self._session.run(acquire(self._inner))


class ItemsTwin(Twin[I]):
    def __len__(self) -> int:
        return self._session.run(self._inner.size())


class TaskTwin(Twin[T]):
    """Leaving its `with` block without an error acknowledges the item, an error gives it back."""

    @property
    def data(self) -> bytes:
        """The item."""
        return self._inner.data

    @property
    def deliveries(self) -> int:
        """How often it was claimed, this time included."""
        return self._inner.deliveries

    @cached_property
    def held(self) -> Held:
        """The claim; `zk.transaction(guard=task.held)` makes writes that fail once it is lost."""
        return Held._of(self._session, self._inner.held)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task = self._inner
        if not task.ended:
            self._session.run(task.ack() if exc is None else task.nack())
        if task.held.lost.is_set() and isinstance(exc, Exception) and not isinstance(exc, LockLost):
            raise LockLost(task.held.path, task.held.reason) from exc
