"""`zk shell`, over a pipe and at a terminal."""

import os
import pty
import re
import signal
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen

import pytest

from zk.server.testing import ServerProcess

Start = Callable[..., "Popen[str]"]


def run_script(start: Start, script: str, *arguments: str) -> tuple[int, str, str]:
    process = start("shell", *arguments)
    out, err = process.communicate(script, timeout=30)
    return process.returncode, out, err


def test_a_script_runs_line_by_line_over_one_session(start: Start) -> None:
    script = """
        # comments and empty lines are nothing
        create /script
        cd /script
        create -e child one
        pwd
        get child
        ls ..  -o jsonl --prefix script
        ls -o raw
        whoami -o raw
        get .
        rm child
        cd
        rm script
    """
    out = '/script\n/script/child\n/script\none\n{"name":"script"}\nchild\nip\n\n'
    assert run_script(start, script) == (0, out, "")


def test_the_first_error_is_the_exit_code_and_later_lines_still_run(start: Start) -> None:
    script = "get /missing\ncreate /later-lines\nbogus\nget 'open\nrm /later-lines\ncd /missing\ncreate /x -\n"
    code, out, err = run_script(start, script)
    assert (code, out) == (3, "/later-lines\n")
    assert err.splitlines() == [
        "zk: /missing (code -101): the node does not exist",
        "zk: No such command 'bogus'. (see zk --help)",
        "zk: No closing quotation",
        "zk: /missing (code -101): the node does not exist",
        "zk: Invalid value: '-' (stdin) is where the shell reads its commands from; @FILE reads a file",
    ]


def test_exit_ends_a_script(start: Start) -> None:
    assert run_script(start, "exit\nget /missing\n") == (0, "", "")


def test_a_watch_goes_on_in_the_background(start: Start) -> None:
    process = start("shell")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("create /bg\nwatch /bg -r\nunwatch\nset /bg x\n")
    process.stdin.flush()
    lines = [process.stdout.readline() for _ in range(4)]
    assert lines[:2] == ["/bg\n", "1  watch /bg\n"]
    assert "/bg is at version 1\n" in lines
    assert any(line.startswith("DATA_CHANGED /bg 0x") for line in lines)
    process.stdin.write("unwatch 1\nunwatch\nunwatch 1\nrm /bg\n")
    out, err = process.communicate(timeout=30)
    assert out == ""
    assert "there is no watch 1" in err


def test_a_watch_that_can_not_begin_is_an_error_of_its_line(start: Start) -> None:
    code, out, err = run_script(start, "watch /\x01\nunwatch\npwd\n")
    assert (code, out, err.count("\n")) == (2, "/\n", 1)


def test_a_shell_without_a_server_says_so(start: Start) -> None:
    code, out, err = run_script(start, "ls /\n", "--server", "127.0.0.1:1")
    assert (code, out) == (8, "")
    assert err.startswith("zk: ")


def test_the_session_ends_with_the_shell_also_by_sigterm(start: Start) -> None:
    process = start("shell")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("create -e /held\n")
    process.stdin.flush()
    assert process.stdout.readline() == "/held\n"
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    assert run_script(start, "exists /held\n")[1] == "no\n"


class Terminal:
    """A shell at a pseudo terminal: what a person types and sees."""

    def __init__(self, start: Start) -> None:
        self.master, slave = pty.openpty()
        self.process = start("shell", stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.seen = ""

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read_until(self, pattern: str) -> None:
        """Read what is shown up to `pattern`. Colours and cursor movements don't count."""
        while (found := re.search(pattern, re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.seen))) is None:
            self.seen += os.read(self.master, 65_536).decode()
        self.seen = found.string[found.end() :]


@pytest.fixture
def terminal(start: Start, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")  # nobody answers where the cursor is
    terminal = Terminal(start)
    yield terminal
    os.close(terminal.master)


def test_at_a_terminal_there_are_a_prompt_completion_watches_and_history(
    terminal: Terminal, start: Start, tmp_path: Path
) -> None:
    terminal.read_until(r"server 1 \(leader\), session 0x[0-9a-f]+")
    terminal.read_until("zk />")
    terminal.type("cre\t")  # one command begins so
    terminal.read_until("ate")  # only what is new on the screen is drawn
    terminal.type(" /pty-node 'some data'\r")
    terminal.read_until(r"\n/pty-node\r\n")
    terminal.type("get /pty-\t")  # one znode does
    terminal.read_until("node")
    terminal.type(" --lin\t")
    terminal.read_until("earizable")
    terminal.type("\r")
    terminal.read_until("some data\r\n")
    terminal.type("cd pty-node\r")
    terminal.read_until("zk /pty-node>")
    terminal.type("watch . -r\r")
    terminal.read_until("watching /pty-node\r\n")
    start("set", "/pty-node", "changed").wait(10)
    terminal.read_until("DATA_CHANGED /pty-node 0x")  # nobody pressed a key
    terminal.type("rm /pty-node\r")
    terminal.read_until("DELETED /pty-node 0x")
    terminal.type("half a line\x03")  # Ctrl-C gives it up
    terminal.type("nonsense\r")
    terminal.read_until("zk: No such command 'nonsense'")
    terminal.read_until("zk /pty-node>")
    terminal.type("\x04")  # Ctrl-D
    assert terminal.process.wait(10) == 0
    history = next(tmp_path.rglob("history"))
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+cd pty-node\n" in history.read_text()


def test_ctrl_c_ends_a_command_and_not_the_shell(terminal: Terminal, server: ServerProcess) -> None:
    terminal.read_until("zk />")
    terminal.type(f"watch / --server {server.address}\r")  # on a session of its own, so not in the background
    terminal.read_until("watching /")
    terminal.process.send_signal(signal.SIGINT)  # what the terminal makes of Ctrl-C while no prompt reads the keys
    terminal.read_until("zk />")
    terminal.type("exit\r")
    assert terminal.process.wait(10) == 0


def test_help_lists_the_commands_and_explains_one(start: Start) -> None:
    code, out, _ = run_script(start, "help\nhelp create\nhelp cd\n")
    assert code == 0
    for expected in ("unwatch", "tree", "--sequential", "Go to a znode"):
        assert expected in out
    assert "ensemble" not in out


def test_a_process_substitution_is_no_terminal(start: Start) -> None:
    process = start("shell", stdin=subprocess.DEVNULL)
    assert process.wait(10) == 0
