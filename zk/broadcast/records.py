"""Records of the write-ahead log: the one authority on what a server has promised, accepted and dropped.

The leader's epoch marker, truncations, promises and snapshot references are records of the same log as the
transactions, so there is one
order in which they become durable, and no side file that can disagree.
"""

from enum import IntEnum

from zk.model.record import Epoch, Zxid, record


class EntryKind(IntEnum):
    """What an Entry carries."""

    TXN = 1  # a payload of the layer above
    MARKER = 2  # counter 0 of an epoch: the leader's NEWLEADER
    CONFIG = 3  # a Membership; effective as soon as it is appended


@record
class Promise:
    """P(e): this server takes part in no epoch below `epoch` any more (Zab's accepted epoch)."""

    epoch: Epoch


@record
class Entry:
    """E(zxid): one position of the replicated log."""

    zxid: Zxid
    kind: EntryKind
    payload: bytes


@record
class Truncate:
    """T(zxid): every entry above `zxid` is void."""

    zxid: Zxid


EpochEnds = tuple[tuple[Epoch, Zxid], ...]
"""Ascending (epoch, its last zxid): the shape of a history, enough to find where two of them part."""


@record
class SnapshotRef:
    """S(zxid): the file `file` holds the delivered state at exactly `zxid`.

    `epochs` is the shape of the history up to there, `membership` the encoded Membership in force. `installed`: it
    came from the leader
    and replaces the whole log before it; else it was taken here.
    """

    zxid: Zxid
    file: str
    digest: str
    epochs: EpochEnds
    membership: bytes
    installed: bool


Record = Promise | Entry | Truncate | SnapshotRef


@record
class Recovered:
    """What a server's log says at start.

    `snapshot` is the newest one that a record names and whose file is whole; `records` follow it in log order (a
    Promise below
    `accepted_epoch`, or what the snapshot covers, may be among them). `damaged`: something once durable is lost, so
    the server must not
    vote until the ensemble has taken it in again under its new `disk_uuid`.
    """

    disk_uuid: str
    accepted_epoch: Epoch
    snapshot: SnapshotRef | None
    records: tuple[Record, ...]
    damaged: bool
