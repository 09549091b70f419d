"""Answers and events as arrays. An answer is `[xid, zxid, kind, field, …]`: a kind >= 0 says which body follows, a kind
< 0 is the code of an error with its path and hint. An event is `[-1, zxid, type, path]`.

Encoding is a server's hot path; decoding is the client's, and the snapshot's (it keeps answers for resends).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from librt.strings import BytesWriter, write_i64_be

from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.errors import APIError, BadArgumentsError, error_from_code
from zk.model.events import EventType, WatchEvent
from zk.model.limits import Limits
from zk.model.record import Zxid
from zk.model.replies import (
    DONE,
    AclReply,
    Body,
    ChildrenPageReply,
    ChildrenReply,
    ConnectReply,
    CountReply,
    Created,
    DataReply,
    Done,
    IdentitiesReply,
    MultiReply,
    NodeReply,
    PageEntry,
    PathsReply,
    Reply,
    StatReply,
    StatusReply,
)
from zk.model.requests import CreateMode
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.wire.framing import Frame
from zk.wire.native.operations import Fields, acl_fields
from zk.wire.packing import pack
from zk.wire.scalars import write_array, write_int, write_text
from zk.wire.unsigned import write_u64

EVENT_XID = -1
FAREWELL_XID = -2


class Kind:
    """Which body an answer has. The numbers are part of the protocol."""

    DONE: Final = 0
    CREATED: Final = 1
    STAT: Final = 2
    DATA: Final = 3
    ACL: Final = 4
    CHILDREN: Final = 5
    PAGE: Final = 6
    COUNT: Final = 7
    PATHS: Final = 8
    IDENTITIES: Final = 9
    RESULTS: Final = 10
    CONNECTED: Final = 11
    STATUS: Final = 12
    NODE: Final = 13


_ANSWER_BYTES_PER_OPERATION = 160  # what the answer to a Create has more than the Create itself: a suffix, a Stat


def reply_bytes_max(limits: Limits) -> int:
    """The longest answer. Every write's answer fits: what a write got done is never refused afterwards."""
    return limits.frame_bytes_max + _ANSWER_BYTES_PER_OPERATION * limits.multi_operations_max


# ---- encoding

_last_event: tuple[WatchEvent | None, bytes] = (None, b"")  # one event goes out on many connections in a row


def encode_items(items: list[Reply | WatchEvent], bytes_max: int) -> bytes:
    """The answers and events, one behind the other. An answer longer than `bytes_max` is replaced by a refusal."""
    out = BytesWriter()
    for item in items:
        if isinstance(item, Reply):
            body = item.body
            if isinstance(body, Znode):
                tail = body.tail
                if tail is None:
                    tail = body.tail = pack(Kind.DATA) + pack(body.data) + pack(body.stat.figures)
                _write_head(out, 5, item.xid, item.zxid)
                out.write(tail)
            elif isinstance(body, StatReply):
                _write_head(out, 4, item.xid, item.zxid)
                out.append(Kind.STAT)
                _write_stat(out, body.stat)
            elif isinstance(body, Done):
                _write_head(out, 3, item.xid, item.zxid)
                out.append(Kind.DONE)
            elif isinstance(body, Created):
                write_array(out, 5)
                write_int(out, item.xid)
                write_int(out, item.zxid)
                out.append(Kind.CREATED)
                write_text(out, body.path)
                _write_stat(out, body.stat)
            else:
                out.write(_encode_reply(item.xid, item.zxid, body, bytes_max))
        else:
            out.write(encode_event(item))
    return out.getvalue()


def _write_head(out: BytesWriter, fields: int, xid: int, zxid: int) -> None:
    """An array of so many fields, with its first two: an int64 and a uint64."""
    write_array(out, fields)
    out.append(0xD3)
    write_i64_be(out, xid)
    out.append(0xCF)
    write_u64(out, zxid)


def _write_stat(out: BytesWriter, stat: Stat) -> None:
    write_array(out, 11)
    write_int(out, stat.czxid)
    write_int(out, stat.mzxid)
    write_int(out, stat.ctime)
    write_int(out, stat.mtime)
    write_int(out, stat.version)
    write_int(out, stat.cversion)
    write_int(out, stat.aversion)
    write_int(out, stat.ephemeral_owner)
    write_int(out, stat.data_length)
    write_int(out, stat.num_children)
    write_int(out, stat.pzxid)


def _encode_reply(xid: int, zxid: Zxid, body: Body | APIError, bytes_max: int) -> bytes:
    encoded = pack((xid, zxid, *body_fields(body)))
    if len(encoded) > bytes_max:
        hint = f"the answer would have {len(encoded)} bytes, more than {bytes_max}: ask for less at once, page by page"
        return _encode_reply(xid, zxid, BadArgumentsError("", hint), bytes_max)
    return encoded


def encode_event(event: WatchEvent) -> bytes:
    global _last_event
    last, encoded = _last_event
    if last is not event:
        encoded = pack((EVENT_XID, event.zxid, event.type, event.path))
        _last_event = (event, encoded)
    return encoded


def encode_farewell(error: APIError) -> bytes:
    """The last frame before a server closes a connection: an answer to nothing in particular."""
    return _encode_reply(FAREWELL_XID, Zxid(0), error, 0xFFFF)


