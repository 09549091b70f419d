"""Clients of simulated servers: sessions that move, resend what was not answered, watch, go silent and come back.

A client here is a checker more than a client: it knows what it may be told, and holds each answer against the witness.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from zk.model.errors import APIError, NoNodeError, SessionExpiredError, SessionMovedError, ThrottledError
from zk.model.events import EventType, WatchEvent
from zk.model.record import SessionId, Zxid
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import (
    Call,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetData,
    Multi,
    Ping,
    SetData,
    SetWatches,
    Sync,
)
from zk.sim.links import Link, Links
from zk.sim.trace import describe, zxid_text
from zk.sim.witness import Witness
from zk.sim.world import MS, World

KEYS = tuple(f"/key-{number}" for number in range(5))
TIMEOUT_MS = 2_000
_OUTSTANDING_MAX = 6
_FOR_EVER_MS = 1 << 30
_PATIENCE_MS = 1_200  # without an answer for so long, a client tries another server
_NEVER_SAID = (SessionExpiredError, SessionMovedError)  # these say nothing about the write itself


@dataclass(slots=True)
class _Asked:
    """A call under way. `acknowledged`: what was known to be written when it was made."""

    call: Call
    sent_us: int
    acknowledged: Zxid


@dataclass(slots=True)
class _Watch:
    """A one-shot watch: the state at `since` was seen with it, where the node was `missing` or not."""

    since: Zxid
    missing: bool


class SimClient:
    """One client. `number` is its name."""

    def __init__(self, world: World, links: Links, witness: Witness, number: int) -> None:
        self.world = world
        self.number = number
        self.name = f"client {number}"
        self.session = SessionId(0)
        self.answered_us = 0
        self.mortal = number == 0  # may go away for ever
        self.gone = False
        self.silent_since_us = 0
        self._links = links
        self._witness = witness
        self._pace_ms = world.wishes.choice((4, 20, 60))
        self._link: Link | None = None
        self._ready = False  # whether the connection has its session
        self._asked: deque[_Asked] = deque()
        self._xid = 0
        self._silent_until_us = -1_000 * MS
        self._pinged_us = 0
        self._resting = False
        self._values = 0
        self._begin_session()
        self._soon()

    def _begin_session(self) -> None:
        self.session = SessionId(0)
        self._secret = b""
        self._writes: dict[int, ClientRequest] = {}  # unanswered: they are sent again on the next connection
        self._seen = Zxid(0)  # the newest state that the session was shown
        self._written = Zxid(0)  # its newest write that was answered
        self._watched: dict[str, _Watch] = {}
        self._owed: dict[str, EventType] = {}  # what must be told right behind the answer to SetWatches

    # ---- when

    def _soon(self) -> None:
        self.world.after(self.world.wishes.randrange(1, 2 * self._pace_ms) * MS, self._turn)

    def _turn(self) -> None:
        self._soon()
        random, now_us = self.world.wishes, self.world.now_us
        if now_us < self._silent_until_us:
            return
        if random.randrange(600) == 0 and not self._resting:
            self._fall_silent()
        elif self._link is None:
            self._connect()
        elif self._asked and now_us - self._asked[0].sent_us > _PATIENCE_MS * MS:
            self._leave()
        elif not self._ready:
            pass  # its Connect is under way
        elif now_us - self._pinged_us > TIMEOUT_MS * MS // 3:
            self._pinged_us = now_us
            self._ask(Ping())
        elif len(self._asked) < _OUTSTANDING_MAX and random.random() < 0.8 and not self._resting:
            self._ask(self._something())

    def _fall_silent(self) -> None:
        """Hang, or die: perhaps for longer than the session lasts."""
        self.gone = self.mortal and self.world.wishes.random() < 0.5
        self.silent_since_us = self.world.now_us
        silent_ms = _FOR_EVER_MS if self.gone else int(self.world.wishes.uniform(0.1, 1.6) * TIMEOUT_MS)
        self.world.log(self.name, f"falls silent for {silent_ms} ms")
        self._silent_until_us = self.world.now_us + silent_ms * MS
        if self._link is not None and self.world.wishes.random() < 0.5:
            self._leave()

    def rest(self) -> None:
        """Ask nothing more that changes anything."""
        self._resting = True

    @property
    def silent(self) -> bool:
        """Whether it says nothing at the moment, or has only just begun again."""
        return self._silent_until_us + 1_000 * MS > self.world.now_us

    # ---- connections

    def _connect(self) -> None:
        self._ready = False
        self._link = self._links.connect(self)
        if self._link is None:
            return
        self._ask(Connect(self.session, self._secret, TIMEOUT_MS, self._seen))

    def _leave(self) -> None:
        assert self._link is not None
        self._link.break_off()
        self._forget_connection()

    def _forget_connection(self) -> None:
        self._link = None
        self._asked.clear()
        self._owed.clear()

    def lost(self, link: Link) -> None:
        """The connection broke."""
        if link is self._link:
            self._forget_connection()

    def _attached(self, reply: ConnectReply) -> None:
        """Go on where the last connection ended: send again what it did not answer, in the same order."""
        if self.session and reply.session_id != self.session:
            self.world.fail("sessions", f"{self.name} asked for {self.session:#x} and got {reply.session_id:#x}")
        self.world.counters["sessions resumed" if self.session else "sessions opened"] += 1
        self.session, self._secret, self._ready = reply.session_id, reply.secret, True
        for xid, request in self._writes.items():
            self.world.counters["writes resent"] += 1
            self._send(Call(xid, request, floor=min(self._writes)))
        if self._watched:
            self.world.counters["watches set again"] += len(self._watched)
            data = tuple(path for path, watch in self._watched.items() if not watch.missing)
            exist = tuple(path for path, watch in self._watched.items() if watch.missing)
            self._ask(SetWatches(self._seen, data, exist))

    # ---- asking

    def _ask(self, request: ClientRequest) -> None:
        self._xid += 1
        linearizable = isinstance(request, GetData | Exists) and self.world.wishes.random() < 0.3
        if isinstance(request, (Create, Delete, SetData, Multi, CloseSession)):
            self._writes[self._xid] = request
            self._send(Call(self._xid, request, floor=min(self._writes)))
        else:
            at_least = self._witness.acknowledged if self.world.wishes.random() < 0.1 else Zxid(0)
            self._send(Call(self._xid, request, at_least=at_least, linearizable=linearizable))

    def _send(self, call: Call) -> None:
        assert self._link is not None
        self._asked.append(_Asked(call, self.world.now_us, self._witness.acknowledged))
        self._link.send((call,))

    def _something(self) -> ClientRequest:
        random = self.world.wishes
        key = random.choice(KEYS)
        draw = random.random()
        if draw < 0.25:
            return GetData(key, watch=random.random() < 0.3)
        if draw < 0.35:
            return Exists(key, watch=random.random() < 0.3)
        if draw < 0.65:
            return SetData(key, self._value())
        if draw < 0.78:
            return Create(key, self._value())
        if draw < 0.82:
            return Delete(key)
        if draw < 0.88:
            return Multi((SetData(key, self._value()), SetData(random.choice(KEYS), self._value())))
        if draw < 0.95:
            mode = random.choice((CreateMode.PERSISTENT_SEQUENTIAL, CreateMode.EPHEMERAL_SEQUENTIAL))
            return Create(f"/of-{self.number}-", self._value(), mode=mode)
        if draw < 0.97:
            return Create(f"/owned-{self.number}", self._value(), mode=CreateMode.EPHEMERAL)
        if draw < 0.998:
            return Sync()
        return CloseSession()

    def _value(self) -> bytes:
        self._values += 1
        return b"%d of client %d" % (self._values, self.number)

    # ---- being told

    def told(self, link: Link, items: Sequence[Reply | WatchEvent]) -> None:
        """Answers and events, in the order in which the server sent them."""
        for item in items:
            if link is not self._link:
                return
            if self.world.trace is not None:
                self.world.log(self.name, describe(item))
            if isinstance(item, WatchEvent):
                self._fired(item)
            else:
                self._answered(item)

    def _answered(self, reply: Reply) -> None:
        if not self._asked or self._asked[0].call.xid != reply.xid:
            self._fail("fifo", f"got the answer {reply.xid}, waits for {[asked.call.xid for asked in self._asked]}")
        if self._owed:
            self._fail("watches", f"came back, and is not told of {self._owed}")
        asked = self._asked.popleft()
        request, body = asked.call.request, reply.body
        self.answered_us = self.world.now_us
        self.world.counters["answers"] += 1
        if isinstance(body, _NEVER_SAID):
            if isinstance(body, SessionExpiredError):
                self.world.counters["sessions expired"] += 1
                self._end_session()
            return  # the connection is about to end
        if isinstance(request, Connect):
            if isinstance(body, ConnectReply):
                self._attached(body)
            elif not isinstance(body, ThrottledError):
                self._fail("sessions", f"to connect is answered {body!r}")
        elif asked.call.xid in self._writes:
            self._write_answered(asked, reply)
        else:
            self._read_answered(asked, reply)
        if self.session and isinstance(request, Connect | Ping) and not isinstance(body, APIError):
            self._witness.heard(self.session, TIMEOUT_MS, asked.sent_us)
        if isinstance(request, CloseSession) and not isinstance(body, APIError):
            self._end_session()

    def _end_session(self) -> None:
        if self._link is not None:
            self._leave()
        self._begin_session()

    def _write_answered(self, asked: _Asked, reply: Reply) -> None:
        """(16) A session's writes are done in the order in which it sent them. Source: Zab, local primary order, for
        clients."""
        xid = asked.call.xid
        del self._writes[xid]
        if isinstance(reply.body, ThrottledError):
            return
        self._witness.write_answered(self.session, xid, reply.zxid, reply.body)
        if reply.zxid <= self._written:
            self._fail("fifo", f"write {xid} was done at {zxid_text(reply.zxid)}, before the one in front of it")
        self._written = reply.zxid
        self._seen = max(self._seen, reply.zxid)
        self._no_watch_missed(reply)

    def _read_answered(self, asked: _Asked, reply: Reply) -> None:
        """(13, 15) A session never sees time go back, or less than it asked for; a linearizable read, or a sync, sees
        every write acknowledged before its call. Source: semantics of reads."""
        call, body = asked.call, reply.body
        if reply.zxid < self._seen:
            self._fail("monotonic reads", f"reads at {zxid_text(reply.zxid)}, has seen {zxid_text(self._seen)}")
        self._seen = reply.zxid
        request = call.request
        if isinstance(request, SetWatches):
            self._watches_set(request, reply)
        if reply.zxid < call.at_least:
            self._fail("causal reads", f"reads at {zxid_text(reply.zxid)}, asked for {zxid_text(call.at_least)}")
        if (call.linearizable or isinstance(request, Sync)) and reply.zxid < asked.acknowledged:
            self._fail(
                "linearizable reads",
                f"{describe(request)} sees {zxid_text(reply.zxid)}; {zxid_text(asked.acknowledged)} was acknowledged",
            )
        if isinstance(request, GetData):
            self._witness.read_answered(request.path, reply.zxid, body)
        self._no_watch_missed(reply)
        if isinstance(request, GetData | Exists) and request.watch:
            missing = isinstance(body, NoNodeError)
            if (missing and isinstance(request, Exists)) or not isinstance(body, APIError):
                self._watched[request.path] = _Watch(reply.zxid, missing)

    # ---- watches

    def _fired(self, event: WatchEvent) -> None:
        """(17) A one-shot watch tells the first change behind the read that set it, once. Source: semantics of
        watches."""
        self.world.counters["watch events"] += 1
        if event.path in self._owed:
            expected = self._owed.pop(event.path)
            if event.type is not expected:
                self._fail("watches", f"is told {describe(event)} after it came back, and not {expected.name}")
            return
        watch = self._watched.pop(event.path, None)
        if watch is None:
            self._fail("watches", f"is told {describe(event)} and watches nothing there")
        change = self._witness.first_change(event.path, watch.since, event.zxid)
        if change is None or (change.zxid, change.type) != (event.zxid, event.type):
            self._fail("watches", f"is told {describe(event)}, watching since {zxid_text(watch.since)}: {change}")

    def _watches_set(self, request: SetWatches, reply: Reply) -> None:
        """(17) What happened to a watched node while its client was away is told when it comes back, or the watch
        stands again. Source: semantics of watches, reconnect."""
        for path, watch in list(self._watched.items()):
            version = self._witness.version_at(path, reply.zxid)
            node = None if version is None else version.node
            if watch.missing:
                happened = None if node is None else EventType.CREATED
            elif node is None:
                happened = EventType.DELETED
            else:
                happened = EventType.DATA_CHANGED if node.mzxid > request.since else None
            if happened is None:
                watch.since = reply.zxid
            else:
                del self._watched[path]
                self._owed[path] = happened

    def _no_watch_missed(self, reply: Reply) -> None:
        """(17) No answer shows a state beyond a watched change that was not told. Source: semantics of watches."""
        if any(isinstance(asked.call.request, SetWatches) for asked in self._asked):
            return  # they are not in force yet
        for path, watch in self._watched.items():
            change = self._witness.first_change(path, watch.since, reply.zxid)
            if change is not None:
                self._fail(
                    "watches",
                    f"sees {zxid_text(reply.zxid)}, but was not told that {path} changed at {zxid_text(change.zxid)}",
                )

    def _fail(self, invariant: str, detail: str) -> NoReturn:
        self.world.fail(invariant, f"{self.name} (session {self.session:#x}) {detail}")
