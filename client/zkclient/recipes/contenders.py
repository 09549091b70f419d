"""The queue of contenders under a path: what locks and elections have in common.

A contender is an ephemeral sequential node; the one with the lowest number is first. Each waits for its predecessor
alone. What makes it right:

- A contender is known by the path and the czxid that its own create was answered with: see `held`.
- To be first is concluded from a fresh look after every wake-up, which shows the list and the own node at one instant:
  it exists, its owner is this session, its czxid is the token. The own node is watched before the first look.
- The node is left behind never: when the acquire is cancelled, its removal is with the session machine, which sends it
  for as long as the session lives; when the session ends, the node goes with it.
"""

from collections.abc import Sequence
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from zk.model.errors import NoNodeError
from zk.model.events import WatchEvent
from zk.model.paths import basename, join, validate
from zk.model.record import record
from zk.model.replies import Created, DataReply, Reply
from zk.model.requests import CreateMode, GetChildren, GetData
from zkclient.errors import APIError, LockLost, OperationTimeoutError, SessionExpiredError
from zkclient.recipes.held import Body, Held, undo
from zkclient.recipes.places import create_below_containers, leave_place
from zkclient.results import NodeData, State

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

LOCK, SHARED_LOCK = "__lock__", "__rlock__"
"""How the name of a contender ends before its number: as kazoo's, so that its locks and these stand in one queue."""

PREFIX = f"contender{LOCK}"

Found = NodeData | tuple[str, ...] | APIError


@record
class Contender:
    """One node in the queue, by its place."""

    sequence: int
    name: str


def in_order(names: Sequence[str], marks: Sequence[str] = (LOCK,)) -> list[Contender]:
    """The contenders among `names`, first one first. Sequence numbers are compared as numbers: they may outgrow ten
    digits. All that have one parent are numbered together, whatever their kind."""
    numbers = [(name.rpartition(mark), name) for mark in marks for name in names]
    contenders = [Contender(int(number), name) for (_, mark, number), name in numbers if mark and number.isdecimal()]
    contenders.sort(key=lambda contender: contender.sequence)
    return contenders


