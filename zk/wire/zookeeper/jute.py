"""Jute, the encoding of ZooKeeper's records: big-endian integers, and lengths in front of all else.

A record is its fields one behind the other, without any mark of where one ends: so decoding is reading fields in their
order. A length of -1 means null, which `Reader` tells from empty. Whoever sent the bytes may be anybody.
"""

from collections.abc import Callable, Iterable
from struct import Struct
from typing import TYPE_CHECKING, TypeVar

from librt.strings import read_i32_be, read_i64_be

from zk.model.data import NO_DATA
from zk.model.errors import MarshallingError

if TYPE_CHECKING:
    from mypy_extensions import i64  # an int, which compiled code keeps in a machine word

T = TypeVar("T")

_INT = Struct(">i")
_LONG = Struct(">q")

NULL = b"\xff\xff\xff\xff"
"""A buffer, a text or a vector that is null."""

# ---- encoding

int32_bytes: Callable[[int], bytes] = _INT.pack
"""A signed 32-bit integer."""

int64_bytes: Callable[[int], bytes] = _LONG.pack
"""A signed 64-bit integer."""


def flag_bytes(value: bool) -> bytes:
    return b"\x01" if value else b"\x00"


def buffer_bytes(value: bytes | None) -> bytes:
    return NULL if value is None else _INT.pack(len(value)) + value


def data_bytes(value: bytes) -> bytes:
    """The data of a node, which may be null."""
    return NULL if value is NO_DATA else _INT.pack(len(value)) + value


def text_bytes(value: str | None) -> bytes:
    """UTF-8. Surrogates, which no path can hold, become question marks."""
    if value is None:
        return NULL
    encoded = value.encode(errors="replace")
    return _INT.pack(len(encoded)) + encoded


def vector_bytes(items: Iterable[bytes] | None) -> bytes:
    """A vector of items that are encoded already."""
    if items is None:
        return NULL
    items = list(items)
    return _INT.pack(len(items)) + b"".join(items)


# ---- decoding


class Reader:
    """Reads the fields of a record, in their order, from byte `at` on. MarshallingError if the bytes can't be what is
    asked for."""

    __slots__ = ("_data", "_end", "_origin", "at")

    at: "i64"
    _origin: "i64"
    _end: "i64"

    def __init__(self, data: bytes = b"", at: "i64" = 0) -> None:
        self.begin(data, 0, len(data))
        self.at = at

    def begin(self, data: bytes, at: "i64", end: "i64") -> None:
        """Read another record, or several: what stands in `data` from byte `at` to `end`."""
        self._data = data
        self._origin = self.at = at  # errors tell places from here on
        self._end = end

    @property
    def left(self) -> int:
        """How many bytes of the record are left."""
        return self._end - self.at

    def int32(self) -> int:
        at = self.at
        if at + 4 > self._end:
            raise self._cut(at)
        self.at = at + 4
        return read_i32_be(self._data, at)

    def int64(self) -> int:
        at = self.at
        if at + 8 > self._end:
            raise self._cut(at)
        self.at = at + 8
        return read_i64_be(self._data, at)

    def fields(self, struct: Struct) -> tuple[int, ...]:
        """Several fields of fixed sizes at once."""
        at = self.at
        if at + struct.size > self._end:
            raise self._cut(at)
        self.at = at + struct.size
        return struct.unpack_from(self._data, at)

    def flag(self) -> bool:
        at = self.at
        if at >= self._end:
            raise self._cut(at)
        self.at = at + 1
        return self._data[at] != 0

    def skip(self, expected: bytes) -> bool:
        """Read on behind `expected`, if it is what comes next."""
        end = self.at + len(expected)
        if end > self._end or self._data[self.at : end] != expected:
            return False
        self.at = end
        return True

    def whole(self) -> bytes:
        """All that it was begun with, wherever it is now."""
        return self._data[self._origin : self._end]

    def buffer(self) -> bytes | None:
        """The bytes; None for null."""
        length: i64 = self.int32()
        begin = self.at
        end = begin + length
        if not begin <= end <= self._end:
            if length != -1:
                place = f"byte {begin - 4 - self._origin} of {self._end - self._origin}"
                raise MarshallingError("", f"a length of {length} at {place}")
            return None
        self.at = end
        return self._data[begin:end]

    def data(self) -> bytes:
        """The data of a node, which may be null."""
        data = self.buffer()
        return NO_DATA if data is None else data

    def text(self) -> str | None:
        """The text; None for null. What is not UTF-8 becomes U+FFFD, as in ZooKeeper: no path may hold that."""
        encoded = self.buffer()
        if encoded is None:
            return None
        try:
            return encoded.decode()
        except UnicodeDecodeError:
            return encoded.decode("utf-8", "replace")

    def vector(self, item: Callable[[], T], item_bytes_min: int = 1) -> list[T] | None:
        """As many items as the vector says; None for null. `item_bytes_min`: what each occupies at the least, so that
        a length that can't be true is refused before anything is built."""
        count = self.int32()
        if count == -1:
            return None
        if count < 0 or count * item_bytes_min > self.left:
            place = f"byte {self.at - 4 - self._origin}"
            raise MarshallingError("", f"a vector of {count} at {place}, where there is no room for it")
        return [item() for _ in range(count)]

    def _cut(self, at: int) -> MarshallingError:
        return MarshallingError("", f"the record ends at byte {at - self._origin}, in the middle of a field")
