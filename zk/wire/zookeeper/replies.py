"""The model's answers and events as frames of ZooKeeper's protocol.

What an answer looks like depends on the opcode that asked for it: so each request, when it is decoded, gets the
encoder of its answer (requests.py). A frame is its length, the xid, the zxid, the error code, and, unless it is a
refusal, a record. What the model explains about a refusal is lost here: the protocol has room for its number only.
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any

from librt.strings import BytesWriter, write_i32_be, write_i64_be

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

_HEAD = 16  # what of it counts into a frame's length: xid, zxid, error code
_STAT = 68

# ---- how an answer is written


class Encoder:
    """What is made of the answer to one request. Here: of one that is always refused."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        """Put the frame of the answer behind what is in `out`: from the call's xid, the answer's zxid, and its
        body."""
        assert isinstance(body, APIError), f"an answer nobody asked for: {body!r}"
        _write_head(out, 0, xid, zxid, body.code)


REFUSAL = Encoder()


def _write_head(out: BytesWriter, record_bytes: int, xid: int, zxid: int, code: int) -> None:
    write_i32_be(out, _HEAD + record_bytes)
    write_i32_be(out, xid)
    write_i64_be(out, zxid)
    write_i32_be(out, code)


class _Unreadable(Encoder):
    """The refusal of a read: here, what can be no path is a node that does not exist, as in ZooKeeper."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        REFUSAL.write(out, xid, zxid, NoNodeError() if isinstance(body, BadArgumentsError) else body)


UNREADABLE = _Unreadable()


class _Done(Encoder):
    """Of whatever is answered without a record."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        if isinstance(body, Done):
            _write_head(out, 0, xid, zxid, 0)
        else:
            REFUSAL.write(out, xid, zxid, body)


DONE = _Done()


class _Stat(Encoder):
    """Of setData, setACL and exists; `refused` writes what is no stat."""

    def __init__(self, refused: Encoder) -> None:
        self._refused = refused

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        if isinstance(body, StatReply):
            _write_head(out, _STAT, xid, zxid, 0)
            _write_stat(out, body.stat)
        else:
            self._refused.write(out, xid, zxid, body)


class _CreatedPath(Encoder):
    """Of create."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        if isinstance(body, Created):
            path = body.path.encode()
            _write_head(out, 4 + len(path), xid, zxid, 0)
            write_i32_be(out, len(path))
            out.write(path)
        else:
            REFUSAL.write(out, xid, zxid, body)


class _Data(Encoder):
    """Of getData."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        if isinstance(body, Znode):
            tail = body.zookeeper_tail
            if tail is None:
                tail = body.zookeeper_tail = data_bytes(body.data) + stat_bytes(body.stat)
            _write_head(out, len(tail), xid, zxid, 0)
            out.write(tail)
        else:
            UNREADABLE.write(out, xid, zxid, body)


class _Record(Encoder):
    """Of what is asked for less often: with the record that `record` makes of the body, or as `refused` says."""

    def __init__(self, record: Callable[[Any], bytes], refused: Encoder = REFUSAL) -> None:
        self._record = record
        self._refused = refused

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        if isinstance(body, APIError):
            self._refused.write(out, xid, zxid, body)
        else:
            record = self._record(body)
            _write_head(out, len(record), xid, zxid, 0)
            out.write(record)


class _Pong(Encoder):
    """Of ping, whatever xid it had."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        DONE.write(out, Xid.PING, zxid, body)


class _Authenticated(Encoder):
    """Of auth, which is no matter of zxids."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        DONE.write(out, xid, 0, body)


class _SaslToken(Encoder):
    """Of SASL: the one refusal that has a record."""

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        code, token = (body.code, None) if isinstance(body, APIError) else (Code.OK, _token(body))
        record = buffer_bytes(token)
        _write_head(out, len(record), xid, 0, code)
        out.write(record)


def _token(body: Body) -> bytes | None:
    assert isinstance(body, SaslReply), f"an answer nobody asked for: {body!r}"
    return body.token


class DoneInParts(Encoder):
    """Of a request that was made so many calls: nothing is sent before the last answer, which is the first refusal, if
    there is one."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._refusal: APIError | None = None

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        self._left -= 1
        if isinstance(body, APIError) and self._refusal is None:
            self._refusal = body
        if self._left == 0:
            DONE.write(out, xid, zxid, body if self._refusal is None else self._refusal)


def synced(path: str | None) -> Encoder:
    """Of sync, which gives the path back."""
    encoded = text_bytes(path)
    return _Record(lambda body: encoded)


_connect_head = Struct(">iiq").pack  # version of the protocol, timeout, session id
_EXPIRED = ConnectReply(SessionId(0), bytes(SECRET_BYTES), 0)


