"""What plain threads need of the event loop: one loop in a thread of its own, for all clients of the process.

Threads hand over what they want done in a queue and wait on a lock. Nothing of a client is touched outside the loop's
thread, but for what `gate` says. Read that and `threadcalls` next, then `blocking`: the classes that use this.
"""

import asyncio
import atexit
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from selectors import DefaultSelector
from socket import socketpair
from typing import Generic, TypeVar
from weakref import WeakSet

import anyio

from zkclient.client import CLOSE_SECONDS_MAX, AsyncZooKeeper
from zkclient.errors import ClientClosedError
from zkclient.gate import Gate
from zkclient.results import State

T = TypeVar("T")
N = TypeVar("N")
log: logging.Logger = logging.getLogger(__name__)


Listener = Callable[[State], object]
Undo = Callable[[], Coroutine[object, object, None]]
EXIT_SECONDS_MAX = CLOSE_SECONDS_MAX + 1.0  # what the end of the process waits for all clients together
ALIVE_SECONDS = 5.0  # how often who waits looks whether there is still a thread to wait for


class Job(Generic[T]):
    """A coroutine that runs in the loop for a thread which waits for a lock, `ended`.

    Nothing else is safe from signals: a Future's waiter that is interrupted may leave the Future locked for good. If
    the thread is interrupted when all was done just now, `undo` gives it back.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[object, object, T], undo: Undo | None = None
    ) -> None:
        self.ended: threading.Lock = threading.Lock()
        self.ended.acquire()
        self._loop = loop
        self._coroutine = coroutine
        self._undo = undo
        self._task: asyncio.Task[T] | None = None  # while it runs
        self._outcomes: list[T] = []  # one, if it ended well
        self._error: BaseException | None = None

    def begin(self) -> None:
        """In the loop."""
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._end)

    def cancel(self) -> None:
        """In the loop: nobody waits any more."""
        if self._task is not None and self._task.done():
            self._keep(self._task)  # before `_end`
        if self._task is not None:
            self._task.cancel()
        elif not self._outcomes:
            self._coroutine.close()  # it has not begun; otherwise nothing happens
        elif self._undo is not None:
            self._loop.create_task(self._undo()).add_done_callback(self._undone)

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._outcomes[0]

    @staticmethod
    def _undone(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # there was nothing to be undone: it is lost already, or was not to be had

    def _end(self, task: asyncio.Task[T]) -> None:
        if self._task is not None:
            self._keep(task)
        self.ended.release()

    def _keep(self, task: asyncio.Task[T]) -> None:
        """The outcome alone: if the waiting thread finalised the task, a signal could come just then, and be lost."""
        self._task = None
        try:
            self._outcomes.append(task.result())
        except BaseException as error:
            self._error = error


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self._selector = DefaultSelector()
        self.loop: asyncio.AbstractEventLoop = asyncio.SelectorEventLoop(self._selector)
        self._inbox: deque[Callable[[], object]] = deque()
        self._bell, self._rope = socketpair()  # call_soon_threadsafe costs twice as much
        self._woken = True  # by its beginning
        self._thread = threading.Thread(target=self._run, name="zkclient", daemon=True)
        self._thread.start()
        self._ident = self._thread.ident

    def post(self, action: Callable[[], object]) -> None:
        """Let the loop call `action`."""
        self._inbox.append(action)
        if not self._woken:  # or whoever set it has yet to empty the inbox
            try:
                self._woken = True
                self._rope.send(b"!")
            except BaseException:  # a KeyboardInterrupt: whether it was woken is not known
                self._woken = False
                raise

    def run(self, coroutine: Coroutine[object, object, T], undo: Undo | None = None) -> T:
        """Run it in the loop, and wait. A KeyboardInterrupt cancels it; if it was done just then, `undo` is run."""
        job = Job(self.loop, coroutine, undo)
        try:
            self.must_not_be_current()
            self.post(job.begin)
            self.wait(job.ended)
            return job.result()
        except BaseException:
            self.post(job.cancel)
            stay_if_exiting()
            raise

    def wait(self, lock: threading.Lock) -> None:
        """Until the loop's thread releases `lock`. Raises ClientClosedError if that will never be."""
        while not lock.acquire(timeout=ALIVE_SECONDS):
            if not self._thread.is_alive():
                raise ClientClosedError("the thread that the client lives in has ended")

    def must_not_be_current(self) -> None:
        """Raise RuntimeError in the loop's thread, which would wait for itself."""
        if threading.get_ident() == self._ident:
            raise RuntimeError("a blocking call in the client's own thread, which would wait for itself")

    def forked(self) -> None:
        """In the child: touch the parent's sockets and selector by no means, not even when they are finalised."""
        for key in tuple(self._selector.get_map().values()):
            _let_go(key.fd)
        _let_go(self._selector.fileno())

    def _run(self) -> None:
        anyio.run(self._serve, backend_options={"loop_factory": lambda: self.loop})

    async def _serve(self) -> None:
        self.loop.add_reader(self._bell, self._rung)
        self._empty_inbox()
        await self.loop.create_future()

    def _rung(self) -> None:
        self._bell.recv(64)
        self._empty_inbox()

    def _empty_inbox(self) -> None:
        self._woken = False
        while self._inbox:
            action = self._inbox.popleft()
            try:
                action()
            except Exception:
                log.exception("a defect: %s failed", action)


