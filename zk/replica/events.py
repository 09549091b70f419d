"""What a server takes in (events) and gives out (effects). The effects of the broadcast that concern disk and peers
pass through as they are."""

from collections.abc import Sequence

from zk.broadcast import engine
from zk.broadcast.messages import Message
from zk.broadcast.records import SnapshotRef
from zk.model.acl import Identity
from zk.model.events import WatchEvent
from zk.model.peering import ReplicaMessage
from zk.model.record import ConnectionId, ServerId, record
from zk.model.replies import Reply
from zk.model.requests import Call

# ---- events


@record
class Tick:
    """Time has passed; sent every 20 ms or so. `wall_ms` is milliseconds since 1970, for the stamps in
    transactions."""

    wall_ms: int


@record
class ClientConnected:
    """`identities` are what the connection itself proves: its ip address, its certificate."""

    connection: ConnectionId
    identities: tuple[Identity, ...]


@record
class ClientReceived:
    """Calls in the order in which they arrived on the connection."""

    connection: ConnectionId
    calls: Sequence[Call]


@record
class ClientDisconnected:
    """The connection is gone; nothing is sent to it any more. Its session lives on."""

    connection: ConnectionId


@record
class Flush:
    """The round is over: propose, or forward to the leader, the writes that have gathered."""


@record
class DiskSpace:
    """The space left for the log fell below its low-water mark (`low`), or is back above it. At start it is not low."""

    low: bool


@record
class PeerReceived:
    """A message of another server, of its engine or of its replica."""

    peer: ServerId
    connection: ConnectionId
    message: Message | ReplicaMessage


Event = (
    Tick
    | ClientConnected
    | ClientReceived
    | ClientDisconnected
    | Flush
    | DiskSpace
    | PeerReceived
    | engine.PeerConnected
    | engine.PeerDisconnected
    | engine.Durable
    | engine.SnapshotStored
    | engine.Resign
)


# ---- effects


@record
class Answer:
    """Send these to the client, in this order."""

    connection: ConnectionId
    items: list[Reply | WatchEvent]


@record
class CloseClient:
    """Send what was given out before, then close the connection. The session lives on unless it was closed."""

    connection: ConnectionId
    reason: str


@record
class SendPeer:
    """The replica's own; what the engine sends stays an `engine.Send`."""

    peer: ServerId
    connection: ConnectionId
    message: ReplicaMessage


@record
class WriteSnapshot:
    """The next chunk of this server's own snapshot `ref.file`, at leisure. With `last`, make it durable and report
    SnapshotStored(ref)."""

    ref: SnapshotRef
    chunk: bytes
    last: bool


@record
class Log:
    """Something the operator should know. `level` is a number of the logging module."""

    level: int
    text: str


Effect = (
    Answer
    | CloseClient
    | SendPeer
    | WriteSnapshot
    | Log
    | engine.Send
    | engine.Append
    | engine.StoreSnapshot
    | engine.Disconnect
    | engine.RoleChanged
    | engine.Halt
)
