"""Data model: znodes, kinds, paths, reserved nodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk.model import paths
from zk.model.acl import OPEN_ACL, READ_ACL
from zk.model.errors import BadArgumentsError, NoChildrenForEphemeralsError, NoNodeError
from zk.model.record import SessionId, Zxid
from zk.model.replies import Created, StatReply
from zk.model.requests import Create, CreateMode, Delete, Exists, GetData
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Tree


def _stat(client: Caller, path: str) -> Stat:
    reply = client.read(Exists(path))
    assert isinstance(reply, StatReply)
    return reply.stat


def test_a_fresh_tree_holds_what_zookeeper_has() -> None:
    tree = Tree()
    zero = Zxid(0)

    def stat(cversion: int, num_children: int) -> Stat:
        return Stat(zero, zero, 0, 0, 0, cversion, 0, SessionId(0), 0, num_children, zero)

    assert {path: (znode.stat, znode.acl) for path, znode in tree.znodes.items()} == {
        "/": (stat(-1, 1), OPEN_ACL),
        "/zookeeper": (stat(-2, 2), OPEN_ACL),
        "/zookeeper/quota": (stat(0, 0), OPEN_ACL),
        "/zookeeper/config": (stat(0, 0), READ_ACL),
    }
    assert (tree.zxid, tree.sessions) == (0, {})


def test_a_znode_holds_bytes_and_eleven_figures(driver: TreeDriver, client: Caller) -> None:
    driver.time_ms = 1234
    created = client.do(Create("/a", b"data"))
    expected = Stat(
        czxid=driver.tree.zxid,
        mzxid=driver.tree.zxid,
        ctime=1234,
        mtime=1234,
        version=0,
        cversion=0,
        aversion=0,
        ephemeral_owner=SessionId(0),
        data_length=4,
        num_children=0,
        pzxid=driver.tree.zxid,
    )
    assert created == Created("/a", expected)
    znode = client.read(GetData("/a"))
    assert isinstance(znode, Znode)
    assert (znode.data, znode.stat, znode.acl) == (b"data", expected, OPEN_ACL)
    assert znode is driver.tree.znodes["/a"]


@pytest.mark.parametrize(
    ("mode", "ttl_ms", "name", "stored"),
    [
        (CreateMode.PERSISTENT, 0, "/a", CreateMode.PERSISTENT),
        (CreateMode.EPHEMERAL, 0, "/a", CreateMode.EPHEMERAL),
        (CreateMode.PERSISTENT_SEQUENTIAL, 0, "/a0000000000", CreateMode.PERSISTENT),
        (CreateMode.EPHEMERAL_SEQUENTIAL, 0, "/a0000000000", CreateMode.EPHEMERAL),
        (CreateMode.CONTAINER, 0, "/a", CreateMode.CONTAINER),
        (CreateMode.PERSISTENT_WITH_TTL, 50, "/a", CreateMode.PERSISTENT_WITH_TTL),
        (CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, 50, "/a0000000000", CreateMode.PERSISTENT_WITH_TTL),
    ],
)
def test_the_seven_kinds(client: Caller, mode: CreateMode, ttl_ms: int, name: str, stored: CreateMode) -> None:
    created = client.do(Create("/a", b"", mode=mode, ttl_ms=ttl_ms))
    assert isinstance(created, Created)
    assert created.path == name
    znode = client.driver.tree.znodes[name]
    assert (znode.mode, znode.ttl_ms) == (stored, ttl_ms)


def test_kinds_have_zookeepers_numbers() -> None:
    assert [mode.value for mode in CreateMode] == [0, 1, 2, 3, 4, 5, 6]


def test_stat_shows_the_session_as_owner_of_ephemerals_only(client: Caller) -> None:
    for mode, ttl_ms in [(0, 0), (1, 0), (4, 0), (5, 9)]:
        client.do(Create(f"/n{mode}", b"", mode=CreateMode(mode), ttl_ms=ttl_ms))
    owners = {mode: _stat(client, f"/n{mode}").ephemeral_owner for mode in (0, 1, 4, 5)}
    assert owners == {0: 0, 1: client.session_id, 4: 0, 5: 0}


def test_only_ephemeral_parents_forbid_children(client: Caller) -> None:
    for mode, ttl_ms in [(1, 0), (4, 0), (5, 9)]:
        client.do(Create(f"/n{mode}", b"", mode=CreateMode(mode), ttl_ms=ttl_ms))
    client.do(Create("/n4/child", b""))
    client.do(Create("/n5/child", b""))
    with pytest.raises(NoChildrenForEphemeralsError):
        client.do(Create("/n1/child", b""))


@pytest.mark.parametrize(
    "path", ["a", "", "/a/", "//a", "/a//b", "/.", "/a/../b", "/a\0", "/a\x1f", "/a\x85", "/\ue000"]
)
def test_a_malformed_path_is_refused(client: Caller, path: str) -> None:
    assert isinstance(client.apply(Create(path, b"")).body, BadArgumentsError)


@given(path=st.text("/a-_.ä\0", max_size=6), sequential=st.booleans())
def test_a_path_below_a_node_is_refused_exactly_if_it_is_no_path(path: str, sequential: bool) -> None:
    client = TreeDriver().open()
    for parent in ("/a", "/-", "/a/a"):
        client.do(Create(parent, b""))
    mode = CreateMode.PERSISTENT_SEQUENTIAL if sequential else CreateMode.PERSISTENT
    told = client.apply(Create(path, b"", mode=mode)).body
    assert isinstance(told, BadArgumentsError) is not _is_path(path, sequential)


def _is_path(path: str, sequential: bool) -> bool:
    try:
        (paths.validate_prefix if sequential else paths.validate)(path)
    except BadArgumentsError:
        return False
    return True


def test_a_sequential_prefix_may_end_in_a_slash(client: Caller) -> None:
    client.do(Create("/a", b""))
    created = client.do(Create("/a/", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL))
    assert isinstance(created, Created)
    assert created.path == "/a/0000000000"
    root = client.do(Create("/", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL))
    assert isinstance(root, Created)
    assert root.path == "/0000000001"


def test_a_sequential_path_is_checked_with_its_suffix(client: Caller) -> None:
    created = client.do(Create("/..", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL))
    assert isinstance(created, Created)
    assert created.path == "/..0000000000"
    with pytest.raises(BadArgumentsError):
        client.do(Create("/x//", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL))


@pytest.mark.parametrize("path", ["/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"])
def test_reserved_nodes_cannot_be_deleted(client: Caller, path: str) -> None:
    assert isinstance(client.apply(Delete(path)).body, BadArgumentsError)
    assert path in client.driver.tree.znodes


def test_times_are_the_leaders_stamp_and_equal_on_every_replica(driver: TreeDriver, client: Caller) -> None:
    driver.time_ms = 77
    client.do(Create("/a", b""))
    other = Tree()
    for zxid, txn in driver.log:
        other.apply(zxid, txn)
    assert other.znodes == driver.tree.znodes
    assert other.znodes["/a"].ctime == 77


def test_a_name_is_free_again_after_its_deletion(client: Caller) -> None:
    client.do(Create("/a", b"1"))
    client.do(Delete("/a"))
    with pytest.raises(NoNodeError):
        client.read(Exists("/a"))
    client.do(Create("/a", b"2"))
    assert client.driver.tree.znodes["/a"].data == b"2"
