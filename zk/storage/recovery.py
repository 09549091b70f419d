"""Recovery, the reading half: what the files of a data directory say, and whether that is the whole truth.

Changes nothing on disk. The log is read backwards from its newest segment, each one up to the offset that the next one
continues from, as far as the segments are there and whole. That is enough if it reaches back to the beginning, or to a
snapshot that a record names and that verifies; what lies before is history that nobody needs. If it is not enough,
something once durable is lost: a `Defect` says what, and the longest prefix that can stand alone is what is left.

Read next: `zk.storage.store`, which acts on it.
"""

from bisect import bisect_right
from itertools import accumulate

from zk.broadcast.records import Entry, Promise, Record, SnapshotRef
from zk.model.record import Epoch, record
from zk.storage.directory import Directory
from zk.storage.errors import Defect, StorageError
from zk.storage.names import DAMAGED, MARK, decode_mark, segment_name, segment_number
from zk.storage.preamble import UnknownFormatError, UnreadableFileError, read_preamble
from zk.storage.segment import Scan, SegmentHeader, decode_header, scan
from zk.storage.snapshot import SNAPSHOT_MAGIC, SnapshotDefectError, read_chunks


@record
class Segment:
    """A segment of the log as far as it was read and counts."""

    header: SegmentHeader
    scan: Scan


@record
class History:
    """A log that can stand alone.

    `records` are all of its `segments`' (fewer in what is left of a damaged log); `begin` is the index of the first
    one behind `snapshot`, whose chunks are `state`. `needs` is the number of the segment that it lies in.
    """

    segments: tuple[Segment, ...]
    records: tuple[Record, ...]
    snapshot: SnapshotRef | None
    state: tuple[bytes, ...] | None
    begin: int
    needs: int


@record
class Reading:
    """What a data directory holds.

    `newest` is the newest readable header. `history` is None if there is no log or nothing is left of it. `defect`:
    why `history` is not all that was once durable. `bad_snapshots` are those of `snapshot_files` that did not verify,
    `unused` are segments that are no part of `history`. `notes` say what was found and is harmless.
    """

    newest: SegmentHeader | None
    history: History | None
    defect: Defect | None
    accepted_epoch: Epoch
    next_number: int
    snapshot_files: tuple[str, ...]
    bad_snapshots: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...]


def read_log(directory: Directory) -> Reading:
    """Read all there is. Raises StorageError for files of a later format, OSError if a file can't be read at all."""
    names = directory.names()
    numbers = [number for number in map(segment_number, names) if number is not None]
    snapshots = tuple(
        name
        for name in names
        if not name.endswith(DAMAGED) and directory.read(name, 0, len(SNAPSHOT_MAGIC)) == SNAPSHOT_MAGIC
    )
    mark = decode_mark(directory.read(MARK)) if MARK in names else None
    log = _Log(directory, numbers, mark)
    history, defect = None, log.missing(snapshots)
    if numbers and defect is None:
        history, defect = log.history(numbers[-1], whole=True)
    if defect is not None:
        for number in reversed(numbers):
            history, _ = log.history(number, whole=False)
            if history is not None:
                break
    used = set() if history is None else {segment.header.number for segment in history.segments}
    return Reading(
        newest=log.newest,
        history=history,
        defect=defect,
        accepted_epoch=log.accepted_epoch,
        next_number=max([0, *numbers, mark[0] if mark else 0]) + 1,
        snapshot_files=snapshots,
        bad_snapshots=tuple(name for name in snapshots if name in log.bad_snapshots),
        unused=tuple(segment_name(number) for number in numbers if number not in used),
        notes=tuple(dict.fromkeys(log.notes)),
    )


