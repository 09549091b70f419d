"""Protocol scenarios as traces: tests/data/zab/*.txt, one server's events and the effects that come of them.

A line `> …` is an event, what follows it up to a blank line are its effects, `#` begins a comment. To write the effects
anew, and to read the difference: ZAB_TRACES=rewrite pytest tests/broadcast/test_traces.py; git diff tests/data/zab

    > start 1 voters=1,2,3 disk=d1 log=[P1 | 1.0 marker | 1.1 config{1=d1 2=d2 3=d3} | 1.2 a]     a server begins
    > connect 2 d2       > disconnect 2       > tick 50 (milliseconds later)       > durable (all, or so many records)
    > propose a b        > read r             > resign        > stored 1.2         > taken 3 1.2 chunk chunk
    > raise 7            (the epoch must go above that)
    > 2: Ack epoch=1 stream=7 zxid=1.2                                            a message on 2's newest connection
    > 2@1: Ack …                                                                  the same, on connection 1

A zxid is written epoch.counter. config{B 1=d1 2=d2} belongs to the founding B, config{1=d1 2=d2} to the founding A.
Delays are always the shortest; this server's nonces are 1, 2, 3, …
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import assert_never, get_args

import pytest

from zk.broadcast import engine, messages
from zk.broadcast.engine import Effect, Event
from zk.broadcast.membership import Membership
from zk.broadcast.messages import Message
from zk.broadcast.records import Entry, EntryKind, Promise, Record, Recovered, SnapshotRef, Truncate
from zk.broadcast.zab import Zab, ZabConfig
from zk.model.record import ConnectionId, Epoch, ServerId, Zxid
from zk.model.zxids import counter_of, epoch_of, make_zxid

TRACES = sorted((Path(__file__).parent.parent / "data" / "zab").glob("*.txt"))
MESSAGES: dict[str, Callable[..., Message]] = {kind.__name__: kind for kind in get_args(Message)}
FOUNDING = "A"
ZXIDS = {"last", "base", "common", "zxid", "prev", "commit"}


# ---- values as text, and back


def show_zxid(zxid: int) -> str:
    return f"{epoch_of(zxid)}.{counter_of(zxid)}" if zxid else "0"


def read_zxid(text: str) -> Zxid:
    epoch, _, counter = text.partition(".")
    return make_zxid(int(epoch), int(counter or 0))


def show_membership(encoded: bytes) -> str:
    if not encoded:
        return "{}"
    membership = Membership.decode(encoded)
    founding = [membership.cluster_id] if membership.cluster_id != FOUNDING else []
    return "{" + " ".join([*founding, *(f"{server}={disk}" for server, disk in membership.disks)]) + "}"


def show_payload(payload: bytes) -> str:
    return payload.decode() if any(payload) else f"*{len(payload)}"  # so many zeroes


def show_record(record: Record) -> str:
    match record:
        case Promise(epoch):
            return f"P{epoch}"
        case Truncate(zxid):
            return f"T{show_zxid(zxid)}"
        case SnapshotRef():
            kind = "installed" if record.installed else "own"
            return (
                f"S{show_zxid(record.zxid)} {kind} file={record.file} digest={record.digest} "
                f"epochs={show(record.epochs, 'epochs')} membership={show_membership(record.membership)}"
            )
        case Entry(zxid, kind, payload):
            match kind:
                case EntryKind.TXN:
                    content = show_payload(payload)
                case EntryKind.MARKER:
                    content = "marker"
                case EntryKind.CONFIG:
                    content = f"config{show_membership(payload)}"
            return f"{show_zxid(zxid)} {content}"


def show(value: object, name: str) -> str:
    """A field of a message."""
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return show_zxid(value) if name in ZXIDS else str(value)
        case bytes():
            return show_membership(value) if name == "membership" else value.decode()
        case tuple():
            if name == "epochs":
                return "[" + " ".join(f"{epoch}:{show_zxid(zxid)}" for epoch, zxid in value) + "]"
            return "[" + " | ".join(show_record(record) for record in value) + "]"
        case _:
            return str(value)


def show_message(message: Message) -> str:
    kind = type(message).__name__
    return " ".join([kind, *(f"{f.name}={show(getattr(message, f.name), f.name)}" for f in fields(message))])


def show_effect(effect: Effect) -> str:
    match effect:
        case engine.Send(peer, connection, message):
            return f"-> {peer}@{connection} {show_message(message)}"
        case engine.Append(records):
            return "append " + " | ".join(show_record(record) for record in records)
        case engine.Deliver(entries, tokens):
            return "deliver " + " | ".join(
                f"{show_zxid(entry.zxid)} {show_payload(entry.payload)}" + (" (own)" if token is not None else "")
                for entry, token in zip_longest(entries, tokens)
            )
        case engine.RoleChanged(role, epoch, leader):
            return f"role {role.value}, epoch {epoch}, leader {leader}"
        case engine.Rejected(tokens, maybe_applied):
            return f"rejected {' '.join(str(token) for token in tokens)}: " + (
                "maybe applied" if maybe_applied else "certainly not applied"
            )
        case engine.ReadReady(token, zxid):
            return f"read {token} is safe at {show_zxid(zxid)}"
        case engine.Disconnect(peer, connection, reason):
            return f"disconnect {peer}@{connection}: {reason}"
        case engine.TakeSnapshot(peer, stream):
            return f"take a snapshot for {peer}, stream {stream}"
        case engine.StoreSnapshot(ref, chunks):
            return f"store {ref.file}: {b' '.join(chunks).decode()}"
        case engine.Install(ref, chunks):
            return f"install the state at {show_zxid(ref.zxid)}: {b' '.join(chunks).decode()}"
        case engine.Halt(reason):
            return f"halt: {reason}"
        case _:
            assert_never(effect)


def words(text: str) -> list[str]:
    """Split at blanks outside of brackets and braces."""
    return re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|\S)+", text)


def options(parts: Sequence[str]) -> dict[str, str]:
    return {name: value for name, _, value in (part.partition("=") for part in parts)}


class Trace:
    """One file's run: at most one server at a time."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.voters: frozenset[ServerId] = frozenset()
        self.connections: dict[ServerId, ConnectionId] = {}
        self.lsn = 0
        self.stream_wanted: dict[ServerId, int] = {}
        self.nonces = 0
        self.engine: Zab | None = None

    # random.Random's part, without chance

    def randrange(self, start: int, stop: int, /) -> int:
        if stop != 1 << 31:
            return start
        self.nonces += 1
        return self.nonces

    def randbytes(self, n: int, /) -> bytes:
        return bytes(n)

    # reading

    def read_membership(self, text: str) -> bytes:
        parts = text.strip("{}").split()
        founding = parts.pop(0) if parts and "=" not in parts[0] else FOUNDING
        disks = (pair.split("=") for pair in parts)
        named = tuple((ServerId(int(server)), disk) for server, disk in disks)
        return Membership(founding, (self.voters,), named).encode() if text != "{}" else b""

    def read_record(self, text: str) -> Record:
        head, _, content = text.strip().partition(" ")
        if head[0] == "P":
            return Promise(Epoch(int(head[1:])))
        if head[0] == "T":
            return Truncate(read_zxid(head[1:]))
        if content == "marker":
            return Entry(read_zxid(head), EntryKind.MARKER, b"")
        if content.startswith("config"):
            return Entry(read_zxid(head), EntryKind.CONFIG, self.read_membership(content.removeprefix("config")))
        payload = bytes(int(content[1:])) if content.startswith("*") else content.encode()
        return Entry(read_zxid(head), EntryKind.TXN, payload)

    def read_records(self, text: str) -> tuple[Record, ...]:
        inside = text.strip("[]")
        return tuple(self.read_record(part) for part in inside.split("|")) if inside else ()

    def read_epochs(self, text: str) -> tuple[tuple[Epoch, Zxid], ...]:
        pairs = (pair.split(":") for pair in text.strip("[]").split())
        return tuple((Epoch(int(epoch)), read_zxid(zxid)) for epoch, zxid in pairs)

    def read_field(self, name: str, text: str) -> object:
        if text in ("yes", "no"):
            return text == "yes"
        if name in ZXIDS:
            return read_zxid(text)
        if name == "epochs":
            return self.read_epochs(text)
        if name == "entries":
            return self.read_records(text)
        if name == "membership":
            return self.read_membership(text)
        if name == "chunk":
            return text.encode()
        return text if name in ("digest", "cluster_id") else int(text)

    def read_message(self, kind: str, parts: Sequence[str]) -> Message:
        return MESSAGES[kind](**{name: self.read_field(name, text) for name, text in options(parts).items()})

    # events

    def event(self, line: str) -> list[str]:
        """Let an event happen; its effects as lines."""
        verb, *rest = words(line)
        if verb == "start":
            return self.start(ServerId(int(rest[0])), options(rest[1:]))
        if re.fullmatch(r"\d+(@\d+)?:", verb):
            sender, _, connection = verb[:-1].partition("@")
            peer = ServerId(int(sender))
            serial = ConnectionId(int(connection)) if connection else self.connections[peer]
            return self.step(engine.PeerReceived(peer, serial, self.read_message(rest[0], rest[1:])))
        return self.step(self.own_event(verb, rest))

    def own_event(self, verb: str, rest: Sequence[str]) -> Event:
        match verb, rest:
            case "tick", [ms]:
                self.now_ms += int(ms)
                return engine.Tick()
            case "connect", [peer, disk]:
                server = ServerId(int(peer))
                self.connections[server] = ConnectionId(self.connections.get(server, 0) + 1)
                return engine.PeerConnected(server, self.connections[server], disk)
            case "disconnect", [peer]:
                return engine.PeerDisconnected(ServerId(int(peer)), self.connections[ServerId(int(peer))])
            case "durable", []:
                return engine.Durable(self.lsn)
            case "durable", [lsn]:
                return engine.Durable(int(lsn))
            case "propose", payloads:
                return engine.Propose(
                    [bytes(int(p[1:])) if p.startswith("*") else p.encode() for p in payloads], payloads
                )
            case "read", [token]:
                return engine.ReadIndex(token)
            case "resign", []:
                return engine.Resign()
            case "raise", [epoch]:
                return engine.RaiseEpoch(Epoch(int(epoch)))
            case "stored", [zxid]:
                return engine.SnapshotStored(SnapshotRef(read_zxid(zxid), "own", "d", (), b"", False))
            case "taken", [peer, zxid, *chunks]:
                server = ServerId(int(peer))
                content = tuple(chunk.encode() for chunk in chunks)
                return engine.SnapshotTaken(server, self.stream_wanted[server], read_zxid(zxid), "d", content)
            case _:
                raise ValueError(f"no such event: {verb} {rest}")

    def start(self, server: ServerId, given: dict[str, str]) -> list[str]:
        self.now_ms = 1_000_000
        self.voters = frozenset(ServerId(int(n)) for n in given.pop("voters").split(","))
        disk, damaged = given.pop("disk", f"d{server}"), given.pop("damaged", "no") == "yes"
        records = self.read_records(given.pop("log", ""))
        snapshot = None
        if "snapshot" in given:
            zxid, epochs = read_zxid(given.pop("snapshot")), self.read_epochs(given.pop("epochs"))
            membership = self.read_membership(given.pop("membership"))
            snapshot = SnapshotRef(zxid, "old", "d", epochs, membership, False)
        promises = [record.epoch for record in records if isinstance(record, Promise)]
        recovered = Recovered(disk, max(promises, default=Epoch(0)), snapshot, records, damaged)
        limits = {name: int(value) for name, value in given.items()}
        config = ZabConfig(server, self.voters, "test", **limits)
        self.engine = Zab(config, recovered, self, self.now_ms)
        self.connections.clear()
        self.lsn = self.nonces = 0
        return self.step(engine.Tick())

    def step(self, event: Event) -> list[str]:
        assert self.engine is not None
        effects = self.engine.step(self.now_ms, event)
        for effect in effects:
            if isinstance(effect, engine.Append):
                self.lsn += len(effect.records)
            elif isinstance(effect, engine.TakeSnapshot):
                self.stream_wanted[effect.peer] = effect.stream
        return [f"  {show_effect(effect)}" for effect in effects]


