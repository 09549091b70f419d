"""MessagePack values written and read one by one, by hand: for the few arrays that are on the path of every write. All
else goes through packing.py; what is written here is byte for byte the same.
"""

from typing import TYPE_CHECKING

from librt.strings import BytesWriter, read_i16_be, read_i32_be, read_i64_be, write_i16_be, write_i32_be

from zk.wire.unsigned import read_u16, read_u32, write_u16, write_u32, write_u64

if TYPE_CHECKING:
    from mypy_extensions import i64  # an int, which compiled code keeps in a machine word

NIL = 0xC0


def write_int(out: BytesWriter, value: int) -> None:
    """OverflowError above 64 bits."""
    if value >= 0:
        if value < 0x80:
            out.append(value)
        elif value < 0x100:
            out.append(0xCC)
            out.append(value)
        elif value < 0x1_0000:
            out.append(0xCD)
            write_u16(out, value)
        elif value < 0x1_0000_0000:
            out.append(0xCE)
            write_u32(out, value)
        else:
            out.append(0xCF)
            write_u64(out, value)
    elif value >= -0x20:
        out.append(0x100 + value)
    elif value >= -0x80:
        out.append(0xD0)
        out.append(0x100 + value)
    elif value >= -0x8000:
        out.append(0xD1)
        write_i16_be(out, value)
    elif value >= -0x8000_0000:
        out.append(0xD2)
        write_i32_be(out, value)
    else:
        out.append(0xD3)
        out.write(value.to_bytes(8, "big", signed=True))


def write_text(out: BytesWriter, value: str) -> None:
    """UnicodeEncodeError at surrogates."""
    data = value.encode()
    size = len(data)
    if size < 0x20:
        out.append(0xA0 + size)
    else:
        _write_size(out, size, 0xD9)
    out.write(data)


def write_binary(out: BytesWriter, value: bytes) -> None:
    _write_size(out, len(value), 0xC4)
    out.write(value)


def write_array(out: BytesWriter, count: int) -> None:
    """The beginning of an array: `count` values follow."""
    if count < 0x10:
        out.append(0x90 + count)
    elif count < 0x1_0000:
        out.append(0xDC)
        write_u16(out, count)
    else:
        out.append(0xDD)
        write_u32(out, count)


def _write_size(out: BytesWriter, size: int, shortest: int) -> None:
    """A size of one, two or four bytes behind the byte `shortest` or one of the two that follow it."""
    if size < 0x100:
        out.append(shortest)
        out.append(size)
    elif size < 0x1_0000:
        out.append(shortest + 1)
        write_u16(out, size)
    else:
        out.append(shortest + 2)
        write_u32(out, size)


class ScalarReader:
    """Reads values one by one; `at` is where the next one begins. IndexError where `data` ends too early, ValueError at
    another value than the one that is asked for: then packing.py has to have a look at the whole."""

    __slots__ = ("at", "data")

    at: "i64"

    def __init__(self, data: bytes, at: "i64") -> None:
        self.data = data
        self.at = at

    def read_int(self) -> int:
        """One of up to 63 bits and a sign."""
        data, at = self.data, self.at
        first = data[at]
        if first < 0x80:
            self.at = at + 1
            return first
        if first >= 0xE0:
            self.at = at + 1
            return first - 0x100
        value: int
        if first == 0xCF or first == 0xD3:
            value = read_i64_be(data, at + 1)
            if value < 0 and first == 0xCF:
                raise ValueError("it has 64 bits")
            self.at = at + 9
        elif first == 0xCE or first == 0xD2:
            value = read_u32(data, at + 1) if first == 0xCE else read_i32_be(data, at + 1)
            self.at = at + 5
        elif first == 0xCD or first == 0xD1:
            value = read_u16(data, at + 1) if first == 0xCD else read_i16_be(data, at + 1)
            self.at = at + 3
        elif first == 0xCC or first == 0xD0:
            value = data[at + 1]
            if value >= 0x80 and first == 0xD0:
                value -= 0x100
            self.at = at + 2
        else:
            raise ValueError("not an integer")
        return value

    def read_text(self) -> str:
        first = self.data[self.at]
        if 0xA0 <= first < 0xC0:
            self.at += 1
            return self._read(first - 0xA0).decode()
        return self._read(self._read_size(0xD9)).decode()

    def read_binary(self) -> bytes:
        return self._read(self._read_size(0xC4))

    def read_array(self) -> int:
        """How many values follow, which are an array."""
        data, at = self.data, self.at
        first = data[at]
        if 0x90 <= first < 0xA0:
            self.at = at + 1
            return first - 0x90
        if first == 0xDC:
            self.at = at + 3
            return read_u16(data, at + 1)
        if first == 0xDD:
            self.at = at + 5
            return read_u32(data, at + 1)
        raise ValueError("not an array")

    def skip(self, first: "i64") -> bool:
        """Whether a value begins here with the byte `first`; then what follows that byte is the next to be read."""
        found = self.data[self.at] == first
        if found:
            self.at += 1
        return found

    def _read_size(self, shortest: "i64") -> "i64":
        data, at = self.data, self.at
        kind = data[at] - shortest
        if kind == 0:
            self.at = at + 2
            return data[at + 1]
        if kind == 1:
            self.at = at + 3
            return read_u16(data, at + 1)
        if kind == 2:
            self.at = at + 5
            return read_u32(data, at + 1)
        raise ValueError("not a value of the kind that is asked for")

    def _read(self, size: "i64") -> bytes:
        begin = self.at
        end = begin + size
        if end > len(self.data):
            raise IndexError("the value is cut off")
        self.at = end
        return self.data[begin:end]
