"""`zk export` and `zk import FILE`, against a real server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from zkclient import ZooKeeper

from tests.importing.test_import_directory import Outcome, Zk, zk
from zk.model.acl import OPEN_ACL, Acl
from zk.server.testing import ServerProcess, start_server

__all__ = ["zk"]  # a fixture


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture
def client(server: ServerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[ZooKeeper]:
    """With a tree of every kind of node at /app."""
    monkeypatch.setenv("ZK_SERVER", str(server.address))
    monkeypatch.delenv("ZK_AUTH", raising=False)
    with ZooKeeper(str(server.address)) as client:
        for name in client.get_children("/"):
            if name != "zookeeper":
                client.delete(f"/{name}", recursive=True)
        client.create("/app", "text")
        client.create("/app/binary", b"\x00\xff")
        client.create("/app/box", container=True)
        client.create("/app/odd \u2028 name")
        client.create("/app/job-", sequence=True)
        client.create("/app/mine", ephemeral=True)
        client.create("/app/short", "lived", ttl_ms=3_600_000)
        client.create("/app/read", acl=(Acl(1, "world", "anyone"),))
        yield client


def export(zk: Zk, file: Path, path: str = "/app") -> Outcome:
    outcome = zk("export", path)
    file.write_text(outcome.out)
    return outcome


def test_a_subtree_comes_back_as_it_was(client: ZooKeeper, zk: Zk, tmp_path: Path) -> None:
    outcome = export(zk, tmp_path / "app.jsonl")
    assert (outcome.code, outcome.err) == (0, "exported 8 znodes\n")
    client.delete("/app", recursive=True)
    outcome = zk("import", str(tmp_path / "app.jsonl"))
    assert outcome == Outcome(0, "imported 7 znodes; 1 ephemerals are left out\n", "")
    again = export(zk, tmp_path / "again.jsonl")

    def without_stats(text: str) -> list[object]:
        lines = [json.loads(line) for line in text.rstrip().split("\n")]
        return [{key: value for key, value in line.items() if key != "stat"} for line in lines]

    before = (tmp_path / "app.jsonl").read_text()
    assert without_stats(again.out) == [line for line in without_stats(before) if line["mode"] != "ephemeral"]  # type: ignore[index]  # a line
    assert [json.loads(line)["path"] for line in before.rstrip().split("\n")] == [
        "/app",
        "/app/binary",
        "/app/box",
        "/app/job-0000000003",
        "/app/mine",
        "/app/odd \u2028 name",
        "/app/read",
        "/app/short",
    ]


def test_it_may_go_elsewhere(client: ZooKeeper, zk: Zk, tmp_path: Path) -> None:
    export(zk, tmp_path / "app.jsonl")
    client.create("/copies")
    assert zk("import", str(tmp_path / "app.jsonl"), "--path", "/copies/one").code == 0
    assert client.get("/copies/one/binary").data == b"\x00\xff"
    assert client.get_acls("/copies/one/read")[0] == (Acl(1, "world", "anyone"),)
    assert client.get_acls("/copies/one/box")[0] == OPEN_ACL


def test_nodes_that_are_there_are_refused_unless_they_are_to_be_overwritten(
    client: ZooKeeper, zk: Zk, tmp_path: Path
) -> None:
    file = tmp_path / "app.jsonl"
    export(zk, file)
    client.delete("/app/binary")
    client.set("/app", "changed")
    outcome = zk("import", str(file))
    assert outcome.code == 4
    assert outcome.err == (
        "zk: line 1: /app (code -110): the node is there already: --overwrite replaces its data and its ACL; "
        "nothing was imported\n"
    )
    assert client.exists("/app/binary") is None
    client.delete("/app/read")  # its ACL lets nobody write it
    assert zk("import", str(file), "--overwrite").code == 0
    assert (client.get("/app").data, client.get("/app/binary").data) == (b"text", b"\x00\xff")


def test_an_error_names_its_line(client: ZooKeeper, zk: Zk, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text('{"path": "/new"}\n\n{"path": "/nowhere/x"}\n')
    outcome = zk("import", str(file))
    assert (outcome.code, outcome.out) == (3, "")
    assert outcome.err.startswith("zk: line 3: /nowhere/x (code -101): its parent /nowhere does not exist")
    file.write_text("nonsense")
    outcome = zk("import", str(file))
    assert (outcome.code, outcome.err[:25]) == (1, "zk: line 1: it is no JSON")
    file.write_text("")
    assert "there is no line in it" in zk("import", str(file)).err


def test_the_root_can_be_exported_and_imported_with_quotas(client: ZooKeeper, zk: Zk, tmp_path: Path) -> None:
    client.create("/zookeeper/quota/app")
    client.create("/zookeeper/quota/app/zookeeper_limits", "count=100,bytes=-1")
    export(zk, tmp_path / "all.jsonl", "/")
    client.delete("/app", recursive=True)
    client.delete("/zookeeper/quota/app", recursive=True)
    assert zk("import", str(tmp_path / "all.jsonl")).code == 0
    assert client.get("/zookeeper/quota/app/zookeeper_limits").data == b"count=100,bytes=-1"
    client.delete("/zookeeper/quota/app", recursive=True)


def test_hidden_digests_are_told(client: ZooKeeper, zk: Zk) -> None:
    client.create("/app/secret", acl=(Acl(31, "digest", "ann:hash"), Acl(1, "world", "anyone")))
    outcome = zk("export", "/app/secret")
    assert '"id":"ann:x"' in outcome.out
    assert "1 of them have ACLs with digests that are shown as 'x'" in outcome.err


def test_what_may_not_be_read_is_an_error(client: ZooKeeper, zk: Zk) -> None:
    client.create("/app/secret", acl=(Acl(31, "digest", "ann:hash"),))
    assert zk("export", "/app").code == 7
    assert zk("export", "/none").code == 3
