"""Campaigns: what a seed stands for, that the number of processes changes nothing, and what `zk sim` says."""

import os
import pty
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from zk.build import COMPILED
from zk.cli.campaign import numbers_text
from zk.cli.main import main
from zk.sim import Layer, Mode, Plan, Violation, coverage
from zk.sim.campaign import PlantRef, Tally, outcomes, plan_of

TERMINAL = {"TERM": "xterm-256color", "COLUMNS": "120"}
SHORT = "--servers 1 --mode focused --layer broadcast"


@pytest.fixture
def plants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a bug that shows at once, one that shows where a fault strikes, and one that is none."""
    folder = tmp_path / "tests" / "sim" / "plants"
    folder.mkdir(parents=True)
    (folder / "few.py").write_text(
        """
from contextlib import nullcontext
from unittest.mock import patch

from zk.broadcast.zab.node import Node
from zk.sim import Layer, Mode, Plant
from zk.sim import node

def durable(node, lsn):
    raise AssertionError("planted")

def power_cut(disk):
    raise AssertionError("planted")

PLANTS = (
    Plant("at-once", "Fails whatever is durable.", lambda: patch.object(Node, "durable", durable),
          frozenset({"assertions"}), 3, Layer.BROADCAST, Mode.FOCUSED, 1),
    Plant("when-cut", "Fails when power does.", lambda: patch.object(node.Disk, "power_cut", power_cut),
          frozenset({"assertions"}), 20, Layer.BROADCAST, Mode.FOCUSED, 3),
    Plant("none", "Is no bug.", nullcontext, frozenset(), 2, Layer.BROADCAST, Mode.FOCUSED, 1),
)
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("zk.cli.campaign.plants_folder", lambda: folder)
    return folder


# ---- what a seed stands for


def test_every_combination_comes_up_within_110_seeds_and_every_kind_of_run_within_22() -> None:
    plans = [plan_of(seed) for seed in range(5, 115)]
    assert {(plan.servers, plan.mode, plan.layer) for plan in plans} == {
        (servers, mode, layer) for servers in (1, 3, 5, 7) for mode in Mode for layer in Layer
    }
    assert {(plan.servers, plan.mode) for plan in plans[:22]} == {(n, mode) for n in (1, 3, 5, 7) for mode in Mode}


def test_what_is_pinned_does_not_vary() -> None:
    pinned = [plan_of(seed, 5, Mode.FOCUSED, Layer.BROADCAST) for seed in range(3)]
    assert pinned == [Plan(seed, 5, Mode.FOCUSED, Layer.BROADCAST) for seed in range(3)]


# ---- processes


def test_the_number_of_processes_changes_nothing(plants: Path) -> None:
    plans = [plan_of(seed, 1, Mode.FOCUSED, Layer.BROADCAST) for seed in range(12)]
    assert list(outcomes(plans, jobs=2)) == list(outcomes(plans, jobs=1))


def test_the_first_violation_by_seed_ends_a_campaign_whatever_the_number_of_processes(plants: Path) -> None:
    plant = PlantRef(plants, "when-cut")
    plans = [plan_of(seed, 3, Mode.FOCUSED, Layer.BROADCAST) for seed in range(20)]

    def ending(jobs: int) -> tuple[int, str]:
        tally = Tally()
        for outcome in outcomes(plans, jobs, plant):
            tally.add(outcome)
        assert isinstance(outcome, Violation)
        return tally.events, str(outcome)

    events, violation = ending(jobs=1)
    assert "AssertionError('planted') in few.py:" in violation
    assert ending(jobs=2) == (events, violation)


def test_ctrl_c_ends_a_campaign_that_shows_how_far_it_is_without_a_word_from_its_processes() -> None:
    screen, terminal = pty.openpty()
    command = [sys.executable, "-m", "zk.cli", "sim", "--seeds", "100000", "--jobs", "2"]
    campaign = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=terminal, text=True, start_new_session=True, env=os.environ | TERMINAL
    )
    os.close(terminal)
    shown = ""
    while not re.search(r"[1-9]\d*/100000", shown):
        shown += os.read(screen, 4096).decode()
    os.killpg(campaign.pid, signal.SIGINT)  # as a terminal does: to all of its processes
    with suppress(OSError):  # the end, on a terminal
        while more := os.read(screen, 4096):
            shown += more.decode()
    os.close(screen)
    assert campaign.communicate(timeout=20)[0] == ""
    assert campaign.returncode == 130
    assert "Traceback" not in shown


# ---- the command


