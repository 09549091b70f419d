"""The leader's streams to its followers: bring each to the leader's history (DIFF, TRUNC, SNAP), then send proposals.

It knows nothing of commit rules, only what each follower has acknowledged.
"""

from collections.abc import Callable

from zk.broadcast.engine import SnapshotTaken, TakeSnapshot
from zk.broadcast.messages import (
    Ack,
    AckEpoch,
    Commit,
    Join,
    Message,
    NewEpoch,
    Proposal,
    SyncAck,
    SyncLog,
    SyncSnapshot,
)
from zk.broadcast.records import Entry, EpochEnds
from zk.broadcast.zab.history import common_point
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import Follower, Promised, RemoteProtocolError, Sync
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import make_zxid


class Streams:
    """`followers` are those that were promised a stream; each has its own nonce, and messages of another are ignored
    (R7)."""

    def __init__(self, node: Node, epoch: Epoch) -> None:
        self.node = node
        self.epoch = epoch
        self.followers: dict[ServerId, Follower] = {}
        self._marker = make_zxid(epoch, 0)

    # ---- beginning and end of a stream

    def begin(self, peer: ServerId, promised: Promised) -> None:
        """A voter's promise arrived: synchronise it."""
        node = self.node
        self.followers[peer] = Follower(promised.stream, node.counts(peer), node.commit, node.now_ms)
        self._synchronise(peer, promised.epochs)

    def join(self, peer: ServerId, message: Join) -> None:
        """Offer the epoch to a server that asks to be taken in. Its promise follows as an AckEpoch."""
        node = self.node
        counts = node.counts(peer)
        self.followers[peer] = Follower(message.stream, counts, node.commit, node.now_ms)
        node.send(
            peer,
            NewEpoch(self.epoch, node.history.last, True, message.stream, node.cluster_id, counts),
        )

    def ack_epoch(self, peer: ServerId, message: AckEpoch) -> None:
        """A promise: of a server that joined, or of a voter that answers the campaign after it was won."""
        follower = self.followers.get(peer)
        if follower is None:
            self.begin(peer, Promised(message.stream, message.epochs))
        elif follower.stream == message.stream and follower.sync is None and not follower.streaming:
            self._synchronise(peer, message.epochs)

    def end(self, peer: ServerId) -> None:
        self.followers.pop(peer, None)

    def drop(self, peer: ServerId, reason: str) -> None:
        """The follower must begin again, on a new connection."""
        del self.followers[peer]
        self.node.disconnect(peer, reason)

    # ---- synchronisation

    def _synchronise(self, peer: ServerId, epochs: EpochEnds) -> None:
        follower = self.followers[peer]
        follower.heard_ms = self.node.now_ms
        common = common_point(self.node.history.shape, epochs)
        follower.sync = Sync(common or Zxid(0))
        if common is None:
            self._want_snapshot(peer, follower, follower.sync)
        else:
            self._push(peer, follower, follower.sync)

    def _want_snapshot(self, peer: ServerId, follower: Follower, sync: Sync) -> None:
        """The log in memory is not enough. The state above is that at `delivered`, or later once it is given."""
        sync.awaits_snapshot = True
        sync.cursor = self.node.delivered_txn
        self.node.effects.append(TakeSnapshot(peer, follower.stream))

    def _push(self, peer: ServerId, follower: Follower, sync: Sync) -> None:
        """Send what is due, but only so many frames ahead of the follower, so that heartbeats are not stuck behind
        them."""
        node, history, config = self.node, self.node.history, self.node.config
        while not sync.awaits_snapshot and sync.sent - sync.received < config.sync_frames_max:
            if sync.snapshot is not None:
                node.send(peer, self._chunk(follower, sync, sync.snapshot))
            elif sync.cursor < history.base:  # memory does not reach back that far (any more)
                self._want_snapshot(peer, follower, sync)
                return
            else:
                entries = history.frame(sync.cursor, config.proposal_txns_max, config.proposal_bytes_max)
                common, sync.cursor = sync.cursor, entries[-1].zxid if entries else sync.cursor
                complete = sync.cursor == history.last
                node.send(peer, SyncLog(self.epoch, follower.stream, common, entries, complete))
                if complete:
                    follower.sync = None
                    follower.streaming = True
                    if self.committed():
                        node.send(peer, Commit(self.epoch, follower.stream, self.committed()))
                    return
            sync.sent += 1

    def _chunk(self, follower: Follower, sync: Sync, taken: SnapshotTaken) -> SyncSnapshot:
        """The next chunk; behind the last one the log goes on at the snapshot's zxid."""
        index, count, history = sync.next_chunk, len(taken.chunks), self.node.history
        sync.next_chunk += 1
        if sync.next_chunk == count:
            sync.snapshot = None
            sync.cursor = taken.zxid
        return SyncSnapshot(
            self.epoch,
            follower.stream,
            taken.zxid,
            taken.digest,
            history.shape_at(taken.zxid),
            history.membership_at(taken.zxid),
            index,
            count,
            taken.chunks[index],
        )

    def snapshot_taken(self, taken: SnapshotTaken) -> None:
        """The snapshot for a follower is there; by now nobody may want it any more."""
        follower = self.followers.get(taken.peer)
        if follower is None or follower.stream != taken.stream:
            return
        sync = follower.sync
        if sync is None or not sync.awaits_snapshot:
            return
        assert taken.chunks
        sync.awaits_snapshot = False
        sync.snapshot, sync.next_chunk, sync.cursor = taken, 0, taken.zxid
        self._push(taken.peer, follower, sync)

    def sync_ack(self, peer: ServerId, message: SyncAck) -> None:
        """A frame has arrived: send on."""
        follower = self.of(peer, message.epoch, message.stream)
        if follower is None or follower.sync is None:
            return
        sync = follower.sync
        if message.index >= sync.sent:
            raise RemoteProtocolError(f"frame {message.index} of the synchronisation is acknowledged, but was not sent")
        sync.received = max(sync.received, message.index + 1)
        self._push(peer, follower, sync)

    def drop_silent(self) -> None:
        """End the synchronisation of those that answer nothing any more: it holds snapshot and history in memory."""
        node = self.node
        for peer, follower in list(self.followers.items()):
            if follower.sync is not None and node.now_ms - follower.heard_ms > node.config.follower_timeout_ms:
                self.drop(peer, "it fell silent while it was being synchronised")

    def needed_from(self) -> Zxid:
        """What lies above it in the history is still needed by a synchronisation."""
        return min(
            (follower.sync.cursor for follower in self.followers.values() if follower.sync is not None),
            default=self.node.history.last,
        )

    # ---- replication

    def replicate(self, prev: Zxid, entries: tuple[Entry, ...], size: int) -> None:
        """Send a Proposal with these entries, of `size` bytes, which were appended behind `prev`."""
        if not self.followers:
            return
        node, commit, last = self.node, self.committed(), entries[-1].zxid
        overdue = []
        for peer, follower in self.followers.items():
            if not follower.streaming:
                continue
            if follower.in_flight_bytes > node.config.in_flight_bytes_max:
                overdue.append(peer)
                continue
            node.send(peer, Proposal(self.epoch, follower.stream, prev, entries, commit))
            follower.sent(last, size)
        for peer in overdue:
            self.drop(peer, "it acknowledges too slowly, and must be synchronised again")

    def committed(self) -> Zxid:
        """What may be told to be committed: nothing before this epoch's own marker is."""
        commit = self.node.commit
        return commit if commit >= self._marker else Zxid(0)

    def tell_commit(self) -> None:
        """Tell the commit point to all, when no proposal is about to carry it."""
        if not self.followers:
            return
        commit = self.committed()
        for peer, follower in self.followers.items():
            if follower.streaming:
                self.node.send(peer, Commit(self.epoch, follower.stream, commit))

    def send_to_all(self, message_for: Callable[[Follower], Message]) -> None:
        """Send to every follower that has promised, each its own stream's message."""
        for peer, follower in self.followers.items():
            if follower.streaming or follower.sync is not None:
                self.node.send(peer, message_for(follower))

    def of(self, peer: ServerId, epoch: Epoch, stream: int) -> Follower | None:
        """The follower that a message with this epoch and nonce belongs to, if it is of the running stream."""
        follower = self.followers.get(peer)
        if follower is None or follower.stream != stream or epoch != self.epoch:
            return None
        return follower

    def ack(self, peer: ServerId, message: Ack) -> bool:
        """Note an acknowledgement; say whether it was news."""
        follower = self.of(peer, message.epoch, message.stream)
        if follower is None or not follower.streaming:
            return False
        if message.zxid > self.node.history.last:
            raise RemoteProtocolError(f"{message.zxid:#x} is acknowledged, but was not sent")
        follower.acknowledged(message.zxid)
        return True

    def acked(self) -> dict[ServerId, int]:
        """Up to which zxid each follower that counts has made this epoch's history durable."""
        acked: dict[ServerId, int] = {}
        for peer, follower in self.followers.items():
            if follower.counted:
                acked[peer] = follower.acked
        return acked

    def recount(self) -> None:
        """The membership has changed: other disks may count."""
        for peer, follower in self.followers.items():
            follower.counted = self.node.counts(peer)
