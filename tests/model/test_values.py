"""Values: records, znodes, sessions, and the numbers that travel."""

import dataclasses

import pytest

from zk.model.acl import OPEN_ACL
from zk.model.events import EventType, WatcherType, WatchMode
from zk.model.limits import Limits
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, MultiReply
from zk.model.requests import Create, CreateMode
from zk.model.session import Session
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.model.zxids import counter_of, epoch_of, make_zxid


def test_a_zxid_is_an_epoch_and_a_counter() -> None:
    zxid = make_zxid(3, 0xFFFF_FFFF)
    assert (epoch_of(zxid), counter_of(zxid)) == (3, 0xFFFF_FFFF)
    assert make_zxid(4, 0) == zxid + 1


def test_a_record_deep_within_others_is_freed_without_harm_to_its_neighbours() -> None:
    """Python frees what is nested more than fifty deep later on; compiled records must not take part in that."""
    neighbours, nests = [], []
    for number in range(2_000):
        neighbours.append(Stat(*range(number, number + 11)))
        nest: object = Stat(*range(number, number + 11))
        for _ in range(45 + number % 10):
            nest = [nest]
        nests.append(nest)
    del nest, nests
    assert neighbours == [Stat(*range(number, number + 11)) for number in range(2_000)]


def test_records_are_values_without_a_dict() -> None:
    a, b = Create("/a", b""), Create("/a", b"")
    assert a == b
    assert hash(a) == hash(b)
    assert not hasattr(a, "__dict__")


def test_the_events_have_zookeepers_numbers() -> None:
    assert {each.name: each.value for each in EventType} == {
        "CREATED": 1,
        "DELETED": 2,
        "DATA_CHANGED": 3,
        "CHILDREN_CHANGED": 4,
        "DATA_WATCH_REMOVED": 5,
        "CHILD_WATCH_REMOVED": 6,
        "PERSISTENT_WATCH_REMOVED": 7,
        "RESYNC": 100,
    }


def test_the_watches_have_zookeepers_numbers() -> None:
    assert [each.value for each in (WatchMode.PERSISTENT, WatchMode.RECURSIVE)] == [0, 1]
    assert {each.name: each.value for each in WatcherType} == {
        "CHILDREN": 1,
        "DATA": 2,
        "ANY": 3,
        "PERSISTENT": 4,
        "RECURSIVE": 5,
    }


def test_a_stat_has_zookeepers_eleven_figures_in_its_order() -> None:
    assert tuple(field.name for field in dataclasses.fields(Stat)) == (
        "czxid",
        "mzxid",
        "ctime",
        "mtime",
        "version",
        "cversion",
        "aversion",
        "ephemeral_owner",
        "data_length",
        "num_children",
        "pzxid",
    )


def test_a_znode_shows_its_stat() -> None:
    znode = Znode(b"abc", OPEN_ACL, Zxid(1), Zxid(2), Zxid(3), 4, 5, 6, 7, 8, SessionId(9), 10, CreateMode.EPHEMERAL, 0)
    assert znode.stat == Stat(Zxid(1), Zxid(2), 4, 5, 6, 4, 8, SessionId(9), 3, 10, Zxid(3))


@pytest.mark.parametrize(
    ("mode", "sequential", "ephemeral", "has_ttl"),
    [
        (CreateMode.PERSISTENT, False, False, False),
        (CreateMode.EPHEMERAL, False, True, False),
        (CreateMode.PERSISTENT_SEQUENTIAL, True, False, False),
        (CreateMode.EPHEMERAL_SEQUENTIAL, True, True, False),
        (CreateMode.CONTAINER, False, False, False),
        (CreateMode.PERSISTENT_WITH_TTL, False, False, True),
        (CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, True, False, True),
    ],
)
def test_the_kinds(mode: CreateMode, sequential: bool, ephemeral: bool, has_ttl: bool) -> None:
    assert (mode.sequential, mode.ephemeral, mode.has_ttl) == (sequential, ephemeral, has_ttl)


def test_a_copied_session_is_independent() -> None:
    session = Session(SessionId(1), b"s", 5, (), Zxid(2), answers={1: (Zxid(3), DONE)})
    copy = session.copy()
    assert copy == session
    session.answers[2] = (Zxid(4), MultiReply(()))
    session.n = 9
    assert (copy.n, list(copy.answers)) == (0, [1])


def test_every_limit_is_a_positive_number() -> None:
    assert all(value > 0 for value in dataclasses.asdict(Limits()).values())
