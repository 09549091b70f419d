"""How a thread makes a call and waits for its outcome; `calling` says what there is to it. Read `threads` before."""

import threading
from collections.abc import Coroutine
from functools import partial
from time import monotonic
from typing import TypeVar

from zk.model.requests import ClientRequest
from zkclient.calling import Caller, Waiter
from zkclient.calls import Orphaned, Outcome, Pending
from zkclient.driver import Driver
from zkclient.errors import ClientClosedError
from zkclient.threads import LoopThread, Session, stay_if_exiting
from zkclient.watchers import Notified

T = TypeVar("T")


class ThreadWaiter:
    """Where a thread waits for the outcome of a call."""

    __slots__ = ("_lock", "outcome", "pending", "thread")

    def __init__(self, thread: LoopThread) -> None:
        self.outcome: Outcome | None = None
        self.pending: Pending | None = None
        self.thread: LoopThread = thread
        self._lock = threading.Lock()
        self._lock.acquire()

    def settle(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self._lock.release()

    async def wait(self) -> None:
        self.thread.wait(self._lock)
        if isinstance(self.outcome, ClientClosedError):
            stay_if_exiting()


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
        session = self._session
        thread, driver = session.running(), session.client.driver
        thread.must_not_be_current()
        waiter = ThreadWaiter(thread)
        told = None if watch is None else partial(session.callbacks.call, watch)
        enqueue = partial(_enqueue, driver, waiter, request, deadline, at_least, linearizable, told, orphaned)
        thread.post(enqueue, feeds=driver)
        return waiter

    async def remove_watches(self, path: str) -> bool:
        return self._session.run(self._session.client.driver.remove_watches(path))

    def abandon(self, waiter: Waiter) -> None:
        assert isinstance(waiter, ThreadWaiter)
        driver = self._session.client.driver
        waiter.thread.post(partial(_give_up, driver, waiter), feeds=driver)


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
