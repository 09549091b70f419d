"""Snappy, as Java's SnappyOutputStream writes it: a header, then blocks, each behind its length. Decoding only.

The format is small and final, and snapshots are read once: that is not worth a library that has to be compiled.
Source: google/snappy, format_description.txt; xerial/snappy-java, SnappyCodec.
"""

from struct import Struct

MAGIC = b"\x82SNAPPY\x00"
_HEADER = Struct(">8sii")  # magic, version, the oldest version that can read it
_LENGTH = Struct(">i")


class SnappyError(ValueError):
    """Not a stream of snappy blocks, or a damaged one. `offset` is where in the stream."""

    def __init__(self, offset: int, why: str) -> None:
        self.offset = offset
        super().__init__(why)


def decode_stream(stream: bytes) -> bytes:
    """The content of a SnappyOutputStream. Raises SnappyError."""
    blocks: list[bytes] = []
    at = 0
    while at < len(stream):
        if stream.startswith(MAGIC, at):  # at the beginning, and wherever one stream was put behind another
            at += _HEADER.size
            continue
        if not at or at + _LENGTH.size > len(stream):
            raise SnappyError(at, "there is no block of snappy")
        (length,) = _LENGTH.unpack_from(stream, at)
        begin = at + _LENGTH.size
        if not 0 < length <= len(stream) - begin:
            raise SnappyError(at, f"a block of {length} bytes, where {len(stream) - begin} are left")
        try:
            blocks.append(decode_block(stream[begin : begin + length]))
        except (IndexError, ValueError) as error:
            raise SnappyError(at, f"a block of snappy that can't be decoded: {error}") from error
        at = begin + length
    return b"".join(blocks)


def decode_block(block: bytes) -> bytes:
    """One raw block: how long it will be, then literals and copies of what came before. ValueError or IndexError if
    it is none."""
    expected, at = _varint(block)
    out = bytearray()
    while at < len(block):
        tag = block[at]
        at += 1
        kind = tag & 3
        if kind == 0:  # a literal; of a longer one, the length stands in 1 to 4 bytes of its own
            length = (tag >> 2) + 1
            if length > 60:
                width = length - 60
                length = int.from_bytes(block[at : at + width], "little") + 1
                at += width
            if length > len(block) - at:
                raise ValueError("a literal goes beyond its end")
            out += block[at : at + length]
            at += length
            continue
        if kind == 1:
            length, distance = (tag >> 2 & 7) + 4, tag >> 5 << 8 | block[at]
            at += 1
        else:
            width = 2 if kind == 2 else 4
            length, distance = (tag >> 2) + 1, int.from_bytes(block[at : at + width], "little")
            at += width
        _copy(out, distance, length)
    if len(out) != expected:
        raise ValueError(f"it holds {len(out)} bytes instead of {expected}")
    return bytes(out)


def _copy(out: bytearray, distance: int, length: int) -> None:
    """Repeat `length` bytes from `distance` back; they may reach into what is being written."""
    begin = len(out) - distance
    if begin < 0 or not distance:
        raise ValueError("a copy of what was before its beginning")
    if distance >= length:
        out += out[begin : begin + length]
    else:
        pattern = bytes(out[begin:])
        out += (pattern * (length // distance + 1))[:length]


def _varint(block: bytes) -> tuple[int, int]:
    value = shift = at = 0
    while True:
        byte = block[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 28:
            raise ValueError("its length is no number")
