"""Disks that are full, read-only, emptied while they are used, or were put back from an old copy."""

import shutil
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from zkclient import AsyncZooKeeper

from zk.faults.disks import Disk, mount_small_disk, why_not
from zk.model.errors import NoNodeError, ThrottledError
from zk.model.record import ServerId
from zk.model.replies import Created, StatReply
from zk.model.requests import Create, Exists
from zk.server.config import Address
from zk.server.testing import TIMEOUT_S, Ensemble, ServerProcess, Session, free_ports, start_ensemble, start_server

if TYPE_CHECKING:
    from tests.faults.conftest import UnderLoad

ONE_SERVER_MIB = 330  # a segment, the ballast, and somewhat more than the low-water mark
THREE_SERVERS_MIB = 460


@pytest.fixture(scope="module")
def mounting(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Small disks can be mounted."""
    if reason := why_not(tmp_path_factory.mktemp("mounting")):
        pytest.skip(reason)


@pytest.fixture
def small_disk(mounting: None, tmp_path: Path) -> Iterator[Disk]:
    """A disk for server 3 of those that are started at `tmp_path`."""
    with mount_small_disk(tmp_path / "small", ONE_SERVER_MIB) as disk:
        (disk.path / "data").mkdir()
        (tmp_path / "server-3").symlink_to(disk.path / "data")
        yield disk


def make_leader(ensemble: Ensemble, wanted: ServerProcess) -> None:
    while (leader := ensemble.wait_until_serving()) is not wanted:
        leader.terminate()
        leader.start()


def is_there(session: Session, path: str) -> bool:
    answer = session.ask(Exists(path), linearizable=True)
    assert isinstance(answer, StatReply | NoNodeError)
    return isinstance(answer, StatReply)


def created(session: Session, path: str, data: bytes = b"") -> bool:
    answer = session.ask(Create(path, data))
    assert isinstance(answer, Created | ThrottledError)
    if isinstance(answer, ThrottledError):
        assert "the disk of this server is nearly full: it takes neither writes nor new sessions" in str(answer)
    return isinstance(answer, Created)


def until_created(session: Session, wanted: bool) -> str:
    """Create nodes until one is created, or refused; its path. What a server says of its disk is so a moment later."""
    paths = (f"/{'taken' if wanted else 'refused'}-{number}" for number in count())
    deadline_s = time.monotonic() + TIMEOUT_S
    while created(session, path := next(paths)) is not wanted:
        assert time.monotonic() < deadline_s
    return path


def ends(server: ServerProcess) -> str:
    """Wait until it has ended by itself; the last thing that it says."""
    assert server.wait() == 1
    return server.lines[-1]


# ---- full


def test_a_leader_whose_disk_is_nearly_full_hands_over_reads_on_and_writes_again(
    tmp_path: Path, small_disk: Disk, under_load: "UnderLoad"
) -> None:
    with start_ensemble(tmp_path) as ensemble:
        full = ensemble.server(3)
        make_leader(ensemble, full)
        with Session(full) as session, under_load(ensemble) as recorder:
            assert created(session, "/before")
            small_disk.fill(but_mib=100)
            full.wait_for_line("ERROR the disk is nearly full (100 MiB left): writes are refused from now on")
            ensemble.wait_for_leader(other_than=full)
            refused = until_created(session, wanted=False)
            assert is_there(session, "/before")
            with pytest.raises(ThrottledError):
                Session(full)
            recorder.wait_for_answers(50)
            begin = len(full.lines)
            small_disk.empty()
            full.wait_for_line("INFO the disk has room again", since=begin)
            until_created(session, wanted=True)
            assert not is_there(session, refused)


async def write_until_it_ends(writer: AsyncZooKeeper, server: ServerProcess) -> None:
    """Write more than the segment that the server has, and its ballast."""
    async with writer as zk:
        for number in range(100):
            if not server.running:
                break
            await zk.create(f"/big-{number}", bytes(950_000))


def test_a_log_that_finds_no_room_ends_its_server_with_a_word_and_loses_nothing(
    tmp_path: Path, small_disk: Disk, under_load: "UnderLoad"
) -> None:
    with start_ensemble(tmp_path) as ensemble:
        full = ensemble.server(3)
        with under_load(ensemble) as recorder:
            small_disk.fill()
            others = ",".join(str(server.address) for server in ensemble.others(full))
            anyio.run(write_until_it_ends, AsyncZooKeeper(others), full)
            line = ends(full)
            assert f"CRITICAL server 3 ends: {full.data}/log-0" in line
            assert "the log can't be written: No space left on device. Make room on that disk, then start this" in line
            recorder.wait_for_answers(50)
            small_disk.empty()
            full.start()


@pytest.mark.usefixtures("mounting")
def test_servers_whose_disks_are_all_full_refuse_writes_and_go_on_reading(
    tmp_path: Path, under_load: "UnderLoad"
) -> None:
    with (
        mount_small_disk(tmp_path / "small", THREE_SERVERS_MIB) as disk,
        start_ensemble(disk.path) as ensemble,
        Session(ensemble.servers[0]) as session,
        under_load(ensemble),
    ):
        assert created(session, "/before")
        disk.fill(but_mib=60)
        for server in ensemble.servers:
            server.wait_for_line("writes are refused from now on")
        ensemble.wait_until_serving()
        refused = until_created(session, wanted=False)
        assert is_there(session, "/before")
        disk.empty()
        for server in ensemble.servers:
            server.wait_for_line("writes are taken")
        until_created(session, wanted=True)
        assert not is_there(session, refused)


@pytest.mark.usefixtures("mounting")
def test_a_server_finds_no_room_to_begin(tmp_path: Path) -> None:
    with mount_small_disk(tmp_path / "small", 2) as disk:
        server = ServerProcess(ServerId(1), Address("127.0.0.1", free_ports(1)[0]), disk.path / "data")
        server.start()
        line = ends(server)
    assert "No space left on device" in line
    assert "Check that the disk is not full" in line


@pytest.mark.usefixtures("mounting")
def test_a_directory_on_a_read_only_disk_is_refused(tmp_path: Path) -> None:
    with mount_small_disk(tmp_path / "small", ONE_SERVER_MIB) as disk:
        with start_server(disk.path / "data") as server:
            server.terminate()
        disk.make_readonly()
        server.start()
        line = ends(server)
    assert f"CRITICAL server 1 ends: {server.data}" in line
    assert "the data directory can't be opened: Read-only file system. Give this user read and write perm" in line


# ---- taken away while in use


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_server_whose_directory_is_removed_ends_and_comes_back_with_an_empty_one(
    tmp_path: Path, under_load: "UnderLoad", role: str
) -> None:
    with start_ensemble(tmp_path) as ensemble, under_load(ensemble) as recorder:
        leader = ensemble.leader()
        robbed = leader if role == "leader" else ensemble.others(leader)[0]
        shutil.rmtree(robbed.data)
        line = ends(robbed)
        assert f"CRITICAL server {robbed.id} ends: {robbed.data}, offset 0: the data directory was removed" in line
        assert "start with an empty one: the other servers of an ensemble give this one all they have" in line
        recorder.wait_for_answers(50)
        robbed.start()


def test_two_of_three_directories_removed_found_no_new_ensemble(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        *robbed, survivor = ensemble.servers
        with Session(survivor) as session:
            assert created(session, "/before")
            for server in robbed:
                shutil.rmtree(server.data)
            for server in robbed:
                ends(server)
            for server in robbed:  # not before: with the other one still there, the first would be given a vote again
                server.start()
            lines = [server.wait_for_line("WARNING no leader for 5 s") for server in ensemble.servers]
        assert {server.status().leader for server in ensemble.servers} == {0}
        assert survivor.status().znodes == 5
        assert (
            "The data directory of server 1, server 2 was emptied, replaced or damaged: that costs the vo" in lines[2]
        )
        assert "This server's directory is empty, or was: it can't vote for what others have" in lines[0]


# ---- from another time, from another place


def test_a_directory_put_back_from_an_old_copy_loses_nothing_that_the_others_have(
    tmp_path: Path, under_load: "UnderLoad"
) -> None:
    """Promised: nothing is lost as long as what was acknowledged since the copy is with a majority of the others. Not
    promised, since a copy can't be told from the original: that the server does not count with what it has forgotten.
    """
    with start_ensemble(tmp_path / "servers") as ensemble, under_load(ensemble) as recorder:
        leader = ensemble.leader()
        restored, _ = ensemble.others(leader)
        restored.kill()
        shutil.copytree(restored.data, tmp_path / "copy")
        restored.start()
        restored.wait_until_serving()
        recorder.wait_for_answers(100)
        restored.kill()
        recorder.wait_for_answers(100)
        shutil.rmtree(restored.data)
        shutil.copytree(tmp_path / "copy", restored.data)
        restored.start()
        restored.wait_until_serving()
        leader.kill()
        recorder.wait_for_answers(100)
        leader.start()


def test_a_directory_of_another_ensemble_is_refused(tmp_path: Path) -> None:
    with start_server(tmp_path / "other", options=["--cluster", "other"]) as other:
        other.terminate()
    server = ServerProcess(ServerId(1), other.address, tmp_path / "other")
    server.start()
    line = ends(server)
    assert "the log belongs to server 1 of 'other', but this is server 1 of 'zk'" in line
    assert "Give this server its own directory with --data" in line
