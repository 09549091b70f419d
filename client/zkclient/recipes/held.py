"""A place that a session holds by an ephemeral node of its own, and the block that ends when the place is lost.

A node is known by the path and the czxid that its own create was answered with, never by searching for something that
looks like it: a node of an earlier session is just somebody else's.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType

import anyio

from zk.model.errors import BadVersionError, NoNodeError, ZKError
from zk.model.events import EventType, WatchEvent
from zk.model.record import SessionId, Zxid
from zk.model.replies import Created, DataReply, MultiReply, Reply
from zk.model.requests import Check, Delete, GetData, Multi
from zkclient.calls import Outcome
from zkclient.driver import Driver
from zkclient.errors import LockLost
from zkclient.results import NodeData, State

LEAVE_SECONDS_MAX = 2.0  # how long to wait for the answer to the removal of a place; it goes on without us


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

    def watch_over(self) -> None:
        """Hear of it when the place is lost, from here on; whether it is there yet is asked, too."""
        self._driver.add_listener(self._state_changed)
        self._state_changed(self._driver.machine.state)
        if self.session_over:
            self._lose("the session is over")
        self.ask()

    def ask(self) -> None:
        """See that the node is there and is this session's, and hear of it when it goes. Nobody waits for that."""
        request = GetData(self._absolute_path, watch=True)
        self._driver.post(request, self._confirmed, watch=self._node_changed)

    def seen(self, found: object) -> None:
        """What a read of the node has given: if that is not the own one, the place is lost."""
        if isinstance(found, NoNodeError):
            self._lose("its node was deleted")
        elif not isinstance(found, DataReply | NodeData):
            self._lose(f"its node can't be read: {found}")
        elif found.stat.czxid != self.token or found.stat.ephemeral_owner != self._session_id:
            self._lose("its node was replaced by another one")

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

    def left(self, outcome: Outcome) -> None:
        """What the removal of the contender was answered with: the place had been lost before if there was none."""
        results = outcome.body.results if isinstance(outcome, Reply) and isinstance(outcome.body, MultiReply) else ()
        if any(isinstance(result, NoNodeError | BadVersionError) for result in results):
            self._lose("its node was deleted")

    def _confirmed(self, outcome: Outcome) -> None:
        if not self._released:
            self.seen(outcome.body if isinstance(outcome, Reply) else outcome)

    def _node_changed(self, event: WatchEvent | ZKError) -> None:
        if self._released or self.lost.is_set():
            return
        if isinstance(event, WatchEvent) and event.type is EventType.DELETED:
            self._lose("its node was deleted")
        else:
            self.ask()

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
        held.lost_by_now()
        held.off_lost(self._scope.cancel)
        swallowed = self._scope.__exit__(exc_type, exc, traceback)
        await leave()
        if (
            held.lost.is_set()
            and not isinstance(exc, LockLost)
            and (exc is None or swallowed or isinstance(exc, Exception))
        ):
            raise LockLost(held.path, held.reason) from (None if swallowed else exc)
        return swallowed


def removal(path: str, token: Zxid) -> Multi:
    """Delete the contender at `path`, if it is the one with this czxid."""
    return Multi((Check(path, czxid=token), Delete(path)))


def undo(reply: Reply) -> Multi | None:
    """Remove the node again that was created."""
    body = reply.body
    return removal(body.path, body.stat.czxid) if isinstance(body, Created) else None
