"""ZooKeeper's requests as the model's, each with the encoder of its answer.

A frame behind the xid is an opcode and a record. Whatever is well framed but can't be understood, or is over a limit,
becomes a call of Malformed, so that it is refused in its turn. The codes of refusals, and which of two forms an answer
has, are ZooKeeper's own, as its server 3.8 gave them to these bytes.
"""

from collections.abc import Container, Iterator
from functools import partial

from zk.model.acl import OPEN_ACL, Acl
from zk.model.errors import (
    APIError,
    AuthFailedError,
    BadArgumentsError,
    MarshallingError,
    ReconfigDisabledError,
    UnimplementedError,
)
from zk.model.events import WatcherType, WatchMode
from zk.model.limits import Limits
from zk.model.record import SessionId, Zxid
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Call,
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
    GetAcl,
    GetChildren,
    GetData,
    GetEphemerals,
    Malformed,
    Multi,
    MultiRead,
    Operation,
    Ping,
    RemoveWatches,
    Sasl,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper import replies
from zk.wire.zookeeper.jute import Reader, int32_bytes, text_bytes, vector_bytes
from zk.wire.zookeeper.numbers import SECRET_BYTES, OpCode
from zk.wire.zookeeper.replies import ENCODERS, Encoder
from zk.wire.zookeeper.unanswered import Unanswered

CREDENTIAL_BYTES_MAX = 4096
CACHED_BYTES_MAX = 252  # of a record
CACHED_REQUESTS_MAX = 8_192

_OPCODE_MIN = min(ENCODERS)
_OPCODE_MAX = max(ENCODERS)
_ENCODERS = [ENCODERS.get(op) for op in (*range(_OPCODE_MAX + 1), *range(_OPCODE_MIN, 0))]
"""By opcode: those below 0 count from the end. A list is cheaper to look into than a dict."""

_MODES = list(CreateMode)  # numbered from 0 on
_WATCH_MODES = {int(mode): mode for mode in WatchMode}
_WATCHER_TYPES = {int(kind): kind for kind in WatcherType}
_TTL_MODES = frozenset(mode for mode in CreateMode if mode.has_ttl)
_MODES_WITH_STAT = _TTL_MODES | {CreateMode.CONTAINER}
_WRITES_IN_MULTI = frozenset(
    {
        *(OpCode.CREATE, OpCode.CREATE2, OpCode.CREATE_CONTAINER, OpCode.CREATE_TTL),
        *(OpCode.DELETE, OpCode.SET_DATA, OpCode.CHECK),
    }
)
_READS_IN_MULTI = frozenset({OpCode.GET_DATA, OpCode.GET_CHILDREN})
_OPEN_ACL = vector_bytes([int32_bytes(31) + text_bytes("world") + text_bytes("anyone")])  # what nearly all clients send
_ACL_ENTRY_BYTES_MIN = 12


def connect(record: bytes, unanswered: Unanswered) -> Call:
    """The connect request. A client of old sends no byte that asks for read-only mode, and gets none."""
    try:
        reader = Reader(record, 4)  # behind the version of the protocol, of which there is only one
        last_zxid, timeout_ms, session_id = reader.int64(), reader.int32(), reader.int64()
        secret = reader.buffer() or b""
    except MarshallingError as error:
        raise ProtocolError(f"the connection does not begin with a connect request: {error.hint}") from error
    secret = secret[: SECRET_BYTES + 1]  # one that is too long is as wrong if it is not kept whole
    old_client = reader.left <= 0
    read_only = not old_client and reader.flag()
    request = Connect(SessionId(session_id), secret, max(timeout_ms, 0), Zxid(max(last_zxid, 0)), read_only)
    unanswered.add(0, replies.Connected(old_client))
    return Call(0, request)


