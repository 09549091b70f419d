"""What plain threads need of the event loop: one loop in a thread of its own, for all clients of the process.

Threads hand their calls over in a queue and wait on a lock; nothing else of a client is ever touched outside the loop's
thread. Read `blocking` next: the classes that use this.
"""

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from selectors import DefaultSelector
from time import monotonic
from typing import Protocol, TypeVar
from weakref import WeakSet

from zk.model.requests import ClientRequest
from zkclient.calling import Caller, Waiter
from zkclient.calls import Orphaned, Outcome, Pending
from zkclient.client import AsyncZooKeeper
from zkclient.driver import Driver
from zkclient.errors import ClientClosedError
from zkclient.watchers import Notified

T = TypeVar("T")
N = TypeVar("N")
log = logging.getLogger(__name__)


class HasFileno(Protocol):
    def fileno(self) -> int: ...


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._selector = DefaultSelector()
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self._inbox: deque[Callable[[], object]] = deque()
        self._woken = False
        self._arrived = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="zkclient", daemon=True)
        self._thread.start()

    def post(self, action: Callable[[], object]) -> None:
        """Let the loop call `action`, which must not raise."""
        self._inbox.append(action)
        if not self._woken:  # or whoever set it has yet to empty the inbox
            self._woken = True
            self.loop.call_soon_threadsafe(self._arrived.set)

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run it in the loop, and wait. A KeyboardInterrupt cancels it."""
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("a blocking call from the client's own thread would wait for itself")
        future: Future[T] = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def forked(self) -> None:
        """In the child: touch the parent's selector by no means, not even when this is finalised."""
        _let_go(self._selector)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        """A task, since the client must know on which event loop it runs."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            self._woken = False
            while self._inbox:
                self._inbox.popleft()()


class Callbacks:
    """Calls what users gave, one after the other, in a thread of its own: so they may use the client themselves."""

    def __init__(self) -> None:
        self._due: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[N], object], news: N) -> None:
        """Have `function(news)` called, behind all that was asked for before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="zkclient callbacks", daemon=True)
            self._thread.start()
        self._due.put(partial(function, news))

    def close(self) -> None:
        """What is due is called yet; then the thread ends."""
        self._due.put(None)

    def _work(self) -> None:
        while (call := self._due.get()) is not None:
            try:
                call()
            except Exception:
                log.exception("a callback failed: %s", call)


class Session:
    """A client that lives in the loop's thread, from its first use to `close`.

    In a forked child it is another one, made anew: the parent's session and connection are none of the child's matter.
    """

    def __init__(self, make: Callable[[], AsyncZooKeeper]) -> None:
        self._make = make
        self._changing = threading.Lock()
        self._begin()
        _sessions.add(self)

    def _begin(self) -> None:
        self.client = self._make()
        self.callbacks = Callbacks()
        self.thread: LoopThread | None = None
        self.closed = False
        self._life: asyncio.Task[None] | None = None
        self._closing: asyncio.Event | None = None

    def running(self) -> LoopThread:
        """Its loop's thread; from here on it runs. Raises ClientClosedError."""
        thread = self.thread
        if thread is None:
            with self._changing:
                if self.closed:
                    raise ClientClosedError("the client is closed")
                if self.thread is None:
                    thread = _loop_thread()
                    thread.run(self._enter())
                    self.thread = thread
                return self.thread
        return thread

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run it in the loop, and wait."""
        try:
            thread = self.running()
        except BaseException:
            coroutine.close()
            raise
        return thread.run(coroutine)

    def close(self) -> None:
        """End the session, if it ever began."""
        with self._changing:
            if self.closed:
                return
            self.closed = True
            if self.thread is not None:
                self.thread.run(self._leave())
            self.callbacks.close()

    def forked(self) -> None:
        """In the child: forget what is the parent's."""
        if self.thread is not None:
            _inherited.append((self.client, self.thread, self._life))  # never to be finalised here
            if self.client.driver.socket is not None:
                _let_go(self.client.driver.socket)
        self._changing = threading.Lock()
        closed = self.closed
        self._begin()
        self.closed = closed

    async def _enter(self) -> None:
        entered = asyncio.Event()
        self._closing = asyncio.Event()
        self._life = asyncio.get_running_loop().create_task(self._live(entered, self._closing))
        await entered.wait()

    async def _live(self, entered: asyncio.Event, closing: asyncio.Event) -> None:
        async with self.client:
            entered.set()
            await closing.wait()

    async def _leave(self) -> None:
        assert self._closing is not None
        assert self._life is not None
        self._closing.set()
        await self._life


_sessions: "WeakSet[Session]" = WeakSet()
_inherited: list[object] = []
_current: LoopThread | None = None
_changing = threading.Lock()


def _loop_thread() -> LoopThread:
    """The process's own, begun at first use."""
    global _current
    with _changing:
        if _current is None:
            _current = LoopThread()
        return _current


def _let_go(file: HasFileno) -> None:
    """Put nothing in the place of a file of the parent's: whoever closes it later closes nothing."""
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), file.fileno())


def _forked() -> None:
    global _current, _changing
    if _current is not None:
        _inherited.append(_current)
        _current.forked()
    _current, _changing = None, threading.Lock()
    for session in tuple(_sessions):
        session.forked()


def _at_exit() -> None:
    """Programs that don't close their clients get their sessions ended all the same, so far as that is quick."""
    for session in tuple(_sessions):
        with suppress(Exception):
            session.close()


os.register_at_fork(after_in_child=_forked)
atexit.register(_at_exit)


class ThreadWaiter:
    """Where a thread waits for the outcome of a call."""

    __slots__ = ("_lock", "outcome", "pending")

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self.pending: Pending | None = None
        self._lock = threading.Lock()
        self._lock.acquire()

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._lock.release()

    async def wait(self) -> None:
        self._lock.acquire()


class ThreadCaller(Caller):
    """Makes a client's calls from any thread: `finish_call` blocks it, and never yields to an event loop."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def now(self) -> float:
        return monotonic()  # which is what event loops go by

    def start_call(
        self,
        request: ClientRequest,
        deadline: float,
        *,
        at_least: int = 0,
        linearizable: bool = False,
        watch: Notified | None = None,
        orphaned: Orphaned | None = None,
    ) -> ThreadWaiter:
        waiter, session = ThreadWaiter(), self._session
        told = None if watch is None else partial(session.callbacks.call, watch)
        thread, driver = session.running(), session.client.driver
        thread.post(partial(_enqueue, driver, waiter, request, deadline, at_least, linearizable, told, orphaned))
        return waiter

    def abandon(self, waiter: Waiter) -> None:
        assert isinstance(waiter, ThreadWaiter)
        self._session.running().post(partial(_give_up, self._session.client.driver, waiter))


def _enqueue(
    driver: Driver,
    waiter: ThreadWaiter,
    request: ClientRequest,
    deadline: float,
    at_least: int,
    linearizable: bool,
    watch: Notified | None,
    orphaned: Orphaned | None,
) -> None:
    try:
        waiter.pending = driver.enqueue(request, waiter.settle, deadline, at_least, linearizable, watch, orphaned)
    except Exception as error:
        waiter.settle(error)
    else:
        driver.kick()


def _give_up(driver: Driver, waiter: ThreadWaiter) -> None:
    if waiter.pending is not None:
        driver.give_up(waiter.pending, waiter.outcome)


def immediately(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that waits for nothing but a ThreadCaller."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waited for an event loop")
