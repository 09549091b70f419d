"""The simulator finds what it is there to find: an engine with a known defect is caught within its budget of seeds.

The defects are planted from here, into production code that knows nothing of it.
"""

from collections.abc import Mapping, Sequence

import pytest

from zk.broadcast.messages import Ack, AckEpoch, Message, Proposal
from zk.broadcast.quorum import committed_zxid
from zk.broadcast.zab.following import Following
from zk.broadcast.zab.leading import Leading
from zk.broadcast.zab.node import Node
from zk.broadcast.zab.stance import Move
from zk.model.record import ServerId, Zxid
from zk.sim import Mode, Violation, run


def first_violation(mode: Mode, seeds: int, servers: int = 3) -> str:
    """Which invariant breaks first within so many seeds; '' if none does."""
    for seed in range(seeds):
        try:
            run(seed, servers, mode)
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