def body_fields(body: Body | APIError) -> Fields:
    """`[kind, field, …]`: the body in an answer, in the results of a multi, and in a snapshot."""
    if isinstance(body, APIError):
        return (int(body.code), body.path, body.hint)
    return _ENCODERS[type(body)](body)


def _identities(identities: Sequence[Identity]) -> tuple[Fields, ...]:
    return tuple([(identity.scheme, identity.id) for identity in identities])


def _page_entry_fields(entry: PageEntry) -> Fields:
    return (entry.name, None if entry.stat is None else entry.stat.figures, entry.data)


_ENCODERS: dict[type, Callable[..., Fields]] = {
    Done: lambda b: (Kind.DONE,),
    Created: lambda b: (Kind.CREATED, b.path, b.stat.figures),
    StatReply: lambda b: (Kind.STAT, b.stat.figures),
    Znode: lambda b: (Kind.DATA, b.data, b.stat.figures),
    DataReply: lambda b: (Kind.DATA, b.data, b.stat.figures),
    AclReply: lambda b: (Kind.ACL, acl_fields(b.acl), b.stat.figures),
    NodeReply: lambda b: (Kind.NODE, b.data, acl_fields(b.acl), b.mode, b.ttl_ms, b.stat.figures),
    ChildrenReply: lambda b: (Kind.CHILDREN, b.names, b.stat.figures),
    ChildrenPageReply: lambda b: (Kind.PAGE, tuple(map(_page_entry_fields, b.entries)), b.more, b.stat.figures),
    CountReply: lambda b: (Kind.COUNT, b.count),
    PathsReply: lambda b: (Kind.PATHS, b.paths),
    IdentitiesReply: lambda b: (Kind.IDENTITIES, _identities(b.identities)),
    MultiReply: lambda b: (Kind.RESULTS, tuple([body_fields(result) for result in b.results])),
    ConnectReply: lambda b: (Kind.CONNECTED, b.session_id, b.secret, b.timeout_ms, b.read_only),
    StatusReply: lambda b: (
        Kind.STATUS,
        b.server_id,
        b.role,
        b.epoch,
        b.zxid,
        b.leader,
        b.sessions,
        b.znodes,
        b.watches,
        b.connections,
        b.digest,
        b.version,
    ),
}


# ---- decoding: what a server of ours encoded, so only the shape is checked


def decode_item(frame: Frame) -> Reply | WatchEvent:
    """The answer or event in one frame of a server. Raises ValueError or TypeError if it is neither."""
    xid, zxid, kind, *fields = frame
    if type(xid) is not int or type(zxid) is not int or type(kind) is not int:
        raise TypeError("an answer begins with three integers")
    if xid == EVENT_XID:
        (path,) = fields
        return WatchEvent(EventType(kind), _text(path), Zxid(zxid))
    return Reply(xid, Zxid(zxid), decode_body(kind, fields))


def decode_body(kind: int, fields: Sequence[object]) -> Body | APIError:
    """The inverse of `body_fields`. Raises ValueError or TypeError. A Znode comes back as DataReply."""
    if kind == Kind.RESULTS:
        (results,) = fields
        return MultiReply(tuple([_decode_plain(kind, rest) for kind, *rest in _items(results)]))
    return _decode_plain(kind, fields)


def _decode_plain(kind: int, fields: Sequence[object]) -> Body | APIError:
    if kind < 0:
        path, hint = fields
        return error_from_code(kind, _text(path), _text(hint))
    decode = _DECODERS.get(kind)
    if decode is None:
        raise ValueError(f"unknown kind of answer {kind}")
    return decode(*fields)


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"expected text, not {type(value).__name__}")
    return value


def _items(value: object) -> tuple[Any, ...]:
    if type(value) is not tuple:
        raise TypeError(f"expected an array, not {type(value).__name__}")
    return value


def _acl(value: object) -> tuple[Acl, ...]:
    return OPEN_ACL if value is None else tuple([Acl(*entry) for entry in _items(value)])


def _page_entry(name: str, stat: Any, data: bytes | None) -> PageEntry:
    return PageEntry(name, None if stat is None else Stat(*stat), data)


_DECODERS: dict[int, Callable[..., Body]] = {
    Kind.DONE: lambda: DONE,
    Kind.CREATED: lambda path, stat: Created(_text(path), Stat(*stat)),
    Kind.STAT: lambda stat: StatReply(Stat(*stat)),
    Kind.DATA: lambda data, stat: DataReply(data, Stat(*stat)),
    Kind.ACL: lambda acl, stat: AclReply(_acl(acl), Stat(*stat)),
    Kind.NODE: lambda data, acl, mode, ttl_ms, stat: NodeReply(data, _acl(acl), CreateMode(mode), ttl_ms, Stat(*stat)),
    Kind.CHILDREN: lambda names, stat: ChildrenReply(_items(names), Stat(*stat)),
    Kind.PAGE: lambda entries, more, stat: ChildrenPageReply(
        tuple([_page_entry(*entry) for entry in _items(entries)]), more, Stat(*stat)
    ),
    Kind.COUNT: lambda count: CountReply(count),
    Kind.PATHS: lambda paths: PathsReply(_items(paths)),
    Kind.IDENTITIES: lambda identities: IdentitiesReply(
        tuple([Identity(*identity) for identity in _items(identities)])
    ),
    Kind.CONNECTED: ConnectReply,
    Kind.STATUS: StatusReply,
}