def test_a_campaign_says_what_happened_how_often(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--seeds", "2", "--jobs", "1", *SHORT.split()]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert re.match(r"2 seeds, [\d,]+ events, [\d,]+ events/s, 2\d s of virtual time: .*deliver [\d,]+, ", last)


def test_digests_of_the_same_seeds_are_the_same_and_those_of_others_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for start, nature in ((7, 0), (7, 0), (7, 1)):
        options = f"--start {start} --seeds 2 --nature {nature} {SHORT}"
        assert main(["sim", "--digest", *options.split()]) == 0
        said.append(capsys.readouterr().out)
    assert re.match(
        r"[0-9a-f]{32} up to seed 7\n[0-9a-f]{32} up to seed 8\n2 seeds, [\d,]+ events, [\d,]+ s of", said[0]
    )
    assert said[0] == said[1]
    assert said[0].splitlines()[0] != said[2].splitlines()[0]


def test_a_campaign_that_never_met_what_it_is_to_prove_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage, "SEEDS_MIN", 1)
    assert main(["sim", "--seeds", "1", "--start", "17", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("never happened, so that nothing is proved about it: ")
    assert "answers" in said.splitlines()[0]
    assert main(["sim", "--seeds", "1", "--start", "17", "--jobs", "1", *SHORT.split()]) == 0  # it was not to vary


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_a_violation_is_shown_with_the_shortest_run_and_both_commands(
    plants: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim", "--plant", "when-cut", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    again = re.findall(r"^  zk (sim .*)$", said, re.MULTILINE)
    seed = re.search(r"^seed (\d+) at ", said, re.MULTILINE)[1]  # type: ignore[index]  # or the test fails
    assert again[0] == f"sim --start {seed} --seeds 1 --servers 3 --mode focused --layer broadcast --plant when-cut"
    assert re.fullmatch(
        rf"sim --start {seed} --seeds 1 --servers [13] --mode focused --layer broadcast --plant when-cut"
        r"( --only-faults [\d,-]+)?( --only-wishes \S+)? --trace",
        again[1],
    )
    assert "a fault" not in said
    trace = Path(re.search(r"all are in (.*)$", said, re.MULTILINE)[1])  # type: ignore[index]  # or the test fails
    lines = trace.read_text().splitlines()
    trace.unlink()
    assert "VIOLATION assertions: AssertionError('planted')" in lines[-1]
    assert main(again[1].split()) == 1
    assert capsys.readouterr().out.splitlines()[: len(lines)] == lines  # it is the same run


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_a_planted_bug_that_survives_is_said_to(plants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--plant", "none"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "the planted bug survived: none"
    assert said[1].startswith("2 seeds, ")


def test_the_plants_are_listed(plants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--list-plants"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "name      runs                 seeds  what",
        "at-once   broadcast focused 1      3  Fails whatever is durable.",
        "when-cut  broadcast focused 3     20  Fails when power does.",
        "none      broadcast focused 1      2  Is no bug.",
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--plant nothing", "has no plant 'nothing': zk sim --list-plants lists them"),
        ("--servers 2", "2 is not one of 1, 3, 5, 7"),
        ("--mode sometimes", "'sometimes' is not one of 'uniform', 'focused'"),
        ("--only-faults 3-x", "'3-x' is no list of numbers and ranges, as in 3,5-9, nor 'none'"),
        ("--only-wishes none --seeds 2", "a run is shortened by itself: with --only-… or --war-ms, --seeds is 1"),
    ],
)
def test_a_wrong_option_is_told(plants: Path, capsys: pytest.CaptureFixture[str], words: str, said: str) -> None:
    assert main(["sim", *words.split()]) == 2
    assert said in capsys.readouterr().err


def test_without_a_source_checkout_nothing_can_be_planted(
    plants: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zk.cli.campaign.plants_folder", lambda: None)
    assert main(["sim", "--list-plants"]) == 2
    assert "in tests/sim/plants of a source checkout: run zk sim in one" in capsys.readouterr().err


def test_numbers_are_written_as_ranges() -> None:
    assert numbers_text(frozenset({3, 5, 6, 7, 9})) == "3,5-7,9"
    assert numbers_text(frozenset()) == "none"


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_where_no_seed_finds_a_planted_bug_its_story_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--plant", "marker-not-awaited", "--seeds", "1", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert said.startswith("no seed found marker-not-awaited, but its story does: an_entry_of_an_earlier_epoch")
    assert "leader completeness" in said


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_a_story_whose_own_claim_does_not_hold_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--plant", "deadline-ignored", "--seeds", "1", "--layer", "broadcast", "--jobs", "1"]) == 1
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "no seed found deadline-ignored, but its story does: a_waiter_gives_up_in_time_and_leaves_nothing"
    assert second == "  its own claim does not hold"
