"""Operations as arrays: `[op, field, …]`, the same in a client's call, inside a multi, and in the log.

Owns the numbers and the order of the fields. Decoding is strict (types, ranges, limits), for the fields may come from
anybody; a refusal is an APIError with a hint. The framing around an operation is in calls.py and in ../txn.py.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from inspect import signature
from typing import Final, TypeVar

from zk.model.acl import OPEN_ACL, Acl
from zk.model.data import NO_DATA
from zk.model.errors import BadArgumentsError, MarshallingError, UnimplementedError
from zk.model.events import WatcherType, WatchMode
from zk.model.limits import Limits
from zk.model.record import SessionId, Zxid
from zk.model.requests import (
    TTL_MS_MAX,
    AddAuth,
    AddWatch,
    BeginRestore,
    Check,
    CheckWatches,
    ClientRequest,
    CloseSession,
    Connect,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    FinishRestore,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    GetNode,
    GetStatus,
    Multi,
    MultiRead,
    Operation,
    Ping,
    RemoveWatches,
    Restore,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from zk.model.znode import Znode

T = TypeVar("T")
Fields = tuple[object, ...]

LoggedOperation = Operation | Multi | BeginRestore | Restore | FinishRestore | CloseSession
"""What stands in the log as the client sent it."""

INT63_MAX = 2**63 - 1
INT32_MIN = -(2**31)
INT32_MAX = 2**31 - 1
INT64_MIN = -(2**63)
_NODE_FIELDS = 14
_ZXIDS = ("czxid", "mzxid", "pzxid")
SECRET_BYTES_MAX = 64
CREDENTIAL_BYTES_MAX = 4096


class Op:
    """Numbers of operations: ZooKeeper's where it has the operation (of two forms, the one that answers as ours does),
    our own from 200. Plain ints, since an enum's members are dearer to look up, and every request does."""

    CLOSE_SESSION: Final = -11
    CONNECT: Final = -10
    DELETE: Final = 2
    EXISTS: Final = 3
    GET_DATA: Final = 4
    SET_DATA: Final = 5
    GET_ACL: Final = 6
    SET_ACL: Final = 7
    SYNC: Final = 9
    PING: Final = 11
    GET_CHILDREN: Final = 12
    CHECK: Final = 13
    MULTI: Final = 14
    CREATE: Final = 15
    CHECK_WATCHES: Final = 17
    REMOVE_WATCHES: Final = 18
    MULTI_READ: Final = 22
    ADD_AUTH: Final = 100
    GET_EPHEMERALS: Final = 103
    COUNT_DESCENDANTS: Final = 104
    SET_WATCHES: Final = 105
    ADD_WATCH: Final = 106
    WHO_AM_I: Final = 107
    GET_CHILDREN_PAGE: Final = 200
    GET_STATUS: Final = 201
    BEGIN_RESTORE: Final = 202
    RESTORE: Final = 203
    FINISH_RESTORE: Final = 204
    GET_NODE: Final = 205


WRITES = frozenset(
    {
        *(Op.CREATE, Op.DELETE, Op.SET_DATA, Op.SET_ACL, Op.CHECK, Op.MULTI, Op.ADD_AUTH, Op.CLOSE_SESSION),
        *(Op.BEGIN_RESTORE, Op.RESTORE, Op.FINISH_RESTORE),
    }
)
"""What goes through the log, and is answered once however often it is sent."""


# ---- encoding


def acl_fields(acl: tuple[Acl, ...]) -> tuple[Fields, ...] | None:
    """An ACL as `[[perms, scheme, id], …]`; nil stands for the one that nearly every node has."""
    if acl is OPEN_ACL or acl == OPEN_ACL:
        return None
    return tuple((entry.perms, entry.scheme, entry.id) for entry in acl)


def data_field(data: bytes) -> bytes | None:
    """Data as bytes; nil stands for data that is null."""
    return None if data is NO_DATA else data


def _nested(operations: Sequence[Operation | GetData | GetChildren]) -> tuple[Fields, ...]:
    return tuple(ENCODERS[type(operation)](operation) for operation in operations)


def _node_fields(path: str, z: Znode) -> Fields:
    """A node that is brought here, with all that there is to it."""
    zxids, times = (z.czxid, z.mzxid, z.pzxid), (z.ctime, z.mtime)
    counts = (z.version, z.created, z.aversion, z.num_children)
    return (path, data_field(z.data), acl_fields(z.acl), *zxids, *times, *counts, z.mode, z.ttl_ms)


