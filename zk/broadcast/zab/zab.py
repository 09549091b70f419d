"""The engine itself: takes an event to the role in force, and moves from role to role.

What outlives a role is in node.py. Read next: stance.py, election.py, leading.py, following.py.
"""

from typing import assert_never

from zk.broadcast.engine import (
    Disconnect,
    Durable,
    Effect,
    Event,
    Halt,
    PeerConnected,
    PeerDisconnected,
    PeerReceived,
    Propose,
    RaiseEpoch,
    ReadIndex,
    Resign,
    Role,
    SnapshotStored,
    SnapshotTaken,
    Tick,
)
from zk.broadcast.membership import Membership
from zk.broadcast.messages import (
    Ack,
    AckEpoch,
    Commit,
    HandOver,
    Join,
    Message,
    NewEpoch,
    PingPeer,
    Poll,
    PollReply,
    PongPeer,
    Proposal,
    SyncAck,
    SyncLog,
    SyncSnapshot,
)
from zk.broadcast.records import Recovered
from zk.broadcast.zab.config import ZabConfig
from zk.broadcast.zab.election import SOON_MS, Candidate, Looking, answer_poll, consider_candidate
from zk.broadcast.zab.following import Following
from zk.broadcast.zab.leading import Leading
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import Link, RemoteProtocolError
from zk.broadcast.zab.stance import Campaign, Follow, Halted, Lead, Look, Move, Obey, Stance, Stop
from zk.model.chance import Chance
from zk.model.record import Epoch, ServerId, Zxid

_HALTED = Role.HALTED  # found once: Python 3.11 takes longer to find it than to call a method


