"""The client's end of ZooKeeper's protocol, without I/O: the model's calls go in, replies and events come out.

It speaks to Apache ZooKeeper as well as to this service: for whoever copies a live ensemble, compares the two, or
measures them. What the protocol has no words for (see `BadArgumentsError` in `ClientConnection.call`) can't be asked.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from struct import Struct
from typing import Any

from zk.model.acl import Acl, Identity
from zk.model.errors import APIError, BadArgumentsError, MarshallingError, SessionExpiredError, error_from_code
from zk.model.events import EventType, WatchEvent
from zk.model.limits import MIB
from zk.model.record import SessionId, Zxid
from zk.model.replies import (
    DONE,
    AclReply,
    Body,
    ChildrenReply,
    ConnectReply,
    CountReply,
    Created,
    DataReply,
    IdentitiesReply,
    MultiReply,
    PathsReply,
    Reply,
    SaslReply,
    StatReply,
)
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
    Multi,
    MultiRead,
    Ping,
    RemoveWatches,
    Sasl,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from zk.model.stat import Stat
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper.jute import (
    Reader,
    buffer_bytes,
    data_bytes,
    flag_bytes,
    int32_bytes,
    int64_bytes,
    text_bytes,
    vector_bytes,
)
from zk.wire.zookeeper.numbers import FRAME_HEAD_BYTES, REPLY_HEAD_BYTES, OpCode, Xid

REPLY_BYTES_MAX = 64 * MIB
"""What is taken from a server at most in one frame."""

UNTOLD = Stat(Zxid(0), Zxid(0), 0, 0, 0, 0, 0, SessionId(0), 0, 0, Zxid(0))
"""Stands where ZooKeeper's protocol leaves out a stat: a plain create in a Multi, children in a MultiRead."""

_CALL_HEAD = Struct(">iii")  # the frame's length, xid, opcode
_REPLY_HEAD = Struct(">iqi")  # xid, zxid, error code
_STAT = Struct(">qqqqiiiqiiq")
_XID_MAX = 0x7FFF_FFFF

_Encoded = tuple[int, bytes]  # opcode, record


