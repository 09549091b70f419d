"""Clients of a scenario: each does what it is told to, and holds the answers against the witness.

A call returns when its answer has come, for which virtual time runs; or it is made by `ask`, and stays outstanding
while the story goes on. Like the real client, it pings, comes back to a server by itself when its connection breaks,
and sends again what was not answered.
"""

from collections import deque
from collections.abc import Callable

from zk.model.errors import APIError, NotReadOnlyError, SessionExpiredError, SessionMovedError, ThrottledError
from zk.model.events import WatchEvent
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import Body, ConnectReply, Created, MultiReply, Reply, StatReply
from zk.model.requests import (
    ANY_VERSION,
    BeginRestore,
    Call,
    Check,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    CreateMode,
    Delete,
    FinishRestore,
    GetData,
    Multi,
    Operation,
    Ping,
    Restore,
    SetAcl,
    SetData,
    Sync,
)
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.sim.links import Link, Links
from zk.sim.trace import describe, zxid_text
from zk.sim.witness import Witness
from zk.sim.world import MS, World

ANY_ZXID = Zxid(0)
RECONNECT_MS = 20
PATIENCE_MS = 1_200
"""How long a client waits to be let in before it tries again: its server may have died."""
_WRITES = (Create, Delete, SetData, SetAcl, Check, Multi, BeginRestore, Restore, FinishRestore, CloseSession)


class Asked:
    """A call that a client has made. `reply` is None until it is answered."""

    def __init__(self, call: Call, sent_us: int, acknowledged: Zxid) -> None:
        self.call = call
        self.sent_us = sent_us
        self.acknowledged = acknowledged  # what was known to be written when the call was made
        self.reply: Reply | None = None

    @property
    def answered(self) -> bool:
        return self.reply is not None

    @property
    def result(self) -> Body:
        """What was answered; a refusal is raised."""
        assert self.reply is not None, f"{describe(self.call.request)} is not answered yet"
        if isinstance(self.reply.body, APIError):
            raise self.reply.body
        return self.reply.body


