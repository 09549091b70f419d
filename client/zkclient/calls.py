"""The calls of a session that are not answered yet: their order, their xids, their deadlines. Pure.

In two queues, each in the order of the xids: what is on its way, and what waits to be sent. Calls that the machine
makes for itself (pings, watches to be set again) travel among the first, but belong to one connection only.
"""

from collections import deque
from collections.abc import Callable, Iterator
from math import inf

from zk.model.record import Zxid
from zk.model.replies import Reply
from zk.model.requests import (
    AddAuth,
    BeginRestore,
    Call,
    Check,
    ClientRequest,
    CloseSession,
    Create,
    Delete,
    Exists,
    FinishRestore,
    GetChildren,
    GetData,
    Multi,
    Restore,
    SetAcl,
    SetData,
)
from zkclient.watchers import Notified

WRITES = frozenset(
    {
        *(Create, Delete, SetData, SetAcl, Check, Multi, AddAuth, CloseSession),
        *(BeginRestore, Restore, FinishRestore),
    }
)

Outcome = Reply | Exception
Settle = Callable[[Outcome], object]
Then = Callable[[Reply], None]
Orphaned = Callable[[Reply], ClientRequest | None]


ANYTHING = Zxid(0)
"""What a read that asks for nothing newer is content with."""


class Pending:
    """One unanswered call."""

    __slots__ = (
        "at_least",
        "deadline_ms",
        "insistent",
        "internal",
        "linearizable",
        "losses",
        "orphaned",
        "request",
        "sent",
        "settle",
        "then",
        "watch",
        "write",
        "xid",
    )

    def __init__(
        self,
        request: ClientRequest,
        settle: Settle | None,
        deadline_ms: float = inf,
        at_least: Zxid = ANYTHING,
        linearizable: bool = False,
        watch: Notified | None = None,
        orphaned: Orphaned | None = None,
        insistent: bool = False,
    ) -> None:
        self.xid: int = 0  # none yet
        self.request: ClientRequest = request
        self.settle: Settle | None = settle  # who waits for the outcome; None: nobody (any more)
        self.write: bool = type(request) in WRITES
        self.internal: bool = False  # the machine's own: belongs to one connection, and is never sent again
        self.insistent: bool = insistent  # a refusal for the moment is no outcome: it is made again
        self.sent: bool = False  # at least once
        self.deadline_ms: float = deadline_ms
        self.at_least: Zxid = at_least
        self.linearizable: bool = linearizable
        self.losses: int = 0  # how often the session had been lost when the call was made
        self.then: Then | None = None  # what the machine does with the answer
        self.watch: Notified | None = watch  # who is to be told of the change that the read watches for
        self.orphaned: Orphaned | None = orphaned  # what undoes it if it is answered when nobody waits any more

    def refuse(self, error: Exception) -> None:
        """It comes to nothing: tell who waits."""
        settle, self.settle = self.settle, None
        if settle is not None:
            settle(error)


