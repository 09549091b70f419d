"""What the classes for plain threads are built of (blocking.py is generated upon it).

A twin has the same methods as a class for coroutines, and does them by the one of that class that lives in the event
loop's thread. A forked child gets new ones there: what the parent held is not held in the child.
"""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from zk.model.events import WatchEvent
from zk.model.record import SessionId, Zxid
from zkclient.client import AsyncZooKeeper
from zkclient.errors import ClientClosedError, LockLost
from zkclient.operations import Operations
from zkclient.recipes.contenders import Contest
from zkclient.recipes.held import Held as AsyncHeld
from zkclient.recipes.lock import RLock as AsyncRLock
from zkclient.recipes.partitioner import Partitioner as AsyncPartitioner
from zkclient.results import ClientStatistics, State
from zkclient.threadcalls import ThreadCaller, immediately
from zkclient.threads import Session
from zkclient.transaction import OperationResult
from zkclient.transaction import Transaction as AsyncTransaction
from zkclient.watching import WatchStream as AsyncWatchStream

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C", bound=Contest)


class Twin(Generic[A]):
    """`make` gives the object for coroutines, of the client that it is given."""

    def __init__(self, session: Session, make: Callable[[AsyncZooKeeper], A]) -> None:
        self._session = session
        self._make = make
        self._client: AsyncZooKeeper | None = None
        self._made: A | None = None

    @classmethod
    def _of(cls, session: Session, value: A) -> Self:
        """The twin of one object, which is this process's alone."""
        its_client = session.client

        def make(client: AsyncZooKeeper) -> A:
            if client is not its_client:
                raise ClientClosedError("it was begun by the process that this one was forked from: begin it anew")
            return value

        self = cls.__new__(cls)
        Twin.__init__(self, session, make)
        return self

    @classmethod
    def _by(cls, parent: "Twin[B]", derive: Callable[[B], A]) -> Self:
        """The twin of what `derive` makes of the parent's object, in this process and anew in a forked one."""
        self = cls.__new__(cls)
        Twin.__init__(self, parent._session, lambda _: derive(parent._inner))
        return self

    @property
    def _inner(self) -> A:
        client = self._session.client
        if self._client is not client:
            self._made = self._make(client)
            self._client = client
        assert self._made is not None
        return self._made


class ThreadClient:
    """What every client for threads has beside the operations."""

    def __init__(self, make: Callable[[], AsyncZooKeeper]) -> None:
        self._session = Session(make)
        self._operations: Operations = self._session.client.made_by(ThreadCaller(self._session))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self, timeout: float | None = None) -> None:
        """Connect, and wait until there is a session. No need to: the first call does it. But here a program may learn
        early that no server is to be had: it raises what every call may raise. `timeout` as for a call, in seconds."""
        immediately(self._operations.whoami(timeout=timeout))

    def stop(self) -> None:
        """kazoo's name for `close`."""
        self.close()

    def close(self) -> None:
        """End the session, which deletes its ephemeral nodes, and close the connection. At the end of the program it
        is done by itself."""
        self._session.close()

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._session.client.state

    @property
    def session_id(self) -> SessionId:
        """0 before the first connect."""
        return self._session.client.session_id

    @property
    def last_zxid(self) -> Zxid:
        """The newest transaction that this client has seen: pass it to another process as `at_least`."""
        return self._session.client.last_zxid

    def add_listener(self, listener: Callable[[State], object]) -> None:
        """Call `listener` at every change of the state, in the thread of the client's callbacks."""
        self._session.add_listener(listener)

    def remove_listener(self, listener: Callable[[State], object]) -> None:
        """Don't call it any more; if it was never added, nothing happens."""
        self._session.remove_listener(listener)

    def statistics(self) -> ClientStatistics:
        return self._session.client.statistics()

    def watch(
        self, path: str, *, recursive: bool = False, since: Zxid | int | None = None, buffer_size: int = 1_000
    ) -> "WatchStream":
        """Every change of the node and its children (`recursive`: of the node and all below it), as a stream.

            for event in zk.watch("/config", recursive=True):
                print(event.type.name, event.path, event.zxid)

        As of `AsyncZooKeeper.watch` otherwise. Iterating blocks until there is an event.
        """

        async def begin(client: AsyncZooKeeper) -> AsyncWatchStream:
            return client.watch(path, recursive=recursive, since=since, buffer_size=buffer_size)

        session = self._session
        session.running()
        return WatchStream._of(session, session.run(begin(session.client)))


