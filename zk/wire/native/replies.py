"""Answers and events as arrays. An answer is `[xid, zxid, kind, field, …]`: a kind >= 0 says which body follows, a kind
< 0 is the code of an error with its path and hint. An event is `[-1, zxid, type, path]`.

Encoding is a server's hot path; decoding is the client's, and the snapshot's (it keeps answers for resends).
"""

from collections.abc import Callable, Sequence
from struct import Struct
from typing import Any, Final

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

# array of 5, int64 xid, uint64 zxid: followed by a tail. array of 3 or 4, int64 xid, uint64 zxid, kind.
_head_of_data = Struct(">HqBQ").pack
_head_and_kind = Struct(">HqBQB").pack

_last_event: tuple[WatchEvent | None, bytes] = (None, b"")  # one event goes out on many connections in a row


def encode_items(items: list[Reply | WatchEvent], bytes_max: int) -> bytes:
    """The answers and events, one behind the other. An answer longer than `bytes_max` is replaced by a refusal."""
    pieces: list[bytes] = []
    for item in items:
        if isinstance(item, Reply):
            body = item.body
            if isinstance(body, Znode):
                tail = body.tail
                if tail is None:
                    tail = body.tail = pack(Kind.DATA) + pack(body.data) + pack(body.stat.figures)
                pieces.append(_head_of_data(0x95D3, item.xid, 0xCF, item.zxid))
                pieces.append(tail)
            elif isinstance(body, StatReply):
                pieces.append(_head_and_kind(0x94D3, item.xid, 0xCF, item.zxid, Kind.STAT))
                pieces.append(pack(body.stat.figures))
            elif isinstance(body, Done):
                pieces.append(_head_and_kind(0x93D3, item.xid, 0xCF, item.zxid, Kind.DONE))
            elif isinstance(body, Created):
                pieces.append(pack((item.xid, item.zxid, Kind.CREATED, body.path, body.stat.figures)))
            else:
                pieces.append(_encode_reply(item.xid, item.zxid, body, bytes_max))
        else:
            pieces.append(_encode_event(item))
    return b"".join(pieces)


def _encode_reply(xid: int, zxid: Zxid, body: Body | APIError, bytes_max: int) -> bytes:
    encoded = pack((xid, zxid, *body_fields(body)))
    if len(encoded) > bytes_max:
        hint = f"the answer would have {len(encoded)} bytes, more than {bytes_max}: ask for less at once, page by page"
        return _encode_reply(xid, zxid, BadArgumentsError("", hint), bytes_max)
    return encoded


def _encode_event(event: WatchEvent) -> bytes:
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
