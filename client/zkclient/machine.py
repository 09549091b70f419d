"""The session, without I/O: what to send, what an answer means, when to give up a server, when a session is lost.

Fed with the time and what happened (a call, bytes, a connection made or gone, a tick), it queues bytes and actions; the
driver performs them. It owns the order of the calls, exactly-once writes, the registry of watches, and all clocks of
the session. It never reads a clock, opens a socket or calls back. Read `actions`, `calls`, `rotation` and `watchers`
next, then `driver`.

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
from zk.model.errors import (
    APIError,
    BadArgumentsError,
    NoNodeError,
    NotReadOnlyError,
    SessionMovedError,
    ThrottledError,
)
from zk.model.errors import SessionExpiredError as ExpiredByService
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import SessionId, Zxid
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import (
    AddAuth,
    ClientRequest,
    CloseSession,
    Connect,
    Exists,
    GetChildren,
    GetData,
    Ping,
    RemoveWatches,
    SetWatches,
)
from zk.wire.native import ClientConnection, ProtocolError
from zkclient.actions import Action, Close, Notify, Open, Settled, StateChanged
from zkclient.calls import ANYTHING, Calls, Orphaned, Pending, Settle, Then
from zkclient.errors import ClientClosedError, ConnectionLossError, OperationTimeoutError, SessionExpiredError
from zkclient.results import State
from zkclient.rotation import Rotation
from zkclient.watchers import Notified, Stream, Watchers, add_watch

CLIENT_NAME = f"zkclient {zk.__version__}"
IN_FLIGHT_MAX = 1_000  # calls sent and unanswered; well below what a server takes or remembers
INSIST_MS = 500  # behind a refusal for the moment, before an insistent call is made again
READ_ONLY_MS = 10_000  # with a server that can only be read, before others are looked for again
STABLE_MS = 1_000  # a connection that lived shorter than this counts as a failed attempt

REMOVED = {WatcherType.DATA: EventType.DATA_WATCH_REMOVED, WatcherType.CHILDREN: EventType.CHILD_WATCH_REMOVED}
"""What is told to whose watch was taken back."""

_NOT_ATTACHED = (SessionMovedError, ExpiredByService)


class Phase(Enum):
    """Where the connection stands."""

    IDLE = "nothing was asked yet"
    OPENING = "a connection is being made"
    ATTACHING = "the session is being opened or attached"
    ATTACHED = "calls are answered"
    WAITING = "all servers failed; the next round is due later"
    CLOSED = "closed for good"


class Machine:
    """One session. `servers` are 'host:port'; `chance` shuffles them and spreads retries. `credentials` are told to
    each new session before anything else. `read_only`: where no server has a quorum, one that can be read will do."""

    def __init__(
        self,
        servers: Sequence[str],
        session_timeout_ms: int,
        chance: Chance,
        credentials: Sequence[AddAuth] = (),
        read_only: bool = False,
    ) -> None:
        self._wanted_timeout_ms = session_timeout_ms
        self._actions: list[Action] = []
        self._phase = Phase.IDLE

        self.state: State = State.CONNECTING
        self.session_id: SessionId = SessionId(0)
        self.session_timeout_ms: int = session_timeout_ms
        self._secret = b""
        self._lost = False  # LOST was said, and the session was not attached since
        self._losses = 0
        self._may_read_only = read_only
        self._read_only = False  # the server that is attached to has no quorum
        self._read_only_found = False  # in this round there was one
        self._settles = False  # for the first one in this round
        self._credentials = list(credentials)
        self._credentials_due: list[AddAuth] = []  # what this session has not been told yet

        self.claim: Callable[[], None] = _nothing  # called before anything that `encode_new` must not happen beside
        self._calls = Calls(IN_FLIGHT_MAX)
        self._refused_for_now: deque[tuple[float, Pending]] = deque()  # when to make each again

        self.watchers: Watchers = Watchers()
        self._replies = 0
        self._registering = 0  # requests that set watches again on a new connection, unanswered
        self._complete = Zxid(0)  # every event up to here was told
        self._event_zxid = Zxid(0)
        self.last_zxid: Zxid = Zxid(0)

        self._servers = Rotation(servers, chance)
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

        self.calls: int = 0
        self.connects: int = 0
        self.bytes_received: int = 0
        self.bytes_sent: int = 0

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
    def actions_due(self) -> int:
        return len(self._actions)

    @property
    def has_outgoing(self) -> bool:
        return bool(self._out)

    @property
    def wake_ms(self) -> float:
        """When `tick` is due, at the latest."""
        wake = self._calls.earliest_deadline_ms
        phase = self._phase
        if phase is Phase.ATTACHED:
            wake = min(wake, self._ping_due_ms, self._heard_ms + self._silence_ms)
            if self._read_only:
                wake = min(wake, self._attached_ms + READ_ONLY_MS)
        elif phase is Phase.WAITING:
            wake = min(wake, self._retry_ms)
        elif phase is Phase.OPENING or phase is Phase.ATTACHING:
            wake = min(wake, self._attempt_until_ms)
        if self._may_be_lost:
            wake = min(wake, self._proof_ms + self.session_timeout_ms)
        if self._refused_for_now:
            wake = min(wake, self._refused_for_now[0][0])
        return wake

    @property
    def pending_calls(self) -> int:
        return len(self._calls)

    @property
    def server(self) -> str:
        """The server that is attached to, or tried; 'host:port'."""
        return self._servers.server

    @property
    def attached(self) -> bool:
        return self._phase is Phase.ATTACHED

    def why_no_server(self) -> str:
        """Which servers were tried, and what each answered; nothing if one is attached to."""
        if self._phase is Phase.ATTACHED:
            return ""
        return self._servers.tried(asking=self._phase is not Phase.WAITING)

    @property
    def _may_be_lost(self) -> bool:
        return self.session_id != 0 and not self._lost and self._phase is not Phase.CLOSED

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
        at_least: Zxid = ANYTHING,
        linearizable: bool = False,
        watch: Notified | None = None,
        orphaned: Orphaned | None = None,
        insistent: bool = False,
    ) -> Pending:
        """Take in a call; its outcome comes as Settled. Without `settle` nobody waits, and it is done all the same, if
        the session lives long enough.

        `orphaned` is asked when an abandoned call is answered, and may give a write that undoes it. An `insistent` call
        is made again when a server refuses it for the moment only (its disk is nearly full).
        """
        pending = Pending(request, settle, deadline_ms, at_least, linearizable, watch, orphaned, insistent)
        self.take(now_ms, pending)
        return pending

    def take(self, now_ms: float, pending: Pending) -> None:
        """As `call`."""
        if self._phase is Phase.CLOSED:
            raise ClientClosedError("the client is closed")
        self.claim()
        self._begin(pending)
        if self._phase is Phase.ATTACHED and self._calls.may_send_new:
            self._send(pending)
        else:
            self._calls.wait(pending)
            if self._phase is Phase.IDLE:
                self._start_round(now_ms)

    @property
    def may_encode_new(self) -> bool:
        """Whether a call that is made now need not wait for anything."""
        return self._phase is Phase.ATTACHED and not self._read_only and self._calls.may_send_new

    def encode_new(self, pending: Pending) -> bytes:
        """The bytes of a call that need not wait: they must be sent next. Raises BadArgumentsError.

        This may happen in any one thread, while in another bytes are received and actions and the time are taken; it
        must not while anything else happens here.
        """
        self._begin(pending)
        data = self._encode(pending)
        self.bytes_sent += len(data)
        return data

    def _begin(self, pending: Pending) -> None:
        self.calls += 1
        pending.losses = self._losses
        request = pending.request
        if type(request) is AddAuth:
            pending.then = partial(self._authenticated, request)
        elif type(request) is CloseSession:
            pending.then = self._session_closed
        self._calls.number(pending)

    def abandon(self, pending: Pending) -> None:
        """Nobody waits for this call any more. What was sent can't be called back; what was not, is withdrawn. A read
        watches for nothing any more."""
        if pending.settle is not None:
            self._calls.abandon(pending)
        if pending.watch is not None:  # it may have been answered just now
            assert isinstance(pending.request, Exists | GetData | GetChildren)
            self.watchers.forget(pending.request.path, pending.watch)

    def watch(self, now_ms: float, path: str, mode: WatchMode, since: Zxid | None, notified: Notified) -> Stream:
        """Begin a stream of events; each comes as Notify, until `unwatch`."""
        if self._phase is Phase.CLOSED:
            raise ClientClosedError("the client is closed")
        stream = Stream(path, mode, since, notified)
        self.watchers.add_stream(stream)
        if self._phase is Phase.ATTACHED:
            self._register_stream(stream, again=0)
        elif self._phase is Phase.IDLE:
            self._start_round(now_ms)
        return stream

    def unwatch(self, stream: Stream) -> None:
        """End a stream."""
        if self.watchers.remove_stream(stream) and self._phase is Phase.ATTACHED:
            recursive = stream.mode is WatchMode.RECURSIVE
            kind = WatcherType.RECURSIVE if recursive else WatcherType.PERSISTENT
            self._send_internal(RemoveWatches(stream.path, kind), None)

    def remove_watches(self, path: str) -> bool:
        """Take back all one-shot watchers at `path`: each is told so, and never anything else. Whether there were any.

        The server is told too, unless it might take that for the watch of a read that is under way.
        """
        self.claim()
        removed = self.watchers.remove_one_shots(path)
        for kind, token in removed:
            told = WatchEvent(REMOVED[kind], path, self.last_zxid)
            self._actions.append(Notify(token, told))
        if self._phase is Phase.ATTACHED and not self._calls.watching(path):
            for kind in dict(removed):
                self._send_internal(RemoveWatches(path, kind), None)
        return bool(removed)

    def close(self) -> None:
        """Drop everything, at once. To end the session properly, call CloseSession before."""
        if self._phase is Phase.CLOSED:
            return
        self.claim()
        self._phase = Phase.CLOSED
        self._actions.append(Close())
        for pending in self._calls:
            self._settle(pending, ClientClosedError("the client was closed before the answer came"))
        for stream in self.watchers.streams():
            self._actions.append(Notify(stream.token, ClientClosedError("the client was closed")))
        self._calls.clear()
        self._refused_for_now.clear()
        self._out.clear()
        self._set_state(State.CLOSED)

    # ---- the connection

    def connected(self, now_ms: float) -> None:
        """The connection asked for by Open is made."""
        self.connects += 1
        self._phase = Phase.ATTACHING
        self._connect_sent_ms = self._heard_ms = now_ms
        self._wire = ClientConnection(CLIENT_NAME)
        wanted_ms = self._wanted_timeout_ms
        connect = Pending(Connect(self.session_id, self._secret, wanted_ms, self.last_zxid, self._may_read_only), None)
        self._calls.number(connect)
        self._out += (self._wire.hello(), self._wire.call(self._calls.as_sent(connect)))

    def disconnected(self, now_ms: float, reason: str) -> None:
        """The connection is gone, or was not to be had."""
        if self._phase is Phase.CLOSED:
            return
        self.claim()
        self._out.clear()
        next_server = self._servers.failed(reason)
        if self._phase is Phase.ATTACHED:
            self._detached(now_ms)
        elif next_server is not None:
            self._open(now_ms, next_server)
        elif self._read_only_found:
            self._start_round(now_ms, settles=True)
        else:
            self._pause(now_ms)

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
        if self._calls.unsent and self._phase is Phase.ATTACHED:
            self._send_waiting()

    def tick(self, now_ms: float) -> None:
        """Do what is due at `now_ms`."""
        phase = self._phase
        if self._may_be_lost and now_ms >= self._proof_ms + self.session_timeout_ms:
            if phase is Phase.ATTACHED and not self._read_only:
                self._drop(now_ms, f"no ping was answered for {self.session_timeout_ms} ms")
            self._lose()
            if self._read_only:
                self._set_state(State.CONNECTED_READ_ONLY)
        if phase is Phase.ATTACHED and self._phase is phase:
            if now_ms >= self._heard_ms + self._silence_ms:
                self._drop(now_ms, f"no answer for {self._silence_ms:.0f} ms")
            elif self._read_only and now_ms >= self._attached_ms + READ_ONLY_MS:
                self._look_for_quorum(now_ms)
            elif now_ms >= self._ping_due_ms:
                self._ping(now_ms)
        elif phase in (Phase.OPENING, Phase.ATTACHING) and now_ms >= self._attempt_until_ms:
            what = "no connection" if phase is Phase.OPENING else "connected, but no answer"
            self._drop(now_ms, f"{what} within {self._attempt_ms:.0f} ms")
        elif phase is Phase.WAITING and now_ms >= self._retry_ms:
            self._start_round(now_ms)
        while self._refused_for_now and now_ms >= self._refused_for_now[0][0]:
            _, refused = self._refused_for_now.popleft()
            self.call(now_ms, refused.request, refused.settle, watch=refused.watch, insistent=True)
        if now_ms >= self._calls.earliest_deadline_ms:
            self.claim()
            for pending, settle in self._calls.end_overdue(now_ms):
                self._actions.append(Settled(settle, self._overdue(pending)))

    def _drop(self, now_ms: float, reason: str) -> None:
        self._actions.append(Close())
        self.disconnected(now_ms, reason)

    def _open(self, now_ms: float, server: str) -> None:
        self._phase = Phase.OPENING
        self._attempt_until_ms = now_ms + self._attempt_ms
        self._actions.append(Open(server))

    def _start_round(self, now_ms: float, *, settles: bool = False) -> None:
        """Try every server once. One that can only be read will do if the round before found nothing better."""
        self._read_only_found = False
        self._settles = settles
        self._open(now_ms, self._servers.start_round())

    def _pause(self, now_ms: float) -> None:
        self._set_unattached()
        self._phase = Phase.WAITING
        self._retry_ms = now_ms + self._servers.pause_ms()

    def _detached(self, now_ms: float) -> None:
        """The connection that carried the session is gone."""
        self._leave()
        self._set_unattached()
        if now_ms - self._attached_ms >= STABLE_MS:
            self._servers.proven()
            self._start_round(now_ms)
        else:
            self._pause(now_ms)

    def _leave(self) -> None:
        """What belonged to the connection ends with it; what is unanswered waits for the next one."""
        self._read_only = False
        self.watchers.suspend(self._replies, self._complete)
        self._registering = 0
        self._calls.connection_lost()

    def _look_for_quorum(self, now_ms: float) -> None:
        """Another server may have one by now. Unless that turns out well, nobody need hear of it."""
        self._actions.append(Close())
        self._out.clear()
        self._leave()
        self._servers.failed("it could only be read")
        self._start_round(now_ms)

    def _set_unattached(self) -> None:
        if self._lost:
            self._set_state(State.LOST)
        else:
            self._set_state(State.SUSPENDED if self.session_id else State.CONNECTING)

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
        if body.read_only and not self._settles:
            self._read_only_found = True
            self._drop(now_ms, "it has no quorum, and can only be read")
            return
        self._phase = Phase.ATTACHED
        self._attached_ms = now_ms
        if body.read_only:
            self._attached_read_only()
        else:
            self._attached_in_full(body)
        self._ping_due_ms = self._connect_sent_ms + self.session_timeout_ms / 3
        self._servers.found()
        since = Zxid(max(self._complete, self._event_zxid - 1))
        assert self._wire.server is not None
        for request in self.watchers.set_again(since, self._wire.server.limits.paths_per_set_watches_max):
            self._registering += 1
            self._send_internal(request, partial(self._set_again, request))
        for stream in self.watchers.streams():
            self._register_stream(stream, again=1)
        self._send_waiting()

    def _attached_in_full(self, body: ConnectReply) -> None:
        if body.session_id != self.session_id:
            self._credentials_due = list(self._credentials)
        self.session_id = body.session_id
        self._secret = body.secret
        self.session_timeout_ms = body.timeout_ms
        self._proof_ms = self._connect_sent_ms
        self._lost = False
        self._set_state(State.CONNECTED)
        for credential in self._credentials_due:
            self._send_internal(credential, partial(self._authenticated, credential), insistent=True)

    def _attached_read_only(self) -> None:
        """Nothing is heard here of the session: it is neither begun nor proved to live, and its writes are not done."""
        self._read_only = True
        self._calls.hold_sent_writes()
        self._set_state(State.CONNECTED_READ_ONLY)
        for credential in self._credentials:
            self._send_internal(credential, None)

    def _ping(self, now_ms: float) -> None:
        self._ping_sent_ms = now_ms
        self._ping_due_ms = inf
        self._send_internal(Ping(), self._ping_answered)

    def _ping_answered(self, reply: Reply) -> None:
        if not self._read_only and not isinstance(reply.body, APIError):  # a refusal proves nothing
            self._proof_ms = self._ping_sent_ms
        self._ping_due_ms = self._ping_sent_ms + self.session_timeout_ms / 3

    def _lose(self) -> None:
        self._lost = True
        self._losses += 1
        self._set_state(State.LOST)

    def _expire(self, reason: str) -> None:
        """The session is over, and can't finish its writes."""
        if not self._lost:
            self._lose()
        for pending in self._calls.session_over(self._losses):
            self._settle(pending, SessionExpiredError("", reason, maybe_applied=pending.sent))
        for _, pending in self._refused_for_now:
            self._settle(pending, SessionExpiredError("", reason))
        self._refused_for_now.clear()
        self.session_id = SessionId(0)
        self._secret = b""
        self.session_timeout_ms = self._wanted_timeout_ms

    def _session_closed(self, _: Reply) -> None:
        self.session_id = SessionId(0)
        self.close()

    def _authenticated(self, request: AddAuth, reply: Reply) -> None:
        if isinstance(reply.body, ThrottledError):
            return  # who called hears of it; a credential that is due is told again
        if self._read_only:
            if request not in self._credentials and not isinstance(reply.body, APIError):
                self._credentials.append(request)
                self._credentials_due.append(request)  # the session has heard nothing of it
        elif request in self._credentials_due:
            self._credentials_due.remove(request)
        elif not isinstance(reply.body, APIError) and request not in self._credentials:
            self._credentials.append(request)

    def _set_state(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._actions.append(StateChanged(state))

    # ---- sending

    def _send(self, pending: Pending) -> None:
        try:
            self._out.append(self._encode(pending))
        except BadArgumentsError as error:
            self._settle(pending, error)

    def _encode(self, pending: Pending) -> bytes:
        data = self._wire.call(self._calls.as_sent(pending))
        self._calls.sent(pending)
        return data

    def _send_internal(self, request: ClientRequest, then: Then | None, *, insistent: bool = False) -> None:
        self.claim()
        pending = Pending(request, None, insistent=insistent)
        pending.internal = True
        pending.then = then
        self._calls.number(pending)
        self._send(pending)

    def _send_waiting(self) -> None:
        while (pending := self._calls.next_to_send()) is not None:
            self._send(pending)

    # ---- answers

    def _answered(self, now_ms: float, reply: Reply) -> None:
        body = reply.body
        if isinstance(body, _NOT_ATTACHED):
            self._drop(now_ms, f"refused: {body}")
            if isinstance(body, ExpiredByService):
                self._expire(body.hint)
            return
        pending = self._calls.answered(reply.xid)
        if pending is None:
            self._refused(now_ms, reply)
            return
        self._replies += 1
        zxid = reply.zxid
        if zxid > self.last_zxid:
            self.last_zxid = zxid
        if zxid > self._complete and not self._registering:
            self._complete = zxid
        if pending.then is not None:
            pending.then(reply)
        if pending.watch is not None and pending.settle is not None:
            self._watch_set(pending.request, pending.watch, reply)
        if pending.insistent and isinstance(reply.body, ThrottledError | NotReadOnlyError):
            self._refused_for_now.append((now_ms + INSIST_MS, pending))
        elif pending.settle is not None:
            self._actions.append(Settled(pending.settle, reply))
        elif pending.orphaned is not None:
            undo = pending.orphaned(reply)
            if undo is not None:
                self.call(now_ms, undo, insistent=True)

    def _refused(self, now_ms: float, reply: Reply) -> None:
        """A server that can't understand a call may say so before it answers earlier ones. Nothing else comes out of
        turn."""
        self.claim()
        pending = self._calls.refused(reply.xid) if isinstance(reply.body, APIError) else None
        if pending is None:
            self._drop(now_ms, f"the server answered call {reply.xid} out of turn")
            return
        if pending.then is not None:
            pending.then(reply)
        if pending.settle is not None:
            self._actions.append(Settled(pending.settle, reply))

    def _settle(self, pending: Pending, error: Exception) -> None:
        if pending.settle is not None:
            self._actions.append(Settled(pending.settle, error))
            pending.settle = None

    def _overdue(self, pending: Pending) -> ConnectionLossError | OperationTimeoutError:
        missing = self.why_no_server()
        text = f"no server to be had in time ({missing})" if missing else f"{self.server} did not answer in time"
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
                self.watchers.exist.add(request.path, reply.zxid, watch)
            elif not isinstance(body, APIError):
                self.watchers.data.add(request.path, reply.zxid, watch)
        elif isinstance(body, APIError):
            return
        elif isinstance(request, GetData):
            self.watchers.data.add(request.path, reply.zxid, watch)
        elif isinstance(request, GetChildren):
            self.watchers.child.add(request.path, reply.zxid, watch)

    def _register_stream(self, stream: Stream, again: int) -> None:
        self._registering += again
        self._send_internal(add_watch(stream), partial(self._stream_registered, stream, again))

    def _set_again(self, request: SetWatches, reply: Reply) -> None:
        self._registering -= 1
        if isinstance(reply.body, APIError):
            for path, notified in self.watchers.give_up(request):
                self._actions.append(Notify(notified, WatchEvent(EventType.RESYNC, path, reply.zxid)))

    def _stream_registered(self, stream: Stream, again: int, reply: Reply) -> None:
        self._registering -= again
        if isinstance(reply.body, APIError):
            self.watchers.remove_stream(stream)
            self._actions.append(Notify(stream.token, reply.body))
        else:
            self.watchers.activate(stream, self._replies, reply.zxid)


def _nothing() -> None:
    """Nobody encodes calls in another thread."""
