"""Who leads: polls (nothing is persisted, for liveness only) and the candidate's campaign for an epoch (Zab's
discovery; safety rests on its durable, strict promises alone).

Read next: leading.py, following.py.
"""

from collections.abc import Mapping

from zk.broadcast.engine import Role
from zk.broadcast.messages import AckEpoch, NewEpoch, Poll, PollReply
from zk.broadcast.quorum import has_quorum
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import Promised
from zk.broadcast.zab.stance import Campaign, Follow, Lead, Look, Move, Obey, Stance
from zk.model.record import Epoch, ServerId

SOON_MS = (5, 40)
"""The delay before a server polls that has just lost its leader. It differs, so that one is ahead of the others."""


def answer_poll(node: Node, stance: Stance, peer: ServerId, poll: Poll) -> None:
    """Grant a poll if this server hears no leader (so a standing one is not disturbed) and would promise."""
    node.check_epoch(poll.accepted_epoch)
    if node.is_foreign(poll.cluster_id):  # its operator should read the reason, too
        node.send(peer, PollReply(poll.round, False, node.accepted_epoch, ServerId(0), node.cluster_id))
    node.check_founding(peer, poll.cluster_id)
    leader = stance.leader_heard()
    granted = (
        not leader
        and stance.grants()
        and poll.counts_you
        and poll.last >= node.history.last
        and node.may_vote_for(peer)
    )
    if granted:
        stance.on_granted(peer, poll)
    node.send(peer, PollReply(poll.round, granted, node.accepted_epoch, leader, node.cluster_id))


def consider_candidate(node: Node, stance: Stance, peer: ServerId, message: NewEpoch) -> Move | None:
    """Promise an epoch at most once (R6), and only to a candidate that has all that this server has."""
    node.check_epoch(message.epoch)
    if (
        message.epoch > node.accepted_epoch
        and message.last >= node.history.last
        and message.counts_you
        and node.may_vote_for(peer)
        and stance.obeys(peer, message.epoch)
    ):
        return Obey(peer, message.epoch)
    return None


