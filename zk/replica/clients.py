"""The clients of one server: their connections, sessions and watches, and the order of their calls.

It takes calls in, puts writes into the outbox, answers reads from the tree, and answers writes when the replica tells
it that they were applied. It never touches the engine. Guarantee that is built here: what a session is sent (answers
and watch events) follows the one order of the log, and its calls are answered in the order in which they came.
"""

from base64 import b64encode
from collections.abc import Callable, Iterable
from typing import Any, get_args

from zk.model.acl import Acl, Identity, Perms
from zk.model.chance import Chance
from zk.model.errors import (
    APIError,
    AuthFailedError,
    BadArgumentsError,
    NotReadOnlyError,
    SessionExpiredError,
    SessionMovedError,
    ThrottledError,
)
from zk.model.events import EventType, WatchEvent
from zk.model.record import ConnectionId, ServerId, SessionId, Zxid
from zk.model.replies import DONE, Body, ConnectReply, Reply, SaslReply, StatusReply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    AttachSession,
    Authenticate,
    Call,
    CheckWatches,
    ClientRequest,
    ClientWrite,
    CloseSession,
    Connect,
    ConnectionRequest,
    Create,
    Exists,
    GetChildren,
    GetData,
    GetStatus,
    Malformed,
    OpenSession,
    Ping,
    RemoveWatches,
    Sasl,
    SetData,
    SetWatches,
    Sync,
    TreeRead,
    Txn,
    Write,
)
from zk.model.session import Session
from zk.replica.client import ANY_ZXID, Client, Pending
from zk.replica.config import ReplicaConfig
from zk.replica.events import Answer, CloseClient, Effect
from zk.replica.identities import proved_by
from zk.replica.outbox import Outbox
from zk.replica.readonly import check_served, session_for
from zk.replica.reads import LinearizableReads
from zk.tree.acl import permitted
from zk.tree.changes import Change
from zk.tree.history import ChangeHistory
from zk.tree.sessions import with_added
from zk.tree.tree import Applied, Tree
from zk.tree.watches import WatchTable
from zk.wire import txn as txn_codec
from zk.wire.sasl import NONCE_BYTES, DigestMd5

_READ = int(Perms.READ)
_SESSION_MOVED: type[APIError] = SessionMovedError  # found once: it is asked for with every write
_WATCHING_READS = (GetData, Exists, GetChildren)
_DISK_LOW = "the disk of this server is nearly full: it takes neither writes nor new sessions until there is space"


