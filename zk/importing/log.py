"""Transaction logs of ZooKeeper's: a file header, then records, each `checksum (8 bytes), length (4), bytes, "B"`.

A file is extended by blocks of zeros before it is written, so zeros are its usual end. A server that is killed may
leave a last record that was never finished; nobody was told of it, and ZooKeeper drops it as is done here. What is
wrong elsewhere, or wrong in a record that was finished, is damage. Source: Apache ZooKeeper 3.4 to 3.9, FileTxnLog.
"""

import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from zk.importing.fields import FileReader
from zk.importing.snapshot import HEADER, read_header
from zk.model.errors import MarshallingError

_MAGIC = b"ZKLG"
_RECORD = Struct(">qi")  # checksum, length
_END = ord("B")
_TXN_HEADER = Struct(">qiqqi")  # session, xid, zxid, time, type
_DIGEST = Struct(">iq")
_DIGEST_VERSION = 2
_BLOCK = 1 << 20


class Defect(NamedTuple):
    """Where a file can't be read on, and why. `torn`: it is the unfinished end that a killed server leaves."""

    offset: int
    why: str
    torn: bool


class LoggedTxn(NamedTuple):
    """One transaction as it was logged. `body` is what comes behind its header, `offset` is its record's."""

    offset: int
    session: int
    zxid: int
    time_ms: int
    type: int
    body: bytes


class LogFile:
    """One log. Iterating gives its transactions, until its end or its first defect, which is in `defect` then."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.defect: Defect | None = None

    def __iter__(self) -> Iterator[LoggedTxn]:
        with self.file.open("rb") as opened:
            if not self.file.stat().st_size:
                self.defect = Defect(0, "the file is empty", torn=True)
                return
            with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
                yield from self._records(data)

    def _records(self, data: mmap.mmap) -> Iterator[LoggedTxn]:
        written = _written_end(data)
        if written < HEADER.size - 8:  # its last 8 bytes may be zeros
            self.defect = Defect(0, "its header was never finished", torn=True)
            return
        try:
            read_header(FileReader(data[: HEADER.size]), _MAGIC, "transaction log")
        except ValueError as error:
            self.defect = Defect(0, str(error), torn=False)
            return
        at = HEADER.size
        while at < written:
            body = _body_at(data, at)
            if body is None:
                self.defect = _defect_at(data, at, written)
                return
            session, _, zxid, time_ms, kind = _TXN_HEADER.unpack_from(body)
            yield LoggedTxn(at, session, zxid, time_ms, kind, body[_TXN_HEADER.size :])
            at += _RECORD.size + len(body) + 1

    def behind(self, defect: Defect) -> tuple[int, int]:
        """How many good records can be found behind the defect, and the highest zxid among them; 0 if none."""
        count = highest = 0
        with self.file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at, written = _next_good(data, defect.offset + 1), _written_end(data)
            while at < written:
                body = _body_at(data, at)
                assert body is not None
                count += 1
                highest = max(highest, _TXN_HEADER.unpack_from(body)[2])
                at = _next_good(data, at + _RECORD.size + len(body) + 1)
        return count, highest


def _next_good(data: mmap.mmap, at: int) -> int:
    """Where the first good record at or behind `at` begins; where the file's content ends if there is none."""
    written = _written_end(data)
    while at < written and _body_at(data, at) is None:
        at += 1
    return at


def _written_end(data: mmap.mmap) -> int:
    """Where the zeros begin that reach to the end of the file."""
    end = len(data)
    while end:
        begin = max(0, end - _BLOCK)
        kept = data[begin:end].rstrip(b"\0")
        if kept:
            return begin + len(kept)
        end = begin
    return 0


def _body_at(data: mmap.mmap, at: int) -> bytes | None:
    """The content of the record that begins there, if it is a good one."""
    if at + _RECORD.size > len(data):
        return None
    checksum, length = _RECORD.unpack_from(data, at)
    begin = at + _RECORD.size
    end = begin + length
    if length < _TXN_HEADER.size or end >= len(data) or data[end] != _END:
        return None
    body = data[begin:end]
    return body if zlib.adler32(body) == checksum else None


def _defect_at(data: mmap.mmap, at: int, written: int) -> Defect:
    """What is wrong with the record that begins there. `written`: behind it there is nothing but zeros."""
    begin = at + _RECORD.size
    if written <= begin:
        return Defect(at, "the last record was never finished", torn=True)
    checksum, length = _RECORD.unpack_from(data, at)
    if length < _TXN_HEADER.size:
        return Defect(at, f"a record of {length} bytes can't be", torn=False)
    if begin + length >= written:  # the end mark was not written
        if data[written - 1] == _END and zlib.adler32(data[begin : written - 1]) == checksum:
            return Defect(at, f"the record's length is wrong: {length} instead of {written - 1 - begin}", torn=False)
        if _next_good(data, at + 1) < written:
            return Defect(at, f"the record's length is wrong: there are good records within {length} bytes", torn=False)
        return Defect(at, "the last record was never finished", torn=True)
    return Defect(at, "the record's checksum is wrong", torn=False)


# ---- what a transaction says


class TxnReader(FileReader):
    """Reads the body of a transaction."""

    __slots__ = ()

    @property
    def at_digest(self) -> bool:
        """Whether what is left is a digest. (Two paths do not fit into it.)"""
        return self.left == _DIGEST.size and self._data[self.at : self.at + 4] == _DIGEST_VERSION.to_bytes(4, "big")

    def digest(self) -> int | None:
        """The tree's digest after the transaction, which version 3.6 and later put behind it; None where there is
        none."""
        if self.left == 0:
            return None
        if self.left != _DIGEST.size:
            raise MarshallingError("", f"{self.left} bytes too many behind the transaction")
        version, digest = self.fields(_DIGEST)
        return digest & (1 << 64) - 1 if version == _DIGEST_VERSION else None
