"""What operators do to servers and their disks, and what disks do by themselves: the service keeps its promises, or
says in one line what is wrong, where, and what to do."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from zkclient import AsyncZooKeeper

from zk.model.record import ServerId
from zk.server.config import Address
from zk.server.testing import Ensemble, ServerProcess, free_ports, start_ensemble, start_server
from zk.storage.names import segment_name

Damage = Callable[[Path], None]


def create(servers: str, prefix: str, count: int) -> set[str]:
    """Create so many nodes, one after the other; the names of the nodes, all of them acknowledged."""
    names = {f"{prefix}-{number}" for number in range(count)}

    async def write() -> None:
        async with AsyncZooKeeper(servers, timeout=15) as zk:
            for name in sorted(names):
                await zk.create(f"/{name}")

    anyio.run(write)
    return names


def found(servers: str) -> set[str]:
    """The names of all nodes that `create` made and that are there."""

    async def read() -> set[str]:
        async with AsyncZooKeeper(servers, timeout=15) as zk:
            await zk.sync()
            return {name for name in await zk.get_children("/") if "-" in name}

    return anyio.run(read)


def addresses(*servers: ServerProcess) -> str:
    return ",".join(str(server.address) for server in servers)


def cast(ensemble: Ensemble) -> tuple[ServerProcess, ServerProcess, ServerProcess]:
    """The leader and the others."""
    leader = ensemble.leader()
    one, other = [server for server in ensemble.servers if server is not leader]
    return leader, one, other


def ends(server: ServerProcess) -> str:
    """Start a server that can't serve; the one line that it says."""
    begin = len(server.lines)
    server.start()
    assert server.wait() == 1
    (line,) = server.lines[begin:]
    return line


# ---- disks that are lost, copied, put back


