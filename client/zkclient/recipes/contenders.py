"""The queue of contenders under a path: what locks and elections have in common.

A contender is an ephemeral sequential node; the one with the lowest number is first. Each waits for its predecessor
alone. What makes it right:

- A contender is known by the path and the czxid that its own create was answered with, never by searching for something
  that looks like it: a node of an earlier session is just somebody else's.
- To be first is concluded from a fresh list after every wake-up, and confirmed by reading the own node: it exists, its
  owner is this session, its czxid is the token.
- The node is left behind never: when the acquire is cancelled, its removal is with the session machine, which sends it
  for as long as the session lives; when the session ends, the node goes with it.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING

import anyio

from zk.model.errors import NoNodeError, ZKError
from zk.model.events import EventType, WatchEvent
from zk.model.paths import basename, join
from zk.model.record import SessionId, Zxid, record
from zk.model.replies import Created, DataReply, Reply
from zk.model.requests import Check, Create, CreateMode, Delete, GetData, Multi
from zkclient.calls import Outcome
from zkclient.driver import Driver
from zkclient.errors import LockLost, OperationTimeoutError, SessionExpiredError
from zkclient.results import State

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

PREFIX = "contender-"
LEAVE_SECONDS_MAX = 2.0  # how long to wait for the answer to the removal of a contender; it goes on without us


@record
class Contender:
    """One node in the queue, by its place."""

    sequence: int
    name: str


def in_order(names: Sequence[str], prefixes: Sequence[str] = (PREFIX,)) -> list[Contender]:
    """The contenders among `names`, first one first. Sequence numbers are compared as numbers: they may outgrow ten
    digits. All that have one parent are numbered together, whatever their prefix."""
    contenders = [
        Contender(int(name[len(prefix) :]), name)
        for prefix in prefixes
        for name in names
        if name.startswith(prefix) and name[len(prefix) :].isdecimal()
    ]
    contenders.sort(key=lambda contender: contender.sequence)
    return contenders


class Wake:
    """Wakes a waiter: as a watch, and at every change of the session's state. It leaves no watch behind."""

    def __init__(self, client: "AsyncZooKeeper") -> None:
        self._client = client
        self._event = anyio.Event()
        self._paths: list[str] = []

    def __enter__(self) -> "Wake":
        self._client.add_listener(self._changed)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.remove_listener(self._changed)
        self._watch_nothing()

    def arm(self) -> None:
        """From here on, something may have happened. What was watched before is not any more."""
        self._watch_nothing()
        self._event = anyio.Event()

    def at(self, path: str) -> "Wake":
        """Itself, as the watch of a read of `path`."""
        self._paths.append(path)
        return self

    def __call__(self, _: WatchEvent) -> None:
        self._event.set()

    def _watch_nothing(self) -> None:
        client, watchers = self._client, self._client.driver.machine.watchers
        while self._paths:
            watchers.forget(client.absolute(self._paths.pop()), client.told(self))

    async def wait(self) -> None:
        await self._event.wait()

    def _changed(self, _: State) -> None:
        self._event.set()


class Held:
    """A place at the head of the queue. `token` is the fencing token: it grows with every grant of the path."""

    path: str
    """The contender's node."""
    token: Zxid
    """The contender's czxid."""
    lost: anyio.Event
    """Set when the place is lost."""

    def __init__(self, driver: Driver, path: str, absolute_path: str, token: Zxid, session_id: SessionId) -> None:
        self.path = path
        self.token = token
        self.lost = anyio.Event()
        self._driver = driver
        self._absolute_path = absolute_path
        self._session_id = session_id
        self._reason = ""
        self._released = False
        self._told: list[Callable[[], object]] = []

    def check(self) -> None:
        """Raise LockLost if the place is known to be lost, or was given up."""
        if self.lost_by_now():
            raise LockLost(self.path, self._reason)
        if self._released:
            raise LockLost(self.path, "it was released")

    def proof(self) -> Check:
        """The operation that makes a transaction fail unless the place is still held."""
        return Check(self._absolute_path, czxid=self.token)

    # ---- for Contest

    def lost_by_now(self) -> bool:
        """Whether the place is lost: also if that is due, and the timer had no chance yet."""
        self._driver.check_clock()
        return self.lost.is_set()

    @property
    def reason(self) -> str:
        """Why the place was lost."""
        return self._reason

    @property
    def session_over(self) -> bool:
        """Whether the contender went with its session."""
        return self._driver.machine.session_id != self._session_id

    async def confirm(self, deadline: float) -> None:
        """See that the contender exists and is this session's, and hear of it when it goes. Raises LockLost."""
        request = GetData(self._absolute_path, watch=True)
        self._driver.add_listener(self._state_changed)
        try:
            waiter = self._driver.start_call(request, deadline, watch=self._node_changed)
            self._confirmed(await self._driver.finish_call(waiter))
        except NoNodeError:
            self._lose("its node was deleted")
        self.check()

    def on_lost(self, told: Callable[[], object]) -> None:
        """Call `told` when the place is lost; at once, if it is. It must not block."""
        self._told.append(told)
        if self.lost.is_set():
            told()

    def off_lost(self, told: Callable[[], object]) -> None:
        """Do not call `told` any more."""
        with suppress(ValueError):
            self._told.remove(told)

    def leave(self) -> Multi:
        """Stop watching over the place; the request that removes the contender, and never another one's."""
        if not self._released:
            self._released = True
            self._driver.remove_listener(self._state_changed)
        return removal(self._absolute_path, self.token)

    def _confirmed(self, outcome: Outcome) -> None:
        body = outcome.body if isinstance(outcome, Reply) else outcome
        if self._released:
            return
        if isinstance(body, NoNodeError):
            self._lose("its node was deleted")
        elif not isinstance(body, DataReply):
            self._lose(f"its node can't be read: {body}")
        elif body.stat.czxid != self.token or body.stat.ephemeral_owner != self._session_id:
            self._lose("its node was replaced by another one")

    def _node_changed(self, event: WatchEvent | ZKError) -> None:
        if self._released or self.lost.is_set():
            return
        if isinstance(event, WatchEvent) and event.type is EventType.DELETED:
            self._lose("its node was deleted")
        else:
            request = GetData(self._absolute_path, watch=True)
            self._driver.post(request, self._confirmed, watch=self._node_changed)

    def _state_changed(self, state: State) -> None:
        if state is State.LOST:
            self._lose("the session is lost")
        elif state is State.CLOSED:
            self._lose("the client was closed")

    def _lose(self, reason: str) -> None:
        if not self.lost.is_set():
            self._reason = reason
            self.lost.set()
            for told in tuple(self._told):
                told()


