"""The messages between servers that every write goes through, by hand: the same bytes as in peer.py, at a fraction of
the cost. Whatever looks any other way is left to peer.py.
"""

from librt.strings import BytesWriter

from zk.broadcast.messages import Ack, Commit, Proposal
from zk.broadcast.records import Entry, EntryKind
from zk.model.peering import Forward
from zk.wire.scalars import ScalarReader, write_array, write_binary, write_int

PROPOSAL, ACK, COMMIT, FORWARD = 10, 11, 12, 16
"""The numbers that these messages begin with."""

# The bytes with which their arrays begin: of six, four and two values.
_PROPOSAL_ARRAY, _ACK_OR_COMMIT_ARRAY, _FORWARD_ARRAY = 0x96, 0x94, 0x92

_TXN = EntryKind.TXN


class EntriesWriter:
    """Writes entries as `[zxid, kind, payload, zxid, …]`; once, if the same go to one follower after the other."""

    def __init__(self) -> None:
        self._entries: tuple[Entry, ...] = ()
        self._written = self._write()

    def written(self, entries: tuple[Entry, ...]) -> bytes:
        if entries is not self._entries:
            self._entries = entries
            self._written = self._write()
        return self._written

    def _write(self) -> bytes:
        out = BytesWriter()
        write_array(out, 3 * len(self._entries))
        for entry in self._entries:
            write_int(out, entry.zxid)
            write_int(out, entry.kind)
            write_binary(out, entry.payload)
        return out.getvalue()


def encode_proposal(entries_writer: EntriesWriter, message: Proposal) -> bytes:
    out = BytesWriter()
    out.append(_PROPOSAL_ARRAY)
    out.append(PROPOSAL)
    write_int(out, message.epoch)
    write_int(out, message.stream)
    write_int(out, message.prev)
    out.write(entries_writer.written(message.entries))
    write_int(out, message.commit)
    return out.getvalue()


def encode_ack(message: Ack) -> bytes:
    return _ack_or_commit(ACK, message.epoch, message.stream, message.zxid)


def encode_commit(message: Commit) -> bytes:
    return _ack_or_commit(COMMIT, message.epoch, message.stream, message.zxid)


def _ack_or_commit(tag: int, epoch: int, stream: int, zxid: int) -> bytes:
    out = BytesWriter()
    out.append(_ACK_OR_COMMIT_ARRAY)
    out.append(tag)
    write_int(out, epoch)
    write_int(out, stream)
    write_int(out, zxid)
    return out.getvalue()


def encode_forward(message: Forward) -> bytes:
    out = BytesWriter()
    out.append(_FORWARD_ARRAY)
    out.append(FORWARD)
    write_array(out, len(message.bodies))
    for body in message.bodies:
        write_binary(out, body)
    return out.getvalue()


def read_frequent(reader: ScalarReader) -> Proposal | Ack | Commit | Forward | None:
    """The message that begins here, if it is one of these and looks as above; else None, ValueError or IndexError."""
    # The calls of Epoch and Zxid, which type checkers ask for, are as dear as all else here.
    if reader.skip(_PROPOSAL_ARRAY):
        if reader.skip(PROPOSAL):
            epoch, stream, prev = reader.read_int(), reader.read_int(), reader.read_int()
            entries = _read_entries(reader)
            if entries is not None:
                return Proposal(epoch, stream, prev, entries, reader.read_int())  # type: ignore[arg-type]
    elif reader.skip(_ACK_OR_COMMIT_ARRAY):
        if reader.skip(ACK):
            return Ack(reader.read_int(), reader.read_int(), reader.read_int())  # type: ignore[arg-type]
        if reader.skip(COMMIT):
            return Commit(reader.read_int(), reader.read_int(), reader.read_int())  # type: ignore[arg-type]
    elif reader.skip(_FORWARD_ARRAY) and reader.skip(FORWARD):
        return Forward(tuple([reader.read_binary() for _ in range(reader.read_array())]))
    return None


def _read_entries(reader: ScalarReader) -> tuple[Entry, ...] | None:
    """None if some of them are no transactions."""
    count, rest = divmod(reader.read_array(), 3)
    if rest:
        return None
    entries = []
    for _ in range(count):
        zxid = reader.read_int()
        if not reader.skip(_TXN):
            return None
        entries.append(Entry(zxid, _TXN, reader.read_binary()))  # type: ignore[arg-type]  # as above
    return tuple(entries)
