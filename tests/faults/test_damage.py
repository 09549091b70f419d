"""Files that are not what was written to them, in data directories that have grown old: segments and snapshots were
dropped already, so that not everything can be read again from the beginning."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from zk.faults.disks import cut, flip
from zk.model.errors import NoNodeError
from zk.model.record import ServerId
from zk.model.replies import Created, StatReply
from zk.model.requests import Create, Exists, SetData
from zk.server.config import Address
from zk.server.testing import Ensemble, ServerProcess, Session, free_ports, running, start_ensemble, start_server

if TYPE_CHECKING:
    from tests.faults.conftest import UnderLoad

WRITES = 60_000  # enough for a snapshot
WINDOW = 500
ROUNDS = 3  # the third snapshot makes the first one go, and the log before the second

Harm = Callable[[Path], None]


def grow_old(ensemble: Ensemble) -> None:
    """Write until each server has dropped its first snapshot and the log before the second; and something behind."""
    for number in range(ROUNDS):
        with Session(ensemble.servers[0]) as session:
            assert isinstance(session.ask(Create(f"/{number}", b"")), Created)
            for _ in range(0, WRITES, WINDOW):
                last = [session.send(SetData(f"/{number}", b"x" * 50)) for _ in range(WINDOW)][-1]
                assert isinstance(session.answer(last), StatReply)
        ensemble.wait_until_agreed()
        ensemble.kill()
        ensemble.start()
        ensemble.wait_until_serving()
    with Session(ensemble.servers[0]) as session:
        for number in range(20):
            assert isinstance(session.ask(Create(f"/last-{number}", b"%d" % number)), Created)
    ensemble.wait_until_agreed()
    ensemble.kill()


def copied(grown: Path, to: Path) -> Path:
    subprocess.run(["cp", "-a", "--sparse=always", f"{grown}/.", str(to)], check=True)
    return to


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directories of three servers."""
    path = tmp_path_factory.mktemp("three")
    with start_ensemble(path) as ensemble:
        grow_old(ensemble)
    return path


def segments(data: Path) -> list[Path]:
    return sorted(data.glob("log-*"))


def snapshots(data: Path) -> list[Path]:
    return sorted(data.glob("snapshot-*"))


def empty(path: Path) -> None:
    os.truncate(path, 0)


def each(damage: Harm, found: Callable[[Path], Sequence[Path]]) -> Harm:
    """Do this to all files of a kind."""

    def harm(data: Path) -> None:
        for path in found(data):
            damage(path)

    return harm


def only(damage: Harm, found: Callable[[Path], Sequence[Path]], number: int) -> Harm:
    return lambda data: damage(found(data)[number])


HARMLESS = [
    pytest.param(
        only(flip, segments, 0), "damaged, but not needed any more: log-0000000002, offset ", id="old segment"
    ),
    pytest.param(only(Path.unlink, segments, 0), "", id="old segment gone"),
    pytest.param(only(flip, snapshots, -1), "a snapshot was passed over: snapshot-", id="newest snapshot"),
    pytest.param(only(cut, snapshots, -1), "a chunk has a wrong checksum or is cut off", id="newest snapshot cut"),
    pytest.param(lambda data: flip(data / "mark"), "", id="mark"),
    pytest.param(lambda data: (data / "mark").unlink(), "", id="mark gone"),
]
HARMFUL = [
    pytest.param(only(flip, segments, 1), "a later segment continues this one from", id="middle segment"),
    pytest.param(only(Path.unlink, segments, 1), "the segment is missing between others", id="middle segment gone"),
    pytest.param(only(flip, segments, -1), "the mark file says that all up to", id="newest segment"),
    pytest.param(each(empty, segments), "the file ends within its header", id="segments empty"),
    pytest.param(each(Path.unlink, segments), "missing, but the mark file says", id="segments gone"),
    pytest.param(each(flip, snapshots), "a chunk has a wrong checksum or is cut off", id="snapshots"),
]


# ---- one of several


@pytest.mark.parametrize(("harm", "note"), HARMLESS)
def test_damage_to_what_is_not_needed_costs_no_vote(three: Path, tmp_path: Path, harm: Harm, note: str) -> None:
    copied(three, tmp_path)
    harm(tmp_path / "server-1")
    with start_ensemble(tmp_path) as ensemble:
        ensemble.wait_until_agreed()
        damaged = ensemble.server(1)
        assert note in damaged.log
        assert "learner" not in damaged.log


