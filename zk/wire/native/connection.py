"""The native protocol without I/O: received bytes go in, values come out, and the other way round.

Owns the state of one connection's framing and handshake, nothing of sessions. Read handshake.py, operations.py and
replies.py for what the bytes mean; docs/protocol.md tells it to people who write a client.
"""

from collections.abc import Sequence
from functools import lru_cache

import zk
from zk.model.errors import APIError, BadArgumentsError, MarshallingError
from zk.model.events import WatchEvent
from zk.model.limits import DEFAULT_LIMITS, Limits
from zk.model.record import Zxid
from zk.model.replies import Reply
from zk.model.requests import Call, Malformed
from zk.wire.face import Face
from zk.wire.framing import Frame, FrameReader, ProtocolError
from zk.wire.native.frequent import LINEARIZABLE, CallReader
from zk.wire.native.handshake import (
    FEATURES,
    MAGIC,
    VERSION,
    VERSION_MIN,
    ClientHello,
    ServerHello,
    announced,
    decode_client_hello,
    decode_server_hello,
    encode_client_hello,
    encode_server_hello,
    raise_farewell,
)
from zk.wire.native.operations import WRITES, OperationDecoder, operation_fields
from zk.wire.native.replies import FAREWELL_XID, decode_item, encode_farewell, encode_items, reply_bytes_max
from zk.wire.packing import pack

REPLY_BYTES_MAX = 64 * 1024 * 1024
"""What a client takes from a server at most, whatever limits the server announces."""

_operation_decoder = lru_cache(maxsize=8)(OperationDecoder)  # one for all connections with the same limits
_call_reader = lru_cache(maxsize=8)(CallReader)


class ServerConnection(Face):
    """The server's end of one connection.

    `receive` gives the calls in their order. For the bytes of the client's hello it gives none; `greeting` is then what
    to send. A call that is framed well but can't be understood (an unknown operation, a wrong type, a value over its
    limit) becomes a call of Malformed, so that it is refused in its turn. All else that a client may do wrong raises
    ProtocolError.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.client: ClientHello | None = None
        self._limits = limits
        self._reply_bytes_max = reply_bytes_max(limits)
        self._operations = _operation_decoder(limits)
        self._reader = FrameReader(limits.frame_bytes_max)
        self._frequent = _call_reader(limits.path_length_max, limits.data_bytes_max, limits.frame_bytes_max)
        self._magic = MAGIC  # what of it has not arrived yet
        self._greeting = b""

    @property
    def handshake_done(self) -> bool:
        """Whether the client's hello has been understood."""
        return self.client is not None

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished call has arrived."""
        return self._reader.buffered_bytes

    def receive(self, data: bytes) -> list[Call]:
        """Take in what came from the client. Raises ProtocolError: send its farewell, then close."""
        calls: list[Call] = []
        if self._magic:
            self._magic, data = _strip_magic(self._magic, data)
        elif self.client is not None and self._reader.buffered_bytes == 0:
            end = self._frequent.read(data, calls)
            if end == len(data):
                return calls
            data = data[end:]
        try:
            frames = self._reader.feed(data)
            if self.client is None and frames:
                self._greet(frames.pop(0))
            self._add_calls(frames, calls)
        except ProtocolError as error:
            raise self._end(MarshallingError("", error.reason)) from error
        except APIError as refusal:
            raise self._end(refusal) from refusal
        return calls

    def _add_calls(self, frames: Sequence[Frame], calls: list[Call]) -> None:
        for frame in frames:
            if len(frame) < 3:
                raise MarshallingError("", "a call must be [xid, level, operation, field, …]")
            xid, level, op = frame[0], frame[1], frame[2]
            if type(xid) is not int or xid >> 63:  # compiled code compares with no number of 63 bits cheaply
                raise MarshallingError("", "a call's xid must be an integer from 0 to 2**63 - 1")
            try:
                request = self._operations.request(op, frame[3:])
                if type(level) is not int or (level >> 63 and level != LINEARIZABLE):
                    raise MarshallingError("", "a call's level must be an integer from -1 to 2**63 - 1")
                if level == 0:
                    calls.append(Call(xid, request))
                elif level == LINEARIZABLE:
                    if op in WRITES:
                        raise MarshallingError("", "the level of a write is its floor, an xid from 0 on")
                    calls.append(Call(xid, request, 0, Zxid(0), True))
                elif op in WRITES:
                    calls.append(Call(xid, request, level))
                else:
                    calls.append(Call(xid, request, 0, Zxid(level)))
            except APIError as error:
                calls.append(Call(xid, Malformed(error.without_traceback())))

    def greeting(self) -> bytes:
        """What the handshake has to say to the client now; empty before its hello, and once it was given out."""
        greeting, self._greeting = self._greeting, b""
        return greeting

    def send(self, items: list[Reply | WatchEvent]) -> bytes:
        """The bytes of answers and events, in this order."""
        return encode_items(items, self._reply_bytes_max)

    def _end(self, error: APIError) -> ProtocolError:
        """The end of the connection, with `error` for the client to read; the server's magic goes before all else."""
        opening = self.greeting() if self.client else MAGIC
        return ProtocolError(error.hint, opening + encode_farewell(error))

    def _greet(self, frame: Frame) -> None:
        self.client = decode_client_hello(frame)
        hello = ServerHello(
            min(VERSION, self.client.version), f"zk {zk.__version__}", FEATURES, announced(self._limits)
        )
        self._greeting = encode_server_hello(hello)


