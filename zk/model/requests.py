"""What can be asked of the service. Writes become transactions of the ordered log; reads are answered by one server.

A path in a request is text as the client sent it: the tree validates it, in the documented order of checks.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.errors import APIError
from zk.model.events import WatcherType, WatchMode
from zk.model.record import ServerId, SessionId, Zxid, record

if TYPE_CHECKING:
    from zk.model.znode import Znode  # which needs the kinds of znodes from here


class CreateMode(IntEnum):
    """Kinds of znodes; the numbers are ZooKeeper's."""

    PERSISTENT = 0
    EPHEMERAL = 1
    PERSISTENT_SEQUENTIAL = 2
    EPHEMERAL_SEQUENTIAL = 3
    CONTAINER = 4
    PERSISTENT_WITH_TTL = 5
    PERSISTENT_SEQUENTIAL_WITH_TTL = 6

    @property
    def sequential(self) -> bool:
        return self in (2, 3, 6)

    @property
    def ephemeral(self) -> bool:
        return self in (1, 3)

    @property
    def has_ttl(self) -> bool:
        return self in (5, 6)


ANY_VERSION = -1
TTL_MS_MAX = (1 << 40) - 1  # ZooKeeper's: 34 years

# ---- writes of clients


@record
class Create:
    """Create a znode. `ttl_ms` > 0 goes with the two TTL modes and no other. Answer: Created."""

    path: str
    data: bytes
    acl: tuple[Acl, ...] = OPEN_ACL
    mode: CreateMode = CreateMode.PERSISTENT
    ttl_ms: int = 0


@record
class Delete:
    """Delete a znode that has no children. Answer: Done."""

    path: str
    version: int = ANY_VERSION


@record
class SetData:
    """Replace a znode's data. Answer: StatReply."""

    path: str
    data: bytes
    version: int = ANY_VERSION


@record
class SetAcl:
    """Replace a znode's ACL if `version` matches its aversion. Answer: StatReply."""

    path: str
    acl: tuple[Acl, ...]
    version: int = ANY_VERSION


@record
class Check:
    """Refuse unless the node exists, with this version and (if not 0) this czxid. Inside a Multi it guards the others.
    Answer: Done.

    `czxid` tells a node from a later one of the same name: what a lock's guard needs.
    """

    path: str
    version: int = ANY_VERSION
    czxid: Zxid = Zxid(0)


Operation = Create | Delete | SetData | SetAcl | Check


@record
class Multi:
    """All of the operations in one transaction, or none. Answer: MultiReply."""

    operations: tuple[Operation, ...]


@record
class BeginRestore:
    """Make ready for a tree that is brought here with its stats and all: it is out of sight until FinishRestore, and
    dropped when the session ends. Only where there is nothing but the service's own nodes. No stat may name a zxid
    above `last_zxid`, and the service's own go on above it. Answer: Done.
    """

    last_zxid: Zxid


@record
class Restore:
    """Bring more of it: first the nodes at `gone` are taken back, then these come, each behind its parent; one that
    was brought before is replaced. Answer: Done.
    """

    nodes: "tuple[tuple[str, Znode], ...]"
    gone: tuple[str, ...] = ()


@record
class FinishRestore:
    """Let all that was brought be seen, in one transaction; `znodes` says how much that must be. BadArgumentsError as
    long as the zxids of the service are not above those of the stats: its status shows when they are. Answer: Done.
    """

    znodes: int


@record
class AddAuth:
    """Add an identity to the session: 'digest' with b'user:password'. Schemes that the connection proves by itself
    ('ip', 'x509') add nothing, and are refused where it does not. Answer: Done."""

    scheme: str
    credential: bytes


@record
class Sasl:
    """One step of SASL's DIGEST-MD5: first an empty token, then the response to the challenge. Answer: SaslReply."""

    token: bytes


@record
class CloseSession:
    """End the session and delete its ephemerals, in one transaction. Answer: Done, then the connection closes."""


# ---- writes that servers make


@record
class OpenSession:
    """A new session, proposed by the server that the client reached; `nonce` lets that server recognise its own.
    Refused if the client has seen `last_zxid` where the log has not come yet: it knows another history than this one.
    """

    session_id: SessionId
    secret: bytes
    timeout_ms: int
    identities: tuple[Identity, ...]
    server_id: ServerId
    nonce: int
    last_zxid: Zxid = Zxid(0)


@record
class AttachSession:
    """A client came (back) with a session it holds: from here on only its new connection may use the session.
    `last_zxid` as in OpenSession."""

    session_id: SessionId
    secret: bytes
    timeout_ms: int
    identities: tuple[Identity, ...]
    server_id: ServerId
    nonce: int
    last_zxid: Zxid = Zxid(0)


@record
class Authenticate:
    """AddAuth and Sasl as they are ordered: the credential was checked by the client's server, the secret is not in the
    log."""

    identities: tuple[Identity, ...]


@record
class ExpireSession:
    """The leader heard nothing of the session for its timeout. Void if the session was attached again since
    `generation`."""

    session_id: SessionId
    generation: Zxid


@record
class Reap:
    """The leader found a container empty or a TTL over. The condition is checked again when it is applied."""

    path: str


@record
class NameMembers:
    """The leader found that /zookeeper/config names other servers than those that the ensemble has: one line each."""

    members: tuple[str, ...]


