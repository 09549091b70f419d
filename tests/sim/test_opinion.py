"""The second opinion is no echo of the witness: it notices by itself what clients must not be told."""

from dataclasses import replace

import pytest

from zk.model.replies import Reply
from zk.model.znode import Znode
from zk.sim import Layer, Mode, Plan, Violation, run
from zk.sim.links import Caller
from zk.sim.opinion import SecondOpinion

PLAN = Plan(1, 3, Mode.FOCUSED, Layer.SERVICE)


def test_every_run_has_its_history_checked() -> None:
    assert run(PLAN).counters["histories"] == 1


def test_an_answer_from_the_past_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = SecondOpinion.answered

    def from_the_past(self: SecondOpinion, caller: Caller, reply: Reply) -> None:
        if isinstance(reply.body, Znode) and reply.body.version > 0:
            reply = replace(reply, body=replace(reply.body, version=reply.body.version - 1))
        answered(self, caller, reply)

    monkeypatch.setattr(SecondOpinion, "answered", from_the_past)
    with pytest.raises(Violation, match=r"linearizability: no order explains the operations on /key-\d"):
        run(PLAN)


def test_answers_that_never_arrive_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = SecondOpinion.answered

    def now_and_then(self: SecondOpinion, caller: Caller, reply: Reply) -> None:
        if reply.zxid % 10:
            answered(self, caller, reply)

    monkeypatch.setattr(SecondOpinion, "answered", now_and_then)
    run(PLAN)
