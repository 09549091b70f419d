"""All connections of clients: accepted, counted, given their turns, closed; and the limits that keep them in bounds.

Knows nothing of what is said on them: that is connection.py, which is to be read next.
"""

import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial

from zk.model.acl import Identity
from zk.model.events import WatchEvent
from zk.model.limits import Limits
from zk.model.record import ConnectionId
from zk.model.replies import Reply
from zk.replica.events import ClientConnected, ClientDisconnected, Event
from zk.server.connection import ClientConnection
from zk.server.latencies import Latencies
from zk.server.listener import Listener
from zk.server.poller import READ, Poller
from zk.server.stream import Stream
from zk.server.tls import TlsStream

logger = logging.getLogger(__name__)

CALLS_PER_ROUND = 2_000  # of all connections; heartbeats and other servers should not wait for more
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
        self._to_flush: list[ClientConnection] = []
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
    def connections(self) -> Collection[ClientConnection]:
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

    def answer(self, connection_id: ConnectionId, items: list[Reply | WatchEvent]) -> None:
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.answer(items)

    def close(self, connection_id: ConnectionId, reason: str) -> None:
        connection = self._connections.get(connection_id)
        if connection is not None:
            connection.close(reason)

    def flush(self) -> None:
        """One send for each connection that has something to be sent; beyond a number of them, in the next round."""
        due = self._to_flush
        self._to_flush = due[SENDS_PER_ROUND:]
        for connection in due[:SENDS_PER_ROUND]:
            connection.flush()

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

    def introduce(self, connection: ClientConnection, proved: tuple[Identity, ...]) -> None:
        """Tell the replica of a connection, and what that has `proved` beside its address."""
        connection.introduced = True
        self.step(ClientConnected(connection.id, (Identity("ip", connection.host), *proved)))

    def spoke(self, connection: ClientConnection) -> None:
        """A first call has come."""
        self._handshakes.pop(connection, None)

    def wait_for_turn(self, connection: ClientConnection) -> None:
        self._waiting[connection] = None

    def flush_later(self, connection: ClientConnection) -> None:
        if not connection.to_flush:
            connection.to_flush = True
            self._to_flush.append(connection)

    def forget(self, connection: ClientConnection) -> None:
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

    def linger(self, connection: ClientConnection) -> None:
        self._lingering[connection] = self.now_ms + LINGER_MS

    def gone(self, connection: ClientConnection) -> None:
        self._lingering.pop(connection, None)


def _due(deadlines: dict[ClientConnection, int], now_ms: int) -> list[ClientConnection]:
    due = []
    for connection, deadline_ms in deadlines.items():
        if deadline_ms > now_ms:
            break
        due.append(connection)
    return due
