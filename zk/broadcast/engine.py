"""What an engine is: events in, effects out. An engine gives all servers the same payloads in the same order, with
zxids and without gaps.

The caller performs the effects in their order; it calls `step` again with what came of them. Log records have serial
numbers (lsn): the
first record appended in this incarnation is 1. `Durable(lsn)` says that all records up to it, and every snapshot file
stored before
them, survive a power cut. Nothing that claims durability leaves an engine before that event.

Peers are servers. A `connection` is a serial number of the caller's; a message from or to a connection that is no
longer the peer's
newest is dropped.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from zk.broadcast.messages import Message
from zk.broadcast.records import Entry, Record, SnapshotRef
from zk.model.record import ConnectionId, Epoch, ServerId, Zxid, record

Token = object
"""Whatever the proposer wants back with its proposal's outcome. The engine never looks at it."""


# ---- events


@record
class Tick:
    """Time has passed; sent every `tick_ms` or so. The time itself comes with `step`."""


@record
class PeerConnected:
    """A connection to `peer` stands, its HELLO was accepted. It replaces any earlier one, which counts as broken.
    `disk_uuid` is the peer's."""

    peer: ServerId
    connection: ConnectionId
    disk_uuid: str


@record
class PeerDisconnected:
    peer: ServerId
    connection: ConnectionId


@record
class PeerReceived:
    peer: ServerId
    connection: ConnectionId
    message: Message


@record
class Propose:
    """Order these payloads. Each comes back in Deliver with its token, or its token, if it is not None, in Rejected."""

    payloads: list[bytes]
    tokens: Sequence[Token]


@record
class Durable:
    lsn: int


@record
class ReadIndex:
    """When is it safe to answer a linearizable read that was called before now? Leader only. Answered by ReadReady or
    Rejected."""

    token: Token


@record
class SnapshotStored:
    """A snapshot of the delivered state at `ref.zxid` is durable under the name `ref.file`: write its record, forget
    what it covers."""

    ref: SnapshotRef


@record
class SnapshotTaken:
    """The answer to TakeSnapshot: the delivered state at `zxid`, as opaque chunks for the peer that is too far
    behind."""

    peer: ServerId
    stream: int
    zxid: Zxid
    digest: str
    chunks: tuple[bytes, ...]


@record
class RaiseEpoch:
    """The zxids of this epoch are too low: if this server leads, begin one above `epoch` as soon as nothing is under
    way. `epoch` is at most half the jump that servers believe of each other. Asked for again until it has come to pass;
    a leader that dies meanwhile takes the wish with it."""

    epoch: Epoch


@record
class Resign:
    """This server is about to stop: if it leads, hand over to the follower that is furthest."""


Event = (
    Tick
    | PeerConnected
    | PeerDisconnected
    | PeerReceived
    | Propose
    | Durable
    | ReadIndex
    | SnapshotStored
    | SnapshotTaken
    | RaiseEpoch
    | Resign
)


# ---- effects


@record
class Send:
    peer: ServerId
    connection: ConnectionId
    message: Message


@record
class Disconnect:
    """Close this connection: the peer broke the protocol, or must begin again."""

    peer: ServerId
    connection: ConnectionId
    reason: str


@record
class Append:
    """Write these records to the log, in this order, behind everything before; report Durable when they are."""

    records: tuple[Record, ...]


@record
class StoreSnapshot:
    """Write a received snapshot to a file of this name, durably, before the next Append."""

    ref: SnapshotRef
    chunks: tuple[bytes, ...]


@record
class Deliver:
    """These payloads are committed, durable here, and next in the one order. There are as many tokens if this server
    proposed them in this role, else none."""

    entries: list[Entry]
    tokens: list[Token]


@record
class Install:
    """Replace the whole state by this snapshot, which is the delivered state at ref.zxid."""

    ref: SnapshotRef
    chunks: tuple[bytes, ...]


@record
class TakeSnapshot:
    """A peer is too far behind for the log: give the delivered state by SnapshotTaken(peer, stream, …)."""

    peer: ServerId
    stream: int


@record
class ReadReady:
    """The read may be answered by any server that has applied `zxid`. It has been delivered here."""

    token: Token
    zxid: Zxid


@record
class Rejected:
    """These tokens' proposals or reads ended without a result here. `maybe_applied` False: certainly never ordered."""

    tokens: tuple[Token, ...]
    maybe_applied: bool


class Role(Enum):
    LOOKING = "looking"
    CANDIDATE = "candidate"
    LEAD_SYNC = "syncing leader"
    LEADING = "leader"
    FOLLOW_SYNC = "syncing follower"
    FOLLOWING = "follower"
    LEARNING = (
        "learner"  # receives everything, counts nowhere: its disk is not (or no longer) the one the ensemble knows
    )
    HALTED = "halted"


@record
class RoleChanged:
    """`leader` is 0 if unknown. Clients are served while the role is LEADING, FOLLOWING, or LEARNING with a leader: its
    state is then the leader's, as of when it came in step. `why` says to the operator what ended the role before, where
    that is not plain."""

    role: Role
    epoch: Epoch
    leader: ServerId
    why: str = ""


@record
class Halt:
    """Go no further: the log and the ensemble contradict each other. `reason` is for the operator."""

    reason: str


Effect = (
    Send
    | Disconnect
    | Append
    | StoreSnapshot
    | Deliver
    | Install
    | TakeSnapshot
    | ReadReady
    | Rejected
    | RoleChanged
    | Halt
)


class Engine(Protocol):
    """One server's share in the broadcast."""

    @property
    def role(self) -> Role: ...

    @property
    def epoch(self) -> Epoch: ...

    @property
    def leader(self) -> ServerId:
        """Whom this server leads or follows; 0 if nobody."""

    @property
    def window_open(self) -> bool:
        """Whether Propose is welcome: this server leads, and not too much is uncommitted."""

    def step(self, now_ms: int, event: Event) -> list[Effect]:
        """Take in one event at the local monotonic time `now_ms` (milliseconds, never running backwards) and say what
        to do."""
