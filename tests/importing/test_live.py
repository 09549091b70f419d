"""`zk import --from`: a live source is copied, followed, and cut over; the source is this service, by ZooKeeper's
protocol (tests/zookeeper holds that against ZooKeeper itself)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import anyio
import pytest
from zkclient import AsyncZooKeeper, NoNodeError, ZooKeeper

from tests.importing.test_import_directory import read
from zk.importing.live import Copied, LiveImport
from zk.model.acl import OPEN_ACL, Acl
from zk.server.testing import ServerProcess, start_server
from zk.testing.zookeeper import start_zookeeper, zookeeper_missing


@pytest.fixture
def target(tmp_path: Path) -> Iterator[ServerProcess]:
    with start_server(tmp_path / "target") as server:
        yield server


@pytest.fixture
def source(tmp_path: Path) -> Iterator[str]:
    with start_server(tmp_path / "source") as server:
        yield str(server.address)


class Import:
    """A running `zk import --from`."""

    def __init__(self, source: str, target: ServerProcess, *options: str) -> None:
        command = [sys.executable, "-m", "zk.cli", "import", "--from", source, "--server", str(target.address)]
        environment = {**os.environ, "ZK_AUTH": ""}
        del environment["ZK_AUTH"]
        self.process = subprocess.Popen(
            [*command, *options], text=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def wait_for(self, text: str) -> str:
        """Read what it says until `text` is in it."""
        said: IO[str] | None = self.process.stderr
        assert said is not None
        for line in said:
            if text in line:
                return line
        raise AssertionError(f"it ended without saying {text!r}")

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def started() -> Iterator[list[Import]]:
    running: list[Import] = []
    yield running
    for each in running:
        each.process.kill()
        each.process.communicate()


def fill(client: ZooKeeper) -> None:
    client.create("/app", "0")
    for number in range(30):
        client.create("/app/job-", str(number), sequence=True)
    for number in range(0, 30, 3):
        client.delete(f"/app/job-{number:010d}")
    client.create("/app/read", acl=(Acl(1, "world", "anyone"),))
    client.set("/app", "1")
    client.create("/app/mine", ephemeral=True)


def compare(source: str, target: ServerProcess) -> None:
    with ZooKeeper(source) as ours, ZooKeeper(str(target.address)) as theirs:
        wanted, found = read(ours), read(theirs)
    for each in (wanted, found):
        del each["/zookeeper/config"]
    assert found == wanted
    assert "/app/mine" not in found


def test_a_source_is_copied_and_followed_until_ctrl_c(
    source: str, target: ServerProcess, started: list[Import]
) -> None:
    with ZooKeeper(source) as client:
        fill(client)
        running = Import(source, target)
        started.append(running)
        running.wait_for("following")
        client.create("/later", "x")
        client.create("/later/below", "y")
        client.set("/app", "2")
        client.delete("/app/read")
        client.set_acls("/app", (Acl(31, "world", "anyone"), Acl(1, "ip", "10.0.0.0/8")))  # no watch tells of it
        with ZooKeeper(str(target.address)) as other, pytest.raises(NoNodeError):
            other.get("/app")
    running.process.send_signal(signal.SIGINT)
    code, out, err = running.end()
    assert (code, out[:8]) == (0, "imported"), err
    compare(source, target)
    with ZooKeeper(str(target.address)) as client:
        assert client.create("/app/job-", sequence=True) == "/app/job-0000000032"
        assert client.get_acls("/app")[0] != OPEN_ACL


def test_it_can_cut_over_by_itself(source: str, target: ServerProcess, started: list[Import]) -> None:
    with ZooKeeper(source) as client:
        fill(client)
    running = Import(source, target, "--until-caught-up")
    started.append(running)
    code, out, err = running.end()
    assert code == 0, err
    assert "; 0 ephemerals are left out" in out
    compare(source, target)


def test_given_up_while_it_follows_it_leaves_nothing(source: str, target: ServerProcess, started: list[Import]) -> None:
    with ZooKeeper(source) as client:
        fill(client)
    running = Import(source, target)
    started.append(running)
    running.wait_for("following")
    running.process.send_signal(signal.SIGTERM)
    code, out, err = running.end()
    assert (code, out) == (1, "")
    assert "given up: nothing was imported" in err
    with ZooKeeper(str(target.address)) as client:
        assert client.get_children("/") == ("zookeeper",)


def test_what_may_not_be_read_is_told(source: str, target: ServerProcess, started: list[Import]) -> None:
    with ZooKeeper(source) as client:
        client.create("/secret", acl=(Acl(31, "digest", "ann:LG2kJ4N5AC9ktE/tVWWhzi+jDuU="),))
    running = Import(source, target, "--until-caught-up")
    started.append(running)
    code, _, err = running.end()
    assert code == 7
    assert "/secret (code -102): the source does not let it be read: name an identity that may (--from-auth)" in err


def test_a_source_that_is_not_there_is_told(target: ServerProcess, started: list[Import]) -> None:
    running = Import("127.0.0.1:1", target)
    started.append(running)
    code, _, err = running.end()
    assert code == 8
    assert "none of the source's servers can be reached: 127.0.0.1:1" in err


def test_a_source_without_persistent_watches_that_goes_away_is_read_again(
    tmp_path: Path, target: ServerProcess
) -> None:
    reports: list[str] = []

    async def follow(source: ServerProcess) -> Copied:
        async with AsyncZooKeeper(str(target.address)) as zk, AsyncZooKeeper(str(source.address)) as writer:
            live = LiveImport(zk, str(source.address), None, reports.append)
            live._watchless = True  # as one before 3.6, after its refusal
            await writer.create("/app", "0")
            copied: list[Copied] = []

            async def run() -> None:
                copied.append(await live.run(until_caught_up=False))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(run)
                while not live.following:
                    await anyio.sleep(0.01)
                source.kill()
                while not any("trying again" in each for each in reports):
                    await anyio.sleep(0.01)
                source.start()
                await anyio.to_thread.run_sync(source.wait_until_serving)
                await writer.create("/later", "x")
                live.cut_over.set()
            return copied[0]

    with start_server(tmp_path / "source") as source:
        copied = anyio.run(follow, source)
    assert copied.znodes == 5
    with ZooKeeper(str(target.address)) as client:
        assert client.get("/later").data == b"x"


@pytest.mark.skipif(zookeeper_missing() is not None, reason=zookeeper_missing() or "")
def test_zookeeper_itself_is_copied_and_followed(tmp_path: Path, target: ServerProcess, started: list[Import]) -> None:
    kazoo_client = pytest.importorskip("kazoo.client", reason="kazoo is not installed")
    with start_zookeeper(tmp_path / "zookeeper", quick_start=True) as zookeeper:
        kazoo = kazoo_client.KazooClient(zookeeper.hosts)
        kazoo.start(timeout=30)
        kazoo.create("/app", b"0")
        for _ in range(10):
            kazoo.create("/app/job-", b"x", sequence=True)
        running = Import(zookeeper.hosts, target)
        started.append(running)
        running.wait_for("following")
        kazoo.set("/app", b"1")
        kazoo.delete("/app/job-0000000003")
        kazoo.create("/app/mine", ephemeral=True)
        kazoo.create("/later")
        wanted = {path: kazoo.exists(path) for path in ("/", "/app", "/app/job-0000000009", "/later")}
        running.process.send_signal(signal.SIGINT)
        code, _, err = running.end()
        assert code == 0, err
        kazoo.stop()
        kazoo.close()
    with ZooKeeper(str(target.address)) as client:
        for path, stat in wanted.items():
            found = client.exists(path)
            assert found is not None
            assert (found.czxid, found.mzxid, found.pzxid) == (stat.czxid, stat.mzxid, stat.pzxid)
            assert (found.version, found.aversion, found.ctime) == (stat.version, stat.aversion, stat.ctime)
        assert client.create("/app/job-", sequence=True) == "/app/job-0000000011"
