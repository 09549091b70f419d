"""One session as its client knows it: what it was shown, what it still waits for, and what must hold for the order of
its answers."""

from dataclasses import dataclass
from typing import NoReturn

from zk.model.errors import NotReadOnlyError, ThrottledError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import SessionId, Zxid
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import (
    AddWatch,
    Call,
    CheckWatches,
    ClientRequest,
    CloseSession,
    Connect,
    Exists,
    GetChildren,
    GetData,
    RemoveWatches,
    SetWatches,
    Sync,
    TreeRead,
)
from zk.sim.ledger import NOBODY
from zk.sim.trace import describe, zxid_text
from zk.sim.watching import PERSISTENT, RECURSIVE, Watching
from zk.sim.witness import Witness
from zk.sim.world import World


@dataclass(slots=True)
class Asked:
    """A call under way. `acknowledged`: what was known to be written when it was made."""

    call: Call
    sent_us: int
    acknowledged: Zxid


class SimSession:
    """Begins when the client wants one; `id` is 0 until it is opened."""

    def __init__(self, world: World, witness: Witness, name: str, timeout_ms: int, may_read_only: bool) -> None:
        self.world = world
        self.timeout_ms = timeout_ms
        self.id = SessionId(0)
        self.read_only = False  # its server has no quorum
        self.writes: dict[int, ClientRequest] = {}  # unanswered, oldest first: they are sent again after a move
        self._witness = witness
        self._name = name
        self._may_read_only = may_read_only
        self._reader = NOBODY  # whom its server takes it for
        self._secret = b""
        self._seen = Zxid(0)  # the newest state that it was shown
        self._complete = Zxid(0)  # up to there it was told of everything that it watches
        self._written = Zxid(0)  # its newest write that was answered
        self._watching = Watching(witness.ledger, self.id, self._fail_in_watching)
        self._streams: dict[tuple[WatchMode, str], None] = {}  # watches that are to miss nothing

    @property
    def floor(self) -> int | None:
        """The oldest write that it waits for."""
        return next(iter(self.writes), None)

    # ---- connections

    def connect(self) -> Connect:
        """What opens it, or attaches it to another connection."""
        return Connect(self.id, self._secret, self.timeout_ms, self._seen, self._may_read_only)

    def attached(self, reply: Reply, body: ConnectReply) -> None:
        """(15) A session gets itself back, at a server that has applied all that it was shown. Source: semantics of
        sessions."""
        if self.id == 0:
            self.world.counters["sessions opened"] += 1
            self.id = body.session_id
            self._watching = Watching(self._witness.ledger, self.id, self._fail_in_watching)
        else:
            self.world.counters["sessions resumed"] += 1
        if body.session_id != self.id:
            self.fail("sessions", f"is attached as {body.session_id:#x}")
        if reply.zxid < self._seen:
            self.fail("monotonic reads", f"has seen {zxid_text(self._seen)}, its server {zxid_text(reply.zxid)}")
        self._secret = body.secret
        self._connected(reply.zxid, self.id)

    def attached_read_only(self, reply: Reply, body: ConnectReply) -> None:
        """(15, 27) Without a quorum it gets itself back too, where all is applied that it was shown; and is who it was,
        if that is known there. Source: semantics of read-only mode."""
        if not self._may_read_only:
            self.fail("read-only", "did not ask for it")
        if body.session_id != self.id and self.id:
            self.fail("sessions", f"is read-only as {body.session_id:#x}")
        if reply.zxid < self._seen:
            self.fail("monotonic reads", f"has seen {zxid_text(self._seen)}, its server {zxid_text(reply.zxid)}")
        known = self._witness.ledger.alive_at(self.id, reply.zxid)
        self._connected(reply.zxid, self.id if known else NOBODY, read_only=True)

    def _connected(self, zxid: Zxid, reader: SessionId, read_only: bool = False) -> None:
        self.read_only = read_only
        self._reader = reader
        self._watching.connected(zxid, reader)

    def to_watch_again(self) -> list[SetWatches | AddWatch]:
        """What sets its watches on a new connection, and continues its streams."""
        streams = {
            (RECURSIVE if mode is WatchMode.RECURSIVE else PERSISTENT, path): AddWatch(path, mode, self._complete)
            for mode, path in self._streams
        }
        requests: list[SetWatches | AddWatch] = []
        again = self._watching.to_set_again(self._complete, set(streams))
        if again is not None:
            self.world.counters["watches set again"] += 1
            requests.append(again)
        for key, request in streams.items():
            if key in self._watching.watches:
                self.world.counters["streams continued"] += 1
                requests.append(request)
        return requests

    # ---- being told

    def fired(self, event: WatchEvent) -> None:
        self._watching.told(event)
        self._seen = max(self._seen, event.zxid)
        self._complete = max(self._complete, Zxid(event.zxid - 1))  # the transaction may have more to tell
        self.world.counters["resyncs" if event.type is EventType.RESYNC else "watch events"] += 1

    def write_answered(self, xid: int, reply: Reply) -> None:
        """(16) A session's writes are done in the order in which it sent them. Source: Zab, local primary order, for
        clients."""
        del self.writes[xid]
        if isinstance(reply.body, ThrottledError):
            self._witness.write_refused(self.id, xid)
            return
        self._witness.write_answered(self.id, xid, reply.zxid, reply.body)
        if reply.zxid <= self._written:
            self.fail("fifo", f"write {xid} was done at {zxid_text(reply.zxid)}, before the one in front of it")
        self._written = reply.zxid
        self._told_up_to(reply.zxid)

    def write_refused_for_want_of_quorum(self, xid: int, reply: Reply) -> None:
        """(27) Without a quorum no write is done, now or later. Source: semantics of read-only mode."""
        request = self.writes.pop(xid)
        if isinstance(request, CloseSession) and not self.id:
            return  # it has no session that could be closed
        if not isinstance(reply.body, NotReadOnlyError):
            self.fail("read-only", f"is answered {describe(reply.body)} to {describe(request)}")
        self._witness.write_refused(self.id, xid)
        self._told_up_to(reply.zxid)

    def _told_up_to(self, zxid: Zxid) -> None:
        """An answer shows `zxid`: whatever is watched was told up to there."""
        self._seen = max(self._seen, zxid)
        self._complete = max(self._complete, zxid)
        self._watching.answered(zxid)

    def read_answered(self, asked: Asked, reply: Reply) -> None:
        """(13, 15) A session never sees time go back, or less than it asked for; a linearizable read, or a sync, sees
        every write acknowledged before its call. Source: semantics of reads."""
        call, zxid = asked.call, reply.zxid
        if zxid < self._seen:
            self.fail("monotonic reads", f"reads at {zxid_text(zxid)}, has seen {zxid_text(self._seen)}")
        refused = isinstance(reply.body, NotReadOnlyError)
        if refused and not self.read_only:
            self.fail("read-only", f"is refused {describe(call)} by a server with a quorum")
        if zxid < call.at_least and not refused:
            self.fail("causal reads", f"reads at {zxid_text(zxid)}, asked for {zxid_text(call.at_least)}")
        if (call.linearizable or isinstance(call.request, Sync)) and zxid < asked.acknowledged and not refused:
            self.fail(
                "linearizable reads",
                f"{describe(call.request)} sees {zxid_text(zxid)}; {zxid_text(asked.acknowledged)} was acknowledged",
            )
        self._told_up_to(zxid)
        if self.read_only and refused != self._needs_quorum(call, zxid):
            self.fail("read-only", f"is answered {describe(reply.body)} to {describe(call)}")
        if not refused:
            self._shown(call.request, reply)

    def _needs_quorum(self, call: Call, zxid: Zxid) -> bool:
        """(27) What only a quorum can tell, a server without one does not say. Source: semantics of read-only mode."""
        return call.linearizable or isinstance(call.request, Sync) or call.at_least > zxid

    def _shown(self, request: ClientRequest, reply: Reply) -> None:
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
                self._witness.read_answered(self._reader, request, zxid, body)
                if isinstance(request, GetData | Exists | GetChildren) and request.watch:
                    self._watching.read(request, body)

    def fail(self, invariant: str, detail: str) -> NoReturn:
        self.world.fail(invariant, f"{self._name} (session {self.id:#x}) {detail}")

    def _fail_in_watching(self, detail: str) -> NoReturn:
        self.fail("watches", detail)
