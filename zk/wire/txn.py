"""Payloads of the ordered log: a transaction as bytes.

A payload is `time stamp (8 bytes, big-endian) + body`, the body one MessagePack array `[session_id, generation, n, xid,
floor, op, field, …]`. The server that took a request encodes the body once; the leader puts its time in front; the same
bytes then go to the disk, to the peers and to apply. Clients' operations look as in native/operations.py.
"""

from collections.abc import Callable
from struct import Struct
from sys import maxsize
from typing import Any

from librt.strings import BytesWriter, read_i64_be

from zk.model.acl import OPEN_ACL, Identity
from zk.model.data import NO_DATA
from zk.model.errors import APIError, MarshallingError
from zk.model.limits import Limits
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.requests import (
    AttachSession,
    Authenticate,
    Create,
    ExpireSession,
    NameMembers,
    OpenSession,
    Reap,
    SetData,
    Txn,
    Write,
)
from zk.wire.native.frequent import read_create, read_set_data
from zk.wire.native.operations import ENCODERS, Fields, Op, OperationDecoder
from zk.wire.packing import MALFORMED, pack, unpack
from zk.wire.scalars import NIL, ScalarReader, write_binary, write_int, write_text

_STAMP = Struct(">Q")
STAMP_BYTES = _STAMP.size

_OPEN_SESSION = 120
_ATTACH_SESSION = 121
_AUTHENTICATE = 122
_EXPIRE_SESSION = 123
_REAP = 124
_NAME_MEMBERS = 125

_ANY_ZXID = Zxid(0)

# A logged request was within the limits of the server that took it; if they are lowered, the log stays what it is.
_UNLIMITED = OperationDecoder(
    Limits(path_length_max=maxsize, data_bytes_max=maxsize, acl_entries_max=maxsize, multi_operations_max=maxsize)
)


def encode_body(txn: Txn) -> bytes:
    """Everything of `txn` but its time, which the leader adds with `stamp`."""
    request = txn.request
    if isinstance(request, SetData):
        return _encode_set_data(txn, request)
    if isinstance(request, Create) and request.acl is OPEN_ACL:
        return _encode_create(txn, request)
    head: Fields = (txn.session_id, txn.generation, txn.n, txn.xid, txn.floor)
    return pack(head + _FIELDS[type(request)](request))


def stamp(time_ms: int, body: bytes) -> bytes:
    """The payload for the log: `body` at the leader's time."""
    return _STAMP.pack(time_ms) + body


def decode(payload: bytes) -> Txn:
    """The transaction that `payload` carries. Raises MarshallingError if it carries none."""
    try:
        txn = _decode_usual(payload)
    except (ValueError, IndexError):
        txn = None  # what is wrong with it, if anything, is found below
    return _decode_any(payload) if txn is None else txn


def _decode_any(payload: bytes) -> Txn:
    try:
        body: Any = unpack(payload[STAMP_BYTES:])  # taking it apart checks its shape, the decoder checks the fields
        session_id, generation, n, xid, floor, op = body[:6]
        fields = body[6:]
        build = _SERVER_WRITES.get(op)
        request: Write = build(*fields) if build is not None else _UNLIMITED.write(op, fields)
    except (APIError, TypeError, *MALFORMED) as error:
        raise MarshallingError("", f"not a transaction: {error}") from error
    (time_ms,) = _STAMP.unpack_from(payload)
    return Txn(time_ms, session_id, generation, n, xid, floor, request)


# ---- the two most frequent writes, by hand: the same bytes, at a fraction of the cost

_SET_DATA_ARRAY = 0x99  # of nine fields
_CREATE_ARRAY = 0x9B  # of eleven


def _encode_set_data(txn: Txn, request: SetData) -> bytes:
    out = BytesWriter()
    out.append(_SET_DATA_ARRAY)
    _write_head(out, txn, Op.SET_DATA, request.path, request.data)
    write_int(out, request.version)
    return out.getvalue()