class RequestDecoder:
    """Makes calls of requests, within `limits`. `cache` has the reads that were asked for lately, by their bytes: a
    record never changes, so a frame that was decoded once need not be decoded again."""

    def __init__(self, limits: Limits) -> None:
        self.cache: dict[bytes, tuple[Call, Encoder]] = {}
        self._path_length_max = limits.path_length_max
        self._data_bytes_max = limits.data_bytes_max
        self._acl_entries_max = limits.acl_entries_max
        self._operations_max = limits.multi_operations_max
        self._paths_max = limits.paths_per_set_watches_max

    def decode(self, xid: int, reader: Reader, unanswered: Unanswered) -> list[Call]:
        """The call that stands in `reader`, an opcode and its record; or several, of which the last one's answer is
        sent. Never an APIError; ProtocolError where ZooKeeper, too, closes the connection."""
        op = reader.int32()
        cached = _is_cached(op) and reader.left <= CACHED_BYTES_MAX
        if cached and (before := self.cache.get(reader.whole())) is not None:
            call, encoder = before
            unanswered.add(xid, encoder)
            return [call]
        found = _ENCODERS[op] if _OPCODE_MIN <= op <= _OPCODE_MAX else None
        try:
            if found is None:
                return self._special(xid, op, reader, unanswered)
            call = Call(0, self._request(op, reader))
        except APIError as error:
            unanswered.add(xid, found or replies.REFUSAL)
            return [Call(0, Malformed(error.without_traceback()))]
        if cached:
            if len(self.cache) >= CACHED_REQUESTS_MAX:
                self.cache.clear()
            self.cache[reader.whole()] = call, found
        unanswered.add(xid, found)
        return [call]

    def _special(self, xid: int, op: int, reader: Reader, unanswered: Unanswered) -> list[Call]:
        """One whose answer depends on more than its opcode."""
        match op:
            case OpCode.MULTI:
                return [self._multi(xid, reader, unanswered)]
            case OpCode.MULTI_READ:
                return [self._multi_read(xid, reader, unanswered)]
            case OpCode.SYNC:
                path = reader.text()
                unanswered.add(xid, replies.synced(path))
                return [Call(0, Sync(path or "/"))]
            case OpCode.SET_WATCHES:
                return self._set_watches(xid, 3, reader, unanswered)
            case OpCode.SET_WATCHES2:
                return self._set_watches(xid, 5, reader, unanswered)
        unanswered.add(xid, replies.REFUSAL)
        unknown = UnimplementedError("", f"there is no such operation here: number {op}")
        return [Call(0, Malformed(unknown, final=True))]

    def _request(self, op: int, reader: Reader) -> ClientRequest:
        """Of an operation that ENCODERS names; the most frequent ones come first."""
        match op:
            case OpCode.SET_DATA:
                return self._set_data(reader)
            case OpCode.CREATE | OpCode.CREATE2:
                return self._create(reader)
            case OpCode.GET_DATA:
                return GetData(self._path(reader), reader.flag())
            case OpCode.EXISTS:
                return Exists(self._path(reader), reader.flag())
            case OpCode.GET_CHILDREN | OpCode.GET_CHILDREN2:
                return GetChildren(self._path(reader), reader.flag())
            case OpCode.PING:
                return Ping()
            case OpCode.DELETE:
                return self._delete(reader)
            case OpCode.CHECK:
                return self._check(reader)
            case OpCode.CREATE_CONTAINER:
                return self._create_container(reader)
            case OpCode.CREATE_TTL:
                return self._create_ttl(reader)
            case OpCode.GET_ACL:
                return GetAcl(self._path(reader))
            case OpCode.SET_ACL:
                return self._set_acl(reader)
            case OpCode.GET_ALL_CHILDREN_NUMBER:
                return CountDescendants(self._path(reader))
            case OpCode.GET_EPHEMERALS:
                return GetEphemerals(reader.text() or "/")
            case OpCode.ADD_WATCH:
                return self._add_watch(reader)
            case OpCode.CHECK_WATCHES:
                return CheckWatches(self._path(reader), _watcher_type(reader))
            case OpCode.REMOVE_WATCHES:
                return RemoveWatches(self._path(reader), _watcher_type(reader))
            case OpCode.AUTH:
                return self._auth(reader)
            case OpCode.SASL:
                return self._sasl(reader)
            case OpCode.WHO_AM_I:
                return WhoAmI()
            case OpCode.CLOSE_SESSION:
                return CloseSession()
            case OpCode.RECONFIG:
                return self._reconfig(reader)
            case OpCode.DELETE_CONTAINER:
                raise BadArgumentsError("", "empty containers are deleted by the servers themselves")
        raise AssertionError(f"operation {op} has an answer, but no request")

    # ---- fields

    def _path(self, reader: Reader) -> str:
        path = _text(reader)
        if len(path) > self._path_length_max:
            raise self._long_path(path)
        return path

    def _long_path(self, path: str) -> BadArgumentsError:
        hint = f"path has {len(path)} characters; path_length_max is {self._path_length_max}"
        return BadArgumentsError(path[:64] + "…", hint)

    def _long_data(self, path: str, data_bytes: int) -> BadArgumentsError:
        return BadArgumentsError(path, f"data has {data_bytes} bytes; data_bytes_max is {self._data_bytes_max}")

    def _acl(self, reader: Reader) -> tuple[Acl, ...]:
        """A null ACL is empty, and so refused when its turn comes."""
        if reader.skip(_OPEN_ACL):
            return OPEN_ACL
        return tuple(reader.vector(partial(self._acl_entry, reader), _ACL_ENTRY_BYTES_MIN) or ())

    def _acl_entry(self, reader: Reader) -> Acl:
        """An entry that names nobody (null) is refused with the rest of what can't be in an ACL."""
        return Acl(reader.int32(), reader.text() or "", reader.text() or "")

    def _check_acl(self, path: str, acl: tuple[Acl, ...]) -> None:
        if len(acl) > self._acl_entries_max:
            raise BadArgumentsError(path, f"acl has {len(acl)} entries; acl_entries_max is {self._acl_entries_max}")

    # ---- writes: first the whole record is read, then its values are looked at, for in a multi another one follows

    def _create(self, reader: Reader) -> Create:
        path, data, acl, flags = self._create_fields(reader)
        return self._created(path, data, acl, flags)

    def _create_container(self, reader: Reader) -> Create:
        path, data, acl, flags = self._create_fields(reader)
        if flags not in (CreateMode.CONTAINER, CreateMode.PERSISTENT):
            raise BadArgumentsError(path, f"the flags of a container are {int(CreateMode.CONTAINER)}, not {flags}")
        return self._created(path, data, acl, CreateMode.CONTAINER)

    def _create_ttl(self, reader: Reader) -> Create:
        path, data, acl, flags = self._create_fields(reader)
        ttl_ms = reader.int64()
        if flags not in _TTL_MODES:
            raise BadArgumentsError(path, f"the flags of a node with a TTL are 5 or 6, not {flags}")
        return self._created(path, data, acl, flags, ttl_ms)

    def _create_fields(self, reader: Reader) -> tuple[str, bytes, tuple[Acl, ...], int]:
        return _text(reader), reader.data(), self._acl(reader), reader.int32()

    def _created(self, path: str, data: bytes, acl: tuple[Acl, ...], flags: int, ttl_ms: int = 0) -> Create:
        if len(path) > self._path_length_max:
            raise self._long_path(path)
        if len(data) > self._data_bytes_max:
            raise self._long_data(path, len(data))
        if acl is not OPEN_ACL:
            self._check_acl(path, acl)
        if not 0 <= flags < len(_MODES):
            raise BadArgumentsError(path, f"the flags are {flags}; they must be from 0 to {len(_MODES) - 1}")
        return Create(path, data, acl, _MODES[flags], ttl_ms)

    def _delete(self, reader: Reader) -> Delete:
        path, version = _text(reader), reader.int32()
        if len(path) > self._path_length_max:
            raise self._long_path(path)
        return Delete(path, version)

    def _set_data(self, reader: Reader) -> SetData:
        path, data, version = _text(reader), reader.data(), reader.int32()
        if len(path) > self._path_length_max:
            raise self._long_path(path)
        if len(data) > self._data_bytes_max:
            raise self._long_data(path, len(data))
        return SetData(path, data, version)

    def _set_acl(self, reader: Reader) -> SetAcl:
        path, acl, version = _text(reader), self._acl(reader), reader.int32()
        if len(path) > self._path_length_max:
            raise self._long_path(path)
        self._check_acl(path, acl)
        return SetAcl(path, acl, version)

    def _check(self, reader: Reader) -> Check:
        path, version = _text(reader), reader.int32()
        if len(path) > self._path_length_max:
            raise self._long_path(path)
        return Check(path, version)

    def _auth(self, reader: Reader) -> AddAuth:
        try:
            reader.int32()  # a type, which was never used
            scheme, credential = reader.text(), reader.buffer()
        except MarshallingError as error:
            raise ProtocolError(f"malformed auth packet: {error.hint}") from error
        if scheme is None or credential is None:
            raise AuthFailedError("", "an auth packet has a scheme and a credential")
        if len(credential) > CREDENTIAL_BYTES_MAX:
            raise AuthFailedError(
                "", f"the credential has {len(credential)} bytes; the limit is {CREDENTIAL_BYTES_MAX}"
            )
        return AddAuth(scheme, credential)

    def _sasl(self, reader: Reader) -> Sasl:
        try:
            token = reader.buffer() or b""
        except MarshallingError as error:
            raise ProtocolError(f"malformed SASL packet: {error.hint}") from error
        if len(token) > CREDENTIAL_BYTES_MAX:
            raise AuthFailedError("", f"the token has {len(token)} bytes; the limit is {CREDENTIAL_BYTES_MAX}")
        return Sasl(token)

    def _reconfig(self, reader: Reader) -> ClientRequest:
        for _ in ("joining", "leaving", "new members"):
            reader.text()
        reader.int64()  # the version of the configuration that this would change
        raise ReconfigDisabledError

    # ---- several operations at once

    def _multi(self, xid: int, reader: Reader, unanswered: Unanswered) -> Call:
        operations: list[Operation] = []
        types: list[int] = []
        refused: tuple[int, BadArgumentsError] | None = None
        for op in _operations(reader, _WRITES_IN_MULTI):
            kind = op
            try:
                operation = self._request(op, reader)
                assert isinstance(operation, Create | Delete | SetData | Check)
                operations.append(operation)
                kind = _type_of_result(op, operation)
            except BadArgumentsError as error:
                refused = refused or (len(types), error.without_traceback())
            types.append(kind)
        self._check_operations(len(types))
        if refused is not None:
            culprit, why = refused
            unanswered.add(xid, replies.RefusedResults(culprit, len(types)))
            return Call(0, Malformed(why))
        data_bytes = sum(len(operation.data) for operation in operations if isinstance(operation, Create | SetData))
        if data_bytes > self._data_bytes_max:
            raise self._long_data("", data_bytes)
        unanswered.add(xid, replies.results(types))
        return Call(0, Multi(tuple(operations)))

    def _multi_read(self, xid: int, reader: Reader, unanswered: Unanswered) -> Call:
        operations: list[GetData | GetChildren] = []
        types: list[int] = []
        for op in _operations(reader, _READS_IN_MULTI):
            operation = self._request(op, reader)
            assert isinstance(operation, GetData | GetChildren)
            operations.append(operation)
            types.append(op)
        self._check_operations(len(types))
        unanswered.add(xid, replies.read_results(types))
        return Call(0, MultiRead(tuple(operations)))

    def _check_operations(self, count: int) -> None:
        if count > self._operations_max:
            raise BadArgumentsError("", f"there are {count} operations; multi_operations_max is {self._operations_max}")

    # ---- the connection's own

    def _add_watch(self, reader: Reader) -> AddWatch:
        path, mode = self._path(reader), reader.int32()
        if mode not in _WATCH_MODES:
            raise MarshallingError(path, f"the mode is {mode}; it must be 0 (persistent) or 1 (recursive)")
        return AddWatch(path, _WATCH_MODES[mode])

    def _set_watches(self, xid: int, lists: int, reader: Reader, unanswered: Unanswered) -> list[Call]:
        """A client of this protocol sends all its watches at once. So that it does not hold up the others meanwhile,
        they are set in parts."""
        since = Zxid(max(reader.int64(), 0))
        paths = [self._paths(reader) for _ in range(lists)]
        at_once = self._paths_max
        parts = [
            Call(0, SetWatches(since, *[each[at : at + at_once] for each in paths]))
            for at in range(0, max(1, *map(len, paths)), at_once)
        ]
        encoder = replies.DoneInParts(len(parts))
        for _ in parts:
            unanswered.add(xid, encoder)
        return parts

    def _paths(self, reader: Reader) -> tuple[str, ...]:
        found = reader.vector(partial(self._path, reader), item_bytes_min=4)
        if found is None:
            raise MarshallingError("", "a list of paths must not be null")
        return tuple(found)