class Connected(Encoder):
    """Of the connect request. It has no head, and says nothing of read-only mode to a client that did not ask.

    A session that is over is told so; any other refusal is the end of the connection, without a word.
    """

    def __init__(self, old_client: bool) -> None:
        self._old_client = old_client

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        if isinstance(body, SessionExpiredError):
            body = _EXPIRED
        if isinstance(body, ConnectReply):
            answer = _connect_head(0, body.timeout_ms, body.session_id) + buffer_bytes(body.secret)
            out.write(buffer_bytes(answer if self._old_client else answer + flag_bytes(body.read_only)))


# ---- records


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


# ---- multi: one result per operation, each behind a head of its own (type, whether it is the end, error code)

_result_head = Struct(">i?i").pack
_RESULTS_END = _result_head(OpCode.ERROR, True, -1)


def results(types: Sequence[int]) -> Encoder:
    """Of a multi of operations whose results are of these `types`. A failed one is no refusal: its results say what
    failed."""

    def record(body: MultiReply) -> bytes:
        tell = _failed if body.failed else _result
        return b"".join([tell(op, result) for op, result in zip(types, body.results, strict=True)]) + _RESULTS_END

    return _Record(record)


def read_results(types: Sequence[int]) -> Encoder:
    """Of a multiRead, where every operation succeeds or fails by itself."""

    def record(body: MultiReply) -> bytes:
        return b"".join([_result(op, result) for op, result in zip(types, body.results, strict=True)]) + _RESULTS_END

    return _Record(record)


class RefusedResults(Encoder):
    """Of a multi that was refused for its operation number `culprit` (from 0) before anything was tried."""

    def __init__(self, culprit: int, operations: int) -> None:
        self._culprit = culprit
        self._behind = operations - culprit - 1

    def write(self, out: BytesWriter, xid: int, zxid: int, body: Body | APIError) -> None:
        assert isinstance(body, APIError)
        codes = [Code.OK] * self._culprit + [body.code] + [Code.RUNTIME_INCONSISTENCY] * self._behind
        record = b"".join([_error_result(code) for code in codes]) + _RESULTS_END
        _write_head(out, len(record), xid, zxid, 0)
        out.write(record)


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
        out = BytesWriter()
        _write_head(out, 12 + len(path), Xid.EVENT, -1, 0)
        write_i32_be(out, event.type)
        write_i32_be(out, STATE_SYNC_CONNECTED)
        write_i32_be(out, len(path))
        out.write(path)
        encoded = out.getvalue()
        _last_event = (event, encoded)
    return encoded


# ---- stat


def stat_bytes(stat: Stat) -> bytes:
    out = BytesWriter()
    _write_stat(out, stat)
    return out.getvalue()


def _write_stat(out: BytesWriter, stat: Stat) -> None:
    write_i64_be(out, stat.czxid)
    write_i64_be(out, stat.mzxid)
    write_i64_be(out, stat.ctime)
    write_i64_be(out, stat.mtime)
    write_i32_be(out, stat.version)
    write_i32_be(out, stat.cversion if stat.cversion <= 0x7FFF_FFFF else _wrapped(stat.cversion))
    write_i32_be(out, stat.aversion)
    write_i64_be(out, stat.ephemeral_owner)
    write_i32_be(out, stat.data_length)
    write_i32_be(out, stat.num_children)
    write_i64_be(out, stat.pzxid)


def _wrapped(count: int) -> int:
    """Counts have 32 bits here; one that has outgrown them wraps, as it does in ZooKeeper."""
    return (count + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000


# ---- which request gets which answer

ENCODERS: dict[int, Encoder] = {
    OpCode.CREATE: _CreatedPath(),
    OpCode.CREATE2: _Record(_created),
    OpCode.CREATE_CONTAINER: _Record(_created),
    OpCode.CREATE_TTL: _Record(_created),
    OpCode.DELETE: DONE,
    OpCode.EXISTS: _Stat(UNREADABLE),
    OpCode.GET_DATA: _Data(),
    OpCode.SET_DATA: _Stat(REFUSAL),
    OpCode.GET_ACL: _Record(_acl, UNREADABLE),
    OpCode.SET_ACL: _Stat(REFUSAL),
    OpCode.GET_CHILDREN: _Record(_names, UNREADABLE),
    OpCode.GET_CHILDREN2: _Record(_names_and_stat, UNREADABLE),
    OpCode.PING: _Pong(),
    OpCode.CHECK: DONE,
    OpCode.RECONFIG: REFUSAL,
    OpCode.CHECK_WATCHES: DONE,
    OpCode.REMOVE_WATCHES: DONE,
    OpCode.DELETE_CONTAINER: REFUSAL,
    OpCode.AUTH: _Authenticated(),
    OpCode.SASL: _SaslToken(),
    OpCode.GET_EPHEMERALS: _Record(_paths),
    OpCode.GET_ALL_CHILDREN_NUMBER: _Record(_count, UNREADABLE),
    OpCode.ADD_WATCH: _Record(lambda body: int32_bytes(Code.OK)),
    OpCode.WHO_AM_I: _Record(_identities),
    OpCode.CLOSE_SESSION: DONE,
}
"""Of those requests whose answers look alike whatever they ask for."""
