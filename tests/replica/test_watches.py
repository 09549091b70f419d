"""Watches on a whole server: when a client is told of a change, in relation to everything else that it is sent."""

from typing import TYPE_CHECKING

from zk.model.acl import Acl
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.limits import Limits
from zk.model.record import Zxid
from zk.model.replies import DONE, Created, Reply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    CloseSession,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetChildren,
    GetData,
    RemoveWatches,
    SetAcl,
    SetData,
    SetWatches,
)
from zk.model.znode import Znode

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.replica.conftest import Cluster, TestClient

Told = int | tuple[EventType, str]

DATA_CHANGED = EventType.DATA_CHANGED


def told(client: "TestClient") -> list[Told]:
    """What the client was sent, in order: xids of answers, and events."""
    return [item.xid if isinstance(item, Reply) else (item.type, item.path) for item in client.received]


def events(client: "TestClient") -> list[WatchEvent]:
    return [item for item in client.received if isinstance(item, WatchEvent)]


def zxid_of_last_answer(client: "TestClient") -> Zxid:
    return [item.zxid for item in client.received if isinstance(item, Reply)][-1]


def test_the_event_comes_behind_the_answer_that_set_the_watch_and_before_that_of_the_own_write(
    three: "Cluster",
) -> None:
    for server in (1, 2, 3):
        client = three.connect(server).open()
        path = f"/n{server}"
        client.ask(Create(path, b""))
        del client.received[:]
        xids = [
            client.call(GetData(path, watch=True)),
            client.call(SetData(path, b"x")),
            client.call(GetData(path)),
            client.call(SetData(path, b"y")),
        ]
        three.settle()
        assert told(client) == [xids[0], (DATA_CHANGED, path), *xids[1:]]


def test_the_event_of_anothers_change_comes_before_any_read_that_shows_it(three: "Cluster") -> None:
    watcher, writer = three.connect(1).open(), three.connect(2).open()
    writer.ask(Create("/n", b""))
    watcher.ask(GetData("/n", watch=True), at_least=zxid_of_last_answer(writer))
    del watcher.received[:]
    for number in range(10):
        writer.call(SetData("/n", str(number).encode()))
        watcher.call(GetData("/n"))
        three.settle()
    shown = [
        isinstance(item, WatchEvent) or (isinstance(item.body, Znode) and item.body.stat.version > 0)
        for item in watcher.received
    ]
    assert shown == sorted(shown)
    assert len(events(watcher)) == 1
    first = shown.index(True)
    assert isinstance(watcher.received[first], WatchEvent)


def test_every_watcher_on_every_server_is_told(three: "Cluster") -> None:
    watchers = [three.connect(server).open() for server in (1, 1, 2, 3)]
    for watcher in watchers:
        watcher.ask(Exists("/n", watch=True))
    three.connect(3).open().ask(Create("/n", b""))
    three.settle()
    assert [[(event.type, event.path) for event in events(watcher)] for watcher in watchers] == [
        [(EventType.CREATED, "/n")]
    ] * 4


def test_closing_tells_the_watchers_of_the_ephemerals_in_the_same_transaction(three: "Cluster") -> None:
    owner, watcher = three.connect(1).open(), three.connect(2).open()
    for path in ("/a", "/b"):
        owner.ask(Create(path, b"", mode=CreateMode.EPHEMERAL))
    watcher.ask(GetChildren("/", watch=True), linearizable=True)
    watcher.ask(AddWatch("/", WatchMode.RECURSIVE))
    owner.ask(CloseSession())
    three.settle()
    assert {(event.type, event.path) for event in events(watcher)} == {
        (EventType.DELETED, "/a"),
        (EventType.DELETED, "/b"),
        (EventType.CHILDREN_CHANGED, "/"),
    }
    assert len({event.zxid for event in events(watcher)}) == 1


def test_a_connection_that_ends_in_the_step_of_its_event_disturbs_nobody(three: "Cluster") -> None:
    gone, stays = three.connect(1).open(), three.connect(1).open()
    gone.ask(Create("/mine", b"", mode=CreateMode.EPHEMERAL))
    for client in (gone, stays):
        client.ask(AddWatch("/mine", WatchMode.PERSISTENT))
    assert gone.ask(CloseSession()) == DONE
    assert told(gone)[-2] == (EventType.DELETED, "/mine")  # a session is told of the last thing that it does, too
    assert [event.path for event in events(stays)] == ["/mine"]
    stays.drop()
    three.connect(2).open().ask(Create("/mine", b""))
    three.settle()
    assert len(events(stays)) == 1
    assert three.servers[stays.server_id].status().watches == 0


