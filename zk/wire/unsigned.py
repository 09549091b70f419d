"""Unsigned integers of a fixed size, big-endian, in bytes: librt, which writes and reads them at a tenth of what the
standard library takes in a compiled module, knows only signed ones."""

from librt.strings import BytesWriter, read_i16_be, read_i32_be, write_i16_be, write_i32_be, write_i64_be


def write_u16(out: BytesWriter, value: int) -> None:
    """OverflowError if it needs more than two bytes, or is negative."""
    if 0 <= value < 0x8000:
        write_i16_be(out, value)
    elif value >> 16 == 0:
        write_i16_be(out, value - 0x1_0000)
    else:
        raise OverflowError(f"{value} is no unsigned integer of two bytes")


def write_u32(out: BytesWriter, value: int) -> None:
    """OverflowError if it needs more than four bytes, or is negative."""
    if 0 <= value < 0x8000_0000:
        write_i32_be(out, value)
    elif value >> 32 == 0:
        write_i32_be(out, value - 0x1_0000_0000)
    else:
        raise OverflowError(f"{value} is no unsigned integer of four bytes")


def write_u64(out: BytesWriter, value: int) -> None:
    """OverflowError if it needs more than eight bytes, or is negative."""
    if value >> 63 == 0:
        write_i64_be(out, value)
    else:
        out.write(value.to_bytes(8, "big"))


def read_u16(data: bytes, at: int) -> int:
    """IndexError if `data` ends before."""
    value: int = read_i16_be(data, at)
    return value if value >= 0 else value + 0x1_0000


def read_u32(data: bytes, at: int) -> int:
    """IndexError if `data` ends before."""
    value: int = read_i32_be(data, at)
    return value if value >= 0 else value + 0x1_0000_0000