ClientWrite = (
    Create
    | Delete
    | SetData
    | SetAcl
    | Check
    | Multi
    | BeginRestore
    | Restore
    | FinishRestore
    | CloseSession
    | Authenticate
)
ServerWrite = OpenSession | AttachSession | ExpireSession | Reap | NameMembers
Write = ClientWrite | ServerWrite


@dataclass(slots=True, unsafe_hash=True)  # not @record: who proposes it fills the time in
class Txn:
    """One entry of the ordered log: a request with all that applying it needs, so that applying is a pure function.

    `session_id`, `generation` (zxid of the attach that the connection rests on) and `n` (1, 2, 3 … per attach) keep a
    client's writes in
    their order or refuse them; they are 0 in a ServerWrite. `xid` > 0 is the client's sequence number of the write,
    under which the answer
    is kept for a resend (0: keep none); all answers below `floor` have arrived at the client. `time_ms` is the
    leader's clock.
    """

    time_ms: int
    session_id: SessionId
    generation: Zxid
    n: int
    xid: int
    floor: int
    request: Write


# ---- reads


@record
class Exists:
    """Answer: StatReply, or NoNodeError. With `watch`, leaves a one-shot watch in both cases."""

    path: str
    watch: bool = False


@record
class GetData:
    """Answer: the Znode."""

    path: str
    watch: bool = False


@record
class GetAcl:
    """Answer: AclReply."""

    path: str


@record
class GetNode:
    """All that there is to one node, its kind and ACL included: what another service must know to have the same.
    Answer: NodeReply."""

    path: str


@record
class GetChildren:
    """All children's names, and the node's stat. Answer: ChildrenReply."""

    path: str
    watch: bool = False


@record
class GetChildrenPage:
    """Up to `limit` children in ascending order of name, after `start_after` (exclusive, '' for the beginning),
    starting with `prefix`.

    Answer: ChildrenPageReply, with stat and data of each child if `with_data`: then of as many as PAGE_DATA_BYTES_MAX
    allows.
    """

    path: str
    prefix: str = ""
    start_after: str = ""
    limit: int = 1_000
    with_data: bool = False


@record
class CountDescendants:
    """How many nodes are below `path`, itself not counted. Answer: CountReply."""

    path: str


@record
class GetEphemerals:
    """Paths of the session's own ephemerals that start with `prefix`. Answer: PathsReply."""

    prefix: str = "/"


@record
class WhoAmI:
    """Answer: IdentitiesReply."""


@record
class MultiRead:
    """Several GetData and GetChildren at one instant; an error per operation. Answer: MultiReply."""

    operations: tuple[GetData | GetChildren, ...]


TreeRead = (
    Exists
    | GetData
    | GetAcl
    | GetNode
    | GetChildren
    | GetChildrenPage
    | CountDescendants
    | GetEphemerals
    | WhoAmI
    | MultiRead
)

# ---- requests about the connection, answered by the server that holds it


@record
class Connect:
    """The first request of a connection. `session_id` 0 asks for a new session. Answer: ConnectReply.

    `read_only`: rather be served old state, and no writes, than nothing, where there is no quorum.
    """

    session_id: SessionId
    secret: bytes
    timeout_ms: int
    last_zxid: Zxid = Zxid(0)
    read_only: bool = False


@record
class Ping:
    """I am here. Answer: Done."""


@record
class Sync:
    """Answered when this server has all that was committed anywhere before the call. Answer: Done."""

    path: str = "/"


@record
class AddWatch:
    """Watch `path` until removed. With `since`, first tell every change after that zxid, or RESYNC. Answer: Done."""

    path: str
    mode: WatchMode
    since: Zxid | None = None


@record
class RemoveWatches:
    """Remove this connection's watches of a type on `path`; NoWatcherError if there is none. Answer: Done."""

    path: str
    type: WatcherType


@record
class CheckWatches:
    """Say Done if this connection has a watch of the type on `path`, else NoWatcherError."""

    path: str
    type: WatcherType


@record
class SetWatches:
    """After a reconnect: set these watches again, and tell at once what changed since `since`. Answer: Done."""

    since: Zxid
    data: tuple[str, ...] = ()
    exist: tuple[str, ...] = ()
    child: tuple[str, ...] = ()
    persistent: tuple[str, ...] = ()
    recursive: tuple[str, ...] = ()


@record
class GetStatus:
    """What this server is doing. Needs no session. Answer: StatusReply."""


@record
class Malformed:
    """A call that was framed well, but whose content could not be understood: it gets its refusal in its turn. With
    `final`, that is the last thing its connection hears."""

    error: APIError
    final: bool = False


ConnectionRequest = Malformed | Connect | Ping | Sync | AddWatch | RemoveWatches | CheckWatches | SetWatches | GetStatus

ClientRequest = (
    Create
    | Delete
    | SetData
    | SetAcl
    | Check
    | Multi
    | BeginRestore
    | Restore
    | FinishRestore
    | AddAuth
    | Sasl
    | CloseSession
    | TreeRead
    | ConnectionRequest
)


@record
class Call:
    """A request as it arrived on a connection.

    `xid` grows strictly over the life of the session (not of the connection). `floor` (writes): every answer below it
    has arrived.
    `at_least` (reads): answer at this zxid or later. `linearizable` (reads): as if executed at one instant between
    call and answer.
    """

    xid: int
    request: ClientRequest
    floor: int = 0
    at_least: Zxid = Zxid(0)
    linearizable: bool = False
