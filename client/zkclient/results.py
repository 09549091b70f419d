"""What the client's methods return where the service's own values would be unhandy."""

from enum import Enum

from zk.model.record import SessionId, Zxid, record
from zk.model.stat import Stat


class State(Enum):
    """The session as the client sees it. Listeners are told at every change."""

    CONNECTING = "connecting"
    """No session yet."""
    CONNECTED = "connected"
    """Attached to a server."""
    CONNECTED_READ_ONLY = "connected read-only"
    """Served by a server without a quorum, which the client allows: old state can be read, nothing written. The session
    is no safer than in SUSPENDED, and may be lost meanwhile."""
    SUSPENDED = "suspended"
    """Not attached. The session is alive, and a server is looked for; calls wait."""
    LOST = "lost"
    """The session may be over: it was not heard of for its timeout, or the service said so. Give up what it held."""
    CLOSED = "closed"
    """The client was closed."""


class PartitionState(Enum):
    """Where the set of a `Partitioner`'s member stands."""

    ALLOCATING = "allocating"
    """There is none; it waits until nobody joins or leaves, and for the locks."""
    ACQUIRED = "acquired"
    """It is held."""
    RELEASE = "release"
    """It is held, and is to be released."""
    FAILURE = "failure"
    """It is lost, for good."""


class NodeData(tuple[bytes, Stat]):
    """What `get` found: prints as text, unpacks as `data, stat`, and knows the `zxid` at which it was read."""

    zxid: Zxid

    def __new__(cls, data: bytes, stat: Stat, zxid: Zxid) -> "NodeData":
        self = super().__new__(cls, (data, stat))
        self.zxid = zxid
        return self

    @property
    def data(self) -> bytes:
        return self[0]

    @property
    def stat(self) -> Stat:
        return self[1]

    def __bytes__(self) -> bytes:
        return self[0]

    def __str__(self) -> str:
        return self[0].decode("utf-8", "backslashreplace")

    def __repr__(self) -> str:
        return f"NodeData({self[0]!r}, {self[1]!r}, zxid={self.zxid:#x})"


@record
class ClientStatistics:
    """A snapshot for people and dashboards. `server` is 'host:port', empty if the client is not attached to any."""

    state: State
    server: str
    session_id: SessionId
    session_timeout_ms: int
    last_zxid: Zxid
    calls_pending: int
    watches: int
    calls: int
    connects: int
    bytes_sent: int
    bytes_received: int