class _Log:
    """The segments of one directory while they are read."""

    def __init__(self, directory: Directory, numbers: list[int], mark: tuple[int, int] | None) -> None:
        self.directory = directory
        self.mark = mark
        self.headers: dict[int, SegmentHeader | Defect] = {number: self._header(number) for number in numbers}
        readable = [header for header in self.headers.values() if isinstance(header, SegmentHeader)]
        self.newest = readable[-1] if readable else None
        self.accepted_epoch = max((header.accepted_epoch for header in readable), default=Epoch(0))
        self.notes: list[str] = []
        self.bad_snapshots: set[str] = set()

    def missing(self, snapshots: tuple[str, ...]) -> Defect | None:
        """Segments that must have been there, as the other files tell."""
        newest = max(self.headers, default=0)
        if self.mark is not None and self.mark[0] > newest:
            number, offset = self.mark
            return Defect(segment_name(number), 0, f"missing, but the mark file says it was synced up to {offset}")
        if newest == 0 and snapshots:
            return Defect(segment_name(1), 0, f"missing, like every log file, but there is a snapshot ({snapshots[0]})")
        return None

    def history(self, number: int, whole: bool) -> tuple[History | None, Defect | None]:
        """The log that ends with segment `number`, if it can stand alone; else why it can't.

        Not `whole`: that segment, or an installed snapshot, may be where something was lost. What is good before
        that will do.
        """
        segments, defect = self._backwards(number, whole)
        if not segments:
            return None, defect
        records = tuple(item for segment in segments for batch in segment.scan.batches for item in batch.records)
        promises = (item.epoch for item in records if type(item) is Promise)
        self.accepted_epoch = max(self.accepted_epoch, *promises, Epoch(0))
        while True:
            found, bad = self._stand_alone(segments, records)
            if found is not None:
                if defect is not None:
                    self.notes.append(f"damaged, but not needed any more: {defect}")
                return found, None
            defect = bad or defect
            installed = _last_installed(records)
            if whole or installed is None:
                break
            records = records[:installed]
        if defect is None:
            header = segments[0].header
            defect = Defect(
                segment_name(header.number),
                0,
                f"the log begins behind zxid {header.base_zxid:#x}, but no snapshot is left",
            )
        return None, defect

    def _header(self, number: int) -> SegmentHeader | Defect:
        name = segment_name(number)
        try:
            header, _, _ = decode_header(read_preamble(self.directory, name))
        except UnknownFormatError as error:
            raise StorageError(
                f"{self.directory.path}/{name}",
                0,
                str(error),
                "Start the version of zk that wrote it, or a later one.",
            ) from error
        except UnreadableFileError as error:
            return Defect(name, 0, f"the segment can't be read: {error}")
        if header.number != number:
            return Defect(name, 0, f"the file was renamed: it is {segment_name(header.number)}")
        return header

    def _backwards(self, number: int, whole: bool) -> tuple[list[Segment], Defect | None]:
        """The segments up to `number`, as far back as they are good, oldest first; and why not further."""
        segments: list[Segment] = []
        limit: int | None = None
        while True:
            header = self.headers.get(number)
            if header is None:
                # the usual beginning of a log whose older part was dropped for a snapshot; `_stand_alone` decides
                defect: Defect | None = None
                if min(self.headers) < number:
                    defect = Defect(segment_name(number), 0, "the segment is missing between others")
                break
            if isinstance(header, Defect):
                defect = header
                break
            data = self.directory.read(segment_name(number))
            marked_upto = self.mark[1] if self.mark is not None and self.mark[0] == number else 0
            found = scan(segment_name(number), data, limit, marked_upto)
            defect = found.defect
            if defect is not None and (whole or segments):
                break
            defect = None
            segments.append(Segment(header, found))
            if header.previous is None:
                break
            number, limit = header.previous
        return segments[::-1], defect

    def _stand_alone(
        self, segments: list[Segment], records: tuple[Record, ...]
    ) -> tuple[History | None, Defect | None]:
        """Choose the newest snapshot that verifies, or do without if the log is there from its beginning."""
        counts = [sum(len(batch.records) for batch in segment.scan.batches) for segment in segments]
        starts = [0, *accumulate(counts[:-1])]
        installed = _last_installed(records)
        candidates = [(at, item) for at, item in enumerate(records) if type(item) is SnapshotRef]
        first = segments[0].header
        if first.snapshot is not None:
            candidates.insert(0, (-1, first.snapshot))
        defect: Defect | None = None
        for at, ref in reversed(candidates):
            if installed is not None and at < installed:
                break
            begin = _begin(first, records, at, installed)
            if begin is None:
                continue
            try:
                state = tuple(read_chunks(self.directory, first.identity.cluster, ref))
            except SnapshotDefectError as error:
                self.notes.append(f"a snapshot was passed over: {error}")
                self.bad_snapshots.add(ref.file)
                defect = defect or error.defect
                continue
            needs = segments[bisect_right(starts, begin) - 1].header.number
            return History(tuple(segments), records, ref, state, begin, needs), None
        if installed is None and first.base_zxid == 0:
            return History(tuple(segments), records, None, None, 0, first.number), None
        return None, defect


def _last_installed(records: tuple[Record, ...]) -> int | None:
    """The index of the last installed snapshot's record: nothing before it counts."""
    for at in range(len(records) - 1, -1, -1):
        item = records[at]
        if type(item) is SnapshotRef and item.installed:
            return at
    return None


def _begin(first: SegmentHeader, records: tuple[Record, ...], at: int, installed: int | None) -> int | None:
    """The index of the first record behind the snapshot that the record at index `at` names (-1: the header `first`).

    None if the log does not reach back to it. A snapshot taken here is named only some time after the entry at its
    zxid; what came in between follows it.
    """
    ref = records[at] if at >= 0 else first.snapshot
    assert type(ref) is SnapshotRef
    if at == installed:
        return at + 1
    lowest, base_zxid = 0, first.base_zxid
    if installed is not None:
        floor = records[installed]
        assert type(floor) is SnapshotRef
        lowest, base_zxid = installed + 1, floor.zxid
    for index in range(at - 1, lowest - 1, -1):
        item = records[index]
        if type(item) is Entry and item.zxid == ref.zxid:
            return index + 1
    return lowest if base_zxid <= ref.zxid else None