def replay(text: str) -> str:
    """The same trace with the effects that really come."""
    trace, lines = Trace(), []
    inside = False
    for line in text.splitlines():
        if line.startswith(">"):
            inside = True
            lines += [line, *trace.event(line[1:])]
        elif not line.strip() or line.startswith("#"):
            inside = False
            lines.append(line)
        else:
            assert inside, f"neither an event, nor an effect, nor a comment: {line}"
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", TRACES, ids=lambda path: path.stem)
def test_trace(path: Path) -> None:
    expected = path.read_text()
    really = replay(expected)
    if os.environ.get("ZAB_TRACES") == "rewrite":
        path.write_text(really)
    else:
        assert really == expected


def test_there_are_traces() -> None:
    assert len(TRACES) > 10


def test_every_message_survives_being_shown_and_read() -> None:
    trace = Trace()
    trace.voters = frozenset({ServerId(1), ServerId(2)})
    entries = trace.read_records("[1.0 marker | 1.1 config{1=a 2=b} | 1.2 config{B 1=a} | 1.3 text]")
    assert all(isinstance(record, Entry) for record in entries)
    one, zxid = Epoch(1), make_zxid(1, 2)
    shape = ((Epoch(0), Zxid(0)), (one, zxid))
    samples: list[Message] = [
        messages.Poll(1, one, zxid, "A", False),
        messages.Poll(1, one, zxid, "", True),
        messages.AckEpoch(one, shape, zxid, 7, "A"),
        messages.SyncLog(one, 7, zxid, tuple(e for e in entries if isinstance(e, Entry)), False),
        messages.SyncSnapshot(one, 7, zxid, "digest", shape, trace.read_membership("{1=a}"), 0, 2, b"chunk"),
    ]
    for message in samples:
        kind, *parts = words(show_message(message))
        assert trace.read_message(kind, parts) == message