def _encode_create(txn: Txn, request: Create) -> bytes:
    out = BytesWriter()
    out.append(_CREATE_ARRAY)
    _write_head(out, txn, Op.CREATE, request.path, request.data)
    out.append(NIL)  # for the ACL
    write_int(out, request.mode)
    write_int(out, request.ttl_ms)
    return out.getvalue()


def _write_head(out: BytesWriter, txn: Txn, op: int, path: str, data: bytes) -> None:
    write_int(out, txn.session_id)
    write_int(out, txn.generation)
    write_int(out, txn.n)
    write_int(out, txn.xid)
    write_int(out, txn.floor)
    out.append(op)
    write_text(out, path)
    if data is NO_DATA:
        out.append(NIL)
    else:
        write_binary(out, data)


def _decode_usual(payload: bytes) -> Txn | None:
    """The transaction, if it is one of the two and looks as they do above; else None, ValueError or IndexError."""
    reader = ScalarReader(payload, STAMP_BYTES)
    if reader.skip(_SET_DATA_ARRAY):
        op = Op.SET_DATA
    elif reader.skip(_CREATE_ARRAY):
        op = Op.CREATE
    else:
        return None
    session_id, generation = reader.read_int(), reader.read_int()
    n, xid, floor = reader.read_int(), reader.read_int(), reader.read_int()
    if not reader.skip(op):
        return None
    request = read_set_data(reader) if op == Op.SET_DATA else read_create(reader)
    time_ms = read_i64_be(payload, 0)
    if request is None or time_ms < 0 or reader.at != len(payload):
        return None
    # The calls of SessionId and Zxid, which type checkers ask for, are as dear as all else here.
    return Txn(time_ms, session_id, generation, n, xid, floor, request)  # type: ignore[arg-type]


# ---- the writes that only servers make


def _session_fields(op: int) -> Callable[..., Fields]:
    def fields(request: OpenSession | AttachSession) -> Fields:
        identities = tuple((identity.scheme, identity.id) for identity in request.identities)
        return (
            op,
            request.session_id,
            request.secret,
            request.timeout_ms,
            identities,
            request.server_id,
            request.nonce,
            request.last_zxid,
        )

    return fields


_FIELDS: dict[type, Callable[..., Fields]] = {
    **ENCODERS,
    OpenSession: _session_fields(_OPEN_SESSION),
    AttachSession: _session_fields(_ATTACH_SESSION),
    Authenticate: lambda r: (_AUTHENTICATE, *(text for who in r.identities for text in (who.scheme, who.id))),
    ExpireSession: lambda r: (_EXPIRE_SESSION, r.session_id, r.generation),
    Reap: lambda r: (_REAP, r.path),
    NameMembers: lambda r: (_NAME_MEMBERS, *r.members),
}


def _session_write(kind: type[OpenSession] | type[AttachSession]) -> Callable[..., Write]:
    def build(
        session_id: SessionId,
        secret: bytes,
        timeout_ms: int,
        identities: tuple[tuple[str, str], ...],
        server_id: ServerId,
        nonce: int,
        last_zxid: Zxid = _ANY_ZXID,
    ) -> OpenSession | AttachSession:
        known = tuple([Identity(scheme, name) for scheme, name in identities])
        return kind(session_id, secret, timeout_ms, known, server_id, nonce, last_zxid)

    return build


_SERVER_WRITES: dict[object, Callable[..., Write]] = {
    _OPEN_SESSION: _session_write(OpenSession),
    _ATTACH_SESSION: _session_write(AttachSession),
    _AUTHENTICATE: lambda *texts: Authenticate(
        tuple([Identity(*each) for each in zip(texts[::2], texts[1::2], strict=True)])
    ),
    _EXPIRE_SESSION: ExpireSession,
    _REAP: Reap,
    _NAME_MEMBERS: lambda *members: NameMembers(members),
}
