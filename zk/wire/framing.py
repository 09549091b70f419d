"""Cutting a stream of bytes into MessagePack arrays, from a sender who may be anybody.

Owns the bound on what an unfinished array may occupy. What an array means is its caller's business.
"""

from zk.model.errors import ZKError
from zk.wire.packing import MALFORMED, OutOfData, Walker, new_walker, unpack, unpack_all

Frame = tuple[object, ...]

SHORT_BYTES = 512
"""Bytes received, up to here, are first taken for exactly one array: the usual case with a caller who waits."""


class ProtocolError(ZKError):
    """The other side does not speak the protocol. Nothing more can be read: send `farewell` (if any), close."""

    def __init__(self, reason: str, farewell: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.farewell = farewell


class FrameReader:
    """Turns received bytes into arrays of at most `frame_bytes_max` bytes.

    Received bytes are first only walked over. An array is built when all of it is there; of an unfinished one nothing
    is kept but its bytes. So what hostile headers promise ("an array of 2**32 arrays of …") takes no memory.
    """

    def __init__(self, frame_bytes_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._short_bytes = min(SHORT_BYTES, frame_bytes_max)
        self._unfinished = bytearray()
        self._walker: Walker | None = None  # has walked over `_unfinished`; none while that is empty, it takes 45 KB

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished array has arrived."""
        return len(self._unfinished)

    def feed(self, data: bytes) -> list[Frame]:
        """The arrays that `data` completes. ProtocolError if it can't be the beginning of any, or goes beyond a limit;
        what was complete before that place is lost with the connection."""
        received: bytes | bytearray = data
        walker = self._walker
        if walker is not None:
            self._unfinished += data
            received = self._unfinished
        elif len(data) <= self._short_bytes and (frame := _exactly_one(data)) is not None:
            return [frame]
        else:
            walker = new_walker()
        try:
            end = self._walk(walker, data)
            if len(received) - end > self._frame_bytes_max:
                raise self._too_long()
            if end == 0:
                self._keep(received, walker)
                return []
            values = list(unpack_all(received[:end]))
            if set(map(type, values)) != {tuple}:
                raise _no_array(next(value for value in values if type(value) is not tuple))
            rest = received[end:]
            if rest:
                walker = new_walker()
                self._walk(walker, rest)
            self._keep(rest, walker)
        except MALFORMED as error:
            raise ProtocolError(f"not MessagePack: {str(error)[:200] or type(error).__name__}") from error
        return values

    def _keep(self, unfinished: bytes | bytearray, walker: Walker) -> None:
        if unfinished is not self._unfinished:
            self._unfinished = bytearray(unfinished)
        self._walker = walker if unfinished else None

    def _walk(self, walker: Walker, data: bytes | bytearray) -> int:
        """Where the last complete value ends, counted from where the walker began; 0 if there is none."""
        end = 0
        walker.feed(data)
        skip, tell = walker.skip, walker.tell
        try:
            while True:
                skip()
                begin, end = end, tell()
                if end - begin > self._frame_bytes_max:
                    raise self._too_long()
        except OutOfData:
            return end

    def _too_long(self) -> ProtocolError:
        return ProtocolError(
            f"a frame has more than {self._frame_bytes_max} bytes, the limit for one (frame_bytes_max)"
        )


def _exactly_one(data: bytes) -> Frame | None:
    try:
        value = unpack(data)
    except MALFORMED:
        return None
    if type(value) is not tuple:
        raise _no_array(value)
    return value


def _no_array(value: object) -> ProtocolError:
    return ProtocolError(f"expected an array, not a value of type {type(value).__name__}")