class ClientConnection:
    """The client's end of one connection: a call of Connect first, then others, which need not wait for its answer.

    Replies have the xids of their calls, and the server's zxid; the path in a refusal is that of the request. Events
    have the zxid of their change where the server tells it (from ZooKeeper 3.9 on), else -1.
    """

    def __init__(self) -> None:
        self._connect_xid: int | None = None  # of the Connect that has no answer yet
        self._calls: dict[int, ClientRequest] = {}
        self._reserved: dict[int, deque[tuple[int, ClientRequest]]] = {}  # by the xid of all calls of one kind
        self._received = bytearray()

    # ---- out

    def call(self, call: Call) -> bytes:
        """The bytes of one call. BadArgumentsError if ZooKeeper's protocol has no words for it."""
        request = call.request
        if isinstance(request, Connect):
            self._connect_xid = call.xid
            return buffer_bytes(_connect_record(request) + flag_bytes(request.read_only))
        if call.linearizable or call.at_least:
            raise BadArgumentsError("", "reads have no level here: Sync before a read makes it as good as the last one")
        encode = _ENCODERS.get(type(request))
        if encode is None:
            raise BadArgumentsError("", f"ZooKeeper's protocol has no {type(request).__name__}")
        opcode, record = encode(request)
        wire_xid = _RESERVED_XIDS.get(opcode)
        if wire_xid is not None:
            self._reserved.setdefault(wire_xid, deque()).append((call.xid, request))
        elif not 0 < call.xid <= _XID_MAX:
            raise BadArgumentsError("", f"an xid must be within 1..{_XID_MAX}, not {call.xid}")
        else:
            wire_xid = call.xid
            self._calls[wire_xid] = request
        return _CALL_HEAD.pack(8 + len(record), wire_xid, opcode) + record

    # ---- in

    def receive(self, data: bytes) -> list[Reply | WatchEvent]:
        """Take in what came from the server. Raises ProtocolError: close."""
        received = self._received
        received += data
        items = []
        at, end = 0, len(received)
        while end - at >= FRAME_HEAD_BYTES:
            length = int.from_bytes(received[at : at + FRAME_HEAD_BYTES], signed=True)
            if not 0 <= length <= REPLY_BYTES_MAX:
                raise ProtocolError(f"a frame of {length} bytes can't be an answer")
            if end - at - FRAME_HEAD_BYTES < length:
                break
            at += FRAME_HEAD_BYTES
            items.append(self._decode(bytes(received[at : at + length])))
            at += length
        del received[:at]
        return items

    def _decode(self, frame: bytes) -> Reply | WatchEvent:
        try:
            if self._connect_xid is not None:
                return self._connected(self._connect_xid, Reader(frame))
            if len(frame) < REPLY_HEAD_BYTES:
                raise ProtocolError(f"an answer of {len(frame)} bytes, which has no room for its head")
            wire_xid, zxid, code = _REPLY_HEAD.unpack_from(frame)
            if wire_xid == Xid.EVENT:
                return _event(zxid, Reader(frame, REPLY_HEAD_BYTES))
            xid, request = self._asked(wire_xid)
            body: Body | APIError
            if code:
                body = error_from_code(code, getattr(request, "path", ""))
            else:
                decode = _DECODERS.get(type(request))
                body = DONE if decode is None else decode(Reader(frame, REPLY_HEAD_BYTES))
            return Reply(xid, zxid, body)
        except MarshallingError as error:
            raise ProtocolError(f"the server sent something that is no answer: {error.hint}") from error

    def _asked(self, wire_xid: int) -> tuple[int, ClientRequest]:
        request = self._calls.pop(wire_xid, None)
        if request is not None:
            return wire_xid, request
        if asked := self._reserved.get(wire_xid):
            return asked.popleft()
        raise ProtocolError(f"an answer with xid {wire_xid}, which nothing was asked with")

    def _connected(self, xid: int, reader: Reader) -> Reply:
        self._connect_xid = None
        reader.int32()  # the protocol's version, 0
        timeout_ms = reader.int32()
        session_id = SessionId(reader.int64())
        secret = reader.buffer() or b""
        read_only = reader.left > 0 and reader.flag()
        if timeout_ms <= 0:
            return Reply(xid, Zxid(0), SessionExpiredError())
        return Reply(xid, Zxid(0), ConnectReply(session_id, secret, timeout_ms, read_only))


def _event(zxid: int, reader: Reader) -> WatchEvent:
    number = reader.int32()
    reader.int32()  # the client's state
    path = reader.text() or ""
    try:
        return WatchEvent(EventType(number), path, Zxid(zxid))
    except ValueError:
        raise ProtocolError(f"an event of type {number}, which there is not") from None


# ---- records that are sent


def _connect_record(request: Connect) -> bytes:
    return (
        int32_bytes(0)  # the protocol's version
        + int64_bytes(request.last_zxid)
        + int32_bytes(request.timeout_ms)
        + int64_bytes(request.session_id)
        + buffer_bytes(request.secret)
    )


def _acl_bytes(acl: Iterable[Acl]) -> bytes:
    return vector_bytes(int32_bytes(entry.perms) + text_bytes(entry.scheme) + text_bytes(entry.id) for entry in acl)


def _paths_bytes(paths: Iterable[str]) -> bytes:
    return vector_bytes(text_bytes(path) for path in paths)


def _create(request: Create) -> _Encoded:
    mode = request.mode
    record = text_bytes(request.path) + data_bytes(request.data) + _acl_bytes(request.acl) + int32_bytes(mode)
    if mode.has_ttl:
        return OpCode.CREATE_TTL, record + int64_bytes(request.ttl_ms)
    return OpCode.CREATE_CONTAINER if mode == CreateMode.CONTAINER else OpCode.CREATE2, record