def test_a_stream_continues_without_a_gap_from_a_zxid(three: "Cluster") -> None:
    writer = three.connect(1).open()
    writer.ask(Create("/n", b""))
    since = zxid_of_last_answer(writer)
    zxids = []
    for _ in range(3):
        writer.ask(SetData("/n", b"x"))
        zxids.append(zxid_of_last_answer(writer))
    watcher = three.connect(2).open()
    xid = watcher.call(AddWatch("/n", WatchMode.PERSISTENT, since=since))
    three.settle()
    assert told(watcher)[1] == xid
    assert events(watcher) == [WatchEvent(DATA_CHANGED, "/n", zxid) for zxid in zxids]
    writer.ask(SetData("/n", b"y"))
    three.settle()
    assert events(watcher)[3:] == [WatchEvent(DATA_CHANGED, "/n", zxid_of_last_answer(writer))]


def test_a_stream_from_before_the_history_begins_with_resync_and_goes_on(
    new_cluster: "Callable[..., Cluster]",
) -> None:
    cluster = new_cluster(3, limits=Limits(history_changes_max=3))
    writer = cluster.connect(1).open()
    writer.ask(Create("/n", b""))
    since = zxid_of_last_answer(writer)
    for _ in range(4):
        writer.ask(SetData("/n", b"x"))
    last = zxid_of_last_answer(writer)
    watcher = cluster.connect(2).open()
    attached = zxid_of_last_answer(watcher)
    watcher.ask(AddWatch("/n", WatchMode.PERSISTENT, since=since))
    assert attached > last
    assert events(watcher) == [WatchEvent(EventType.RESYNC, "/n", attached)]
    writer.ask(SetData("/n", b"y"))
    cluster.settle()
    assert events(watcher)[1:] == [WatchEvent(DATA_CHANGED, "/n", zxid_of_last_answer(writer))]


def test_a_client_is_told_only_of_what_it_may_read(three: "Cluster") -> None:
    ann, other = three.connect(1).open(), three.connect(1).open()
    assert ann.ask(AddAuth("digest", b"ann:secret")) == DONE
    mine = (Acl(31, "auth", ""),)
    for client in (ann, other):
        client.ask(AddWatch("/", WatchMode.RECURSIVE))
    assert isinstance(ann.ask(Create("/secret", b"", mine)), Created)
    ann.ask(SetData("/secret", b"x"))
    ann.ask(Delete("/secret"))
    three.settle()
    assert [event.type for event in events(ann)] == [EventType.CREATED, DATA_CHANGED, EventType.DELETED]
    assert events(other) == []


def test_what_was_missed_is_told_after_a_reconnect_only_to_those_who_may_read_it(three: "Cluster") -> None:
    ann, other = three.connect(1).open(), three.connect(2).open()
    ann.ask(AddAuth("digest", b"ann:secret"))
    for path in ("/open", "/secret"):
        ann.ask(Create(path, b""))
    since = zxid_of_last_answer(ann)
    ann.ask(SetData("/open", b"x"))
    ann.ask(SetData("/secret", b"x"))
    ann.ask(SetAcl("/secret", (Acl(31, "auth", ""),)))
    xid = other.call(SetWatches(since, data=("/open", "/secret")), at_least=zxid_of_last_answer(ann))
    three.settle()
    assert told(other)[1:] == [xid, (DATA_CHANGED, "/open")]


def test_a_removed_watch_is_told_nothing_more(three: "Cluster") -> None:
    client = three.connect(1).open()
    client.ask(Create("/n", b""))
    client.ask(AddWatch("/n", WatchMode.PERSISTENT))
    client.ask(SetData("/n", b""))
    assert client.ask(RemoveWatches("/n", WatcherType.PERSISTENT)) == DONE
    client.ask(SetData("/n", b""))
    assert [event.type for event in events(client)] == [DATA_CHANGED]


def test_a_failed_write_tells_nobody(three: "Cluster") -> None:
    client = three.connect(1).open()
    client.ask(Create("/n", b""))
    client.ask(AddWatch("/", WatchMode.RECURSIVE))
    client.ask(SetData("/n", b"", version=7))
    client.ask(Create("/n", b""))
    assert events(client) == []
