"""The connections of clients: accepted, recognised, read, answered, closed; and the limits that keep them in bounds.

Every connection speaks through a face, which only translates; faces.py says which. Back-pressure works in one way:
calls that may not be handed over yet wait in `pending`, and while anything waits there, or an answer has not been
taken by the socket, the connection is not read. Nothing here looks into a call. Read faces.py and stream.py next.
"""

import logging
import socket
import ssl
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from functools import partial

from zk.model.acl import Identity
from zk.model.events import WatchEvent
from zk.model.limits import Limits
from zk.model.record import ConnectionId, Zxid
from zk.model.replies import Reply
from zk.model.requests import Call, ClientRequest
from zk.replica.events import ClientConnected, ClientDisconnected, ClientReceived, Event
from zk.server.faces import Face, open_face
from zk.server.latencies import SAMPLES_MASK, Latencies
from zk.server.listener import Listener
from zk.server.poller import READ, WRITE, Poller
from zk.server.stream import Stream
from zk.server.tls import TlsStream
from zk.wire.framing import ProtocolError

logger = logging.getLogger(__name__)

CALLS_PER_ROUND = 2_000  # of all connections; heartbeats and other servers should not wait for more
CALLS_PER_TURN = 256  # of one connection in one round
CALLS_FIRST_SLICE = 4  # handed over before the size of the answers is known; doubled as long as they are small
REPLY_BYTES_PER_TURN = 256 * 1024  # to one connection; what its next calls are answered with has to wait
SENDS_PER_ROUND = 128  # so that an event with ten thousand watchers does not keep everyone else waiting
HANDSHAKES_PER_ROUND = 16  # steps of TLS handshakes; each may take a millisecond
REASONS_PER_COMPLAINT = 20  # lines of the log, and of memory, that hostile connections can take in a second
LINGER_MS = 1_000  # how long a closed connection may take to take its last bytes


