"""What is answered. Which request gets which answer stands at the request."""

from zk.model.acl import Acl, Identity
from zk.model.errors import APIError
from zk.model.record import Epoch, ServerId, SessionId, Zxid, record
from zk.model.requests import CreateMode
from zk.model.stat import Stat
from zk.model.znode import Znode


@record
class Done:
    """It is done, and there is nothing more to say."""


DONE = Done()


@record
class Created:
    """The path as created (with its suffix, if sequential) and the new node's stat."""

    path: str
    stat: Stat


@record
class StatReply:
    stat: Stat


@record
class DataReply:
    """What a client gets of the Znode that the server answers a GetData with."""

    data: bytes
    stat: Stat


@record
class AclReply:
    acl: tuple[Acl, ...]
    stat: Stat


@record
class NodeReply:
    """`mode` is never a sequential one. As in AclReply, who may not administer the node does not see its digests."""

    data: bytes
    acl: tuple[Acl, ...]
    mode: CreateMode
    ttl_ms: int
    stat: Stat


@record
class ChildrenReply:
    """Names (not paths), in no particular order."""

    names: tuple[str, ...]
    stat: Stat


@record
class PageEntry:
    """`stat` and `data` are None unless the page was asked for with data, and where the caller may not read the
    child."""

    name: str
    stat: Stat | None
    data: bytes | None


@record
class ChildrenPageReply:
    """Ascending by name. `more` says whether another page follows: ask with start_after = the last name."""

    entries: tuple[PageEntry, ...]
    more: bool
    stat: Stat


@record
class CountReply:
    count: int


@record
class PathsReply:
    """Sorted paths."""

    paths: tuple[str, ...]


@record
class IdentitiesReply:
    identities: tuple[Identity, ...]


@record
class MultiReply:
    """One result per operation, in order. A failed Multi: Done before the culprit, its error,
    RuntimeInconsistencyError behind it."""

    results: "tuple[Body | APIError, ...]"

    @property
    def failed(self) -> bool:
        """Whether a Multi was refused as a whole. Says nothing of a MultiRead, whose operations fail one by one."""
        return any(isinstance(result, APIError) for result in self.results)


@record
class ConnectReply:
    """The session, its secret (needed to attach again from another connection) and its negotiated timeout.

    `read_only`: there is no quorum. Nobody keeps the session alive here, and a new one ends with the connection.
    """

    session_id: SessionId
    secret: bytes
    timeout_ms: int
    read_only: bool = False


@record
class SaslReply:
    """The server's next word. None: this server knows no users, and nothing is proved."""

    token: bytes | None


@record
class StatusReply:
    """What one server is doing. `role` is 'leader', 'follower', 'read-only', 'looking' …; `leader` 0 if it knows none;
    `digest` is of the tree at `zxid`."""

    server_id: ServerId
    role: str
    epoch: Epoch
    zxid: Zxid
    leader: ServerId
    sessions: int
    znodes: int
    watches: int
    connections: int
    digest: str
    version: str


Body = (
    Done
    | Created
    | StatReply
    | Znode
    | DataReply
    | AclReply
    | NodeReply
    | ChildrenReply
    | ChildrenPageReply
    | CountReply
    | PathsReply
    | IdentitiesReply
    | MultiReply
    | ConnectReply
    | SaslReply
    | StatusReply
)


@record
class Reply:
    """The answer to the call `xid`; `zxid` is the answering server's last applied transaction (for a write: the
    write's own)."""

    xid: int
    zxid: Zxid
    body: Body | APIError
