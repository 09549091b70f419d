"""Children never outlive the process that started them."""

import subprocess
import sys
from pathlib import Path

import pytest

from zk.build import VERSION
from zk.cli import lifeline

CHILD = """
import os, signal, time
from zk.cli import lifeline
{stubborn}
lifeline.follow()
os.write(1, b"up\\n")
time.sleep(60)
"""
PARENT = """
import time
from zk.cli import lifeline
lifeline.STOP_GRACE_S = 0.5
children = [lifeline.spawn(["-c", {child!r}]) for _ in range(2)]
time.sleep(60)
"""


def all_end_with_the_parent(stubborn: str) -> None:
    """A pipe that only the parent and its children hold ends when the last of them has ended."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT.format(child=CHILD.format(stubborn=stubborn))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        assert {parent.stdout.readline() for _ in range(2)} == {"up\n"}
        parent.kill()
        assert parent.stdout.read() == ""
    finally:
        parent.kill()
        parent.communicate()


def test_children_end_when_the_parent_is_killed() -> None:
    all_end_with_the_parent("")


def test_a_child_that_ignores_sigterm_ends_too() -> None:
    all_end_with_the_parent("signal.signal(signal.SIGTERM, signal.SIG_IGN); lifeline.STOP_GRACE_S = 0.5")


def test_stop_all_waits_for_all_and_kills_who_does_not_listen() -> None:
    program = """
import signal, subprocess, sys
from zk.cli import lifeline
lifeline.STOP_GRACE_S = 0.5
sleeper = "import time; print('up', flush=True); time.sleep(60)"
deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + sleeper
children = [lifeline.spawn(["-c", program], subprocess.PIPE) for program in (sleeper, deaf)]
for child in children:
    child.stdout.readline()
lifeline.stop_all(children)
print([child.returncode for child in children])
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "[-15, -9]\n"


def test_a_child_imports_nothing_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "zk.py").write_text("raise SystemExit('of somebody else')")
    monkeypatch.chdir(tmp_path)
    output, _ = lifeline.spawn(["-m", "zk.cli", "--version"], subprocess.PIPE).communicate()
    assert output == f"{VERSION}\n"
