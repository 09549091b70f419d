"""AsyncZooKeeper: the client's methods. How a session is kept alive is the machine's matter."""

from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Literal, Self, overload

from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.events import WatchEvent
from zk.model.record import SessionId, Zxid
from zk.model.replies import PageEntry, StatusReply
from zk.model.requests import ANY_VERSION, CreateMode, GetChildren, GetData
from zk.model.stat import Stat
from zkclient.errors import APIError
from zkclient.recipes.contenders import Held
from zkclient.recipes.election import Election
from zkclient.recipes.lock import Lock
from zkclient.results import ClientStatistics, NodeData, State
from zkclient.transaction import Transaction
from zkclient.watching import WatchStream

Consistency = Literal["session", "linearizable"]
Watcher = Callable[[WatchEvent], object]
DEFAULT_HOSTS = "127.0.0.1:2181"


async def status_of(host: str, *, timeout: float = 5.0) -> StatusReply:
    """What the server at `host` ('host:port') is doing. Needs no session and no quorum.

    Raises ConnectionLossError if it can't be reached, OperationTimeoutError if it does not answer in `timeout` seconds.
    """
    raise NotImplementedError


class AsyncZooKeeper:
    """A client of the service, and one session with it. Runs on asyncio and trio.

        async with AsyncZooKeeper("host1:2181,host2:2181") as zk:
            await zk.create("/config", "config.json", ephemeral=True)
            print(await zk.get("/config"))

    It connects at the first call, moves to another server by itself, and keeps its session there. A write is done
    exactly once as long as the session lives: don't wrap calls in retries.

    `hosts` is 'host:port,host:port' with an optional '/chroot' behind it, below which all paths then are.
    `session_timeout_ms` is what the service is asked for (it has limits of its own). `timeout` (seconds) is the default
    deadline of a call; each call takes its own `timeout`, and `anyio.fail_after` works too.

    Every call may raise ConnectionLossError (it never left this process: nothing happened), OperationTimeoutError,
    SessionExpiredError (both with `maybe_applied`), or what the service refuses: an APIError.
    """

    PERSISTENT = CreateMode.PERSISTENT
    EPHEMERAL = CreateMode.EPHEMERAL
    SEQUENCE = CreateMode.PERSISTENT_SEQUENTIAL
    CONTAINER = CreateMode.CONTAINER

    def __init__(self, hosts: str = DEFAULT_HOSTS, *, session_timeout_ms: int = 10_000, timeout: float = 10.0) -> None:
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the session, which deletes its ephemeral nodes, and close the connection."""
        raise NotImplementedError

    # ---- the session

    @property
    def state(self) -> State:
        """Where the session stands."""
        raise NotImplementedError

    @property
    def session_id(self) -> SessionId:
        """0 before the first connect."""
        raise NotImplementedError

    @property
    def last_zxid(self) -> Zxid:
        """The newest transaction that this client has seen: pass it to another process as `at_least`."""
        raise NotImplementedError

    def add_listener(self, listener: Callable[[State], object]) -> None:
        """Call `listener` at every change of the state. It must not block."""
        raise NotImplementedError

    def remove_listener(self, listener: Callable[[State], object]) -> None:
        raise NotImplementedError

    def statistics(self) -> ClientStatistics:
        raise NotImplementedError

    async def status(self, *, timeout: float | None = None) -> StatusReply:
        """What the server that this client is attached to is doing. See `status_of` for any other."""
        raise NotImplementedError

    async def whoami(self, *, timeout: float | None = None) -> tuple[Identity, ...]:
        """The session's identities."""
        raise NotImplementedError

    async def add_auth(self, scheme: str, credential: str | bytes, *, timeout: float | None = None) -> None:
        """Add an identity: scheme 'digest' with 'user:password'. Kept for this client's later sessions too."""
        raise NotImplementedError

    async def sync(self, path: str = "/", *, timeout: float | None = None) -> None:
        """Wait until the attached server has all that was committed anywhere before this call."""
        raise NotImplementedError

    # ---- writes

    async def create(
        self,
        path: str,
        data: str | bytes = b"",
        *,
        acl: Sequence[Acl] = OPEN_ACL,
        flags: int = 0,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl_ms: int = 0,
        makepath: bool = False,
        timeout: float | None = None,
    ) -> str:
        """Create a node and return its path, with the suffix if it is sequential.

        The kind is given by keywords or by `flags` (`AsyncZooKeeper.EPHEMERAL | AsyncZooKeeper.SEQUENCE`); `ttl_ms` > 0
        makes it a TTL node. With `makepath`, missing parents are created, as persistent nodes.

        Raises NodeExistsError, NoNodeError (no parent), NoChildrenForEphemeralsError, NoAuthError, InvalidACLError,
        QuotaExceededError, BadArgumentsError.
        """
        raise NotImplementedError

    async def ensure_path(
        self, path: str, *, acl: Sequence[Acl] = OPEN_ACL, container: bool = False, timeout: float | None = None
    ) -> None:
        """Create `path` and its parents as far as they are missing; as containers if asked for."""
        raise NotImplementedError

    async def set(
        self, path: str, data: str | bytes, *, version: int = ANY_VERSION, timeout: float | None = None
    ) -> Stat:
        """Replace a node's data. Raises NoNodeError, BadVersionError, NoAuthError, QuotaExceededError."""
        raise NotImplementedError

    async def delete(
        self, path: str, *, version: int = ANY_VERSION, recursive: bool = False, timeout: float | None = None
    ) -> None:
        """Delete a node; with `recursive`, all below it first (not in one transaction).

        Raises NoNodeError, BadVersionError, NotEmptyError, NoAuthError, BadArgumentsError (reserved path).
        """
        raise NotImplementedError

    async def set_acls(
        self, path: str, acl: Sequence[Acl], *, version: int = ANY_VERSION, timeout: float | None = None
    ) -> Stat:
        """Replace a node's ACL if its aversion is `version`."""
        raise NotImplementedError

    def transaction(self, *, guard: Held | None = None, timeout: float | None = None) -> Transaction:
        """Writes that are done all together or not at all.

            async with zk.transaction() as txn:
                txn.create("/a", "1")
                txn.set("/b", "2", version=7)
            print(txn.results)

        Leaving the block (or `await txn.commit()`) does it, and raises TransactionFailed if it was refused. With
        `guard` (what `async with zk.Lock(..) as held` gives) it is refused with LockLost unless the lock is still held.
        """
        raise NotImplementedError

    # ---- reads

    async def exists(
        self,
        path: str,
        *,
        watch: Watcher | None = None,
        read: Consistency = "session",
        at_least: Zxid | int = 0,
        timeout: float | None = None,
    ) -> Stat | None:
        """The node's stat, or None. `watch` is called once, at the next change of the node or when it appears."""
        raise NotImplementedError

    async def get(
        self,
        path: str,
        *,
        watch: Watcher | None = None,
        read: Consistency = "session",
        at_least: Zxid | int = 0,
        timeout: float | None = None,
    ) -> NodeData:
        """The node's data and stat: `data, stat = await zk.get(path)`; it prints as text.

        `read="linearizable"` sees every write that was answered anywhere before this call. `at_least` waits until the
        server has applied that transaction. `watch` is called once, at the next change of the node.
        """
        raise NotImplementedError

    @overload
    async def get_children(
        self,
        path: str,
        *,
        watch: Watcher | None = ...,
        include_stat: Literal[False] = ...,
        read: Consistency = ...,
        at_least: Zxid | int = ...,
        timeout: float | None = ...,
    ) -> tuple[str, ...]: ...
    @overload
    async def get_children(
        self,
        path: str,
        *,
        watch: Watcher | None = ...,
        include_stat: Literal[True],
        read: Consistency = ...,
        at_least: Zxid | int = ...,
        timeout: float | None = ...,
    ) -> tuple[tuple[str, ...], Stat]: ...
    async def get_children(
        self,
        path: str,
        *,
        watch: Watcher | None = None,
        include_stat: bool = False,
        read: Consistency = "session",
        at_least: Zxid | int = 0,
        timeout: float | None = None,
    ) -> tuple[str, ...] | tuple[tuple[str, ...], Stat]:
        """The names of the children, sorted; with `include_stat` also the node's own stat. `watch` is called once, when
        a child comes or goes or the node is deleted. For very many children see `pages`."""
        raise NotImplementedError

    def pages(
        self,
        path: str,
        *,
        prefix: str = "",
        start_after: str = "",
        page_size: int = 1_000,
        with_data: bool = False,
        read: Consistency = "session",
        timeout: float | None = None,
    ) -> AsyncIterator[tuple[PageEntry, ...]]:
        """The children in ascending order of their names, page by page; `with_data` adds each child's data and stat.
        Each page is read at one instant, different pages at different ones."""
        raise NotImplementedError

    async def count(self, path: str = "/", *, read: Consistency = "session", timeout: float | None = None) -> int:
        """How many nodes are below `path`, itself not counted."""
        raise NotImplementedError

    async def get_acls(
        self, path: str, *, read: Consistency = "session", timeout: float | None = None
    ) -> tuple[tuple[Acl, ...], Stat]:
        """The node's ACL and stat."""
        raise NotImplementedError

    async def get_ephemerals(self, prefix: str = "/", *, timeout: float | None = None) -> tuple[str, ...]:
        """Paths of this session's ephemeral nodes that start with `prefix`, sorted."""
        raise NotImplementedError

    async def multi_read(
        self,
        operations: Sequence[GetData | GetChildren],
        *,
        read: Consistency = "session",
        at_least: Zxid | int = 0,
        timeout: float | None = None,
    ) -> tuple[NodeData | tuple[str, ...] | APIError, ...]:
        """Several reads at one instant: data for each GetData, sorted names for each GetChildren, or its error."""
        raise NotImplementedError

    def watch(
        self, path: str, *, recursive: bool = False, since: Zxid | int | None = None, buffer_size: int = 1_000
    ) -> WatchStream:
        """Every change of the node and its children (`recursive`: of the node and all below it), as a stream.

            async for event in zk.watch("/config", recursive=True):
                print(event.type.name, event.path, event.zxid)

        Watching begins with this call: a later read of the same client shows nothing that the stream will not tell.
        With `since`, changes after that zxid come first. It goes on over reconnects and new sessions without a gap.
        If the consumer falls behind by more than `buffer_size` events, equal ones are merged to the latest; if that is
        not enough, or the service does not remember that far back, one RESYNC event says: read everything again.
        """
        raise NotImplementedError

    # ---- recipes

    def Lock(self, path: str, *, identifier: str = "", timeout: float | None = None) -> Lock:  # noqa: N802 - kazoo's name
        """See `zkclient.Lock`."""
        raise NotImplementedError

    def Election(self, path: str, id: str = "", *, timeout: float | None = None) -> Election:  # noqa: A002, N802 - kazoo's name
        """See `zkclient.Election`."""
        raise NotImplementedError
