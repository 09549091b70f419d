"""Replica: one whole server without I/O. It joins the broadcast, the tree and the clients, and holds the leader's
extra duties.

`step(now_ms, event)` takes in one event and says what to do; the effects are to be performed in their order. Read next:
clients.py (what a client sees), clocks.py, reads.py, outbox.py, snapshots.py, digests.py (one concern each).
"""

import logging
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import assert_never

from zk.broadcast import engine
from zk.broadcast.engine import Role
from zk.broadcast.records import Entry, Recovered
from zk.broadcast.zab import Zab
from zk.model.chance import Chance
from zk.model.peering import Drifted, Forward, Heard, ReadIndexAnswer, ReadIndexAsk
from zk.model.record import ConnectionId, Epoch, ServerId, SessionId, Zxid, record
from zk.model.replies import StatusReply
from zk.model.requests import AttachSession, ExpireSession, NameMembers, OpenSession, Reap, Txn
from zk.model.zxids import counter_of, epoch_of
from zk.replica.clients import Clients
from zk.replica.clocks import SessionClocks
from zk.replica.config import ReplicaConfig
from zk.replica.digests import Digests
from zk.replica.events import (
    ClientConnected,
    ClientDisconnected,
    ClientReceived,
    DiskSpace,
    Effect,
    Event,
    Flush,
    Log,
    PeerReceived,
    SendPeer,
    Tick,
    WriteSnapshot,
)
from zk.replica.outbox import Outbox
from zk.replica.reads import LinearizableReads
from zk.replica.snapshots import Slice, SnapshotJobs
from zk.tree.tree import Tree
from zk.wire import snapshot
from zk.wire import txn as txn_codec

_LEADING = Role.LEADING  # found once: Python 3.11 takes longer to find it than to call a method
_LEAD_SYNC = Role.LEAD_SYNC

WRITES_HELD_MAX = 64  # as many writes are proposed at once, even if the batch before them is not committed yet
QUOTA_WARNING_INTERVAL_MS = 60_000  # how often one subtree's soft quota is spoken of
FORWARD_BYTES_MAX = 1024 * 1024  # one Forward carries no more than this, or a single write
PROPOSE_BYTES_MAX = 2 * 1024 * 1024
"""No more is proposed at once, or a single write. It all leaves before a follower can acknowledge any of it, and one
that is `in_flight_bytes_max` behind is dropped: together with the window's bytes it must stay below that."""
UNAPPLIED_BYTES_MAX = 4 * 1024 * 1024
"""Of writes of this server's own clients. They come back to it on its connection with the leader, which they must not
fill up: heartbeats wait behind them, and a follower that is `in_flight_bytes_max` behind is dropped."""


@record
class PeerRead:
    """The engine's token for a read-index that another server asked for."""

    peer: ServerId
    connection: ConnectionId
    token: int


class ProposalSizes:
    """Bytes of the transactions that were applied, for the operator; -1: there was none."""

    __slots__ = ("largest", "last", "smallest")

    def __init__(self) -> None:
        self.last = self.smallest = self.largest = -1

    def note(self, size: int) -> None:
        """This is the next one's."""
        self.last = size
        if size > self.largest:
            self.largest = size
        if size < self.smallest or self.smallest < 0:
            self.smallest = size


def _in_frames(bodies: list[bytes]) -> Iterator[tuple[bytes, ...]]:
    """The same bodies in the same order, cut into runs of at most FORWARD_BYTES_MAX."""
    run: list[bytes] = []
    run_bytes = 0
    for body in bodies:
        if run and run_bytes + len(body) > FORWARD_BYTES_MAX:
            yield tuple(run)
            run, run_bytes = [], 0
        run.append(body)
        run_bytes += len(body)
    if run:
        yield tuple(run)


