"""What servers tell each other."""

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from zk.broadcast.messages import Ack, Commit, Message, Proposal
from zk.broadcast.records import Entry, EntryKind
from zk.model.peering import Forward, ReadIndexAnswer, ReplicaMessage
from zk.model.record import Epoch, ServerId, Zxid
from zk.wire.framing import ProtocolError
from zk.wire.packing import pack
from zk.wire.peer import HELLO_BYTES_MAX, MAGIC, Hello, PeerReader, encode

FrequentMessage = Proposal | Ack | Commit | Forward

HELLO = Hello("cluster", ServerId(1), "uuid", 1, (ServerId(1), ServerId(2), ServerId(3)))


def introduced() -> PeerReader:
    reader = PeerReader()
    assert reader.feed(encode(HELLO)) == [HELLO]
    return reader


@given(st.data())
def test_every_message_comes_out_as_it_went_in(
    hellos: SearchStrategy[Hello], messages: SearchStrategy[Message | ReplicaMessage], data: st.DataObject
) -> None:
    sent = [data.draw(hellos), *data.draw(st.lists(messages, max_size=5))]
    stream = b"".join(encode(message) for message in sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    reader = PeerReader()
    edges = sorted({0, len(stream), *cuts})
    assert [message for begin, end in pairwise(edges) for message in reader.feed(stream[begin:end])] == sent
    assert reader.buffered_bytes == 0


def test_the_bytes_between_servers_stay_what_they_are() -> None:
    assert encode(HELLO) == MAGIC + bytes.fromhex("9601a7636c757374657201a4757569640193010203")
    entries = (Entry(Zxid(5), EntryKind.TXN, b"x"), Entry(Zxid(6), EntryKind.MARKER, b""))
    assert encode(Proposal(Epoch(1), 2, Zxid(4), entries, Zxid(3))).hex() == "960a010204960501c401780602c40003"
    assert encode(Ack(Epoch(1), 2, Zxid(3))).hex() == "940b010203"
    assert encode(ReadIndexAnswer(7, None)).hex() == "931207c0"


def frame(message: FrequentMessage) -> bytes:
    """The message as the library writes it."""
    match message:
        case Proposal(epoch, stream, prev, entries, commit):
            flat = tuple(part for entry in entries for part in (entry.zxid, entry.kind, entry.payload))
            return pack((10, epoch, stream, prev, flat, commit))
        case Ack(epoch, stream, zxid):
            return pack((11, epoch, stream, zxid))
        case Commit(epoch, stream, zxid):
            return pack((12, epoch, stream, zxid))
        case Forward(bodies):
            return pack((16, bodies))


@given(st.data())
def test_the_frequent_messages_are_written_as_the_library_writes_them(
    frequent_messages: SearchStrategy[FrequentMessage], data: st.DataObject
) -> None:
    message = data.draw(frequent_messages)
    assert encode(message) == frame(message)


def read(data: bytes) -> list[object] | None:
    """The messages; None if they are refused."""
    try:
        return list(introduced().feed(data))
    except ProtocolError:
        return None


@given(st.data())
def test_the_frequent_messages_are_read_as_all_others_are(
    frequent_messages: SearchStrategy[FrequentMessage], data: st.DataObject
) -> None:
    usual = bytearray(encode(data.draw(frequent_messages)))
    for at in data.draw(st.lists(st.integers(1, len(usual) - 1), max_size=2)):
        usual[at] = data.draw(st.integers(0, 255))
    unusual = bytes((0xDC, 0, usual[0] & 15)) + usual[1:]  # the same array, its length in three bytes
    assert read(bytes(usual)) == read(unusual)


def test_who_begins_without_the_magic_is_no_server() -> None:
    with pytest.raises(ProtocolError, match="port for servers"):
        PeerReader().feed(b"ruok")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ((), "unknown here"),
        ((99, 1), "unknown here"),
        ((True,), "unknown here"),
        ((11, 1, 2), "malformed Ack"),
        ((11, 1, 2, 3, 4), "malformed Ack"),
        ((11, 1, 2, "3"), "malformed Ack: expected int, not str"),
        ((11, 1, True, 3), "malformed Ack: expected int, not bool"),
        ((10, 1, 2, 3, (1, 1), 4), "malformed Proposal: entries must be"),
        ((10, 1, 2, 3, (1, 1, "x"), 4), "malformed Proposal: entries must be"),
        ((10, 1, 2, 3, (1, 9, b"x"), 4), "malformed Proposal"),
        ((5, 1, ((1, 2, 3),), 4, 5), "malformed AckEpoch: epochs must be pairs"),
        ((16, ("text",)), "malformed Forward: expected several bytes"),
    ],
)
def test_a_malformed_message_is_a_protocol_error_that_names_it(frame: tuple[object, ...], reason: str) -> None:
    with pytest.raises(ProtocolError, match=reason):
        introduced().feed(pack(frame))


def test_a_message_beyond_the_limit_is_a_protocol_error() -> None:
    reader = PeerReader(frame_bytes_max=1_000)
    reader.feed(encode(HELLO))
    with pytest.raises(ProtocolError, match="more than 1000 bytes"):
        reader.feed(encode(Proposal(Epoch(1), 2, Zxid(3), (Entry(Zxid(4), EntryKind.TXN, bytes(2_000)),), Zxid(3))))


def test_little_is_kept_of_what_a_stranger_sends_before_its_hello() -> None:
    reader = PeerReader()
    begin = b"\x96\x01\xc6" + (60_000_000).to_bytes(4, "big")
    assert reader.feed(MAGIC + begin + bytes(HELLO_BYTES_MAX - len(begin))) == []
    with pytest.raises(ProtocolError, match=f"a Hello has at most {HELLO_BYTES_MAX} bytes"):
        reader.feed(b"x")
    assert introduced().feed(begin + bytes(10 * HELLO_BYTES_MAX)) == []


@given(st.data())
def test_damaged_messages_give_messages_or_a_protocol_error(
    messages: SearchStrategy[Message | ReplicaMessage], data: st.DataObject
) -> None:
    reader = introduced()
    stream = bytearray(b"".join(encode(m) for m in data.draw(st.lists(messages, min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    with suppress(ProtocolError):
        reader.feed(bytes(stream))


@given(st.binary(max_size=300))
def test_any_bytes_from_a_server_give_messages_or_a_protocol_error(garbage: bytes) -> None:
    with suppress(ProtocolError):
        introduced().feed(garbage)
