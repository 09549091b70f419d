"""Messages between the engines of two servers. Every stream of replication has a nonce (`stream`), echoed in all of
its messages.

Source: Junqueira, Reed, Serafini, "Zab: High-performance broadcast for primary-backup systems" (DSN 2011), with pre-
vote (Ongaro, Raft
thesis, 9.6) in front of its discovery phase.
"""

from zk.broadcast.records import Entry, EpochEnds
from zk.model.record import Epoch, ServerId, Zxid, record


@record
class Poll:
    """Would you elect me? Nothing is persisted for it.

    `cluster_id`: which founding of the ensemble my log belongs to, by the Membership that it holds; "" if it holds
    none. `counts_you`: that Membership knows you by the disk you have (or none of us has one yet): your vote would
    count.
    """

    round: int
    accepted_epoch: Epoch
    last: Zxid
    cluster_id: str
    counts_you: bool


@record
class PollReply:
    """`leader` names the leader that the voter hears of at the moment, else 0. `cluster_id`: as in Poll, the voter's
    own."""

    round: int
    granted: bool
    accepted_epoch: Epoch
    leader: ServerId
    cluster_id: str


@record
class NewEpoch:
    """I lead (`won`), or want to lead, `epoch`; my log ends at `last`. `stream` answers a Join, else 0.

    `cluster_id` and `counts_you`: as in Poll.
    """

    epoch: Epoch
    last: Zxid
    won: bool
    stream: int
    cluster_id: str
    counts_you: bool


@record
class AckEpoch:
    """My promise for `epoch` is durable. `epochs` is the shape of my log, `base` where it begins, `cluster_id` as in
    Poll: shapes of two foundings can't be compared. `stream` names what should follow."""

    epoch: Epoch
    epochs: EpochEnds
    base: Zxid
    stream: int
    cluster_id: str


@record
class Join:
    """You lead: take me in. `cluster_id`: as in Poll."""

    accepted_epoch: Epoch
    stream: int
    cluster_id: str


@record
class SyncLog:
    """Your log and mine agree up to `common`: drop what you have above it and append `entries` (DIFF, TRUNC, or both).
    More follow if not `last`, each beginning where the one before ended."""

    epoch: Epoch
    stream: int
    common: Zxid
    entries: tuple[Entry, ...]
    last: bool


@record
class SyncSnapshot:
    """Chunk `index` of `count` of the delivered state at `zxid`; a SyncLog with common = `zxid` follows the last
    one."""

    epoch: Epoch
    stream: int
    zxid: Zxid
    digest: str
    epochs: EpochEnds
    membership: bytes
    index: int
    count: int
    chunk: bytes


@record
class SyncAck:
    """Frame `index` of the synchronisation (each SyncSnapshot and each SyncLog but the last, counted from 0) has
    arrived: send on. Keeps what is under way bounded."""

    epoch: Epoch
    stream: int
    index: int


@record
class Proposal:
    """Append `entries` right behind `prev`; everything up to `commit` is committed."""

    epoch: Epoch
    stream: int
    prev: Zxid
    entries: tuple[Entry, ...]
    commit: Zxid


@record
class Ack:
    """All up to `zxid` is durable here (cumulative)."""

    epoch: Epoch
    stream: int
    zxid: Zxid


@record
class Commit:
    epoch: Epoch
    stream: int
    zxid: Zxid


@record
class PingPeer:
    """The leader lives. `sent_ms` is its own clock and comes back."""

    epoch: Epoch
    stream: int
    seq: int
    sent_ms: int
    commit: Zxid


@record
class PongPeer:
    epoch: Epoch
    stream: int
    seq: int
    sent_ms: int


@record
class HandOver:
    """The leader of `epoch` resigns; `successor` should campaign at once, the others should let it."""

    epoch: Epoch
    stream: int
    successor: ServerId


Message = (
    Poll
    | PollReply
    | NewEpoch
    | AckEpoch
    | Join
    | SyncLog
    | SyncSnapshot
    | SyncAck
    | Proposal
    | Ack
    | Commit
    | PingPeer
    | PongPeer
    | HandOver
)
