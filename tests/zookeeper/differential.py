"""The same steps of several clients against two services that speak ZooKeeper's protocol, and what both answered in a
form that can be compared: times are checked and left out, zxids and sessions become ranks.

A step is a call, raw bytes, or something that happens to a connection. After each one every connection is pinged, so
that all that the step brought about has arrived before the next one.
"""

import socket
import time
from bisect import bisect_right, insort
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from struct import Struct
from typing import assert_never

from zk.model.errors import APIError, Code
from zk.model.events import WatchEvent
from zk.model.record import SessionId, Zxid, record
from zk.model.replies import (
    AclReply,
    Body,
    ChildrenReply,
    ConnectReply,
    Created,
    DataReply,
    IdentitiesReply,
    MultiReply,
    PathsReply,
    Reply,
    StatReply,
)
from zk.model.requests import (
    AddAuth,
    Call,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Delete,
    GetChildren,
    Ping,
    SetWatches,
)
from zk.model.stat import Stat
from zk.server.config import Address
from zk.tree.acl import digest_identity
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper.client import ClientConnection
from zk.wire.zookeeper.numbers import OpCode

TIMEOUT_S = 10.0
SLOTS = 3
SESSION_TIMEOUT_MS_MIN = 2_000  # two of ZooKeeper's ticks
_CALL_HEAD = Struct(">iii")  # length, xid, opcode
_HEAD = Struct(">iqi")  # xid, zxid, error code
_STAT = Struct(">qqqqiiiqiiq")
_WITH_STAT = (
    OpCode.EXISTS,
    OpCode.GET_DATA,
    OpCode.SET_DATA,
    OpCode.GET_ACL,
    OpCode.SET_ACL,
    OpCode.GET_CHILDREN2,
    OpCode.CREATE2,
    OpCode.CREATE_CONTAINER,
    OpCode.CREATE_TTL,
)
SUPER = b"super:secret"
SUPER_DIGEST = digest_identity(SUPER).id

# ---- what can be done


@record
class Ask:
    """Client `slot` makes a call, and waits for what comes of it."""

    slot: int
    request: ClientRequest


@record
class AskAll:
    """Client `slot` makes these calls without waiting in between."""

    slot: int
    requests: tuple[ClientRequest, ...]


@record
class Raw:
    """Client `slot` sends a frame with a call's head and this record, whatever it is."""

    slot: int
    opcode: int
    record: bytes


@record
class Bytes:
    """Client `slot` sends these bytes, whatever they are."""

    slot: int
    data: bytes


@record
class Vanish:
    """The connection of client `slot` is gone; its session stays."""

    slot: int


@record
class Attach:
    """Client `slot` comes back with its session. `seen` is a share of the greatest zxid it has seen: 1 for all of it,
    0 for nothing. With `secret_right` false it has another password; with `prove` false it does not say again who it
    is."""

    slot: int
    timeout_ms: int = 10_000
    seen: float = 1.0
    secret_right: bool = True
    prove: bool = True


@record
class Steal:
    """Client `slot` opens another connection with its session, while the old one stands."""

    slot: int


@record
class Await:
    """Client `slot` waits until it is told something."""

    slot: int


@record
class Renew:
    """Client `slot` opens a new session; its old connection, if any, is gone, and the old session is closed."""

    slot: int
    timeout_ms: int = 10_000


Step = Ask | AskAll | Raw | Bytes | Vanish | Attach | Steal | Await | Renew


@record
class RawReply:
    """The answer to a raw frame."""

    xid: int
    zxid: Zxid
    code: int
    record: bytes
    stat: Stat | None = None  # which the record ended with


@record
class Ended:
    """The server closed the connection."""


@record
class Silent:
    """Nothing came, not even the answer to the ping."""


@record
class Odd:
    """Something came that is no answer."""

    reason: str


Heard = Reply | RawReply | WatchEvent | Ended | Silent | Odd
Transcript = list[tuple[tuple[int, Heard], ...]]
"""For each step: what was heard, by whom, in order for each client."""


# ---- one client


