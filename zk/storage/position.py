"""Where a log stands: what the header of its next segment has to say about everything before it. Pure."""

from collections.abc import Iterable

from zk.broadcast.records import Entry, EntryKind, EpochEnds, Promise, Record, SnapshotRef, Truncate
from zk.model.record import Epoch, Zxid
from zk.model.zxids import epoch_of
from zk.storage.segment import SegmentHeader

_TXN = EntryKind.TXN  # found once: Python 3.11 takes longer to find it than to call a method


class Position:
    """Follows the records of a log. `accepted_epoch`, `last_zxid`, `snapshot`, `epochs` and `membership` are as of the
    last one."""

    def __init__(self) -> None:
        self.accepted_epoch = Epoch(0)
        self.last_zxid = Zxid(0)
        self.snapshot: SnapshotRef | None = None
        self._ends: list[tuple[Epoch, Zxid]] = []  # of all epochs but the current one
        self._memberships: list[tuple[Zxid, bytes]] = []  # ascending; a Truncate brings the one before back

    @classmethod
    def at(cls, header: SegmentHeader) -> "Position":
        """The position at which the segment with this header begins."""
        position = cls()
        position.accepted_epoch = header.accepted_epoch
        position.snapshot = header.snapshot
        position._stand(header.base_zxid, header.base_epochs, header.membership)
        return position

    @property
    def epochs(self) -> EpochEnds:
        if self.last_zxid == 0:
            return ()
        return (*self._ends, (epoch_of(self.last_zxid), self.last_zxid))

    @property
    def membership(self) -> bytes:
        return self._memberships[-1][1] if self._memberships else b""

    def advance(self, records: Iterable[Record]) -> None:
        """Move over `records`. On the path of every write: an ordinary entry costs one comparison."""
        for item in records:
            if type(item) is Entry:
                if item.kind is not _TXN:
                    if item.kind is EntryKind.CONFIG:
                        self._memberships.append((item.zxid, item.payload))
                    if self.last_zxid and epoch_of(item.zxid) > epoch_of(self.last_zxid):
                        self._ends.append((epoch_of(self.last_zxid), self.last_zxid))
                self.last_zxid = item.zxid
            elif type(item) is Promise:
                self.accepted_epoch = max(self.accepted_epoch, item.epoch)
            elif type(item) is Truncate:
                self._truncate(item.zxid)
            elif type(item) is SnapshotRef:
                self.snapshot = item
                if item.installed:
                    self._stand(item.zxid, item.epochs, item.membership)

    def _stand(self, zxid: Zxid, epochs: EpochEnds, membership: bytes) -> None:
        self.last_zxid = zxid
        self._ends = [(epoch, last) for epoch, last in epochs if epoch < epoch_of(zxid)]
        self._memberships = [(Zxid(0), membership)] if membership else []  # below it no Truncate brings back another

    def _truncate(self, zxid: Zxid) -> None:
        self.last_zxid = min(self.last_zxid, zxid)
        self._ends = [(epoch, last) for epoch, last in self._ends if epoch < epoch_of(self.last_zxid)]
        while self._memberships and self._memberships[-1][0] > self.last_zxid:
            self._memberships.pop()
