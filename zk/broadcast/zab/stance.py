"""What the roles have in common: the events that any of them may care about, and the moves between them.

A role takes an event and returns the move that ends it, or None. What a role does not care about it ignores: a
message may well be meant for the role that this server had a moment ago.
"""

from collections.abc import Mapping

from zk.broadcast.engine import Propose, RaiseEpoch, ReadIndex, Rejected, Role, SnapshotTaken
from zk.broadcast.messages import (
    Ack,
    AckEpoch,
    Commit,
    HandOver,
    Join,
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
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import Promised
from zk.model.record import Epoch, ServerId, record


@record
class Look:
    """Nobody leads: look for a leader, or be one, from `delay_ms` on. `why` is for the operator."""

    delay_ms: int
    why: str


@record
class Campaign:
    """Try to lead `epoch`. `newcomers` are the disks of fresh voters, to be named if this founds the ensemble."""

    epoch: Epoch
    newcomers: Mapping[ServerId, str]


@record
class Lead:
    """A quorum has promised `epoch`."""

    epoch: Epoch
    promised: Mapping[ServerId, Promised]
    newcomers: Mapping[ServerId, str]


@record
class Follow:
    """`leader` is said to lead: ask it to take this server in."""

    leader: ServerId


@record
class Obey:
    """Promise the epoch of the candidate `leader`, and follow it."""

    leader: ServerId
    epoch: Epoch


@record
class Stop:
    """The log and the ensemble contradict each other."""

    reason: str


Move = Look | Campaign | Lead | Follow | Obey | Stop


class Stance:
    """One role. `epoch` and `leader` are 0 where there is none."""

    role: Role
    epoch: Epoch = Epoch(0)
    leader: ServerId = ServerId(0)

    def __init__(self, node: Node) -> None:
        self.node = node

    @property
    def window_open(self) -> bool:
        """Whether proposals are welcome."""
        return False

    def enter(self) -> Move | None:
        """Begin. A role may find at once that it is none."""
        return None

    def leave(self) -> None:
        """End, whatever comes next."""

    def leader_heard(self) -> ServerId:
        """The leader that gave a sign of life within the leader timeout; 0 if none."""
        return ServerId(0)

    def obeys(self, candidate: ServerId, epoch: Epoch) -> bool:
        """Whether this role leaves room for a promise to `candidate`."""
        return False

    def grants(self) -> bool:
        """Whether this role leaves room to wish for another leader."""
        return False

    # ---- the server's own events

    def on_tick(self) -> Move | None:
        return None

    def on_durable(self) -> Move | None:
        return None

    def on_propose(self, event: Propose) -> Move | None:
        self.node.effects.append(Rejected(tuple(event.tokens), maybe_applied=False))
        return None

    def on_read_index(self, event: ReadIndex) -> Move | None:
        self.node.effects.append(Rejected((event.token,), maybe_applied=False))
        return None

    def on_snapshot_taken(self, event: SnapshotTaken) -> Move | None:
        return None

    def on_raise_epoch(self, event: RaiseEpoch) -> Move | None:
        return None

    def on_resign(self) -> Move | None:
        return None

    def on_connected(self, peer: ServerId) -> Move | None:
        return None

    def on_disconnected(self, peer: ServerId) -> Move | None:
        return None

    # ---- messages

    def on_granted(self, peer: ServerId, poll: Poll) -> None:
        """This server has just granted a poll."""

    def on_poll_reply(self, peer: ServerId, message: PollReply) -> Move | None:
        return None

    def on_won(self, peer: ServerId, message: NewEpoch) -> Move | None:
        return None

    def on_ack_epoch(self, peer: ServerId, message: AckEpoch) -> Move | None:
        return None

    def on_join(self, peer: ServerId, message: Join) -> Move | None:
        return None

    def on_sync_log(self, peer: ServerId, message: SyncLog) -> Move | None:
        return None

    def on_sync_snapshot(self, peer: ServerId, message: SyncSnapshot) -> Move | None:
        return None

    def on_sync_ack(self, peer: ServerId, message: SyncAck) -> Move | None:
        return None

    def on_proposal(self, peer: ServerId, message: Proposal) -> Move | None:
        return None

    def on_ack(self, peer: ServerId, message: Ack) -> Move | None:
        return None

    def on_commit(self, peer: ServerId, message: Commit) -> Move | None:
        return None

    def on_ping(self, peer: ServerId, message: PingPeer) -> Move | None:
        return None

    def on_pong(self, peer: ServerId, message: PongPeer) -> Move | None:
        return None

    def on_hand_over(self, peer: ServerId, message: HandOver) -> Move | None:
        return None


class Halted(Stance):
    """Nothing happens any more."""

    role = Role.HALTED
