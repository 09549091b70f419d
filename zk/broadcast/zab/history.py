"""The replicated log as one server knows it: its entries in memory, its shape, the membership that it says.

Old delivered entries are forgotten; `base` is where memory begins, and a peer that needs more gets a snapshot. Nothing
here knows what is durable (durability.py) or committed. Read next: durability.py, node.py.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from operator import attrgetter

from zk.broadcast.membership import Membership
from zk.broadcast.records import Entry, EntryKind, EpochEnds
from zk.model.record import Epoch, Zxid
from zk.model.zxids import epoch_of

EPOCHS_KEPT = 1_000
"""How many epochs the shape goes back. A peer that parted earlier finds no common point and gets a snapshot."""

_CONFIG = EntryKind.CONFIG  # found once: Python 3.11 takes longer to find it than to call a method
_zxid_of = attrgetter("zxid")


def common_point(mine: EpochEnds, theirs: EpochEnds) -> Zxid | None:
    """The last zxid up to which two histories are the same; None if that is too long ago to tell.

    An epoch has one leader and no gaps, and a history that holds (epoch, n) holds all that was before it; so they part
    in the newest epoch that both know, where the shorter one ends. The last zxid alone does not tell.
    """
    ends = dict(mine)
    newest_shared = max((epoch for epoch, _ in theirs if epoch in ends), default=None)
    if newest_shared is None:
        return None
    return min(ends[newest_shared], dict(theirs)[newest_shared])


class History:
    """Entries above `base`, ascending, each epoch's without gaps. `shape` describes what lies below `base` too."""

    def __init__(self, base: Zxid, shape: EpochEnds, membership: bytes) -> None:
        self.base = base
        self.last = base
        self.bytes = 0
        self._entries: list[Entry] = []
        self._ends: dict[Epoch, Zxid] = dict(shape) or {Epoch(0): Zxid(0)}
        self._memberships: list[tuple[Zxid, Membership]] = []
        self.membership: Membership | None = None  # the newest one that the log holds; while none is founded, None
        self.membership_zxid = Zxid(0)  # where it stands
        if membership:
            self._memberships.append((base, Membership.decode(membership)))
            self._note_membership()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def shape(self) -> EpochEnds:
        """Every epoch with its last zxid here, ascending."""
        return tuple(self._ends.items())

    def _note_membership(self) -> None:
        self.membership_zxid, self.membership = self._memberships[-1] if self._memberships else (Zxid(0), None)

    def shape_at(self, zxid: Zxid) -> EpochEnds:
        """The shape that the history had when it ended at `zxid`."""
        epoch = epoch_of(zxid)
        return (*((known, end) for known, end in self._ends.items() if known < epoch), (epoch, zxid))

    def membership_at(self, zxid: Zxid) -> bytes:
        """The encoded membership in force at `zxid`."""
        in_force = [membership for at, membership in self._memberships if at <= zxid]
        return in_force[-1].encode() if in_force else b""

    def append(self, entries: Sequence[Entry]) -> int:
        """Take the next entries in; how many bytes their payloads have."""
        first, last = entries[0].zxid, entries[-1].zxid
        assert first > self.last
        size = 0
        for entry in entries:
            size += len(entry.payload)
            if entry.kind is _CONFIG:
                self._memberships.append((entry.zxid, Membership.decode(entry.payload)))
                self._note_membership()
        if last - first >= len(entries):  # they are of several epochs
            for entry in entries:
                self._ends[epoch_of(entry.zxid)] = entry.zxid
        self._ends[epoch_of(last)] = last
        while len(self._ends) > EPOCHS_KEPT:
            del self._ends[next(iter(self._ends))]
        self._entries += entries
        self.bytes += size
        self.last = last
        return size

    def truncate(self, zxid: Zxid) -> None:
        """Drop every entry above `zxid`, which is in the history and not below `base`."""
        assert self.holds(zxid)
        position = self._position(zxid)
        self.bytes -= sum([len(entry.payload) for entry in self._entries[position:]])
        del self._entries[position:]
        while self._memberships and self._memberships[-1][0] > zxid:
            self._memberships.pop()
        self._note_membership()
        self._ends = dict(self.shape_at(zxid))
        self.last = zxid

    def holds(self, zxid: Zxid) -> bool:
        """Whether `zxid` is a position of the history in memory, `base` included."""
        position = self._position(zxid)
        return self._entries[position - 1].zxid == zxid if position else zxid == self.base

    def between(self, low: Zxid, high: Zxid, entries_max: int) -> list[Entry]:
        """The first entries above `low` up to `high`, which are at or above `base`."""
        start, end = self._position(low), self._position(high)
        return self._entries[start : end if end - start <= entries_max else start + entries_max]

    def frame(self, above: Zxid, entries_max: int, bytes_max: int) -> tuple[Entry, ...]:
        """The first entries above `above`, at most that many and, unless a single one is larger, that large."""
        start = self._position(above)
        return next(frames(self._entries[start : start + entries_max], entries_max, bytes_max), ())

    def exceeds(self, entries_max: int, bytes_max: int) -> bool:
        """Whether there is clearly more in memory than the given limits: the list is not to be moved for every
        batch."""
        return len(self._entries) > 1_024 + entries_max + entries_max // 8 or self.bytes > bytes_max + bytes_max // 8

    def forget(self, up_to: Zxid, entries_max: int, bytes_max: int) -> None:
        """Drop the oldest entries down to the given limits, but none above `up_to`."""
        entries, droppable = self._entries, self._position(up_to)
        count = min(droppable, max(0, len(entries) - entries_max))
        dropped_bytes = sum([len(entry.payload) for entry in entries[:count]])
        while count < droppable and self.bytes - dropped_bytes > bytes_max:
            dropped_bytes += len(entries[count].payload)
            count += 1
        if count:
            self.base = entries[count - 1].zxid
            self.bytes -= dropped_bytes
            del entries[:count]

    def _position(self, zxid: Zxid) -> int:
        """How many of the entries are at or below `zxid`."""
        entries = self._entries
        if zxid >= self.last:
            return len(entries)
        position = len(entries) - (self.last - zxid)  # where it stands if it is of the newest epoch, and here
        if position > 0 and entries[position - 1].zxid == zxid:
            return position
        return bisect_right(self._entries, zxid, key=_zxid_of)


def frames(entries: Sequence[Entry], entries_max: int, bytes_max: int) -> Iterator[tuple[Entry, ...]]:
    """The same entries, cut into runs of at most that many and, unless a single one is larger, that large."""
    begin = size = 0
    for index, entry in enumerate(entries):
        size += len(entry.payload)
        if index > begin and (size > bytes_max or index - begin == entries_max):
            yield tuple(entries[begin:index])
            begin, size = index, len(entry.payload)
    if begin < len(entries):
        yield tuple(entries[begin:])
