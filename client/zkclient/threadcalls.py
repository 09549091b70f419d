"""How a thread makes a call and waits for its outcome; `calling` says what there is to it. Read `threads` before."""

import threading
from collections.abc import Awaitable, Coroutine, Generator
from functools import partial
from time import monotonic
from typing import TypeVar

from zk.model.record import Zxid
from zk.model.requests import ClientRequest
from zkclient.calling import Caller, Waiter
from zkclient.calls import ANYTHING, Orphaned, Outcome, Pending
from zkclient.driver import Driver
from zkclient.errors import ClientClosedError
from zkclient.gate import Gate
from zkclient.threads import LoopThread, Session, stay_if_exiting
from zkclient.watchers import Notified

T = TypeVar("T")

GATHER_SECONDS_MAX = 0.0001
"""How long the first of several calls waits for the others that are expected, to leave together with them."""


class _Done:
    """Can be awaited, and waits for nothing."""

    def __await__(self) -> Generator[None, None, None]:
        return
        yield


_DONE = _Done()


class ThreadWaiter:
    """Where a thread waits for the outcome of a call."""

    __slots__ = ("_driver", "_gate", "_lock", "outcome", "pending", "thread")

    def __init__(self, thread: LoopThread, driver: Driver, gate: Gate) -> None:
        self.outcome: Outcome | None = None
        self.pending: Pending
        self.thread: LoopThread = thread
        self._driver = driver
        self._gate = gate
        self._lock = threading.Lock()
        self._lock.acquire()

    def begin(self) -> None:
        """See that the call is sent, and soon: in this thread, or in another one that calls, or in the event loop's."""
        gate = self._gate
        gate.waiting.append(self.pending)
        if threading.get_ident() == threading.main_thread().ident or not self._driver.is_awake_by(self.pending):
            self.thread.post(self._driver.take_calls)
            return
        if gate.expects_more:
            if not gate.begins_with(self.pending):
                return
            if self._lock.acquire(timeout=GATHER_SECONDS_MAX):
                self._lock.release()  # it is answered already
                return
        if not gate.send():
            self.thread.post(self._driver.take_calls)

    def settle(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self._lock.release()

    def wait(self) -> Awaitable[None]:
        """There is an outcome when it returns."""
        self.thread.wait(self._lock)
        if isinstance(self.outcome, ClientClosedError):
            stay_if_exiting()
        return _DONE


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
        at_least: Zxid = ANYTHING,
        linearizable: bool = False,
        watch: Notified | None = None,
        orphaned: Orphaned | None = None,
    ) -> ThreadWaiter:
        session = self._session
        thread, driver, gate = session.running(), session.client.driver, session.gate
        thread.must_not_be_current()
        gate.must_not_be_current()
        told = None if watch is None else partial(session.callbacks.call, watch)
        waiter = ThreadWaiter(thread, driver, gate)
        waiter.pending = Pending(request, waiter.settle, deadline * 1000, at_least, linearizable, told, orphaned)
        try:
            waiter.begin()
        except BaseException:  # others may rely on it that this thread sends for them
            self.abandon(waiter)
            raise
        return waiter

    async def remove_watches(self, path: str) -> bool:
        return self._session.run(self._session.client.driver.remove_watches(path))

    def abandon(self, waiter: Waiter) -> None:
        assert isinstance(waiter, ThreadWaiter)
        waiter.thread.post(partial(_give_up, self._session.client.driver, waiter))


def _give_up(driver: Driver, waiter: ThreadWaiter) -> None:
    driver.give_up(waiter.pending, waiter.outcome)  # it may have come meanwhile


def immediately(coroutine: Coroutine[object, object, T]) -> T:
    """The result of a coroutine that waits for nothing but a ThreadCaller."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        value: T = stop.value
        return value
    raise AssertionError("it waited for an event loop")
