"""The commands on znodes, against a real server: what they print, and their exit codes."""

import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import NamedTuple

import pytest
import yaml

from zk.cli.main import main
from zk.server.testing import ServerProcess


class Outcome(NamedTuple):
    """What a run of `zk` came to."""

    code: int
    out: str
    err: str


Zk = Callable[..., Outcome]


@pytest.fixture
def zk(server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Zk:
    """Runs a command in this process against the server, whose tree was emptied before."""
    monkeypatch.setenv("ZK_SERVER", str(server.address))

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = main(list(arguments))
        return Outcome(code, *capfd.readouterr())

    for name in run("ls", "/").out.split():
        if name != "zookeeper":
            assert run("rm", "-r", f"/{name}") == (0, "", "")
    return run


def test_what_is_created_can_be_read_changed_and_removed(zk: Zk) -> None:
    assert zk("create", "/a", "one") == (0, "/a\n", "")
    assert zk("get", "/a") == (0, "one", "")
    assert zk("set", "/a", "two") == (0, "/a is at version 1\n", "")
    assert zk("get", "/a").out == "two"
    assert zk("exists", "/a") == (0, "yes\n", "")
    assert zk("rm", "/a") == (0, "", "")
    assert zk("exists", "/a") == (3, "no\n", "")


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["get", "/missing"], 3, "/missing (code -101)"),
        (["stat", "/missing"], 3, "/missing (code -101)"),
        (["ls", "/missing"], 3, "/missing (code -101)"),
        (["create", "/a"], 4, "/a (code -110)"),
        (["set", "/a", "x", "--version", "7"], 5, "/a (code -103)"),
        (["rm", "/a", "--version", "7"], 5, "/a (code -103)"),
        (["rm", "/a"], 6, "/a (code -111)"),
        (["set", "/locked", "x"], 7, "/locked (code -102)"),
        (["get", "/a", "--server", "127.0.0.1:1"], 8, "no server"),
        (["get"], 2, "Missing argument 'PATH'. (see zk get --help)"),
        (["gte", "/a"], 2, "Did you mean 'get'?"),
        (["get", "/a", "--bogus"], 2, "No such option: --bogus (see zk get --help)"),
        (["get", "/\x01"], 2, "is not allowed in a path"),
        (["create", "/x", "@/no/such/file"], 1, "No such file"),
        (["acl", "/a", "world:anyone"], 2, "SCHEME:ID:PERMS"),
        (["watch", "/a", "--since", "abc"], 2, "is not a zxid"),
    ],
)
def test_a_refusal_is_one_line_and_its_own_exit_code(
    zk: Zk, arguments: list[str], code: int, complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    zk("create", "-p", "/a/b")
    zk("create", "/locked", "--acl", "world:anyone:r")
    if "--server" in arguments:
        monkeypatch.setattr("zk.cli.console.CALL_TIMEOUT_S", 0.5)
    outcome = zk(*arguments)
    assert (outcome.code, outcome.out, outcome.err.count("\n")) == (code, "", 1)
    assert outcome.err.startswith("zk: ")
    assert complaint in outcome.err


def test_data_comes_from_an_argument_a_file_or_stdin(zk: Zk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(b"from a file")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"from \x00 stdin")))
    zk("create", "/file", f"@{tmp_path}/data")
    zk("create", "/stdin", "-")
    assert zk("get", "/file").out == "from a file"
    assert zk("get", "/stdin").out == "from \x00 stdin"


def test_get_in_each_format(zk: Zk) -> None:
    zk("create", "/a", "text")
    record = json.loads(zk("get", "/a", "-o", "json").out)
    assert (record["path"], record["data"], record["stat"]["data_length"]) == ("/a", "text", 4)
    assert json.loads(zk("get", "/a", "-o", "jsonl").out) == record
    assert yaml.safe_load(zk("get", "/a", "-o", "yaml").out) == record
    assert "data             text\n" in zk("get", "/a", "-o", "table").out
    assert zk("get", "/a", "-o", "raw").out == "text"


def test_every_kind_of_node_can_be_created(zk: Zk) -> None:
    assert zk("create", "--parents", "/q/deep/er").out == "/q/deep/er\n"
    assert zk("create", "--sequential", "/q/job-").out == "/q/job-0000000001\n"
    assert zk("create", "--sequential", "/q/").out == "/q/0000000002\n"
    assert zk("create", "--container", "/box").code == 0
    assert zk("create", "--ttl", "60000", "/brief").code == 0
    assert zk("create", "--ttl", "60000", "--ephemeral", "/both").code == 2


def test_ls_pages_through_a_large_directory(zk: Zk) -> None:
    zk("create", "/many")
    names = [zk("create", "--sequential", "/many/n").out.split("/")[-1].strip() for _ in range(5)]
    assert zk("ls", "/many").out.split() == names
    assert zk("ls", "/many", "-n", "2").out.split() == names[:2]
    assert zk("ls", "/many", "-n", "2", "--after", names[1]).out.split() == names[2:4]
    assert zk("ls", "/many", "--prefix", names[3]).out.split() == [names[3]]
    header, *rows = zk("ls", "-l", "/many").out.splitlines()
    assert header.split() == ["name", "version", "data_length", "num_children", "mtime", "owner"]
    assert [row.split()[0] for row in rows] == names
    assert [json.loads(line)["name"] for line in zk("ls", "-l", "/many", "-o", "jsonl").out.splitlines()] == names


