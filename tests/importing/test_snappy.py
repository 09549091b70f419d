"""Snappy, decoded."""

import pytest

from zk.importing.snappy import MAGIC, SnappyError, decode_block, decode_stream

HEADER = MAGIC + bytes((0, 0, 0, 1, 0, 0, 0, 1))


def test_literals_of_all_widths() -> None:
    short, longer, long = b"a" * 60, b"b" * 200, b"c" * 1000
    assert decode_block(b"\x3c" + bytes([59 << 2]) + short) == short
    assert decode_block(b"\xc8\x01" + bytes([60 << 2, 199]) + longer) == longer
    assert decode_block(b"\xe8\x07" + bytes([61 << 2]) + (999).to_bytes(2, "little") + long) == long


def test_copies_of_all_widths() -> None:
    literal = bytes([3 << 2]) + b"abcd"
    assert decode_block(b"\x08" + literal + bytes([0 << 2 | 1, 4])) == b"abcdabcd"
    assert decode_block(b"\x07" + literal + bytes([2 << 2 | 2, 2, 0])) == b"abcdcdc"  # into what it writes
    assert decode_block(b"\x06" + literal + bytes([1 << 2 | 3, 1, 0, 0, 0])) == b"abcddd"


def test_streams_put_one_behind_the_other() -> None:
    block = b"\x02" + bytes([1 << 2]) + b"hi"
    framed = len(block).to_bytes(4, "big") + block
    assert decode_stream(HEADER + framed + framed + HEADER + framed) == b"hihihi"


@pytest.mark.parametrize(
    ("stream", "offset", "why"),
    [
        (b"plain text", 0, "there is no block of snappy"),
        (HEADER + b"\0\0", 16, "there is no block of snappy"),
        (HEADER + b"\0\0\0\x09abc", 16, "a block of 9 bytes, where 3 are left"),
        (HEADER + b"\0\0\0\x03\x05\x00a", 16, "it holds 1 bytes instead of 5"),
        (HEADER + b"\0\0\0\x03\x05\xf0a", 16, "a literal goes beyond its end"),
        (HEADER + b"\0\0\0\x03\x04\x01\x09", 16, "a copy of what was before its beginning"),
        (HEADER + b"\0\0\0\x06\xff\xff\xff\xff\xff\xff", 16, "its length is no number"),
    ],
)
def test_what_is_damaged_is_told_with_its_place(stream: bytes, offset: int, why: str) -> None:
    with pytest.raises(SnappyError, match=why) as caught:
        decode_stream(stream)
    assert caught.value.offset == offset