class Clients:
    """All client connections of one server. Its methods are called between two waits of the runtime, never
    concurrently.

    `now_ms` is kept up to date by the runtime. `step` feeds an event to the replica and performs its effects, `post`
    does so later in the round. `backlogged` says whether the replica wants to be left alone with new calls for a
    while.
    """

    def __init__(
        self,
        poller: Poller,
        limits: Limits,
        step: Callable[[Event], None],
        post: Callable[[Event], None],
        backlogged: Callable[[], bool],
    ) -> None:
        self.poller = poller
        self.limits = limits
        self.step = step
        self.post = post
        self.now_ms = 0
        self.calls_left = CALLS_PER_ROUND  # in this round
        self.taking = True  # in this round: whether the replica was not backlogged when it began
        self.handshakes_left = HANDSHAKES_PER_ROUND
        self.draining = False
        self._backlogged = backlogged
        self._listeners: list[Listener] = []
        self._connections: dict[ConnectionId, ClientConnection] = {}
        self._per_address: Counter[str] = Counter()
        self._newest = ConnectionId(0)
        self._handshakes: dict[ClientConnection, int] = {}  # until when a first call must have come; oldest first
        self._lingering: dict[ClientConnection, int] = {}  # when they are closed at the latest; oldest first
        self._waiting: dict[ClientConnection, None] = {}  # with calls that can be handed over in the next round
        self._to_flush: deque[ClientConnection] = deque()
        self._refused: Counter[str] = Counter()  # by reason, since the last complaint about them
        self._complain_at_ms = 0
        self.accepted = 0  # connections so far
        self.refused = 0
        self.latencies = Latencies()
        self._received_before = 0  # calls, on connections that are no more; less what the operator does not want told
        self._sent_before = 0  # answers and events, likewise
        self.answer_word: Callable[[str], str] = lambda word: ""  # set by who knows the answers

    # ---- what the runtime asks and tells

    @property
    def busy(self) -> bool:
        """Whether there is work that does not wait for any socket."""
        return bool(self._to_flush) or (bool(self._waiting) and not self._backlogged())

    @property
    def outstanding(self) -> int:
        """How many calls the replica has not answered yet."""
        return sum(connection.outstanding for connection in self._connections.values())

    @property
    def connections(self) -> Collection["ClientConnection"]:
        """Those that are open."""
        return self._connections.values()

    @property
    def received(self) -> int:
        """How many calls have come, since the operator last set it back."""
        return self._received_before + sum(connection.received for connection in self._connections.values())

    @property
    def sent(self) -> int:
        """How many answers and events were sent, likewise."""
        return self._sent_before + sum(connection.sent for connection in self._connections.values())

    def reset_figures(self) -> None:
        """Count anew from here, all connections together."""
        self._received_before -= self.received
        self._sent_before -= self.sent
        self.latencies.reset()

    def reset_figures_of_connections(self) -> None:
        """Count anew from here, for each connection."""
        for connection in self._connections.values():
            self._received_before += connection.received
            self._sent_before += connection.sent
            connection.received = connection.sent = 0
            connection.latencies.reset()

    @property
    def empty(self) -> bool:
        """Whether no connection is left, not even one that is being closed."""
        return not self._connections and not self._lingering

    def listen(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Take connections from there; with `tls`, encrypted ones."""
        self._listeners.append(Listener(self.poller, listening, partial(self._accepted, tls)))

    def tick(self) -> None:
        """Time has passed: end what takes too long."""
        now_ms = self.now_ms
        for listener in self._listeners:
            listener.tick(now_ms)
        for connection in _due(self._handshakes, now_ms):
            connection.close(f"no request within {self.limits.handshake_timeout_ms} ms (handshake_timeout_ms)")
        for connection in _due(self._lingering, now_ms):
            connection.drop("it did not take its last bytes")
        if self._refused and now_ms >= self._complain_at_ms:
            self._complain_at_ms = now_ms + 1_000
            for reason, count in self._refused.items():
                logger.warning("refused %d connections: %s", count, reason)
            self._refused.clear()

    def begin_round(self) -> None:
        """First come those whose calls had to wait in the round before."""
        self.calls_left = CALLS_PER_ROUND
        self.handshakes_left = HANDSHAKES_PER_ROUND
        self.taking = not self._backlogged()
        if self._waiting and self.taking:
            waiting, self._waiting = self._waiting, {}
            for connection in waiting:
                connection.hand_over()

    def answer(self, connection_id: ConnectionId, items: Sequence[Reply | WatchEvent]) -> None:
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.answer(items)

    def close(self, connection_id: ConnectionId, reason: str) -> None:
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.close(reason)

    def flush(self) -> None:
        """One send for each connection that has something to be sent; beyond a number of them, in the next round."""
        for _ in range(min(len(self._to_flush), SENDS_PER_ROUND)):
            self._to_flush.popleft().flush()

    def drain(self) -> None:
        """Take no more connections and read no more calls; what the replica has is still answered."""
        self.draining = True
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections.values()):
            connection.pending = ()
            connection.flush()

    def close_all(self, reason: str) -> None:
        for connection in list(self._connections.values()):
            connection.close(reason)

    def drop_all(self) -> None:
        """Close everything at once."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in [*self._connections.values(), *self._lingering]:
            connection.drop("the server stops")

    # ---- what the connections tell

    def _accepted(self, tls: ssl.SSLContext | None, accepted: socket.socket, host: str) -> None:
        limits = self.limits
        if len(self._connections) + len(self._lingering) >= limits.connections_max:
            self._refuse(accepted, f"connections_max is {limits.connections_max}")
        elif self._per_address[host] >= limits.connections_per_address_max:
            self._refuse(
                accepted, f"connections_per_address_max is {limits.connections_per_address_max}, {host} has them"
            )
        else:
            self.accepted += 1
            self._newest = ConnectionId(self._newest + 1)
            stream = Stream(accepted) if tls is None else TlsStream(accepted, tls)
            connection = ClientConnection(self, self._newest, stream, host)
            self._connections[connection.id] = connection
            self._per_address[host] += 1
            self._handshakes[connection] = self.now_ms + limits.handshake_timeout_ms
            self.poller.register(connection, READ)
            if tls is None:
                self.introduce(connection, ())

    def _refuse(self, accepted: socket.socket, reason: str) -> None:
        self.complain_of(reason)
        accepted.close()

    def complain_of(self, reason: str) -> None:
        """A connection could not be served; the operator hears of it, but not of each by itself."""
        self.refused += 1
        if len(self._refused) >= REASONS_PER_COMPLAINT and reason not in self._refused:
            reason = "other reasons"
        self._refused[reason] += 1

    def introduce(self, connection: "ClientConnection", proved: tuple[Identity, ...]) -> None:
        """Tell the replica of a connection, and what that has `proved` beside its address."""
        connection.introduced = True
        self.step(ClientConnected(connection.id, (Identity("ip", connection.host), *proved)))

    def spoke(self, connection: "ClientConnection") -> None:
        """A first call has come."""
        self._handshakes.pop(connection, None)

    def wait_for_turn(self, connection: "ClientConnection") -> None:
        self._waiting[connection] = None

    def flush_later(self, connection: "ClientConnection") -> None:
        if not connection.to_flush:
            connection.to_flush = True
            self._to_flush.append(connection)

    def forget(self, connection: "ClientConnection") -> None:
        """No call or answer concerns this connection any more."""
        if self._connections.pop(connection.id, None) is not None:
            self._received_before += connection.received
            self._sent_before += connection.sent
            self._per_address[connection.host] -= 1
            if not self._per_address[connection.host]:
                del self._per_address[connection.host]
        self._handshakes.pop(connection, None)
        self._waiting.pop(connection, None)
        if connection.introduced:
            self.post(ClientDisconnected(connection.id))

    def linger(self, connection: "ClientConnection") -> None:
        self._lingering[connection] = self.now_ms + LINGER_MS

    def gone(self, connection: "ClientConnection") -> None:
        self._lingering.pop(connection, None)


def _due(deadlines: dict["ClientConnection", int], now_ms: int) -> list["ClientConnection"]:
    due = []
    for connection, deadline_ms in deadlines.items():
        if deadline_ms > now_ms:
            break
        due.append(connection)
    return due


class ClientConnection:
    """One connection: read → face → pending → replica → face → sent.

    It is open, then (after `close`) closing: nothing more is read as a call, what was answered is sent, then the other
    side's end is awaited for a moment, lest a reset eat the answers; then (after `drop`) it is gone.
    """

    __slots__ = (
        "_clients",
        "_closing",
        "_ended",
        "_face",
        "_gone",
        "_head",
        "_interest",
        "_silent",
        "_stream",
        "_timed",
        "_timed_at_ms",
        "accepted_at_ms",
        "answered_at_ms",
        "host",
        "id",
        "introduced",
        "last_request",
        "last_xid",
        "last_zxid",
        "latencies",
        "outstanding",
        "pending",
        "received",
        "sent",
        "to_flush",
    )

    def __init__(self, clients: Clients, connection_id: ConnectionId, stream: Stream | TlsStream, host: str) -> None:
        self._clients = clients
        self._stream = stream
        self._head = b""  # what came before the face was known
        self._face: Face | None = None
        self._interest = READ
        self._closing = False
        self._ended = False  # our side of the connection
        self._gone = False
        self._silent = True  # until the first call
        self.id = connection_id
        self.host = host
        self.introduced = False  # to the replica: with TLS not before the handshake is done
        self.pending: Sequence[Call] = ()  # decoded, not handed over yet
        self.outstanding = 0  # handed over, not answered yet
        self.to_flush = False
        # What operators are told of it.
        self.received = self.sent = 0
        self.latencies = Latencies()
        self._timed = 0  # how many answers must come until that of the call whose time is taken; 0: none is timed
        self._timed_at_ms = 0
        self.accepted_at_ms = self.answered_at_ms = clients.now_ms
        self.last_request: type[ClientRequest] | None = None
        self.last_xid = 0
        self.last_zxid = Zxid(0)  # of the last answer

    @property
    def peer(self) -> str:
        """The client's address and port."""
        return self._stream.peer

    @property
    def interest(self) -> int:
        """READ and WRITE: what is waited for."""
        return self._interest

    def fileno(self) -> int:
        return self._stream.fileno()

    # ---- in

    def on_ready(self, ready: int) -> None:
        if self._gone:
            return
        if ready & WRITE:
            self._clients.flush_later(self)
        if ready & READ and self._clients.calls_left > 0:
            if not self.introduced:
                if self._clients.handshakes_left == 0:
                    return  # it is said again that this one is ready
                self._clients.handshakes_left -= 1
            data = self._stream.receive()
            if data == b"":
                if self._stream.failure:
                    self._clients.complain_of(f"TLS with {self.host}: {self._stream.failure}")
                self.drop("the client has gone")
            elif data is not None and not self._closing:
                self._decode(data)

    def _decode(self, data: bytes) -> None:
        try:
            if self._face is None:
                if not self.introduced:
                    assert isinstance(self._stream, TlsStream), "others are introduced at once"
                    self._clients.introduce(self, self._stream.identities)
                data = self._head = self._head + data
                opened = open_face(data, self._clients.limits)
                if opened is None:
                    return
                if isinstance(opened, str):
                    self._answer_word(opened)
                    return
                self._face = opened
                self._head = b""
            calls = self._face.receive(data)
        except ProtocolError as error:
            if error.farewell:
                self._stream.queue(error.farewell)
            self._clients.complain_of(f"{self.host}: {error.reason}")
            self.close(error.reason)
            return
        if self._silent and (greeting := self._face.greeting()):
            self._say(greeting)
        if calls:
            if self._silent:
                self._silent = False
                self._clients.spoke(self)
            if not (self._timed or self.received & SAMPLES_MASK):
                self._timed = self.outstanding + len(self.pending) + 1
                self._timed_at_ms = self._clients.now_ms
            self.received += len(calls)
            last = calls[-1]
            self.last_xid = last.xid
            self.last_request = type(last.request)
            self.pending = [*self.pending, *calls] if self.pending else calls
            self.hand_over()

    def _answer_word(self, word: str) -> None:
        self.received += 1
        self._say(self._clients.answer_word(word).encode())
        self.sent += 1
        self.close(f"the word {word!r} was answered")

    def hand_over(self) -> None:
        """Give the replica as many calls as is fair in one round, and as the answers to earlier ones allow."""
        clients = self._clients
        limits = clients.limits
        pending = self.pending
        count = len(pending)
        if (
            count <= CALLS_FIRST_SLICE
            and clients.taking
            and count <= clients.calls_left
            and self.outstanding + count < limits.outstanding_requests_max
            and self._interest == READ
            and not self._stream.unsent_bytes
            and not self._closing
        ):  # nearly always, of clients that wait for their answers
            clients.calls_left -= count
            self.outstanding += count
            self.pending = ()
            clients.step(ClientReceived(self.id, pending))
            return
        slice_calls = CALLS_FIRST_SLICE
        left = min(CALLS_PER_TURN, clients.calls_left) if clients.taking else 0
        clients.calls_left -= min(left, count)
        while self.pending and left > 0 and self._may_hand_over:
            count = min(slice_calls, left, limits.outstanding_requests_max - self.outstanding)
            pending = self.pending
            calls, self.pending = (pending, ()) if len(pending) <= count else (pending[:count], pending[count:])
            self.outstanding += len(calls)
            clients.step(ClientReceived(self.id, calls))
            left -= len(calls)
            slice_calls *= 2
        if self.pending or self._full or self._interest != READ:
            clients.flush_later(self)  # which decides whether the socket is read

    @property
    def _full(self) -> bool:
        """Whether answers must come before more calls may."""
        return self.outstanding >= self._clients.limits.outstanding_requests_max

    @property
    def _may_hand_over(self) -> bool:
        return not self._closing and not self._full and self._stream.unsent_bytes < REPLY_BYTES_PER_TURN

    # ---- out

    def answer(self, items: Sequence[Reply | WatchEvent]) -> None:
        assert self._face is not None, "an answer before any call"
        replies = list(map(type, items)).count(Reply)
        self.outstanding -= replies
        self._say(self._face.send(items))
        self.sent += len(items)
        self.last_zxid = items[-1].zxid
        self.answered_at_ms = self._clients.now_ms
        if self._timed:
            self._timed = max(self._timed - replies, 0)
            if not self._timed:
                elapsed_ms = self.answered_at_ms - self._timed_at_ms
                self.latencies.took(elapsed_ms)
                self._clients.latencies.took(elapsed_ms)

    def _say(self, data: bytes) -> None:
        self._stream.queue(data)
        if not self.to_flush:
            self._clients.flush_later(self)
        if self._interest & WRITE and self._stream.unsent_bytes > self._clients.limits.send_buffer_bytes_max:
            logger.warning("closing the connection of %s: it does not read (send_buffer_bytes_max)", self.host)
            self.drop("it does not read")

    def flush(self) -> None:
        """Send what there is, and then wait for what is to be waited for."""
        self.to_flush = False
        if self._gone:
            return
        stream = self._stream
        if stream.unsent_bytes:
            stream.flush()
        if stream.broken:
            self.drop("the client has gone")
            return
        full = self.outstanding >= self._clients.limits.outstanding_requests_max
        if stream.unsent_bytes:
            interest = WRITE
        elif self._closing:
            if not self._ended:
                self._ended = True
                stream.end()
            interest = READ
        else:
            interest = READ
            if self.pending and self._may_hand_over:
                self._clients.wait_for_turn(self)
                interest = 0
            elif self.pending or full or self._clients.draining:
                interest = 0
        if interest != self._interest:
            self._interest = interest
            self._clients.poller.modify(self, interest)

    # ---- the end

    def close(self, reason: str) -> None:
        """Send what was given out before, then end the connection."""
        if not self._closing:
            logger.debug("connection %d of %s: %s", self.id, self.host, reason)
            self._closing = True
            self.pending = ()
            self._clients.forget(self)
            self._clients.linger(self)
            self._clients.flush_later(self)

    def drop(self, reason: str) -> None:
        """End the connection at once."""
        if self._gone:
            return
        if not self._closing:
            logger.debug("connection %d of %s: %s", self.id, self.host, reason)
            self._closing = True
            self._clients.forget(self)
        self._gone = True
        self.pending = ()
        self._clients.gone(self)
        self._clients.poller.unregister(self)
        self._stream.close()
        self._face = None
