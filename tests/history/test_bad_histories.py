"""Every way in which a store can betray its clients, written out by hand, is found by the search and by the replay."""

from collections.abc import Callable, Mapping
from random import Random

import pytest

from zk.history import History, HistoryError, Operation, check
from zk.history.history import FOR_EVER_US, Answer, Request
from zk.history.linearizability import Undecided, check_linearizability
from zk.history.replay import check_replay
from zk.history.testing import HonestService
from zk.model.errors import APIError, BadVersionError, NodeExistsError, NoNodeError, RuntimeInconsistencyError
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Body, Created, DataReply, MultiReply, StatReply
from zk.model.requests import Create, Delete, Exists, GetData, Multi, SetData
from zk.model.stat import Stat

A, B = "/a", "/b"


def stat(czxid: int, mzxid: int, version: int) -> Stat:
    return Stat(Zxid(czxid), Zxid(mzxid), 0, 0, version, 0, 0, SessionId(0), 1, 0, Zxid(czxid))


def call(client: str, times: tuple[int, int], request: Request, zxid: int, body: Body | APIError) -> Operation:
    linearizable = isinstance(request, GetData | Exists)
    return Operation(client, request, *times, Answer(Zxid(zxid), body), linearizable)


def lost(client: str, called: int, request: Request, until: int = FOR_EVER_US) -> Operation:
    return Operation(client, request, called, until)


def created(client: str, times: tuple[int, int], path: str, data: bytes, zxid: int) -> Operation:
    return call(client, times, Create(path, data), zxid, Created(path, stat(zxid, zxid, 0)))


def sets(client: str, times: tuple[int, int], data: bytes, zxid: int, version: int, czxid: int = 1) -> Operation:
    return call(client, times, SetData(A, data), zxid, StatReply(stat(czxid, zxid, version)))


def reads(client: str, times: tuple[int, int], data: bytes, shown: Stat, zxid: int) -> Operation:
    return call(client, times, GetData(A), zxid, DataReply(data, shown))


BEGIN = created("p", (0, 1), A, b"0", 1)
"""/a is there, with b"0"."""

STALE_READ = (BEGIN, sets("p", (2, 3), b"1", 2, 1), reads("q", (4, 5), b"0", stat(1, 1, 0), 1))
STALE_ABSENCE = (BEGIN, call("q", (2, 3), Exists(A), 0, NoNodeError(A)))
LOST_UPDATE = (
    BEGIN,
    call("p", (2, 5), SetData(A, b"1", 0), 2, StatReply(stat(1, 2, 1))),
    call("q", (3, 4), SetData(A, b"2", 0), 3, StatReply(stat(1, 3, 1))),
)
LOST_WRITE = (BEGIN, sets("p", (2, 3), b"1", 2, 1), sets("p", (4, 5), b"2", 3, 1))
DONE_TWICE = (
    BEGIN,
    sets("p", (2, 3), b"1", 2, 1),
    sets("q", (4, 5), b"2", 3, 2),
    reads("q", (6, 7), b"1", stat(1, 4, 3), 4),
)
UNKNOWN_DONE_TWICE = (
    BEGIN,
    lost("p", 2, SetData(A, b"1")),
    reads("q", (3, 4), b"1", stat(1, 2, 1), 2),
    sets("q", (5, 6), b"2", 3, 2),
    reads("q", (7, 8), b"1", stat(1, 4, 3), 4),
)
NEVER_WRITTEN = (BEGIN, reads("q", (2, 3), b"?", stat(1, 1, 0), 1))
REFUSED_SHOWS = (
    BEGIN,
    call("p", (2, 3), SetData(A, b"1", 7), 2, BadVersionError(A)),
    reads("q", (4, 5), b"1", stat(1, 2, 1), 2),
)
REFUSED_FOR_NOTHING = (BEGIN, call("p", (2, 3), SetData(A, b"1", 0), 2, BadVersionError(A)))
CREATED_TWICE = (BEGIN, created("q", (2, 3), A, b"1", 2))
DELETED_TWICE = (BEGIN, call("p", (2, 3), Delete(A), 2, DONE), call("q", (4, 5), Delete(A), 3, DONE))
SEEN_AND_GONE = (
    BEGIN,
    lost("p", 2, SetData(A, b"1")),
    reads("q", (3, 4), b"1", stat(1, 2, 1), 2),
    reads("q", (5, 6), b"0", stat(1, 1, 0), 2),
)
SEEN_BEFORE_ITS_CALL = (BEGIN, reads("q", (2, 3), b"1", stat(1, 2, 1), 2), lost("p", 4, SetData(A, b"1")))
AFTER_ITS_SESSION = (
    BEGIN,
    lost("p", 2, SetData(A, b"1"), until=3),
    reads("q", (4, 5), b"0", stat(1, 1, 0), 1),
    reads("q", (6, 7), b"1", stat(1, 2, 1), 2),
)
HALF_A_MULTI = (
    BEGIN,
    call(
        "p",
        (2, 3),
        Multi((SetData(A, b"1"), Create(B, b"1"))),
        2,
        MultiReply((StatReply(stat(1, 2, 1)), Created(B, stat(2, 2, 0)))),
    ),
    reads("q", (4, 5), b"1", stat(1, 2, 1), 2),
    call("q", (6, 7), Exists(B), 2, NoNodeError(B)),
)
FAILED_MULTI_SHOWS = (
    BEGIN,
    call(
        "p",
        (2, 3),
        Multi((SetData(A, b"1"), Create(A, b"2"), Delete(A))),
        2,
        MultiReply((DONE, NodeExistsError(A), RuntimeInconsistencyError(A))),
    ),
    reads("q", (4, 5), b"1", stat(1, 2, 1), 2),
)
MULTI_BLAMES_ANOTHER = (
    BEGIN,
    call(
        "p",
        (2, 3),
        Multi((Create(A, b"1"), Delete(A))),
        2,
        MultiReply((DONE, NoNodeError(A))),
    ),
)
ANOTHER_INCARNATION = (
    BEGIN,
    call("p", (2, 3), Delete(A), 2, DONE),
    created("p", (4, 5), A, b"1", 3),
    sets("q", (6, 7), b"2", 4, 1, czxid=1),
)