def _is_cached(op: int) -> bool:
    """Whether it is a read that clients ask for again and again."""
    return op in (OpCode.GET_DATA, OpCode.EXISTS, OpCode.GET_CHILDREN, OpCode.GET_CHILDREN2, OpCode.PING)


def _text(reader: Reader) -> str:
    """A path, whatever its length."""
    path = reader.text()
    if path is None:
        raise MarshallingError("", "a path must not be null")
    return path


def _operations(reader: Reader, allowed: Container[int]) -> Iterator[int]:
    """The type of each operation of a multi; its record is to be read before the next one is asked for."""
    while True:
        op, done, _ = reader.int32(), reader.flag(), reader.int32()
        if done:
            return
        if op not in allowed:
            raise MarshallingError("", f"operation {op} can't be part of this")
        yield op


def _type_of_result(op: int, operation: Operation) -> int:
    """A created node's stat is told only of containers and nodes with a TTL: so ZooKeeper's clients know it."""
    if not isinstance(operation, Create):
        return op
    return OpCode.CREATE2 if operation.mode in _MODES_WITH_STAT else OpCode.CREATE


def _watcher_type(reader: Reader) -> WatcherType:
    number = reader.int32()
    if number not in _WATCHER_TYPES:
        raise MarshallingError("", f"the type of watches is {number}; it must be from 1 to {max(_WATCHER_TYPES)}")
    return _WATCHER_TYPES[number]