class Replica:
    """`state` is the content of the snapshot that `recovered` names, None without one."""

    def __init__(
        self,
        config: ReplicaConfig,
        recovered: Recovered,
        state: Sequence[bytes] | None,
        chance: Chance,
        now_ms: int,
        wall_ms: int,
    ) -> None:
        self._config = config
        self._now_ms = now_ms
        self._wall_minus_now_ms = wall_ms - now_ms
        self._last_tick_ms = now_ms
        self._stamp_ms = 0  # what this leader stamped last into a transaction: stamps never run backwards
        self._effects: list[Effect] = []

        self.tree = Tree(None if state is None else snapshot.load(state))
        self.engine = Zab(config.zab, recovered, chance, now_ms)
        self._outbox = Outbox()
        self._reads = LinearizableReads()
        self.clients = Clients(config, self.tree, chance, self._outbox, self._reads, self.status)
        self._peers: dict[ServerId, ConnectionId] = {}
        self._step_with: tuple[ServerId, Epoch] | None = None  # the leader that this server is in step with
        self._leaderless_since_ms = now_ms

        self._clocks: SessionClocks | None = None  # while leading
        self._expiring_until = Zxid(0)  # where the last expiries stand in the log
        self._quota_warning_due_ms: dict[str, int] = {}
        self._next_heard_ms = now_ms
        self._next_reap_ms = now_ms
        self._digests = Digests(config.zab.server_id)
        self._differed_at = Zxid(0)  # where another server's tree was last found to be another
        self._drifted_at: Zxid | None = None  # where this leader's tree was found to be the wrong one

        self.proposal_sizes = ProposalSizes()
        self._snapshots = SnapshotJobs(config.snapshot_nodes_per_slice)
        self._txns_since_snapshot = 0
        self._bytes_since_snapshot = 0

    # ---- what is to be seen from outside

    @property
    def serving(self) -> bool:
        """Whether clients' requests are taken care of: there is a leader, and this server is in step with it."""
        return self._step_with is not None

    @property
    def backlogged(self) -> bool:
        """Whether more writes are under way than is good: the caller should leave clients unread for a while."""
        return (
            len(self._outbox) > self._config.limits.outstanding_requests_max
            or self.clients.unapplied_bytes > UNAPPLIED_BYTES_MAX
        )

    @property
    def gathering(self) -> bool:
        """Whether there are writes that wait for Flush: the more they are by then, the less each of them costs."""
        return len(self._outbox) > 0

    def status(self) -> StatusReply:
        return StatusReply(
            server_id=self._config.zab.server_id,
            role="read-only" if self.clients.read_only else self.engine.role.value,
            epoch=self.engine.epoch,
            zxid=self.clients.applied,
            leader=self.engine.leader,
            sessions=len(self.tree.sessions),
            znodes=len(self.tree.znodes),
            watches=self.clients.watches.count,
            connections=self.clients.connections,
            digest=self.tree.digest(),
            version=self._config.version,
        )

    @property
    def session_deadlines(self) -> dict[SessionId, int]:
        """When each session's time is over, in local monotonic milliseconds; only a leader knows."""
        return {} if self._clocks is None else self._clocks.deadlines()

    @property
    def digests(self) -> dict[Zxid, str]:
        """The tree's last digests, by the zxids at which the servers compare them."""
        return self._digests.kept

    # ---- events

    def step(self, now_ms: int, event: Event) -> list[Effect]:
        """Take in one event at the local monotonic time `now_ms`; the effects are to be performed in their order.

        (No match, here and below: compiled, its every case is a call.)
        """
        self._now_ms = now_ms
        self.clients.now_ms = now_ms
        self.clients.wall_ms = now_ms + self._wall_minus_now_ms
        if isinstance(event, ClientReceived):
            self.clients.received(event.connection, event.calls)
        elif isinstance(event, Flush):
            self._flush()
        elif isinstance(event, PeerReceived):
            self._peer_received(event)
        elif isinstance(event, engine.Durable):
            self._drive(event)
        elif isinstance(event, ClientConnected):
            self.clients.connected(event.connection, event.identities)
        elif isinstance(event, ClientDisconnected):
            self.clients.disconnected(event.connection)
        elif isinstance(event, Tick):
            self._tick(event)
        elif isinstance(event, engine.PeerConnected):
            self._peers[event.peer] = event.connection
            self._drive(event)
        elif isinstance(event, engine.PeerDisconnected):
            if self._peers.get(event.peer) == event.connection:
                del self._peers[event.peer]
            self._drive(event)
        elif isinstance(event, (engine.SnapshotStored, engine.Resign)):
            self._drive(event)
        elif isinstance(event, DiskSpace):
            self._disk_space(event)
        else:
            assert_never(event)
        effects = self._effects
        self.clients.collect(effects)
        self._effects = []
        return effects

    def _peer_received(self, event: PeerReceived) -> None:
        message = event.message
        if isinstance(message, Forward):
            if self._leads:
                for body in message.bodies:
                    self._outbox.add(body, None, None)
        elif isinstance(message, Heard):
            self._heard_from(event.peer, event.connection, message)
        elif isinstance(message, ReadIndexAsk):
            if self._leads:
                self._drive(engine.ReadIndex(PeerRead(event.peer, event.connection, message.token)))
            else:
                self._effects.append(SendPeer(event.peer, event.connection, ReadIndexAnswer(message.token, None)))
        elif isinstance(message, ReadIndexAnswer):
            if message.zxid is None:
                self._reads.refused(message.token)
            else:
                self.clients.advance(self._reads.confirmed(message.token, message.zxid))
        elif isinstance(message, Drifted):
            if self._digests.own(message.zxid) not in ("", message.digest):
                self._halt(message.zxid)
        else:
            self._drive(engine.PeerReceived(event.peer, event.connection, message))

    # ---- the broadcast

    @property
    def _leads(self) -> bool:
        role = self.engine.role
        return role is _LEADING or role is _LEAD_SYNC

    def _drive(self, event: engine.Event) -> None:
        """Let the engine take in an event, and do what it says."""
        for effect in self.engine.step(self._now_ms, event):
            if isinstance(effect, engine.Deliver):
                self._deliver(effect.entries, effect.tokens)
            elif isinstance(effect, (engine.Send, engine.Append, engine.StoreSnapshot, engine.Disconnect, engine.Halt)):
                self._effects.append(effect)
            elif isinstance(effect, engine.RoleChanged):
                self._role_changed(effect)
            elif isinstance(effect, engine.ReadReady):
                self._read_ready(effect.token, effect.zxid)
            elif isinstance(effect, engine.Rejected):
                self._rejected(effect.tokens)
            elif isinstance(effect, engine.TakeSnapshot):
                self._snapshots.start_for_peer(
                    effect.peer, effect.stream, self.clients.applied, self.tree.digest(), self.tree.image()
                )
            elif isinstance(effect, engine.Install):
                self._install(effect)
            else:
                assert_never(effect)
        self.clients.advanced_to(self.engine.delivered)

    def _deliver(self, entries: list[Entry], tokens: list[engine.Token]) -> None:
        clients = self.clients
        tree = self.tree
        digest_every_txns = self._config.digest_every_txns
        if clients.read_only:
            clients.found_leader()  # before they are told anything of what comes now
        sizes, payload_bytes = self.proposal_sizes, 0
        for index, entry in enumerate(entries):
            zxid, payload = entry.zxid, entry.payload
            token = tokens[index] if tokens else None
            txn = token if isinstance(token, Txn) else txn_codec.decode(payload)
            if clients.blocked:
                clients.about_to_apply(txn)
            applied = tree.apply(zxid, txn)
            clients.applied = zxid
            clients.was_applied(txn, applied)
            if self._clocks is not None and (applied.closed or not txn.session_id):
                self._keep_clocks(txn, applied.closed)
            if applied.over_quota and self._clocks is not None:
                self._warn_of_quotas(applied.over_quota)
            if counter_of(zxid) % digest_every_txns == 0:
                self._digests.mine(zxid, self.tree.digest())
            sizes.note(len(payload))
            payload_bytes += len(payload)
        self._bytes_since_snapshot += payload_bytes
        self._txns_since_snapshot += len(entries)
        if self._snapshot_is_due and not self._snapshots.own_under_way:
            self._txns_since_snapshot = self._bytes_since_snapshot = 0
            self._snapshots.start_own(clients.applied, self.tree.digest(), self.tree.image())

    def _warn_of_quotas(self, roots: Iterable[str]) -> None:
        """A soft quota refuses nothing: the leader's operator hears of it, now and then."""
        for root in roots:
            if self._now_ms >= self._quota_warning_due_ms.get(root, self._now_ms):
                self._quota_warning_due_ms[root] = self._now_ms + QUOTA_WARNING_INTERVAL_MS
                self._effects.append(
                    Log(
                        logging.WARNING,
                        f"{root} is above its soft quota: see zookeeper_stats and "
                        f"zookeeper_limits in /zookeeper/quota{root}",
                    )
                )

    @property
    def _snapshot_is_due(self) -> bool:
        config, txns = self._config, self._txns_since_snapshot
        if txns >= config.snapshot_every_txns and txns >= len(self.tree.znodes):
            return True
        return self._bytes_since_snapshot >= config.snapshot_every_bytes

    def _keep_clocks(self, txn: Txn, closed: Iterable[SessionId]) -> None:
        assert self._clocks is not None
        if isinstance(txn.request, OpenSession | AttachSession):
            session = self.tree.sessions.get(txn.request.session_id)
            if session is not None:
                self._clocks.start(session, self._now_ms)
        for session_id in closed:
            self._clocks.stop(session_id)

    def _role_changed(self, effect: engine.RoleChanged) -> None:
        self._effects.append(effect)
        role = effect.role
        in_step = role in (Role.LEADING, Role.FOLLOWING) or (role is Role.LEARNING and effect.leader != 0)
        step_with = (effect.leader, effect.epoch) if in_step else None
        if step_with != self._step_with:
            if self._step_with is not None:
                self._leaderless_since_ms = self._now_ms
                self.clients.lost_leader()
                self._reads.ask_all_again()
            self._step_with = step_with
            if step_with is not None:
                self.clients.found_leader()
        if not self._leads:
            self._outbox.keep_own_clients()
        if role is not Role.LEADING:
            self._clocks = None
        elif self._clocks is None:
            self._clocks = SessionClocks(self._now_ms, self.tree.sessions.values())
            self._stamp_ms = max(self._stamp_ms, self.tree.time_ms)  # the leader before may have had a clock ahead
            if self._config.members and self._config.members != self.tree.members:
                self.clients.propose(NameMembers(self._config.members))  # the first ever, or servers that moved

    def _read_ready(self, token: engine.Token, zxid: Zxid) -> None:
        zxid = max(zxid, self._expiring_until)  # a ping of a session that is being expired is not answered before that
        if isinstance(token, PeerRead):
            self._effects.append(SendPeer(token.peer, token.connection, ReadIndexAnswer(token.token, zxid)))
        elif isinstance(token, int):
            self.clients.advance(self._reads.confirmed(token, zxid))

    def _rejected(self, tokens: Iterable[engine.Token]) -> None:
        for token in tokens:
            if isinstance(token, PeerRead):
                self._effects.append(SendPeer(token.peer, token.connection, ReadIndexAnswer(token.token, None)))
            elif isinstance(token, int):
                self._reads.refused(token)
            elif isinstance(token, Txn):
                self.clients.lost_write(token)

    def _install(self, effect: engine.Install) -> None:
        """The leader's state replaces this server's. What happened in between is not known, so no watch can be kept."""
        self.tree = Tree(snapshot.load(effect.chunks))
        self.clients.replace_tree(self.tree, effect.ref.zxid)
        self._snapshots.drop()
        self._digests = Digests(self._config.zab.server_id)
        self._txns_since_snapshot = self._bytes_since_snapshot = 0

    # ---- the end of a round

    def _flush(self) -> None:
        if self._step_with is None:
            return  # what has gathered waits for a leader
        if self._clocks is not None:  # it leads
            while len(self._outbox) and self._may_propose:
                self._propose(PROPOSE_BYTES_MAX)
            token = self._reads.ask()
            if token is not None:
                self._hear_askers(token)
                self._hear_own_clients()
                self._drive(engine.ReadIndex(token))
            return
        leader = self._step_with[0]
        connection = self._peers.get(leader)
        if connection is None:
            return  # the engine is about to notice
        token = self._reads.ask()
        if token is not None:
            self._hear_askers(token)  # whoever was told before may lead no more
            self._tell_heard(leader, connection)  # first: an answered ping means that the leader has heard of it
            self._effects.append(SendPeer(leader, connection, ReadIndexAsk(token)))
        if len(self._outbox):  # last: a write that is applied answers the pings in front of it
            bodies, _ = self._outbox.take()
            for frame in _in_frames(bodies):
                self._effects.append(SendPeer(leader, connection, Forward(frame)))

    @property
    def _may_propose(self) -> bool:
        """A batch costs the same however small it is: while one is under way, a few writes wait for its end."""
        zab = self.engine
        return zab.window_open and (zab.commit >= zab.last or len(self._outbox) >= WRITES_HELD_MAX)

    def _propose(self, bytes_max: int = sys.maxsize) -> None:
        """Give the gathered writes their time, and to the engine. Own clients' transactions ride along as tokens."""
        if self._stamp_ms < self.clients.wall_ms:
            self._stamp_ms = self.clients.wall_ms
        time_ms = self._stamp_ms
        stamp = txn_codec.stamp(time_ms, b"")
        bodies, txns = self._outbox.take(bytes_max)
        for txn in txns:
            if txn is not None:
                txn.time_ms = time_ms
        if bodies:
            self._drive(engine.Propose([stamp + body for body in bodies], txns))

    # ---- time

    def _tick(self, event: Tick) -> None:
        now_ms = self._now_ms
        pause_ms = now_ms - self._last_tick_ms
        self._last_tick_ms = now_ms
        self._wall_minus_now_ms = event.wall_ms - now_ms
        self.clients.wall_ms = event.wall_ms
        if pause_ms > self._config.pause_ms_max:
            self._effects.append(
                Log(
                    logging.WARNING,
                    f"this server did not run for {pause_ms} ms: it was stopped or swapped out, or the machine is too "
                    "busy. Meanwhile another may have taken the lead, and its clients may have left it",
                )
            )
            if self._clocks is not None:
                self._clocks.extend(pause_ms)
        self._drive(engine.Tick())
        if self._drifted_at is not None and not self._leads:
            self._halt(self._drifted_at)
        if self._clocks is not None:
            self._look_after_sessions(self._clocks)
            self._reap()
            if self.tree.to_exceed > self.engine.last:
                self._drive(engine.RaiseEpoch(epoch_of(self.tree.to_exceed)))
        elif self._step_with is not None:
            connection = self._peers.get(self._step_with[0])
            if connection is not None and now_ms >= self._next_heard_ms:
                self._tell_heard(self._step_with[0], connection)
        else:
            self._leave_or_read_only(now_ms - self._leaderless_since_ms)
        for ready in self._snapshots.step():
            if isinstance(ready, Slice):
                self._effects.append(WriteSnapshot(ready.ref, ready.chunk, ready.last))
            else:
                self._drive(engine.SnapshotTaken(ready.peer, ready.stream, ready.zxid, ready.digest, ready.chunks))
        self._flush()

    def _leave_or_read_only(self, leaderless_ms: int) -> None:
        before = self.clients.read_only
        self.clients.leave_after_leaderless(leaderless_ms)
        if self.clients.read_only and not before:
            zxid = self.clients.applied
            text = f"without a leader, the state of zxid 0x{zxid:x} is read to clients that ask for it (read_only_mode)"
            self._effects.append(Log(logging.INFO, text))

    def _look_after_sessions(self, clocks: SessionClocks) -> None:
        self._hear_own_clients()
        if not self.engine.window_open:
            return  # proposed at once or not at all: whoever is heard of until then has not expired
        due = clocks.due(self._now_ms)
        for session_id in due:
            session = self.tree.sessions.get(session_id)
            if session is not None:
                self.clients.propose(ExpireSession(session_id, session.generation))
        if due and len(self._outbox):
            self._propose()
            self._expiring_until = self.engine.last

    def _reap(self) -> None:
        if self._now_ms >= self._next_reap_ms:
            self._next_reap_ms = self._now_ms + self._config.reap_interval_ms
            for path in self.tree.reapable(self.clients.wall_ms):
                self.clients.propose(Reap(path))

    def _hear_askers(self, token: int) -> None:
        for client in self._reads.askers(token):
            self.clients.hear(client)

    def _hear_own_clients(self) -> None:
        assert self._clocks is not None
        for session_id in self.clients.take_heard():
            self._clocks.heard(session_id, self._now_ms)

    def _tell_heard(self, leader: ServerId, connection: ConnectionId) -> None:
        self._next_heard_ms = self._now_ms + self._config.heard_interval_ms
        zxid, digest = self._digests.latest
        self._effects.append(SendPeer(leader, connection, Heard(tuple(self.clients.take_heard()), zxid, digest)))

    def _heard_from(self, peer: ServerId, connection: ConnectionId, message: Heard) -> None:
        if self._clocks is None:
            return
        for session_id in message.sessions:
            self._clocks.heard(session_id, self._now_ms)
        if self._digests.theirs(peer, message.digest_zxid, message.digest):
            self._trees_differ(peer, connection, message.digest_zxid)

    # ---- trees that drifted apart

    def _trees_differ(self, peer: ServerId, connection: ConnectionId, zxid: Zxid) -> None:
        """Applying is deterministic: this is a defect, or memory that failed. Whoever stands against a quorum halts."""
        if zxid != self._differed_at:
            self._differed_at = zxid
            self._effects.append(
                Log(
                    logging.CRITICAL,
                    f"server {peer} and this one hold different trees at zxid 0x{zxid:x}. The one that differs from a "
                    "majority halts; if there is no majority, compare `zk status` of all servers, stop the one that "
                    "is wrong, move its data directory aside and start it again",
                )
            )
        membership = self.engine.membership
        assert membership is not None
        odd = self._digests.minority(zxid, membership.configs)
        if self._config.zab.server_id in odd:
            self._drifted_at = zxid
            self._drive(engine.Resign())
        elif peer in odd:
            self._effects.append(SendPeer(peer, connection, Drifted(zxid, self._digests.own(zxid))))

    def _halt(self, zxid: Zxid) -> None:
        self._effects.append(
            engine.Halt(
                f"the tree of this server differs from that of a majority at zxid 0x{zxid:x}: its data can't be "
                "trusted. Move the data directory aside (it shows what went wrong) and start the server again with "
                "an empty one: it will be taken in again"
            )
        )

    def _disk_space(self, event: DiskSpace) -> None:
        self.clients.disk_low = event.low
        if event.low and len(self._config.zab.voters) > 1:
            self._drive(engine.Resign())
