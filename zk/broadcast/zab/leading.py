"""The leader: its epoch's marker, proposals, the commit rule, heartbeats and stepping down.

Streams to followers are in streams.py, linearizable reads in confirmation.py, admission of new disks in admission.py.
"""

from collections import deque
from collections.abc import Mapping

from zk.broadcast.engine import Propose, RaiseEpoch, ReadIndex, Rejected, Role, SnapshotTaken, Token
from zk.broadcast.membership import Membership
from zk.broadcast.messages import Ack, AckEpoch, HandOver, Join, PingPeer, PongPeer, SyncAck
from zk.broadcast.quorum import committed_zxid, has_quorum
from zk.broadcast.records import Entry, EntryKind
from zk.broadcast.zab.admission import Admission
from zk.broadcast.zab.config import COUNTER_MAX, COUNTER_ROLLOVER
from zk.broadcast.zab.confirmation import Confirmation
from zk.broadcast.zab.election import SOON_MS
from zk.broadcast.zab.history import frames
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import Follower, Promised, RemoteProtocolError
from zk.broadcast.zab.stance import Campaign, Look, Move, Stance
from zk.broadcast.zab.streams import Streams
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import make_zxid

_LEADING = Role.LEADING  # found once: Python 3.11 takes longer to find it than to call a method
_TXN = EntryKind.TXN


