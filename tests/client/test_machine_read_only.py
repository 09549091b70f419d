"""The session machine with servers that have no quorum: what it reads there, and what it must not believe."""

import random

import pytest
from zkclient.machine import INSIST_MS, READ_ONLY_MS, Machine
from zkclient.results import State

from tests.client.test_machine import SECRET, SESSION, STAT, TIMEOUT_MS, World
from zk.model.errors import NotReadOnlyError, SessionExpiredError, ThrottledError
from zk.model.events import WatchMode
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, ConnectReply, Reply, StatReply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Exists,
    GetData,
    Ping,
    SetData,
    Sync,
)

LOCAL = ConnectReply(SessionId(99), b"local", TIMEOUT_MS, read_only=True)
FULL = ConnectReply(SESSION, SECRET, TIMEOUT_MS)
READ_ONLY = State.CONNECTED_READ_ONLY


def new_world(*servers: str) -> World:
    world = World(*servers)
    world.machine = Machine(servers, TIMEOUT_MS, random.Random(1), read_only=True)
    return world


def attach(world: World, session: ConnectReply) -> Connect:
    world.session = session
    return world.attach(zxid=5)


def settle_for_read_only(world: World) -> None:
    """No server of the round has a quorum; so one of the next will do."""
    while READ_ONLY is not world.machine.state:
        attach(world, LOCAL)


@pytest.fixture
def fresh() -> World:
    """A client that never had a session, read-only at its only server."""
    world = new_world("a:1")
    world.call("first", Exists("/"))
    settle_for_read_only(world)
    world.answer(world.received(), body=StatReply(STAT))
    return world


@pytest.fixture
def cut_off() -> World:
    """A client whose session was attached, with a write on its way that was not answered; now it is read-only."""
    world = new_world("a:1", "b:1")
    world.call("first", Sync())
    attach(world, FULL)
    world.answer(world.received())
    world.settle_in()
    world.call("under way", SetData("/a", b"1"))
    world.received()
    world.cut()
    settle_for_read_only(world)
    return world


def test_servers_that_can_only_be_read_will_do_if_there_is_no_better_one() -> None:
    world = new_world("a:1", "b:1", "c:1")
    world.call("first", Exists("/"))
    for _ in range(3):
        assert attach(world, LOCAL) == Connect(SessionId(0), b"", TIMEOUT_MS, Zxid(0), read_only=True)
        assert world.states == []
    attach(world, LOCAL)
    assert world.states == [READ_ONLY]
    assert sorted(world.opened[:3]) == ["a:1", "b:1", "c:1"]
    assert world.requests() == [Exists("/")]


def test_a_server_with_a_quorum_is_taken_before_one_that_can_only_be_read() -> None:
    world = new_world("a:1", "b:1", "c:1")
    world.call("first", Exists("/"))
    attach(world, LOCAL)
    attach(world, FULL)
    assert world.states == [State.CONNECTED]
    assert len(world.opened) == 2


def test_who_finds_nobody_to_read_pauses_as_ever() -> None:
    world = new_world("a:1", "b:1")
    world.call("first", Exists("/"))
    attach(world, LOCAL)
    world.accept()
    world.answer(world.received(), body=ThrottledError())
    for _ in range(2):  # the round that settles for one
        world.accept()
        world.answer(world.received(), body=ThrottledError())
    assert len(world.opened) == 4
    world.advance(1_000)
    assert len(world.opened) == 5


def test_without_the_wish_nobody_asks_for_it() -> None:
    world = World("a:1")
    world.call("first", Exists("/"))
    assert world.attach() == Connect(SessionId(0), b"", TIMEOUT_MS, Zxid(0), read_only=False)


def test_a_session_that_is_only_the_servers_own_is_not_taken_elsewhere(fresh: World) -> None:
    assert fresh.machine.session_id == 0
    for _ in range(2):
        fresh.advance(READ_ONLY_MS / 2)
        fresh.answer(fresh.received())
    assert attach(fresh, FULL) == Connect(SessionId(0), b"", TIMEOUT_MS, Zxid(5), read_only=True)
    assert fresh.states == [READ_ONLY, State.CONNECTED]
    assert fresh.machine.session_id == SESSION


def test_a_write_is_refused_at_once(fresh: World) -> None:
    fresh.call("write", Create("/a", b""))
    [call] = fresh.received()
    fresh.answer([call], body=NotReadOnlyError())
    assert fresh.outcomes["write"] == Reply(call.xid, Zxid(5), NotReadOnlyError())


def test_what_was_sent_before_is_kept_from_a_server_that_would_refuse_it(cut_off: World) -> None:
    """It may have been done: 'refused' would be a lie."""
    cut_off.call("read", GetData("/a"))
    cut_off.call("write", SetData("/a", b"2"))
    assert cut_off.machine.pending_calls == 3
    calls = cut_off.received()
    assert [call.request for call in calls] == [GetData("/a"), SetData("/a", b"2")]
    cut_off.answer(calls, body=NotReadOnlyError())
    assert sorted(cut_off.outcomes) == ["first", "read", "write"]
    cut_off.cut()
    attach(cut_off, FULL)
    [again] = cut_off.received()
    assert again.request == SetData("/a", b"1")
    cut_off.answer([again], body=StatReply(STAT))
    assert cut_off.outcomes["under way"] == Reply(again.xid, Zxid(5), StatReply(STAT))


def test_what_was_sent_before_goes_first_when_there_is_a_quorum_again(cut_off: World) -> None:
    cut_off.call("write", SetData("/a", b"2"))
    cut_off.received()
    cut_off.cut()
    cut_off.call("later", SetData("/a", b"3"))
    attach(cut_off, FULL)
    again = cut_off.received()
    assert [call.request for call in again] == [SetData("/a", value) for value in (b"1", b"2", b"3")]
    assert [call.floor for call in again] == [again[0].xid] * 3