class Client:
    """One connection after the other to one server, and the session that lives on between them."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._socket: socket.socket | None = None
        self._wire = ClientConnection()
        self._xid = 0
        self._pings = 0
        self._raw: dict[int, int] = {}  # opcodes of raw frames that wait for answers, by xid
        self._unfinished = b""
        self.session_id = SessionId(0)
        self.secret = bytes(16)
        self.credentials: list[AddAuth] = []  # of the session
        self.seen_zxid = Zxid(0)

    def connect(self, request: Connect) -> list[Heard]:
        self.vanish()
        self._wire = ClientConnection()
        self._unfinished = b""
        self._raw.clear()
        self._socket = socket.create_connection((self._address.host, self._address.port), TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._send(self._wire.call(Call(0, request)))
        heard = self._hear_until(0)
        for item in heard:
            if isinstance(item, Reply) and isinstance(item.body, ConnectReply):
                self.session_id, self.secret = item.body.session_id, item.body.secret
        return heard

    def vanish(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def steal(self) -> list[Heard]:
        """The old connection's end is heard before the new one's answer."""
        old, self._socket = self._socket, None
        heard = self.connect(Connect(self.session_id, self.secret, 10_000, self.seen_zxid))
        if old is not None:
            with old:
                try:
                    return [Ended() if old.recv(1) == b"" else Odd("an answer on the old connection"), *heard]
                except TimeoutError:
                    return [Silent(), *heard]
        return heard

    def ask(self, *requests: ClientRequest) -> list[Heard]:
        if self._socket is None:
            return []
        sent = b""
        set_again: set[int] = set()
        for request in requests:
            if isinstance(request, AddAuth) and request not in self.credentials:
                self.credentials.append(request)
            self._xid += 1
            sent += self._wire.call(Call(self._xid, request))
            if isinstance(request, SetWatches):
                set_again.add(self._xid)
        self._send(sent)
        if set_again:
            return _told_behind(set_again, self.hear())
        if isinstance(requests[-1], CloseSession):
            return self.hear_out()
        return self.hear()

    def prove_again(self) -> None:
        """As clients do after a reconnect: in ZooKeeper identities are the connection's."""
        for credential in tuple(self.credentials):
            self.ask(credential)

    def raw(self, opcode: int, record: bytes) -> list[Heard]:
        """The answer to a frame with this record. Both end the connection after a request that they don't know, sooner
        or later; here the client does."""
        heard = self.frame(opcode, record)
        if any(isinstance(item, RawReply) and item.code == Code.UNIMPLEMENTED for item in heard):
            self.vanish()
            return [RawReply(self._xid, Zxid(0), Code.UNIMPLEMENTED, b"")]
        return heard

    def frame(self, opcode: int, record: bytes) -> list[Heard]:
        if self._socket is None:
            return []
        self._xid += 1
        xid = self._xid
        self._raw[xid] = opcode
        self._send(_CALL_HEAD.pack(8 + len(record), xid, opcode) + record)
        heard = self.hear()
        return _told_behind({xid}, heard) if opcode == OpCode.SET_WATCHES else heard

    def plain(self, data: bytes) -> list[Heard]:
        if self._socket is None:
            return []
        self._send(data)
        return self.hear()

    def hear_out(self) -> list[Heard]:
        """All that comes before the connection's end."""
        return self._hear_until(None)

    def hear(self) -> list[Heard]:
        """All that has come, or comes, before the answer to a ping sent now."""
        if self._socket is None:
            return []
        self._pings -= 1  # their numbers are their own: how many there are is no matter
        ping = self._pings
        self._send(self._wire.call(Call(ping, Ping())))
        heard = self._hear_until(ping)
        return [item for item in heard if not (isinstance(item, Reply) and item.xid == ping)]

    def _send(self, data: bytes) -> None:
        assert self._socket is not None
        with suppress(OSError):  # its end is heard of by whoever reads
            self._socket.sendall(data)

    def _hear_until(self, xid: int | None) -> list[Heard]:
        """All that comes up to the answer to call `xid`, or up to the end."""
        heard: list[Heard] = []
        while self._socket is not None:
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                self.vanish()
                return [*heard, Silent()]
            except OSError:
                data = b""
            if not data:
                self.vanish()
                return [*heard, Ended()]
            try:
                for item in self._items(data):
                    if isinstance(item, Reply | RawReply):
                        self.seen_zxid = max(self.seen_zxid, item.zxid)
                    heard.append(item)
            except ProtocolError as error:
                self.vanish()
                return [*heard, Odd(error.reason)]
            if any(isinstance(item, Reply) and item.xid == xid for item in heard):
                return heard
        return heard

    def _items(self, data: bytes) -> Iterator[Heard]:
        """Answers to raw frames are taken out by their xids; all else is the connection's to understand."""
        data = self._unfinished + data
        while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[:4])):
            frame, data = data[:end], data[end:]
            if self._raw and len(frame) >= 4 + _HEAD.size:
                xid, zxid, code = _HEAD.unpack_from(frame, 4)
                if xid in self._raw:
                    yield _raw_reply(xid, Zxid(zxid), code, frame[4 + _HEAD.size :], self._raw.pop(xid))
                    continue
            yield from self._wire.receive(frame)
        self._unfinished = data


