"""Server to server: magic, Hello, then the messages of the broadcast and of the replicas, as MessagePack arrays
`[tag, field, …]`.

A message's fields are those that its record declares, in that order, and are checked against the declared types: a
field added there is on the wire, which is why VERSION must grow with it. Only entries look different: `[zxid, kind,
payload, zxid, kind, payload, …]`. What the messages mean stands in broadcast/messages.py and model/peering.py.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar, get_type_hints

from zk.broadcast.messages import (
    Ack,
    AckEpoch,
    Commit,
    HandOver,
    Join,
    Message,
    NewEpoch,
    PingPeer,
    Poll,
    PollReply,
    PongPeer,
    Proposal,
    SyncAck,
    SyncLog,
    SyncSnapshot,
)
from zk.broadcast.records import Entry, EntryKind, EpochEnds
from zk.model.limits import KIB, MIB
from zk.model.peering import Drifted, Forward, Heard, ReadIndexAnswer, ReadIndexAsk, ReplicaMessage
from zk.model.record import Epoch, ServerId, SessionId, Zxid, record
from zk.wire.framing import Frame, FrameReader, ProtocolError
from zk.wire.frequent import (
    ACK,
    COMMIT,
    FORWARD,
    PROPOSAL,
    EntriesWriter,
    encode_ack,
    encode_commit,
    encode_forward,
    encode_proposal,
    read_frequent,
)
from zk.wire.packing import pack
from zk.wire.scalars import ScalarReader

T = TypeVar("T")

MAGIC = b"\xc1zkp"
VERSION = 3
PEER_FRAME_BYTES_MAX = 64 * MIB
HELLO_BYTES_MAX = 4 * KIB


@record
class Hello:
    """The first message of either side: which ensemble, who, with which disk, speaking which version, and who votes as
    far as its configuration says."""

    cluster_name: str
    server_id: ServerId
    disk_uuid: str
    version: int
    voters: tuple[ServerId, ...]


PeerMessage = Hello | Message | ReplicaMessage

_TAGS: dict[int, type[PeerMessage]] = {
    1: Hello,
    2: Poll,
    3: PollReply,
    4: NewEpoch,
    5: AckEpoch,
    6: Join,
    7: SyncLog,
    8: SyncSnapshot,
    9: SyncAck,
    PROPOSAL: Proposal,
    ACK: Ack,
    COMMIT: Commit,
    13: PingPeer,
    14: PongPeer,
    15: HandOver,
    FORWARD: Forward,
    17: ReadIndexAsk,
    18: ReadIndexAnswer,
    19: Heard,
    20: Drifted,
}


def encode(message: PeerMessage) -> bytes:
    """The bytes of `message`; in front of a Hello stands the magic, for it begins the connection."""
    encoded = _ENCODERS[type(message)](message)
    return MAGIC + encoded if isinstance(message, Hello) else encoded


class PeerReader:
    """Turns the bytes that came from another server into messages. Whether a Hello may come is the caller's to say; but
    as long as there was no message at all, anybody may be the sender, and little is kept of an unfinished one."""

    def __init__(self, frame_bytes_max: int = PEER_FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._reader = FrameReader(frame_bytes_max)
        self._magic = MAGIC  # what of it has not arrived yet
        self._spoke = False

    @property
    def buffered_bytes(self) -> int:
        """How much of an unfinished message has arrived."""
        return self._reader.buffered_bytes

    def feed(self, data: bytes) -> list[PeerMessage]:
        """The messages that `data` completes. Raises ProtocolError: close."""
        if self._magic:
            part = data[: len(self._magic)]
            if not self._magic.startswith(part):
                raise ProtocolError("this is the port for servers; the other side does not speak their protocol")
            self._magic, data = self._magic[len(part) :], data[len(part) :]
        messages: list[PeerMessage] = []
        if self._spoke and self._reader.buffered_bytes == 0:
            end = self._read_frequent(data, messages)
            if end == len(data):
                return messages
            data = data[end:]
        messages += [_decode(frame) for frame in self._reader.feed(data)]
        if not self._spoke:
            self._spoke = bool(messages)
            if not messages and self.buffered_bytes > HELLO_BYTES_MAX:
                raise ProtocolError(f"a Hello has at most {HELLO_BYTES_MAX} bytes")
        return messages

    def _read_frequent(self, data: bytes, messages: list[PeerMessage]) -> int:
        """Add the frequent messages with which `data` begins; where they end."""
        reader = ScalarReader(data, 0)
        end = 0
        try:
            while end < len(data):
                message = read_frequent(reader)
                if message is None or reader.at - end > self._frame_bytes_max:
                    break
                messages.append(message)
                end = reader.at
        except (ValueError, IndexError):
            pass  # the rest of it may be still to come; or what is wrong with it is found when it is decoded
        return end


def _decode(frame: Frame) -> PeerMessage:
    tag = frame[0] if frame else None
    decode = _DECODERS.get(tag) if type(tag) is int else None
    if decode is None:
        raise ProtocolError("a message begins with a number that is unknown here: is the server of another version?")
    return decode(frame)


# ---- fields, by their declared types


_ENTRY_KINDS = {int(kind): kind for kind in EntryKind}


def _entries(value: object) -> tuple[Entry, ...]:
    flat = _only(tuple, value)
    if tuple(map(type, flat)) != (int, int, bytes) * (len(flat) // 3):
        raise TypeError("entries must be zxids, kinds and payloads")
    parts = zip(flat[0::3], flat[1::3], flat[2::3], strict=True)
    return tuple([Entry(zxid, _ENTRY_KINDS[kind], payload) for zxid, kind, payload in parts])


def _epoch_ends(value: object) -> EpochEnds:
    ends = _only(tuple, value)
    if not all(type(end) is tuple and len(end) == 2 and _are(int, end) for end in ends):
        raise TypeError("epochs must be pairs of integers")
    return ends


def _are(kind: type, values: Iterable[object]) -> bool:
    return all(type(value) is kind for value in values)


def _only(kind: type[T], value: object) -> T:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
    return value


def _several(kind: type) -> Callable[[object], tuple[Any, ...]]:
    def read(value: object) -> tuple[Any, ...]:
        values = _only(tuple, value)
        if not _are(kind, values):
            raise TypeError(f"expected several {kind.__name__}")
        return values

    return read


def _zxid_or_none(value: object) -> Zxid | None:
    return None if value is None else Zxid(_only(int, value))


_PLAIN: dict[object, type] = {
    **dict.fromkeys((int, Epoch, ServerId, Zxid), int),
    **{plain: plain for plain in (bool, str, bytes)},
}
_FIELD_READERS: dict[object, Callable[[object], Any]] = {
    **{declared: partial(_only, plain) for declared, plain in _PLAIN.items()},
    tuple[bytes, ...]: _several(bytes),
    tuple[ServerId, ...]: _several(int),
    tuple[SessionId, ...]: _several(int),
    tuple[Entry, ...]: _entries,
    EpochEnds: _epoch_ends,
    Zxid | None: _zxid_or_none,
}


# ---- messages


def _encoder(tag: int, kind: type[PeerMessage], entries_writer: EntriesWriter) -> Callable[[Any], bytes]:
    names = [field.name for field in fields(kind)]
    if "entries" not in names:
        take = attrgetter(*names, names[0])  # one name more than there are: attrgetter of one name gives no tuple
        return lambda message: pack((tag, *take(message)[:-1]))
    at = 1 + names.index("entries")
    take = attrgetter(*names)
    begin = pack([tag, *names])[:1]  # an array's length, one byte as long as that is below 16

    def with_entries(message: Any) -> bytes:
        array = [tag, *take(message)]
        before, entries, behind = pack(array[:at]), entries_writer.written(array[at]), pack(array[at + 1 :])
        return b"".join((begin, before[1:], entries, behind[1:]))

    return with_entries


def _decoder(kind: type[PeerMessage]) -> Callable[[Frame], PeerMessage]:
    hints = get_type_hints(kind)
    declared = [hints[field.name] for field in fields(kind)]
    readers = [_FIELD_READERS[each] for each in declared]
    usual = (int, *[_PLAIN.get(each, tuple) for each in declared])
    not_plain = [(at, readers[at]) for at, each in enumerate(declared) if each not in _PLAIN]
    make: Callable[..., PeerMessage] = kind

    def decode(frame: Frame) -> PeerMessage:
        try:
            if tuple(map(type, frame)) == usual:  # else it is malformed, or a field of it is None
                values = list(frame[1:])
                for at, read in not_plain:
                    values[at] = read(values[at])
                return make(*values)
            return make(*[read(value) for read, value in zip(readers, frame[1:], strict=True)])
        except (TypeError, ValueError, KeyError) as error:
            raise ProtocolError(f"malformed {kind.__name__}: {error}") from error

    return decode


_entries_writer = EntriesWriter()
_ENCODERS: Mapping[type, Callable[[Any], bytes]] = {
    **{kind: _encoder(tag, kind, _entries_writer) for tag, kind in _TAGS.items()},
    Proposal: partial(encode_proposal, _entries_writer),
    Ack: encode_ack,
    Commit: encode_commit,
    Forward: encode_forward,
}
_DECODERS: Mapping[int, Callable[[Frame], PeerMessage]] = {tag: _decoder(kind) for tag, kind in _TAGS.items()}