class ScenarioClient:
    """One session. `events` are the watch events that it was told, `answers` the answered calls, both in order."""

    def __init__(
        self,
        world: World,
        links: Links,
        witness: Witness,
        server: ServerId,
        timeout_ms: int,
        run_until: Callable[[Callable[[], object]], None],
        may_read_only: bool = False,
    ) -> None:
        self.world = world
        self.session = SessionId(0)
        self.server = server
        self.connected = False
        self.read_only = False  # the server that it is connected to has no quorum
        self.expired = False
        self.closed = False
        self.silent = False
        self.events: list[WatchEvent] = []
        self._links = links
        self._witness = witness
        self._timeout_ms = timeout_ms
        self._run_until = run_until
        self._may_read_only = may_read_only
        self._secret = b""
        self._link: Link | None = None
        self._xid = 0
        self._seen = Zxid(0)  # the newest state that the session was shown
        self._calls: deque[Asked] = deque()  # unanswered, oldest first; they outlive the connection
        self._awaited: deque[Asked] = deque()  # what this connection has still to answer
        self._connect()
        self._ping_later()

    # ---- what it is told to do

    def create(
        self, path: str, data: bytes = b"", mode: CreateMode = CreateMode.PERSISTENT, ttl_ms: int = 0
    ) -> Created:
        """Create a node and wait for the answer."""
        body = self._result(Create(path, data, mode=mode, ttl_ms=ttl_ms))
        assert isinstance(body, Created)
        return body

    def set(self, path: str, data: bytes, version: int = ANY_VERSION) -> Stat:
        body = self._result(SetData(path, data, version))
        assert isinstance(body, StatReply)
        return body.stat

    def delete(self, path: str, version: int = ANY_VERSION) -> None:
        self._result(Delete(path, version))

    def multi(self, *operations: Operation) -> MultiReply:
        body = self._result(Multi(operations))
        assert isinstance(body, MultiReply)
        return body

    def get(self, path: str, *, watch: bool = False, linearizable: bool = False) -> Znode:
        """Read a node; NoNodeError if it does not exist."""
        body = self._result(GetData(path, watch), linearizable=linearizable)
        assert isinstance(body, Znode)
        return body

    def sync(self) -> None:
        self._result(Sync())

    def close(self) -> None:
        """End the session."""
        self._result(CloseSession())

    def ask(self, request: ClientRequest, *, linearizable: bool = False, at_least: Zxid = ANY_ZXID) -> Asked:
        """Make a call, and let it stay outstanding."""
        assert not self.expired
        self._xid += 1
        floor = 0
        if isinstance(request, _WRITES):
            writes = [asked.call.xid for asked in self._calls if isinstance(asked.call.request, _WRITES)]
            floor = min([*writes, self._xid])
        call = Call(self._xid, request, floor, at_least, linearizable)
        asked = Asked(call, self.world.now_us, self._witness.acknowledged)
        self._calls.append(asked)
        if self.connected:
            self._send(asked)
        return asked

    def move(self, to: ServerId) -> None:
        """Leave the connection, as if it had broken, and come to another server; not waited for."""
        if self._link is not None:
            self._link.break_off()
        self._forget_connection()
        self.server = to
        self._connect()

    def fall_silent(self) -> None:
        """Hang, or die: nothing more is sent, and nothing that comes is taken notice of; the connection stands."""
        self.silent = True

    def wake(self) -> None:
        """Go on: what had been sent before is sent again on a new connection."""
        self.silent = False
        self.move(self.server)
        self._ping_later()

    # ---- its connection

    @property
    def _over(self) -> bool:
        return self.silent or self.closed or self.expired

    def _connect(self) -> None:
        if self._over or self._link is not None:
            return
        self._link = self._links.connect(self, at=self.server)
        if self._link is None:
            self._link = self._links.connect(self)
        if self._link is None:
            self._connect_later()
        else:
            request = Connect(self.session, self._secret, self._timeout_ms, self._seen, self._may_read_only)
            self._send(Asked(Call(0, request), self.world.now_us, self._witness.acknowledged))

    def _connect_later(self) -> None:
        self.world.after(RECONNECT_MS * MS, self._connect)

    def _send(self, asked: Asked) -> None:
        assert self._link is not None
        self._awaited.append(asked)
        self._link.send((asked.call,))

    def _ping_later(self) -> None:
        self.world.after(self._timeout_ms * MS // 3, self._ping)

    def _ping(self) -> None:
        if self._over:
            return
        self._ping_later()
        if self.connected:
            self._send(Asked(Call(0, Ping()), self.world.now_us, self._witness.acknowledged))
        elif self._link is not None and self.world.now_us - self._awaited[0].sent_us > PATIENCE_MS * MS:
            self.move(self.server)

    def lost(self, link: Link) -> None:
        """The connection broke: come back soon."""
        if link is self._link:
            self._forget_connection()
            self._connect_later()

    def _forget_connection(self) -> None:
        self._link = None
        self.connected = self.read_only = False
        self._awaited.clear()

    # ---- what it is told

    def told(self, link: Link, items: list[Reply | WatchEvent]) -> None:
        """Answers and events, in the order in which the server sent them."""
        for item in items:
            if link is not self._link or self.silent:
                return
            self.world.log(f"session {self.session & 0xFFFF:04x}", describe(item))
            if isinstance(item, WatchEvent):
                self.events.append(item)
            else:
                self._told_reply(item)

    def _told_reply(self, reply: Reply) -> None:
        """(16) Answers come in the order of the calls. Source: Zab, local primary order, for clients."""
        if not self._awaited or self._awaited[0].call.xid != reply.xid:
            self.world.fail("fifo", f"got the answer {reply.xid}, waits for {[a.call.xid for a in self._awaited]}")
        asked = self._awaited.popleft()
        request, body = asked.call.request, reply.body
        if isinstance(body, SessionExpiredError):
            self._end(reply)
        elif isinstance(body, SessionMovedError):
            pass  # the connection is about to end, and nothing was done
        elif isinstance(request, Connect):
            if isinstance(body, ConnectReply) and body.read_only:
                self._attached_read_only(reply, body)
            elif isinstance(body, ConnectReply):
                self._attached(body)
            elif not isinstance(body, ThrottledError):
                self.world.fail("sessions", f"to connect is answered {body!r}")
        elif not isinstance(request, Ping):
            self._answered(asked, reply)
        if isinstance(request, Connect | Ping) and not isinstance(body, APIError) and not self.read_only:
            self._witness.heard(self.session, self._timeout_ms, asked.sent_us)

    def _attached(self, reply: ConnectReply) -> None:
        if self.session and reply.session_id != self.session:
            self.world.fail("sessions", f"asked for {self.session:#x}, got {reply.session_id:#x}")
        self.session, self._secret, self._timeout_ms = reply.session_id, reply.secret, reply.timeout_ms
        self.connected = True
        for asked in self._calls:
            self._send(asked)

    def _attached_read_only(self, reply: Reply, body: ConnectReply) -> None:
        """(15, 27) A client that asked for it reads where there is no quorum, nothing that is older than what it has
        seen. What it has sent elsewhere waits: it may have been done. Source: semantics of read-only mode."""
        if not self._may_read_only or (self.session and body.session_id != self.session):
            self.world.fail("read-only", f"asked for {self.session:#x}, got {body!r}")
        if reply.zxid < self._seen:
            self.world.fail("monotonic reads", f"has seen {zxid_text(self._seen)}, got {zxid_text(reply.zxid)}")
        self.connected = self.read_only = True
        for asked in self._calls:
            if not isinstance(asked.call.request, _WRITES):
                self._send(asked)

    def _answered(self, asked: Asked, reply: Reply) -> None:
        """(12) A write's answer is what happened. (13, 15) A session never sees time go back, or less than it asked
        for; a linearizable read, or a sync, sees every write acknowledged before its call. Source: semantics of
        sessions and reads."""
        call, request, witness = asked.call, asked.call.request, self._witness
        self._calls.remove(asked)
        asked.reply = reply
        if self.read_only and not isinstance(reply.body, NotReadOnlyError):
            self._needs_no_quorum(call)
        if isinstance(request, _WRITES):
            if isinstance(reply.body, ThrottledError | NotReadOnlyError):
                witness.write_refused(self.session, call.xid)
            else:
                witness.write_answered(self.session, call.xid, reply.zxid, reply.body)
        elif reply.zxid < self._seen:
            self.world.fail("monotonic reads", f"reads {zxid_text(reply.zxid)}, has seen {zxid_text(self._seen)}")
        elif isinstance(reply.body, NotReadOnlyError):
            if not self.read_only:
                self.world.fail("read-only", f"a server with a quorum refuses {describe(request)}")
        elif reply.zxid < call.at_least:
            self.world.fail("causal reads", f"reads {zxid_text(reply.zxid)}, asked for {zxid_text(call.at_least)}")
        elif (call.linearizable or isinstance(request, Sync)) and reply.zxid < asked.acknowledged:
            self.world.fail(
                "linearizable reads", f"sees {zxid_text(reply.zxid)}, {zxid_text(asked.acknowledged)} was acknowledged"
            )
        elif isinstance(request, GetData):
            witness.read_answered(self.session, request, reply.zxid, reply.body)
        self._seen = max(self._seen, reply.zxid)
        if isinstance(request, CloseSession) and not isinstance(reply.body, APIError):
            self.closed = True

    def _needs_no_quorum(self, call: Call) -> None:
        """(27) What only a quorum can do or tell is refused by a server without one. Source: semantics of read-only
        mode."""
        if isinstance(call.request, (*_WRITES, Sync)) or call.linearizable:
            self.world.fail("read-only", f"{describe(call.request)} is answered without a quorum")

    def _end(self, reply: Reply) -> None:
        """The session is over; whatever was asked in it is answered so."""
        self.expired = True
        for asked in self._calls:
            asked.reply = reply
        self._calls.clear()
        if self._link is not None:
            self._link.break_off()
        self._forget_connection()

    # ---- waiting

    def _result(self, request: ClientRequest, *, linearizable: bool = False) -> Body:
        asked = self.ask(request, linearizable=linearizable)
        self._run_until(lambda: asked.answered)
        return asked.result

    def is_served(self) -> bool:
        """Unless it has fallen silent or has ended: whether its session is attached, and every call answered."""
        return self._over or (self.connected and not self.read_only and not self._calls)