class Zab:
    """One server's share in the broadcast: an Engine (see engine.py for events, effects and their order)."""

    def __init__(self, config: ZabConfig, recovered: Recovered, chance: Chance, now_ms: int) -> None:
        assert config.server_id in config.voters
        self._node = Node(config, recovered, chance, now_ms)
        self._stance: Stance = Looking(self._node, self._node.jitter(*SOON_MS), "")
        self._begun = False

    # ---- what is to be seen from outside

    @property
    def role(self) -> Role:
        return self._stance.role

    @property
    def epoch(self) -> Epoch:
        """The epoch that this server leads, follows or campaigns for; 0 if none."""
        return self._stance.epoch

    @property
    def leader(self) -> ServerId:
        return self._stance.leader

    @property
    def window_open(self) -> bool:
        return self._stance.window_open

    @property
    def delivered(self) -> Zxid:
        """Up to where the history was given out, epochs' markers included."""
        return self._node.delivered

    @property
    def commit(self) -> Zxid:
        """Up to where this server knows the history to be committed."""
        return self._node.commit

    @property
    def last(self) -> Zxid:
        """Where this server's history ends."""
        return self._node.history.last

    @property
    def membership(self) -> Membership | None:
        """The newest membership in the log; None while no ensemble is founded."""
        return self._node.membership

    # ---- events

    def step(self, now_ms: int, event: Event) -> list[Effect]:
        node = self._node
        node.now_ms = now_ms
        if not self._begun:
            self._begun = True
            self._perform(self._stance.enter())
        if self._stance.role is not _HALTED:
            move = self._take(event)
            if move is not None:
                self._perform(move)
        effects, node.effects = node.effects, []
        return effects

    def _take(self, event: Event) -> Move | None:
        """The most frequent first. (No match: compiled, its every case is a call.)"""
        node, stance = self._node, self._stance
        if isinstance(event, PeerReceived):
            return self._received(event)
        if isinstance(event, Durable):
            node.durable(event.lsn)
            return stance.on_durable()
        if isinstance(event, Propose):
            return stance.on_propose(event)
        if isinstance(event, Tick):
            return stance.on_tick()
        if isinstance(event, ReadIndex):
            return stance.on_read_index(event)
        if isinstance(event, PeerConnected):
            if event.peer in node.links:  # a new connection is the old one's end (R7)
                self._perform(self._unlink(event.peer))
            node.links[event.peer] = Link(event.connection, event.disk_uuid)
            return self._stance.on_connected(event.peer)
        if isinstance(event, PeerDisconnected):
            link = node.links.get(event.peer)
            if link is None or link.connection != event.connection:
                return None
            return self._unlink(event.peer)
        if isinstance(event, SnapshotStored):
            node.snapshot_stored(event.ref)
            return None
        if isinstance(event, SnapshotTaken):
            return stance.on_snapshot_taken(event)
        if isinstance(event, RaiseEpoch):
            return stance.on_raise_epoch(event)
        if isinstance(event, Resign):
            return stance.on_resign()
        assert_never(event)

    def _unlink(self, peer: ServerId) -> Move | None:
        del self._node.links[peer]
        return self._stance.on_disconnected(peer)

    def _received(self, event: PeerReceived) -> Move | None:
        peer = event.peer
        link = self._node.links.get(peer)
        if link is None or link.connection != event.connection:
            return None
        try:
            return self._dispatch(peer, event.message)
        except RemoteProtocolError as error:
            self._node.effects.append(Disconnect(peer, event.connection, f"{type(event.message).__name__}: {error}"))
            return self._unlink(peer)

    def _dispatch(self, peer: ServerId, message: Message) -> Move | None:
        stance = self._stance
        if isinstance(message, Ack):
            return stance.on_ack(peer, message)
        if isinstance(message, Proposal):
            return stance.on_proposal(peer, message)
        if isinstance(message, Commit):
            return stance.on_commit(peer, message)
        if isinstance(message, PingPeer):
            return stance.on_ping(peer, message)
        if isinstance(message, PongPeer):
            return stance.on_pong(peer, message)
        if isinstance(message, Poll):
            answer_poll(self._node, stance, peer, message)
            return None
        if isinstance(message, PollReply):
            self._node.check_founding(peer, message.cluster_id)
            return stance.on_poll_reply(peer, message)
        if isinstance(message, NewEpoch):
            self._node.check_founding(peer, message.cluster_id)
            if message.won:
                return stance.on_won(peer, message)
            return consider_candidate(self._node, stance, peer, message)
        if isinstance(message, AckEpoch):
            self._node.check_founding(peer, message.cluster_id)
            return stance.on_ack_epoch(peer, message)
        if isinstance(message, Join):
            self._node.check_founding(peer, message.cluster_id)
            return stance.on_join(peer, message)
        if isinstance(message, SyncLog):
            return stance.on_sync_log(peer, message)
        if isinstance(message, SyncSnapshot):
            return stance.on_sync_snapshot(peer, message)
        if isinstance(message, SyncAck):
            return stance.on_sync_ack(peer, message)
        if isinstance(message, HandOver):
            return stance.on_hand_over(peer, message)
        assert_never(message)

    # ---- roles

    def _perform(self, move: Move | None) -> None:
        """Leave the role, enter the next; that may at once lead to another."""
        while move is not None:
            self._stance.leave()
            node = self._node
            node.durability.forget_held()
            node.commit = node.delivered  # what was said to be committed was said about the old leader's history
            self._stance = self._stance_after(move)
            move = self._stance.enter()

    def _stance_after(self, move: Move) -> Stance:
        node = self._node
        match move:
            case Look():
                return Looking(node, move.delay_ms, move.why)
            case Campaign():
                return Candidate(node, move.epoch, move.newcomers)
            case Lead():
                return Leading(node, move.epoch, move.promised, move.newcomers)
            case Follow():
                return Following(node, move.leader, None)
            case Obey():
                return Following(node, move.leader, move.epoch)
            case Stop():
                node.effects.append(Halt(move.reason))
                node.role_changed(Role.HALTED, Epoch(0), ServerId(0))
                return Halted(node)
            case _:
                assert_never(move)