class Body:
    """The body of a block, entered: it is cancelled when the place is lost, and its end says so."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        held.on_lost(self._scope.cancel)

    async def end(
        self,
        leave: Callable[[], Awaitable[None]],
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        """As `__aexit__`, with `leave` to give the place back. Raises LockLost if it had been lost."""
        held = self._held
        lost = held.lost_by_now()
        held.off_lost(self._scope.cancel)
        swallowed = self._scope.__exit__(exc_type, exc, traceback)
        await leave()
        if lost and not isinstance(exc, LockLost) and (exc is None or swallowed or isinstance(exc, Exception)):
            raise LockLost(held.path, held.reason) from (None if swallowed else exc)
        return swallowed


def removal(path: str, token: Zxid) -> Multi:
    """Delete the contender at `path`, if it is the one with this czxid."""
    return Multi((Check(path, czxid=token), Delete(path)))


def _undo(reply: Reply) -> Multi | None:
    body = reply.body
    return removal(body.path, body.stat.czxid) if isinstance(body, Created) else None


class _NotFirst(Exception):  # noqa: N818 - no error: it ends an acquire that was not to wait
    """Others are before this contender."""


class Contest:
    """Queue at `path` under `identifier`, hold the first place for the length of an `async with` block."""

    _prefix = PREFIX  # of the own contenders
    _prefixes: Sequence[str] = (PREFIX,)  # of all that stand in the queue

    def __init__(self, client: "AsyncZooKeeper", path: str, identifier: str, timeout: float | None) -> None:
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
        lost = held.lost_by_now()
        await self._give_back()
        if lost:
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
            deadline = anyio.current_time() + (self._timeout if timeout is None else timeout)
            self._held = await self._acquire(deadline, wait=wait)
        finally:
            self._acquiring = False
        return self._held

    async def _acquire(self, deadline: float, *, wait: bool = True) -> Held:
        created = await self._create(deadline)
        path = self._client.local(created.path)
        held = Held(self._driver, path, created.path, created.stat.czxid, created.stat.ephemeral_owner)
        try:
            await self._queue(held, deadline, wait=wait)
            await held.confirm(deadline)
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
        """The own contender, under a path that is a container and may vanish whenever it is empty."""
        path = self._client.absolute(join(self._path, self._prefix))
        request = Create(path, self._identifier.encode(), mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        while True:
            try:
                waiter = self._driver.start_call(request, deadline, orphaned=_undo)
                body = (await self._driver.finish_call(waiter)).body
            except NoNodeError:
                await self._client.ensure_path(self._path, container=True, timeout=self._left(deadline))
            else:
                assert isinstance(body, Created)
                return body

    async def _is_first(self, held: Held, wake: Wake, deadline: float) -> bool:
        """Whether the own contender is granted its place; otherwise `wake` is set to watch the one it waits for."""
        while True:
            wake.arm()
            queue = await self._list(deadline)
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

    def _place(self, held: Held, queue: Sequence[Contender]) -> int:
        """How many are before the own contender. Raises what has become of it, if it is not there."""
        if held.session_over:  # asked first: a queue that began anew may have another one of the same name
            raise SessionExpiredError(held.path, "the session ended while this contender was waiting")
        own = basename(held.path)
        for place, contender in enumerate(queue):
            if contender.name == own:
                return place
        raise LockLost(held.path, "its node was deleted while it was waiting")

    @staticmethod
    def _left(deadline: float) -> float:
        return deadline - anyio.current_time()

    async def _wait(self, wake: Wake, deadline: float) -> None:
        try:
            with anyio.fail_after(self._left(deadline)):
                await wake.wait()
        except TimeoutError:
            raise OperationTimeoutError(f"{self._path}: not granted in time; others are still before it") from None

    async def _list(self, deadline: float | None = None) -> list[Contender]:
        """The contenders. The path is a container: where there are none, it may be gone."""
        timeout = None if deadline is None else self._left(deadline)
        try:
            return in_order(await self._client.get_children(self._path, timeout=timeout), self._prefixes)
        except NoNodeError:
            return []

    async def _give_back(self) -> None:
        held, self._held = self._held, None
        assert held is not None
        await self._leave(held)

    async def _leave(self, held: Held) -> None:
        """Remove the contender, whatever happens: what is posted is sent for as long as the session lives."""
        request = held.leave()
        if held.session_over:
            return
        gone = anyio.Event()
        self._driver.post(request, lambda _: gone.set())
        if self._driver.machine.attached:
            with anyio.move_on_after(LEAVE_SECONDS_MAX, shield=True):
                await gone.wait()
