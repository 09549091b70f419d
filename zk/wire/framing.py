"""Cutting a stream of bytes into MessagePack arrays, from a sender who may be anybody.

Owns the bound on what an unfinished array may occupy. What an array means is its caller's business.
"""

from zk.model.errors import ZKError
from zk.wire.packing import MALFORMED, OutOfData, StreamUnpacker, stream_unpacker

Frame = tuple[object, ...]


class ProtocolError(ZKError):
    """The other side does not speak the protocol. Nothing more can be read: send `farewell` (if any), close."""

    def __init__(self, reason: str, farewell: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.farewell = farewell


class FrameReader:
    """Turns received bytes into arrays of at most `frame_bytes_max` bytes and, at any depth, `array_items_max` items.

    Between two calls it keeps the bytes of the last, unfinished array and how far they have been walked over; what
    their headers promise ("2,000 arrays of 2,000 arrays …") is never kept as objects.
    """

    def __init__(self, frame_bytes_max: int, array_items_max: int) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._array_items_max = array_items_max
        self._unfinished = bytearray()
        self._skimmer: StreamUnpacker | None = None  # has walked over `_unfinished`, without building anything

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished array has arrived."""
        return len(self._unfinished)

    def feed(self, data: bytes) -> list[Frame]:
        """The arrays that `data` completes. ProtocolError if it can't be the beginning of any, or goes beyond a limit;
        what was complete before that place is lost with the connection."""
        if self._skimmer is not None:
            return self._continue(self._skimmer, data)
        if len(data) > self._frame_bytes_max:
            step = self._frame_bytes_max
            return [frame for at in range(0, len(data), step) for frame in self.feed(data[at : at + step])]
        frames: list[Frame] = []
        end = 0
        unpacker = stream_unpacker(self._frame_bytes_max, self._array_items_max)
        tell = unpacker.tell
        try:
            unpacker.feed(data)
            for frame in unpacker:
                if type(frame) is not tuple:
                    raise ProtocolError(f"expected an array, not a value of type {type(frame).__name__}")
                frames.append(frame)
                end = tell()
        except MALFORMED as error:
            raise ProtocolError(f"not MessagePack within the limits: {_reason(error)}") from error
        if end < len(data):
            self._skimmer = stream_unpacker(self._frame_bytes_max, self._array_items_max)
            self._continue(self._skimmer, data[end:])
        return frames

    def _continue(self, skimmer: StreamUnpacker, data: bytes) -> list[Frame]:
        self._unfinished += data
        skimmer.feed(data)
        try:
            skimmer.skip()
        except OutOfData:
            self._check_size(len(self._unfinished))
            return []
        except MALFORMED as error:
            raise ProtocolError(f"not MessagePack: {_reason(error)}") from error
        size = skimmer.tell()
        self._check_size(size)
        received = bytes(self._unfinished)
        self._unfinished = bytearray()
        self._skimmer = None
        return self.feed(received[:size]) + self.feed(received[size:])

    def _check_size(self, size: int) -> None:
        if size > self._frame_bytes_max:
            raise ProtocolError(f"a frame has more than {self._frame_bytes_max} bytes (frame_bytes_max)")


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__)[:200]
