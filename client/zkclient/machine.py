"""The session, without I/O: what to send, what an answer means, when to give up a server, when a session is lost.

Fed with the time and what happened (a call, bytes, a connection made or gone, a tick), it queues bytes and actions; the
driver performs them. It owns the order of the calls, exactly-once writes, the registry of watches, and all clocks of
the session. It never reads a clock, opens a socket or calls back. Read `watchers` next, then `driver`.

A write keeps its xid for as long as the session lives. After a reconnect all that is unanswered is sent again under the
same xids: the service answers a write that it has already done from memory, so nothing is done twice.
"""

from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from math import inf

import zk
from zk.model.chance import Chance
from zk.model.errors import APIError, BadArgumentsError, NoNodeError, SessionMovedError, ZKError
from zk.model.errors import SessionExpiredError as ExpiredByService
from zk.model.events import WatcherType, WatchEvent, WatchMode
from zk.model.record import SessionId, Zxid, record
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import (
    AddAuth,
    Call,
    Check,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Delete,
    Exists,
    GetChildren,
    GetData,
    Multi,
    Ping,
    RemoveWatches,
    SetAcl,
    SetData,
)
from zk.wire.native import ClientConnection, ProtocolError
from zkclient.errors import ClientClosedError, ConnectionLossError, OperationTimeoutError, SessionExpiredError
from zkclient.results import State
from zkclient.watchers import Notified, Stream, Watchers, add_watch

CLIENT_NAME = f"zkclient {zk.__version__}"
IN_FLIGHT_MAX = 1_000  # calls sent and unanswered; well below what a server takes or remembers
RETRY_DELAY_MS_MIN = 20
RETRY_DELAY_MS_MAX = 1_000
STABLE_MS = 1_000  # a connection that lived shorter than this counts as a failed attempt

WRITES = frozenset({Create, Delete, SetData, SetAcl, Check, Multi, AddAuth, CloseSession})

Outcome = Reply | Exception
Settle = Callable[[Outcome], object]
Orphaned = Callable[[Reply], ClientRequest | None]


# ---- actions


@record
class Open:
    """Connect to `server` ('host:port'); report `connected` or `disconnected`."""

    server: str


@record
class Close:
    """Drop the connection, or the attempt to make one. There is nothing to report."""


@record
class Settled:
    """A call is over: `settle(outcome)`."""

    settle: Settle
    outcome: Outcome


@record
class Notify:
    """`notified(event)`; an error instead of an event says that a stream can't be had."""

    notified: Notified
    event: WatchEvent | ZKError


@record
class StateChanged:
    state: State


Action = Open | Close | Settled | Notify | StateChanged


class Phase(Enum):
    """Where the connection stands."""

    IDLE = "nothing was asked yet"
    OPENING = "a connection is being made"
    ATTACHING = "the session is being opened or attached"
    ATTACHED = "calls are answered"
    WAITING = "all servers failed; the next round is due later"
    CLOSED = "closed for good"


class Pending:
    """A call that is not answered yet. `settle` is None if nobody waits for the answer (any more)."""

    __slots__ = (
        "at_least",
        "deadline_ms",
        "internal",
        "linearizable",
        "losses",
        "orphaned",
        "request",
        "sent",
        "settle",
        "then",
        "write",
        "xid",
    )

    def __init__(self, xid: int, request: ClientRequest, settle: Settle | None) -> None:
        self.xid = xid
        self.request = request
        self.settle = settle
        self.write = type(request) in WRITES
        self.internal = False  # belongs to one connection, and is never sent again
        self.sent = False
        self.deadline_ms = inf
        self.at_least = Zxid(0)
        self.linearizable = False
        self.losses = 0  # how often the session had been lost when the call was made
        self.then: Callable[[Reply], None] | None = None  # what the machine itself does with the answer
        self.orphaned: Orphaned | None = None