class ClientConnection:
    """The client's end of one connection: send `hello` first, then calls; calls need not wait for the greeting."""

    def __init__(self, name: str) -> None:
        self.server: ServerHello | None = None
        self._name = name
        self._reader = FrameReader(REPLY_BYTES_MAX)
        self._magic = MAGIC

    def hello(self) -> bytes:
        """The first bytes to send."""
        return encode_client_hello(ClientHello(VERSION, VERSION_MIN, self._name, FEATURES))

    def call(self, call: Call) -> bytes:
        """The bytes of one call. BadArgumentsError if it can't be sent: the server would close the connection."""
        request = call.request
        assert not call.floor or not (call.linearizable or call.at_least), "a floor is for writes, the others for reads"
        level = call.floor or (LINEARIZABLE if call.linearizable else call.at_least)
        try:
            encoded = pack((call.xid, level, *operation_fields(request)))
        except (OverflowError, ValueError, TypeError, AttributeError) as error:  # arguments of types that none has
            raise BadArgumentsError("", f"this can't be sent: {error}") from error
        bytes_max = self.server.limits.frame_bytes_max if self.server else DEFAULT_LIMITS.frame_bytes_max
        if len(encoded) > bytes_max:
            raise BadArgumentsError("", f"the request has {len(encoded)} bytes; the server takes at most {bytes_max}")
        return encoded

    def receive(self, data: bytes) -> list[ServerHello | Reply | WatchEvent]:
        """Take in what came from the server; the first item is its greeting. Raises ProtocolError: close."""
        if self._magic:
            self._magic, data = _strip_magic(self._magic, data)
        frames = self._reader.feed(data)
        items: list[ServerHello | Reply | WatchEvent] = []
        if self.server is None and frames:
            self.server = decode_server_hello(frames.pop(0))
            items.append(self.server)
        for frame in frames:
            if frame and frame[0] == FAREWELL_XID:
                raise_farewell(frame)
            try:
                items.append(decode_item(frame))
            except (TypeError, ValueError) as error:
                raise ProtocolError(f"the server sent something that is no answer: {error}") from error
        return items


def _strip_magic(awaited: bytes, data: bytes) -> tuple[bytes, bytes]:
    """What is still awaited of the magic, and `data` without its part of it."""
    part = data[: len(awaited)]
    if not awaited.startswith(part):
        raise ProtocolError("the other side does not speak this protocol: the connection must begin with its magic")
    return awaited[len(part) :], data[len(part) :]
