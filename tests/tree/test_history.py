"""A watch stream that misses nothing: the bounded history of committed changes."""

import pytest

from zk.model.acl import Acl
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import ConnectionId, Zxid
from zk.model.requests import Create, Delete, Multi, SetData
from zk.tree.changes import Change
from zk.tree.history import ChangeHistory
from zk.tree.testing import Caller
from zk.tree.watches import WatchTable

ALL = WatchMode.RECURSIVE
ONE = WatchMode.PERSISTENT


def anyone(acl: tuple[Acl, ...]) -> bool:
    return True


@pytest.fixture
def filled(client: Caller) -> ChangeHistory:
    """Changes at zxids 2 to 8; the history knows everything since 1."""
    history = ChangeHistory(1_000, client.driver.tree.zxid)
    for request in (
        Create("/a", b""),
        Create("/a/b", b""),
        SetData("/a/b", b""),
        Create("/ab", b""),
        SetData("/a", b""),
        Delete("/a/b"),
        Multi((Delete("/a"), Create("/a", b""))),
    ):
        history.append(client.apply(request).changes)
    return history


def _events(*events: tuple[EventType, str, int]) -> list[WatchEvent]:
    return [WatchEvent(kind, path, Zxid(zxid)) for kind, path, zxid in events]


def test_a_recursive_stream_tells_every_change_below_since(filled: ChangeHistory) -> None:
    assert filled.since(Zxid(1), "/a", ALL, anyone) == _events(
        (EventType.CREATED, "/a", 2),
        (EventType.CREATED, "/a/b", 3),
        (EventType.DATA_CHANGED, "/a/b", 4),
        (EventType.DATA_CHANGED, "/a", 6),
        (EventType.DELETED, "/a/b", 7),
        (EventType.DELETED, "/a", 8),
        (EventType.CREATED, "/a", 8),
    )
    assert filled.since(Zxid(6), "/a/b", ALL, anyone) == _events((EventType.DELETED, "/a/b", 7))
    everything = filled.since(Zxid(1), "/", ALL, anyone)
    assert everything is not None
    assert len(everything) == len(filled) == 8


def test_a_persistent_stream_tells_the_node_and_its_children(filled: ChangeHistory) -> None:
    assert filled.since(Zxid(1), "/a", ONE, anyone) == _events(
        (EventType.CREATED, "/a", 2),
        (EventType.CHILDREN_CHANGED, "/a", 3),
        (EventType.DATA_CHANGED, "/a", 6),
        (EventType.CHILDREN_CHANGED, "/a", 7),
        (EventType.DELETED, "/a", 8),
        (EventType.CREATED, "/a", 8),
    )
    assert filled.since(Zxid(4), "/", ONE, anyone) == _events(
        (EventType.CHILDREN_CHANGED, "/", 5),
        (EventType.CHILDREN_CHANGED, "/", 8),
        (EventType.CHILDREN_CHANGED, "/", 8),
    )


def test_nothing_new_is_an_answer(filled: ChangeHistory) -> None:
    assert filled.since(Zxid(8), "/", ALL, anyone) == []


def test_what_is_older_than_the_history_is_said_to_be(filled: ChangeHistory) -> None:
    assert filled.since(Zxid(0), "/", ALL, anyone) is None


def test_the_history_is_bounded_and_knows_how_far_it_reaches() -> None:
    history = ChangeHistory(3, Zxid(10))

    def change(zxid: int) -> Change:
        return Change(EventType.DATA_CHANGED, "/a", Zxid(zxid), ())

    history.append([change(11), change(11)])
    assert (len(history), history.complete_since) == (2, 10)
    history.append([change(12)])
    history.append([change(13)])
    assert (len(history), history.complete_since) == (3, 11)  # half of 11 is gone: it is not told at all
    assert history.since(Zxid(10), "/a", ALL, anyone) is None
    assert history.since(Zxid(11), "/a", ALL, anyone) == _events(
        (EventType.DATA_CHANGED, "/a", 12), (EventType.DATA_CHANGED, "/a", 13)
    )


def test_a_stream_asks_for_read_like_any_delivery(client: Caller) -> None:
    history = ChangeHistory(10, client.driver.tree.zxid)
    since = client.driver.tree.zxid
    secret = (Acl(30, "world", "anyone"),)
    history.append(client.apply(Create("/p", b"", acl=secret)).changes)
    history.append(client.apply(Create("/p/a", b"")).changes)

    def may_read(acl: tuple[Acl, ...]) -> bool:
        return acl != secret

    assert history.since(since, "/", ALL, may_read) == _events((EventType.CREATED, "/p/a", 3))
    assert history.since(since, "/p", ONE, may_read) == []
    assert history.since(since, "/", ONE, may_read) == _events((EventType.CHILDREN_CHANGED, "/", 2))


def test_a_stream_is_what_a_standing_watch_would_have_been_told(client: Caller) -> None:

    history = ChangeHistory(100, client.driver.tree.zxid)
    tables = {}
    for mode in WatchMode:
        for path in ("/", "/a", "/a/b"):
            tables[path, mode] = WatchTable(10)
            tables[path, mode].add_watch(ConnectionId(1), path, mode)
    told: dict[tuple[str, WatchMode], list[WatchEvent]] = {key: [] for key in tables}
    since = client.driver.tree.zxid
    for request in (Create("/a", b""), Create("/a/b", b""), SetData("/a/b", b""), Delete("/a/b"), Delete("/a")):
        changes = client.apply(request).changes
        history.append(changes)
        for key, table in tables.items():
            told[key].extend(event for change in changes for _, event in table.fire(change, lambda *_: True))
    assert {key: history.since(since, *key, anyone) for key in tables} == told
