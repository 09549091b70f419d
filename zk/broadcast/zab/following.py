"""The follower: takes the leader's history, acknowledges only what is durable, delivers what is committed.

A learner, whose disk does not count (yet), is the same but for its name.
"""

from collections.abc import Iterable
from enum import IntEnum
from itertools import pairwise

from zk.broadcast.engine import Role
from zk.broadcast.membership import Membership
from zk.broadcast.messages import (
    Ack,
    AckEpoch,
    Commit,
    HandOver,
    Join,
    NewEpoch,
    PingPeer,
    PongPeer,
    Proposal,
    SyncAck,
    SyncLog,
    SyncSnapshot,
)
from zk.broadcast.records import Entry, EntryKind, SnapshotRef
from zk.broadcast.zab.election import SOON_MS
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import RemoteProtocolError
from zk.broadcast.zab.stance import Campaign, Follow, Look, Move, Stance, Stop
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import epoch_of

_CONFIG = EntryKind.CONFIG  # found once: Python 3.11 takes longer to find it than to call a method
_FOLLOWING = Role.FOLLOWING


class Phase(IntEnum):
    """How far this server has come with its leader."""

    JOINING = 1  # it was asked to take this server in
    PROMISED = 2  # the promise is given, or is about to be durable
    SYNCING = 3  # its history, or a snapshot, is coming in
    IN_STEP = 4  # this server has all that the leader had; proposals follow


_JOINING = Phase.JOINING
_IN_STEP = Phase.IN_STEP


def check_membership(payload: bytes) -> None:
    """Raise RemoteProtocolError if it is none."""
    try:
        Membership.decode(payload)
    except ValueError as error:
        raise RemoteProtocolError(str(error)) from error


def check_memberships(entries: Iterable[Entry]) -> None:
    """Raise RemoteProtocolError if an entry says to be a membership, and is none."""
    for entry in entries:
        if entry.kind is _CONFIG:
            check_membership(entry.payload)


