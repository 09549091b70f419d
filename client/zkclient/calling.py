"""How a call is made and its outcome waited for, whoever waits: a task (driver.py) or a thread (threadcalls.py)."""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Sequence
from typing import Protocol

import anyio

from zk.model.errors import APIError
from zk.model.record import Zxid
from zk.model.replies import Reply
from zk.model.requests import ClientRequest
from zkclient.calls import ANYTHING, Orphaned, Outcome, Pending
from zkclient.watchers import Notified


class Waiter(Protocol):
    """Where a caller waits for the outcome of a call."""

    outcome: Outcome | None

    def wait(self) -> Awaitable[None]:
        """Done when there is an outcome."""


class TaskWaiter:
    """Where a task waits for the outcome of a call."""

    __slots__ = ("_answered", "outcome", "pending")

    pending: Pending

    def __init__(self) -> None:
        self.outcome: Outcome | None = None
        self._answered = anyio.Event()

    def settle(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._answered.set()

    def wait(self) -> Awaitable[None]:
        return self._answered.wait()


class Caller(ABC):
    """Makes calls in one session."""

    @abstractmethod
    def now(self) -> float:
        """The time by which deadlines are told, in seconds."""

    @abstractmethod
    def start_call(
        self,
        request: ClientRequest,
        deadline: float,
        *,
        at_least: Zxid = ANYTHING,
        linearizable: bool = False,
        watch: Notified | None = None,
        orphaned: Orphaned | None = None,
    ) -> Waiter:
        """Make a call; its outcome can be waited for. `deadline` is a time of `now()`.

        `watch` is told of the change that a read watches for; `orphaned` may give a write that undoes an abandoned one.
        """

    @abstractmethod
    def abandon(self, waiter: Waiter) -> None:
        """The caller goes; the outcome may have come just now. What was sent goes on."""

    @abstractmethod
    async def remove_watches(self, path: str) -> bool:
        """Take back all one-shot watches at `path`. Whether there were any."""

    async def finish_call(self, waiter: Waiter) -> Reply:
        """Wait for the outcome. Raises what the machine says, or the refusal in the answer. Cancelling is possible at
        any time."""
        try:
            await waiter.wait()
        except BaseException:
            self.abandon(waiter)
            raise
        outcome = waiter.outcome
        assert outcome is not None
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome.body, APIError):
            raise outcome.body
        return outcome

    async def call_all(self, requests: Sequence[ClientRequest], deadline: float) -> list[Reply | APIError]:
        """Make several calls at once. The outcomes, in the same order; raises what is not the service's refusal."""
        waiters = [self.start_call(request, deadline) for request in requests]
        outcomes: list[Reply | APIError] = []
        try:
            for waiter in waiters:
                try:
                    outcomes.append(await self.finish_call(waiter))
                except APIError as error:
                    outcomes.append(error)
        finally:
            for waiter in waiters[len(outcomes) :]:
                self.abandon(waiter)
        return outcomes
