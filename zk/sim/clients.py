"""Clients of simulated servers: they open sessions, move with them from server to server, resend what was not
answered, go silent and come back.

A client here is a checker more than a client: it knows what it may be told, and holds each answer against the witness.
What it asks for stands in wishes.py, what must hold for its session in sessions.py, for its watches in watching.py.
"""

from collections import deque
from functools import partial

from zk.model.errors import APIError, SessionExpiredError, SessionMovedError, ThrottledError
from zk.model.events import WatchEvent
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import (
    AddAuth,
    BeginRestore,
    Call,
    Check,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Delete,
    Exists,
    FinishRestore,
    GetChildren,
    GetChildrenPage,
    GetData,
    Multi,
    Ping,
    Restore,
    SetAcl,
    SetData,
    TreeRead,
)
from zk.sim.ghost import Ghost
from zk.sim.links import Link, Links
from zk.sim.prelude import Prelude
from zk.sim.sessions import Asked, SimSession
from zk.sim.trace import describe
from zk.sim.walk import Walk
from zk.sim.wishes import Wish, Wishes
from zk.sim.witness import Witness
from zk.sim.world import MS, World

TIMEOUT_MS = 2_000
_ANY_ZXID = Zxid(0)
_FOR_EVER_MS = 1 << 30
_PATIENCE_MS = 1_200  # without an answer for so long, a client tries another server
_NEVER_SAID = (SessionExpiredError, SessionMovedError)  # these say nothing about the write itself
_WRITES = (
    *(Create, Delete, SetData, SetAcl, Check, Multi, AddAuth, CloseSession),
    *(BeginRestore, Restore, FinishRestore),
)