class Callbacks:
    """Calls what users gave, one after the other, in a thread of its own: so they may use the client themselves."""

    def __init__(self) -> None:
        self._due: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def call(self, function: Callable[[N], object], news: N) -> None:
        """Have `function(news)` called, behind all that was asked for before."""
        self._due.put(partial(function, news))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="zkclient callbacks", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """What is due is called yet; then the thread ends."""
        self._due.put(None)

    def _work(self) -> None:
        while (call := self._due.get()) is not None:
            try:
                call()
            except BaseException:  # a SystemExit here is no reason to call nobody any more
                log.exception("a callback failed: %s", call)


class Session:
    """A client that lives in the loop's thread, from its first use to `close`.

    In a forked child it is another one, made anew: the parent's session and connection are none of the child's matter.
    """

    def __init__(self, make: Callable[[], AsyncZooKeeper]) -> None:
        self._make = make
        self._listeners: list[Listener] = []
        self._begin()
        _sessions.add(self)

    def _begin(self) -> None:
        self._changing = threading.Lock()
        self.client: AsyncZooKeeper = self._make()
        self.gate: Gate = self.client.driver.open_gate()
        self.callbacks: Callbacks = Callbacks()
        self.thread: LoopThread | None = None
        self.closed: bool = False
        self._life: asyncio.Task[None] | None = None
        self._entered = asyncio.Event()
        self._closing = asyncio.Event()
        self.client.add_listener(self._state_changed)

    def add_listener(self, listener: Listener) -> None:
        """Have the callbacks' thread call `listener` at every change of the client's state."""
        self._listeners.append(listener)

    def remove_listener(self, listener: Listener) -> None:
        with suppress(ValueError):  # it was not there, or is not any more
            self._listeners.remove(listener)

    def _state_changed(self, state: State) -> None:
        for listener in tuple(self._listeners):
            self.callbacks.call(listener, state)
        if state is State.CLOSED:
            self._closing.set()  # it may have ended by itself

    def running(self) -> LoopThread:
        """Its loop's thread; from here on it runs. Raises ClientClosedError."""
        thread = self.thread
        if thread is None or self.closed:
            with self._changing:
                if self.closed:
                    stay_if_exiting()
                    raise ClientClosedError("the client is closed")
                if self.thread is None:
                    thread = _loop_thread()
                    thread.run(self._enter())
                    self.thread = thread
                return self.thread
        return thread

    def run(self, coroutine: Coroutine[object, object, T], undo: Undo | None = None) -> T:
        """Run it in the loop, and wait. `undo` as of LoopThread."""
        try:
            self.gate.must_not_be_current()
            thread = self.running()
        except BaseException:
            coroutine.close()
            raise
        return thread.run(coroutine, undo)

    def close(self) -> None:
        """End the session, if it ever began."""
        self.gate.must_not_be_current()
        if self.thread is not None:
            self.thread.must_not_be_current()
        with self._changing:
            if self.closed:
                return
            self.closed = True
        if self.thread is not None:
            self.thread.run(self.leave())
        self.callbacks.close()

    def forked(self) -> None:
        """In the child: forget what is the parent's."""
        if self.thread is not None:
            _inherited.append((self.client, self.thread, self._life))  # never to be finalised here
            for socket in (self.client.driver.socket, self.gate.socket):
                if socket is not None:
                    _let_go(socket.fileno())
        closed = self.closed
        self._begin()
        self.closed = closed

    async def _enter(self) -> None:
        if self._life is None:  # otherwise who began it was interrupted
            self._life = asyncio.get_running_loop().create_task(self._live())
        await self._entered.wait()

    async def _live(self) -> None:
        try:
            async with self.client:
                self._entered.set()
                await self._closing.wait()
        except Exception:
            log.exception("a client failed, and is closed now")
        finally:
            self._entered.set()

    async def leave(self) -> None:
        """In the loop: end the session."""
        self._closing.set()
        if self._life is not None:
            await self._life


_sessions: "WeakSet[Session]" = WeakSet()
_inherited: list[object] = []
_current: LoopThread | None = None
_changing = threading.Lock()
_exiting = False


def _loop_thread() -> LoopThread:
    """The process's own, begun at first use."""
    global _current
    with _changing:
        if _current is None:
            _current = LoopThread()
        return _current


def _let_go(fileno: int) -> None:
    """Put nothing in the place of a file of the parent's: whoever closes it later closes nothing."""
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), fileno, inheritable=False)


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
    global _exiting
    _exiting = True
    left = [session for session in tuple(_sessions) if session.thread is not None and not session.closed]
    for session in left:
        session.closed = True
    if left:
        thread = _loop_thread()
        job = Job(thread.loop, _leave_all(left))
        thread.post(job.begin)
        job.ended.acquire(timeout=EXIT_SECONDS_MAX)


async def _leave_all(sessions: Sequence[Session]) -> None:
    await asyncio.gather(*(session.leave() for session in sessions))


def stay_if_exiting() -> None:
    """For who is about to hear that the client is closed. If the program ends under a daemon thread, that is no error
    of the thread: it stops here, as it would at any moment."""
    if _exiting and threading.current_thread().daemon:
        threading.Event().wait()


os.register_at_fork(after_in_child=_forked)
atexit.register(_at_exit)
