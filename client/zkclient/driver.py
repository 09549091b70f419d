"""Performs what the session machine says: one connection, one timer, and the callers who wait.

All of it lives in the task group of the client's `async with` block, but goes on when that is cancelled from outside:
leaving the block, and a lock inside it, still have something to say to the service. `stop` ends it. Calls
are gathered: whatever is called in one turn of the event loop leaves in one send. Nothing here decides anything about
the session; the machine does.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from math import inf
from socket import SocketType
from typing import TypeVar, TypeVarTuple, assert_never

import anyio
from anyio.abc import ByteStream, SocketAttribute, TaskGroup

from zk.model.events import WatchMode
from zk.model.record import Zxid
from zk.model.replies import Reply
from zk.model.requests import ClientRequest
from zkclient.actions import Close, Notify, Open, Settled, StateChanged
from zkclient.calling import Caller, TaskWaiter, Waiter
from zkclient.calls import ANYTHING, Orphaned, Outcome, Pending, Settle
from zkclient.connecting import UNREACHABLE, Connect, reason_of
from zkclient.errors import ClientClosedError
from zkclient.gate import Gate
from zkclient.hosts import split_host
from zkclient.machine import Machine
from zkclient.quick import QuickStream, QuickWaiter, asyncio_loop
from zkclient.results import State
from zkclient.watchers import Notified, Stream

RECEIVE_BYTES = 256 * 1024
NOT_ENTERED = "use the client inside its block: async with AsyncZooKeeper(..) as zk"

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
log: logging.Logger = logging.getLogger(__name__)


class Driver(Caller):
    """Runs `machine` while it is `start`ed in a task group, over the streams that `connect` makes."""

    def __init__(self, machine: Machine, connect: Connect) -> None:
        self.machine = machine
        self.socket: SocketType | None = None  # of the connection, while there is one
        self.gate: Gate | None = None  # for the calls of other threads
        self._connect_to = connect
        self._loop: asyncio.AbstractEventLoop | None = None  # if it is asyncio's
        self._now: Callable[[], float] = anyio.current_time
        self._tasks: TaskGroup | None = None
        self._beside: set[anyio.CancelScope] = set()  # of the tasks that run beside the client
        self._timer: anyio.CancelScope | None = None
        self._connection: anyio.CancelScope | None = None
        self._quick: QuickStream | None = None  # the connection, if it can send without waiting
        self._outgoing: anyio.Event | None = None  # set when there is something to send; None while nobody sends
        self._gathering = False  # it is set, and whatever is called until somebody sends leaves with the rest
        self._rescheduled: anyio.Event | None = None  # set when the timer is to look again
        self._sleeping_until_ms = inf
        self._performing = False
        self._forgotten: deque[Stream] = deque()
        self._listeners: list[Callable[[State], object]] = []

    # ---- life

    def start(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._loop = asyncio_loop()
        if self._loop is not None:
            self._now = self._loop.time
        self._timer = anyio.CancelScope(shield=True)
        tasks.start_soon(self._keep_time, self._timer)

    def stop(self) -> None:
        """Close the machine; waiting callers get ClientClosedError. All tasks end, without their group being cancelled,
        for the user's own task is in it. (Of Python 3.11, asyncio's TaskGroup may leave a task in a state in which it
        would not come back from that.)"""
        self.machine.close()
        self._perform()
        if self._timer is not None:
            self._timer.cancel()
        for scope in tuple(self._beside):
            scope.cancel()
        self._tasks = None

    def add_listener(self, listener: Callable[[State], object]) -> None:
        self._listeners.append(listener)

    def remove_listener(self, listener: Callable[[State], object]) -> None:
        with suppress(ValueError):  # it was not there, or is not any more
            self._listeners.remove(listener)

    def start_task(self, work: Callable[[*Ts], Coroutine[object, object, None]], *args: *Ts) -> None:
        """Let `work` run beside the client, until the end of its block at the latest. It must catch its errors."""
        if self._tasks is None:
            raise ClientClosedError(NOT_ENTERED)
        self._tasks.start_soon(self._run_beside, partial(work, *args))

    async def _run_beside(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        if self._tasks is not None:
            with anyio.CancelScope() as scope:
                self._beside.add(scope)
                await work()
            self._beside.discard(scope)

    # ---- calls

    def now(self) -> float:
        return self._now()

    def start_call(
        self,
        request: ClientRequest,
        deadline: float,
        *,
        at_least: Zxid = ANYTHING,
        linearizable: bool = False,
        watch: Notified | None = None,
        orphaned: Orphaned | None = None,
    ) -> TaskWaiter:
        waiter = self.new_waiter()
        waiter.pending = Pending(request, waiter.settle, deadline * 1000, at_least, linearizable, watch, orphaned)
        self._take(waiter.pending)
        if not self._gathering or self.machine.has_actions or deadline * 1000 < self._sleeping_until_ms:
            self.kick()
        return waiter

    def new_waiter(self) -> TaskWaiter:
        """Where the calling task may wait for one outcome."""
        return TaskWaiter() if self._loop is None else QuickWaiter(self._loop)

    def abandon(self, waiter: Waiter) -> None:
        assert isinstance(waiter, TaskWaiter)
        self.give_up(waiter.pending, waiter.outcome)

    def give_up(self, pending: Pending, outcome: Outcome | None) -> None:
        """Nobody waits for the call any more, or for its outcome that has just come."""
        if self.gate is not None:
            self.take_calls()  # it may be among them
        self.machine.abandon(pending)
        if pending.orphaned is not None and isinstance(outcome, Reply):
            undo = pending.orphaned(outcome)
            if undo is not None:
                self.post(undo)

    def open_gate(self) -> Gate:
        """Let other threads make calls: through the gate, or by `take_calls`."""
        self.gate = gate = Gate(self.machine)
        self.machine.claim = gate.close
        return gate

    def take_calls(self) -> None:
        """Make what calls wait at the gate, and see when they are due."""
        gate = self.gate
        assert gate is not None
        if gate.send():
            self._reschedule()
            return
        gate.close()
        while gate.waiting:
            pending = gate.waiting.popleft()
            try:
                self._take(pending)
            except Exception as error:
                pending.refuse(error)
        self.kick(gathered=True)
        if not self.machine.has_outgoing:
            gate.open()

    def _take(self, pending: Pending) -> None:
        if self._tasks is None:
            raise self._not_running()
        self.machine.take(self._now() * 1000, pending)

    def is_awake_by(self, pending: Pending) -> bool:
        """Whether the timer will look at the machine by the deadline of this call, even if it does not know of it."""
        return self._sleeping_until_ms <= pending.deadline_ms

    def post(
        self,
        request: ClientRequest,
        settle: Settle | None = None,
        *,
        watch: Notified | None = None,
    ) -> None:
        """Make a call and don't wait: it is done as soon as possible, if the session lives that long."""
        if self.machine.state is not State.CLOSED:
            self.machine.call(self.now() * 1000, request, settle, watch=watch, insistent=True)
            self.kick()

    def watch(self, path: str, mode: WatchMode, since: Zxid | None, notified: Notified) -> Stream:
        if self._tasks is None:
            raise self._not_running()
        stream = self.machine.watch(self.now() * 1000, path, mode, since, notified)
        self.kick()
        return stream

    def unwatch(self, stream: Stream) -> None:
        self.machine.unwatch(stream)
        self.kick()

    async def remove_watches(self, path: str) -> bool:
        removed = self.machine.remove_watches(path)
        self.kick()
        return removed

    def forget(self, stream: Stream) -> None:
        """Like `unwatch`, at the next opportunity. May be called from any thread, at any moment."""
        self._forgotten.append(stream)

    def check_clock(self) -> None:
        """Let the machine notice what is due, even if the event loop was too busy for the timer."""
        self.machine.tick(self.now() * 1000)
        self.kick()

    def _not_running(self) -> ClientClosedError:
        closed = self.machine.state is State.CLOSED
        return ClientClosedError("the client is closed" if closed else NOT_ENTERED)

    # ---- what the machine wants done

    def kick(self, *, gathered: bool = False) -> None:
        """The machine was fed: let what came of it happen. `gathered`: nobody else will feed it in this turn."""
        machine = self.machine
        while self._forgotten:
            machine.unwatch(self._forgotten.popleft())
        if machine.has_outgoing:
            if self._quick is not None and (gathered or machine.pending_calls == 1):
                self._quick.write(machine.take_outgoing())  # there is nothing to wait for: a lone call, or all of them
            elif self._outgoing is not None and not self._gathering:
                self._gathering = True
                self._outgoing.set()
        if not self._performing:
            self._perform()
        self._reschedule()

    def _reschedule(self) -> None:
        if self.machine.wake_ms < self._sleeping_until_ms and self._rescheduled is not None:
            self._rescheduled.set()

    def _perform(self) -> None:
        """Do what the machine says, in order; what comes of it, also through callbacks, follows behind."""
        self._performing = True
        try:
            while actions := self.machine.take_actions():
                for action in actions:
                    match action:
                        case Settled():
                            tell(action.settle, action.outcome)
                        case Notify():
                            tell(action.notified, action.event)
                        case Open():
                            self._open(action.server)
                        case Close():
                            if self._connection is not None:
                                self._connection.cancel()
                        case StateChanged():
                            for listener in tuple(self._listeners):
                                tell(listener, action.state)
                        case _:
                            assert_never(action)
        finally:
            self._performing = False

    def _open(self, server: str) -> None:
        if self._tasks is not None:
            self._connection = anyio.CancelScope(shield=True)
            self._tasks.start_soon(self._connect, server, self._connection)

    async def _keep_time(self, scope: anyio.CancelScope) -> None:
        with scope:
            while not scope.cancel_called:
                self._rescheduled = anyio.Event()
                self._sleeping_until_ms = self.machine.wake_ms
                with anyio.move_on_at(self._sleeping_until_ms / 1000):
                    await self._rescheduled.wait()
                self.machine.tick(self.now() * 1000)
                self.kick()

    # ---- the connection

    async def _connect(self, server: str, scope: anyio.CancelScope) -> None:
        """One connection from beginning to end. Once `scope` is cancelled the machine is told nothing more of it."""
        reason = "the server closed the connection"
        with scope:
            try:
                host, port = split_host(server)
                stream = await self._connect_to(host.strip("[]"), port)
            except UNREACHABLE as error:
                reason = reason_of(error)
            else:
                self.socket = socket = stream.extra(SocketAttribute.raw_socket, None)
                self._quick = quick = stream if isinstance(stream, QuickStream) else None
                if self.gate is not None and quick is not None:
                    self.gate.begin(quick)
                try:
                    await self._converse(stream, scope)
                finally:
                    if self.socket is socket:
                        self.socket = None
                    if self._quick is quick:
                        self._quick = None
                        if self.gate is not None:
                            self.gate.end()
                    await anyio.aclose_forcefully(stream)
        if not scope.cancel_called:
            self.machine.disconnected(self.now() * 1000, reason)
            self.kick()

    async def _converse(self, stream: ByteStream, scope: anyio.CancelScope) -> None:
        """Send and receive until the connection is gone, or not wanted any more."""
        async with anyio.create_task_group() as tasks:
            if not scope.cancel_called:
                self.machine.connected(self.now() * 1000)
                tasks.start_soon(self._send, stream, scope)
                self.kick()
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                if self.gate is not None and isinstance(stream, QuickStream):
                    await stream.listen(partial(self._received, scope))
                while not scope.cancel_called:
                    self._received(scope, await stream.receive(RECEIVE_BYTES))
            tasks.cancel_scope.cancel()

    def _received(self, scope: anyio.CancelScope, data: bytes) -> None:
        if not scope.cancel_called:
            self.machine.received(self._now() * 1000, data)
            if self.gate is not None:
                self.gate.expected = self.machine.actions_due
            self.kick()

    async def _send(self, stream: ByteStream, scope: anyio.CancelScope) -> None:
        with suppress(anyio.BrokenResourceError):  # the receiving side is about to notice
            while not scope.cancel_called:
                outgoing = self._outgoing = anyio.Event()
                self._gathering = False
                data = self.machine.take_outgoing()
                if data:
                    await stream.send(data)
                else:
                    await outgoing.wait()


def tell(callback: Callable[[T], object], news: T) -> None:
    """Call what the user gave; its errors are its own."""
    try:
        callback(news)
    except Exception:
        log.exception("a callback failed on %s", news)
