"""What one simulated disk holds, kept by the simulator itself from the records that went there.

The checkers ask the mirrors, never the code under test, what is durable where. A mirror knows the log as it is on its
way (`appended`) and as it would survive a power cut (`durable`).
"""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from zk.broadcast.records import Entry, Promise, Record, Recovered, SnapshotRef, Truncate
from zk.model.record import Epoch, Zxid

NO_EPOCH = Epoch(0)
NO_ZXID = Zxid(0)


@dataclass(slots=True)
class LogShape:
    """What a sequence of records amounts to: the promise, and which entries stand above which base."""

    accepted: Epoch = NO_EPOCH
    base: Zxid = NO_ZXID
    zxids: list[Zxid] = field(default_factory=list)

    @property
    def last(self) -> Zxid:
        return self.zxids[-1] if self.zxids else self.base

    def apply(self, record: Record) -> None:
        match record:
            case Entry():
                self.zxids.append(record.zxid)
            case Promise():
                self.accepted = max(self.accepted, record.epoch)
            case Truncate():
                del self.zxids[bisect_right(self.zxids, record.zxid) :]
            case SnapshotRef(installed=True):
                self.zxids.clear()
                self.base = record.zxid
            case SnapshotRef():  # stands for what is below it, and changes nothing above
                pass

    def holds(self, zxid: Zxid) -> bool:
        """Whether the entry is in this log, or in the snapshot that the log begins with."""
        if zxid <= self.base:
            return True
        index = bisect_left(self.zxids, zxid)
        return index < len(self.zxids) and self.zxids[index] == zxid

    def copy(self) -> "LogShape":
        return LogShape(self.accepted, self.base, list(self.zxids))


class Mirror:
    """One disk: records go in when they are handed to the log, and become durable when the log says so."""

    def __init__(self) -> None:
        self.appended = LogShape()
        self.durable = LogShape()
        self.durable_lsn = 0
        self._under_way: deque[Record] = deque()

    def append(self, records: Sequence[Record]) -> None:
        for record in records:
            self.appended.apply(record)
        self._under_way.extend(records)

    def synced(self, lsn: int) -> None:
        """All records of this incarnation up to `lsn` are durable."""
        for _ in range(lsn - self.durable_lsn):
            self.durable.apply(self._under_way.popleft())
        self.durable_lsn = lsn

    def restart(self, recovered: Recovered) -> str:
        """Begin again with what was recovered. The answer says what is wrong with it: '' if nothing is.

        Right is: everything durable, and of what was under way any beginning.
        """
        found = shape_of(recovered)
        expected = self.durable.copy()
        possible = _agree(found, expected)
        for record in self._under_way:
            if possible:
                break
            expected.apply(record)
            possible = _agree(found, expected)
        wrong = "" if possible else f"recovered {_text(found)}, but {_text(self.durable)} was durable"
        self.replace(found)
        return wrong

    def replace(self, shape: LogShape) -> None:
        """This is what is on the disk now, whatever was before."""
        self.appended = shape
        self.durable = shape.copy()
        self.durable_lsn = 0
        self._under_way.clear()


def shape_of(recovered: Recovered) -> LogShape:
    """What a server that starts with this knows."""
    shape = LogShape(recovered.accepted_epoch)
    if recovered.snapshot is not None:
        shape.base = recovered.snapshot.zxid
    for record in recovered.records:
        if isinstance(record, Entry) and record.zxid <= shape.base:
            continue  # covered by the snapshot
        shape.apply(record)
    return shape


def _agree(found: LogShape, expected: LogShape) -> bool:
    """The same log, as far as both reach back: a snapshot may stand for the older part."""
    if (found.accepted, found.last) != (expected.accepted, expected.last):
        return False
    shared = min(len(found.zxids), len(expected.zxids))
    return found.zxids[len(found.zxids) - shared :] == expected.zxids[len(expected.zxids) - shared :]


def _text(shape: LogShape) -> str:
    return f"accepted epoch {shape.accepted}, base {shape.base:#x}, last {shape.last:#x}, {len(shape.zxids)} entries"
