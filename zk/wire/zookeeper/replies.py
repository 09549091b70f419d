"""The model's answers and events as frames of ZooKeeper's protocol.

What an answer looks like depends on the opcode that asked for it: so each request, when it is decoded, gets the
encoder of its answer (requests.py). A frame is its length, the xid, the zxid, the error code, and, unless it is a
refusal, a record. What the model explains about a refusal is lost here: the protocol has room for its number only.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from struct import Struct
from typing import Any

from zk.model.acl import Identity
from zk.model.errors import APIError, BadArgumentsError, Code, NoNodeError, SessionExpiredError
from zk.model.events import WatchEvent
from zk.model.record import SessionId
from zk.model.replies import (
    AclReply,
    Body,
    ChildrenReply,
    ConnectReply,
    CountReply,
    Created,
    Done,
    IdentitiesReply,
    MultiReply,
    PathsReply,
    SaslReply,
    StatReply,
)
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.wire.zookeeper.jute import buffer_bytes, data_bytes, flag_bytes, int32_bytes, text_bytes, vector_bytes
from zk.wire.zookeeper.numbers import SECRET_BYTES, STATE_SYNC_CONNECTED, OpCode, Xid

Encoder = Callable[[int, int, Body | APIError], bytes]
"""The frame of an answer: from the call's xid, the answer's zxid, and its body."""

_head = Struct(">iiqi").pack  # length, xid, zxid, error code
_HEAD = 16  # what of it counts into the length
_head_and_length = Struct(">iiqii").pack  # and of what follows, its length
_stat = Struct(">qqqqiiiqiiq").pack
_head_and_stat = Struct(">iiqiqqqqiiiqiiq").pack
_HEAD_AND_STAT = _HEAD + 68
_event_head = Struct(">iiqiiii").pack  # length, xid, zxid, error code, type, state, the path's length
_EVENT_HEAD = 28

# ---- answers


def refusal(xid: int, zxid: int, body: Body | APIError) -> bytes:
    assert isinstance(body, APIError), f"an answer nobody asked for: {body!r}"
    return _head(_HEAD, xid, zxid, body.code)


def data(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of getData."""
    if type(body) is not Znode:
        return unreadable(xid, zxid, body)
    tail = body.zookeeper_tail
    if tail is None:
        tail = body.zookeeper_tail = data_bytes(body.data) + stat_bytes(body.stat)
    return _head(_HEAD + len(tail), xid, zxid, 0) + tail


