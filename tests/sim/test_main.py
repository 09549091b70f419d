"""`python -m zk.sim` says what happened, and how to see a violation again."""

import pytest

from zk.broadcast.zab.node import Node
from zk.sim.__main__ import main


def test_a_campaign_without_a_violation_says_what_happened_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "2", "--servers", "3", "--mode", "focused"]) == 0
    shown = capsys.readouterr().out
    assert "2 seeds, " in shown
    assert " no violation\n" in shown
    assert " leader\n" in shown


def test_a_violation_is_shown_with_the_command_that_shows_it_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def durable(node: Node, lsn: int) -> None:
        raise AssertionError("planted")

    monkeypatch.setattr(Node, "durable", durable)
    assert main(["--seeds", "3", "--start", "5", "--servers", "1", "--whole"]) == 1
    first, again = capsys.readouterr().out.splitlines()
    assert first.startswith("seed 5 at ")
    assert first.endswith("assertions: AssertionError('planted')")
    assert again == "again: python -m zk.sim --start 5 --seeds 1 --servers 1 --mode uniform --whole --trace"


def test_a_trace_has_a_line_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seeds", "1", "--servers", "1", "--mode", "focused", "--trace"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "       0.000 1        starts (1): Recovered(" in lines[0]