class SimClient:
    """One client. `number` is its name. While there is a `prelude` that is not over, it asks for what that says."""

    def __init__(
        self, world: World, links: Links, witness: Witness, number: int, prelude: Prelude | None = None
    ) -> None:
        self.world = world
        self.number = number
        self.name = f"client {number}"
        self.answered_us = 0
        self.mortal = number == 0  # may go away for ever
        self._may_read_only = number % 2 == 1
        self.gone = False
        self.silent_since_us = 0
        self._links = links
        self._witness = witness
        self._wishes = Wishes(world.wishes, number)
        self._prelude = prelude
        self._pace_ms = world.wishes.choice((4, 20, 60))
        self._outstanding_max = world.wishes.choice((2, 6, 30))
        self._link: Link | None = None
        self._ghost: Ghost | None = None
        self._ready = False  # whether the connection has its session
        self._served_by: ServerId | None = None
        self._asked: deque[Asked] = deque()
        self._xid = 0
        self._silent_until_us = -1_000 * MS
        self._pinged_us = 0
        self._resting = False
        self._begin_session()
        self._soon()

    def _begin_session(self) -> None:
        self._session = SimSession(self.world, self._witness, self.name, TIMEOUT_MS, self._may_read_only)
        self._walk: Walk | None = None
        self._ghost = None
        self._wishes.begin_session()

    @property
    def session(self) -> SessionId:
        return self._session.id

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
            self._ask(self._session.connect())

    def _leave(self, quietly: bool = False) -> None:
        """Go; `quietly`: the server does not learn of it."""
        assert self._link is not None
        if quietly and self._ready and not self._session.read_only:
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
        moved = self.session and self._served_by != link.node.server
        self.world.counters["session moves"] += bool(moved)
        self._session.attached(reply, body)
        self._served_by = link.node.server
        self._ready = True
        for xid, request in self._session.writes.items():
            self.world.counters["writes resent"] += 1
            self._send(Call(xid, request, floor=self._floor))
        for again in self._session.to_watch_again():
            self._ask(again)
        if self._ghost is not None:
            self._haunt(self._ghost, reply.zxid)
            self._ghost = None

    def _attached_read_only(self, reply: Reply, body: ConnectReply) -> None:
        """Read on, and keep what was sent elsewhere: it may have been done, and would be refused here."""
        self.world.counters["read-only connections"] += 1
        self._session.attached_read_only(reply, body)
        self._ready = True
        for again in self._session.to_watch_again():
            self._ask(again)

    def _haunt(self, ghost: Ghost, zxid: Zxid) -> None:
        """The connection left behind tries one more read and one more write: the session is here now."""
        self._xid += 2
        write = Call(self._xid, SetData("/key-0", b"of a ghost"), floor=self._floor)
        ghost.haunt(zxid, (Call(self._xid - 1, GetData("/key-0")), write))

    @property
    def _floor(self) -> int:
        return self._session.floor or self._xid

    # ---- asking

    def _wish(self, wish: Wish) -> None:
        if not self.world.wants():
            return
        if self._prelude is not None and not self._prelude.over:
            wish = self._prelude.instead(self.number, self.session, wish)
        request = wish.request
        if isinstance(request, AddAuth) and self._session.read_only:
            return  # which would be a matter of the connection, and no write
        if self._walk is not None and self._walk.request is not None:
            if not any(asked.call.request is self._walk.request for asked in self._asked):
                self._ask(self._walk.request)
                return
        elif isinstance(request, GetChildrenPage):
            self._walk = Walk(self._witness.ledger, request, partial(self._session.fail, "paging"))
        if isinstance(request, TreeRead):
            self._ask(request, self._witness.acknowledged if wish.causal else _ANY_ZXID, wish.linearizable)
        else:
            self._ask(request)

    def _ask(self, request: ClientRequest, at_least: Zxid = _ANY_ZXID, linearizable: bool = False) -> None:
        self._xid += 1
        if isinstance(request, _WRITES):
            self._session.writes[self._xid] = request
            self._send(Call(self._xid, request, floor=self._floor))
        else:
            self._send(Call(self._xid, request, at_least=at_least, linearizable=linearizable))

    def _send(self, call: Call) -> None:
        assert self._link is not None
        self._asked.append(Asked(call, self.world.now_us, self._witness.acknowledged))
        self._link.send((call,))

    # ---- being told

    def told(self, link: Link, items: list[Reply | WatchEvent]) -> None:
        """Answers and events, in the order in which the server sent them."""
        for item in items:
            if link is not self._link:
                return
            if self.world.trace is not None:
                self.world.log(self.name, describe(item))
            if isinstance(item, WatchEvent):
                self._session.fired(item)
            else:
                self._answered(link, item)

    def _answered(self, link: Link, reply: Reply) -> None:
        """(16) A session's calls are answered in the order in which they were sent. Source: semantics of sessions."""
        session = self._session
        if not self._asked or self._asked[0].call.xid != reply.xid:
            session.fail("fifo", f"got the answer {reply.xid}, waits for {[asked.call.xid for asked in self._asked]}")
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
            if isinstance(body, ConnectReply) and body.read_only:
                self._attached_read_only(reply, body)
            elif isinstance(body, ConnectReply):
                self._attached(link, reply, body)
            elif not isinstance(body, ThrottledError):
                session.fail("sessions", f"to connect is answered {body!r}")
        elif asked.call.xid in session.writes and session.read_only:
            session.write_refused_for_want_of_quorum(asked.call.xid, reply)
            self.world.counters["writes refused read-only"] += 1
        elif asked.call.xid in session.writes:
            session.write_answered(asked.call.xid, reply)
        else:
            session.read_answered(asked, reply)
            self._learn(request, reply)
            self.world.counters["reads without a quorum"] += session.read_only
        proves = isinstance(request, Connect | Ping) and not isinstance(body, APIError) and not session.read_only
        if session.id and proves:
            self._witness.heard(session.id, TIMEOUT_MS, asked.sent_us)
        if isinstance(request, CloseSession) and not isinstance(body, APIError):
            self._end_session()

    def _end_session(self) -> None:
        if self._link is not None:
            self._leave()
        self._begin_session()

    def _learn(self, request: ClientRequest, reply: Reply) -> None:
        """What it asks next depends on what it was shown."""
        if isinstance(request, GetData | Exists | GetChildren) and not isinstance(reply.body, APIError):
            self._wishes.seen(request.path, reply.body, reply.zxid)
        if self._walk is not None and request is self._walk.request:
            self._walk.answered(reply.zxid, reply.body)
            self.world.counters["walks"] += self._walk.request is None and self._walk.pages > 1
