"""Planted bugs of a server and its clients: the order of answers, reads, sessions and their clocks, signs of life."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from zk.broadcast import engine
from zk.broadcast.records import Entry
from zk.model.acl import Acl, Identity
from zk.model.errors import APIError, ThrottledError
from zk.model.peering import Heard
from zk.model.record import ConnectionId, ServerId, SessionId, Zxid
from zk.model.replies import Body
from zk.model.requests import (
    AttachSession,
    Call,
    Connect,
    NameMembers,
    OpenSession,
    Ping,
    Sync,
    TreeRead,
    Txn,
    Write,
)
from zk.model.session import Session
from zk.model.znode import Znode
from zk.replica import clients
from zk.replica.client import ANY_ZXID, Client, Pending
from zk.replica.clients import Clients
from zk.replica.clocks import SessionClocks
from zk.replica.events import SendPeer
from zk.replica.readonly import check_served, session_for
from zk.replica.reads import LinearizableReads
from zk.replica.replica import Replica
from zk.sim import Plant
from zk.sim.plant import patched
from zk.tree import writes
from zk.tree.reaping import is_reapable
from zk.tree.tree import Applied, Tree

answer = Clients._answer
attach = Clients._attach
clocks_init = SessionClocks.__init__
confirmed = LinearizableReads.confirmed
deliver = Replica._deliver
propose = Clients.propose
queue_read = Clients._queue_read
received = Clients.received
replace_tree = Clients.replace_tree
take_confirmed = Clients._take_confirmed
take_read = Clients._take_read


# ---- read-only mode


def takes_its_own_state_for_the_newest(call: Call, applied: Zxid) -> None:
    """A server without a quorum answers linearizable reads."""
    check_served(replace(call, linearizable=False), applied)


def forgets_what_was_seen(
    request: Connect,
    known: Session | None,
    connection: Sequence[Identity],
    new: tuple[SessionId, bytes],
    timeout_ms: int,
    applied: Zxid,
) -> tuple[SessionId, Session]:
    """Whatever the client has seen elsewhere, this server has something to show."""
    return session_for(replace(request, last_zxid=Zxid(0)), known, connection, new, timeout_ms, applied)


# ---- the order of answers


def answers_before_it_tells(self: Clients, txn: Txn, applied: Applied) -> None:
    """The caller first, and then the watchers, of whom it may be one."""
    request = txn.request
    client = self._attached.get(txn.session_id)
    if txn.session_id and client is not None and client.generation == txn.generation:
        self._answer_write(client, txn, applied)
    self.history.append(applied.changes)
    for change in applied.changes:
        self._notify(change)
    if isinstance(request, OpenSession | AttachSession):
        self._session_attached(request, applied)
    for session_id in applied.closed:
        self._session_over(session_id)


def reads_at_once(self: Clients, client: Client, call: Call, request: TreeRead) -> None:
    """What the session has asked before is not waited for."""
    if call.linearizable or call.at_least > self.applied:
        self._queue_read(client, call)
    else:
        self._answer(client, call.xid, self._read(client, request), self.applied)


def forgets_answers_at_once(self: Clients, connection: ConnectionId, calls: Sequence[Call]) -> None:
    received(self, connection, [replace(call, floor=call.xid) for call in calls])


def refuses_done_or_not(self: Clients, client: Client, call: Call) -> None:
    self._queue_answer(client, call, ThrottledError())


# ---- reads


def needs_no_confirmation(self: LinearizableReads, client: Client, pending: Pending) -> None:
    pending.at_least = pending.call.at_least


def does_not_wait_for_it(self: LinearizableReads, token: int, zxid: Zxid) -> list[Client]:
    return confirmed(self, token, ANY_ZXID)


def asks_for_any_state(self: Clients, client: Client, call: Call, linearizable: bool = False) -> None:
    queue_read(self, client, replace(call, at_least=ANY_ZXID), linearizable)


def reads_any_state(self: Clients, client: Client, call: Call, request: TreeRead) -> None:
    take_read(self, client, replace(call, at_least=ANY_ZXID), request)


def names_the_state_before(self: Clients, client: Client, xid: int, body: Body | APIError, zxid: Zxid) -> None:
    answer(self, client, xid, body, Zxid(zxid - 1) if isinstance(body, Znode) else zxid)


# ---- sessions


def opens_another(self: Clients, client: Client, call: Call, request: Connect) -> None:
    attach(self, client, call, replace(request, session_id=SessionId(0)))


def keeps_who_has_moved(self: Clients, client: Client) -> None:
    """The older connection is served on."""


def expires_at_once(self: SessionClocks, now_ms: int, sessions: Iterable[Session]) -> None:
    """A new leader has heard of nobody yet, and counts from the beginning of time."""
    clocks_init(self, 0, sessions)


def counts_its_own_pause(self: SessionClocks, pause_ms: int) -> None:
    """Who could not be heard was silent."""


def answers_pings_itself(self: Clients, client: Client, call: Call, request: Sync | Ping) -> None:
    if isinstance(request, Ping):
        self._queue_read(client, call)
    else:
        take_confirmed(self, client, call, request)


def tells_of_nobody(self: Replica, leader: ServerId, connection: ConnectionId) -> None:
    """A follower keeps to itself which of its clients it has heard of."""
    self.clients.take_heard()
    self._next_heard_ms = self._now_ms + self._config.heard_interval_ms
    self._effects.append(SendPeer(leader, connection, Heard((), *self._digests.latest)))


# ---- watches


def lets_all_read(self: Clients, connection: ConnectionId, acl: tuple[Acl, ...]) -> bool:
    return True


def keeps_watching(self: Clients, tree: Tree, zxid: Zxid) -> None:
    """Who is attached stays so, whatever was skipped."""
    clients, self._by_connection = self._by_connection, {}
    replace_tree(self, tree, zxid)
    self._by_connection = clients
    for client in clients.values():
        client.session = tree.sessions.get(client.session_id)


# ---- /zookeeper/config


def names_them_once_for_all(self: Clients, write: Write, client: Client | None = None) -> None:
    """What stands there stands there."""
    if not (isinstance(write, NameMembers) and self.tree.members):
        propose(self, write, client)


# ---- time


def reaps_by_its_own_clock(self: Replica, entries: list[Entry], tokens: list[engine.Token]) -> None:
    own_ms = self.clients.wall_ms

    def is_over(znode: Znode, now_ms: int) -> bool:
        return is_reapable(znode, own_ms)

    with patched((writes, "is_reapable", is_over)):
        deliver(self, entries, tokens)


def plant(name: str, what: str, invariants: str, seeds: int, *changes: tuple[object, str, object]) -> Plant:
    """`invariants` are separated by commas."""

    def planted() -> AbstractContextManager[object]:
        return patched(*changes)

    return Plant(name, what, planted, frozenset(invariants.split(", ")), seeds)


PLANTS = (
    plant(
        "linearizable-without-a-quorum",
        "a read-only server answers linearizable reads by what it has",
        "read-only, linearizable reads",
        30,
        (clients, "check_served", takes_its_own_state_for_the_newest),
    ),
    plant(
        "read-only-behind-its-client",
        "a read-only server shows a client older state than it has seen",
        "monotonic reads",
        0,  # who has seen more was with the majority, and seldom leaves it
        (clients, "session_for", forgets_what_was_seen),
    ),
    plant(
        "watch-after-the-reply",
        "a client is answered before it is told of the change that its own write made",
        "watches",
        30,
        (Clients, "was_applied", answers_before_it_tells),
    ),
    plant(
        "read-overtakes-own-write",
        "a read does not wait for what its session has asked before it",
        "fifo",
        30,
        (Clients, "_take_read", reads_at_once),
    ),
    plant(
        "answers-forgotten-at-once",
        "the answers kept for a resend are dropped before they have arrived",
        "exactly once, effects, all or nothing, sequence numbers",
        30,
        (Clients, "received", forgets_answers_at_once),
    ),
    plant(
        "refused-though-done",
        "a server short of space says that a write was not done, when it had been done before and is sent again",
        "acknowledged writes",
        30,
        (Clients, "_refuse_unless_done", refuses_done_or_not),
    ),
    plant(
        "read-by-deposed-leader",
        "a linearizable read is answered without the leader's word",
        "linearizable reads",
        30,
        (LinearizableReads, "add", needs_no_confirmation),
    ),
    plant(
        "read-index-not-awaited",
        "a linearizable read is answered before the server has applied what the leader named",
        "linearizable reads",
        30,
        (LinearizableReads, "confirmed", does_not_wait_for_it),
    ),
    plant(
        "at-least-ignored",
        "a read is answered from a state before the one that it asked for",
        "causal reads",
        30,
        (Clients, "_take_read", reads_any_state),
        (Clients, "_queue_read", asks_for_any_state),
    ),
    plant(
        "read-names-an-older-state",
        "a read is said to be of the state before the one that it shows",
        "monotonic reads, reads, watches, causal reads, linearizable reads",
        30,
        (Clients, "_answer", names_the_state_before),
    ),
    plant(
        "another-session",
        "a client that comes back is given another session than its own",
        "sessions",
        30,
        (Clients, "_attach", opens_another),
    ),
    plant(
        "moved-session-still-served",
        "a connection that its session has left is served on",
        "stale sessions",
        30,
        (Clients, "_moved", keeps_who_has_moved),
    ),
    plant(
        "expired-by-a-new-leader",
        "a new leader takes sessions that it has not heard of yet for silent",
        "expiry",
        30,
        (SessionClocks, "__init__", expires_at_once),
    ),
    plant(
        "expired-by-a-pause",
        "a leader that was paused takes its own silence for that of the sessions",
        "expiry",
        0,  # a simulated client that was silent for so long has given up, too
        (SessionClocks, "extend", counts_its_own_pause),
    ),
    plant(
        "ping-answered-locally",
        "a ping is answered by a server whose leader has not heard of it",
        "expiry, locks lost in time",
        0,  # a simulated client without answers soon tries another server
        (Clients, "_take_confirmed", answers_pings_itself),
    ),
    plant(
        "signs-of-life-not-passed-on",
        "a follower does not tell the leader which sessions it has heard of",
        "expiry, locks lost in time",
        30,
        (Replica, "_tell_heard", tells_of_nobody),
    ),
    plant(
        "watch-tells-secrets",
        "a watch tells of nodes that its session may not read",
        "watches",
        30,
        (Clients, "_may_read", lets_all_read),
    ),
    plant(
        "watch-across-a-snapshot",
        "clients stay where a snapshot was installed, and are not told of what it skipped",
        "watches",
        0,
        (Clients, "replace_tree", keeps_watching),
    ),
    plant(
        "members-of-yesterday",
        "a leader leaves in /zookeeper/config what another one's configuration said",
        "members",
        30,
        (Clients, "propose", names_them_once_for_all),
    ),
    plant(
        "ttl-by-local-clock",
        "each server decides by its own clock whether a TTL is over",
        "equal digests, equal states, reads, watches, acknowledged writes, halt",
        30,
        (Replica, "_deliver", reaps_by_its_own_clock),
    ),
    plant(
        "stamps-run-backwards",
        "a new leader stamps by its own clock, which may be behind the one before",
        "effects",
        30,
        (Tree, "time_ms", property(lambda self: 0)),
    ),
)