class WatchStream(Twin[AsyncWatchStream]):
    """`for event in stream`. It ends when it is closed: by `close`, by leaving its `with` block, or with the client."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        try:
            return self._session.run(self._inner.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        """Stop watching."""

        async def close() -> None:
            self._inner.close()

        self._session.run(close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class Held:
    """A place at the head of the queue. `token` is the fencing token: it grows with every grant of the path.

    A thread can't be cancelled from outside: look at `lost` now and then, call `check`, or be told by `on_lost`.
    """

    path: str
    """The contender's node."""
    token: Zxid
    """The contender's czxid."""
    lost: threading.Event
    """Set when the place is lost."""

    def __init__(self, session: Session, inner: AsyncHeld) -> None:
        self.path = inner.path
        self.token = inner.token
        self.lost = threading.Event()
        self.inner = inner
        self._session = session
        self._client = session.client
        self._told: list[Callable[[], object]] = []

    @classmethod
    def _of(cls, session: Session, inner: AsyncHeld) -> Self:
        """The twin of a place, which hears of its loss."""
        self = cls(session, inner)
        inner.on_lost(self._lose)
        return self

    def check(self) -> None:
        """Raise LockLost if the place is known to be lost, or was given up."""
        if self._client is not self._session.client:
            raise LockLost(self.path, "another process holds it, from which this one was forked")

        async def check() -> None:
            self.inner.check()

        self._session.run(check())

    def on_lost(self, told: Callable[[], object]) -> None:
        """Call `told` when the place is lost, in the thread of the client's callbacks."""
        self._told.append(told)
        if self.lost.is_set():
            self._tell()

    def _lose(self) -> None:
        self.lost.set()
        self._tell()

    def _tell(self) -> None:
        while self._told:
            self._session.callbacks.call(_call, self._told.pop())


def _call(told: Callable[[], object]) -> None:
    told()


class Block(Protocol):
    """What can be entered and left by different tasks."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


E = TypeVar("E", bound=Block)
P = TypeVar("P", bound=AsyncPartitioner)


class BlockTwin(Twin[E]):
    """A `with` block; what it raises at its beginning is what the block for coroutines does."""

    def __enter__(self) -> Self:
        self._session.running()
        self._session.run(self._enter())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.run(self._inner.__aexit__(None, None, None))

    async def _enter(self) -> None:
        await self._inner.__aenter__()


class TransactionTwin(Twin[AsyncTransaction]):
    """Collects operations; `commit`, or leaving the `with` block without an error, does them all or none."""

    @property
    def results(self) -> tuple[OperationResult, ...]:
        """After the commit, per operation: the path of a create, the stat of a set or set_acls, None otherwise."""
        return self._inner.results

    def commit(self) -> tuple[OperationResult, ...]:
        """Do it. Raises TransactionFailed(index, op, cause), or LockLost if its guard is gone."""
        return self._session.run(self._inner.commit())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            self.commit()


class HolderTwin(Twin[A]):
    """Hold the first place for the length of a `with` block."""

    @property
    def _contest(self) -> Contest:
        """What the calling thread queues by."""
        raise NotImplementedError

    def acquire(self, *, timeout: float | None = None) -> Held:
        """Wait for the first place, until `release`. A block (`with`) is safer. `timeout` as in the constructor."""

        self._session.running()
        contest = self._contest

        async def acquire() -> Held:
            return Held._of(self._session, await contest.acquire(timeout=timeout))

        return self._session.run(acquire(), contest.release)

    def try_acquire(self, *, timeout: float | None = None) -> Held | None:
        """Take the first place if it is free, until `release`; None if others are before. It waits for answers of the
        service only, up to `timeout`."""
        self._session.running()
        contest = self._contest

        async def acquire() -> Held | None:
            inner = await contest.try_acquire(timeout=timeout)
            return None if inner is None else Held._of(self._session, inner)

        return self._session.run(acquire(), contest.release)

    def release(self) -> None:
        """Leave the first place to the next one. Raises LockLost if it had been lost before."""
        self._session.run(self._contest.release())

    def __enter__(self) -> Held:
        return self.acquire()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.release()
        except LockLost as lost:
            if exc is None or (isinstance(exc, Exception) and not isinstance(exc, LockLost)):
                raise lost from exc


class ContestTwin(HolderTwin[C]):
    @property
    def _contest(self) -> Contest:
        return self._inner


class RLockTwin(HolderTwin[AsyncRLock]):
    """Held by threads, each of which is known by its number."""

    @property
    def _contest(self) -> Contest:
        return self._inner.of(threading.get_ident())


class PartitionerTwin(Twin[P]):
    """A member for the length of a `with` block. What is lost is lost also while a thread works on it: see `held`."""

    def held(self, partition: str) -> Held:
        """The lock of a partition that this member holds. Raises LockLost if it is not held."""

        async def held() -> Held:
            return Held._of(self._session, self._inner.held(partition))

        return self._session.run(held())

    def __enter__(self) -> Self:
        self._session.running()
        self._session.run(self._inner.join())
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._session.run(self._inner.leave())
        except LockLost as lost:
            if exc is None or (isinstance(exc, Exception) and not isinstance(exc, LockLost)):
                raise lost from exc
