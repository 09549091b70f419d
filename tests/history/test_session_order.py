"""What one client may rely on, and how it is found out that it can't."""

from dataclasses import replace

import pytest

from zk.history import History, HistoryError, Operation, Told
from zk.history.history import Answer, Request
from zk.history.session_order import check_session_order
from zk.model.errors import APIError, NoNodeError
from zk.model.events import EventType, WatchEvent
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Body, DataReply, StatReply
from zk.model.requests import Delete, Exists, GetData, SetData
from zk.model.stat import Stat

STAT = Stat(Zxid(1), Zxid(1), 0, 0, 0, 0, 0, SessionId(0), 1, 0, Zxid(1))


def call(client: str, at: int, request: Request, zxid: int, body: Body | APIError, at_least: int = 0) -> Operation:
    return Operation(client, request, at, at + 1, Answer(Zxid(zxid), body), at_least=Zxid(at_least))


def read(client: str, at: int, zxid: int, *, watch: bool = False, path: str = "/a", at_least: int = 0) -> Operation:
    return call(client, at, GetData(path, watch), zxid, DataReply(b"", STAT), at_least)


def write(client: str, at: int, zxid: int, path: str = "/a") -> Operation:
    return call(client, at, SetData(path, b""), zxid, StatReply(STAT))


def told(client: str, zxid: int, kind: EventType = EventType.DATA_CHANGED) -> Told:
    return Told(client, WatchEvent(kind, "/a", Zxid(zxid)))


def refused(*happenings: Operation | Told) -> str:
    with pytest.raises(HistoryError) as caught:
        check_session_order(History(happenings))
    return str(caught.value).partition(":\n")[0]


def holds(*happenings: Operation | Told) -> None:
    check_session_order(History(happenings))


def test_a_client_reads_what_it_wrote() -> None:
    holds(write("p", 1, 5), read("p", 2, 5))
    assert refused(write("p", 1, 5), read("p", 2, 4)) == "what the client wrote is gone"


def test_a_client_never_sees_time_go_back() -> None:
    holds(read("p", 1, 5), read("q", 2, 4), read("p", 3, 5))
    assert refused(read("p", 1, 5), read("p", 2, 4)) == "what the client has seen is gone"


def test_a_client_gets_at_least_what_it_asked_for() -> None:
    holds(read("p", 1, 5, at_least=5))
    assert refused(read("p", 1, 4, at_least=5)) == "a read that asked for at least 0.5 is answered with less"


def test_a_clients_calls_are_done_in_order() -> None:
    holds(write("p", 1, 5), write("p", 2, 6), write("q", 2, 4))
    assert refused(write("p", 1, 5), write("p", 2, 4)) == "what the client wrote is gone"
    assert refused(read("p", 1, 5), write("p", 2, 5)) == "a write was done before what the client had called first"
    assert refused(write("p", 2, 5), write("p", 1, 6)) == "the second was called first, and is answered last"


def test_a_write_that_was_sent_again_may_be_older_than_what_the_client_has_seen_but_not_than_its_writes_before() -> (
    None
):
    resent = replace(write("p", 2, 4), resent=True)
    holds(read("p", 1, 5), resent, read("p", 3, 5))
    holds(read("p", 1, 4), resent)
    holds(read("p", 1, 5, watch=True), resent, write("q", 3, 4))
    assert refused(write("p", 1, 5), resent) == "what the client wrote is gone"
    assert refused(read("p", 1, 5), resent, read("p", 3, 4)) == "what the client has seen is gone"


def test_a_watch_is_told_before_the_change_is_shown() -> None:
    watching = read("p", 1, 5, watch=True)
    holds(watching, told("p", 7), write("q", 1, 7), read("p", 3, 7))
    holds(watching, read("p", 2, 6), told("p", 7), write("q", 1, 7), read("p", 3, 7))
    late = "a watch is told of a change only after an answer that shows it"
    assert refused(watching, read("p", 2, 7), told("p", 7)) == late
    assert refused(watching, told("p", 5)) == late


def test_a_watch_is_told_at_all() -> None:
    missed = "an answer shows a change of what the client watches, and it was not told"
    watching = read("p", 1, 5, watch=True)
    assert refused(write("q", 1, 7), watching, read("p", 2, 8)) == missed
    holds(write("q", 1, 7), watching, read("p", 2, 6))
    holds(write("q", 1, 7, "/b"), watching, read("p", 2, 8))


def test_a_node_that_came_and_went_unseen_need_not_be_told() -> None:
    watching = call("p", 1, Exists("/a", watch=True), 5, NoNodeError("/a"))
    came, went = write("q", 2, 6), call("q", 3, Delete("/a"), 7, DONE)
    holds(came, went, watching, read("p", 4, 8, path="/b"))
    assert refused(came, watching, read("p", 4, 8, path="/b")).startswith("an answer shows a change")


def test_a_write_that_was_sent_again_may_have_made_and_others_unmade_what_its_client_watches() -> None:
    missing = call("p", 1, Exists("/a", True), 2, NoNodeError("/a"))
    made, unmade = replace(write("p", 2, 3), resent=True), call("q", 3, Delete("/a"), 4, DONE)
    holds(missing, unmade, made, call("p", 5, Exists("/a"), 5, NoNodeError("/a")))


def test_a_read_that_finds_nothing_to_watch_leaves_no_watch() -> None:
    watching = call("p", 1, GetData("/a", watch=True), 5, NoNodeError("/a"))
    holds(write("q", 2, 6), watching, read("p", 4, 8))