def _check(request: Check) -> _Encoded:
    if request.czxid:
        raise BadArgumentsError(request.path, "ZooKeeper's check knows no czxid")
    return OpCode.CHECK, text_bytes(request.path) + int32_bytes(request.version)


def _multi(request: Multi) -> _Encoded:
    return OpCode.MULTI, _operations(_ENCODERS_IN_MULTI, request.operations)


def _multi_read(request: MultiRead) -> _Encoded:
    return OpCode.MULTI_READ, _operations(_ENCODERS_IN_MULTI_READ, request.operations)


def _operations(encoders: "Mapping[type, Callable[[Any], _Encoded]]", operations: Iterable[object]) -> bytes:
    parts = []
    for operation in operations:
        encode = encoders.get(type(operation))
        if encode is None:
            raise BadArgumentsError("", f"ZooKeeper's multi takes no {type(operation).__name__}")
        opcode, record = encode(operation)
        parts += [_operation_head(opcode, False), record]
    return b"".join((*parts, _operation_head(OpCode.ERROR, True)))


def _operation_head(opcode: int, last: bool) -> bytes:
    return int32_bytes(opcode) + flag_bytes(last) + int32_bytes(-1)


def _set_watches(request: SetWatches) -> _Encoded:
    record = int64_bytes(request.since) + b"".join(map(_paths_bytes, (request.data, request.exist, request.child)))
    if request.persistent or request.recursive:
        return OpCode.SET_WATCHES2, record + _paths_bytes(request.persistent) + _paths_bytes(request.recursive)
    return OpCode.SET_WATCHES, record


def _add_watch(request: AddWatch) -> _Encoded:
    if request.since is not None:
        raise BadArgumentsError(request.path, "ZooKeeper's watches tell nothing of what was before them")
    return OpCode.ADD_WATCH, text_bytes(request.path) + int32_bytes(request.mode)


def _watched(opcode: int) -> Callable[[Exists | GetData | GetChildren], _Encoded]:
    return lambda request: (opcode, text_bytes(request.path) + flag_bytes(request.watch))


def _path(opcode: int) -> Callable[[GetAcl | CountDescendants | Sync], _Encoded]:
    return lambda request: (opcode, text_bytes(request.path))


def _nothing(opcode: int) -> Callable[[object], _Encoded]:
    return lambda request: (opcode, b"")


# The type of the request is the key under which its function stands, which no checker can follow: hence Any.
_ENCODERS: Mapping[type, Callable[[Any], _Encoded]] = {
    Create: _create,
    Delete: lambda request: (OpCode.DELETE, text_bytes(request.path) + int32_bytes(request.version)),
    SetData: lambda request: (
        OpCode.SET_DATA,
        text_bytes(request.path) + data_bytes(request.data) + int32_bytes(request.version),
    ),
    SetAcl: lambda request: (
        OpCode.SET_ACL,
        text_bytes(request.path) + _acl_bytes(request.acl) + int32_bytes(request.version),
    ),
    Check: _check,
    Multi: _multi,
    AddAuth: lambda request: (
        OpCode.AUTH,
        int32_bytes(0) + text_bytes(request.scheme) + buffer_bytes(request.credential),
    ),
    Sasl: lambda request: (OpCode.SASL, buffer_bytes(request.token)),
    CloseSession: _nothing(OpCode.CLOSE_SESSION),
    Exists: _watched(OpCode.EXISTS),
    GetData: _watched(OpCode.GET_DATA),
    GetAcl: _path(OpCode.GET_ACL),
    GetChildren: _watched(OpCode.GET_CHILDREN2),
    CountDescendants: _path(OpCode.GET_ALL_CHILDREN_NUMBER),
    GetEphemerals: lambda request: (OpCode.GET_EPHEMERALS, text_bytes(request.prefix)),
    WhoAmI: _nothing(OpCode.WHO_AM_I),
    MultiRead: _multi_read,
    Ping: _nothing(OpCode.PING),
    Sync: _path(OpCode.SYNC),
    AddWatch: _add_watch,
    RemoveWatches: lambda request: (OpCode.REMOVE_WATCHES, text_bytes(request.path) + int32_bytes(request.type)),
    CheckWatches: lambda request: (OpCode.CHECK_WATCHES, text_bytes(request.path) + int32_bytes(request.type)),
    SetWatches: _set_watches,
}
_ENCODERS_IN_MULTI: Mapping[type, Callable[[Any], _Encoded]] = {
    operation: _ENCODERS[operation] for operation in (Create, Delete, SetData, Check)
}
_ENCODERS_IN_MULTI_READ: Mapping[type, Callable[[Any], _Encoded]] = {
    GetData: _ENCODERS[GetData],
    GetChildren: _watched(OpCode.GET_CHILDREN),
}
_RESERVED_XIDS = {
    OpCode.PING: Xid.PING,
    OpCode.AUTH: Xid.AUTH,
    OpCode.SET_WATCHES: Xid.SET_WATCHES,
    OpCode.SET_WATCHES2: Xid.SET_WATCHES,
}