ENCODERS: dict[type, Callable[..., Fields]] = {
    Create: lambda r: (Op.CREATE, r.path, data_field(r.data), acl_fields(r.acl), r.mode, r.ttl_ms),
    Delete: lambda r: (Op.DELETE, r.path, r.version),
    SetData: lambda r: (Op.SET_DATA, r.path, data_field(r.data), r.version),
    SetAcl: lambda r: (Op.SET_ACL, r.path, acl_fields(r.acl), r.version),
    Check: lambda r: (Op.CHECK, r.path, r.version, r.czxid),
    Multi: lambda r: (Op.MULTI, _nested(r.operations)),
    BeginRestore: lambda r: (Op.BEGIN_RESTORE, r.last_zxid),
    Restore: lambda r: (Op.RESTORE, tuple(_node_fields(*node) for node in r.nodes), r.gone),
    FinishRestore: lambda r: (Op.FINISH_RESTORE, r.znodes),
    AddAuth: lambda r: (Op.ADD_AUTH, r.scheme, r.credential),
    CloseSession: lambda r: (Op.CLOSE_SESSION,),
    Exists: lambda r: (Op.EXISTS, r.path, r.watch),
    GetData: lambda r: (Op.GET_DATA, r.path, r.watch),
    GetAcl: lambda r: (Op.GET_ACL, r.path),
    GetNode: lambda r: (Op.GET_NODE, r.path),
    GetChildren: lambda r: (Op.GET_CHILDREN, r.path, r.watch),
    GetChildrenPage: lambda r: (Op.GET_CHILDREN_PAGE, r.path, r.prefix, r.start_after, r.limit, r.with_data),
    CountDescendants: lambda r: (Op.COUNT_DESCENDANTS, r.path),
    GetEphemerals: lambda r: (Op.GET_EPHEMERALS, r.prefix),
    WhoAmI: lambda r: (Op.WHO_AM_I,),
    MultiRead: lambda r: (Op.MULTI_READ, _nested(r.operations)),
    Connect: lambda r: (Op.CONNECT, r.session_id, r.secret, r.timeout_ms, r.last_zxid, r.read_only),
    Ping: lambda r: (Op.PING,),
    Sync: lambda r: (Op.SYNC, r.path),
    AddWatch: lambda r: (Op.ADD_WATCH, r.path, r.mode, r.since),
    RemoveWatches: lambda r: (Op.REMOVE_WATCHES, r.path, r.type),
    CheckWatches: lambda r: (Op.CHECK_WATCHES, r.path, r.type),
    SetWatches: lambda r: (Op.SET_WATCHES, r.since, r.data, r.exist, r.child, r.persistent, r.recursive),
    GetStatus: lambda r: (Op.GET_STATUS,),
}


def operation_fields(request: ClientRequest) -> Fields:
    """`request` as the array `[op, field, …]`."""
    return ENCODERS[type(request)](request)


# ---- decoding

_MODES = {int(mode): mode for mode in CreateMode}
_WATCH_MODES = {int(mode): mode for mode in WatchMode}
_WATCHER_TYPES = {int(kind): kind for kind in WatcherType}


def _mistyped(name: str, wanted: str, value: object) -> MarshallingError:
    return MarshallingError("", f"{name} must be {wanted}, not {type(value).__name__}")


def _shown(op: object) -> str:
    return f"number {op}" if type(op) is int else f"a value of type {type(op).__name__}"


def _build(table: Mapping[int, Callable[..., T]], op: object, fields: Sequence[object]) -> T:
    build = table.get(op) if type(op) is int else None
    if build is None:
        raise UnimplementedError("", f"there is no such operation here: {_shown(op)}")
    try:
        return build(*fields)
    except TypeError as error:
        raise _miscounted(op, build, fields) from error


def _op_and_fields(value: object) -> tuple[object, Sequence[object]]:
    if type(value) is not tuple or not value:
        raise _mistyped("an operation", "an array that begins with its number", value)
    return value[0], value[1:]


@lru_cache(maxsize=256)  # taking a signature is slow, and a hostile client may ask for it often
def _parameters(build: Callable[..., object]) -> list[str]:
    return list(signature(build).parameters)


def _miscounted(op: object, build: Callable[..., object], fields: Sequence[object]) -> MarshallingError:
    wanted = _parameters(build)
    if len(fields) == len(wanted):
        raise AssertionError(f"operation {op} was decoded wrongly")  # a defect of ours, no fault of the sender's
    return MarshallingError("", f"operation {op} takes {len(wanted)} fields ({', '.join(wanted)}), not {len(fields)}")


