"""ReadWriteLock: many readers or one writer."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zkclient.recipes.contenders import LOCK, SHARED_LOCK, Contender, Contest

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

READER = f"reader{SHARED_LOCK}"
WRITER = f"writer{LOCK}"


class _Shared(Contest):
    """One side of a lock in whose queue readers and writers stand together."""

    _marks = (LOCK, SHARED_LOCK)

    def __init__(
        self, client: "AsyncZooKeeper", path: str, *, identifier: str = "", timeout: float | None = None
    ) -> None:
        super().__init__(client, path, identifier, timeout)


class WriteLock(_Shared):
    """The writer's side of a `ReadWriteLock`: it waits for all who asked before, and holds alone."""

    _prefix = WRITER


class ReadLock(_Shared):
    """The reader's side of a `ReadWriteLock`: it waits for the writers who asked before, and holds beside other
    readers. Its token orders it among writers: a reader that comes after a writer has a greater one."""

    _prefix = READER

    def _waits_for(self, before: Sequence[Contender]) -> Contender | None:
        return next((contender for contender in reversed(before) if SHARED_LOCK not in contender.name), None)


class ReadWriteLock:
    """Readers share, a writer excludes everyone, in the order in which they asked.

        lock = zk.ReadWriteLock("/locks/index")
        async with lock.read_lock() as held:
            ...                                        # beside other readers
        async with lock.write_lock() as held:
            ...                                        # alone; held.token grows with every writer

    A reader that comes after a waiting writer waits for it: nobody starves. Each waiter watches one contender: a writer
    the one just before it, a reader the last writer before it; so readers go in together and nobody else is woken.

    Each side is held, lost and released as a `Lock` is, and `identifier` and `timeout` mean what they mean there.
    Neither side turns into the other: who asks for `write_lock` inside `read_lock` waits for itself.
    """

    def __init__(
        self, client: "AsyncZooKeeper", path: str, *, identifier: str = "", timeout: float | None = None
    ) -> None:
        self._client = client
        self._path = path
        self._identifier = identifier
        self._timeout = timeout

    def read_lock(self) -> ReadLock:
        """The reader's side: a new object for each user."""
        return ReadLock(self._client, self._path, identifier=self._identifier, timeout=self._timeout)

    def write_lock(self) -> WriteLock:
        """The writer's side: a new object for each user."""
        return WriteLock(self._client, self._path, identifier=self._identifier, timeout=self._timeout)