class Clients:
    """`tree`, `now_ms`, `wall_ms`, `applied` and `disk_low` are kept up to date by the replica."""

    def __init__(
        self,
        config: ReplicaConfig,
        tree: Tree,
        chance: Chance,
        outbox: Outbox,
        reads: LinearizableReads,
        status: Callable[[], StatusReply],
    ) -> None:
        self._config = config
        self._chance = chance
        self._outbox = outbox
        self._reads = reads
        self._status = status
        self._server_id: ServerId = config.zab.server_id
        self.tree = tree
        self.now_ms = 0
        self.wall_ms = 0
        self.applied = self._advanced_to = tree.zxid
        self.disk_low = False
        self.unapplied_bytes = 0  # of the writes of clients here
        self.read_only = False  # whether those are served without a leader who asked for it
        self.blocked: dict[ConnectionId, Client] = {}  # clients whose oldest call is a read that waits for a zxid
        self.watches = WatchTable(config.limits.watches_per_connection_max)
        self.history = ChangeHistory(config.limits.history_changes_max, tree.zxid)
        self._by_connection: dict[ConnectionId, Client] = {}
        self._attached: dict[SessionId, Client] = {}
        self._attaching: dict[int, Client] = {}
        self._read_only: dict[ConnectionId, Client] = {}
        self._had_leader = False
        self._heard: list[Client] = []  # clients that gave a sign of life since the replica last asked
        self._touched: list[Client] = []  # clients with something to send
        self._closing: list[tuple[Client, str]] = []
        # The type of the request is the key under which its method stands, which no checker can follow: hence Any.
        self._take: dict[type, Callable[[Client, Call, Any], None]] = {
            **dict.fromkeys(get_args(TreeRead), self._take_read),
            **dict.fromkeys(get_args(ConnectionRequest), self._take_in_turn),
            **dict.fromkeys(get_args(ClientWrite), self._take_write),
            Sync: self._take_confirmed,
            Ping: self._take_confirmed,
            AddAuth: self._take_credential,
            Sasl: self._take_sasl,
        }

    # ---- connections

    def connected(self, connection: ConnectionId, identities: tuple[Identity, ...]) -> None:
        self._by_connection[connection] = Client(connection, identities)

    def disconnected(self, connection: ConnectionId) -> None:
        client = self._by_connection.get(connection)
        if client is not None:
            self._forget(client)

    def collect(self, effects: list[Effect]) -> None:
        """Move all that is to be sent, and then all that is to be closed, to the end of `effects`."""
        if self._touched:
            for client in self._touched:
                effects.append(Answer(client.connection, client.items))
                client.items = []
            self._touched = []
        if self._closing:
            for client, reason in self._closing:
                effects.append(CloseClient(client.connection, reason))
            self._closing = []

    def _say(self, client: Client, item: Reply | WatchEvent) -> None:
        """Send this to the client at the end of the step."""
        if not client.items:
            self._touched.append(client)
        client.items.append(item)

    def hear(self, client: Client) -> None:
        """The client's session has given a sign of life."""
        if not client.heard:
            client.heard = True
            self._heard.append(client)

    def hear_all(self) -> None:
        """Every session that is attached here has."""
        for client in self._attached.values():
            self.hear(client)

    def take_heard(self) -> list[SessionId]:
        """The sessions that gave a sign of life since this was last asked."""
        heard, self._heard = self._heard, []
        for client in heard:
            client.heard = False
        return [client.session_id for client in heard]

    def close_all(self, reason: str) -> None:
        for client in list(self._by_connection.values()):
            self._close(client, reason)

    def session_of(self, connection: ConnectionId) -> Session | None:
        """The session that this connection holds."""
        client = self._by_connection.get(connection)
        return None if client is None else client.session

    @property
    def connections(self) -> int:
        return len(self._by_connection)

    def _close(self, client: Client, reason: str) -> None:
        if not client.closed:
            self._forget(client)
            self._closing.append((client, reason))

    def _forget(self, client: Client) -> None:
        client.closed = True
        self.unapplied_bytes -= client.write_bytes
        del self._by_connection[client.connection]
        if self._attached.get(client.session_id) is client:
            del self._attached[client.session_id]
        self._attaching.pop(client.nonce, None)
        self._read_only.pop(client.connection, None)
        self.blocked.pop(client.connection, None)
        self.watches.drop(client.connection)

    # ---- calls coming in

    def received(self, connection: ConnectionId, calls: Iterable[Call]) -> None:
        client = self._by_connection.get(connection)
        if client is None:
            return  # closed in this very round
        if client.session_id:
            self.hear(client)
        for call in calls:
            if client.closed:
                return
            request = call.request
            if not client.session_id:
                self._take_without_session(client, call)
            elif isinstance(request, (SetData, Create)):  # the two most frequent writes, without detours
                self._take_write(client, call, request)
            else:
                self._take[type(request)](client, call, request)

    def _take_read(self, client: Client, call: Call, request: TreeRead) -> None:
        if client.oldest is not None or call.linearizable or call.at_least > self.applied:
            self._queue_read(client, call)
        else:
            self._answer(client, call.xid, self._read(client, request), self.applied)

    def _take_confirmed(self, client: Client, call: Call, request: Sync | Ping) -> None:
        """Answered once the leader, confirmed by a quorum, has heard of it.

        For a Ping this is what the client's own clock rests on: until that ping's sending time plus the timeout, no
        leader can have let the session expire. A server that answered by itself might be cut off from the leader, or
        be a leader that does not know yet that it was replaced.
        """
        self._queue_read(client, call, linearizable=True)

    def _queue_read(self, client: Client, call: Call, linearizable: bool = False) -> None:
        pending = Pending(call, at_least=call.at_least)
        client.put(pending)
        if linearizable or call.linearizable:
            pending.at_least = None
            self._reads.add(client, pending)
        self._advance(client)

    def _take_in_turn(self, client: Client, call: Call, request: ConnectionRequest) -> None:
        client.put(Pending(call))
        self._advance(client)

    def _take_write(self, client: Client, call: Call, request: ClientWrite, done: Body = DONE) -> None:
        if (self.disk_low or 0 < call.floor <= client.refused_xid) and type(request) is not CloseSession:
            self._refuse_unless_done(client, call)
            return
        client.n += 1
        client.unsent += 1
        txn = Txn(self.wall_ms, client.session_id, client.generation, client.n, call.xid, call.floor, request)
        body = txn_codec.encode_body(txn)
        size = len(body)
        pending = Pending(call, client.n, size)
        pending.done = done
        client.put(pending)
        self.unapplied_bytes += size
        self._outbox.add(body, txn, client)

    def _refuse_unless_done(self, client: Client, call: Call) -> None:
        """Whatever the session had got done on earlier connections is known here since it was attached: a write that is
        sent again, and had been done, is answered with what came of it.

        Until the client has heard of a refusal, what comes behind it is refused too: if the connection broke, the first
        one would be sent again, and done after the others.
        """
        assert client.session is not None
        done = client.session.answers.get(call.xid)
        if done is None:
            client.refused_xid = call.xid
        zxid, body = done or (ANY_ZXID, ThrottledError(hint=_DISK_LOW))
        pending = Pending(call, body=body)
        pending.zxid = zxid
        client.put(pending)
        self._advance(client)

    def _take_credential(self, client: Client, call: Call, request: AddAuth) -> None:
        """What a credential proves goes into the log; the secret itself goes no further."""
        try:
            identities = proved_by(request, client.identities, self._config.super_digest)
        except AuthFailedError as error:
            self._queue_answer(client, call, error.without_traceback())
            return
        self._identify(client, call, identities, DONE)

    def _take_sasl(self, client: Client, call: Call, request: Sasl) -> None:
        """A server without users says so without a refusal, as ZooKeeper's do: the client goes on as nobody."""
        users = self._config.sasl_users
        if not users:
            self._queue_answer(client, call, SaslReply(None))
        elif client.sasl is None:
            client.sasl = DigestMd5(b64encode(self._chance.randbytes(NONCE_BYTES)).decode(), users)
            self._queue_answer(client, call, SaslReply(client.sasl.challenge))
        else:
            try:
                proved = client.sasl.accept(request.token)
            except AuthFailedError as error:
                self._queue_answer(client, call, error.without_traceback())
            else:
                self._identify(client, call, (Identity("sasl", proved.user),), SaslReply(proved.token))

    def _identify(self, client: Client, call: Call, identities: tuple[Identity, ...], done: Body) -> None:
        if not identities:
            self._queue_answer(client, call, done)
        elif client.session_id:
            self._take_write(client, call, Authenticate(identities), done)
        else:
            assert client.session is not None
            try:
                client.session.identities = with_added(client.session.identities, identities)
            except BadArgumentsError as error:
                self._queue_answer(client, call, error.without_traceback())
            else:
                self._queue_answer(client, call, done)

    def _queue_answer(self, client: Client, call: Call, body: Body | APIError) -> None:
        """Answer here and now, but in its turn."""
        client.put(Pending(call, body=body))
        self._advance(client)

    def _take_without_session(self, client: Client, call: Call) -> None:
        request = call.request
        if client.session is not None:
            self._take_read_only(client, call)
        elif client.nonce:
            client.early.append(call)
        elif type(request) is GetStatus:
            self._answer(client, call.xid, self._status(), self.applied)
        elif type(request) is Connect:
            self._attach(client, call, request)
        else:
            self._refuse(
                client, call.xid, SessionExpiredError(hint="this connection has no session: Connect comes first")
            )

    def _take_read_only(self, client: Client, call: Call) -> None:
        """At once, whatever it is; there is nothing to wait for."""
        request = call.request
        assert client.session is not None
        client.heard_ms = self.now_ms
        if isinstance(request, AddAuth | Sasl):
            self._take[type(request)](client, call, request)
        elif isinstance(request, CloseSession) and client.session.id and client.session.id not in self.tree.sessions:
            self._answer(client, call.xid, DONE, self.applied)
            self._close(client, "the session is over")
        else:
            try:
                check_served(call, self.applied)
                body = self._execute(client, request)
            except NotReadOnlyError as error:
                body = error.without_traceback()
            self._answer(client, call.xid, body, self.applied)

    def _refuse(self, client: Client, xid: int, error: APIError) -> None:
        self._say(client, Reply(xid, self.applied, error))
        self._close(client, str(error))

    # ---- sessions

    def _attach(self, client: Client, call: Call, request: Connect) -> None:
        """Sessions are opened and attached through the log, so that every server agrees on who holds them."""
        if self.read_only and request.read_only:
            self._attach_read_only(client, call.xid, request)
            return
        if self.disk_low and not request.session_id:
            self._refuse(client, call.xid, ThrottledError(hint=_DISK_LOW))
            return
        timeout_ms = self._granted_timeout_ms(request)
        client.nonce = self._chance.randrange(1, 1 << 63)
        client.attaching_since_ms = self.now_ms
        client.put(Pending(call))
        self._attaching[client.nonce] = client
        write: OpenSession | AttachSession
        if request.session_id:
            write = AttachSession(
                request.session_id,
                request.secret,
                timeout_ms,
                client.identities,
                self._server_id,
                client.nonce,
                request.last_zxid,
            )
        else:
            session_id, secret = self._new_session()
            write = OpenSession(
                session_id,
                secret,
                timeout_ms,
                client.identities,
                self._server_id,
                client.nonce,
                request.last_zxid,
            )
        client.unsent += 1
        self.propose(write, client)

    def _granted_timeout_ms(self, request: Connect) -> int:
        limits = self._config.limits
        return max(limits.session_timeout_ms_min, min(request.timeout_ms, limits.session_timeout_ms_max))

    def _new_session(self) -> tuple[SessionId, bytes]:
        """Id and secret. The high byte keeps servers' ids apart; a clash within one server's is refused when it is
        applied."""
        session_id = SessionId((self._server_id & 0x7F) << 56 | self._chance.randrange(1, 1 << 56))
        return session_id, self._chance.randbytes(16)

    def _attach_read_only(self, client: Client, xid: int, request: Connect) -> None:
        """Serve a client without the log: see readonly.py."""
        timeout_ms = self._granted_timeout_ms(request)
        known = self.tree.sessions.get(request.session_id)
        try:
            session_id, session = session_for(
                request, known, client.identities, self._new_session(), timeout_ms, self.applied
            )
        except APIError as error:
            self._refuse(client, xid, error.without_traceback())
            return
        client.session = session
        client.heard_ms = self.now_ms
        self._read_only[client.connection] = client
        self._answer(client, xid, ConnectReply(session_id, session.secret, timeout_ms, read_only=True), self.applied)
        early, client.early = client.early, []
        for call in early:
            if not client.closed:
                self._take_read_only(client, call)

    def propose(self, write: Write, client: Client | None = None) -> None:
        """Put a server's own write into the outbox."""
        txn = Txn(self.wall_ms, SessionId(0), Zxid(0), 0, 0, 0, write)
        self._outbox.add(txn_codec.encode_body(txn), txn, client)

    def _session_attached(self, request: OpenSession | AttachSession, applied: Applied) -> None:
        body = applied.body
        if isinstance(body, ConnectReply):
            holder = self._attached.get(request.session_id)
            if holder is not None:
                self._moved(holder)
        if request.server_id != self._server_id:
            return
        client = self._attaching.pop(request.nonce, None)
        if client is None:
            return  # the connection is gone, or this is the log of an earlier life
        assert client.oldest is not None
        xid = client.oldest.call.xid
        client.drop_oldest()
        if isinstance(body, APIError):
            self._refuse(client, xid, body)
            return
        client.session_id = request.session_id
        client.session = self.tree.sessions[request.session_id]
        client.generation = applied.zxid
        self._attached[client.session_id] = client
        self._say(client, Reply(xid, applied.zxid, body))
        early, client.early = client.early, []
        for call in early:
            if not client.closed:
                self._take[type(call.request)](client, call, call.request)

    def _moved(self, client: Client) -> None:
        """A newer connection holds the session: none of the writes still under way from this one will be carried
        out."""
        self._answer_rest(client, SessionMovedError())
        self._close(client, "the session was taken over by a newer connection")

    def _session_over(self, session_id: SessionId) -> None:
        client = self._attached.get(session_id)
        if client is not None:
            self._answer_rest(client, SessionExpiredError())
            self._close(client, "the session is over")

    def _answer_rest(self, client: Client, error: APIError) -> None:
        """Refuse what is left in the queue, but for what has its answer: a write that was done is not refused."""
        for pending in client.pending:
            self._say(client, Reply(pending.call.xid, pending.zxid or self.applied, pending.body or error))

    def lost_leader(self) -> None:
        """What was sent to the leader may or may not be carried out: only those clients go that have something there.

        They attach again and resend; the answers kept in the session tell them what became of it.
        """
        for client in list(self._by_connection.values()):
            if client.in_flight or (client.nonce in self._attaching and client.unsent == 0):
                self._close(client, "the leader was lost while writes were under way: attach again and resend")

    def lost_write(self, txn: Txn) -> None:
        """The engine gave this write back without an outcome."""
        request = txn.request
        if isinstance(request, OpenSession | AttachSession):
            client = self._attaching.get(request.nonce)
        else:
            client = self._attached.get(txn.session_id)
            if client is not None and client.generation != txn.generation:
                return
        if client is not None:
            self._close(client, "a write's outcome is unknown: attach again and resend")

    def replace_tree(self, tree: Tree, zxid: Zxid) -> None:
        """A snapshot of the leader's takes the place of the tree: what was watched in between is not known."""
        self.close_all("this server was caught up by a snapshot: attach again")
        self.tree = tree
        self.applied = zxid
        self.history = ChangeHistory(self._config.limits.history_changes_max, zxid)

    def leave_after_leaderless(self, leaderless_ms: int) -> None:
        """Without a leader for too long, clients are better off with another server; or read-only, if they asked for it
        and this server may. It may not before it ever had a leader: how much of its log is valid, only a leader tells.
        """
        if leaderless_ms > self._config.leaderless_ms_max:
            self.read_only = self._config.read_only_mode and self._had_leader
            for client in list(self._attached.values()):
                self._close(client, "this server has no leader: try another one")
        for client in list(self._read_only.values()):
            assert client.session is not None
            if self.now_ms - client.heard_ms > client.session.timeout_ms:
                self._close(client, "nothing was heard of a read-only client for its timeout")
        for client in list(self._attaching.values()):
            assert client.oldest is not None
            call = client.oldest.call
            request = call.request
            assert isinstance(request, Connect)
            if self.read_only and request.read_only:
                del self._attaching[client.nonce]
                client.nonce = 0
                client.drop_oldest()
                self._attach_read_only(client, call.xid, request)
            elif self.now_ms - client.attaching_since_ms > self._config.leaderless_ms_max:
                error = ThrottledError(hint="this server has no leader at the moment: try another one, or later")
                self._refuse(client, call.xid, error)

    def found_leader(self) -> None:
        """Clients that were read-only come back, and are served in full."""
        self._had_leader = True
        self.read_only = False
        for client in list(self._read_only.values()):
            self._close(client, "this server has a leader again: connect as before")

    # ---- writes that are applied

    def about_to_apply(self, txn: Txn) -> None:
        """Answer what a session asked before its write that comes next, for those answers must not show the write.

        Reads still wait there for a leader's confirmation, or for a zxid. This write gives both: it was proposed after
        they had come in, and it is committed; so the state just before it holds all that was committed before they
        were called, and the leader that proposed it had heard of the session.
        """
        client = self._attached.get(txn.session_id)
        if client is not None and client.generation == txn.generation and client.connection in self.blocked:
            for pending in client.pending:
                if pending.n:
                    break
                pending.at_least = ANY_ZXID
            self._advance(client)

    def was_applied(self, txn: Txn, applied: Applied) -> None:
        """Tell everybody here whom this transaction concerns: watchers first, then the caller whose write it was."""
        if applied.changes:
            self.history.append(applied.changes)
            if self.watches.count:
                for change in applied.changes:
                    self._notify(change)
        request = txn.request
        if txn.session_id:
            client = self._attached.get(txn.session_id)
            if client is not None and client.generation == txn.generation:
                self._answer_write(client, txn, applied)
        elif isinstance(request, OpenSession | AttachSession):
            self._session_attached(request, applied)
        for session_id in applied.closed:
            self._session_over(session_id)

    def _notify(self, change: Change) -> None:
        for connection, event in self.watches.fire(change, self._may_read):
            self._say(self._by_connection[connection], event)

    def _may_read(self, connection: ConnectionId, acl: tuple[Acl, ...]) -> bool:
        session = self._by_connection[connection].session
        return session is not None and permitted(acl, _READ, session.identities)

    def _answer_write(self, client: Client, txn: Txn, applied: Applied) -> None:
        if type(applied.body) is _SESSION_MOVED:
            self._close(client, "an earlier write of this connection was lost: attach again and resend")
            return
        pending = client.take_write()
        self.unapplied_bytes -= pending.size
        assert pending.n == txn.n, "a write was applied out of its turn"
        body = pending.done if applied.body is DONE else applied.body
        if client.oldest is not pending or applied.closed:  # if it ends the session, the queue is answered with that
            pending.body, pending.zxid = body, applied.zxid
            return
        following = client.drop_oldest()
        self._answer(client, pending.call.xid, body, applied.zxid)
        if following is not None and (not following.n or following.body is not None):
            self._advance(client)

    # ---- answers, in order

    def advance(self, clients: Iterable[Client]) -> None:
        """Something that these clients' oldest calls waited for may have happened."""
        for client in clients:
            if not client.closed:
                self._advance(client)

    def advanced_to(self, zxid: Zxid) -> None:
        """Everything up to `zxid`, epochs' markers included, is applied: reads may have waited for it."""
        if self._advanced_to != zxid:
            self._advanced_to = self.applied = zxid
            if self.blocked:
                self.advance(list(self.blocked.values()))

    def _advance(self, client: Client) -> None:
        """Answer the oldest calls as far as they can be answered."""
        self.blocked.pop(client.connection, None)
        while (pending := client.oldest) is not None and not client.closed:
            body = pending.body
            if body is None:
                if pending.n:
                    return  # a write that is still under way
                if pending.at_least is None or pending.at_least > self.applied:
                    self.blocked[client.connection] = client
                    return
                body = self._execute(client, pending.call.request)
            client.drop_oldest()
            self._answer(client, pending.call.xid, body, pending.zxid or self.applied)
            if type(body) is AuthFailedError:
                self._close(client, str(body))

    def _answer(self, client: Client, xid: int, body: Body | APIError, zxid: Zxid) -> None:
        self._say(client, Reply(xid, zxid, body))
        if client.later:
            client.items += client.later
            client.later.clear()

    # ---- what is answered without the log

    def _read(self, client: Client, request: TreeRead) -> Body | APIError:
        """Read the tree, and leave the watch that goes with it."""
        outcome: Body | APIError
        try:
            assert client.session is not None
            outcome = self.tree.read(request, client.session.id, client.session.identities)
        except APIError as error:
            outcome = error.without_traceback()
        if isinstance(request, _WATCHING_READS) and request.watch:
            try:
                self.watches.add_for_read(client.connection, request, outcome)
            except APIError as error:
                return error.without_traceback()
        return outcome

    def _execute(self, client: Client, request: ClientRequest) -> Body | APIError:
        """Carry out what is about the connection, or a read whose turn has come."""
        connection = client.connection
        try:
            match request:
                case Ping() | Sync():
                    return DONE
                case GetStatus():
                    return self._status()
                case AddWatch():
                    self._add_watch(client, request)
                    return DONE
                case RemoveWatches():
                    self.watches.remove(connection, request.path, request.type)
                    return DONE
                case CheckWatches():
                    self.watches.check(connection, request.path, request.type)
                    return DONE
                case SetWatches():
                    znodes = self.tree.znodes_since(request.since)
                    client.later += self.watches.set_again(connection, request, znodes, self.applied, self._may_read)
                    return DONE
                case Malformed():
                    if request.final:
                        self._close(client, str(request.error))
                    return request.error
                case Connect():
                    return BadArgumentsError(hint="this connection has a session already")
                case _ if isinstance(request, TreeRead):
                    return self._read(client, request)
                case _:
                    raise AssertionError(f"{request!r} is a write")
        except APIError as error:
            return error.without_traceback()

    def _add_watch(self, client: Client, request: AddWatch) -> None:
        """Set the watch; behind the answer follow the changes since request.since, or RESYNC where they are not
        known."""
        self.watches.add_watch(client.connection, request.path, request.mode)
        if request.since is None:
            return
        events = self.history.since(
            request.since, request.path, request.mode, lambda acl: self._may_read(client.connection, acl)
        )
        if events is None:
            events = [WatchEvent(EventType.RESYNC, request.path, self.applied)]
        client.later += events