def _told_behind(set_again: Collection[int], heard: Sequence[Heard]) -> list[Heard]:
    """ZooKeeper tells what a SetWatches finds before it answers it, this service behind that."""
    ordered: list[Heard] = []
    for item in heard:
        at = len(ordered)
        if isinstance(item, Reply | RawReply) and item.xid in set_again:
            while at and isinstance(ordered[at - 1], WatchEvent):
                at -= 1
        ordered.insert(at, item)
    return ordered


def _raw_reply(xid: int, zxid: Zxid, code: int, body: bytes, opcode: int) -> RawReply:
    if opcode in _WITH_STAT and len(body) >= _STAT.size:
        end = len(body) - _STAT.size
        record = bytes(sorted(body[:end])) if opcode == OpCode.GET_CHILDREN2 else body[:end]  # names have no order
        return RawReply(xid, zxid, code, record, Stat(*_STAT.unpack_from(body, end)))
    return RawReply(xid, zxid, code, body)


# ---- one side


class Side:
    """A service under test, and its clients."""

    def __init__(self, name: str, addresses: Sequence[Address]) -> None:
        self.name = name
        self._addresses = addresses
        self._admin = Client(addresses[0])
        self._admin.connect(Connect(SessionId(0), bytes(16), 40_000))
        self._admin.ask(AddAuth("digest", SUPER))

    def open(self, slot: int = 0) -> Client:
        """A client with a session of its own."""
        client = Client(self._addresses[slot % len(self._addresses)])
        client.connect(Connect(SessionId(0), bytes(16), 10_000))
        return client

    def run(self, steps: Sequence[Step], base: str) -> Transcript:
        """Make a node for the steps to work below, carry them out, and clean up."""
        self._admin.ask(Create(base, b""), Create(f"{base}/kept", b""))  # with a child, so that it stays
        clients = [self.open(slot) for slot in range(SLOTS)]
        sessions = {client.session_id: number for number, client in enumerate(clients, 1)}
        transcript: Transcript = []
        try:
            for step in steps:
                heard = [(step.slot, item) for item in _perform(clients[step.slot], step)]
                sessions.setdefault(clients[step.slot].session_id, len(sessions) + 1)
                for slot, client in enumerate(clients):
                    if slot != step.slot:
                        heard += [(slot, item) for item in client.hear()]
                transcript.append(tuple(heard))
        finally:
            for client in clients:
                client.ask(CloseSession())
                client.vanish()
            self._clean_up("/", ("zookeeper",))
            self._clean_up("/zookeeper", ("config", "quota"))
            self._clean_up("/zookeeper/quota")
        return _Normal(transcript, sessions).transcript

    def _clean_up(self, path: str, but_for: Sequence[str] = ()) -> None:
        """Delete all that is below, whoever may."""
        [answer] = self._admin.ask(GetChildren(path))
        assert isinstance(answer, Reply), answer
        assert isinstance(answer.body, ChildrenReply), answer
        for name in set(answer.body.names).difference(but_for):
            child = f"{path.rstrip('/')}/{name}"
            self._clean_up(child)
            self._admin.ask(Delete(child))

    def close(self) -> None:
        self._admin.ask(CloseSession())
        self._admin.vanish()


Sides = tuple[Side, Side]
"""ZooKeeper, and this service."""


