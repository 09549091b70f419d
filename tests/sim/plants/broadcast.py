"""Planted bugs of the engine: each takes one rule of the protocol away.

R1 … R17 are the rules, (1) … (20) the invariants, of docs/correctness.md. Some rules have a second line of defence in
the production code, so that without the one alone nothing goes wrong: then both are taken away, and it is said so.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace

from zk.broadcast import engine
from zk.broadcast.engine import Propose
from zk.broadcast.messages import Ack, AckEpoch, Join, Message, NewEpoch, Poll, Proposal
from zk.broadcast.quorum import committed_zxid, has_quorum
from zk.broadcast.records import Entry, EntryKind, EpochEnds, Record, Recovered, Truncate
from zk.broadcast.zab import confirmation, leading, streams, zab
from zk.broadcast.zab.config import ZabConfig
from zk.broadcast.zab.election import Candidate, answer_poll, consider_candidate
from zk.broadcast.zab.following import Following
from zk.broadcast.zab.history import common_point
from zk.broadcast.zab.leading import Leading
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import Link
from zk.broadcast.zab.stance import Lead, Move, Obey, Stance
from zk.broadcast.zab.zab import Zab
from zk.model.chance import Chance
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import epoch_of
from zk.sim import Layer, Mode, Plant
from zk.sim.plant import patched

Configs = Sequence[frozenset[ServerId]]

deliver = Node.deliver
on_propose = Leading.on_propose
replicate = Leading._replicate
on_proposal = Following.on_proposal
on_join = Leading.on_join
advance = Leading._advance
send_once_durable = Node.send_once_durable
replay = Node._replay
node_init = Node.__init__
candidate_enter = Candidate.enter
leading_enter = Leading.enter
received = Zab._received
take = Zab._take


# ---- durable before speaking (R1, R5)


def acknowledges_at_once(self: Following, peer: ServerId, message: Proposal) -> Move | None:
    move = on_proposal(self, peer, message)
    if move is None:
        self.node.send(peer, Ack(self.epoch, message.stream, self.node.history.last))
    return move


def counts_itself_at_once(self: Leading) -> Move | None:
    def with_unsynced(acked: Mapping[ServerId, Zxid], configs: Configs) -> Zxid:
        return committed_zxid({**acked, self.node.server_id: self.node.history.last}, configs)

    with patched((leading, "committed_zxid", with_unsynced)):
        return advance(self)


def committed_by_minority(acked: Mapping[ServerId, Zxid], configs: Configs) -> Zxid:
    return sorted(acked.values(), reverse=True)[len(configs[0]) // 2 - 1]


def committed_by_one(acked: Mapping[ServerId, Zxid], configs: Configs) -> Zxid:
    return max(acked.values())


def delivers_on_receipt(self: Following, peer: ServerId, message: Proposal) -> Move | None:
    move = on_proposal(self, peer, message)
    if move is None:
        self.node.commit = self.node.history.last
        self._deliver()
    return move


# ---- promises (R6)


def promises_at_once(self: Node, peer: ServerId, message: Message) -> None:
    if isinstance(message, AckEpoch):
        self.send(peer, message)
    else:
        send_once_durable(self, peer, message)


def campaigns_at_once(self: Node, peer: ServerId, message: Message) -> None:
    if isinstance(message, NewEpoch):
        self.send(peer, message)
    else:
        send_once_durable(self, peer, message)


def leads_before_its_promise_is_durable(self: Candidate) -> Move | None:
    if has_quorum({*self._promised, self.node.server_id}, self.node.configs):
        return Lead(self.epoch, self._promised, self._newcomers)
    return None


def asks_and_perhaps_leads_at_once(self: Candidate) -> Move | None:
    candidate_enter(self)
    return self._lead_if_promised()


def leads_with_a_minority(self: Candidate) -> Move | None:
    if self.node.durability.complete and 2 * (len(self._promised) + 1) >= len(self.node.voters) - 1:
        return Lead(self.epoch, self._promised, self._newcomers)
    return None


def promises_again(node: Node, stance: Stance, peer: ServerId, message: NewEpoch) -> Move | None:
    if (
        message.epoch == node.accepted_epoch
        and message.last >= node.history.last
        and message.counts_you
        and node.may_vote_for(peer)
        and not stance.leader_heard()
    ):
        return Obey(peer, message.epoch)
    return consider_candidate(node, stance, peer, message)


def forgets_its_promise(self: Node, config: ZabConfig, recovered: Recovered, chance: Chance, now_ms: int) -> None:
    node_init(self, config, recovered, chance, now_ms)
    self.accepted_epoch = epoch_of(self.history.last)


def polls_any_log(node: Node, stance: Stance, peer: ServerId, poll: Poll) -> None:
    answer_poll(node, stance, peer, replace(poll, last=node.history.last))


def votes_for_any_log(node: Node, stance: Stance, peer: ServerId, message: NewEpoch) -> Move | None:
    return consider_candidate(node, stance, peer, replace(message, last=node.history.last))


def counts_any_disk(self: Node, peer: ServerId) -> bool:
    return peer in self.voters


def may_always_campaign(self: Node) -> bool:
    return True


def may_always_vote(self: Node, candidate: ServerId) -> bool:
    return True


# ---- the epoch's marker (R5)


def begins_without_its_marker(self: Leading) -> Move | None:
    node = self.node
    if not node.cluster_id:
        return leading_enter(self)  # the founding has a membership to append
    node.role_changed(self.role, self.epoch, self.leader)
    self._marker = node.history.last
    self._next_counter = max(1, node.config.initial_counter)
    for peer, promised in self._promised.items():
        self._streams.begin(peer, promised)
    return None


def commits_before_its_marker(self: Leading) -> Move | None:
    acked = {**self._streams.acked(), self.node.server_id: self.node.durability.zxid}
    self.node.commit = max(self.node.commit, min(committed_zxid(acked, self.node.configs), Zxid(self._marker - 1)))
    return advance(self)


def acknowledges_any_epoch(self: Following) -> None:
    zxid = self.node.durability.zxid
    if zxid > self._acked:
        self._acked = zxid
        self.node.send(self.leader, Ack(self.epoch, self._stream, zxid))


# ---- synchronisation (R4, R7, R8, R10)


def common_by_last_zxid(mine: EpochEnds, theirs: EpochEnds) -> Zxid | None:
    if common_point(mine, theirs) is None:
        return None
    return min(mine[-1][1], theirs[-1][1])


def appends_without_truncating(self: Node, common: Zxid, entries: tuple[Entry, ...]) -> None:
    fresh = tuple(entry for entry in entries if entry.zxid > self.history.last)
    if fresh:
        self.append(fresh)


def ignores_truncations(self: Node, records: Sequence[Record]) -> None:
    replay(self, [record for record in records if not isinstance(record, Truncate)])


def always_the_same_nonce(self: Node) -> int:
    return 1


def takes_messages_of_old_connections(self: Zab, event: engine.PeerReceived) -> Move | None:
    link = self._node.links.get(event.peer)
    return received(self, event if link is None else replace(event, connection=link.connection))


def keeps_what_the_old_connection_had(self: Zab, event: engine.Event) -> Move | None:
    if isinstance(event, engine.PeerConnected) and event.peer in self._node.links:
        self._node.links[event.peer] = Link(event.connection, event.disk_uuid)
        return self._stance.on_connected(event.peer)
    return take(self, event)


# ---- what is delivered, and to whom


def replicates_twice(self: Leading, entries: tuple[Entry, ...]) -> None:
    """Each transaction is followed by itself."""
    if entries[0].kind is EntryKind.TXN:
        twice = [entry for entry in entries for _ in range(2)]
        entries = tuple(replace(entry, zxid=Zxid(entries[0].zxid + place)) for place, entry in enumerate(twice))
    replicate(self, entries)


def mixes_up_whose_it_was(self: Leading, event: Propose) -> Move | None:
    """The payloads of a batch go out in another order than the tokens."""
    return on_propose(self, Propose(event.payloads, event.tokens[::-1]))


def proposes_backwards(self: Leading, event: Propose) -> Move | None:
    return on_propose(self, Propose(event.payloads[::-1], event.tokens[::-1]))


def delivers_what_its_disk_lacks(self: Node, tokens: list[engine.Token]) -> None:
    durability = self.durability
    self.durability = SimpleNamespace(zxid=self.history.last)  # type: ignore[assignment]  # all that is asked of it
    deliver(self, tokens)
    self.durability = durability


def delivers_all_but_the_first(self: Node, tokens: list[engine.Token]) -> None:
    """Of several that are committed together."""
    deliver(self, tokens)
    if self.effects and isinstance(self.effects[-1], engine.Deliver) and len(self.effects[-1].entries) > 2:
        self.effects[-1] = engine.Deliver(self.effects[-1].entries[1:], self.effects[-1].tokens[1:])


# ---- leadership in time (R11, R12, R13)


def any_round_confirms(values: Mapping[ServerId, int], configs: Configs) -> int:
    return max(values.values())


def always_a_quorum(servers: Collection[ServerId], configs: Configs) -> bool:
    return True


def ignores_higher_promises(self: Leading, peer: ServerId, message: Join) -> Move | None:
    return on_join(self, peer, message) if message.accepted_epoch <= self.epoch else None


def hears_nobody(self: Following) -> ServerId:
    return ServerId(0)


def obeys_anybody(self: Following, candidate: ServerId, epoch: Epoch) -> bool:
    return True


def grants_anybody(self: Following) -> bool:
    return True


def plant(
    name: str,
    what: str,
    invariants: str,
    seeds: int,
    *changes: tuple[object, str, object],
    mode: Mode = Mode.FOCUSED,
    servers: int = 3,
) -> Plant:
    """`invariants` are separated by commas."""
    broken = frozenset(invariant.strip() for invariant in invariants.split(","))
    return Plant(name, what, lambda: patched(*changes), broken, seeds, Layer.BROADCAST, mode, servers)


PLANTS = (
    plant(
        "ack-before-fsync",
        "a follower acknowledges what it has received, before its disk has it (R1)",
        "commit truth",
        5,
        (Following, "on_proposal", acknowledges_at_once),
    ),
    plant(
        "leader-counts-itself-unsynced",
        "a leader counts itself for what its own disk does not have yet (R5)",
        "commit truth",
        5,
        (Leading, "_advance", counts_itself_at_once),
    ),
    plant(
        "commit-by-minority",
        "one server less than a majority commits (R5)",
        "commit truth",
        5,
        (leading, "committed_zxid", committed_by_minority),
    ),
    plant(
        "commit-by-max-ack",
        "whatever any server has made durable is committed (R5)",
        "commit truth",
        5,
        (leading, "committed_zxid", committed_by_one),
    ),
    plant(
        "deliver-on-receive",
        "a follower delivers what its disk has, committed or not (R3)",
        "commit truth",
        5,
        (Following, "on_proposal", delivers_on_receipt),
    ),
    plant(
        "minority-promise",
        "a candidate leads with the promises of one server less than a majority (R6)",
        "one leader, log matching",
        30,
        (Candidate, "_lead_if_promised", leads_with_a_minority),
    ),
    plant(
        "promise-not-durable",
        "a voter promises an epoch before its disk has the promise (R1, R6)",
        "one leader, accepted epoch, log matching",
        300,
        (Node, "send_once_durable", promises_at_once),
    ),
    plant(
        "candidate-not-durable",
        "a candidate asks, and leads, before its own promise is durable (R1, R6)",
        "one leader, log matching",
        30,
        (Node, "send_once_durable", campaigns_at_once),
        (Candidate, "_lead_if_promised", leads_before_its_promise_is_durable),
        (Candidate, "enter", asks_and_perhaps_leads_at_once),
        servers=1,
    ),
    plant(
        "promise-given-twice",
        "a voter promises the same epoch to a second candidate (R6)",
        "one leader, log matching",
        300,
        (zab, "consider_candidate", promises_again),
    ),
    plant(
        "promise-forgotten-at-restart",
        "a server comes back without what it has promised (R6)",
        "accepted epoch, one leader",
        20,
        (Node, "__init__", forgets_its_promise),
    ),
    plant(
        "vote-for-any-log",
        "a voter promises to a candidate whose log ends before its own",
        "leader completeness, agreement, truncation, halt",
        100,
        (zab, "answer_poll", polls_any_log),
        (zab, "consider_candidate", votes_for_any_log),
    ),
    plant(
        "wiped-disk-votes",
        "a server that lost its disk counts as before (R16)",
        "commit truth, one leader, leader completeness",
        40,
        (Node, "counts", counts_any_disk),
        (Node, "may_campaign", may_always_campaign),
        (Node, "may_vote_for", may_always_vote),
        mode=Mode.UNIFORM,
    ),
    plant(
        "no-marker",
        "a leader begins its epoch without a marker in the log (R5)",
        "log matching",
        20,
        (Leading, "enter", begins_without_its_marker),
        (Following, "_acknowledge", acknowledges_any_epoch),
    ),
    plant(
        "marker-not-awaited",
        "a leader commits entries of earlier epochs by counting who has them, before its own marker (R5)",
        "leader completeness, agreement, truncation, halt",
        0,  # not within 3,000
        (Leading, "_advance", commits_before_its_marker),
        (Following, "_acknowledge", acknowledges_any_epoch),
    ),
    plant(
        "recovery-ignores-truncations",
        "a restart brings back what was truncated (R2)",
        "log matching, agreement, commit truth, leader completeness, assertions",  # entries out of order trip one
        100,
        (Node, "_replay", ignores_truncations),
    ),
    plant(
        "sync-by-last-zxid",
        "where two logs part is judged by their last zxids alone",
        "log matching",
        50,
        (streams, "common_point", common_by_last_zxid),
    ),
    plant(
        "diff-without-truncation",
        "a follower appends what the leader sends and keeps what it should drop",
        "log matching",
        50,
        (Node, "replace_above", appends_without_truncating),
    ),
    plant(
        "no-stream-nonce",
        "messages of an earlier stream count for the later one; as nothing of an earlier connection is taken in"
        " either, which is the first line of defence, that is planted too (R7)",
        "halt, truncation, commit truth, log matching, agreement, leader completeness",
        0,  # not within 3,000
        (Node, "nonce", always_the_same_nonce),
        (Zab, "_received", takes_messages_of_old_connections),
    ),
    plant(
        "replicated-twice",
        "a leader puts each transaction into the log twice",
        "integrity",
        5,
        (Leading, "_replicate", replicates_twice),
    ),
    plant(
        "outcomes-mixed-up",
        "of several that propose together each is told what became of another's",
        "tokens",
        20,
        (Leading, "on_propose", mixes_up_whose_it_was),
    ),
    plant(
        "proposed-backwards",
        "several transactions that are proposed together are ordered the other way round",
        "primary order",
        20,
        (Leading, "on_propose", proposes_backwards),
    ),
    plant(
        "delivered-before-its-fsync",
        "a server delivers what is committed, though its own disk does not have it yet",
        "delivered <= durable",
        20,
        (Node, "deliver", delivers_what_its_disk_lacks),
    ),
    plant(
        "delivered-with-a-hole",
        "of several transactions that are committed together a server does not deliver the first",
        "zxid order, agreement",
        20,
        (Node, "deliver", delivers_all_but_the_first),
    ),
    plant(
        "no-implicit-connection-end",
        "a new connection is not taken for the end of the old one (R7)",
        "liveness",
        1000,
        (Zab, "_take", keeps_what_the_old_connection_had),
    ),
    plant(
        "no-read-quorum",
        "a leader answers linearizable reads without asking whether it still leads (R13)",
        "read index, linearizable reads",
        300,
        (confirmation, "reached_by_quorum", any_round_confirms),
    ),
    plant(
        "no-check-quorum",
        "a leader that nobody answers leads on (R12)",
        "liveness",
        50,
        (leading, "has_quorum", always_a_quorum),
    ),
    plant(
        "no-epoch-bump",
        "a leader ignores a server that has promised a higher epoch to a candidate that is gone (R11)",
        "liveness",
        1000,
        (Leading, "on_join", ignores_higher_promises),
    ),
    plant(
        "no-sticky-leader",
        "a follower that hears its leader votes for another (R12)",
        "sticky leader",
        10,
        (Following, "leader_heard", hears_nobody),
        (Following, "obeys", obeys_anybody),
        (Following, "grants", grants_anybody),
        mode=Mode.UNIFORM,
    ),
)
