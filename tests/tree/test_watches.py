"""Watches: what fires, for whom, in which order."""

import pytest

from zk.model.acl import OPEN_ACL, Acl
from zk.model.errors import APIError, BadArgumentsError, NoAuthError, NoWatcherError, ThrottledError
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import ConnectionId, Zxid
from zk.model.replies import Body
from zk.model.requests import (
    CloseSession,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetChildren,
    GetData,
    Multi,
    SetAcl,
    SetData,
    SetWatches,
    TreeRead,
)
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Applied
from zk.tree.watches import Kind, WatchTable

A, B, C = ConnectionId(1), ConnectionId(2), ConnectionId(3)
CREATED, DELETED, DATA, CHILDREN = (
    EventType.CREATED,
    EventType.DELETED,
    EventType.DATA_CHANGED,
    EventType.CHILDREN_CHANGED,
)
SECRET: tuple[Acl, ...] = (Acl(31 & ~1, "world", "anyone"),)  # everything but READ


def everyone(connection: ConnectionId, acl: tuple[Acl, ...]) -> bool:
    return True


def nobody(connection: ConnectionId, acl: tuple[Acl, ...]) -> bool:
    return False


@pytest.fixture
def table() -> WatchTable:
    return WatchTable(per_connection_max=100)


def fire(table: WatchTable, applied: Applied) -> list[tuple[ConnectionId, EventType, str]]:
    """What everybody is told of one write; all of it carries the write's zxid."""
    told = [each for change in applied.changes for each in table.fire(change, everyone)]
    assert {event.zxid for _, event in told} <= {applied.zxid}
    return [(connection, event.type, event.path) for connection, event in told]


def look(table: WatchTable, client: Caller, request: TreeRead, connection: ConnectionId = A) -> None:
    """A read with a watch, as a server carries it out."""
    outcome: Body | APIError
    try:
        outcome = client.read(request)
    except APIError as error:
        outcome = error
    table.add_for_read(connection, request, outcome)


# ---- what fires


def test_create_fires_created_on_the_node_and_children_changed_on_the_parent(table: WatchTable, client: Caller) -> None:
    client.do(Create("/p", b""))
    look(table, client, Exists("/p/a", watch=True), A)
    look(table, client, GetChildren("/p", watch=True), B)
    look(table, client, GetData("/p", watch=True), C)
    assert fire(table, client.apply(Create("/p/a", b""))) == [(A, CREATED, "/p/a"), (B, CHILDREN, "/p")]
    assert table.count == 1  # the data watch on the parent is still there


def test_delete_fires_deleted_on_the_node_and_children_changed_on_the_parent(table: WatchTable, client: Caller) -> None:
    client.do(Create("/p", b""))
    client.do(Create("/p/a", b""))
    look(table, client, GetData("/p/a", watch=True), A)
    look(table, client, Exists("/p/a", watch=True), B)
    look(table, client, GetChildren("/p/a", watch=True), C)
    look(table, client, GetChildren("/p", watch=True), A)
    assert fire(table, client.apply(Delete("/p/a"))) == [
        (A, DELETED, "/p/a"),
        (B, DELETED, "/p/a"),
        (C, DELETED, "/p/a"),
        (A, CHILDREN, "/p"),
    ]
    assert table.count == 0


def test_a_deletion_is_told_once_to_a_watcher_with_several_watches(table: WatchTable, client: Caller) -> None:
    client.do(Create("/a", b""))
    look(table, client, GetData("/a", watch=True))
    look(table, client, GetChildren("/a", watch=True))
    table.add_watch(A, "/a", WatchMode.PERSISTENT)
    table.add_watch(A, "/", WatchMode.RECURSIVE)
    assert fire(table, client.apply(Delete("/a"))) == [(A, DELETED, "/a")]


def test_set_data_fires_data_changed_on_the_node_only(table: WatchTable, client: Caller) -> None:
    client.do(Create("/p", b""))
    client.do(Create("/p/a", b""))
    look(table, client, GetData("/p/a", watch=True), A)
    look(table, client, GetChildren("/p/a", watch=True), B)
    look(table, client, GetData("/p", watch=True), C)
    look(table, client, GetChildren("/p", watch=True), C)
    assert fire(table, client.apply(SetData("/p/a", b"1"))) == [(A, DATA, "/p/a")]


def test_set_acl_fires_nothing(table: WatchTable, client: Caller) -> None:
    table.add_watch(A, "/", WatchMode.RECURSIVE)
    client.do(Create("/a", b""))
    assert fire(table, client.apply(SetAcl("/a", SECRET))) == []