def _number(name: str, value: object, low: int = 0, high: int = INT63_MAX) -> int:
    if type(value) is not int:
        raise _mistyped(name, "an integer", value)
    if not low <= value <= high:
        raise BadArgumentsError("", f"{name} is {value}; it must be from {low} to {high}")
    return value


def _version(value: object) -> int:
    return _number("version", value, INT32_MIN, INT32_MAX)


def _binary(name: str, value: object, bytes_max: int, limit: str = "the limit is", path: str = "") -> bytes:
    if type(value) is not bytes:
        raise _mistyped(name, "binary", value)
    if len(value) > bytes_max:
        raise BadArgumentsError(path, f"{name} has {len(value)} bytes; {limit} {bytes_max}")
    return value


def _flag(name: str, value: object) -> bool:
    if type(value) is not bool:
        raise _mistyped(name, "a boolean", value)
    return value


class OperationDecoder:
    """Makes requests of operations, within `limits`. All refusals are APIErrors.

    Versions, permissions and TTLs are not judged here, but by the tree: the log is read by this decoder too, and what
    another protocol lets a client say must be readable there on every server.
    """

    def __init__(self, limits: Limits) -> None:
        self._path_length_max = limits.path_length_max
        self._data_bytes_max = limits.data_bytes_max
        self._acl_entries_max = limits.acl_entries_max
        self._operations_max = limits.multi_operations_max
        self._page_max = limits.children_per_page_max
        self._paths_max = limits.paths_per_set_watches_max
        self._operations: dict[int, Callable[..., Operation]] = {
            Op.CREATE: self._create,
            Op.DELETE: self._delete,
            Op.SET_DATA: self._set_data,
            Op.SET_ACL: self._set_acl,
            Op.CHECK: self._check,
        }
        self._read_operations: dict[int, Callable[..., GetData | GetChildren]] = {
            Op.GET_DATA: self._get_data,
            Op.GET_CHILDREN: self._get_children,
        }
        self._writes: dict[int, Callable[..., LoggedOperation]] = {
            **self._operations,
            Op.MULTI: self._multi,
            Op.BEGIN_RESTORE: self._begin_restore,
            Op.RESTORE: self._restore,
            Op.FINISH_RESTORE: self._finish_restore,
            Op.CLOSE_SESSION: CloseSession,
        }
        self._requests: dict[int, Callable[..., ClientRequest]] = {
            **self._writes,
            **self._read_operations,
            Op.ADD_AUTH: self._add_auth,
            Op.EXISTS: self._exists,
            Op.GET_ACL: self._get_acl,
            Op.GET_NODE: self._get_node,
            Op.GET_CHILDREN_PAGE: self._get_children_page,
            Op.COUNT_DESCENDANTS: self._count_descendants,
            Op.GET_EPHEMERALS: self._get_ephemerals,
            Op.WHO_AM_I: WhoAmI,
            Op.MULTI_READ: self._multi_read,
            Op.CONNECT: self._connect,
            Op.PING: Ping,
            Op.SYNC: self._sync,
            Op.ADD_WATCH: self._add_watch,
            Op.REMOVE_WATCHES: self._remove_watches,
            Op.CHECK_WATCHES: self._check_watches,
            Op.SET_WATCHES: self._set_watches,
            Op.GET_STATUS: GetStatus,
        }

    def request(self, op: object, fields: Sequence[object]) -> ClientRequest:
        """The request that the operation `op` of a client with these `fields` stands for."""
        if type(op) is int:  # the two most frequent writes, without detours
            if op == Op.SET_DATA and len(fields) == 3:
                return self._set_data(fields[0], fields[1], fields[2])
            if op == Op.CREATE and len(fields) == 5:
                return self._create(fields[0], fields[1], fields[2], fields[3], fields[4])
        return _build(self._requests, op, fields)

    def write(self, op: object, fields: Sequence[object]) -> LoggedOperation:
        """The same for operations in the log."""
        return _build(self._writes, op, fields)

    def fields(self, op: int) -> list[str]:
        """The names of an operation's fields, in their order: what the protocol's description says is held to them."""
        return _parameters(self._requests[op])

    def _nested(self, value: object, table: Mapping[int, Callable[..., T]]) -> tuple[T, ...]:
        if type(value) is not tuple:
            raise _mistyped("operations", "an array", value)
        if len(value) > self._operations_max:
            raise BadArgumentsError(
                "", f"there are {len(value)} operations; multi_operations_max is {self._operations_max}"
            )
        return tuple([_build(table, *_op_and_fields(operation)) for operation in value])

    # ---- fields

    def _path(self, value: object, name: str = "path") -> str:
        if type(value) is not str:
            raise _mistyped(name, "text", value)
        if len(value) > self._path_length_max:
            shown = value[:64] + "…"
            raise BadArgumentsError(
                shown, f"{name} has {len(value)} characters; path_length_max is {self._path_length_max}"
            )
        return value

    def _data(self, path: str, value: object) -> bytes:
        if value is None:
            return NO_DATA
        return _binary("data", value, self._data_bytes_max, "data_bytes_max is", path)

    def _acl(self, path: str, value: object) -> tuple[Acl, ...]:
        if value is None:
            return OPEN_ACL
        if type(value) is not tuple:
            raise _mistyped("acl", "an array, or nil for world:anyone with all permissions", value)
        if len(value) > self._acl_entries_max:
            raise BadArgumentsError(path, f"acl has {len(value)} entries; acl_entries_max is {self._acl_entries_max}")
        return tuple([self._acl_entry(entry) for entry in value])

    def _acl_entry(self, value: object) -> Acl:
        if type(value) is not tuple or len(value) != 3:
            raise _mistyped("an entry of acl", "an array of perms, scheme and id", value)
        perms, scheme, name = value
        return Acl(_number("perms", perms, INT32_MIN, INT32_MAX), self._path(scheme, "scheme"), self._path(name, "id"))

    def _watcher_type(self, value: object) -> WatcherType:
        return _WATCHER_TYPES[_number("watcher type", value, min(_WATCHER_TYPES), max(_WATCHER_TYPES))]

    def _paths(self, name: str, value: object) -> tuple[str, ...]:
        if type(value) is not tuple:
            raise _mistyped(name, "an array", value)
        if len(value) > self._paths_max:
            raise BadArgumentsError(
                "", f"{name} has {len(value)} paths; paths_per_set_watches_max is {self._paths_max}: send several calls"
            )
        return tuple([self._path(path) for path in value])

    # ---- writes

    def _create(self, path: object, data: object, acl: object, mode: object, ttl_ms: object) -> Create:
        if type(path) is not str or len(path) > self._path_length_max:
            path = self._path(path)
        if type(data) is not bytes or len(data) > self._data_bytes_max:
            data = self._data(path, data)
        if type(mode) is not int or mode not in _MODES:
            mode = _number("mode", mode, min(_MODES), max(_MODES))
        if type(ttl_ms) is not int or ttl_ms >> 63 not in (0, -1):
            ttl_ms = _number("ttl_ms", ttl_ms, INT64_MIN)
        return Create(path, data, OPEN_ACL if acl is None else self._acl(path, acl), _MODES[mode], ttl_ms)

    def _delete(self, path: object, version: object) -> Delete:
        return Delete(self._path(path), _version(version))

    def _set_data(self, path: object, data: object, version: object) -> SetData:
        if type(path) is not str or len(path) > self._path_length_max:
            path = self._path(path)
        if type(data) is not bytes or len(data) > self._data_bytes_max:
            data = self._data(path, data)
        if type(version) is not int or not INT32_MIN <= version <= INT32_MAX:
            version = _version(version)
        return SetData(path, data, version)

    def _set_acl(self, path: object, acl: object, version: object) -> SetAcl:
        path = self._path(path)
        return SetAcl(path, self._acl(path, acl), _version(version))

    def _check(self, path: object, version: object, czxid: object) -> Check:
        return Check(self._path(path), _version(version), Zxid(_number("czxid", czxid)))

    def _multi(self, operations: object) -> Multi:
        decoded = self._nested(operations, self._operations)
        data_bytes = sum(len(operation.data) for operation in decoded if isinstance(operation, Create | SetData))
        if data_bytes > self._data_bytes_max:
            raise BadArgumentsError(
                "", f"the operations carry {data_bytes} bytes of data; data_bytes_max is {self._data_bytes_max}"
            )
        return Multi(decoded)

    # ---- a tree with its stats

    def _begin_restore(self, last_zxid: object) -> BeginRestore:
        return BeginRestore(Zxid(_number("last_zxid", last_zxid)))

    def _restore(self, nodes: object, gone: object) -> Restore:
        if type(nodes) is not tuple or type(gone) is not tuple:
            raise _mistyped("nodes and gone", "arrays", nodes if type(nodes) is not tuple else gone)
        if max(len(nodes), len(gone)) > self._operations_max:
            raise BadArgumentsError(
                "", f"there are {max(len(nodes), len(gone))} nodes; multi_operations_max is {self._operations_max}"
            )
        brought = tuple([self._brought(node) for node in nodes])
        data_bytes = sum([len(znode.data) for _, znode in brought])
        if data_bytes > self._data_bytes_max:
            raise BadArgumentsError(
                "", f"the nodes carry {data_bytes} bytes of data; data_bytes_max is {self._data_bytes_max}"
            )
        return Restore(brought, tuple([self._path(path) for path in gone]))

    def _brought(self, node: object) -> tuple[str, Znode]:
        if type(node) is not tuple or len(node) != _NODE_FIELDS:
            raise _mistyped("a node", f"an array of {_NODE_FIELDS} fields", node)
        path, data, acl, *zxids, ctime, mtime, version, created, aversion, num_children, mode, ttl_ms = node
        path = self._path(path)
        czxid, mzxid, pzxid = [Zxid(_number(name, zxid)) for name, zxid in zip(_ZXIDS, zxids, strict=True)]
        return path, Znode(
            self._data(path, data),
            self._acl(path, acl),
            czxid,
            mzxid,
            pzxid,
            _number("ctime", ctime),
            _number("mtime", mtime),
            _number("version", version, INT32_MIN, INT32_MAX),
            _number("created", created),
            _number("aversion", aversion, INT32_MIN, INT32_MAX),
            SessionId(0),
            _number("num_children", num_children),
            _MODES[_number("mode", mode, min(_MODES), max(_MODES))],
            _number("ttl_ms", ttl_ms, 0, TTL_MS_MAX),
        )

    def _finish_restore(self, znodes: object) -> FinishRestore:
        return FinishRestore(_number("znodes", znodes))

    # ---- reads

    def _exists(self, path: object, watch: object) -> Exists:
        return Exists(self._path(path), _flag("watch", watch))

    def _get_data(self, path: object, watch: object) -> GetData:
        if type(path) is not str or len(path) > self._path_length_max:
            path = self._path(path)
        if type(watch) is not bool:
            watch = _flag("watch", watch)
        return GetData(path, watch)

    def _get_children(self, path: object, watch: object) -> GetChildren:
        return GetChildren(self._path(path), _flag("watch", watch))

    def _get_acl(self, path: object) -> GetAcl:
        return GetAcl(self._path(path))

    def _get_node(self, path: object) -> GetNode:
        return GetNode(self._path(path))

    def _count_descendants(self, path: object) -> CountDescendants:
        return CountDescendants(self._path(path))

    def _get_ephemerals(self, prefix: object) -> GetEphemerals:
        return GetEphemerals(self._path(prefix, "prefix"))

    def _get_children_page(
        self, path: object, prefix: object, start_after: object, limit: object, with_data: object
    ) -> GetChildrenPage:
        return GetChildrenPage(
            self._path(path),
            self._path(prefix, "prefix"),
            self._path(start_after, "start_after"),
            _number("limit", limit, 1, self._page_max),
            _flag("with_data", with_data),
        )

    def _multi_read(self, operations: object) -> MultiRead:
        return MultiRead(self._nested(operations, self._read_operations))

    # ---- the connection's own

    def _connect(
        self, session_id: object, secret: object, timeout_ms: object, last_zxid: object, read_only: object
    ) -> Connect:
        return Connect(
            SessionId(_number("session_id", session_id)),
            _binary("secret", secret, SECRET_BYTES_MAX),
            _number("timeout_ms", timeout_ms, 0, 2**31 - 1),
            Zxid(_number("last_zxid", last_zxid)),
            _flag("read_only", read_only),
        )

    def _add_auth(self, scheme: object, credential: object) -> AddAuth:
        return AddAuth(self._path(scheme, "scheme"), _binary("credential", credential, CREDENTIAL_BYTES_MAX))

    def _sync(self, path: object) -> Sync:
        return Sync(self._path(path))

    def _remove_watches(self, path: object, type: object) -> RemoveWatches:  # noqa: A002 - named as in the protocol
        return RemoveWatches(self._path(path), self._watcher_type(type))

    def _check_watches(self, path: object, type: object) -> CheckWatches:  # noqa: A002 - named as in the protocol
        return CheckWatches(self._path(path), self._watcher_type(type))

    def _add_watch(self, path: object, mode: object, since: object) -> AddWatch:
        return AddWatch(
            self._path(path),
            _WATCH_MODES[_number("mode", mode, min(_WATCH_MODES), max(_WATCH_MODES))],
            None if since is None else Zxid(_number("since", since)),
        )

    def _set_watches(
        self, since: object, data: object, exist: object, child: object, persistent: object, recursive: object
    ) -> SetWatches:
        return SetWatches(
            Zxid(_number("since", since)),
            self._paths("data", data),
            self._paths("exist", exist),
            self._paths("child", child),
            self._paths("persistent", persistent),
            self._paths("recursive", recursive),
        )