class Wake:
    """Wakes a waiter: as a watch, and at every change of the session's state. It leaves no watch behind."""

    def __init__(self, client: "AsyncZooKeeper") -> None:
        self._client = client
        self._rung = False
        self._event: anyio.Event | None = None  # while somebody waits
        self._paths: list[str] = []

    def __enter__(self) -> "Wake":
        self._client.add_listener(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.remove_listener(self)
        self._watch_nothing()

    def arm(self) -> None:
        """From here on, something may have happened. What was watched before is not any more."""
        self._watch_nothing()
        self._rung = False

    def at(self, path: str) -> "Wake":
        """Itself, as the watch of a read of `path`."""
        self._paths.append(path)
        return self

    def __call__(self, _: WatchEvent | State) -> None:
        self._rung = True
        if self._event is not None:
            self._event.set()

    def _watch_nothing(self) -> None:
        client, watchers = self._client, self._client.driver.machine.watchers
        while self._paths:
            watchers.forget(client.absolute(self._paths.pop()), client.told(self))

    async def wait(self) -> None:
        if not self._rung:
            self._event = anyio.Event()
            await self._event.wait()


class _NotFirst(Exception):  # noqa: N818 - no error: it ends an acquire that was not to wait
    """Others are before this contender."""


class Contest:
    """Queue at `path` under `identifier`, hold the first place for the length of an `async with` block."""

    _prefix = PREFIX  # of the own contenders
    _marks: Sequence[str] = (LOCK,)  # of all that stand in the queue

    def __init__(self, client: "AsyncZooKeeper", path: str, identifier: str, timeout: float | None) -> None:
        validate(client.absolute(path))
        self._client = client
        self._driver = client.driver
        self._path = path
        self._identifier = identifier
        self._timeout = inf if timeout is None else timeout
        self._held: Held | None = None
        self._acquiring = False
        self._bodies: list[Body] = []

    async def acquire(self, *, timeout: float | None = None) -> Held:
        """Wait for the first place, until `release`. A block (`with`) is safer. `timeout` as in the constructor."""
        return await self._take(timeout, wait=True)

    async def try_acquire(self, *, timeout: float | None = None) -> Held | None:
        """Take the first place if it is free, until `release`; None if others are before. It waits for answers of the
        service only, up to `timeout`."""
        try:
            return await self._take(timeout, wait=False)
        except _NotFirst:
            return None

    async def release(self) -> None:
        """Leave the first place to the next one. Raises LockLost if it had been lost before."""
        held = self._held
        if held is None:
            raise RuntimeError(f"{self._path} is not held by this user")
        held.lost_by_now()
        await self._give_back()
        if held.lost.is_set():
            raise LockLost(held.path, held.reason)

    async def __aenter__(self) -> Held:
        held = await self.acquire()
        self._bodies.append(Body(held))
        return held

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._bodies.pop().end(self._give_back, exc_type, exc, traceback)

    async def contenders(self) -> tuple[str, ...]:
        """The identifiers of the one that holds the first place and of all who wait, in their order."""
        return await self._identifiers(await self._list())

    async def _identifiers(self, contenders: Sequence[Contender]) -> tuple[str, ...]:
        paths = [self._client.absolute(join(self._path, contender.name)) for contender in contenders]
        outcomes = await self._driver.call_all([GetData(path) for path in paths], self._client.deadline(None))
        bodies = [outcome.body for outcome in outcomes if isinstance(outcome, Reply)]
        return tuple(body.data.decode("utf-8", "replace") for body in bodies if isinstance(body, DataReply))

    async def _take(self, timeout: float | None, *, wait: bool) -> Held:
        if self._held is not None or self._acquiring:
            raise RuntimeError(f"{self._path} is held already by this object: make one object per user")
        self._acquiring = True
        try:
            deadline = self._driver.now() + (self._timeout if timeout is None else timeout)
            self._held = await self._acquire(deadline, wait=wait)
        finally:
            self._acquiring = False
        return self._held

    async def _acquire(self, deadline: float, *, wait: bool = True) -> Held:
        created = await self._create(deadline)
        path = self._client.local(created.path)
        held = Held(self._driver, path, created.path, created.stat.czxid, created.stat.ephemeral_owner)
        held.watch_over()  # before the first look: whatever is heard later, that the node has gone is heard before it
        try:
            await self._queue(held, deadline, wait=wait)
            held.check()
        except BaseException:
            await self._leave(held)
            raise
        return held

    async def _queue(self, held: Held, deadline: float, *, wait: bool) -> None:
        with Wake(self._client) as wake:
            while not await self._is_first(held, wake, deadline):
                if not wait:
                    raise _NotFirst
                await self._wait(wake, deadline)

    async def _create(self, deadline: float) -> Created:
        """The own contender."""
        path = join(self._path, self._prefix)
        mode = CreateMode.EPHEMERAL_SEQUENTIAL
        return await create_below_containers(self._client, path, self._identifier.encode(), mode, deadline, undo)

    async def _is_first(self, held: Held, wake: Wake, deadline: float) -> bool:
        """Whether the own contender is granted its place; otherwise `wake` is set to watch the one it waits for."""
        while True:
            wake.arm()
            queue, _ = await self._look(held, deadline)
            before = self._waits_for(queue[: self._place(held, queue)])
            if before is None:
                return True
            path = join(self._path, before.name)
            try:
                await self._client.get(path, watch=wake.at(path), timeout=self._left(deadline))
            except NoNodeError:
                continue  # it went in between: look again
            return False

    def _waits_for(self, before: Sequence[Contender]) -> Contender | None:
        """Whose going is to be waited for, of those `before` the own contender; None if it is granted its place."""
        return before[-1] if before else None

    async def _look(self, held: Held, deadline: float, *others: GetData) -> tuple[list[Contender], Sequence[Found]]:
        """The contenders and, at the same instant, what `others` read. Raises what has become of the own contender, if
        it is not there."""
        reads: list[GetChildren | GetData] = [GetChildren(self._path), GetData(held.path), *others]
        names, own, *found = await self._client.multi_read(reads, timeout=self._left(deadline))
        self._session_must_live(held)  # asked first: a queue that began anew may have another one of the same name
        held.seen(own)
        held.check()
        if isinstance(names, APIError):
            raise names
        assert not isinstance(names, NodeData)
        return in_order(names, self._marks), found

    @staticmethod
    def _session_must_live(held: Held) -> None:
        if held.session_over:
            raise SessionExpiredError(held.path, "the session ended while this contender was waiting")

    @staticmethod
    def _place(held: Held, queue: Sequence[Contender]) -> int:
        """How many are before the own contender. Raises LockLost if it is not there."""
        own = basename(held.path)
        for place, contender in enumerate(queue):
            if contender.name == own:
                return place
        raise LockLost(held.path, "its node was deleted while it was waiting")

    def _left(self, deadline: float) -> float:
        return deadline - self._driver.now()

    async def _wait(self, wake: Wake, deadline: float) -> None:
        try:
            with anyio.fail_after(self._left(deadline)):
                await wake.wait()
        except TimeoutError:
            raise OperationTimeoutError(f"{self._path}: not granted in time; others are still before it") from None

    async def _list(self) -> list[Contender]:
        """The contenders. The path is a container: where there are none, it may be gone."""
        try:
            return in_order(await self._client.get_children(self._path), self._marks)
        except NoNodeError:
            return []

    async def _give_back(self) -> None:
        held, self._held = self._held, None
        assert held is not None
        await self._leave(held)

    async def _leave(self, held: Held) -> None:
        await leave_place(self._driver, held)
