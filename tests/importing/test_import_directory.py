"""`zk import --zookeeper-data`, against real servers."""

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from zkclient import ZooKeeper

from tests.importing.conftest import DATA, Expected, expected, unpack, without_ephemerals
from zk.cli.main import main
from zk.model.record import Zxid
from zk.server.testing import Ensemble, start_ensemble, start_server


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Zk = Callable[..., Outcome]


@pytest.fixture
def zk(capfd: pytest.CaptureFixture[str]) -> Zk:
    """Runs a command in this process."""

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = main(list(arguments))
        return Outcome(code, *capfd.readouterr())

    return run


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[str]:
    with start_server(tmp_path / "server") as server:
        yield str(server.address)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ensemble]:
    with start_ensemble(tmp_path_factory.mktemp("ensemble")) as ensemble:
        yield ensemble


def read(zk: ZooKeeper, path: str = "/") -> Expected:
    """All that there is, in the form of what was read from ZooKeeper."""
    data, stat = zk.get(path)
    acl, _ = zk.get_acls(path)
    found = {
        path: {
            "stat": {
                "czxid": stat.czxid,
                "mzxid": stat.mzxid,
                "ctime": stat.ctime,
                "mtime": stat.mtime,
                "version": stat.version,
                "cversion": stat.cversion,
                "aversion": stat.aversion,
                "ephemeralOwner": stat.ephemeral_owner,
                "dataLength": stat.data_length,
                "numChildren": stat.num_children,
                "pzxid": stat.pzxid,
            },
            "acl": [[entry.perms, entry.scheme, entry.id] for entry in acl],
            "sha256": sha256(data).hexdigest(),
        }
    }
    for name in zk.get_children(path):
        found |= read(zk, f"{path.rstrip('/')}/{name}")
    return found


def test_an_ensemble_s_directory_comes_over_with_every_figure(three: Ensemble, zk: Zk, tmp_path: Path) -> None:
    name = "zookeeper-3.8-ensemble"
    outcome = zk("import", "--zookeeper-data", str(unpack(name, tmp_path)), "--server", three.hosts, "-o", "json")
    assert outcome.code == 0
    assert json.loads(outcome.out) == {
        "imported": 46,
        "data_bytes": 11685,
        "last_zxid": "0x300000020",
        "ephemerals_left_out": 1,
        "sessions_left_out": 1,
        "lost": 0,
    }
    wanted = without_ephemerals(expected(name))
    del wanted["/zookeeper/config"]  # that is about the ensemble
    for server in three.servers:
        with ZooKeeper(str(server.address)) as client:
            client.sync()
            client.add_auth("digest", "ann:pw")
            found = read(client)
            del found["/zookeeper/config"]
            assert found == wanted
            assert client.status().zxid > Zxid(0x300000020)
    with ZooKeeper(three.hosts) as client:
        assert client.create("/app1/job-", sequence=True) == "/app1/job-0000000021"
    again = zk("import", "--zookeeper-data", str(tmp_path), "--server", three.hosts)
    assert again.code == 6
    assert "a tree can be brought here only where there is none" in again.err


def test_it_is_all_there_after_a_restart(zk: Zk, tmp_path: Path) -> None:
    with start_server(tmp_path / "server") as server:
        source = unpack("zookeeper-3.8-snappy", tmp_path)
        assert zk("import", "--zookeeper-data", str(source), "--server", str(server.address)).code == 0
        with ZooKeeper(str(server.address)) as client:
            found = read(client, "/app1")
        server.kill()
        server.start()
        server.wait_until_serving()
        with ZooKeeper(str(server.address)) as client:
            assert read(client, "/app1") == found


def test_of_a_damaged_directory_nothing_is_imported_unless_asked_for(alone: str, zk: Zk, copy: Path) -> None:
    log = copy / "log.eb0"
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    outcome = zk("import", "--zookeeper-data", str(copy), "--server", alone)
    assert (outcome.code, outcome.out) == (1, "")
    assert f"zk: {log} at offset " in outcome.err
    assert "(behind zxid 0x" in outcome.err
    assert "nothing was imported. --salvage imports what comes before the damage" in outcome.err
    assert zk("count", "/", "--server", alone).out == "3\n"

    outcome = zk("import", "--zookeeper-data", str(copy), "--salvage", "--server", alone)
    assert outcome.code == 0
    assert f"LOST: {log} at offset " in outcome.err
    assert int(zk("count", "/", "--server", alone).out) > 1_000


def test_where_a_tree_comes_from_must_be_said(zk: Zk) -> None:
    outcome = zk("import")
    assert outcome.code == 2
    assert "say where the tree comes from" in outcome.err


def test_a_directory_that_is_none_is_told(zk: Zk) -> None:
    outcome = zk("import", "--zookeeper-data", str(DATA))
    assert outcome.code == 1
    assert "here are neither snapshots nor transaction logs of ZooKeeper's" in outcome.err