def done(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of whatever is answered without a record."""
    if isinstance(body, Done):
        return _head(_HEAD, xid, zxid, 0)
    return refusal(xid, zxid, body)


def stat(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of setData and setACL."""
    if isinstance(body, StatReply):
        of = _fitting(body.stat)
        return _head_and_stat(
            _HEAD_AND_STAT,
            xid,
            zxid,
            0,
            of.czxid,
            of.mzxid,
            of.ctime,
            of.mtime,
            of.version,
            of.cversion,
            of.aversion,
            of.ephemeral_owner,
            of.data_length,
            of.num_children,
            of.pzxid,
        )
    return refusal(xid, zxid, body)


def found(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of exists."""
    return stat(xid, zxid, body) if isinstance(body, StatReply) else unreadable(xid, zxid, body)


def created_path(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of create."""
    if isinstance(body, Created):
        path = body.path.encode()
        return _head_and_length(_HEAD + 4 + len(path), xid, zxid, 0, len(path)) + path
    return refusal(xid, zxid, body)


def done_in_parts(count: int) -> Sequence[Encoder]:
    """Of a request that was made so many calls: nothing is sent before the last answer, which is the first refusal, if
    there is one."""
    refusals: list[APIError] = []

    def part(xid: int, zxid: int, body: Body | APIError) -> bytes:
        if isinstance(body, APIError):
            refusals.append(body)
        return b""

    def last(xid: int, zxid: int, body: Body | APIError) -> bytes:
        return done(xid, zxid, refusals[0] if refusals else body)

    return [*[part] * (count - 1), last]


def pong(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of ping, whatever xid it had."""
    return done(Xid.PING, zxid, body)


def authenticated(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of auth, which is no matter of zxids."""
    return done(xid, 0, body)


def sasl_token(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """Of SASL: the one refusal that has a record."""
    code, token = (body.code, None) if isinstance(body, APIError) else (Code.OK, _token(body))
    record = buffer_bytes(token)
    return _head(_HEAD + len(record), xid, 0, code) + record


def _token(body: Body) -> bytes | None:
    assert isinstance(body, SaslReply), f"an answer nobody asked for: {body!r}"
    return body.token


def unreadable(xid: int, zxid: int, body: Body | APIError) -> bytes:
    """The refusal of a read: here, what can be no path is a node that does not exist, as in ZooKeeper."""
    return refusal(xid, zxid, NoNodeError() if isinstance(body, BadArgumentsError) else body)


def _answer(record: Callable[[Any], bytes], refuse: Encoder = refusal) -> Encoder:
    def encode(xid: int, zxid: int, body: Body | APIError) -> bytes:
        if isinstance(body, APIError):
            return refuse(xid, zxid, body)
        encoded = record(body)
        return _head(_HEAD + len(encoded), xid, zxid, 0) + encoded

    return encode


def _names(body: ChildrenReply) -> bytes:
    """There may be a hundred thousand: for each of them, the less the better."""
    encoded = [name.encode() for name in body.names]
    try:
        items = [_LENGTHS[len(name)] + name for name in encoded]
    except IndexError:
        items = [buffer_bytes(name) for name in encoded]
    return int32_bytes(len(items)) + b"".join(items)


_LENGTHS = [int32_bytes(length) for length in range(256)]


def _names_and_stat(body: ChildrenReply) -> bytes:
    return _names(body) + stat_bytes(body.stat)


def _created(body: Created) -> bytes:
    return text_bytes(body.path) + stat_bytes(body.stat)


def _acl(body: AclReply) -> bytes:
    entries = [int32_bytes(acl.perms) + text_bytes(acl.scheme) + text_bytes(acl.id) for acl in body.acl]
    return vector_bytes(entries) + stat_bytes(body.stat)


def _count(body: CountReply) -> bytes:
    return int32_bytes(body.count)


def _paths(body: PathsReply) -> bytes:
    return vector_bytes([text_bytes(path) for path in body.paths])


def _user(identity: Identity) -> str:
    return identity.id.partition(":")[0] if identity.scheme == "digest" else identity.id


def _identities(body: IdentitiesReply) -> bytes:
    return vector_bytes([text_bytes(who.scheme) + text_bytes(_user(who)) for who in body.identities])


created = _answer(_created)
names = _answer(_names, unreadable)
names_and_stat = _answer(_names_and_stat, unreadable)
acl = _answer(_acl, unreadable)
count = _answer(_count, unreadable)
paths = _answer(_paths)
identities = _answer(_identities)
watch_added = _answer(lambda body: int32_bytes(Code.OK))


def synced(path: str | None) -> Encoder:
    """Of sync, which gives the path back."""
    encoded = text_bytes(path)
    return _answer(lambda body: encoded)


_connect_head = Struct(">iiq").pack  # version of the protocol, timeout, session id
_EXPIRED = ConnectReply(SessionId(0), bytes(SECRET_BYTES), 0)


def connected(old_client: bool) -> Encoder:
    """Of the connect request. It has no head, and says nothing of read-only mode to a client that did not ask.

    A session that is over is told so; any other refusal is the end of the connection, without a word.
    """

    def encode(xid: int, zxid: int, body: Body | APIError) -> bytes:
        if isinstance(body, SessionExpiredError):
            body = _EXPIRED
        if not isinstance(body, ConnectReply):
            return b""
        answer = _connect_head(0, body.timeout_ms, body.session_id) + buffer_bytes(body.secret)
        return buffer_bytes(answer if old_client else answer + flag_bytes(body.read_only))

    return encode


# ---- multi: one result per operation, each behind a head of its own (type, whether it is the end, error code)

_result_head = Struct(">i?i").pack
_RESULTS_END = _result_head(OpCode.ERROR, True, -1)


def results(types: Sequence[int]) -> Encoder:
    """Of a multi of operations whose results are of these `types`. A failed one is no refusal: its results say what
    failed."""

    def record(body: MultiReply) -> bytes:
        tell = _failed if body.failed else _result
        return b"".join([tell(op, result) for op, result in zip(types, body.results, strict=True)]) + _RESULTS_END

    return _answer(record)


def read_results(types: Sequence[int]) -> Encoder:
    """Of a multiRead, where every operation succeeds or fails by itself."""

    def record(body: MultiReply) -> bytes:
        return b"".join([_result(op, result) for op, result in zip(types, body.results, strict=True)]) + _RESULTS_END

    return _answer(record)


def refused_results(culprit: int, operations: int) -> Encoder:
    """Of a multi that was refused for its operation number `culprit` (from 0) before anything was tried."""

    def encode(xid: int, zxid: int, body: Body | APIError) -> bytes:
        assert isinstance(body, APIError)
        codes = [Code.OK] * culprit + [body.code] + [Code.RUNTIME_INCONSISTENCY] * (operations - culprit - 1)
        record = b"".join([_error_result(code) for code in codes]) + _RESULTS_END
        return _head(_HEAD + len(record), xid, zxid, 0) + record

    return encode


def _error_result(code: int) -> bytes:
    return _result_head(OpCode.ERROR, False, code) + int32_bytes(code)


def _failed(op: int, result: Body | APIError) -> bytes:
    return _error_result(result.code if isinstance(result, APIError) else Code.OK)


def _result(op: int, result: Body | APIError) -> bytes:
    if isinstance(result, APIError):
        return _error_result(result.code)
    return _result_head(op, False, Code.OK) + _RESULTS[op](result)


_RESULTS: dict[int, Callable[[Any], bytes]] = {
    OpCode.CREATE: lambda body: text_bytes(body.path),
    OpCode.CREATE2: _created,
    OpCode.DELETE: lambda body: b"",
    OpCode.SET_DATA: lambda body: stat_bytes(body.stat),
    OpCode.CHECK: lambda body: b"",
    OpCode.GET_DATA: lambda body: data_bytes(body.data) + stat_bytes(body.stat),
    OpCode.GET_CHILDREN: _names,
}

# ---- events

_last_event: tuple[WatchEvent | None, bytes] = (None, b"")  # one event goes out on many connections in a row


def event_bytes(event: WatchEvent) -> bytes:
    """The frame of an event."""
    global _last_event
    last, encoded = _last_event
    if last is not event:
        path = event.path.encode()
        length = _EVENT_HEAD + len(path)
        head = _event_head(length, Xid.EVENT, -1, 0, event.type, STATE_SYNC_CONNECTED, len(path))
        encoded = head + path
        _last_event = (event, encoded)
    return encoded


# ---- stat


def stat_bytes(value: Stat) -> bytes:
    return _stat(*_fitting(value).figures)


def _fitting(value: Stat) -> Stat:
    """Counts have 32 bits here; one that has outgrown them wraps, as it does in ZooKeeper."""
    if value.cversion <= 0x7FFF_FFFF:
        return value
    return replace(value, cversion=(value.cversion + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000)
