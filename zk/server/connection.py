"""One client's connection: recognised, read, answered, ended.

It speaks through a face, which only translates; faces.py says which. Back-pressure works in one way: calls that may not
be handed over yet wait in `pending`, and while anything waits there, or an answer has not been taken by the socket, the
connection is not read. Nothing here looks into a call. Read faces.py and stream.py next.
"""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from zk.model.events import WatchEvent
from zk.model.record import ConnectionId, Zxid
from zk.model.replies import Reply
from zk.model.requests import Call, ClientRequest
from zk.replica.events import ClientReceived
from zk.server.faces import open_face
from zk.server.latencies import SAMPLES_MASK, Latencies
from zk.server.poller import READ, WRITE, Source
from zk.server.stream import Stream
from zk.server.tls import TlsStream
from zk.wire.face import Face
from zk.wire.framing import ProtocolError

if TYPE_CHECKING:
    from zk.server.clients import Clients  # which makes connections of what it accepts

logger = logging.getLogger(__name__)

CALLS_PER_TURN = 256  # of one connection in one round
CALLS_FIRST_SLICE = 4  # handed over before the size of the answers is known; doubled as long as they are small
REPLY_BYTES_PER_TURN = 256 * 1024  # to one connection; what its next calls are answered with has to wait


class ClientConnection(Source):
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

    def __init__(self, clients: "Clients", connection_id: ConnectionId, stream: Stream | TlsStream, host: str) -> None:
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
        self._say(self._clients.answer_word(word).encode(errors="replace"))  # a directory's name may be no text
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

    def answer(self, items: list[Reply | WatchEvent]) -> None:
        assert self._face is not None, "an answer before any call"
        replies = 0
        for item in items:
            if isinstance(item, Reply):
                replies += 1
            self.last_zxid = item.zxid
        self.outstanding -= replies
        self._say(self._face.send(items))
        self.sent += len(items)
        self.answered_at_ms = self._clients.now_ms
        if self._timed:
            self._timed -= replies
            if self._timed <= 0:
                self._timed = 0
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
        if self._stream.failure:
            self._clients.complain_of(f"TLS with {self.host}: {self._stream.failure}")
        self._clients.gone(self)
        self._clients.poller.unregister(self)
        self._stream.close()
        self._face = None