class Looking(Stance):
    """No leader is known. Polls from time to time, a server that may not lead only to hear who does."""

    def __init__(self, node: Node, delay_ms: int, why: str) -> None:
        super().__init__(node)
        self._why = why
        self.role = Role.LOOKING
        self._poll_at_ms = node.now_ms + delay_ms
        self._round = 0  # of the open poll; 0 if none is
        self._granted: dict[ServerId, Epoch] = {}  # by whom, and the epoch that each has accepted

    def enter(self) -> Move | None:
        node = self.node
        self.role = Role.LOOKING if node.may_campaign() else Role.LEARNING
        node.role_changed(self.role, self.epoch, self.leader, self._why)
        if node.voters == {node.server_id}:
            return self._poll()  # nobody to wait for
        return None

    def obeys(self, candidate: ServerId, epoch: Epoch) -> bool:
        return True

    def grants(self) -> bool:
        return True

    def on_tick(self) -> Move | None:
        role = Role.LOOKING if self.node.may_campaign() else Role.LEARNING
        if role is not self.role:
            self.role = role
            self.node.role_changed(role, self.epoch, self.leader)
        if self.node.now_ms >= self._poll_at_ms:
            return self._poll()
        return self._campaign_if_wished_for()

    def on_durable(self) -> Move | None:
        return self._campaign_if_wished_for()

    def on_connected(self, peer: ServerId) -> Move | None:
        if self._round:
            self._ask(peer)
        return None

    def on_disconnected(self, peer: ServerId) -> Move | None:
        self._granted.pop(peer, None)
        return None

    def _poll(self) -> Move | None:
        node = self.node
        self._round = node.nonce()
        self._granted = {}
        self._postpone()
        for peer in node.links:
            self._ask(peer)
        return self._campaign_if_wished_for()

    def _ask(self, peer: ServerId) -> None:
        node = self.node
        counts = node.may_campaign() and node.counts(peer)
        node.send(peer, Poll(self._round, node.accepted_epoch, node.history.last, node.cluster_id, counts))

    def _postpone(self) -> None:
        timeout_ms = self.node.config.election_round_ms
        self._poll_at_ms = self.node.now_ms + self.node.jitter(timeout_ms * 2 // 5, timeout_ms * 4 // 5)

    def on_granted(self, peer: ServerId, poll: Poll) -> None:
        """Leave the field to the other, unless this server has polled too and comes first: of two polls that cross
        only one may go on, or both candidates would wait for each other's promise."""
        if not self._round or (poll.last, peer) > (self.node.history.last, self.node.server_id):
            self._round = 0
            self._postpone()

    def on_poll_reply(self, peer: ServerId, message: PollReply) -> Move | None:
        node = self.node
        node.check_epoch(message.accepted_epoch)
        if not self._round or message.round != self._round:
            return None
        leader = message.leader
        if leader in node.links:
            return Follow(leader)
        if leader:  # it lives, but there is no connection to it (yet)
            self._poll_at_ms = min(self._poll_at_ms, node.now_ms + node.jitter(*SOON_MS))
        if message.granted and node.counts(peer):
            self._granted[peer] = message.accepted_epoch
        return self._campaign_if_wished_for()

    def _campaign_if_wished_for(self) -> Move | None:
        node = self.node
        supporters = {*self._granted, node.server_id}
        if (
            not self._round
            or not has_quorum(supporters, node.configs)
            or not node.may_campaign()
            or not node.durability.complete
        ):
            return None
        newcomers: dict[ServerId, str] = {}
        if not node.cluster_id:
            if supporters < node.voters:
                return None  # the one that is not here may be the last who knows of an ensemble
            newcomers = {peer: node.links[peer].disk_uuid for peer in self._granted}
        return Campaign(Epoch(max(node.accepted_epoch, *self._granted.values(), 0) + 1), newcomers)


class Candidate(Stance):
    """Has promised an epoch to itself, and asks the voters for the same."""

    role = Role.CANDIDATE

    def __init__(self, node: Node, epoch: Epoch, newcomers: Mapping[ServerId, str]) -> None:
        super().__init__(node)
        assert node.durability.complete, "a candidate's whole log must be durable (R6)"
        self.epoch = epoch
        self.leader = node.server_id
        self._newcomers = newcomers
        self._promised: dict[ServerId, Promised] = {}
        self._give_up_at_ms: int | None = None  # counted from when its own promise is durable: a disk may be slow
        self._ask_at_ms = 0

    def enter(self) -> Move | None:
        node = self.node
        node.promise(self.epoch)
        node.role_changed(self.role, self.epoch, self.leader)
        for peer in node.links:
            self._ask(peer)
        return None

    def obeys(self, candidate: ServerId, epoch: Epoch) -> bool:
        return epoch > self.epoch

    def on_tick(self) -> Move | None:
        node = self.node
        if self._give_up_at_ms is None:
            return None
        if node.now_ms >= self._give_up_at_ms:
            return Look(node.jitter(*SOON_MS), f"no majority promised epoch {self.epoch}")
        if node.now_ms >= self._ask_at_ms:
            # a voter says nothing when it refuses, and the reason may have passed: its old leader is no longer fresh
            self._ask_at_ms = node.now_ms + node.config.heartbeat_ms
            for peer in node.links.keys() - self._promised.keys():
                self._ask(peer)
        return None

    def on_durable(self) -> Move | None:
        node = self.node
        if self._give_up_at_ms is None and node.durability.complete:
            timeout_ms = node.config.election_round_ms
            self._give_up_at_ms = node.now_ms + node.jitter(2 * timeout_ms, 4 * timeout_ms)
            self._ask_at_ms = node.now_ms + node.config.heartbeat_ms
        return self._lead_if_promised()

    def on_connected(self, peer: ServerId) -> Move | None:
        self._ask(peer)
        return None

    def on_disconnected(self, peer: ServerId) -> Move | None:
        self._promised.pop(peer, None)
        return None

    def _ask(self, peer: ServerId) -> None:
        node = self.node
        if node.counts(peer):
            message = NewEpoch(
                self.epoch, node.history.last, won=False, stream=0, cluster_id=node.cluster_id, counts_you=True
            )
            node.send_once_durable(peer, message)

    def on_ack_epoch(self, peer: ServerId, message: AckEpoch) -> Move | None:
        if message.epoch == self.epoch and self.node.counts(peer):
            self._promised[peer] = Promised(message.stream, message.epochs)
        return self._lead_if_promised()

    def _lead_if_promised(self) -> Move | None:
        node = self.node
        if node.durability.complete and has_quorum({*self._promised, node.server_id}, node.configs):
            return Lead(self.epoch, self._promised, self._newcomers)
        return None