def test_a_failed_multi_fires_nothing(table: WatchTable, client: Caller) -> None:
    table.add_watch(A, "/", WatchMode.RECURSIVE)
    assert fire(table, client.apply(Multi((Create("/a", b""), Delete("/none"))))) == []


def test_the_end_of_a_session_fires_for_each_of_its_ephemerals(table: WatchTable, driver: TreeDriver) -> None:
    client = driver.open(session_id=5)
    client.do(Create("/b", b"", mode=CreateMode.EPHEMERAL))
    client.do(Create("/a", b"", mode=CreateMode.EPHEMERAL))
    table.add_watch(A, "/", WatchMode.RECURSIVE)
    assert fire(table, client.apply(CloseSession())) == [(A, DELETED, "/a"), (A, DELETED, "/b")]


# ---- one-shot


def test_a_one_shot_watch_fires_once(table: WatchTable, client: Caller) -> None:
    client.do(Create("/a", b""))
    look(table, client, GetData("/a", watch=True))
    assert fire(table, client.apply(SetData("/a", b"1"))) == [(A, DATA, "/a")]
    assert fire(table, client.apply(SetData("/a", b"2"))) == []


def test_the_same_watcher_registered_twice_fires_once(table: WatchTable, client: Caller) -> None:
    client.do(Create("/a", b""))
    look(table, client, GetData("/a", watch=True))
    look(table, client, GetData("/a", watch=True))
    look(table, client, Exists("/a", watch=True))
    assert table.count == 1
    assert fire(table, client.apply(SetData("/a", b"1"))) == [(A, DATA, "/a")]


def test_exists_on_a_missing_node_leaves_a_watch(table: WatchTable, client: Caller) -> None:
    look(table, client, Exists("/a", watch=True))
    assert fire(table, client.apply(Create("/a", b""))) == [(A, CREATED, "/a")]


def test_get_data_and_get_children_on_a_missing_node_leave_none(table: WatchTable, client: Caller) -> None:
    look(table, client, GetData("/a", watch=True))
    look(table, client, GetChildren("/a", watch=True))
    assert table.count == 0


def test_a_refusal_leaves_no_watch(table: WatchTable, client: Caller) -> None:
    client.do(Create("/a", b"", acl=SECRET))
    look(table, client, GetData("/a", watch=True))
    look(table, client, GetChildren("/a", watch=True))
    look(table, client, Exists("bad", watch=True))
    assert table.count == 0


def test_a_read_without_watch_leaves_none(table: WatchTable, client: Caller) -> None:
    for request in (GetData("/"), Exists("/"), Exists("/none"), GetChildren("/")):
        look(table, client, request)
    assert table.count == 0


# ---- persistent and recursive


def test_a_persistent_watch_stays_and_sees_the_node_and_its_children(table: WatchTable, client: Caller) -> None:
    table.add_watch(A, "/a", WatchMode.PERSISTENT)
    assert [
        fire(table, client.apply(request))
        for request in (
            Create("/a", b""),
            SetData("/a", b""),
            Create("/a/b", b""),
            SetData("/a/b", b""),
            Create("/a/b/c", b""),
            Delete("/a/b/c"),
            Delete("/a/b"),
            Delete("/a"),
            Create("/a", b""),
        )
    ] == [
        [(A, CREATED, "/a")],
        [(A, DATA, "/a")],
        [(A, CHILDREN, "/a")],
        [],
        [],
        [],
        [(A, CHILDREN, "/a")],
        [(A, DELETED, "/a")],
        [(A, CREATED, "/a")],
    ]


def test_a_recursive_watch_sees_the_whole_subtree_and_names_the_node_that_changed(
    table: WatchTable, client: Caller
) -> None:
    table.add_watch(A, "/a", WatchMode.RECURSIVE)
    assert [
        fire(table, client.apply(request))
        for request in (
            Create("/a", b""),
            Create("/ab", b""),
            Create("/a/b", b""),
            SetData("/a/b", b""),
            Create("/a/b/c", b""),
            Delete("/a/b/c"),
            SetData("/a", b""),
        )
    ] == [
        [(A, CREATED, "/a")],
        [],
        [(A, CREATED, "/a/b")],
        [(A, DATA, "/a/b")],
        [(A, CREATED, "/a/b/c")],
        [(A, DELETED, "/a/b/c")],
        [(A, DATA, "/a")],
    ]


def test_nested_recursive_watches_of_one_connection_tell_it_once(table: WatchTable, client: Caller) -> None:
    for path in ("/", "/a", "/a/b"):
        table.add_watch(A, path, WatchMode.RECURSIVE)
    client.do(Create("/a", b""))
    assert fire(table, client.apply(Create("/a/b", b""))) == [(A, CREATED, "/a/b")]