class Machine:
    """One session. `servers` are 'host:port'; `chance` shuffles them and spreads retries."""

    def __init__(self, servers: Sequence[str], session_timeout_ms: int, chance: Chance) -> None:
        self._servers = tuple(servers)
        self._wanted_timeout_ms = session_timeout_ms
        self._chance = chance
        self._actions: list[Action] = []
        self._phase = Phase.IDLE

        self.state = State.CONNECTING
        self.session_id = SessionId(0)
        self.session_timeout_ms = session_timeout_ms
        self._secret = b""
        self._losses = 0
        self._credentials: list[AddAuth] = []

        self._xid = 0
        self._unsent: deque[Pending] = deque()
        self._in_flight: deque[Pending] = deque()  # in the order of sending, which is that of the answers
        self._writes: deque[Pending] = deque()  # the writes among them that count for the floor
        self._earliest_deadline_ms = inf

        self.watchers = Watchers()
        self._replies = 0
        self._registering = 0  # requests that set watches, unanswered
        self._complete = Zxid(0)  # every event up to here was told
        self._event_zxid = Zxid(0)
        self.last_zxid = Zxid(0)

        self.server = ""  # the one that is attached to or tried
        self._untried: list[str] = []
        self._rounds = 0
        self._failures: dict[str, str] = {}
        self._wire = ClientConnection(CLIENT_NAME)
        self._out: list[bytes] = []
        self._attempt_until_ms = inf
        self._retry_ms = inf
        self._attached_ms = 0.0
        self._heard_ms = 0.0
        self._connect_sent_ms = 0.0
        self._ping_sent_ms = 0.0
        self._ping_due_ms = inf
        self._proof_ms = 0.0  # when the last request was sent that the service certainly heard

        self.calls = 0
        self.connects = 0
        self.bytes_received = 0
        self.bytes_sent = 0

    # ---- what comes out

    def take_actions(self) -> list[Action]:
        """All that is to be done, in order."""
        actions, self._actions = self._actions, []
        return actions

    def take_outgoing(self) -> bytes:
        """All bytes that wait to be sent."""
        data = b"".join(self._out)
        self._out.clear()
        self.bytes_sent += len(data)
        return data

    @property
    def has_actions(self) -> bool:
        return bool(self._actions)

    @property
    def has_outgoing(self) -> bool:
        return bool(self._out)

    @property
    def wake_ms(self) -> float:
        """When `tick` is due, at the latest."""
        wake = self._earliest_deadline_ms
        if self._phase is Phase.ATTACHED:
            wake = min(wake, self._ping_due_ms, self._heard_ms + self._silence_ms)
        elif self._phase is Phase.WAITING:
            wake = min(wake, self._retry_ms)
        elif self._phase in (Phase.OPENING, Phase.ATTACHING):
            wake = min(wake, self._attempt_until_ms)
        if self._may_be_lost:
            wake = min(wake, self._proof_ms + self.session_timeout_ms)
        return wake

    @property
    def pending_calls(self) -> int:
        return len(self._unsent) + len(self._in_flight)

    @property
    def attached(self) -> bool:
        return self._phase is Phase.ATTACHED

    @property
    def _may_be_lost(self) -> bool:
        return self.session_id != 0 and self.state is not State.LOST and self._phase is not Phase.CLOSED

    @property
    def _silence_ms(self) -> float:
        return self.session_timeout_ms * 2 / 3

    # ---- calls

    def call(
        self,
        now_ms: float,
        request: ClientRequest,
        settle: Settle | None = None,
        *,
        deadline_ms: float = inf,
        at_least: int = 0,
        linearizable: bool = False,
        watch: Notified | None = None,
        orphaned: Orphaned | None = None,
    ) -> Pending:
        """Take in a call; its outcome comes as Settled. Without `settle` nobody waits, and it is done all the same, if
        the session lives long enough.

        `orphaned` is asked when an abandoned call is answered, and may give a write that undoes it.
        """
        if self._phase is Phase.CLOSED:
            raise ClientClosedError("the client is closed")
        self.calls += 1
        self._xid += 1
        pending = Pending(self._xid, request, settle)
        pending.deadline_ms = deadline_ms
        pending.at_least = Zxid(at_least)
        pending.linearizable = linearizable
        pending.losses = self._losses
        pending.orphaned = orphaned
        if watch is not None:
            pending.then = partial(self._watch_set, request, watch)
        elif type(request) is AddAuth:
            pending.then = partial(self._authenticated, request)
        elif type(request) is CloseSession:
            pending.then = self._session_closed
        if self._phase is Phase.ATTACHED and not self._unsent and len(self._in_flight) < IN_FLIGHT_MAX:
            self._send(pending)
        else:
            self._unsent.append(pending)
            if self._phase is Phase.IDLE:
                self._start_round(now_ms)
        if deadline_ms < self._earliest_deadline_ms:
            self._earliest_deadline_ms = deadline_ms
        return pending

    def abandon(self, pending: Pending) -> None:
        """Nobody waits for this call any more. What was sent can't be called back; what was not, is withdrawn."""
        if pending.settle is None:
            return
        pending.settle = None
        if not pending.sent:
            self._unsent.remove(pending)

    def watch(self, now_ms: float, path: str, mode: WatchMode, since: Zxid | None, notified: Notified) -> Stream:
        """Begin a stream of events; each comes as Notify, until `unwatch`."""
        if self._phase is Phase.CLOSED:
            raise ClientClosedError("the client is closed")
        stream = Stream(path, mode, since, notified)
        self.watchers.add_stream(stream)
        if self._phase is Phase.ATTACHED:
            self._register_stream(stream)
        elif self._phase is Phase.IDLE:
            self._start_round(now_ms)
        return stream

    def unwatch(self, stream: Stream) -> None:
        """End a stream."""
        if self.watchers.remove_stream(stream) and self._phase is Phase.ATTACHED:
            recursive = stream.mode is WatchMode.RECURSIVE
            kind = WatcherType.RECURSIVE if recursive else WatcherType.PERSISTENT
            self._send_internal(RemoveWatches(stream.path, kind), None)

    def close(self) -> None:
        """Drop everything, at once. To end the session properly, call CloseSession before."""
        if self._phase is Phase.CLOSED:
            return
        self._phase = Phase.CLOSED
        self._actions.append(Close())
        for pending in [*self._in_flight, *self._unsent]:
            self._settle(pending, ClientClosedError("the client was closed before the answer came"))
        for stream in self.watchers.streams():
            self._actions.append(Notify(stream.token, ClientClosedError("the client was closed")))
        self._in_flight.clear()
        self._unsent.clear()
        self._out.clear()
        self._set_state(State.CLOSED)

    # ---- the connection

    def connected(self, now_ms: float) -> None:
        """The connection asked for by Open is made."""
        self.connects += 1
        self._phase = Phase.ATTACHING
        self._connect_sent_ms = self._heard_ms = now_ms
        self._wire = ClientConnection(CLIENT_NAME)
        connect = Connect(self.session_id, self._secret, self._wanted_timeout_ms, self.last_zxid)
        self._xid += 1
        self._out += (self._wire.hello(), self._wire.call(Call(self._xid, connect)))

    def disconnected(self, now_ms: float, reason: str) -> None:
        """The connection is gone, or was not to be had."""
        if self._phase is Phase.CLOSED:
            return
        self._failures[self.server] = reason
        was_attached = self._phase is Phase.ATTACHED
        self._out.clear()
        if was_attached:
            self.watchers.suspend(self._replies, self._complete)
            self._registering = 0
            self._requeue()
            if self.state is not State.LOST:
                self._set_state(State.SUSPENDED)
            if now_ms - self._attached_ms >= STABLE_MS:
                self._rounds = 0
                self._start_round(now_ms)
                return
        elif self._untried:
            self._open_next(now_ms)
            return
        delay_ms = min(RETRY_DELAY_MS_MIN << min(self._rounds, 10), RETRY_DELAY_MS_MAX)
        self._rounds += 1
        self._phase = Phase.WAITING
        self._retry_ms = now_ms + delay_ms * self._chance.randrange(500, 1000) / 1000

    def received(self, now_ms: float, data: bytes) -> None:
        """Bytes have come on the connection."""
        self._heard_ms = now_ms
        self.bytes_received += len(data)
        try:
            items = self._wire.receive(data)
        except ProtocolError as error:
            self._drop(now_ms, str(error))
            return
        for item in items:
            if self._phase is Phase.ATTACHED:
                if type(item) is Reply:
                    self._answered(now_ms, item)
                elif type(item) is WatchEvent:
                    self._event(item)
            elif self._phase is Phase.ATTACHING and type(item) is Reply:
                self._attach_answered(now_ms, item)
        if self._unsent and self._phase is Phase.ATTACHED:
            self._send_waiting()

    def tick(self, now_ms: float) -> None:
        """Do what is due at `now_ms`."""
        phase = self._phase
        if self._may_be_lost and now_ms >= self._proof_ms + self.session_timeout_ms:
            if phase is Phase.ATTACHED:
                self._drop(now_ms, f"no ping was answered for {self.session_timeout_ms} ms")
            self._lose()
        if phase is Phase.ATTACHED and self._phase is phase:
            if now_ms >= self._heard_ms + self._silence_ms:
                self._drop(now_ms, f"no answer for {self._silence_ms:.0f} ms")
            elif now_ms >= self._ping_due_ms:
                self._ping(now_ms)
        elif phase in (Phase.OPENING, Phase.ATTACHING) and now_ms >= self._attempt_until_ms:
            what = "no connection" if phase is Phase.OPENING else "connected, but no answer"
            self._drop(now_ms, f"{what} within {self._attempt_ms:.0f} ms")
        elif phase is Phase.WAITING and now_ms >= self._retry_ms:
            self._start_round(now_ms)
        if now_ms >= self._earliest_deadline_ms:
            self._end_overdue_calls(now_ms)

    def _drop(self, now_ms: float, reason: str) -> None:
        self._actions.append(Close())
        self.disconnected(now_ms, reason)

    def _start_round(self, now_ms: float) -> None:
        """Try every server once, in random order; the one that just failed comes last."""
        servers = [server for server in self._servers if server != self.server]
        for last in range(len(servers) - 1, 0, -1):
            other = self._chance.randrange(0, last + 1)
            servers[last], servers[other] = servers[other], servers[last]
        if self.server:
            servers.append(self.server)
        self._untried = servers
        self._open_next(now_ms)

    def _open_next(self, now_ms: float) -> None:
        self.server = self._untried.pop(0)
        self._phase = Phase.OPENING
        self._attempt_until_ms = now_ms + self._attempt_ms
        self._actions.append(Open(self.server))

    @property
    def _attempt_ms(self) -> float:
        return self.session_timeout_ms / 3

    # ---- the session

    def _attach_answered(self, now_ms: float, reply: Reply) -> None:
        body = reply.body
        if isinstance(body, ExpiredByService) or (isinstance(body, ConnectReply) and body.session_id == 0):
            self._actions.append(Close())
            self._expire("the service says that the session is over")
            self._start_round(now_ms)
            return
        if not isinstance(body, ConnectReply):
            self._drop(now_ms, f"refused: {body}")
            return
        is_new = body.session_id != self.session_id
        self.session_id = body.session_id
        self._secret = body.secret
        self.session_timeout_ms = body.timeout_ms
        self._proof_ms = self._connect_sent_ms
        self._phase = Phase.ATTACHED
        self._attached_ms = now_ms
        self._ping_due_ms = self._connect_sent_ms + body.timeout_ms / 3
        self._untried.clear()
        self._failures.clear()
        self._set_state(State.CONNECTED)
        if is_new:
            for credential in self._credentials:
                self._send_internal(credential, None)
        since = Zxid(max(self._complete, self._event_zxid - 1))
        assert self._wire.server is not None
        for request in self.watchers.set_again(since, self._wire.server.limits.paths_per_set_watches_max):
            self._registering += 1
            self._send_internal(request, self._registered)
        for stream in self.watchers.streams():
            self._register_stream(stream)
        self._send_waiting()

    def _ping(self, now_ms: float) -> None:
        self._ping_sent_ms = now_ms
        self._ping_due_ms = inf
        self._send_internal(Ping(), self._ping_answered)

    def _ping_answered(self, _: Reply) -> None:
        self._proof_ms = self._ping_sent_ms
        self._ping_due_ms = self._ping_sent_ms + self.session_timeout_ms / 3

    def _lose(self) -> None:
        self._losses += 1
        self._set_state(State.LOST)

    def _expire(self, reason: str) -> None:
        """The session is over: its writes can't be finished. Reads, and writes called since the loss was announced,
        wait for the next session."""
        if self.state is not State.LOST:
            self._lose()
        waiting: deque[Pending] = deque()
        for pending in self._unsent:
            if pending.write and (pending.sent or pending.settle is None or pending.losses < self._losses):
                self._settle(pending, SessionExpiredError("", reason, maybe_applied=pending.sent))
            else:
                waiting.append(pending)
        self._unsent = waiting
        self.session_id = SessionId(0)
        self._secret = b""
        self.session_timeout_ms = self._wanted_timeout_ms

    def _session_closed(self, _: Reply) -> None:
        self.session_id = SessionId(0)
        self.close()

    def _authenticated(self, request: AddAuth, reply: Reply) -> None:
        if not isinstance(reply.body, APIError) and request not in self._credentials:
            self._credentials.append(request)

    def _set_state(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._actions.append(StateChanged(state))

    # ---- sending

    def _send(self, pending: Pending) -> None:
        floor = 0
        if pending.write:
            floor = self._writes[0].xid if self._writes else pending.xid
        call = Call(pending.xid, pending.request, floor, pending.at_least, pending.linearizable)
        try:
            self._out.append(self._wire.call(call))
        except BadArgumentsError as error:
            self._settle(pending, error)
            return
        if pending.write:
            self._writes.append(pending)
        pending.sent = True
        self._in_flight.append(pending)

    def _send_internal(self, request: ClientRequest, then: Callable[[Reply], None] | None) -> None:
        self._xid += 1
        pending = Pending(self._xid, request, None)
        pending.internal = pending.sent = True
        pending.write = False
        pending.then = then
        self._in_flight.append(pending)
        self._out.append(self._wire.call(Call(pending.xid, request)))

    def _send_waiting(self) -> None:
        unsent = self._unsent
        while unsent and len(self._in_flight) < IN_FLIGHT_MAX:
            self._send(unsent.popleft())

    def _requeue(self) -> None:
        """Everything unanswered that still matters is to be sent again, in its old order and under its old xids."""
        again = [p for p in self._in_flight if not p.internal and (p.write or p.settle is not None)]
        self._unsent.extendleft(reversed(again))
        self._in_flight.clear()
        self._writes.clear()

    # ---- answers

    def _answered(self, now_ms: float, reply: Reply) -> None:
        in_flight = self._in_flight
        body = reply.body
        if not in_flight or in_flight[0].xid != reply.xid:
            if not self._refused(reply):
                self._drop(now_ms, f"the server answered call {reply.xid} out of turn")
            return
        if isinstance(body, APIError):
            if isinstance(body, SessionMovedError):
                self._drop(now_ms, f"refused: {body}")
                return
            if isinstance(body, ExpiredByService):
                self._drop(now_ms, f"refused: {body}")
                self._expire(body.hint)
                return
        pending = in_flight.popleft()
        if pending.write:
            self._writes.popleft()
        self._replies += 1
        zxid = reply.zxid
        if zxid > self.last_zxid:
            self.last_zxid = zxid
        if zxid > self._complete and not self._registering:
            self._complete = zxid
        if pending.then is not None:
            pending.then(reply)
        if pending.settle is not None:
            self._actions.append(Settled(pending.settle, reply))
        elif pending.orphaned is not None:
            undo = pending.orphaned(reply)
            if undo is not None:
                self.call(now_ms, undo)

    def _refused(self, reply: Reply) -> bool:
        """A server that can't understand a call says so at once, before it answers earlier ones. Whether that is what
        `reply` is."""
        pending = next((pending for pending in self._in_flight if pending.xid == reply.xid), None)
        if pending is None or not isinstance(reply.body, APIError):
            return False
        self._in_flight.remove(pending)
        if pending in self._writes:
            self._writes.remove(pending)
        if pending.then is not None:
            pending.then(reply)
        self._settle(pending, reply.body)
        return True

    def _settle(self, pending: Pending, error: Exception) -> None:
        if pending.settle is not None:
            self._actions.append(Settled(pending.settle, error))
            pending.settle = None

    def _end_overdue_calls(self, now_ms: float) -> None:
        self._earliest_deadline_ms = inf
        overdue = []
        for pending in [*self._in_flight, *self._unsent]:
            if pending.settle is None:
                continue
            if pending.deadline_ms <= now_ms:
                overdue.append(pending)
            elif pending.deadline_ms < self._earliest_deadline_ms:
                self._earliest_deadline_ms = pending.deadline_ms
        for pending in overdue:
            error = self._overdue(pending)
            if not pending.sent:
                self._unsent.remove(pending)
            self._settle(pending, error)

    def _overdue(self, pending: Pending) -> ConnectionLossError | OperationTimeoutError:
        if self._phase is Phase.ATTACHED:
            text = f"{self.server} did not answer in time"
        else:
            tried = [f"{server}: {reason}" for server, reason in self._failures.items()]
            if self._phase in (Phase.OPENING, Phase.ATTACHING):
                tried.append(f"{self.server}: no answer yet")
            text = f"no server to be had in time ({'; '.join(tried)})"
        if not pending.sent and self._phase is not Phase.ATTACHED:
            return ConnectionLossError(text)
        return OperationTimeoutError(text, maybe_applied=pending.sent and pending.write)

    # ---- watches

    def _event(self, event: WatchEvent) -> None:
        if event.zxid > self._event_zxid:
            self._event_zxid = event.zxid
            if event.zxid > self.last_zxid:
                self.last_zxid = event.zxid
        for notified in self.watchers.take(event):
            self._actions.append(Notify(notified, event))

    def _watch_set(self, request: ClientRequest, watch: Notified, reply: Reply) -> None:
        body = reply.body
        if isinstance(request, Exists):
            if isinstance(body, NoNodeError):
                self.watchers.add_exist(request.path, watch)
            elif not isinstance(body, APIError):
                self.watchers.add_data(request.path, watch)
        elif isinstance(body, APIError):
            return
        elif isinstance(request, GetData):
            self.watchers.add_data(request.path, watch)
        elif isinstance(request, GetChildren):
            self.watchers.add_child(request.path, watch)

    def _register_stream(self, stream: Stream) -> None:
        self._registering += 1
        self._send_internal(add_watch(stream), partial(self._stream_registered, stream))

    def _registered(self, _: Reply) -> None:
        self._registering -= 1

    def _stream_registered(self, stream: Stream, reply: Reply) -> None:
        self._registering -= 1
        if isinstance(reply.body, APIError):
            self.watchers.remove_stream(stream)
            self._actions.append(Notify(stream.token, reply.body))
        else:
            self.watchers.activate(stream, self._replies, reply.zxid)