BAD: Mapping[str, tuple[Operation, ...]] = {
    "stale read": STALE_READ,
    "stale absence": STALE_ABSENCE,
    "lost update": LOST_UPDATE,
    "lost write": LOST_WRITE,
    "done twice": DONE_TWICE,
    "unknown done twice": UNKNOWN_DONE_TWICE,
    "never written": NEVER_WRITTEN,
    "refused shows": REFUSED_SHOWS,
    "refused for nothing": REFUSED_FOR_NOTHING,
    "created twice": CREATED_TWICE,
    "deleted twice": DELETED_TWICE,
    "seen and gone": SEEN_AND_GONE,
    "seen before its call": SEEN_BEFORE_ITS_CALL,
    "after its session": AFTER_ITS_SESSION,
    "half a multi": HALF_A_MULTI,
    "failed multi shows": FAILED_MULTI_SHOWS,
    "multi blames another": MULTI_BLAMES_ANOTHER,
    "another incarnation": ANOTHER_INCARNATION,
}


@pytest.mark.parametrize("check", [check_linearizability, check_replay])
@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_history_is_refused(name: str, check: Callable[[History], object]) -> None:
    with pytest.raises(HistoryError):
        check(History(BAD[name]))


def test_without_its_last_operation_each_would_do() -> None:
    """So that it is the last one that is found, and not a slip of the pen before it."""
    for name, operations in BAD.items():
        if name not in ("lost update", "seen before its call"):
            check(History(operations[:-1]))


def test_the_account_shows_how_far_it_goes_and_what_is_stuck() -> None:
    with pytest.raises(HistoryError) as caught:
        check_linearizability(History(STALE_READ))
    assert (
        str(caught.value)
        == """\
no order explains the operations on /a.
The longest attempt orders 2 of 3; it ends with:
  [0.000, 0.001] p: create /a b'0' -> created (version 0, czxid 0.1, mzxid 0.1) at 0.1
  [0.002, 0.003] p: set /a b'1' -> (version 1, czxid 0.1, mzxid 0.2) at 0.2
Behind that there would be:
  /a: b'1', version 1, written at 0.2
and none of these can be next:
  [0.004, 0.005] q: linearizable get /a -> b'0' (version 0, czxid 0.1, mzxid 0.1) at 0.1  (it would show b'1')"""
    )


def test_an_unknown_write_may_show_or_not() -> None:
    unknown = lost("p", 2, SetData(A, b"1"))
    check(History((BEGIN, unknown)))
    check(History((BEGIN, unknown, reads("q", (3, 4), b"0", stat(1, 1, 0), 1))))
    check(History((BEGIN, unknown, reads("q", (3, 4), b"1", stat(1, 2, 1), 2))))
    late = reads("q", (3, 4), b"0", stat(1, 1, 0), 1), reads("q", (5, 6), b"1", stat(1, 2, 1), 2)
    check(History((BEGIN, unknown, *late)))


def test_unknown_writes_to_two_nodes_may_both_be_what_a_multi_finds() -> None:
    """Found in a simulated run, seed 100746: the search had looked for one only."""
    unknown = (lost("p", 2, SetData(A, b"1")), lost("q", 2, Create(B, b"2")))
    both = Multi((SetData(A, b"3", 1), SetData(B, b"4", 0)))
    found = MultiReply((StatReply(stat(1, 4, 2)), StatReply(stat(3, 4, 1))))
    check(History((BEGIN, *unknown, call("r", (3, 4), both, 4, found))))


def test_unknown_writes_that_nobody_saw_explain_a_version() -> None:
    unknown = [lost(f"p{number}", 2, SetData(A, b"%d" % number)) for number in range(12)]
    check(History((BEGIN, *unknown, sets("q", (3, 4), b"x", 20, 10))))
    with pytest.raises(HistoryError):
        check(History((BEGIN, *unknown, sets("q", (3, 4), b"x", 20, 14))))


def test_a_search_that_takes_too_long_is_given_up_and_says_so() -> None:
    history = HonestService(Random(1)).history(100)
    with pytest.raises(Undecided, match=r"no verdict on /a, /b after 50 states: .* operations were answered"):
        check_linearizability(history, states_max=50)
