"""The demo as a whole, on real processes."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.disks import quick_directory

CLAIMS = (
    "every file's hash is right",
    "every result was recorded exactly once",
    "no fencing token went backwards",
    "no acknowledged write is missing, none was done twice",
    "all servers agree on zxid and digest",
    "no process ended unasked",
)


@pytest.mark.slow
def test_the_demo_holds_itself_to_account_and_finds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(60):
        (source / f"{number}.txt").write_text(f"file {number}\n" * number)
    with quick_directory() as data:
        monkeypatch.setenv("TMPDIR", str(data))
        began_s = time.monotonic()
        ran = subprocess.run(
            [sys.executable, "-m", "zk.cli", "demo", "--source", str(source)],
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert (ran.returncode, ran.stderr) == (0, ""), ran.stdout
        assert time.monotonic() - began_s < 30
        assert not any(data.iterdir())  # nothing is left behind
    assert "\x1b" not in ran.stdout  # plain lines, since this is no terminal
    assert re.findall(r"^ok     (.*?):", ran.stdout, re.MULTILINE) == list(CLAIMS)
    assert re.search(r"s\d, the leading server, is killed with -9", ran.stdout)
    assert re.search(r"w\d, the leading worker, is killed with -9", ran.stdout)
    assert re.search(r"the service took no writes for \d+ ms at the failover", ran.stdout)


def test_a_directory_without_files_is_refused(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "zk.cli", "demo", "--source", str(tmp_path)], capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "has 0 files" in ran.stderr


def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    demo = subprocess.Popen(
        [sys.executable, "-m", "zk.cli", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert demo.stdout is not None
        while "won the workers' election" not in demo.stdout.readline():
            pass
        demo.send_signal(signal.SIGINT)
        _, err = demo.communicate(timeout=20)
    finally:
        demo.kill()
        demo.communicate()
    assert (demo.returncode, err) == (130, "")
    assert not any(tmp_path.iterdir())
