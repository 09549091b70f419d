"""etcd's protocol for the load generator: gRPC over HTTP/2 (RFC 9113), with header compression (RFC 7541).

    pip install 'zkensemble[bench]'       # hpack

As much of it as calls of two methods need, each on a stream of its own. Headers are sent as a good client does: once,
and then by reference. What the server's flow control and its limit of streams do not allow is an error, not a wait: a
load generator is not to be held up by them.
"""

from enum import IntEnum
from struct import Struct

from hpack import Decoder, Encoder

from wires import Wire

WINDOW_BYTES = 1 << 24  # how much etcd may send before it is told that the half of it was read
WINDOW_BYTES_DEFAULT = 65_535
FRAME_BYTES_MAX = 16_384
NO_STATUS = -1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM, END_HEADERS, PADDED, PRIORITY, ACK = 0x1, 0x4, 0x8, 0x20, 0x1

_HEAD = Struct(">IBI")  # length and kind, flags, stream
_SETTING = Struct(">HI")
_UINT32 = Struct(">I")


class Kind(IntEnum):
    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4


def frame(kind: Kind, flags: int, stream: int, payload: bytes) -> bytes:
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def field(number: int, data: bytes) -> bytes:
    """A field of bytes of a protobuf message."""
    length, size = bytearray(), len(data)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + length + data


SERIALIZABLE = bytes((7 << 3, 1))  # a true field 7: the read needs no agreement of the servers


def only_references(block: bytes) -> bool:
    """Whether all headers of this block are references to the table: then it means the same until the table changes."""
    return min(block) >= 0x80


class Etcd(Wire):
    """etcd's."""

    def __init__(self) -> None:
        settings = frame(Kind.SETTINGS, 0, 0, b"")
        wider = frame(Kind.WINDOW_UPDATE, 0, 0, _UINT32.pack(WINDOW_BYTES - WINDOW_BYTES_DEFAULT))
        self.opening = PREFACE + settings + wider
        self._encoder, self._decoder = Encoder(), Decoder()
        self._blocks: dict[str, bytes] = {}  # of each method, while our table stays as it is
        self._statuses: dict[bytes, int] = {}  # of each block, while etcd's table stays as it is
        self._sizes: list[int] = []  # of each call, in bytes that flow control counts
        self._sent = self._answered = 0
        self._may_send = WINDOW_BYTES_DEFAULT
        self._streams_max = 0  # the server's settings, which are the first answer, say how many
        self._read = 0  # bytes since the server was last told
        self._owed = b""
        self._unfinished = b""

    # ---- calls

    def get(self, xid: int, path: str) -> bytes:
        return self._call(xid, "Range", field(1, path.encode()) + SERIALIZABLE)

    def get_linearizable(self, xid: int, path: str) -> bytes:
        return self._call(xid, "Range", field(1, path.encode()))

    def set(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self._call(xid, "Put", field(1, path.encode()) + field(2, data))

    def create(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self.set(xid, floor, path, data)

    def _call(self, xid: int, method: str, message: bytes) -> bytes:
        block = self._blocks.get(method) or self._block(method)
        stream = 2 * xid - 1
        body = b"\0" + _UINT32.pack(len(message)) + message
        if len(body) > FRAME_BYTES_MAX:
            raise ValueError(f"a call of {len(body)} bytes: {FRAME_BYTES_MAX} fit in one frame; use a smaller --size")
        self._sizes.append(len(body))
        return frame(Kind.HEADERS, END_HEADERS, stream, block) + frame(Kind.DATA, END_STREAM, stream, body)

    def _block(self, method: str) -> bytes:
        block = self._encoder.encode(
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", f"/etcdserverpb.KV/{method}"),
                (":authority", "etcd"),
                ("content-type", "application/grpc"),
                ("user-agent", "zk bench"),
                ("te", "trailers"),
            ]
        )
        if only_references(block):
            self._blocks[method] = block
        else:
            self._blocks.clear()
        return block

    def before(self, calls: int) -> bytes:
        sizes = self._sizes[self._sent : self._sent + calls]
        self._sent += len(sizes)
        self._may_send -= sum(sizes)
        if self._may_send < 0 or self._sent - self._answered > self._streams_max:
            raise RuntimeError("etcd does not allow so much at a time: use a smaller --window or --size")
        owed, self._owed = self._owed, b""
        return owed

    # ---- answers

    def answers(self, data: bytes) -> list[int]:
        data = self._unfinished + data
        codes = []
        at, end = 0, len(data) - _HEAD.size
        while at <= end:
            length, flags, _ = _HEAD.unpack_from(data, at)
            kind, payload = length & 0xFF, at + _HEAD.size
            after = payload + (length >> 8)
            if after > len(data):
                break
            if kind == Kind.HEADERS:
                status = self._status(data[payload:after], flags)
                if flags & END_STREAM:
                    codes.append(status)
            elif kind == Kind.DATA:
                self._read += length >> 8
            elif kind == Kind.SETTINGS and not flags & ACK:
                codes.append(0)
                self._answered -= 1  # it is none to a call
                self._settle(data[payload:after])
            else:
                self._control(kind, flags, data[at:after])
            at = after
        self._unfinished = data[at:]
        self._answered += len(codes)
        if self._read > WINDOW_BYTES // 2:
            self._owed += frame(Kind.WINDOW_UPDATE, 0, 0, _UINT32.pack(self._read))
            self._read = 0
        return codes

    def _status(self, block: bytes, flags: int) -> int:
        """gRPC's status in these headers, NO_STATUS if there is none: so it is ahead of an answer's body."""
        known = self._statuses.get(block)
        if known is not None:
            return known
        assert flags & (END_HEADERS | PADDED | PRIORITY) == END_HEADERS, "etcd sends no such headers"
        headers = dict(self._decoder.decode(block, raw=True))
        status = int(headers.get(b"grpc-status", NO_STATUS))
        if only_references(block):
            self._statuses[block] = status
        else:
            self._statuses.clear()
        return status

    def _settle(self, payload: bytes) -> None:
        """The server's settings, which come once."""
        settings = dict(_SETTING.iter_unpack(payload))
        self._streams_max = settings.get(Setting.MAX_CONCURRENT_STREAMS, 1 << 31)
        self._encoder.header_table_size = settings.get(Setting.HEADER_TABLE_SIZE, self._encoder.header_table_size)
        assert settings.get(Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES_DEFAULT) >= FRAME_BYTES_MAX, settings
        self._owed += frame(Kind.SETTINGS, ACK, 0, b"")

    def _control(self, kind: int, flags: int, whole: bytes) -> None:
        """What the protocol says beside answers."""
        payload = whole[_HEAD.size :]
        if kind == Kind.WINDOW_UPDATE and not _HEAD.unpack_from(whole)[2]:
            self._may_send += _UINT32.unpack(payload)[0]
        elif kind == Kind.PING and not flags & ACK:
            self._owed += frame(Kind.PING, ACK, 0, payload)
        elif kind == Kind.GOAWAY:
            raise ConnectionError(f"etcd ends the connection: {payload[8:].decode(errors='replace')}")
        elif kind == Kind.RST_STREAM and any(payload):  # with 0 it may follow an answer that overtook our END_STREAM
            raise ConnectionError(f"etcd ends a call without an answer: error {_UINT32.unpack(payload)[0]} of HTTP/2")
