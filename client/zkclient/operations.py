"""The operations of the service: what each method sends, and what its answer means.

Nothing here knows of event loops or threads: who makes the calls is a `Caller`. So the same code serves coroutines
(client.py) and plain threads (blocking.py).
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Literal, overload

from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.events import WatchEvent
from zk.model.paths import join, parent, validate
from zk.model.record import Zxid, record
from zk.model.replies import (
    AclReply,
    Body,
    ChildrenPageReply,
    ChildrenReply,
    CountReply,
    Created,
    DataReply,
    IdentitiesReply,
    MultiReply,
    PathsReply,
    Reply,
    StatReply,
    StatusReply,
)
from zk.model.requests import (
    ANY_VERSION,
    AddAuth,
    ClientRequest,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    GetStatus,
    Multi,
    MultiRead,
    SetAcl,
    SetData,
    Sync,
    WhoAmI,
)
from zk.model.stat import Stat
from zkclient.calling import Caller
from zkclient.calls import ANYTHING
from zkclient.errors import (
    APIError,
    BadArgumentsError,
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NoWatcherError,
    ZKError,
    at_path,
)
from zkclient.paging import Pages, Walk
from zkclient.recipes.held import Held
from zkclient.results import NodeData
from zkclient.transaction import Transaction, create_request, to_bytes
from zkclient.watchers import Notified

Consistency = Literal["session", "linearizable"]
Watcher = Callable[[WatchEvent], object]


@record
class Told:
    """Tells a watcher of events, with paths as it knows them."""

    watch: Watcher
    operations: "Operations"

    def __call__(self, event: WatchEvent | ZKError) -> None:
        if isinstance(event, WatchEvent):
            self.watch(WatchEvent(event.type, self.operations.local(event.path), event.zxid))


class Operations:
    """The operations of one session, below `chroot`. `timeout` (seconds) is the default deadline of a call."""

    def __init__(self, caller: Caller, chroot: str, timeout: float) -> None:
        self.caller = caller
        self._chroot = chroot
        self._timeout = timeout

    # ---- the session

    async def status(self, *, timeout: float | None = None) -> StatusReply:
        """What the server that this client is attached to is doing. See `status_of` for any other."""
        body = (await self._call(GetStatus(), timeout)).body
        assert isinstance(body, StatusReply)
        return body

    async def whoami(self, *, timeout: float | None = None) -> tuple[Identity, ...]:
        """The session's identities."""
        body = (await self._call(WhoAmI(), timeout)).body
        assert isinstance(body, IdentitiesReply)
        return body.identities

    async def add_auth(self, scheme: str, credential: str | bytes, *, timeout: float | None = None) -> None:
        """Add an identity: scheme 'digest' with 'user:password'. Kept for this client's later sessions too."""
        await self._call(AddAuth(scheme, to_bytes(credential)), timeout)

    async def sync(self, path: str = "/", *, timeout: float | None = None) -> None:
        """Wait until the attached server has all that was committed anywhere before this call."""
        await self._call(Sync(self.absolute(path)), timeout)

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
        request = create_request(
            self.absolute(path),
            data,
            acl,
            flags,
            ephemeral=ephemeral,
            sequence=sequence,
            container=container,
            ttl_ms=ttl_ms,
        )
        deadline = self.deadline(timeout)
        while True:
            try:
                body = (await self._call_by(request, deadline)).body
            except NoNodeError:
                if not makepath:
                    raise
                await self._create_missing(parent(request.path), OPEN_ACL, CreateMode.PERSISTENT, deadline)
            else:
                assert isinstance(body, Created)
                return self.local(body.path)

    async def ensure_path(
        self, path: str, *, acl: Sequence[Acl] = OPEN_ACL, container: bool = False, timeout: float | None = None
    ) -> None:
        """Create `path` and its parents as far as they are missing; as containers if asked for."""
        deadline = self.deadline(timeout)
        full = self.absolute(path)
        try:
            await self._call_by(Exists(full), deadline)
        except NoNodeError:
            mode = CreateMode.CONTAINER if container else CreateMode.PERSISTENT
            await self._create_missing(full, tuple(acl), mode, deadline)

    async def _create_missing(self, path: str, acl: tuple[Acl, ...], mode: CreateMode, deadline: float) -> None:
        """Create `path`, and before it whatever turns out to be missing above it."""
        missing = [path]
        while missing:
            try:
                await self._call_by(Create(missing[-1], b"", acl, mode), deadline)
            except NoNodeError:
                missing.append(parent(missing[-1]))
                continue
            except NodeExistsError:
                pass
            missing.pop()

    async def put(self, path: str, data: str | bytes, *, makepath: bool = False, timeout: float | None = None) -> Stat:
        """Set the data of a node, which is created (persistent) if it is missing; with `makepath`, its parents too."""
        deadline = self.deadline(timeout)
        full, content = self.absolute(path), to_bytes(data)
        while True:
            try:
                body = (await self._call_by(SetData(full, content), deadline)).body
                assert isinstance(body, StatReply)
            except NoNodeError:
                try:
                    created = (await self._call_by(Create(full, content), deadline)).body
                except NodeExistsError:
                    continue  # somebody else was faster
                except NoNodeError:
                    if not makepath:
                        raise
                    await self._create_missing(parent(full), OPEN_ACL, CreateMode.PERSISTENT, deadline)
                    continue
                assert isinstance(created, Created)
                return created.stat
            else:
                return body.stat

    async def update(
        self, path: str, change: Callable[[bytes], str | bytes], *, timeout: float | None = None
    ) -> NodeData:
        """Replace a node's data by `change(data)`, again and again until nobody else changed it meanwhile. The new data
        and stat. `change` must have no effect of its own: it may be called several times."""
        deadline = self.deadline(timeout)
        full = self.absolute(path)
        while True:
            old = (await self._call_by(GetData(full), deadline)).body
            assert isinstance(old, DataReply)
            data = to_bytes(change(old.data))
            try:
                reply = await self._call_by(SetData(full, data, old.stat.version), deadline)
            except BadVersionError:
                continue
            assert isinstance(reply.body, StatReply)
            return NodeData(data, reply.body.stat, reply.zxid)

    async def set(
        self, path: str, data: str | bytes, *, version: int = ANY_VERSION, timeout: float | None = None
    ) -> Stat:
        """Replace a node's data. Raises NoNodeError, BadVersionError, NoAuthError, QuotaExceededError."""
        return await self._stat(SetData(self.absolute(path), to_bytes(data), version), timeout)

    async def delete(
        self, path: str, *, version: int = ANY_VERSION, recursive: bool = False, timeout: float | None = None
    ) -> None:
        """Delete a node; with `recursive`, all below it first (not in one transaction).

        Raises NoNodeError, BadVersionError, NotEmptyError, NoAuthError, BadArgumentsError (reserved path).
        """
        deadline = self.deadline(timeout)
        request = Delete(self.absolute(path), version)
        while True:
            try:
                await self._call_by(request, deadline)
            except NotEmptyError:
                if not recursive:
                    raise
                await self._empty(request.path, deadline)
            else:
                return

    async def _empty(self, path: str, deadline: float) -> None:
        """Delete all below `path`, children of one node at once. What others delete meanwhile is fine."""
        branch = [path]
        while branch:
            try:
                body = (await self._call_by(GetChildren(branch[-1]), deadline)).body
            except NoNodeError:
                branch.pop()
                continue
            assert isinstance(body, ChildrenReply)
            children = [join(branch[-1], name) for name in body.names]
            outcomes = await self.caller.call_all([Delete(child) for child in children], deadline)
            deeper = [
                child for child, outcome in zip(children, outcomes, strict=True) if isinstance(outcome, NotEmptyError)
            ]
            for outcome in outcomes:
                if isinstance(outcome, APIError) and not isinstance(outcome, NotEmptyError | NoNodeError):
                    raise self._localised(outcome)
            if deeper:
                branch += deeper
            else:
                branch.pop()

    async def set_acls(
        self, path: str, acl: Sequence[Acl], *, version: int = ANY_VERSION, timeout: float | None = None
    ) -> Stat:
        """Replace a node's ACL if its aversion is `version`."""
        return await self._stat(SetAcl(self.absolute(path), tuple(acl), version), timeout)

    def transaction(self, *, guard: Held | None = None, timeout: float | None = None) -> Transaction:
        """Writes that are done all together or not at all.

            async with zk.transaction() as txn:
                txn.create("/a", "1")
                txn.set("/b", "2", version=7)
            print(txn.results)

        Leaving the block (or `await txn.commit()`) does it, and raises TransactionFailed if it was refused. With
        `guard` (what `async with zk.Lock(..) as held` gives) it is refused with LockLost unless the lock is still held.
        """

        async def call(request: Multi) -> MultiReply:
            body = (await self._call(request, timeout)).body
            assert isinstance(body, MultiReply)
            return body

        return Transaction(call, self.absolute, self.local, guard)

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
        request = Exists(self.absolute(path), watch is not None)
        try:
            body = (await self._read(request, timeout, read, at_least, watch)).body
        except NoNodeError:
            return None
        assert isinstance(body, StatReply)
        return body.stat

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
        request = GetData(self.absolute(path), watch is not None)
        reply = await self._read(request, timeout, read, at_least, watch)
        body = reply.body
        assert isinstance(body, DataReply)
        return NodeData(body.data, body.stat, reply.zxid)

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
    @overload
    async def get_children(
        self,
        path: str,
        *,
        watch: Watcher | None = ...,
        include_stat: bool,
        read: Consistency = ...,
        at_least: Zxid | int = ...,
        timeout: float | None = ...,
    ) -> tuple[str, ...] | tuple[tuple[str, ...], Stat]: ...
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
        request = GetChildren(self.absolute(path), watch is not None)
        body = (await self._read(request, timeout, read, at_least, watch)).body
        assert isinstance(body, ChildrenReply)
        names = tuple(sorted(body.names))
        return (names, body.stat) if include_stat else names

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
    ) -> Pages:
        """The children in ascending order of their names, page by page; `with_data` adds each child's data and stat,
        and ends a page before it has more than 1 MiB of data. Each page is read at one instant, different pages at
        different ones."""
        full = self.absolute(path)

        async def page(start_after: str) -> ChildrenPageReply:
            request = GetChildrenPage(full, prefix, start_after, page_size, with_data)
            body = (await self._read(request, timeout, read)).body
            assert isinstance(body, ChildrenPageReply)
            return body

        return Pages(page, start_after)

    def walk(self, path: str = "/", *, read: Consistency = "session", timeout: float | None = None) -> Walk:
        """The paths of all nodes at and below `path`, parents before children, siblings by name. `timeout` is for each
        step. What comes or goes meanwhile may be shown or not; what was there all the while is shown, once."""

        async def names(node: str) -> tuple[str, ...] | None:
            try:
                body = (await self._read(GetChildren(self.absolute(node)), timeout, read)).body
            except NoNodeError:
                return None
            assert isinstance(body, ChildrenReply)
            return body.names

        return Walk(names, path)

    async def count(self, path: str = "/", *, read: Consistency = "session", timeout: float | None = None) -> int:
        """How many nodes are below `path`, itself not counted."""
        body = (await self._read(CountDescendants(self.absolute(path)), timeout, read)).body
        assert isinstance(body, CountReply)
        return body.count

    async def get_acls(
        self, path: str, *, read: Consistency = "session", timeout: float | None = None
    ) -> tuple[tuple[Acl, ...], Stat]:
        """The node's ACL and stat."""
        body = (await self._read(GetAcl(self.absolute(path)), timeout, read)).body
        assert isinstance(body, AclReply)
        return body.acl, body.stat

    async def get_ephemerals(self, prefix: str = "/", *, timeout: float | None = None) -> tuple[str, ...]:
        """Paths of this session's ephemeral nodes that start with `prefix`, sorted."""
        body = (await self._call(GetEphemerals(self._chroot + prefix), timeout)).body
        assert isinstance(body, PathsReply)
        return tuple(sorted(self.local(path) for path in body.paths))

    async def multi_read(
        self,
        operations: Sequence[GetData | GetChildren],
        *,
        read: Consistency = "session",
        at_least: Zxid | int = 0,
        timeout: float | None = None,
    ) -> tuple[NodeData | tuple[str, ...] | APIError, ...]:
        """Several reads at one instant: data for each GetData, sorted names for each GetChildren, or its error."""
        request = MultiRead(
            tuple(
                GetData(self.absolute(op.path)) if isinstance(op, GetData) else GetChildren(self.absolute(op.path))
                for op in operations
            )
        )
        reply = await self._read(request, timeout, read, at_least)
        assert isinstance(reply.body, MultiReply)
        return tuple(self._found(result, reply.zxid) for result in reply.body.results)

    async def remove_all_watches(self, path: str) -> None:
        """Take back all one-shot watches of this client at `path`. Each is called a last time, with an event of type
        DATA_WATCH_REMOVED or CHILD_WATCH_REMOVED; so recipes that watch there look again, and watch again. Raises
        NoWatcherError if there are none. Streams are ended by their `close`."""
        full = self.absolute(path)
        if not await self.caller.remove_watches(full):
            raise NoWatcherError(path, "this client has no one-shot watch there")

    # ---- for recipes, and for threads

    def made_by(self, caller: Caller) -> "Operations":
        """The same operations, whose calls `caller` makes."""
        return Operations(caller, self._chroot, self._timeout)

    def absolute(self, path: str) -> str:
        """`path` with the chroot before it."""
        if not isinstance(path, str):
            raise BadArgumentsError(hint=f"a path is text, not {type(path).__name__}")
        if not self._chroot:
            return path
        if path[:1] != "/":
            validate(path)  # says what is wrong
        return self._chroot if path == "/" else self._chroot + path

    def local(self, path: str) -> str:
        """The inverse of `absolute`."""
        return path[len(self._chroot) :] or "/" if self._chroot and path else path

    def told(self, watch: Watcher) -> Notified:
        """What tells `watch` of events, with paths as the user knows them; equal for equal ones."""
        if not callable(watch):
            raise BadArgumentsError(hint=f"watch is a function of the event, not {watch!r}")
        return Told(watch, self)

    def deadline(self, timeout: float | None) -> float:
        """When a call made now with this `timeout` is overdue, in the time of `Caller.now`."""
        return self.caller.now() + (self._timeout if timeout is None else timeout)

    # ---- calls

    def _call(self, request: ClientRequest, timeout: float | None) -> Coroutine[object, object, Reply]:
        return self._call_by(request, self.deadline(timeout))

    async def _call_by(self, request: ClientRequest, deadline: float) -> Reply:
        try:
            return await self.caller.finish_call(self.caller.start_call(request, deadline))
        except APIError as error:
            raise self._localised(error)  # noqa: B904 - it is the same error

    async def _read(
        self,
        request: ClientRequest,
        timeout: float | None,
        read: Consistency,
        at_least: int = 0,
        watch: Watcher | None = None,
    ) -> Reply:
        if read not in ("session", "linearizable"):
            raise BadArgumentsError(hint=f"read must be 'session' or 'linearizable', not {read!r}")
        waiter = self.caller.start_call(
            request,
            self.deadline(timeout),
            at_least=Zxid(at_least) if at_least else ANYTHING,
            linearizable=read == "linearizable",
            watch=None if watch is None else self.told(watch),
        )
        try:
            return await self.caller.finish_call(waiter)
        except APIError as error:
            raise self._localised(error)  # noqa: B904 - it is the same error

    async def _stat(self, request: SetData | SetAcl, timeout: float | None) -> Stat:
        body = (await self._call_by(request, self.deadline(timeout))).body
        assert isinstance(body, StatReply)
        return body.stat

    def _found(self, result: Body | APIError, zxid: Zxid) -> NodeData | tuple[str, ...] | APIError:
        if isinstance(result, APIError):
            return self._localised(result)
        if isinstance(result, DataReply):
            return NodeData(result.data, result.stat, zxid)
        assert isinstance(result, ChildrenReply)
        return tuple(sorted(result.names))

    def _localised(self, error: APIError) -> APIError:
        """The error with its path as the caller knows it."""
        return at_path(error, self.local(error.path))
