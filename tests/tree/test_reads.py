"""Reads: children plain and paged, counts, ephemerals, whoAmI."""

import pytest

from zk.model.acl import Acl, Identity
from zk.model.errors import BadArgumentsError, NoAuthError, NoNodeError
from zk.model.limits import PAGE_DATA_BYTES_MAX
from zk.model.replies import (
    ChildrenPageReply,
    ChildrenReply,
    CountReply,
    IdentitiesReply,
    PageEntry,
    PathsReply,
    StatReply,
)
from zk.model.requests import (
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    TreeRead,
    WhoAmI,
)
from zk.tree.testing import Caller

SECRET = (Acl(30, "world", "anyone"),)


def _page(client: Caller, request: GetChildrenPage) -> tuple[list[str], bool]:
    reply = client.read(request)
    assert isinstance(reply, ChildrenPageReply)
    return [entry.name for entry in reply.entries], reply.more


@pytest.fixture
def family(client: Caller) -> Caller:
    client.do(Create("/p", b""))
    for name in ("b2", "a1", "c", "b1", "b"):
        client.do(Create(f"/p/{name}", name.encode()))
    return client


def test_exists_gives_the_stat_and_asks_for_no_permission(client: Caller) -> None:
    client.do(Create("/a", b"1", acl=SECRET))
    assert client.read(Exists("/a")) == StatReply(client.driver.tree.znodes["/a"].stat)


def test_children_are_names_with_the_nodes_stat(family: Caller) -> None:
    reply = family.read(GetChildren("/p"))
    assert isinstance(reply, ChildrenReply)
    assert (sorted(reply.names), reply.stat) == (["a1", "b", "b1", "b2", "c"], family.driver.tree.znodes["/p"].stat)
    root = family.read(GetChildren("/"))
    assert isinstance(root, ChildrenReply)
    assert sorted(root.names) == ["p", "zookeeper"]


@pytest.mark.parametrize("request_", [GetData("/s"), GetChildren("/s"), GetChildrenPage("/s"), CountDescendants("/s")])
def test_reading_a_node_asks_for_read(client: Caller, request_: TreeRead) -> None:
    client.do(Create("/s", b"", acl=SECRET))
    with pytest.raises(NoAuthError):
        client.read(request_)


@pytest.mark.parametrize(
    "request_",
    [
        GetData("/none"),
        Exists("/none"),
        GetChildren("/none"),
        GetChildrenPage("/none"),
        GetAcl("/none"),
        CountDescendants("/none"),
    ],
)
def test_reading_a_missing_node_says_so(client: Caller, request_: TreeRead) -> None:
    with pytest.raises(NoNodeError):
        client.read(request_)


def test_reading_a_malformed_path_says_what_is_wrong_with_it(client: Caller) -> None:
    with pytest.raises(BadArgumentsError, match="did you mean '/a'"):
        client.read(GetData("a"))


def test_a_page_ascends_and_says_whether_more_follows(family: Caller) -> None:
    assert _page(family, GetChildrenPage("/p")) == (["a1", "b", "b1", "b2", "c"], False)
    assert _page(family, GetChildrenPage("/p", limit=2)) == (["a1", "b"], True)
    assert _page(family, GetChildrenPage("/p", limit=2, start_after="b")) == (["b1", "b2"], True)
    assert _page(family, GetChildrenPage("/p", limit=2, start_after="b2")) == (["c"], False)
    assert _page(family, GetChildrenPage("/p", limit=5)) == (["a1", "b", "b1", "b2", "c"], False)
    assert _page(family, GetChildrenPage("/p", start_after="zzz")) == ([], False)


def test_a_page_may_start_after_a_name_that_is_gone(family: Caller) -> None:
    assert _page(family, GetChildrenPage("/p", start_after="b11")) == (["b2", "c"], False)


def test_a_page_of_a_prefix_ends_with_it(family: Caller) -> None:
    assert _page(family, GetChildrenPage("/p", prefix="b")) == (["b", "b1", "b2"], False)
    assert _page(family, GetChildrenPage("/p", prefix="b", limit=2)) == (["b", "b1"], True)
    assert _page(family, GetChildrenPage("/p", prefix="b", limit=3)) == (["b", "b1", "b2"], False)
    assert _page(family, GetChildrenPage("/p", prefix="b", start_after="b1")) == (["b2"], False)
    assert _page(family, GetChildrenPage("/p", prefix="b", start_after="a")) == (["b", "b1", "b2"], False)
    assert _page(family, GetChildrenPage("/p", prefix="b", start_after="c")) == ([], False)
    assert _page(family, GetChildrenPage("/p", prefix="x")) == ([], False)


