"""What the files of a data directory are called, and the mark file's 16 bytes.

    log-0000000001        a segment; numbers only grow        *.tmp      being written; removed at start
    mark                  see encode_mark                     *.damaged  set aside for the operator; never touched again
    ballast               space to give up on a full disk     lock       held by the process that uses the directory

Snapshots are called what the records that name them say.
"""

import re
import struct
from zlib import crc32

MARK = "mark"
BALLAST = "ballast"
TMP = ".tmp"
DAMAGED = ".damaged"
_SEGMENT = re.compile(r"log-(\d{10})")
_MARK = struct.Struct(">IQ")
_CRC = struct.Struct(">I")


def segment_name(number: int) -> str:
    return f"log-{number:010}"


def segment_number(name: str) -> int | None:
    """The number of the segment with this file name; None if it is no segment's."""
    found = _SEGMENT.fullmatch(name)
    return int(found[1]) if found else None


def encode_mark(number: int, offset: int) -> bytes:
    """Segment `number` has been synced up to `offset`.

    Rewritten after each sync of the log and never synced itself: it can lag, never lie.
    """
    head = _MARK.pack(number, offset)
    return head + _CRC.pack(crc32(head))


def decode_mark(data: bytes) -> tuple[int, int] | None:
    """The inverse of `encode_mark`; None for anything else: a torn mark says nothing."""
    if len(data) != _MARK.size + _CRC.size or data[_MARK.size :] != _CRC.pack(crc32(data[: _MARK.size])):
        return None
    number, offset = _MARK.unpack_from(data)
    return number, offset