def test_a_watch_needs_a_path(table: WatchTable) -> None:
    with pytest.raises(BadArgumentsError):
        table.add_watch(A, "bad", WatchMode.PERSISTENT)


# ---- removal


@pytest.mark.parametrize(
    ("watcher_type", "left"),
    [
        (WatcherType.DATA, {Kind.CHILD, Kind.PERSISTENT, Kind.RECURSIVE}),
        (WatcherType.CHILDREN, {Kind.DATA, Kind.PERSISTENT, Kind.RECURSIVE}),
        (WatcherType.PERSISTENT, {Kind.DATA, Kind.CHILD, Kind.RECURSIVE}),
        (WatcherType.RECURSIVE, {Kind.DATA, Kind.CHILD, Kind.PERSISTENT}),
        (WatcherType.ANY, set()),
    ],
)
def test_remove_takes_the_watches_of_the_type(table: WatchTable, watcher_type: WatcherType, left: set[Kind]) -> None:
    types = {
        Kind.DATA: WatcherType.DATA,
        Kind.CHILD: WatcherType.CHILDREN,
        Kind.PERSISTENT: WatcherType.PERSISTENT,
        Kind.RECURSIVE: WatcherType.RECURSIVE,
    }
    for kind in Kind:
        table.add(A, kind, "/a")
        table.add(B, kind, "/a")
    table.check(A, "/a", watcher_type)
    table.remove(A, "/a", watcher_type)
    for kind in Kind:
        if kind in left:
            table.check(A, "/a", types[kind])
        else:
            with pytest.raises(NoWatcherError):
                table.check(A, "/a", types[kind])
    assert (table.count_of(A), table.count_of(B), table.count) == (len(left), 4, len(left) + 4)
    if not left:
        with pytest.raises(NoWatcherError):
            table.remove(A, "/a", watcher_type)


def test_removing_what_is_not_there_says_so(table: WatchTable) -> None:
    table.add(A, Kind.DATA, "/a")
    for connection, path, watcher_type in (
        (B, "/a", WatcherType.ANY),
        (A, "/b", WatcherType.ANY),
        (A, "/a", WatcherType.CHILDREN),
    ):
        with pytest.raises(NoWatcherError):
            table.remove(connection, path, watcher_type)


def test_a_removed_watch_does_not_fire(table: WatchTable, client: Caller) -> None:
    table.add_watch(A, "/a", WatchMode.RECURSIVE)
    table.remove(A, "/a", WatcherType.RECURSIVE)
    assert fire(table, client.apply(Create("/a", b""))) == []


def test_all_watches_of_a_connection_go_with_it(table: WatchTable, client: Caller) -> None:
    for kind in Kind:
        table.add(A, kind, "/a")
        table.add(B, kind, "/a")
    table.drop(A)
    table.drop(C)
    assert (table.count_of(A), table.count) == (0, 4)
    assert fire(table, client.apply(Create("/a", b""))) == [(B, CREATED, "/a")]


def test_watches_per_connection_are_bounded() -> None:
    table = WatchTable(per_connection_max=2)
    table.add(A, Kind.DATA, "/a")
    table.add(A, Kind.CHILD, "/a")
    table.add(A, Kind.CHILD, "/a")
    with pytest.raises(ThrottledError):
        table.add(A, Kind.DATA, "/b")
    with pytest.raises(ThrottledError):
        table.set_again(A, SetWatches(Zxid(0), data=("/b",)), {}, Zxid(1), everyone)
    table.add(B, Kind.DATA, "/b")
    table.remove(A, "/a", WatcherType.CHILDREN)
    table.add(A, Kind.DATA, "/b")
    assert table.count == 3


# ---- who may be told


def test_delivery_asks_for_read_on_the_node(table: WatchTable, client: Caller) -> None:
    client.do(Create("/a", b"", acl=SECRET))
    asked = []

    def ask(connection: ConnectionId, acl: tuple[Acl, ...]) -> bool:
        asked.append((connection, acl))
        return connection == B

    for connection in (A, B):
        table.add_watch(connection, "/a", WatchMode.PERSISTENT)
    [change] = client.apply(SetData("/a", b"1")).changes
    assert table.fire(change, ask) == [(B, WatchEvent(DATA, "/a", change.zxid))]
    assert asked == [(A, SECRET), (B, SECRET)]


def test_for_a_deleted_node_delivery_asks_the_acl_that_it_had(table: WatchTable, client: Caller) -> None:
    client.do(Create("/a", b"", acl=SECRET))
    table.add_watch(A, "/a", WatchMode.PERSISTENT)
    table.add_watch(B, "/", WatchMode.PERSISTENT)
    [change] = client.apply(Delete("/a")).changes
    assert table.fire(change, nobody) == [(B, WatchEvent(CHILDREN, "/", change.zxid))]  # the parent is open to all


