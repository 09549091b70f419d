"""Partitioner: a set of partitions is spread over the members of a group, each partition to one at a time."""

from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import anyio

from zk.model.errors import ZKError
from zk.model.paths import basename, join
from zkclient.datawatch import children_feed
from zkclient.errors import BadArgumentsError, LockLost, OperationTimeoutError
from zkclient.recipes.held import LEAVE_SECONDS_MAX, Held
from zkclient.recipes.lock import Lock
from zkclient.recipes.places import leave_place, sequence, take_place
from zkclient.results import PartitionState

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

MEMBERS = "members"  # below the path of the recipe, and the same for the next
LOCKS = "locks"
PREFIX = "member-"
TIME_BOUNDARY_S = 5.0


class Partitioner:
    """Spread `partitions` over all who are in such a block at `path`; all of them name the same partitions.

        async with zk.Partitioner("/shards", ["a", "b", "c", "d"]) as shards:
            while True:
                mine = await shards.wait_for_acquire()
                ...                                   # work on mine, until
                await shards.wait_for_release()       # somebody has joined or left; finish what is under way, and
                await shards.release_set()            # let the others have them

    The sorted partitions are dealt out to the members in the order of joining. A member whose set is `ACQUIRED` holds a
    lock for each of its partitions, so no two ever hold the same, whoever knows of whom. When somebody joins or leaves,
    every member's set is to be released (`RELEASE`), and is acquired anew (`ALLOCATING`) once nobody has joined or left
    for `time_boundary` seconds; a member that does not release keeps the others waiting for its partitions.

    If the session or a lock is lost, that is a `FAILURE`: what waits here raises LockLost, and so does the end of the
    block.

    On event loops: the body runs in a cancel scope, and the loss cancels it.

    A partition's lock protects nothing outside this service by itself: see `held`, and `zkclient.Lock`.
    """

    def __init__(
        self,
        client: "AsyncZooKeeper",
        path: str,
        partitions: Collection[str],
        *,
        identifier: str = "",
        time_boundary: float = TIME_BOUNDARY_S,
    ) -> None:
        if isinstance(partitions, str):
            raise BadArgumentsError(path, "partitions is a collection of names, and not one name")
        self._client = client
        self._path = path
        self._all = sorted(set(partitions))
        self._identifier = identifier
        self._time_boundary = time_boundary
        self._state = PartitionState.ALLOCATING
        self._moved = anyio.Event()  # the state, or the members, are other ones
        self._member: Held | None = None
        self._members: tuple[str, ...] = ()
        self._changes = 0  # of the members, that were seen
        self._owned: dict[str, tuple[Lock, Held]] = {}
        self._to_release = anyio.Event()
        self._error: ZKError | None = None
        self._body: anyio.CancelScope | None = None
        self._attempt: anyio.CancelScope | None = None
        self._work: anyio.CancelScope | None = None
        self._over = anyio.Event()

    # ---- membership

    async def join(self, *, timeout: float | None = None) -> None:
        """Be a member, until `leave`. A block (`with`) is safer."""
        if self._work is not None:
            raise RuntimeError("a partitioner can be joined once: make another one")
        self._work = anyio.CancelScope()
        place = join(join(self._path, MEMBERS), PREFIX)
        deadline = self._client.deadline(timeout)
        self._member = await take_place(self._client, place, self._identifier.encode(), deadline)
        self._member.on_lost(partial(self._lost, self._member))
        self._client.driver.start_task(self._run, self._work)

    async def leave(self) -> None:
        """Give everything back, and be no member any more. Raises LockLost if all had been lost before."""
        self._client.driver.check_clock()
        failure = self._error
        await self._leave()
        if failure is not None:
            raise failure

    async def __aenter__(self) -> Self:
        await self.join()
        self._body = anyio.CancelScope()
        self._body.__enter__()
        if self._error is not None:
            self._body.cancel()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        body, self._body = self._body, None
        assert body is not None
        self._client.driver.check_clock()
        failure = self._error
        swallowed = body.__exit__(exc_type, exc, traceback)
        await self._leave()
        lost = failure is not None and failure is not exc and not isinstance(exc, LockLost)
        if lost and (exc is None or swallowed or isinstance(exc, Exception)):
            assert failure is not None
            raise failure from (None if swallowed else exc)
        return swallowed

    async def _leave(self) -> None:
        if self._work is not None:
            self._work.cancel()
            with anyio.move_on_after(LEAVE_SECONDS_MAX, shield=True):
                await self._over.wait()  # what is under way is undone
        await self._give_back()
        if self._member is not None:
            await leave_place(self._client.driver, self._member)

    # ---- for its users

    @property
    def state(self) -> PartitionState:
        return self._state

    @property
    def partitions(self) -> tuple[str, ...]:
        """What this member holds now, sorted; nothing but in the states ACQUIRED and RELEASE."""
        holds = self._state in (PartitionState.ACQUIRED, PartitionState.RELEASE)
        return tuple(sorted(self._owned)) if holds else ()

    def held(self, partition: str) -> Held:
        """The lock of a partition that this member holds: `token` fences, `zk.transaction(guard=..)` takes it. Raises
        LockLost if it is not held."""
        if partition not in self.partitions:
            raise LockLost(self._lock_path(partition), "this member does not hold the partition")
        return self._owned[partition][1]

    async def wait_for_acquire(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Wait until this member has a set, and return it; it may be empty. Raises OperationTimeoutError, LockLost."""
        await self._until(lambda: self._state is PartitionState.ACQUIRED, timeout)
        return self.partitions

    async def wait_for_release(self, *, timeout: float | None = None) -> None:
        """Wait until the set is to be released. Raises OperationTimeoutError, LockLost."""
        await self._until(lambda: self._state is PartitionState.RELEASE, timeout)

    async def release_set(self, *, timeout: float | None = None) -> None:
        """Nothing is done any more with the set: others may have it. Raises OperationTimeoutError, LockLost."""
        if self._error is None and self._state is not PartitionState.RELEASE:
            raise RuntimeError(f"there is nothing to be released: the state is {self._state.name}")
        self._to_release.set()
        await self._until(lambda: self._state is not PartitionState.RELEASE, timeout)

    async def _until(self, condition: Callable[[], bool], timeout: float | None) -> None:
        try:
            with anyio.fail_after(inf if timeout is None else timeout):
                while self._error is None and not condition():
                    await self._moved.wait()
        except TimeoutError:
            raise OperationTimeoutError(f"{self._path}: still {self._state.name}") from None
        self._client.driver.check_clock()  # the loss may be due although the timer had no chance yet
        if self._error is not None:
            raise self._error

    # ---- the work

    async def _run(self, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._watch_members)
                    tasks.start_soon(self._allocate)
        finally:
            self._over.set()

    async def _watch_members(self) -> None:
        feed = children_feed(self._client, join(self._path, MEMBERS))
        try:
            while True:
                (self._members,), _ = await feed.next()
                self._changes += 1
                if self._attempt is not None:
                    self._attempt.cancel()
                self._move()
        except ZKError as error:
            self._fail(error)
        finally:
            feed.close()

    async def _allocate(self) -> None:
        while True:
            changes = await self._settled()
            with anyio.CancelScope() as self._attempt:
                async with anyio.create_task_group() as tasks:
                    for partition in self._dealt():
                        tasks.start_soon(self._take, partition)
            if self._changes == changes:
                self._to_release = anyio.Event()
                self._set_state(PartitionState.ACQUIRED)
                await self._changed(changes)
                self._set_state(PartitionState.RELEASE)
                await self._to_release.wait()
            await self._give_back()
            self._set_state(PartitionState.ALLOCATING)

    async def _settled(self) -> int:
        """How often the members had changed, once they have not for a while."""
        while True:
            changes = self._changes
            with anyio.move_on_after(self._time_boundary if changes else inf):
                await self._changed(changes)
            if self._changes == changes:
                return changes

    async def _changed(self, changes: int) -> None:
        while self._changes == changes:
            await self._moved.wait()

    def _dealt(self) -> list[str]:
        """The own partitions, among these members. All who know of the same members come to the same result."""
        assert self._member is not None
        members = sorted(self._members, key=sequence)
        own = basename(self._member.path)
        return self._all[members.index(own) :: len(members)] if own in members else []

    async def _take(self, partition: str) -> None:
        lock = Lock(self._client, self._lock_path(partition), identifier=self._identifier)
        try:
            held = await lock.acquire()
        except ZKError as error:
            self._fail(error)
        else:
            self._owned[partition] = lock, held
            held.on_lost(partial(self._lost, held))

    async def _give_back(self) -> None:
        owned, self._owned = self._owned, {}
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as tasks:
                for lock, _ in owned.values():
                    tasks.start_soon(_release, lock)

    def _lock_path(self, partition: str) -> str:
        return join(join(self._path, LOCKS), f"partition-{quote(partition, safe='')}")

    # ---- what befalls it

    def _lost(self, held: Held) -> None:
        self._fail(LockLost(held.path, held.reason))

    def _fail(self, error: ZKError) -> None:
        """All is lost: whatever is still held is given back by `leave`."""
        assert self._work is not None
        if self._error is None and not self._work.cancel_called:
            self._error = error
            self._set_state(PartitionState.FAILURE)
            self._work.cancel()
            if self._body is not None:
                self._body.cancel()

    def _set_state(self, state: PartitionState) -> None:
        self._state = state
        self._move()

    def _move(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()


async def _release(lock: Lock) -> None:
    with suppress(LockLost):
        await lock.release()