def test_tree_and_count_see_the_whole_subtree(zk: Zk) -> None:
    zk("create", "-p", "/t/a/b")
    zk("create", "/t/c")
    assert zk("tree", "/t").out == "a\n  b\nc\n"
    assert zk("tree", "/t", "-o", "table").out.split() == ["path", "/t/a", "/t/a/b", "/t/c"]
    assert zk("count", "/t").out == "3\n"
    assert zk("rm", "-r", "/t").code == 0
    assert zk("exists", "/t").code == 3


def test_stat_shows_the_eleven_figures(zk: Zk) -> None:
    zk("create", "/a", "xyz")
    lines = dict(line.split() for line in zk("stat", "/a").out.splitlines())
    assert " ".join(lines) == (
        "czxid mzxid pzxid ctime mtime version cversion aversion ephemeral_owner data_length num_children"
    )
    assert (lines["czxid"], lines["data_length"]) == (lines["mzxid"], "3")


def test_acl_is_shown_as_it_is_set(zk: Zk) -> None:
    zk("create", "/a")
    assert zk("acl", "/a").out == "world:anyone:cdrwa\n"
    assert zk("acl", "/a", "world:anyone:r", "ip:127.0.0.1:cdrwa").code == 0
    assert zk("acl", "/a").out == "world:anyone:r\nip:127.0.0.1:cdrwa\n"
    assert zk("set", "/a", "granted by ip").code == 0


def test_auth_makes_the_difference(zk: Zk, monkeypatch: pytest.MonkeyPatch) -> None:
    zk("create", "/mine", "secret", "--acl", "auth::cdrwa", "--auth", "me:password")
    assert zk("get", "/mine").code == 7
    assert zk("get", "/mine", "--auth", "me:password").out == "secret"
    assert any(line.startswith("digest  me:") for line in zk("whoami", "--auth", "me:password").out.splitlines())
    monkeypatch.setenv("ZK_AUTH", "me:password")
    assert zk("get", "/mine").out == "secret"


def test_a_linearizable_read_is_a_read(zk: Zk) -> None:
    zk("create", "/a", "x")
    assert zk("get", "/a", "--linearizable").out == "x"
    assert zk("ls", "/", "-L").out.split() == ["a", "zookeeper"]


def test_status_shows_every_server_and_needs_a_leader(zk: Zk, server: ServerProcess) -> None:
    good = zk("status", "-o", "jsonl")
    record = json.loads(good.out)
    assert (good.code, record["server"], record["role"], record["id"]) == (0, str(server.address), "leader", 1)
    mixed = zk("status", str(server.address), "127.0.0.1:1", "-o", "jsonl")
    assert mixed.code == 0
    assert [json.loads(line)["role"] for line in mixed.out.splitlines()] == ["leader", "unreachable"]
    none = zk("status", "127.0.0.1:1")
    assert (none.code, none.out.splitlines()[1].split()[:3]) == (8, ["127.0.0.1:1", "-", "unreachable"])


def test_a_pipe_that_is_closed_early_is_no_error_message(zk: Zk, start: Callable[..., "Popen[str]"]) -> None:
    process = start("tree", "/zookeeper")
    process.stdout.close()  # type: ignore[union-attr]  # it is a pipe
    assert process.stderr is not None
    assert process.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_ephemeral_lives_as_long_as_the_command(
    zk: Zk, start: Callable[..., "Popen[str]"], number: signal.Signals
) -> None:
    process = start("create", "-e", "/here", "x")
    assert process.stdout is not None
    assert process.stdout.readline() == "/here\n"
    assert process.stderr is not None
    assert process.stderr.readline() == "holding /here; Ctrl-C ends it\n"
    assert zk("get", "/here").out == "x"
    process.send_signal(number)
    assert process.wait() == 0
    assert zk("exists", "/here").code == 3  # at once: the session was closed, not left to expire


def test_watch_streams_changes_until_ctrl_c(zk: Zk, start: Callable[..., "Popen[str]"]) -> None:
    zk("create", "/w")
    process = start("watch", "/w", "-r", "-o", "jsonl")
    assert process.stderr is not None
    assert process.stdout is not None
    assert process.stderr.readline() == "watching /w\n"
    zk("create", "/w/a")
    zk("set", "/w/a", "x")
    zk("rm", "/w/a")
    events = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert [(event["event"], event["path"]) for event in events] == [
        ("CREATED", "/w/a"),
        ("DATA_CHANGED", "/w/a"),
        ("DELETED", "/w/a"),
    ]
    process.send_signal(signal.SIGINT)
    assert process.wait() == 0
    since = start("watch", "/w", "-r", "--since", events[0]["zxid"])
    assert since.stdout is not None
    assert since.stdout.readline() == f"DATA_CHANGED /w/a {events[1]['zxid']}\n"
    assert since.stdout.readline() == f"DELETED /w/a {events[2]['zxid']}\n"
