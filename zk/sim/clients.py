"""Clients of simulated servers: sessions that move, resend what was not answered, watch, go silent and come back.

A client here is a checker more than a client: it knows what it may be told, and holds each answer against the witness.
What it asks for stands in wishes.py, what its watches must tell in watching.py, what reads must show in answers.py.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

from zk.model.errors import APIError, SessionExpiredError, SessionMovedError, ThrottledError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Call,
    Check,
    CheckWatches,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Delete,
    Exists,
    GetChildren,
    GetChildrenPage,
    GetData,
    Multi,
    Ping,
    RemoveWatches,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    TreeRead,
)
from zk.sim.ghost import Ghost
from zk.sim.links import Link, Links
from zk.sim.trace import describe, zxid_text
from zk.sim.walk import Walk
from zk.sim.watching import PERSISTENT, RECURSIVE, Watching
from zk.sim.wishes import Wish, Wishes
from zk.sim.witness import Witness
from zk.sim.world import MS, World

TIMEOUT_MS = 2_000
_ANY_ZXID = Zxid(0)
_FOR_EVER_MS = 1 << 30
_PATIENCE_MS = 1_200  # without an answer for so long, a client tries another server
_NEVER_SAID = (SessionExpiredError, SessionMovedError)  # these say nothing about the write itself
_WRITES = (Create, Delete, SetData, SetAcl, Check, Multi, AddAuth, CloseSession)


@dataclass(slots=True)
class _Asked:
    """A call under way. `acknowledged`: what was known to be written when it was made."""

    call: Call
    sent_us: int
    acknowledged: Zxid


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
        self._wishes = Wishes(world.wishes, number)
        self._pace_ms = world.wishes.choice((4, 20, 60))
        self._outstanding_max = world.wishes.choice((2, 6, 30))
        self._link: Link | None = None
        self._ghost: Ghost | None = None
        self._ready = False  # whether the connection has its session
        self._served_by: ServerId | None = None
        self._asked: deque[_Asked] = deque()
        self._xid = 0
        self._silent_until_us = -1_000 * MS
        self._pinged_us = 0
        self._resting = False
        self._begin_session()
        self._soon()

    def _begin_session(self) -> None:
        self.session = SessionId(0)
        self._secret = b""
        self._writes: dict[int, ClientRequest] = {}  # unanswered: they are sent again on the next connection
        self._seen = Zxid(0)  # the newest state that the session was shown
        self._complete = Zxid(0)  # up to there it was told of everything that it watches
        self._written = Zxid(0)  # its newest write that was answered
        self._watching: Watching | None = None
        self._streams: dict[tuple[WatchMode, str], None] = {}  # watches that are to miss nothing
        self._walk: Walk | None = None
        self._wishes.begin_session()

    # ---- when

    def _soon(self) -> None:
        self.world.after(self.world.wishes.randrange(1, 2 * self._pace_ms) * MS, self._turn)

    def _turn(self) -> None:
        self._soon()
        random, now_us = self.world.wishes, self.world.now_us
        mood, eager, wish = random.randrange(1_200), random.random() < 0.8, self._wishes.next()
        if now_us < self._silent_until_us:
            return
        if mood < 2 and not self._resting:
            self._fall_silent()
        elif self._link is None:
            self._connect()
        elif self._asked and now_us - self._asked[0].sent_us > _PATIENCE_MS * MS:
            self._leave(quietly=mood % 2 == 0)
        elif mood < 6 and self._ready and not self._resting:
            self._leave(quietly=mood % 2 == 0)  # to see whether another server is nicer
        elif not self._ready:
            pass  # its Connect is under way
        elif now_us - self._pinged_us > TIMEOUT_MS * MS // 3:
            self._pinged_us = now_us
            self._ask(Ping())
        elif len(self._asked) < self._outstanding_max and eager and not self._resting:
            self._wish(wish)

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
        if self._link is not None:
            self._ask(Connect(self.session, self._secret, TIMEOUT_MS, self._seen))

    def _leave(self, quietly: bool = False) -> None:
        """Go; `quietly`: the server does not learn of it."""
        assert self._link is not None
        if quietly and self._ready:
            self._ghost = Ghost(self.world, self._link, self.name)
        else:
            self._link.break_off()
        self._forget_connection()

    def _forget_connection(self) -> None:
        self._link = None
        self._asked.clear()

    def lost(self, link: Link) -> None:
        """The connection broke."""
        if link is self._link:
            self._forget_connection()

    def _attached(self, link: Link, reply: Reply, body: ConnectReply) -> None:
        """Go on where the last connection ended: send again what it did not answer, in the same order."""
        if self.session and body.session_id != self.session:
            self.world.fail("sessions", f"{self.name} asked for {self.session:#x} and got {body.session_id:#x}")
        if reply.zxid < self._seen:
            self._fail("monotonic reads", f"has seen {zxid_text(self._seen)}, its server {zxid_text(reply.zxid)}")
        counters = self.world.counters
        counters["sessions resumed" if self.session else "sessions opened"] += 1
        counters["session moves"] += bool(self.session) and link.node.server != self._served_by
        self._served_by = link.node.server
        self.session, self._secret, self._ready = body.session_id, body.secret, True
        if self._watching is None:
            self._watching = Watching(self._witness.ledger, self.session, partial(self._fail, "watches"))
        self._watching.connected(reply.zxid)
        for xid, request in self._writes.items():
            counters["writes resent"] += 1
            self._send(Call(xid, request, floor=min(self._writes)))
        self._watch_again(self._watching)
        if self._ghost is not None:
            self._haunt(self._ghost, reply.zxid)

    def _watch_again(self, watching: Watching) -> None:
        streams = {
            (RECURSIVE if mode is WatchMode.RECURSIVE else PERSISTENT, path): AddWatch(path, mode, self._complete)
            for mode, path in self._streams
        }
        again = watching.to_set_again(self._complete, set(streams))
        if again is not None:
            self.world.counters["watches set again"] += 1
            self._ask(again)
        for key, request in streams.items():
            if key in watching.watches:
                self.world.counters["streams continued"] += 1
                self._ask(request)

    def _haunt(self, ghost: Ghost, zxid: Zxid) -> None:
        """The connection left behind tries one more read and one more write: the session is here now."""
        self._xid += 2
        floor = min(self._writes, default=self._xid)
        write = Call(self._xid, SetData("/key-0", b"of a ghost"), floor=floor)
        ghost.haunt(zxid, (Call(self._xid - 1, GetData("/key-0")), write))
        self._ghost = None

    # ---- asking

    def _wish(self, wish: Wish) -> None:
        if not self.world.wants():
            return
        request = wish.request
        if self._walk is not None and self._walk.request is not None:
            if not any(asked.call.request is self._walk.request for asked in self._asked):
                self._ask(self._walk.request)
                return
        elif isinstance(request, GetChildrenPage):
            self._walk = Walk(self._witness.ledger, request, partial(self._fail, "paging"))
        if isinstance(request, TreeRead):
            self._ask(request, self._witness.acknowledged if wish.causal else _ANY_ZXID, wish.linearizable)
        else:
            self._ask(request)

    def _ask(self, request: ClientRequest, at_least: Zxid = _ANY_ZXID, linearizable: bool = False) -> None:
        self._xid += 1
        if isinstance(request, _WRITES):
            self._writes[self._xid] = request
            self._send(Call(self._xid, request, floor=min(self._writes)))
        else:
            self._send(Call(self._xid, request, at_least=at_least, linearizable=linearizable))

    def _send(self, call: Call) -> None:
        assert self._link is not None
        self._asked.append(_Asked(call, self.world.now_us, self._witness.acknowledged))
        self._link.send((call,))

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
                self._answered(link, item)

    def _fired(self, event: WatchEvent) -> None:
        if self._watching is None:
            self._fail("watches", f"is told {describe(event)} without a session")
        self._watching.told(event)
        self._seen = max(self._seen, event.zxid)
        self._complete = max(self._complete, Zxid(event.zxid - 1))  # the transaction may have more to tell
        self.world.counters["resyncs" if event.type is EventType.RESYNC else "watch events"] += 1

    def _answered(self, link: Link, reply: Reply) -> None:
        if not self._asked or self._asked[0].call.xid != reply.xid:
            self._fail("fifo", f"got the answer {reply.xid}, waits for {[asked.call.xid for asked in self._asked]}")
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
                self._attached(link, reply, body)
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
        self._told_up_to(reply.zxid)

    def _told_up_to(self, zxid: Zxid) -> None:
        """An answer shows `zxid`: whatever is watched was told up to there."""
        assert self._watching is not None
        self._seen = max(self._seen, zxid)
        self._complete = max(self._complete, zxid)
        self._watching.answered(zxid)

    def _read_answered(self, asked: _Asked, reply: Reply) -> None:
        """(13, 15) A session never sees time go back, or less than it asked for; a linearizable read, or a sync, sees
        every write acknowledged before its call. Source: semantics of reads."""
        call, zxid = asked.call, reply.zxid
        if zxid < self._seen:
            self._fail("monotonic reads", f"reads at {zxid_text(zxid)}, has seen {zxid_text(self._seen)}")
        if zxid < call.at_least:
            self._fail("causal reads", f"reads at {zxid_text(zxid)}, asked for {zxid_text(call.at_least)}")
        if (call.linearizable or isinstance(call.request, Sync)) and zxid < asked.acknowledged:
            self._fail(
                "linearizable reads",
                f"{describe(call.request)} sees {zxid_text(zxid)}; {zxid_text(asked.acknowledged)} was acknowledged",
            )
        self._told_up_to(zxid)
        self._read_content(call.request, reply)

    def _read_content(self, request: ClientRequest, reply: Reply) -> None:
        assert self._watching is not None
        zxid, body = reply.zxid, reply.body
        match request:
            case SetWatches():
                self._watching.set_again(request, zxid)
            case AddWatch():
                self._watching.added(request, zxid)
                if request.since is not None:
                    self._streams[request.mode, request.path] = None
            case RemoveWatches() | CheckWatches():
                self._watching.removed(request, body)
            case _ if isinstance(request, TreeRead):
                self._witness.read_answered(self.session, request, zxid, body)
                if isinstance(request, GetData | Exists | GetChildren):
                    if request.watch:
                        self._watching.read(request, zxid, body)
                    if not isinstance(body, APIError):
                        self._wishes.seen(request.path, body, zxid)
                if self._walk is not None and request is self._walk.request:
                    self._walk.answered(zxid, body)
                    self.world.counters["walks"] += self._walk.request is None and self._walk.pages > 1

    def _fail(self, invariant: str, detail: str) -> NoReturn:
        self.world.fail(invariant, f"{self.name} (session {self.session:#x}) {detail}")