# ---- records that come back


def _stat(reader: Reader) -> Stat:
    figures: Any = reader.fields(_STAT)  # each of its own type, which a struct does not know
    return Stat(*figures)


def _texts(reader: Reader) -> tuple[str, ...]:
    return tuple(text or "" for text in reader.vector(reader.text, FRAME_HEAD_BYTES) or ())


def _acl(reader: Reader) -> tuple[Acl, ...]:
    def entry() -> Acl:
        return Acl(reader.int32(), reader.text() or "", reader.text() or "")

    return tuple(reader.vector(entry) or ())


def _identities(reader: Reader) -> tuple[Identity, ...]:
    def identity() -> Identity:
        return Identity(reader.text() or "", reader.text() or "")

    return tuple(reader.vector(identity) or ())


def _results(reader: Reader) -> MultiReply:
    """What became of the operations of a Multi or MultiRead."""
    results: list[Body | APIError] = []
    while True:
        opcode, last, _ = reader.int32(), reader.flag(), reader.int32()
        if last:
            return MultiReply(tuple(results))
        decode = _RESULTS.get(opcode)
        if decode is None:
            raise MarshallingError("", f"a result of the unknown kind {opcode}")
        results.append(decode(reader))


def _failed(reader: Reader) -> Body | APIError:
    code = reader.int32()
    return error_from_code(code) if code else DONE


def _done(reader: Reader) -> Body:
    return DONE


def _created(reader: Reader) -> Created:
    return Created(reader.text() or "", _stat(reader))


def _data(reader: Reader) -> DataReply:
    return DataReply(reader.data(), _stat(reader))


_RESULTS: Mapping[int, Callable[[Reader], Body | APIError]] = {
    OpCode.CREATE: lambda reader: Created(reader.text() or "", UNTOLD),
    OpCode.CREATE2: _created,
    OpCode.DELETE: _done,
    OpCode.SET_DATA: lambda reader: StatReply(_stat(reader)),
    OpCode.CHECK: _done,
    OpCode.GET_DATA: _data,
    OpCode.GET_CHILDREN: lambda reader: ChildrenReply(_texts(reader), UNTOLD),
    OpCode.ERROR: _failed,
}
_DECODERS: Mapping[type, Callable[[Reader], Body]] = {  # all others are answered with DONE
    Create: _created,
    SetData: lambda reader: StatReply(_stat(reader)),
    SetAcl: lambda reader: StatReply(_stat(reader)),
    Exists: lambda reader: StatReply(_stat(reader)),
    GetData: _data,
    GetAcl: lambda reader: AclReply(_acl(reader), _stat(reader)),
    GetChildren: lambda reader: ChildrenReply(_texts(reader), _stat(reader)),
    CountDescendants: lambda reader: CountReply(reader.int32()),
    GetEphemerals: lambda reader: PathsReply(_texts(reader)),
    Sasl: lambda reader: SaslReply(reader.buffer()),
    WhoAmI: lambda reader: IdentitiesReply(_identities(reader)),
    Multi: _results,
    MultiRead: _results,
}
