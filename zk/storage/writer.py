"""The writing end of the log: appends batches to the newest segment, syncs them, begins new segments.

Belongs to one thread. A new segment gets its name only once it is durable, and only once the one before it is: so a
later segment proves that the earlier ones were whole.
"""

import errno
from collections.abc import Sequence

from zk.broadcast.records import Record
from zk.model.record import Zxid
from zk.storage.directory import Directory, File
from zk.storage.errors import LogFailure
from zk.storage.names import BALLAST, MARK, TMP, encode_mark, segment_name
from zk.storage.position import Position
from zk.storage.segment import (
    BATCH_OVERHEAD_BYTES,
    Identity,
    SegmentHeader,
    encode_batch,
    encode_header,
    encode_records,
)

RECORDS_PER_REWRITTEN_BATCH = 1_000
SMALL_SEGMENTS = 16  # so many fit into the space of a full one


class LogWriter:
    """Writes the log of one incarnation, from `start` on.

    From then on every OSError becomes a LogFailure, and nothing is written after one.
    """

    _file: File
    _mark: File

    def __init__(
        self, directory: Directory, identity: Identity, disk_uuid: str, segment_bytes: int, position: Position
    ) -> None:
        self.disk_uuid = disk_uuid
        self.number = 0
        self.segments: list[tuple[int, Zxid]] = []  # number and base zxid of all that are kept, ascending
        self.position = position
        self._directory = directory
        self._identity = identity
        self._segment_bytes = segment_bytes
        self._failed = ""
        self._size = 0  # of the newest segment, set aside
        self._offset = 0  # where its next batch goes
        self._durable_upto = 0
        self._first = 0  # records in it so far
        self._seed = 0
        self._chain = 0

    def start(self, number: int, previous: tuple[int, int] | None, records: Sequence[Record]) -> None:
        """Begin the incarnation with segment `number`, `records` in it, and a new mark file.

        The records are durable before the segment has its name, so this happens as a whole or not at all. Raises
        OSError: nothing has been promised to anybody yet.
        """
        self._begin(number, previous, records)
        self._mark = self._directory.create(MARK + TMP)
        self._write_mark()
        self._mark.sync()
        self._directory.rename(MARK + TMP, MARK)
        self._directory.sync_names()

    def append(self, records: Sequence[Record]) -> None:
        """Write one batch. Durable after the next `sync`."""
        if self._failed:
            raise LogFailure(self._failed)
        if not records:
            return
        body = encode_records(records)
        end = self._offset + BATCH_OVERHEAD_BYTES + len(body)
        try:
            if end > self._size and self._first > 0:
                self._rotate(len(body))
                end = self._offset + BATCH_OVERHEAD_BYTES + len(body)
            batch, self._chain = encode_batch(body, self._first, self._durable_upto, self._chain, self._seed)
            try:
                self._file.write(self._offset, batch)
            except OSError as error:
                self._give_up_ballast(error)
                self._file.write(self._offset, batch)
        except OSError as error:
            raise self._failure(error) from error
        self._offset = end
        self._first += len(records)
        self.position.advance(records)

    def sync(self) -> None:
        """Return once all that was appended survives a power cut; then note it in the mark file."""
        if self._failed:
            raise LogFailure(self._failed)
        if self._durable_upto == self._offset:
            return
        try:
            self._sync()
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Let go of the files. What was not synced may be lost."""
        self._file.close()
        self._mark.close()

    def _begin(self, number: int, previous: tuple[int, int] | None, records: Sequence[Record], room: int = 0) -> None:
        """Make segment `number` the newest, with `records` in it and with space for at least `room` bytes more."""
        parts = [
            records[at : at + RECORDS_PER_REWRITTEN_BATCH] for at in range(0, len(records), RECORDS_PER_REWRITTEN_BATCH)
        ]
        bodies = [encode_records(part) for part in parts]
        header, seed = encode_header(
            SegmentHeader(
                number=number,
                previous=previous,
                identity=self._identity,
                disk_uuid=self.disk_uuid,
                accepted_epoch=self.position.accepted_epoch,
                base_zxid=self.position.last_zxid,
                base_epochs=self.position.epochs,
                membership=self.position.membership,
                snapshot=self.position.snapshot,
                born_bytes=sum(BATCH_OVERHEAD_BYTES + len(body) for body in bodies),
            )
        )
        pieces, chain, first = [header], seed, 0
        for part, body in zip(parts, bodies, strict=True):
            batch, chain = encode_batch(body, first, 0, chain, seed)
            pieces.append(batch)
            first += len(part)
        data = b"".join(pieces)
        name, tmp = segment_name(number), segment_name(number) + TMP
        self._file = self._create(tmp, len(data) + room)
        self._file.write(0, data)
        self._file.sync()
        self._directory.rename(tmp, name)
        self._directory.sync_names()
        self.number = number
        self.segments.append((number, self.position.last_zxid))
        self._seed, self._chain, self._first = seed, chain, first
        self._offset = self._durable_upto = len(data)
        self.position.advance(records)

    def _create(self, name: str, least_bytes: int) -> File:
        """A new segment's file; a small one when the disk is nearly full."""
        self._size = max(self._segment_bytes, least_bytes)
        try:
            return self._directory.create(name, self._size)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        self._size = max(self._segment_bytes // SMALL_SEGMENTS, least_bytes)
        try:
            return self._directory.create(name, self._size)
        except OSError as error:
            self._give_up_ballast(error)
            return self._directory.create(name, self._size)

    def _rotate(self, body_bytes: int) -> None:
        """Finish the newest segment and begin the next, with space for a batch of `body_bytes`."""
        if self._durable_upto < self._offset:
            self._sync()
        self._file.close()
        self._directory.truncate(segment_name(self.number), self._offset)
        self._begin(self.number + 1, (self.number, self._offset), (), BATCH_OVERHEAD_BYTES + body_bytes)
        self._write_mark()

    def _sync(self) -> None:
        self._file.sync()
        self._durable_upto = self._offset
        self._write_mark()

    def _write_mark(self) -> None:
        self._mark.write(0, encode_mark(self.number, self._durable_upto))

    def _give_up_ballast(self, error: OSError) -> None:
        """Make room on a full disk, for one more attempt to write; raise `error` if it is none, or there is no ballast
        left. Not for syncs: those are never repeated."""
        if error.errno != errno.ENOSPC or BALLAST not in self._directory.names():
            raise error
        self._directory.remove(BALLAST)
        self._directory.sync_names()

    def _failure(self, error: OSError) -> LogFailure:
        remedy = "Make room on that disk" if error.errno == errno.ENOSPC else "Look after that disk"
        self._failed = (
            f"{error.filename or self._directory.path}: the log can't be written: {error.strerror or error}. {remedy}, "
            "then start this server again: it goes on from what is durable"
        )
        return LogFailure(self._failed)