def test_what_is_kept_has_its_deadline_all_the_same(cut_off: World) -> None:
    cut_off.call("late", SetData("/a", b"2"), deadline_ms=cut_off.now_ms + 100)
    cut_off.advance(100)
    assert type(cut_off.outcomes["late"]).__name__ == "OperationTimeoutError"


def test_nothing_there_proves_that_the_session_lives(cut_off: World) -> None:
    """Nor does a lost session end the reading."""
    assert cut_off.states == [State.CONNECTED, State.SUSPENDED, READ_ONLY]
    for _ in range(10):
        cut_off.advance(1_000)
        calls = cut_off.received()
        if calls and isinstance(calls[0].request, Connect):
            cut_off.answer(calls, body=LOCAL)
        else:
            cut_off.answer(calls)
        if cut_off.machine.state is not READ_ONLY:
            settle_for_read_only(cut_off)
    assert cut_off.states == [State.CONNECTED, State.SUSPENDED, READ_ONLY, State.LOST, READ_ONLY]
    assert cut_off.machine.session_id == SESSION


def test_a_session_that_was_lost_meanwhile_is_lost_when_the_reading_ends(cut_off: World) -> None:
    cut_off.advance(3_000)
    cut_off.answer(cut_off.received())
    cut_off.advance(3_000)
    cut_off.answer(cut_off.received())
    cut_off.advance(3_500)
    assert cut_off.states[-2:] == [State.LOST, READ_ONLY]
    cut_off.cut()
    assert cut_off.states[-1] is State.LOST
    attach(cut_off, FULL)
    assert cut_off.states[-2:] == [State.LOST, State.CONNECTED]


def test_a_session_that_is_over_says_so_once_there_is_a_quorum(cut_off: World) -> None:
    cut_off.cut()
    cut_off.accept()
    cut_off.answer(cut_off.received(), body=SessionExpiredError())
    assert cut_off.states[-1] is State.LOST
    outcome = cut_off.outcomes["under way"]
    assert getattr(outcome, "maybe_applied", False)


def test_other_servers_are_looked_for_now_and_then_and_nobody_hears_of_it(fresh: World) -> None:
    before = len(fresh.opened)
    fresh.advance(READ_ONLY_MS / 2)
    fresh.answer(fresh.received())
    fresh.advance(READ_ONLY_MS / 2)
    fresh.call("meanwhile", Exists("/b"))
    for _ in range(2):
        attach(fresh, LOCAL)
    assert fresh.requests() == [Exists("/b")]
    assert len(fresh.opened) == before + 2
    assert fresh.states == [READ_ONLY]


@pytest.mark.parametrize(("session", "state"), [(LOCAL, State.CONNECTING), (FULL, State.SUSPENDED)])
def test_when_the_reading_ends_the_state_is_the_sessions(session: ConnectReply, state: State) -> None:
    world = new_world("a:1")
    world.call("first", Exists("/"))
    if session is FULL:
        attach(world, FULL)
        world.answer(world.received(), body=StatReply(STAT))
        world.settle_in()
        world.cut()
    settle_for_read_only(world)
    world.cut()
    assert world.machine.state is state


def test_identities_are_told_to_every_server_that_is_read_and_to_the_session_in_its_turn(fresh: World) -> None:
    ann = AddAuth("digest", b"ann:secret")
    fresh.call("auth", ann)
    fresh.answer(fresh.received())
    assert isinstance(fresh.outcomes["auth"], Reply)
    for session in (LOCAL, LOCAL, FULL):
        if session is FULL or fresh.machine.state is READ_ONLY:
            fresh.cut()
            fresh.advance(1_000)
        if session is LOCAL:
            settle_for_read_only(fresh)
        else:
            attach(fresh, session)
        assert fresh.requests() == [ann]


def test_an_identity_added_while_reading_is_told_to_the_session_too(cut_off: World) -> None:
    ann = AddAuth("digest", b"ann:secret")
    cut_off.call("auth", ann)
    cut_off.answer(cut_off.received())
    cut_off.cut()
    attach(cut_off, FULL)
    assert cut_off.requests() == [ann, SetData("/a", b"1")]


def test_what_is_insisted_on_is_asked_until_there_is_a_quorum(fresh: World) -> None:
    fresh.call("delete", SetData("/a", b""), insistent=True)
    fresh.answer(fresh.received(), body=NotReadOnlyError())
    assert "delete" not in fresh.outcomes
    fresh.advance(INSIST_MS)
    assert SetData("/a", b"") in fresh.requests()


def test_streams_go_on_at_a_server_that_can_only_be_read(cut_off: World) -> None:
    cut_off.machine.watch(cut_off.now_ms, "/a", WatchMode.PERSISTENT, None, cut_off.hear("stream"))
    requests: list[ClientRequest] = cut_off.requests()
    assert requests == [AddWatch("/a", WatchMode.PERSISTENT)]


def test_leaving_ends_the_client_even_if_nobody_ends_its_session(cut_off: World) -> None:
    cut_off.call("goodbye", CloseSession())
    cut_off.answer(cut_off.received(), body=NotReadOnlyError())
    assert cut_off.machine.state is State.CLOSED


def test_pings_are_sent_to_keep_the_connection(fresh: World) -> None:
    fresh.advance(TIMEOUT_MS / 3)
    [ping] = fresh.received()
    assert ping.request == Ping()
    fresh.answer([ping], body=DONE)
    fresh.advance(TIMEOUT_MS / 3)
    assert fresh.requests() == [Ping()]