class Leading(Stance):
    """LEAD_SYNC until the marker is committed, then LEADING."""

    def __init__(
        self, node: Node, epoch: Epoch, promised: Mapping[ServerId, Promised], newcomers: Mapping[ServerId, str]
    ) -> None:
        super().__init__(node)
        self.role = Role.LEAD_SYNC
        self.epoch = epoch
        self.leader = node.server_id
        self._promised = promised
        self._newcomers = newcomers
        self._marker = make_zxid(epoch, 0)
        self._next_counter = 0
        self._streams = Streams(node, epoch)
        self._confirmation = Confirmation(node)
        self._admission = Admission(node, self._streams)
        self._tokens: list[Token] = []  # of what was proposed and not delivered, in its order
        self._uncommitted: deque[tuple[Zxid, int]] = deque()  # each batch's last zxid and bytes
        self._uncommitted_bytes = 0
        self._next_ping_ms = node.now_ms
        self._resign_at_ms: int | None = None
        self._outbidden_by = Epoch(0)  # an epoch that the next one must be above: a voter has promised it (R11), or
        # the state above needs zxids of such an epoch

    # ---- begin and end

    def enter(self) -> Move | None:
        node = self.node
        node.role_changed(self.role, self.epoch, self.leader)
        entries = [Entry(self._marker, EntryKind.MARKER, b"")]
        if not node.cluster_id:
            entries.append(Entry(make_zxid(self.epoch, 1), EntryKind.CONFIG, self._founding().encode()))
        self._next_counter = max(len(entries), node.config.initial_counter)
        node.append(tuple(entries))
        for peer, promised in self._promised.items():
            self._streams.begin(peer, promised)
        return None

    def _founding(self) -> Membership:
        """The first membership: the disks of this server and of the fresh voters that wished for it or promised."""
        node = self.node
        disks = {**self._newcomers, node.server_id: node.disk_uuid}
        for peer in self._promised:
            disks[peer] = node.links[peer].disk_uuid
        return Membership.founding(node.config.cluster_name, node.config.voters, disks)

    def leave(self) -> None:
        """Drop everything in one step; what was proposed may yet be committed by a successor (R14)."""
        node = self.node
        if self._tokens:
            node.effects.append(Rejected(tuple(self._tokens), maybe_applied=True))
        reads = self._confirmation.abandon()
        if reads:
            node.effects.append(Rejected(reads, maybe_applied=False))

    def leader_heard(self) -> ServerId:
        return self.leader if self.role is Role.LEADING else ServerId(0)

    def obeys(self, candidate: ServerId, epoch: Epoch) -> bool:
        return self.role is Role.LEAD_SYNC and epoch > self.epoch

    # ---- proposals

    @property
    def window_open(self) -> bool:
        if self.role is not _LEADING or self._next_counter > COUNTER_MAX:
            return False
        if self._resign_at_ms is not None or self._outbidden_by:
            return False
        config = self.node.config
        return (
            len(self._tokens) < config.uncommitted_txns_max and self._uncommitted_bytes < config.uncommitted_bytes_max
        )

    def on_propose(self, event: Propose) -> Move | None:
        payloads, tokens, counter = event.payloads, event.tokens, self._next_counter
        assert payloads
        assert len(payloads) == len(tokens)
        if not self.window_open or counter + len(payloads) - 1 > COUNTER_MAX:
            return super().on_propose(event)
        entries = []
        for payload in payloads:
            entries.append(Entry(make_zxid(self.epoch, counter), _TXN, payload))
            counter += 1
        self._tokens += tokens
        self._replicate(tuple(entries))
        return None

    def _replicate(self, entries: tuple[Entry, ...]) -> None:
        """Append and send the next entries. They are committed when a quorum, perhaps this server, has them durable."""
        node, config = self.node, self.node.config
        prev = node.history.last
        size = node.append(entries)
        self._next_counter += len(entries)
        sized = [(entries, size)]
        if len(entries) > config.proposal_txns_max or size > config.proposal_bytes_max:
            cut = frames(entries, config.proposal_txns_max, config.proposal_bytes_max)
            sized = [(frame, sum([len(entry.payload) for entry in frame])) for frame in cut]
        for frame, size in sized:
            last = frame[-1].zxid
            self._uncommitted.append((last, size))
            self._uncommitted_bytes += size
            self._streams.replicate(prev, frame, size)
            prev = last

    def on_ack(self, peer: ServerId, message: Ack) -> Move | None:
        if not self._streams.ack(peer, message):
            return None
        if message.zxid > self.node.commit or self.role is not _LEADING:
            return self._advance()
        return self._when_settled()  # the others were quicker

    def on_durable(self) -> Move | None:
        return self._advance()

    def _advance(self) -> Move | None:
        """Commit what a quorum of every voter set has made durable, this server counting only its own disk's word, and
        only from the own marker on (R5); deliver."""
        node = self.node
        if node.commit < node.history.last:
            acked = self._streams.acked()
            acked[node.server_id] = node.durability.zxid
            zxid = committed_zxid(acked, node.configs)
            if zxid > node.commit and zxid >= self._marker:
                self._commit(zxid)
        node.deliver(self._tokens)
        if node.history_is_long:
            node.forget_history(self._streams.needed_from())
        if node.delivered < self._marker:
            return None
        if self.role is not _LEADING:  # the initial history is committed, and the state above has all of it
            self.role = Role.LEADING
            node.role_changed(self.role, self.epoch, self.leader)
        self._confirmation.release()
        return self._when_settled()

    def _commit(self, zxid: Zxid) -> None:
        """Everything up to `zxid` is committed: note it, and tell the followers."""
        self.node.commit = zxid
        batches = self._uncommitted
        while batches and batches[0][0] <= zxid:
            self._uncommitted_bytes -= batches.popleft()[1]
        if zxid == self.node.history.last:
            self._streams.tell_commit()  # nothing is under way that could carry it

    def _when_settled(self) -> Move | None:
        """What follows when something has been committed: admit a server, begin a new epoch, resign."""
        node = self.node
        if self._resign_at_ms is not None:
            return self._resign(everything=True)
        if self._outbidden_by or self._next_counter >= COUNTER_ROLLOVER:
            settled = node.delivered == node.history.last and node.durability.complete
            return Campaign(Epoch(max(node.accepted_epoch, self._outbidden_by) + 1), {}) if settled else None
        payload = self._admission.next_membership()
        if payload is not None:
            self._replicate((Entry(make_zxid(self.epoch, self._next_counter), EntryKind.CONFIG, payload),))
            self._streams.recount()
        return None

    # ---- linearizable reads

    def on_read_index(self, event: ReadIndex) -> Move | None:
        if self.role is not Role.LEADING:
            return super().on_read_index(event)
        self._confirmation.ask(event.token)
        self._confirm()
        return None

    def on_pong(self, peer: ServerId, message: PongPeer) -> Move | None:
        follower = self._streams.of(peer, message.epoch, message.stream)
        if follower is not None:
            if message.sent_ms > self.node.now_ms or message.seq > self._confirmation.round:
                raise RemoteProtocolError(f"ping {message.seq} is answered, but was not sent")
            follower.heard_ms = max(follower.heard_ms, message.sent_ms)
            follower.seq = max(follower.seq, message.seq)
            self._confirm()
        return None

    def _confirm(self) -> None:
        """Release the reads that a quorum's answers allow; start the round that others wait for."""
        followers = self._streams.followers
        rounds = {peer: follower.seq for peer, follower in followers.items() if follower.counted}
        self._confirmation.answered(rounds)
        if self._confirmation.wants_round:
            self._ping()
            self._confirmation.answered(rounds)  # alone, this server is a quorum at once

    def _ping(self) -> None:
        node, seq = self.node, self._confirmation.start_round()
        commit = self._streams.committed()

        def ping(follower: Follower) -> PingPeer:
            return PingPeer(self.epoch, follower.stream, seq, node.now_ms, commit)

        self._streams.send_to_all(ping)
        self._next_ping_ms = node.now_ms + node.config.heartbeat_ms

    # ---- time

    def on_tick(self) -> Move | None:
        node, timeout_ms = self.node, self.node.config.leader_timeout_ms
        if node.now_ms >= self._next_ping_ms:
            self._ping()
            self._confirm()
            self._streams.drop_silent()
        if self._resign_at_ms is not None and node.now_ms >= self._resign_at_ms:
            return self._resign(everything=False)
        alive = {
            peer
            for peer, follower in self._streams.followers.items()
            if follower.counted and node.now_ms - follower.heard_ms <= timeout_ms
        }
        alive.add(node.server_id)
        if not has_quorum(alive, node.configs):
            return Look(node.jitter(*SOON_MS), f"no majority answered its pings within {timeout_ms} ms")
        silent_since_ms = node.durability.silent_since_ms()
        if silent_since_ms is not None and node.now_ms - silent_since_ms > node.config.disk_timeout_ms:
            successor = self._furthest()
            if successor and self._streams.followers[successor].acked > node.durability.zxid:
                return self._hand_over(successor)  # the disk is stuck, and others are not
        return self._advance()

    # ---- followers

    def on_ack_epoch(self, peer: ServerId, message: AckEpoch) -> Move | None:
        if message.epoch == self.epoch:
            self._streams.ack_epoch(peer, message)
        return None

    def on_join(self, peer: ServerId, message: Join) -> Move | None:
        node = self.node
        node.check_epoch(message.accepted_epoch)
        if message.accepted_epoch <= self.epoch:
            self._streams.join(peer, message)
        elif self.role is Role.LEADING and node.now_ms >= node.next_epoch_bump_ms:
            # it has promised an epoch whose candidate died (R11); once nothing is under way, go above that
            node.next_epoch_bump_ms = node.now_ms + 4 * node.config.leader_timeout_ms
            self._outbidden_by = message.accepted_epoch
            return self._when_settled()
        return None

    def on_sync_ack(self, peer: ServerId, message: SyncAck) -> Move | None:
        self._streams.sync_ack(peer, message)
        return None

    def on_snapshot_taken(self, event: SnapshotTaken) -> Move | None:
        self._streams.snapshot_taken(event)
        return None

    def on_disconnected(self, peer: ServerId) -> Move | None:
        self._streams.end(peer)
        return None

    # ---- a higher epoch

    def on_raise_epoch(self, event: RaiseEpoch) -> Move | None:
        if self.role is not Role.LEADING or event.epoch < self.epoch:
            return None
        self._outbidden_by = max(self._outbidden_by, event.epoch)
        return self._when_settled()

    # ---- handing over

    def on_resign(self) -> Move | None:
        node = self.node
        if self._resign_at_ms is None and node.voters != {node.server_id}:
            self._resign_at_ms = node.now_ms + node.config.resign_ms
            return self._resign(everything=True)
        return None

    def _furthest(self) -> ServerId:
        """The follower that should lead next; 0 if none could."""
        acked = self._streams.acked()
        return max(acked, key=lambda peer: (acked[peer], peer), default=ServerId(0))

    def _resign(self, *, everything: bool) -> Move | None:
        """Hand over, with `everything` only if the successor has all there is and all of it was answered here."""
        node, successor = self.node, self._furthest()
        if everything:
            last = node.history.last
            if not successor or self._streams.followers[successor].acked < last or node.delivered < last:
                return None
        return self._hand_over(successor)

    def _hand_over(self, successor: ServerId) -> Move:
        def hand_over(follower: Follower) -> HandOver:
            return HandOver(self.epoch, follower.stream, successor)

        if successor:
            self._streams.send_to_all(hand_over)
        node = self.node
        why = f"it hands the lead over to server {successor}" if successor else "it resigns, with nobody to follow it"
        return Look(node.config.follower_timeout_ms + node.jitter(*SOON_MS), why)