def test_a_wiped_server_is_taken_in_again_and_then_counts(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        leader, wiped, other = cast(ensemble)
        names = create(ensemble.hosts, "before", 20)
        wiped.kill()
        shutil.rmtree(wiped.data)
        names |= create(addresses(leader, other), "meanwhile", 20)
        wiped.start()
        ensemble.wait_until_agreed()
        other.kill()
        names |= create(addresses(leader, wiped), "after", 20)  # each needs the disk that is new
        other.start()
        ensemble.wait_until_agreed()
        assert found(str(wiped.address)) == names


def start_listening(server: ServerProcess) -> None:
    begin = len(server.lines)
    server.start()
    server.wait_for_line("listens on", since=begin)


def test_a_wiped_majority_founds_no_new_ensemble(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        create(ensemble.hosts, "before", 5)
        ensemble.kill()
        *wiped, survivor = ensemble.servers
        for server in wiped:
            shutil.rmtree(server.data)
            start_listening(server)
        with pytest.raises(TimeoutError, match="is looking"):
            wiped[0].wait_until_serving(timeout_s=2)
        start_listening(survivor)
        with pytest.raises(TimeoutError):
            survivor.wait_until_serving(timeout_s=1)
        assert {server.status().leader for server in ensemble.servers} == {0}


def test_a_directory_copied_from_another_server_is_refused(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        first, second, _ = ensemble.servers
        ensemble.kill()
        shutil.rmtree(second.data)
        shutil.copytree(first.data, second.data)
        line = ends(second)
    assert f"CRITICAL server 2 ends: {second.data / segment_name(1)}, offset 0: the log belongs to server 1" in line
    assert "Give this server its own directory with --data" in line


def test_an_older_copy_of_one_directory_does_no_harm_while_the_others_have_it_all(tmp_path: Path) -> None:
    with start_ensemble(tmp_path / "servers") as ensemble:
        leader, restored, other = cast(ensemble)
        names = create(ensemble.hosts, "before", 10)
        restored.kill()
        shutil.copytree(restored.data, tmp_path / "copy")
        restored.start()
        restored.wait_until_serving()
        names |= create(ensemble.hosts, "behind-the-copy", 10)
        ensemble.wait_until_agreed()
        restored.kill()
        shutil.rmtree(restored.data)
        shutil.copytree(tmp_path / "copy", restored.data)
        leader.kill()
        restored.start()
        assert found(addresses(restored, other)) == names
        leader.start()
        ensemble.wait_until_agreed()


def test_a_directory_of_an_earlier_founding_is_not_taken_in(tmp_path: Path) -> None:
    with start_ensemble(tmp_path / "servers") as ensemble:
        create(ensemble.hosts, "old", 20)
        ensemble.kill()
        first, *_, stale = ensemble.servers
        shutil.copytree(stale.data, tmp_path / "copy")
        for server in ensemble.servers:
            shutil.rmtree(server.data)
        ensemble.start()
        ensemble.wait_until_serving()
        names = create(ensemble.hosts, "new", 30)
        stale.kill()
        shutil.rmtree(stale.data)
        shutil.copytree(tmp_path / "copy", stale.data)
        begin = len(first.lines)
        stale.start()
        first.wait_for_line("belongs to another founding of the ensemble 'zk'", since=begin)
        with pytest.raises(TimeoutError):
            stale.wait_until_serving(timeout_s=1)
        assert found(addresses(*ensemble.servers[:2])) == names


# ---- disks that are damaged


def used_bytes(path: Path) -> int:
    return len(path.read_bytes().rstrip(b"\0"))


def flip(path: Path) -> None:
    middle = used_bytes(path) // 2
    with path.open("r+b") as file:
        file.seek(middle)
        byte = file.read(1)[0]
        file.seek(middle)
        file.write(bytes([byte ^ 0x10]))


def cut(path: Path) -> None:
    os.truncate(path, used_bytes(path) // 2)


DAMAGES = [
    pytest.param(1, flip, "but was once durable: a later segment", id="old flip"),
    pytest.param(1, cut, "but was once durable: a later segment", id="old cut"),
    pytest.param(2, flip, "but was once durable: the mark file says", id="newest flip"),
    pytest.param(2, cut, "but was once durable: the mark file says", id="newest cut"),
    pytest.param(2, Path.unlink, "missing, but the mark file says", id="newest gone"),
]


@pytest.fixture(scope="module")
def two_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with something durable in each of two segments."""
    data = tmp_path_factory.mktemp("two-segments") / "data"
    with start_server(data) as server:
        create(str(server.address), "old", 20)
        server.kill()
        server.start()
        server.wait_until_serving()
        create(str(server.address), "new", 20)
    return data


@pytest.mark.parametrize(("number", "damage", "why"), DAMAGES)
def test_a_server_alone_refuses_a_damaged_log_and_says_where_and_why(
    two_segments: Path, tmp_path: Path, number: int, damage: Damage, why: str
) -> None:
    data = tmp_path / "data"
    shutil.copytree(two_segments, data)
    damage(data / segment_name(number))
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.name != "lock"}
    line = ends(ServerProcess(ServerId(1), Address("127.0.0.1", free_ports(1)[0]), data))
    assert f"CRITICAL server 1 ends: {data / segment_name(number)}, offset " in line
    assert why in line
    assert (
        f"Best restore the directory from a copy. To go on without what is lost, run: zk salvage --data {data}" in line
    )
    assert {path.name: path.read_bytes() for path in data.iterdir() if path.name != "lock"} == before


def test_the_remedy_that_is_named_brings_a_damaged_server_back_with_what_is_good(
    two_segments: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(two_segments, data)
    flip(data / segment_name(2))
    server = ServerProcess(ServerId(1), Address("127.0.0.1", free_ports(1)[0]), data)
    _, _, remedy = ends(server).partition("run: zk ")
    arguments, _, _ = remedy.partition(" (it keeps")
    command = [sys.executable, "-m", "zk.cli", *arguments.split()]
    assert subprocess.run(command, capture_output=True, timeout=20, check=False).returncode == 0
    server.start()
    try:
        server.wait_until_serving()
        names = found(str(server.address))
        assert names >= {f"old-{number}" for number in range(20)}
        assert 0 < len(names) - 20 < 20
        assert names | create(str(server.address), "after", 5) == found(str(server.address))
    finally:
        server.kill()
    assert (data / f"{segment_name(2)}.damaged").exists()


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink])
def test_a_damaged_server_of_an_ensemble_comes_back_by_the_leader_and_counts(tmp_path: Path, damage: Damage) -> None:
    with start_ensemble(tmp_path) as ensemble:
        leader, damaged, other = cast(ensemble)
        names = create(ensemble.hosts, "before", 30)
        damaged.kill()
        damage(damaged.data / segment_name(1))
        begin = len(damaged.lines)
        damaged.start()
        ensemble.wait_until_agreed()
        damaged.wait_for_line(f"WARNING the log is damaged: {segment_name(1)}, offset ", since=begin)
        other.kill()
        names |= create(addresses(leader, damaged), "after", 5)
        assert found(str(damaged.address)) == names


# ---- mistakes in the settings


def serve(*arguments: str) -> tuple[int, str]:
    """`zk server` with settings that can't be right: the exit code, and the one line that it says."""
    command = [sys.executable, "-m", "zk.cli", "server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.returncode, done.stderr


def test_mistakes_in_flags_and_files_are_told_in_one_line(tmp_path: Path) -> None:
    config = tmp_path / "zk.toml"
    config.write_text("[limits]\nframe_byte_max = 5\n")
    assert serve("--config", str(config)) == (
        2,
        f"zk: {config}: unknown key 'frame_byte_max' in [limits]; did you mean 'frame_bytes_max'?\n",
    )
    peers = ["--peer", "1=127.0.0.1:2281", "--peer", "2=127.0.0.1:2282"]
    assert serve(*peers) == (
        2,
        "zk: --peer: with peers, a server must be told its own id (id, ZK_ID or --id): one of 1, 2\n",
    )
    assert serve("--id", "3", *peers) == (
        2,
        "zk: --id: 3 is not among the peers (1, 2); a server is its own peer too\n",
    )


def test_a_data_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    line = ends(ServerProcess(ServerId(1), Address("127.0.0.1", free_ports(1)[0]), tmp_path / "file"))
    assert "the data directory can't be opened: Not a directory" in line
    assert "or name another one with --data" in line


def test_servers_that_are_told_different_voters_do_not_get_together(tmp_path: Path) -> None:
    ports = free_ports(5)
    peers = [(ServerId(n), Address("127.0.0.1", port)) for n, port in enumerate(ports[:3], 1)]
    one = ServerProcess(ServerId(1), Address("127.0.0.1", ports[3]), tmp_path / "1", peers[:2])
    two = ServerProcess(ServerId(2), Address("127.0.0.1", ports[4]), tmp_path / "2", peers)
    try:
        one.start()
        two.start()
        one.wait_for_line("is configured with the peers 1, 2, 3, this server with 1, 2")
        two.wait_for_line("is configured with the peers 1, 2, this server with 1, 2, 3")
    finally:
        one.kill()
        two.kill()
