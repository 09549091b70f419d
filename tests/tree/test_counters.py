"""Counters: versions, cversion, pzxid, sequence numbers."""

import dataclasses

import pytest

from zk.model.acl import READ_ACL
from zk.model.replies import Created
from zk.model.requests import Create, CreateMode, Delete, SetAcl, SetData
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Tree
from zk.tree.writes import next_version


def _sequential(client: Caller, prefix: str) -> str:
    created = client.do(Create(prefix, b"", mode=CreateMode.PERSISTENT_SEQUENTIAL))
    assert isinstance(created, Created)
    return created.path


def test_visible_cversion_counts_every_child_change(client: Caller) -> None:
    client.do(Create("/p", b""))
    seen = []
    for request in (Create("/p/a", b""), Create("/p/b", b""), Delete("/p/a"), Delete("/p/b"), Create("/p/a", b"")):
        client.do(request)
        parent = client.driver.tree.znodes["/p"]
        seen.append((parent.stat.cversion, parent.stat.num_children, parent.created))
    assert seen == [(1, 1, 1), (2, 2, 2), (3, 1, 2), (4, 0, 2), (5, 1, 3)]


def test_a_suffix_is_the_parents_count_of_creates(client: Caller) -> None:
    client.do(Create("/p", b""))
    assert _sequential(client, "/p/x-") == "/p/x-0000000000"
    client.do(Create("/p/plain", b""))
    assert _sequential(client, "/p/y-") == "/p/y-0000000002"
    client.do(Delete("/p/plain"))
    assert _sequential(client, "/p/x-") == "/p/x-0000000003"


@pytest.mark.parametrize(
    ("count", "names"),
    [(2147483647, ["/p/x2147483647", "/p/x2147483648"]), (9999999999, ["/p/x9999999999", "/p/x10000000000"])],
)
def test_a_suffix_never_wraps_to_a_negative_number(client: Caller, count: int, names: list[str]) -> None:
    client.do(Create("/p", b""))
    image = client.driver.tree.image()
    grown = dataclasses.replace(image.znodes["/p"], created=count)
    client.driver.tree = Tree(dataclasses.replace(image, znodes={**image.znodes, "/p": grown}))
    assert [_sequential(client, "/p/x") for _ in names] == names


@pytest.mark.parametrize("request_", [Create("/p/new", b""), Delete("/p/child")])
def test_a_child_change_touches_only_pzxid_and_cversion_of_the_parent(
    client: Caller, request_: Create | Delete
) -> None:
    client.do(Create("/p", b"data"))
    client.do(Create("/p/child", b""))
    before = client.driver.tree.znodes["/p"]
    client.driver.time_ms += 5
    client.do(request_)
    after = client.driver.tree.znodes["/p"]
    step = 1 if isinstance(request_, Create) else -1
    assert after == dataclasses.replace(
        before,
        pzxid=client.driver.tree.zxid,
        created=before.created + (step > 0),
        num_children=before.num_children + step,
    )


def test_a_new_node_has_one_zxid_and_no_versions(client: Caller) -> None:
    client.do(Create("/a", b""))
    stat = client.driver.tree.znodes["/a"].stat
    assert stat.czxid == stat.mzxid == stat.pzxid == client.driver.tree.zxid
    assert (stat.version, stat.cversion, stat.aversion) == (0, 0, 0)


def test_set_data_changes_version_mzxid_and_mtime_only(client: Caller) -> None:
    client.do(Create("/a", b"1"))
    before = client.driver.tree.znodes["/a"]
    client.driver.time_ms += 5
    client.do(SetData("/a", b"2"))
    after = client.driver.tree.znodes["/a"]
    assert after == dataclasses.replace(
        before, data=b"2", version=1, mzxid=client.driver.tree.zxid, mtime=client.driver.time_ms
    )


def test_set_acl_changes_aversion_only_and_no_watch_fires(client: Caller) -> None:
    client.do(Create("/a", b"1"))
    before = client.driver.tree.znodes["/a"]
    client.driver.time_ms += 5
    applied = client.apply(SetAcl("/a", READ_ACL))
    assert client.driver.tree.znodes["/a"] == dataclasses.replace(before, acl=READ_ACL, aversion=1)
    assert applied.changes == []


@pytest.mark.parametrize(("version", "expected"), [(0, 1), (41, 42), (2**31 - 1, -(2**31)), (-3, -2), (-2, 0)])
def test_a_version_never_becomes_minus_one(version: int, expected: int) -> None:
    assert next_version(version) == expected


def test_a_version_that_would_wrap_becomes_zero() -> None:
    driver = TreeDriver()
    client = driver.open()
    client.do(Create("/a", b""))
    image = driver.tree.image()
    old = dataclasses.replace(image.znodes["/a"], version=-2, aversion=-2)
    driver.tree = Tree(dataclasses.replace(image, znodes={**image.znodes, "/a": old}))
    client.do(SetData("/a", b"", -2))
    client.do(SetAcl("/a", READ_ACL, -2))
    assert (driver.tree.znodes["/a"].version, driver.tree.znodes["/a"].aversion) == (0, 0)
