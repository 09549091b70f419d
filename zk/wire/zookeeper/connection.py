"""ZooKeeper's protocol without I/O, from the server's side: received bytes go in, calls come out, and the other way
round.

Owns the state of one connection's framing; which of its calls have no answer yet stands in unanswered.py. Read
requests.py and replies.py for what the bytes mean.
"""

from functools import lru_cache

from librt.strings import BytesWriter, read_i32_be

from zk.model.events import WatchEvent
from zk.model.limits import DEFAULT_LIMITS, Limits
from zk.model.replies import Reply
from zk.model.requests import Call
from zk.wire.face import Face
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper.jute import Reader
from zk.wire.zookeeper.numbers import CONNECT_REQUEST_BYTES_MIN
from zk.wire.zookeeper.replies import event_bytes
from zk.wire.zookeeper.requests import RequestDecoder, connect
from zk.wire.zookeeper.unanswered import Unanswered

CONNECT_REQUEST_BYTES_MAX = 0xFFFF
"""So that a connect request can be told from everything else that a connection may begin with."""

_HEAD_BYTES = 8  # what a request has at the least: its xid and its opcode

_request_decoder = lru_cache(maxsize=8)(RequestDecoder)  # one for all connections with the same limits


def begins(head: bytes) -> bool | None:
    """Whether a connection that begins with `head` (not empty) is a ZooKeeper client's; None: too little to tell."""
    if head[0] != 0:
        return False
    if len(head) < 4:
        return None
    return CONNECT_REQUEST_BYTES_MIN <= read_i32_be(head, 0) <= CONNECT_REQUEST_BYTES_MAX


class ServerConnection(Face):
    """The server's end of one connection.

    `receive` gives the calls in their order. A call that is framed well but can't be understood becomes a call of
    Malformed, so that it is refused in its turn. All else that a client may do wrong raises ProtocolError.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._decoder = _request_decoder(limits)
        self._frame_bytes_max = limits.zookeeper_frame_bytes_max
        self._connected = False
        self._unanswered = Unanswered()
        self._reader = Reader()
        self._unfinished = bytearray()
        self._wanted_bytes = 0  # how long `_unfinished` must be before it is worth looking at

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished request has arrived."""
        return len(self._unfinished)

    def receive(self, data: bytes) -> list[Call]:
        """Take in what came from the client. Raises ProtocolError: close."""
        unfinished = self._unfinished
        if unfinished:
            unfinished += data
            if len(unfinished) < self._wanted_bytes:
                return []
            data = bytes(unfinished)
            unfinished.clear()
        calls: list[Call] = []
        at, end = 0, len(data)
        if not self._connected:
            at = self._connect(data, calls)
            if at == 0:
                self._keep(data)
                return calls
        reader = self._reader
        while end - at >= 12:  # length, xid, opcode
            length: int = read_i32_be(data, at)
            if not _HEAD_BYTES <= length <= self._frame_bytes_max:
                raise self._wrong_length(length)
            next_at = at + 4 + length
            if next_at > end:
                break
            reader.begin(data, at + 8, next_at)
            decoded = self._decoder.decode(read_i32_be(data, at + 4), reader, self._unanswered)
            if calls:
                calls += decoded
            else:
                calls = decoded
            at = next_at
        reader.begin(b"", 0, 0)  # else it would keep what it read
        if at < end:
            self._keep(data[at:] if at else data)
        return calls

    def greeting(self) -> bytes:
        """Nothing is said before the answer to the connect request."""
        return b""

    def send(self, items: list[Reply | WatchEvent]) -> bytes:
        """The bytes of answers and events, in this order."""
        out = BytesWriter()
        for item in items:
            if isinstance(item, Reply):
                self._unanswered.answer(out, item)
            else:
                out.write(event_bytes(item))
        return out.getvalue()

    def _connect(self, data: bytes, calls: list[Call]) -> int:
        """Take the connect request off the beginning of `data`, if all of it is there; where it ends."""
        if len(data) < 4:
            return 0
        length: int = read_i32_be(data, 0)
        if not CONNECT_REQUEST_BYTES_MIN <= length <= CONNECT_REQUEST_BYTES_MAX:
            raise ProtocolError(f"a connection begins with a connect request, and none has {length} bytes")
        end = 4 + length
        if len(data) < end:
            return 0
        calls.append(connect(data[4:end], self._unanswered))
        self._connected = True
        return end

    def _keep(self, data: bytes) -> None:
        """The beginning of a request; what its length says is looked at before anything is gathered for it."""
        self._wanted_bytes = 4
        if len(data) >= 4:
            length: int = read_i32_be(data, 0)
            if self._connected and not _HEAD_BYTES <= length <= self._frame_bytes_max:
                raise self._wrong_length(length)
            self._wanted_bytes = 4 + length
        self._unfinished += data

    def _wrong_length(self, length: int) -> ProtocolError:
        return ProtocolError(
            f"a request says it has {length} bytes; it must have {_HEAD_BYTES} at the least, and "
            f"zookeeper_frame_bytes_max is {self._frame_bytes_max}"
        )
