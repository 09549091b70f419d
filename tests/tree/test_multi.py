"""multi and multiRead."""

import pytest

from zk.model.acl import Acl
from zk.model.errors import (
    APIError,
    BadVersionError,
    NoAuthError,
    NoNodeError,
    NotEmptyError,
    QuotaExceededError,
    RuntimeInconsistencyError,
)
from zk.model.events import EventType
from zk.model.replies import DONE, ChildrenReply, Created, MultiReply, StatReply
from zk.model.requests import (
    Check,
    Create,
    CreateMode,
    Delete,
    GetChildren,
    GetData,
    Multi,
    MultiRead,
    Operation,
    SetAcl,
    SetData,
)
from zk.tree.changes import Change
from zk.tree.testing import Caller
from zk.tree.tree import Tree


def _multi(client: Caller, *operations: Operation) -> MultiReply:
    reply = client.do(Multi(operations))
    assert isinstance(reply, MultiReply)
    return reply


def test_all_operations_share_one_zxid(client: Caller) -> None:
    before = client.driver.tree.zxid
    reply = _multi(client, Create("/a", b"1"), Create("/a/b", b"2"), SetData("/a", b"3"), Check("/a", 1))
    a, b = (client.driver.tree.znodes[path] for path in ("/a", "/a/b"))
    assert client.driver.tree.zxid == before + 1
    assert {a.czxid, a.mzxid, a.pzxid, b.czxid} == {before + 1}
    created = reply.results[0]
    assert isinstance(created, Created)
    assert created.stat.num_children == 0  # as it was after its own operation
    assert reply.results[2] == StatReply(a.stat)
    assert reply.results[3] == DONE
    assert not reply.failed


def test_a_later_operation_sees_an_earlier_one(client: Caller) -> None:
    reply = _multi(
        client,
        Create("/a", b""),
        Create("/a/n", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL),
        Delete("/a/n0000000000", 0),
        Delete("/a"),
    )
    assert not reply.failed
    assert "/a" not in client.driver.tree.znodes


def test_a_failed_multi_says_who_failed_and_why(client: Caller) -> None:
    reply = _multi(client, Create("/a", b""), SetData("/a", b"", 5), Create("/b", b""), Check("/"))
    assert reply.failed
    assert reply.results == (
        DONE,
        BadVersionError("/a", "the version is 0, not 5: read the node again and retry with its current version"),
        RuntimeInconsistencyError(),
        RuntimeInconsistencyError(),
    )
    assert [result.code for result in reply.results if isinstance(result, APIError)] == [-103, -2, -2]


def test_after_a_failed_multi_the_tree_is_exactly_as_before(client: Caller) -> None:
    for path in ("/p", "/p/q", "/gone"):
        client.do(Create(path, b"x"))
    client.do(Create("/p/e", b"", mode=CreateMode.EPHEMERAL))
    client.do(Create("/p/c", b"", mode=CreateMode.CONTAINER))
    client.do(Create("/p/t", b"", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=5))
    client.do(Create("/zookeeper/quota/p", b""))
    client.do(Create("/zookeeper/quota/p/zookeeper_limits", b"count=9,bytes=-1"))
    client.do(Create("/zookeeper/quota/p/zookeeper_stats", b""))
    tree = client.driver.tree
    before, digest = tree.image(), tree.digest()
    applied = client.apply(
        Multi(
            (
                Create("/p/new", b"abc"),
                Create("/p/s", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL),
                Delete("/p/e"),
                Create("/p/e", b"again", mode=CreateMode.EPHEMERAL),
                Delete("/p/t"),
                Create("/p/c/x", b""),
                SetData("/p", b"longer"),
                SetAcl("/p/q", (Acl(1, "world", "anyone"),)),
                Delete("/gone"),
                Delete("/zookeeper/quota/p/zookeeper_limits"),
                Delete("/p"),
            )
        )
    )
    assert isinstance(applied.body, MultiReply)
    assert isinstance(applied.body.results[-1], NotEmptyError)
    assert applied.changes == []
    assert tree.znodes == before.znodes
    assert all(tree.znodes[path] is znode for path, znode in before.znodes.items())
    client.do(Create("/p/s", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL))
    assert "/p/s0000000004" in tree.znodes
    other = Tree(before)
    assert other.digest() == digest


def test_after_a_failed_multi_every_index_is_as_before(client: Caller) -> None:
    client.do(Create("/c", b"", mode=CreateMode.CONTAINER))
    client.do(Create("/c/e", b"", mode=CreateMode.EPHEMERAL))
    client.do(Create("/t", b"", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=5))
    _multi(client, Delete("/c/e"), Delete("/t"), Create("/e2", b"", mode=CreateMode.EPHEMERAL), Check("/none"))
    assert client.driver.tree.reapable(client.driver.time_ms + 5) == ["/t"]
    assert client.driver.expire(client).changes == [
        Change(EventType.DELETED, "/c/e", client.driver.tree.zxid, Create("", b"").acl, Create("", b"").acl)
    ]
    assert client.driver.tree.reapable(client.driver.time_ms) == ["/c"]


def test_the_changes_of_a_multi_come_in_the_order_of_its_operations(client: Caller) -> None:
    applied = client.apply(Multi((Create("/a", b""), SetData("/a", b"1"), Check("/a"), Delete("/a"))))
    assert [(change.type, change.path) for change in applied.changes] == [
        (EventType.CREATED, "/a"),
        (EventType.DATA_CHANGED, "/a"),
        (EventType.DELETED, "/a"),
    ]


def test_an_empty_multi_is_done(client: Caller) -> None:
    assert client.do(Multi(())) == MultiReply(())


def test_a_failed_multi_gives_quota_back(client: Caller) -> None:
    client.do(Create("/q", b""))
    client.do(Create("/zookeeper/quota/q", b""))
    client.do(Create("/zookeeper/quota/q/zookeeper_limits", b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=2"))
    client.do(Create("/zookeeper/quota/q/zookeeper_stats", b""))
    reply = _multi(client, Create("/q/a", b""), Create("/q/b", b""))
    assert reply.results[0] == DONE
    assert isinstance(reply.results[1], QuotaExceededError)
    assert client.driver.tree.znodes["/zookeeper/quota/q/zookeeper_stats"].data == b"count=1,bytes=0"
    client.do(Create("/q/a", b""))
    assert client.driver.tree.znodes["/zookeeper/quota/q/zookeeper_stats"].data == b"count=2,bytes=0"


def test_multi_read_answers_each_operation_and_consumes_no_zxid(client: Caller) -> None:
    client.do(Create("/a", b"1"))
    client.do(Create("/secret", b"1", acl=(Acl(2, "world", "anyone"),)))
    tree = client.driver.tree
    before = tree.zxid
    reply = client.read(MultiRead((GetData("/a"), GetChildren("/a"), GetData("/none"), GetData("/secret"))))
    assert reply == MultiReply(
        (
            tree.znodes["/a"],
            ChildrenReply((), tree.znodes["/a"].stat),
            NoNodeError("/none"),
            NoAuthError("/secret"),
        )
    )
    assert tree.zxid == before


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_the_culprit_may_stand_anywhere(client: Caller, failing: int) -> None:
    operations: list[Operation] = [Create(f"/n{i}", b"") for i in range(3)]
    operations[failing] = Check("/none")
    reply = _multi(client, *operations)
    assert [getattr(result, "code", 0) for result in reply.results] == [0] * failing + [-101] + [-2] * (2 - failing)