def test_for_children_delivery_asks_the_parents_acl(table: WatchTable, client: Caller) -> None:
    client.do(Create("/p", b"", acl=SECRET))
    table.add_watch(A, "/p", WatchMode.PERSISTENT)
    table.add_watch(B, "/", WatchMode.RECURSIVE)
    [change] = client.apply(Create("/p/a", b"")).changes
    assert (change.acl, change.parent_acl) == (OPEN_ACL, SECRET)
    assert table.fire(change, nobody) == [(B, WatchEvent(CREATED, "/p/a", change.zxid))]


def test_a_one_shot_watch_that_may_not_be_told_is_used_up_in_silence(table: WatchTable, client: Caller) -> None:
    client.do(Create("/a", b""))
    look(table, client, GetData("/a", watch=True))
    client.do(SetAcl("/a", SECRET))
    [change] = client.apply(SetData("/a", b"1")).changes
    assert table.fire(change, nobody) == []
    assert table.count == 0


# ---- after a reconnect


def _again(table: WatchTable, driver: TreeDriver, request: SetWatches) -> list[WatchEvent]:
    return table.set_again(A, request, driver.tree.znodes, driver.tree.zxid, everyone)


def test_what_happened_while_away_is_told_at_once(table: WatchTable, driver: TreeDriver, client: Caller) -> None:
    for path in ("/data", "/gone", "/parent", "/gone-parent"):
        client.do(Create(path, b""))
    since = driver.tree.zxid
    changed = client.apply(SetData("/data", b"")).zxid
    for path in ("/gone", "/gone-parent"):
        client.do(Delete(path))
    child = client.apply(Create("/parent/a", b"")).zxid
    appeared = client.apply(Create("/new", b"")).zxid
    request = SetWatches(
        since, data=("/data", "/gone"), exist=("/new",), child=("/parent", "/gone-parent"), persistent=("/data",)
    )
    assert _again(table, driver, request) == [
        WatchEvent(DATA, "/data", changed),
        WatchEvent(DELETED, "/gone", driver.tree.zxid),
        WatchEvent(CREATED, "/new", appeared),
        WatchEvent(CHILDREN, "/parent", child),
        WatchEvent(DELETED, "/gone-parent", driver.tree.zxid),
    ]
    assert table.count == 1  # the persistent one; what was told is not set as well


def test_what_did_not_happen_is_watched_again(table: WatchTable, driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/a", b""))
    request = SetWatches(driver.tree.zxid, ("/a",), ("/b",), ("/a",), ("/c",), ("/d",))
    assert _again(table, driver, request) == []
    assert table.count == 5
    assert [
        fire(table, client.apply(write))
        for write in (Create("/b", b""), Create("/a/x", b""), SetData("/a", b""), Create("/c", b""), Create("/d", b""))
    ] == [
        [(A, CREATED, "/b")],
        [(A, CHILDREN, "/a")],
        [(A, DATA, "/a")],
        [(A, CREATED, "/c")],
        [(A, CREATED, "/d")],
    ]


def test_a_create_and_delete_while_away_is_missed(table: WatchTable, driver: TreeDriver, client: Caller) -> None:
    since = driver.tree.zxid
    client.do(Create("/a", b""))
    client.do(Delete("/a"))
    assert _again(table, driver, SetWatches(since, exist=("/a",))) == []
    assert fire(table, client.apply(Create("/a", b""))) == [(A, CREATED, "/a")]


def test_what_is_told_after_a_reconnect_asks_for_read_as_well(
    table: WatchTable, driver: TreeDriver, client: Caller
) -> None:
    client.do(Create("/a", b"", acl=SECRET))
    request = SetWatches(Zxid(0), data=("/a", "/none"), exist=("/a",), child=("/a",))
    events = table.set_again(A, request, driver.tree.znodes, driver.tree.zxid, nobody)
    assert events == [WatchEvent(DELETED, "/none", driver.tree.zxid)]
    assert table.count == 0


def test_a_malformed_path_among_them_sets_nothing(table: WatchTable, driver: TreeDriver) -> None:
    with pytest.raises(BadArgumentsError):
        _again(table, driver, SetWatches(Zxid(0), exist=("/a", "bad")))
    assert table.count == 0


def test_a_refused_read_of_data_is_what_the_rules_call_a_refusal(client: Caller) -> None:
    client.do(Create("/a", b"", acl=SECRET))
    with pytest.raises(NoAuthError):
        client.read(GetData("/a"))
    client.read(Exists("/a"))