def test_a_page_with_data_ends_before_it_has_too_much(client: Caller) -> None:
    client.do(Create("/p", b""))
    for name, size in (("a", PAGE_DATA_BYTES_MAX - 2), ("b", 2), ("c", 1), ("d", PAGE_DATA_BYTES_MAX), ("e", 0)):
        client.do(Create(f"/p/{name}", bytes(size)))
    assert _page(client, GetChildrenPage("/p", with_data=True)) == (["a", "b"], True)
    assert _page(client, GetChildrenPage("/p", start_after="b", with_data=True)) == (["c"], True)
    assert _page(client, GetChildrenPage("/p", start_after="c", with_data=True)) == (["d", "e"], False)
    assert _page(client, GetChildrenPage("/p")) == (["a", "b", "c", "d", "e"], False)


def test_pages_of_the_root(client: Caller) -> None:
    client.do(Create("/a", b""))
    assert _page(client, GetChildrenPage("/")) == (["a", "zookeeper"], False)
    assert _page(client, GetChildrenPage("/", start_after="a")) == (["zookeeper"], False)


def test_a_page_sees_children_come_and_go(family: Caller) -> None:
    _page(family, GetChildrenPage("/p"))
    family.do(Delete("/p/b"))
    family.do(Create("/p/aa", b""))
    assert _page(family, GetChildrenPage("/p")) == (["a1", "aa", "b1", "b2", "c"], False)


def test_a_page_with_data_shows_what_the_caller_may_read(client: Caller) -> None:
    client.do(Create("/p", b""))
    client.do(Create("/p/a", b"1"))
    client.do(Create("/p/s", b"2", acl=SECRET))
    znodes = client.driver.tree.znodes
    assert client.read(GetChildrenPage("/p", with_data=True)) == ChildrenPageReply(
        (PageEntry("a", znodes["/p/a"].stat, b"1"), PageEntry("s", None, None)), False, znodes["/p"].stat
    )
    assert client.read(GetChildrenPage("/p")) == ChildrenPageReply(
        (PageEntry("a", None, None), PageEntry("s", None, None)), False, znodes["/p"].stat
    )


@pytest.mark.parametrize("limit", [0, -1])
def test_a_page_has_at_least_one_entry(client: Caller, limit: int) -> None:
    with pytest.raises(BadArgumentsError):
        client.read(GetChildrenPage("/", limit=limit))


def test_descendants_are_counted_without_the_node_itself(family: Caller) -> None:
    family.do(Create("/p/c/d", b""))
    assert family.read(CountDescendants("/p")) == CountReply(6)
    assert family.read(CountDescendants("/p/c")) == CountReply(1)
    assert family.read(CountDescendants("/p/a1")) == CountReply(0)
    assert family.read(CountDescendants("/")) == CountReply(len(family.driver.tree.znodes) - 1)


def test_ephemerals_are_the_sessions_own_sorted_by_path(client: Caller) -> None:
    other = client.driver.open(session_id=2)
    for path in ("/b", "/a", "/aa"):
        client.do(Create(path, b"", mode=CreateMode.EPHEMERAL))
    other.do(Create("/x", b"", mode=CreateMode.EPHEMERAL))
    assert client.read(GetEphemerals()) == PathsReply(("/a", "/aa", "/b"))
    assert client.read(GetEphemerals("/a")) == PathsReply(("/a", "/aa"))
    assert other.read(GetEphemerals()) == PathsReply(("/x",))


def test_who_am_i_gives_the_identities_of_the_caller(client: Caller) -> None:
    me = Identity("ip", "127.0.0.1")
    assert client.driver.tree.read(WhoAmI(), client.session_id, [me]) == IdentitiesReply((me,))


def test_reads_change_nothing(family: Caller) -> None:
    before = family.driver.tree.digest()
    for request in (Exists("/p"), GetData("/p"), GetChildren("/p"), GetChildrenPage("/p"), CountDescendants("/")):
        family.read(request)
    assert family.driver.tree.digest() == before