@pytest.mark.parametrize(("harm", "why"), HARMFUL)
def test_a_damaged_server_says_what_is_wrong_and_is_given_what_it_lost(
    three: Path, tmp_path: Path, under_load: "UnderLoad", harm: Harm, why: str
) -> None:
    copied(three, tmp_path)
    harm(tmp_path / "server-1")
    with start_ensemble(tmp_path) as ensemble, under_load(ensemble):
        damaged = ensemble.server(1)
        line = damaged.wait_for_line("WARNING the log is damaged: ")
        assert why in line
        assert "what is lost with it has to come from the other servers" in line
        assert ".damaged" in damaged.wait_for_line("is set aside as ")  # nothing is thrown away
        damaged.wait_for_line("is learner")


def test_a_damaged_server_elects_nobody_who_lacks_what_it_has_lost(three: Path, tmp_path: Path) -> None:
    """The last writes are with two servers. One of them loses them: no leader without the other."""
    copied(three, tmp_path)
    with start_ensemble(tmp_path) as ensemble:
        leader = ensemble.leader()
        damaged, absent = ensemble.others(leader)
        absent.kill()
        with Session(damaged) as session:
            assert isinstance(session.ask(Create("/acknowledged", b"")), Created)
        ensemble.kill()
        flip(segments(damaged.data)[-1])
        begin = len(absent.lines)
        damaged.start()
        absent.start()
        absent.wait_for_line("no leader for 5 s", since=begin)
        assert (damaged.status().leader, absent.status().leader) == (0, 0)
        leader.start()
        ensemble.wait_until_agreed()
        with Session(absent) as session:
            assert isinstance(session.ask(Exists("/acknowledged")), StatReply)


# ---- alone


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a server that is alone."""
    path = tmp_path_factory.mktemp("one")
    with start_server(path) as server:
        grow_old(Ensemble([server]))
    return path


def server_alone(data: Path) -> ServerProcess:
    return ServerProcess(ServerId(1), Address("127.0.0.1", free_ports(1)[0]), data)


@pytest.mark.parametrize(("harm", "note"), HARMLESS)
def test_damage_to_what_is_not_needed_costs_a_server_alone_nothing(
    one: Path, tmp_path: Path, harm: Harm, note: str
) -> None:
    copied(one, tmp_path)
    harm(tmp_path)
    with running([server_alone(tmp_path)]) as ensemble, Session(ensemble.servers[0]) as session:
        assert note in ensemble.servers[0].log
        assert isinstance(session.ask(Exists("/last-19")), StatReply)


def refusal(server: ServerProcess) -> str:
    """The one line that it says before it ends."""
    server.start()
    assert server.wait() == 1
    (line,) = server.lines
    return line


def obey(line: str) -> str:
    """Run the command that the line names; what it says."""
    command = line.partition("run: zk ")[2].partition(" (")[0].split()
    done = subprocess.run([sys.executable, "-m", "zk.cli", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_server_alone_is_saved_up_to_the_damage(one: Path, tmp_path: Path) -> None:
    copied(one, tmp_path)
    flip(segments(tmp_path)[1])
    server = server_alone(tmp_path)
    said = obey(refusal(server))
    assert f"damage: {segments(one)[1].name} at offset " in said
    assert snapshots(one)[-1].name + " is set aside" in said  # it was taken behind the damage
    with running([server]), Session(server) as session:
        assert isinstance(session.ask(Exists("/1")), StatReply)
        assert isinstance(session.ask(Exists("/last-0")), NoNodeError)


def test_a_server_alone_that_has_lost_its_snapshots_is_saved_with_nothing(one: Path, tmp_path: Path) -> None:
    """What was written behind a snapshot makes no sense without it."""
    copied(one, tmp_path)
    each(flip, snapshots)(tmp_path)
    server = server_alone(tmp_path)
    line = refusal(server)
    assert "(it keeps nothing: the server will be empty, and sets the damaged files aside)" in line
    assert "kept: 0 records" in obey(line)
    with running([server]), Session(server) as session:
        assert isinstance(session.ask(Exists("/0")), NoNodeError)
    assert len(list(tmp_path.glob("*.damaged"))) == len([*segments(one), *snapshots(one)])


def test_a_server_alone_without_a_log_names_no_command_that_could_not_help(one: Path, tmp_path: Path) -> None:
    copied(one, tmp_path)
    each(Path.unlink, segments)(tmp_path)
    line = refusal(server_alone(tmp_path))
    assert "missing, but the mark file says" in line
    assert "Restore the directory from a copy, or move its files away and start with an empty one" in line
    assert "zk salvage" not in line