class Following(Stance):
    """`epoch` None: join `leader`, whatever its epoch. Else promise `epoch` to it."""

    def __init__(self, node: Node, leader: ServerId, epoch: Epoch | None) -> None:
        super().__init__(node)
        self.role = Role.FOLLOW_SYNC
        self.leader = leader
        self._phase = Phase.JOINING
        self._stream = node.nonce()
        self._leads = False  # whether the leader is known to have won
        self._heard_ms = node.now_ms
        config = node.config
        self._timeout_ms = config.follower_timeout_ms + node.jitter(0, config.leader_timeout_ms // 2)
        self._chunks: list[bytes] = []
        self._snapshot: SyncSnapshot | None = None  # the first chunk's message
        self._frames = 0  # of the synchronisation, so far
        self._acked = Zxid(0)
        self._serve_from: Zxid | None = None  # what was committed when this server came in step
        if epoch is not None:
            self._phase = Phase.PROMISED
            self.epoch = epoch

    def enter(self) -> Move | None:
        node = self.node
        node.role_changed(self.role, self.epoch, self.leader)
        if self._phase is _JOINING:
            node.send(self.leader, Join(node.accepted_epoch, self._stream, node.cluster_id))
        else:
            self._promise()
        return None

    def _promise(self) -> None:
        """Promise the leader's epoch, if that is not done, and say so when it is durable."""
        node = self.node
        if self.epoch > node.accepted_epoch:
            node.promise(self.epoch)
        history = node.history
        message = AckEpoch(self.epoch, history.shape, history.base, self._stream, node.cluster_id)
        node.send_once_durable(self.leader, message)

    def leader_heard(self) -> ServerId:
        fresh = self.node.now_ms - self._heard_ms < self.node.config.leader_timeout_ms
        return self.leader if fresh and self._leads else ServerId(0)

    def obeys(self, candidate: ServerId, epoch: Epoch) -> bool:
        return candidate == self.leader or not self._fresh

    def grants(self) -> bool:
        return not self._fresh

    @property
    def _fresh(self) -> bool:
        """Whether the leader, or the candidate that may become it, gave a sign of life itself within the timeout.
        Hearsay, which made this server join, does not count: two servers could keep a dead leader alive with it."""
        heard_ms, timeout_ms = self.node.now_ms - self._heard_ms, self.node.config.leader_timeout_ms
        return self._phase is not _JOINING and heard_ms < timeout_ms

    def on_tick(self) -> Move | None:
        node = self.node
        timeout_ms = node.config.leader_timeout_ms if self._phase is _JOINING else self._timeout_ms
        if node.now_ms - self._heard_ms > timeout_ms:
            return Look(node.jitter(*SOON_MS), f"server {self.leader} was silent for {timeout_ms} ms")
        if self._phase is _IN_STEP:
            self._deliver()
        return None

    def on_disconnected(self, peer: ServerId) -> Move | None:
        if peer != self.leader:
            return None
        return Look(self.node.jitter(*SOON_MS), f"the connection to server {self.leader} is gone")

    def _from_leader(self, peer: ServerId, epoch: Epoch, stream: int) -> bool:
        """Whether a message belongs to the running stream (R7); if so, the leader lives."""
        if peer != self.leader or stream != self._stream or epoch != self.epoch or self._phase is _JOINING:
            return False
        self._heard_ms = self.node.now_ms
        self._leads = True
        return True

    # ---- being taken in

    def on_won(self, peer: ServerId, message: NewEpoch) -> Move | None:
        node = self.node
        node.check_epoch(message.epoch)
        if peer != self.leader or self._phase is not _JOINING or message.stream != self._stream:
            return None
        if message.epoch < node.accepted_epoch:
            return None  # promised away; the leader has seen it in the Join and campaigns above it
        self.epoch = message.epoch
        self._phase = Phase.PROMISED
        self._heard_ms = node.now_ms
        self._leads = True
        node.role_changed(self.role, self.epoch, self.leader)
        self._promise()
        return None

    def on_sync_snapshot(self, peer: ServerId, message: SyncSnapshot) -> Move | None:
        if not self._from_leader(peer, message.epoch, message.stream):
            return None
        if message.index == 0 and self._phase is not _IN_STEP:
            check_membership(message.membership)
            self._chunks = []
            self._snapshot = message
        first = self._snapshot
        if (
            first is None
            or message.index != len(self._chunks)
            or message.index >= message.count
            or (message.zxid, message.count, message.digest) != (first.zxid, first.count, first.digest)
        ):
            raise RemoteProtocolError(f"chunk {message.index} of {message.count} of a snapshot comes out of order")
        if message.zxid < self.node.delivered:
            return self._contradiction(f"its snapshot for this server is at {message.zxid:#x}")
        self._phase = Phase.SYNCING
        self._chunks.append(message.chunk)
        self._received_frame()
        return None

    def on_sync_log(self, peer: ServerId, message: SyncLog) -> Move | None:
        if not self._from_leader(peer, message.epoch, message.stream):
            return None
        if self._phase is _IN_STEP:
            raise RemoteProtocolError("it synchronises a server that is in step")
        self._check(message.common, message.entries)
        self._phase = Phase.SYNCING
        stop = self._install(message) if self._snapshot is not None else self._replace(message)
        if stop is not None:
            return stop
        if message.last:
            self._phase = Phase.IN_STEP
            self._acknowledge()
        else:
            self._received_frame()
        return None

    def _install(self, message: SyncLog) -> Move | None:
        """The log behind a snapshot: both replace what is here."""
        first = self._snapshot
        assert first is not None
        if len(self._chunks) != first.count or message.common != first.zxid:
            raise RemoteProtocolError("the log does not continue the snapshot")
        file = f"snapshot-{first.zxid:016x}-{self._stream:08x}"
        ref = SnapshotRef(first.zxid, file, first.digest, first.epochs, first.membership, installed=True)
        self.node.install(ref, tuple(self._chunks), message.entries)
        self._snapshot, self._chunks = None, []
        return None

    def _replace(self, message: SyncLog) -> Move | None:
        """DIFF, TRUNC, or both; cut only where the leader's history parts from this one, never below what was
        delivered (R4)."""
        node, common = self.node, message.common
        if common < node.history.last and common < max(node.delivered, node.history.base):
            return self._contradiction(f"its history and this server's part at {common:#x}")
        if not node.history.holds(common):
            raise RemoteProtocolError(f"{common:#x} is not in the common history")
        node.replace_above(common, message.entries)
        return None

    def _contradiction(self, what: str) -> Stop:
        node = self.node
        return Stop(
            f"the leader {self.leader} of epoch {self.epoch} contradicts this server's log: {what}, but this server "
            f"has delivered everything up to {node.delivered:#x}. Keep a copy of the data directory, then start this "
            "server with an empty one: it will be taken in again"
        )

    def _check(self, above: Zxid, entries: tuple[Entry, ...]) -> None:
        """Raise RemoteProtocolError unless the entries ascend from `above` and are of no later epoch."""
        if entries and (
            entries[0].zxid <= above
            or epoch_of(entries[-1].zxid) > self.epoch
            or any(later.zxid <= earlier.zxid for earlier, later in pairwise(entries))
        ):
            raise RemoteProtocolError(f"the entries above {above:#x} are out of order")
        check_memberships(entries)

    def _received_frame(self) -> None:
        self.node.send(self.leader, SyncAck(self.epoch, self._stream, self._frames))
        self._frames += 1

    def _show_role(self) -> None:
        """Once its state is the leader's, this server is a follower, which counts, or a learner, which does not; which
        of them, the log says."""
        if self._serve_from is None or self.node.delivered < self._serve_from:
            return
        role = Role.FOLLOWING if self.node.may_campaign() else Role.LEARNING
        if role is not self.role:
            self.role = role
            self.node.role_changed(role, self.epoch, self.leader)

    # ---- in step

    def on_proposal(self, peer: ServerId, message: Proposal) -> Move | None:
        if not self._from_leader(peer, message.epoch, message.stream):
            return None
        node, entries = self.node, message.entries
        if self._phase is not _IN_STEP or message.prev != node.history.last:
            return Follow(self.leader)  # something is missing in between: begin again, never skip (R8)
        if (
            not entries
            or entries[0].zxid <= message.prev
            or entries[-1].zxid - entries[0].zxid != len(entries) - 1
            or epoch_of(entries[0].zxid) != self.epoch
        ):
            raise RemoteProtocolError(f"the proposals behind {message.prev:#x} have a gap")
        check_memberships(entries)
        node.append(entries)
        self._committed(message.commit)
        return None

    def on_commit(self, peer: ServerId, message: Commit) -> Move | None:
        if self._from_leader(peer, message.epoch, message.stream):
            self._committed(message.zxid)
        return None

    def on_ping(self, peer: ServerId, message: PingPeer) -> Move | None:
        if self._from_leader(peer, message.epoch, message.stream):
            self._committed(message.commit)
            self.node.send(peer, PongPeer(message.epoch, message.stream, message.seq, message.sent_ms))
        return None

    def _committed(self, zxid: Zxid) -> None:
        """Everything up to `zxid` is committed. That says nothing about this log before it is in step."""
        node = self.node
        if self._phase is not _IN_STEP or epoch_of(zxid) != self.epoch:
            return
        if self._serve_from is None:
            self._serve_from = zxid
        if zxid > node.commit:
            node.commit = min(zxid, node.history.last)
            self._deliver()

    def on_durable(self) -> Move | None:
        if self._phase is _IN_STEP:
            self._acknowledge()
            self._deliver()
        return None

    def _acknowledge(self) -> None:
        """Acknowledge what is durable; nothing before this log, up to the leader's marker, is the leader's (R1)."""
        zxid = self.node.durability.zxid
        if zxid > self._acked and epoch_of(zxid) == self.epoch:
            self._acked = zxid
            self.node.send(self.leader, Ack(self.epoch, self._stream, zxid))

    def _deliver(self) -> None:
        node = self.node
        node.deliver([])
        if node.history_is_long:
            node.forget_history(node.delivered_txn)
        if self.role is not _FOLLOWING:
            self._show_role()

    def on_hand_over(self, peer: ServerId, message: HandOver) -> Move | None:
        node = self.node
        if not self._from_leader(peer, message.epoch, message.stream):
            return None
        if message.successor == node.server_id and node.may_campaign() and node.durability.complete:
            return Campaign(Epoch(node.accepted_epoch + 1), {})
        return Look(node.config.leader_timeout_ms, f"server {self.leader} hands the lead over")