class Calls:
    """All unanswered calls of a session. `in_flight_max` bounds how many are on their way."""

    def __init__(self, in_flight_max: int) -> None:
        self._in_flight_max = in_flight_max
        self._xid = 0
        self.unsent: deque[Pending] = deque()  # what waits to be sent
        self._held: deque[Pending] = deque()  # older than these, but not for the present server
        self._in_flight: deque[Pending] = deque()  # in the order of sending, which is that of the answers
        self._writes: deque[Pending] = deque()  # the session's writes among them
        self.earliest_deadline_ms: float = inf  # no deadline is before

    def __len__(self) -> int:
        return len(self._held) + len(self.unsent) + len(self._in_flight)

    def __iter__(self) -> Iterator[Pending]:
        yield from self._held
        yield from self._in_flight
        yield from self.unsent

    def number(self, pending: Pending) -> None:
        """Give it the next xid; it is in no queue yet."""
        self._xid = pending.xid = self._xid + 1
        if pending.deadline_ms < self.earliest_deadline_ms:
            self.earliest_deadline_ms = pending.deadline_ms

    # ---- sending

    @property
    def may_send_new(self) -> bool:
        """Whether a new call may be sent at once: nothing waits before it, and there is room."""
        return not self.unsent and len(self._in_flight) < self._in_flight_max

    def wait(self, pending: Pending) -> None:
        """Queue it to be sent later."""
        self.unsent.append(pending)

    def hold_sent_writes(self) -> None:
        """Until the connection is lost: the present server knows nothing of what was sent before, and must not refuse
        it."""
        self._held = deque(p for p in self.unsent if p.write and p.sent)
        self.unsent = deque(p for p in self.unsent if not (p.write and p.sent))

    def next_to_send(self) -> Pending | None:
        """Take the oldest call that waits, if there is room for it."""
        if self.unsent and len(self._in_flight) < self._in_flight_max:
            return self.unsent.popleft()
        return None

    def as_sent(self, pending: Pending) -> Call:
        """The call as it is to be sent. A write tells its floor: every answer to a write below it has come."""
        floor = 0
        if pending.write and not pending.internal:
            try:
                floor = self._writes[0].xid
            except IndexError:  # also if the last one was answered just now, in another thread: see Gate
                floor = pending.xid
        return Call(pending.xid, pending.request, floor, pending.at_least, pending.linearizable)

    def sent(self, pending: Pending) -> None:
        """It is on its way."""
        pending.sent = True
        self._in_flight.append(pending)
        if pending.write and not pending.internal:
            self._writes.append(pending)

    def watching(self, path: str) -> bool:
        """Whether a read is under way that sets a one-shot watch at `path`."""
        return any(
            isinstance(request, Exists | GetData | GetChildren) and request.watch and request.path == path
            for request in (pending.request for pending in self._in_flight)
        )

    # ---- ending

    def answered(self, xid: int) -> Pending | None:
        """Take out the oldest call on its way, if its xid is this one."""
        in_flight = self._in_flight
        if not in_flight or in_flight[0].xid != xid:
            return None
        pending = in_flight.popleft()
        if self._writes and self._writes[0] is pending:
            self._writes.popleft()
        return pending

    def refused(self, xid: int) -> Pending | None:
        """Take out the call on its way with this xid, wherever it stands."""
        pending = next((pending for pending in self._in_flight if pending.xid == xid), None)
        if pending is not None:
            self._in_flight.remove(pending)
            if pending in self._writes:
                self._writes.remove(pending)
        return pending

    def abandon(self, pending: Pending) -> None:
        """Nobody waits for it any more. What was sent can't be called back; what was not, is withdrawn."""
        pending.settle = None
        if not pending.sent:
            self.unsent.remove(pending)

    def end_overdue(self, now_ms: float) -> list[tuple[Pending, Settle]]:
        """Abandon the calls whose deadline has passed; with each, who has waited for it."""
        waiting = [(pending, pending.settle) for pending in self if pending.settle is not None]
        overdue = [(pending, settle) for pending, settle in waiting if pending.deadline_ms <= now_ms]
        for pending, _ in overdue:
            self.abandon(pending)
        self.earliest_deadline_ms = min(
            (pending.deadline_ms for pending, _ in waiting if pending.deadline_ms > now_ms), default=inf
        )
        return overdue

    def connection_lost(self) -> None:
        """Everything on its way that still matters is to be sent again, in its old order and under its old xid."""
        again = [p for p in self._in_flight if not p.internal and (p.write or p.settle is not None)]
        self.unsent.extendleft(reversed([*self._held, *again]))
        self._held.clear()
        self._in_flight.clear()
        self._writes.clear()

    def session_over(self, losses: int) -> list[Pending]:
        """Take out the writes that belong to the session that ended: all that were sent, or called before the last of
        its `losses` was announced. Reads, and later writes, wait for the next session."""
        ended = [p for p in self.unsent if p.write and (p.sent or p.settle is None or p.losses < losses)]
        gone = set(ended)
        self.unsent = deque(p for p in self.unsent if p not in gone)
        return ended

    def clear(self) -> None:
        self._held.clear()
        self.unsent.clear()
        self._in_flight.clear()
        self._writes.clear()
