"""What a server remembers about another one: the connection, and, while leading, its stream of replication."""

from collections import deque
from dataclasses import dataclass, field

from zk.broadcast.engine import SnapshotTaken
from zk.broadcast.records import EpochEnds
from zk.model.record import ConnectionId, Zxid, record

NOTHING = Zxid(0)


class RemoteProtocolError(Exception):
    """A peer sent what no correct peer sends. Its connection is closed; nothing else is harmed."""


@dataclass(slots=True)
class Link:
    """A standing connection. `cluster_id`: the founding that the peer's log belongs to, as it said in it; "" if it has
    named none."""

    connection: ConnectionId
    disk_uuid: str
    cluster_id: str = ""


@record
class Promised:
    """A voter's durable promise for the epoch that this server campaigns for, or leads."""

    stream: int
    epochs: EpochEnds


@dataclass(slots=True)
class Sync:
    """A synchronisation under way: chunks of a snapshot if the log does not reach back far enough, then the log from
    `cursor` on. `sent` and `received` count frames."""

    cursor: Zxid
    awaits_snapshot: bool = False
    snapshot: SnapshotTaken | None = None
    next_chunk: int = 0
    sent: int = 0
    received: int = 0


@dataclass(slots=True)
class Follower:
    """The leader's side of a stream.

    `counted`: it is a voter, with the disk that the ensemble knows. `begun_at` is what was committed when the stream
    began; `sync` is None before the AckEpoch, and again once `streaming`. `heard_ms` is when the newest ping was sent
    that it answered, `seq` that ping's number.
    """

    stream: int
    counted: bool
    begun_at: Zxid
    heard_ms: int
    sync: Sync | None = None
    streaming: bool = False
    acked: Zxid = NOTHING
    seq: int = 0
    in_flight: deque[tuple[Zxid, int]] = field(default_factory=deque)
    in_flight_bytes: int = 0

    @property
    def caught_up(self) -> bool:
        """Whether it has, durably, this epoch's marker and all that was committed when its stream began."""
        return self.acked != NOTHING and self.acked >= self.begun_at

    def sent(self, last: Zxid, size: int) -> None:
        """A Proposal up to `last` with `size` bytes of payload is on its way."""
        self.in_flight.append((last, size))
        self.in_flight_bytes += size

    def acknowledged(self, zxid: Zxid) -> None:
        """It has all up to `zxid` durable."""
        if zxid > self.acked:
            self.acked = zxid
        while self.in_flight and self.in_flight[0][0] <= zxid:
            self.in_flight_bytes -= self.in_flight.popleft()[1]