def _perform(client: Client, step: Step) -> list[Heard]:
    match step:
        case Ask(_, request):
            return client.ask(request)
        case AskAll(_, requests):
            return client.ask(*requests)
        case Raw(_, opcode, record):
            return client.raw(opcode, record)
        case Bytes(_, data):
            return client.plain(data)
        case Vanish():
            client.vanish()
            return []
        case Attach(_, timeout_ms, seen, secret_right, prove):
            secret = client.secret if secret_right else bytes([client.secret[0] ^ 1]) + client.secret[1:]
            seen_zxid = Zxid(int(client.seen_zxid * seen))
            heard = client.connect(Connect(client.session_id, secret, timeout_ms, seen_zxid))
            if prove:
                client.prove_again()
            return [*heard, *client.hear()]
        case Steal():
            heard = client.steal()
            client.prove_again()
            return [*heard, *client.hear()]
        case Await():
            deadline_s = time.monotonic() + TIMEOUT_S
            while not (heard := client.hear()) and time.monotonic() < deadline_s:
                time.sleep(0.02)
            return heard
        case Renew(_, timeout_ms):
            client.ask(CloseSession())
            client.credentials.clear()
            return client.connect(Connect(SessionId(0), bytes(16), timeout_ms))
        case _:
            assert_never(step)


# ---- what can be compared


class _Normal:
    """A transcript whose zxids are ranks among those that stats have told by then, and whose sessions are the numbers
    of their coming."""

    def __init__(self, transcript: Transcript, sessions: Mapping[SessionId, int]) -> None:
        self._sessions = sessions
        self._times: dict[int, int] = {}  # of a transaction
        self._zxids: list[int] = []  # told so far, in order
        self.transcript = [tuple((slot, self._heard(item)) for slot, item in heard) for heard in transcript]

    def _learn(self, stat: Stat) -> None:
        for zxid, time_ms in ((stat.czxid, stat.ctime), (stat.mzxid, stat.mtime)):
            assert self._times.setdefault(zxid, time_ms) == time_ms, f"two times of {zxid:#x}"
        for zxid in (stat.czxid, stat.mzxid, stat.pzxid):
            if zxid not in self._zxids:
                insort(self._zxids, zxid)

    def _rank(self, zxid: int) -> Zxid:
        return Zxid(bisect_right(self._zxids, zxid))

    def _heard(self, item: Heard) -> Heard:
        for stat in _stats(item):
            self._learn(stat)
        match item:
            case Reply(xid, zxid, body):
                return Reply(xid, self._rank(zxid), self._body(body))
            case RawReply(xid, zxid, code, record, told):
                return RawReply(xid, self._rank(zxid), code, record, told and self._stat(told))
            case WatchEvent(type, path, _):
                return WatchEvent(type, path, Zxid(0))
            case _:
                return item

    def _body(self, body: Body | APIError) -> Body | APIError:
        """Refusals are compared by their codes: what they say besides is made up by the client."""
        match body:
            case APIError():
                return type(body)()
            case ConnectReply(_, _, timeout_ms):
                return ConnectReply(SessionId(0), b"", timeout_ms)
            case ChildrenReply(names, stat):
                return ChildrenReply(tuple(sorted(names)), self._stat(stat))
            case PathsReply(paths):
                return PathsReply(tuple(sorted(paths)))
            case IdentitiesReply(identities):
                return IdentitiesReply(tuple(sorted(identities, key=str)))
            case MultiReply(results):
                return MultiReply(tuple(self._body(result) for result in results))
            case Created() | StatReply() | DataReply() | AclReply():
                return replace(body, stat=self._stat(body.stat))
            case _:
                return body

    def _stat(self, stat: Stat) -> Stat:
        return replace(
            stat,
            czxid=self._rank(stat.czxid),
            mzxid=self._rank(stat.mzxid),
            pzxid=self._rank(stat.pzxid),
            ctime=0,
            mtime=0,
            ephemeral_owner=SessionId(self._sessions.get(stat.ephemeral_owner, stat.ephemeral_owner)),
        )


def _stats(item: Heard) -> Iterator[Stat]:
    if isinstance(item, RawReply) and item.stat is not None:
        yield item.stat
    elif isinstance(item, Reply):
        bodies = item.body.results if isinstance(item.body, MultiReply) else (item.body,)
        for body in bodies:
            if isinstance(body, Created | StatReply | DataReply | AclReply | ChildrenReply):
                yield body.stat
