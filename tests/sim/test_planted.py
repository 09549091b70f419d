"""The simulator finds what it is there to find: an engine with a known defect is caught within its budget of seeds.

The defects are planted from here, into production code that knows nothing of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from zk.broadcast.messages import Ack, AckEpoch, Message, Proposal
from zk.broadcast.quorum import committed_zxid
from zk.broadcast.zab.following import Following
from zk.broadcast.zab.leading import Leading
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.stance import Move
from zk.model.acl import Acl
from zk.model.events import WatchEvent
from zk.model.record import ConnectionId, ServerId, Zxid
from zk.model.requests import Call
from zk.replica.client import Client, Pending
from zk.replica.clients import Clients
from zk.replica.reads import LinearizableReads
from zk.sim import Layer, Mode, Plan, Violation, run
from zk.tree.changes import Change
from zk.tree.watches import WatchTable


def first_violation(mode: Mode, seeds: int, layer: Layer = Layer.BROADCAST) -> str:
    """Which invariant breaks first within so many seeds; '' if none does."""
    for seed in range(seeds):
        try:
            run(Plan(seed, 3, mode, layer))
        except Violation as violation:
            return violation.invariant
    return ""


both_modes = pytest.mark.parametrize("mode", list(Mode))


@both_modes
def test_an_ack_before_the_fsync_is_found(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    class Hasty(Following):
        def on_proposal(self, peer: ServerId, message: Proposal) -> Move | None:
            move = super().on_proposal(peer, message)
            if move is None:
                self.node.send(peer, Ack(self.epoch, message.stream, self.node.history.last))
            return move

    monkeypatch.setattr("zk.broadcast.zab.zab.Following", Hasty)
    assert first_violation(mode, seeds=5) == "commit truth"


@both_modes
def test_a_leader_that_counts_itself_before_its_fsync_is_found(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    class Hasty(Leading):
        def _advance(self) -> Move | None:
            def with_unsynced(acked: Mapping[ServerId, Zxid], configs: Sequence[frozenset[ServerId]]) -> Zxid:
                return committed_zxid({**acked, self.node.server_id: self.node.history.last}, configs)

            monkeypatch.setattr("zk.broadcast.zab.leading.committed_zxid", with_unsynced)
            return super()._advance()

    monkeypatch.setattr("zk.broadcast.zab.zab.Leading", Hasty)
    assert first_violation(mode, seeds=5) == "commit truth"


@both_modes
def test_a_commit_by_a_minority_is_found(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    def by_minority(acked: Mapping[ServerId, Zxid], configs: Sequence[frozenset[ServerId]]) -> Zxid:
        return sorted(acked.values(), reverse=True)[len(configs[0]) // 2 - 1]

    monkeypatch.setattr("zk.broadcast.zab.leading.committed_zxid", by_minority)
    assert first_violation(mode, seeds=5) == "commit truth"


def test_a_promise_that_is_given_before_it_is_durable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Node.send_once_durable

    def promise_at_once(node: Node, peer: ServerId, message: Message) -> None:
        if isinstance(message, AckEpoch):
            node.send(peer, message)
        else:
            held(node, peer, message)

    monkeypatch.setattr(Node, "send_once_durable", promise_at_once)
    assert first_violation(Mode.FOCUSED, seeds=400) != ""


@both_modes
def test_a_linearizable_read_without_the_leaders_word_is_found(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    def at_once(reads: LinearizableReads, client: Client, pending: Pending) -> None:
        pending.at_least = pending.call.at_least

    monkeypatch.setattr(LinearizableReads, "add", at_once)
    assert first_violation(mode, 5, Layer.SERVICE) == "linearizable reads"


@both_modes
def test_a_lost_watch_is_found(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    fire = WatchTable.fire
    fired = 0

    def now_and_then(
        table: WatchTable, change: Change, may_read: Callable[[ConnectionId, tuple[Acl, ...]], bool]
    ) -> Sequence[tuple[ConnectionId, WatchEvent]]:
        nonlocal fired
        fired += 1
        return fire(table, change, may_read) if fired % 20 else ()

    monkeypatch.setattr(WatchTable, "fire", now_and_then)
    assert first_violation(mode, 5, Layer.SERVICE) == "watches"


@both_modes
def test_an_answer_that_is_forgotten_before_it_arrived_is_found(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    received = Clients.received

    def as_if_all_had_arrived(clients: Clients, connection: ConnectionId, calls: Sequence[Call]) -> None:
        received(clients, connection, [replace(call, floor=call.xid) for call in calls])

    monkeypatch.setattr(Clients, "received", as_if_all_had_arrived)
    assert first_violation(mode, 5, Layer.SERVICE) == "exactly once"
