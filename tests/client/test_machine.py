"""The session machine under virtual time, against a peer that speaks the real protocol and says what the test wants."""

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from zkclient.actions import Action, Close, Notify, Open, Settled, StateChanged
from zkclient.calls import Outcome
from zkclient.errors import ClientClosedError, ConnectionLossError, OperationTimeoutError, SessionExpiredError
from zkclient.machine import IN_FLIGHT_MAX, INSIST_MS, Machine
from zkclient.results import State

from zk.model.acl import CREATOR_ALL_ACL
from zk.model.errors import (
    APIError,
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    NoNodeError,
    SessionMovedError,
    ThrottledError,
)
from zk.model.errors import SessionExpiredError as ExpiredByService
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Body, ConnectReply, Created, Reply, StatReply
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Call,
    Check,
    ClientRequest,
    CloseSession,
    Connect,
    Create,
    Delete,
    Exists,
    GetChildren,
    GetData,
    GetEphemerals,
    Multi,
    Ping,
    RemoveWatches,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
)
from zk.model.stat import Stat
from zk.wire.native import ServerConnection

TIMEOUT_MS = 9_000
SESSION = SessionId(77)
SECRET = b"s" * 16
STAT = Stat(Zxid(5), Zxid(5), 0, 0, 0, 0, 0, SessionId(0), 0, 0, Zxid(5))


class World:
    """A machine, the time, and the peer's end of its present connection."""

    def __init__(self, *servers: str) -> None:
        self.machine = Machine(servers or ("a:1",), TIMEOUT_MS, random.Random(1))
        self.now_ms = 0.0
        self.connection = ServerConnection()
        self.session = ConnectReply(SESSION, SECRET, TIMEOUT_MS)
        self.outcomes: dict[str, Outcome] = {}
        self.events: list[tuple[str, object]] = []
        self.states: list[State] = []
        self.opened: list[str] = []
        self.closed = 0

    # ---- the caller's side

    def call(self, name: str, request: ClientRequest, **options: object) -> None:
        def settle(outcome: Outcome) -> None:
            assert name not in self.outcomes, "a call is settled once"
            self.outcomes[name] = outcome

        self.machine.call(self.now_ms, request, settle, **options)  # type: ignore[arg-type]  # as the test gives them

    def hear(self, name: str) -> Callable[[object], None]:
        return lambda event: self.events.append((name, event))

    def perform(self) -> list[Action]:
        actions = self.machine.take_actions()
        for action in actions:
            if isinstance(action, Settled):
                action.settle(action.outcome)
            elif isinstance(action, Notify):
                action.notified(action.event)
            elif isinstance(action, StateChanged):
                self.states.append(action.state)
            elif isinstance(action, Open):
                self.opened.append(action.server)
            else:
                self.closed += 1
        return actions

    def advance(self, ms: float) -> None:
        """Let time pass, with a tick whenever the machine wants one."""
        until = self.now_ms + ms
        while self.machine.wake_ms <= until:
            self.now_ms = max(self.now_ms, self.machine.wake_ms)
            self.machine.tick(self.now_ms)
            self.perform()
            assert self.machine.wake_ms > self.now_ms, "a tick does what is due"
        self.now_ms = until

    # ---- the server's side

    def accept(self) -> None:
        """Take the connection that was asked for."""
        self.perform()
        self.connection = ServerConnection()
        self.machine.connected(self.now_ms)

    def attach(self, zxid: int = 1) -> Connect:
        """Take the connection, and the session with it."""
        self.accept()
        [call] = self.received()
        assert isinstance(call.request, Connect)
        self.reply(Reply(call.xid, Zxid(zxid), self.session))
        return call.request

    def received(self) -> list[Call]:
        """The calls that have come since the last time."""
        calls = self.connection.receive(self.machine.take_outgoing())
        greeting = self.connection.greeting()
        if greeting:
            self.machine.received(self.now_ms, greeting)
        return calls

    def requests(self) -> list[ClientRequest]:
        return [call.request for call in self.received()]

    def reply(self, *items: Reply | WatchEvent) -> None:
        self.machine.received(self.now_ms, self.connection.send(list(items)))
        self.perform()

    def answer(self, calls: list[Call], zxid: int = 5, body: Body | APIError = DONE) -> None:
        """The same answer to all of `calls`."""
        self.reply(*[Reply(call.xid, Zxid(zxid), body) for call in calls])

    def cut(self, reason: str = "cut") -> None:
        self.machine.disconnected(self.now_ms, reason)
        self.perform()

    def settle_in(self) -> None:
        """Live on for a moment, so that the connection counts as a good one; pings are answered."""
        for _ in range(4):
            self.advance(TIMEOUT_MS / 3)
            self.answer(self.received())


@pytest.fixture
def attached() -> World:
    world = World("a:1", "b:1", "c:1")
    world.call("first", Sync())
    world.attach()
    world.answer(world.received())
    world.settle_in()
    assert world.outcomes.pop("first") == Reply(1, Zxid(5), DONE)
    assert world.states == [State.CONNECTED]
    world.opened.clear()
    world.states.clear()
    return world


# ---- connecting


def test_nothing_happens_before_the_first_call() -> None:
    world = World()
    assert world.machine.state is State.CONNECTING
    assert world.machine.wake_ms == float("inf")
    assert world.machine.take_actions() == []


def test_the_first_call_opens_a_session_and_is_sent_on_it() -> None:
    world = World()
    world.call("get", GetData("/a"))
    assert world.attach() == Connect(SessionId(0), b"", TIMEOUT_MS, Zxid(0))
    assert world.states == [State.CONNECTED]
    assert world.machine.session_id == SESSION
    [call] = world.received()
    assert call == Call(1, GetData("/a"))
    world.answer([call], body=NoNodeError("/a"))
    assert world.outcomes == {"get": Reply(1, Zxid(5), NoNodeError("/a"))}


def test_a_first_watch_opens_a_session_too() -> None:
    world = World()
    world.machine.watch(0, "/a", WatchMode.PERSISTENT, None, world.hear("a"))
    world.attach()
    assert world.requests() == [AddWatch("/a", WatchMode.PERSISTENT)]


def test_every_server_is_tried_once_before_a_pause() -> None:
    world = World("a:1", "b:1", "c:1")
    world.call("get", GetData("/a"))
    for _ in range(3):
        world.perform()
        world.cut("refused")
    assert sorted(world.opened) == ["a:1", "b:1", "c:1"]
    first_round, world.opened = world.opened, []
    world.advance(20)
    assert len(world.opened) == 1
    assert world.opened[0] != first_round[-1], "the one that failed last comes last"


def test_pauses_between_rounds_grow_to_a_second() -> None:
    world = World()
    world.call("get", GetData("/a"))
    world.perform()
    pauses = []
    for _ in range(12):
        world.cut("refused")
        pauses.append(world.machine.wake_ms - world.now_ms)
        world.advance(pauses[-1])
    longest = [20, 40, 80, 160, 320, 640, *[1_000] * 6]
    assert all(most / 2 <= pause <= most for most, pause in zip(longest, pauses, strict=True)), pauses


def test_a_server_that_accepts_but_does_not_answer_is_left() -> None:
    world = World("a:1", "b:1")
    world.call("get", GetData("/a"))
    world.accept()
    world.advance(TIMEOUT_MS / 3)
    assert len(world.opened) == 2
    assert world.closed == 1


def test_a_server_that_has_no_leader_is_left() -> None:
    world = World("a:1", "b:1")
    world.call("get", GetData("/a"))
    world.accept()
    world.answer(world.received(), body=ThrottledError(hint="no leader"))
    assert len(world.opened) == 2


def test_a_client_that_never_connects_says_what_each_host_answered() -> None:
    world = World("a:1", "b:1")
    world.call("set", SetData("/a", b""), deadline_ms=5_000)
    world.perform()
    while world.now_ms < 4_990:
        world.cut(f"{world.machine.server} is down")
        world.advance(10)
    world.advance(100)
    error = world.outcomes["set"]
    assert isinstance(error, ConnectionLossError)
    assert "a:1: a:1 is down" in str(error)
    assert "b:1: b:1 is down" in str(error)
    assert not error.maybe_applied


def test_what_does_not_speak_the_protocol_is_left() -> None:
    world = World("a:1", "b:1")
    world.call("get", GetData("/a"))
    world.accept()
    world.machine.received(world.now_ms, b"HTTP/1.1 400 Bad Request\r\n")
    world.perform()
    assert len(world.opened) == 2


# ---- calls


def test_xids_grow_strictly_and_a_write_says_below_which_all_writes_are_answered(attached: World) -> None:
    for n in range(3):
        attached.call(f"set {n}", SetData("/a", b""))
    calls = attached.received()
    first = calls[0].xid
    assert [(call.xid, call.floor) for call in calls] == [(first, first), (first + 1, first), (first + 2, first)]
    attached.answer(calls[:2], body=StatReply(STAT))
    attached.call("get", GetData("/a"))
    attached.call("set 3", SetData("/a", b""))
    assert [(call.xid, call.floor) for call in attached.received()] == [(first + 3, 0), (first + 4, first + 2)]


def test_levels_of_reads_are_passed_on(attached: World) -> None:
    attached.call("at least", GetData("/a"), at_least=9)
    attached.call("linearizable", GetData("/a"), linearizable=True)
    calls = attached.received()
    assert [(call.at_least, call.linearizable) for call in calls] == [(9, False), (0, True)]


def test_calls_beyond_the_window_wait_and_are_sent_in_order(attached: World) -> None:
    for n in range(IN_FLIGHT_MAX + 2):
        attached.call(str(n), GetData(f"/{n}"))
    calls = attached.received()
    assert len(calls) == IN_FLIGHT_MAX
    attached.answer(calls[:1], body=NoNodeError())
    assert attached.requests() == [GetData(f"/{IN_FLIGHT_MAX}")]
    attached.answer(calls[1:], body=NoNodeError())
    assert attached.requests() == [GetData(f"/{IN_FLIGHT_MAX + 1}")]


def test_a_call_that_can_not_be_sent_fails_alone(attached: World) -> None:
    attached.call("huge", SetData("/a", b"x" * 5_000_000))
    attached.call("surrogate", GetData("/\udc80"))
    attached.call("fine", GetData("/a"))
    attached.perform()
    assert isinstance(attached.outcomes["huge"], BadArgumentsError)
    assert isinstance(attached.outcomes["surrogate"], BadArgumentsError)
    assert attached.requests() == [GetData("/a")]
    assert attached.closed == 0


def test_a_call_that_can_not_be_sent_fails_alone_also_when_it_had_to_wait() -> None:
    world = World()
    world.call("junk", Create("/a", b"", acl=("world:anyone",)))  # type: ignore[arg-type]  # as a program without types may
    world.call("fine", GetData("/a"))
    world.attach()
    assert isinstance(world.outcomes["junk"], BadArgumentsError)
    assert world.requests() == [GetData("/a")]
    assert world.closed == 0


def test_an_overdue_read_says_so_and_its_late_answer_is_dropped(attached: World) -> None:
    attached.call("get", GetData("/a"), deadline_ms=attached.now_ms + 100)
    attached.advance(99)
    assert attached.outcomes == {}
    attached.advance(1)
    error = attached.outcomes["get"]
    assert isinstance(error, OperationTimeoutError)
    assert not error.maybe_applied
    attached.answer(attached.received(), body=NoNodeError())
    assert attached.closed == 0


def test_an_overdue_write_that_was_sent_may_have_been_applied(attached: World) -> None:
    attached.call("set", SetData("/a", b""), deadline_ms=attached.now_ms + 100)
    attached.advance(100)
    error = attached.outcomes["set"]
    assert isinstance(error, OperationTimeoutError)
    assert error.maybe_applied


def test_deadlines_need_not_come_in_order(attached: World) -> None:
    start = attached.now_ms
    for name, ms in (("b", 200), ("a", 100), ("c", 300)):
        attached.call(name, GetData("/a"), deadline_ms=start + ms)
    for expected in (["a"], ["a", "b"], ["a", "b", "c"]):
        attached.advance(100)
        assert sorted(attached.outcomes) == expected


def test_an_abandoned_write_that_was_not_sent_is_withdrawn() -> None:
    world = World()
    pending = world.machine.call(0, Delete("/a"), lambda _: None)
    world.machine.abandon(pending)
    world.attach()
    assert world.received() == []


def test_an_abandoned_write_that_was_sent_is_finished_over_reconnects(attached: World) -> None:
    pending = attached.machine.call(attached.now_ms, Delete("/a"), lambda _: None)
    read = attached.machine.call(attached.now_ms, GetData("/a"), lambda _: None)
    [sent, _] = attached.received()
    attached.machine.abandon(pending)
    attached.machine.abandon(read)
    attached.cut()
    attached.attach()
    assert attached.received() == [sent]


def test_the_late_answer_to_an_abandoned_call_may_be_undone(attached: World) -> None:
    def undo(reply: Reply) -> ClientRequest | None:
        return Delete(reply.body.path) if isinstance(reply.body, Created) else None

    pending = attached.machine.call(attached.now_ms, Create("/a", b""), lambda _: None, orphaned=undo)
    calls = attached.received()
    attached.machine.abandon(pending)
    attached.answer(calls, body=Created("/a", STAT))
    assert attached.requests() == [Delete("/a")]


def test_what_is_insisted_on_is_asked_again_when_it_was_refused_for_the_moment(attached: World) -> None:
    attached.call("gone", Delete("/a"), insistent=True)
    attached.answer(attached.received(), zxid=0, body=ThrottledError())
    assert (attached.outcomes, attached.requests()) == ({}, [])
    assert attached.machine.wake_ms <= attached.now_ms + INSIST_MS
    attached.advance(INSIST_MS)
    [again] = [call for call in attached.received() if not isinstance(call.request, Ping)]
    attached.answer([again])
    assert (again.request, attached.outcomes) == (Delete("/a"), {"gone": Reply(again.xid, Zxid(5), DONE)})


def test_what_is_insisted_on_ends_with_the_session(attached: World) -> None:
    attached.call("gone", Delete("/a"), insistent=True)
    attached.answer(attached.received(), zxid=0, body=ThrottledError())
    attached.cut()
    attached.accept()
    attached.answer(attached.received(), body=ExpiredByService())
    assert isinstance(attached.outcomes["gone"], SessionExpiredError)
    attached.attach()
    attached.advance(INSIST_MS)
    assert Delete("/a") not in attached.requests()


def test_an_answer_out_of_turn_ends_the_connection(attached: World) -> None:
    attached.call("a", GetData("/a"))
    attached.call("b", GetData("/b"))
    [_, second] = attached.received()
    attached.answer([second], body=StatReply(STAT))
    assert attached.closed == 1
    assert attached.states == [State.SUSPENDED]


def test_a_refusal_of_what_the_server_can_not_understand_may_overtake(attached: World) -> None:
    attached.call("a", SetData("/a", b""))
    attached.call("b", SetData("/b", b""))
    [first, second] = attached.received()
    attached.answer([second], zxid=0, body=BadArgumentsError())
    attached.answer([first], body=StatReply(STAT))
    assert attached.outcomes == {
        "b": Reply(second.xid, Zxid(0), BadArgumentsError()),
        "a": Reply(first.xid, Zxid(5), StatReply(STAT)),
    }
    attached.call("c", SetData("/c", b""))
    [third] = attached.received()
    assert third.floor == third.xid


# ---- reconnecting

WRITES: list[ClientRequest] = [
    Create("/a", b"1"),
    Delete("/a"),
    SetData("/a", b"1"),
    SetAcl("/a", CREATOR_ALL_ACL),
    Check("/a"),
    Multi((Create("/a", b""), Delete("/b"))),
    AddAuth("digest", b"u:p"),
]
READS: list[ClientRequest] = [Exists("/a"), GetData("/a"), GetChildren("/a"), GetEphemerals(), Sync()]


@pytest.mark.parametrize("request_", WRITES + READS, ids=lambda request: type(request).__name__)
def test_what_is_unanswered_is_sent_again_under_the_same_xid(attached: World, request_: ClientRequest) -> None:
    attached.call("call", request_)
    [sent] = attached.received()
    attached.cut()
    assert attached.attach(zxid=9) == Connect(SESSION, SECRET, TIMEOUT_MS, Zxid(5))
    assert attached.received() == [sent]
    attached.answer([sent], body=BadVersionError())
    assert attached.outcomes == {"call": Reply(sent.xid, Zxid(5), BadVersionError())}


def test_resent_calls_keep_their_order_and_come_before_new_ones(attached: World) -> None:
    requests: list[ClientRequest] = [SetData("/a", b"1"), GetData("/a"), SetData("/a", b"2"), GetData("/a")]
    for n, request in enumerate(requests):
        attached.call(str(n), request)
    sent = attached.received()
    attached.answer(sent[:1], body=StatReply(STAT))
    attached.cut()
    attached.call("new", Sync())
    attached.attach()
    again = attached.received()
    assert [call.request for call in again] == [*requests[1:], Sync()]
    assert [call.xid for call in again[:-1]] == [call.xid for call in sent[1:]]
    assert again[1].floor == again[1].xid, "the first write was answered"


def test_a_lost_connection_suspends_and_another_server_is_tried_at_once(attached: World) -> None:
    server = attached.machine.server
    attached.cut()
    assert attached.states == [State.SUSPENDED]
    [opened] = attached.opened
    assert opened != server
    attached.attach()
    assert attached.states == [State.SUSPENDED, State.CONNECTED]


def test_a_connection_that_breaks_again_and_again_is_not_retried_in_a_hurry(attached: World) -> None:
    attached.cut()
    attempts = 0
    start = attached.now_ms
    while attached.now_ms < start + 8_000:
        attempts += 1
        attached.attach()
        attached.cut()
        attached.advance(max(1.0, attached.machine.wake_ms - attached.now_ms))
    assert attempts < 25


def test_pings_and_other_things_of_one_connection_are_not_sent_again(attached: World) -> None:
    attached.advance(TIMEOUT_MS / 3)
    assert attached.requests() == [Ping()]
    attached.cut()
    attached.attach()
    assert attached.received() == []


def test_a_session_taken_over_is_attached_again(attached: World) -> None:
    attached.call("set", SetData("/a", b""))
    [sent] = attached.received()
    attached.answer([sent], body=SessionMovedError())
    assert attached.outcomes == {}
    attached.attach()
    assert attached.received() == [sent]


# ---- clocks


def test_a_ping_goes_out_every_third_of_the_timeout(attached: World) -> None:
    sent_at = []
    for _ in range(90):
        attached.advance(100)
        calls = attached.received()
        if calls:
            assert [call.request for call in calls] == [Ping()]
            sent_at.append(attached.now_ms)
            attached.answer(calls)
    assert [later - earlier for earlier, later in pairwise(sent_at)] == [3_000] * 2


def test_pings_go_out_beside_other_traffic(attached: World) -> None:
    for n in range(30):
        attached.advance(100)
        attached.call(str(n), Sync())
        attached.answer(attached.received())
    attached.call("last", Sync())
    assert attached.machine.wake_ms - attached.now_ms <= 3_000
    seen = []
    for _ in range(31):
        attached.advance(100)
        calls = attached.received()
        seen += [call.request for call in calls]
        attached.answer(calls)
    assert seen.count(Ping()) == 1


def test_silence_for_two_thirds_of_the_timeout_ends_the_connection(attached: World) -> None:
    heard = attached.now_ms
    attached.advance(5_999)
    assert attached.opened == []
    attached.advance(1)
    assert attached.now_ms - heard == 6_000
    assert len(attached.opened) == 1
    assert attached.states == [State.SUSPENDED]


def test_lost_comes_at_the_last_answered_pings_send_time_plus_the_timeout(attached: World) -> None:
    attached.advance(3_000)
    ping_sent = attached.now_ms
    ping = attached.received()
    attached.advance(1_500)  # the answer takes its time: that must not count for the client
    attached.answer(ping)
    attached.cut()
    attached.advance(ping_sent + TIMEOUT_MS - attached.now_ms - 1)
    assert attached.states == [State.SUSPENDED]
    attached.advance(1)
    assert attached.states == [State.SUSPENDED, State.LOST]


def test_attaching_counts_from_the_time_when_connect_was_sent() -> None:
    world = World()
    world.call("get", Sync())
    world.accept()
    calls = world.received()
    world.advance(2_000)
    world.answer(calls, body=world.session)
    world.cut()
    world.advance(TIMEOUT_MS - 2_000 - 1)
    assert world.states == [State.CONNECTED, State.SUSPENDED]
    world.advance(1)
    assert world.states == [State.CONNECTED, State.SUSPENDED, State.LOST]


def test_answers_to_other_calls_do_not_put_off_the_loss(attached: World) -> None:
    """Only a ping's send time is known to be before the moment at which the service heard of the session."""
    proof = attached.now_ms - 3_000 if attached.machine.wake_ms < attached.now_ms + 3_000 else attached.now_ms
    attached.advance(3_000)
    unanswered_ping = attached.received()
    assert [call.request for call in unanswered_ping] == [Ping()]
    while attached.now_ms < proof + TIMEOUT_MS - 100:
        attached.advance(100)
        attached.reply(WatchEvent(EventType.CREATED, "/x", Zxid(6)))
    assert attached.states == []
    attached.advance(100)
    assert attached.states == [State.SUSPENDED, State.LOST]
    assert attached.closed == 1, "a connection whose pings are not answered is of no use"


def test_a_session_that_was_lost_by_the_clock_may_turn_out_to_live(attached: World) -> None:
    attached.call("set", SetData("/a", b""))
    [sent] = attached.received()
    attached.cut()
    attached.advance(TIMEOUT_MS)
    attached.attach()
    assert attached.states == [State.SUSPENDED, State.LOST, State.CONNECTED]
    assert attached.received() == [sent]
    attached.answer([sent], body=StatReply(STAT))
    assert attached.outcomes == {"set": Reply(sent.xid, Zxid(5), StatReply(STAT))}


def test_the_service_decides_on_the_timeout() -> None:
    world = World()
    world.session = ConnectReply(SESSION, SECRET, 30_000)
    world.call("get", Sync())
    world.attach()
    world.answer(world.received())
    world.advance(9_999)
    assert world.received() == []
    world.advance(1)
    assert world.requests() == [Ping()]


# ---- expiry


def expire_at_attach(world: World, body: Body | APIError) -> None:
    world.cut()
    world.accept()
    world.answer(world.received(), body=body)


@pytest.mark.parametrize("body", [ExpiredByService(), ConnectReply(SessionId(0), b"", 0)], ids=["error", "id 0"])
def test_expiry_ends_writes_on_their_way_and_reads_wait_for_the_next_session(
    attached: World, body: Body | APIError
) -> None:
    attached.call("sent", SetData("/a", b""))
    attached.call("read", GetData("/a"))
    [_, read] = attached.received()
    attached.cut()
    attached.call("unsent", SetData("/b", b""))
    attached.accept()
    attached.answer(attached.received(), body=body)
    assert attached.states == [State.SUSPENDED, State.LOST]
    errors = {name: outcome for name, outcome in attached.outcomes.items() if isinstance(outcome, SessionExpiredError)}
    assert {name: error.maybe_applied for name, error in errors.items()} == {"sent": True, "unsent": False}
    attached.session = ConnectReply(SessionId(78), SECRET, TIMEOUT_MS)
    assert attached.attach() == Connect(SessionId(0), b"", TIMEOUT_MS, Zxid(5))
    assert attached.states[-1] is State.CONNECTED
    assert attached.received() == [read]


def test_writes_called_after_the_loss_was_announced_belong_to_the_next_session(attached: World) -> None:
    attached.cut()
    attached.advance(TIMEOUT_MS)
    attached.call("later", SetData("/a", b""))
    attached.accept()
    attached.answer(attached.received(), body=ExpiredByService())
    attached.session = ConnectReply(SessionId(78), SECRET, TIMEOUT_MS)
    attached.attach()
    assert attached.requests() == [SetData("/a", b"")]
    assert attached.outcomes == {}


def test_what_was_posted_for_a_session_ends_with_it(attached: World) -> None:
    attached.cut()
    attached.machine.call(attached.now_ms, Delete("/mine"))
    attached.accept()
    attached.answer(attached.received(), body=ExpiredByService())
    attached.session = ConnectReply(SessionId(78), SECRET, TIMEOUT_MS)
    attached.attach()
    assert attached.received() == []


def test_expiry_while_attached_is_told_to_whoever_writes(attached: World) -> None:
    attached.call("set", SetData("/a", b""))
    attached.answer(attached.received(), body=ExpiredByService())
    error = attached.outcomes["set"]
    assert isinstance(error, SessionExpiredError)
    assert attached.states == [State.SUSPENDED, State.LOST]


def test_an_identity_that_is_refused_for_the_moment_is_told_again() -> None:
    world = World()
    world.machine = Machine(("a:1",), TIMEOUT_MS, random.Random(1), (AddAuth("digest", b"u:p"),))
    world.call("sync", Sync())
    world.attach()
    auth, sync = world.received()
    world.answer([auth], zxid=0, body=ThrottledError())
    world.answer([sync])
    for _ in range(2):
        world.advance(INSIST_MS)
        calls = [call for call in world.received() if isinstance(call.request, AddAuth)]
        assert [call.request for call in calls] == [AddAuth("digest", b"u:p")]
        world.answer(calls, zxid=0, body=ThrottledError())
    world.advance(INSIST_MS)
    world.answer(world.received())
    world.advance(INSIST_MS)
    assert AddAuth not in [type(request) for request in world.requests()]


def test_identities_are_given_to_the_next_session_too(attached: World) -> None:
    attached.call("good", AddAuth("digest", b"u:p"))
    attached.answer(attached.received())
    attached.call("bad", AddAuth("digest", b"nonsense"))
    attached.answer(attached.received(), body=AuthFailedError())
    expire_at_attach(attached, ExpiredByService())
    attached.session = ConnectReply(SessionId(78), SECRET, TIMEOUT_MS)
    attached.call("create", Create("/a", b"", CREATOR_ALL_ACL))
    attached.attach()
    assert attached.requests() == [AddAuth("digest", b"u:p"), Create("/a", b"", CREATOR_ALL_ACL)]
    attached.cut()  # before the answer
    attached.advance(1_000)
    attached.attach()
    [auth, create] = attached.received()
    attached.answer([auth, create])
    attached.cut()
    attached.advance(1_000)
    attached.attach()
    assert attached.received() == [], "an identity stays with the session"


# ---- watches


def test_a_one_shot_watch_is_told_once(attached: World) -> None:
    attached.call("get", GetData("/a", watch=True), watch=attached.hear("data"))
    attached.answer(attached.received(), body=StatReply(STAT))
    event = WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(6))
    attached.reply(event, WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(7)))
    assert attached.events == [("data", event)]


@pytest.mark.parametrize("when", ["before the answer", "behind the answer"])
def test_a_read_that_nobody_waits_for_watches_nothing(attached: World, when: str) -> None:
    read = attached.machine.call(0, GetData("/a", watch=True), print, watch=attached.hear("data"))
    if when == "before the answer":
        attached.machine.abandon(read)
    attached.machine.received(
        attached.now_ms, attached.connection.send([Reply(attached.received()[0].xid, Zxid(5), StatReply(STAT))])
    )
    attached.machine.abandon(read)
    attached.reply(WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(6)))
    assert (attached.events, len(attached.machine.watchers)) == ([], 0)


def test_what_is_called_again_behind_a_refusal_for_the_moment_watches_yet(attached: World) -> None:
    attached.call("get", GetData("/a", watch=True), watch=attached.hear("data"), insistent=True)
    attached.answer(attached.received(), body=ThrottledError())
    attached.advance(INSIST_MS)
    attached.answer(attached.received(), body=StatReply(STAT))
    event = WatchEvent(EventType.DELETED, "/a", Zxid(6))
    attached.reply(event)
    assert attached.events == [("data", event)]


def test_watches_that_are_taken_back_are_the_servers_no_more(attached: World) -> None:
    attached.call("get", GetData("/a", watch=True), watch=attached.hear("data"))
    attached.call("children", GetChildren("/a", watch=True), watch=attached.hear("children"))
    attached.answer(attached.received(), body=StatReply(STAT))
    assert attached.machine.remove_watches("/a")
    assert not attached.machine.remove_watches("/a")
    attached.perform()
    assert attached.requests() == [RemoveWatches("/a", WatcherType.DATA), RemoveWatches("/a", WatcherType.CHILDREN)]
    attached.reply(WatchEvent(EventType.DELETED, "/a", Zxid(6)))
    assert attached.events == [
        ("data", WatchEvent(EventType.DATA_WATCH_REMOVED, "/a", Zxid(5))),
        ("children", WatchEvent(EventType.CHILD_WATCH_REMOVED, "/a", Zxid(5))),
    ]


def test_the_server_keeps_a_watch_that_a_read_under_way_may_have_set(attached: World) -> None:
    attached.call("one", GetData("/a", watch=True), watch=attached.hear("one"))
    attached.answer(attached.received(), body=StatReply(STAT))
    attached.call("two", GetData("/a", watch=True), watch=attached.hear("two"))
    assert attached.machine.remove_watches("/a")
    [read] = attached.received()
    attached.answer([read], body=StatReply(STAT))
    event = WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(6))
    attached.reply(event)
    assert attached.events == [("one", WatchEvent(EventType.DATA_WATCH_REMOVED, "/a", Zxid(5))), ("two", event)]


@pytest.mark.parametrize(
    ("request_", "body", "is_set"),
    [
        (Exists("/a", watch=True), StatReply(STAT), SetWatches(Zxid(5), data=("/a",))),
        (Exists("/a", watch=True), NoNodeError("/a"), SetWatches(Zxid(5), exist=("/a",))),
        (GetData("/a", watch=True), StatReply(STAT), SetWatches(Zxid(5), data=("/a",))),
        (GetData("/a", watch=True), NoNodeError("/a"), None),
        (GetChildren("/a", watch=True), StatReply(STAT), SetWatches(Zxid(5), child=("/a",))),
        (GetChildren("/a", watch=True), NoNodeError("/a"), None),
    ],
)
def test_one_shot_watches_are_set_again_with_the_last_zxid_seen(
    attached: World, request_: ClientRequest, body: Body | APIError, is_set: SetWatches | None
) -> None:
    attached.call("read", request_, watch=attached.hear("read"))
    attached.answer(attached.received(), body=body)
    attached.cut()
    attached.attach(zxid=50)
    assert attached.requests() == ([] if is_set is None else [is_set])


def test_a_transaction_of_which_one_watcher_has_heard_is_still_news_to_another(attached: World) -> None:
    for path in ("/a", "/b"):
        attached.call(path, GetData(path, watch=True), watch=attached.hear(path))
    attached.answer(attached.received(), body=StatReply(STAT))
    attached.reply(WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(12)))
    attached.cut()  # between the two events of one transaction
    attached.attach(zxid=50)
    assert attached.requests() == [SetWatches(Zxid(11), data=("/b",))]


def test_a_connection_that_breaks_before_the_watches_are_set_again_changes_nothing(attached: World) -> None:
    attached.call("read", GetData("/a", watch=True), watch=attached.hear("read"))
    attached.answer(attached.received(), body=StatReply(STAT))
    attached.cut()
    attached.attach(zxid=50)
    [again] = attached.received()
    attached.reply(Reply(again.xid, Zxid(60), DONE))
    attached.cut()  # what changed between 5 and 60 was still to come
    attached.advance(1_000)
    attached.attach(zxid=70)
    assert attached.requests() == [SetWatches(Zxid(5), data=("/a",))]


def test_many_watches_are_set_again_in_several_requests(attached: World) -> None:
    for n in range(2_500):
        attached.call(str(n), GetData(f"/{n}", watch=True), watch=attached.hear(str(n)))
        attached.answer(attached.received(), body=StatReply(STAT))
    attached.cut()
    attached.attach()
    requests = [request for request in attached.requests() if isinstance(request, SetWatches)]
    assert [len(request.data) for request in requests] == [1_000, 1_000, 500]


def test_watchers_that_can_not_be_set_again_are_told_to_read_again(attached: World) -> None:
    attached.call("read", GetData("/a", watch=True), watch=attached.hear("read"))
    attached.answer(attached.received(), body=StatReply(STAT))
    attached.cut()
    attached.attach()
    attached.answer(attached.received(), zxid=8, body=ThrottledError())
    assert attached.events == [("read", WatchEvent(EventType.RESYNC, "/a", Zxid(8)))]


def test_a_stream_resumes_behind_the_last_reply_if_that_came_after_its_events(attached: World) -> None:
    attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, None, attached.hear("a"))
    attached.answer(attached.received(), zxid=10)
    attached.reply(WatchEvent(EventType.CREATED, "/a/b", Zxid(12)))
    attached.call("sync", Sync())
    attached.answer(attached.received(), zxid=20)
    attached.cut()
    attached.attach(zxid=50)
    assert attached.requests() == [AddWatch("/a", WatchMode.RECURSIVE, Zxid(20))]


def test_a_stream_cut_inside_a_transaction_takes_the_rest_of_it_and_nothing_twice(attached: World) -> None:
    attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, None, attached.hear("a"))
    attached.answer(attached.received(), zxid=10)
    events = [WatchEvent(EventType.CREATED, f"/a/{name}", Zxid(12)) for name in "bcd"]
    attached.reply(events[0], events[1])
    attached.cut()
    attached.attach(zxid=50)
    calls = attached.received()
    assert [call.request for call in calls] == [AddWatch("/a", WatchMode.RECURSIVE, Zxid(11))]
    attached.answer(calls, zxid=50)
    later = WatchEvent(EventType.DELETED, "/a/b", Zxid(13))
    attached.reply(*events, later)
    assert attached.events == [("a", event) for event in [*events, later]]


def test_what_is_told_again_for_one_stream_is_not_told_twice_to_another(attached: World) -> None:
    attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, None, attached.hear("old"))
    attached.answer(attached.received(), zxid=10)
    past = [WatchEvent(EventType.CREATED, f"/a/{zxid}", Zxid(zxid)) for zxid in (11, 12)]
    attached.reply(*past)
    attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, Zxid(11), attached.hear("new"))
    attached.answer(attached.received(), zxid=12)
    attached.reply(past[1])
    live = WatchEvent(EventType.DELETED, "/a/11", Zxid(13))
    attached.reply(live)
    assert [event for name, event in attached.events if name == "old"] == [*past, live]
    assert [event for name, event in attached.events if name == "new"] == [past[1], live]


def test_what_is_told_again_for_a_stream_is_no_news_to_a_later_one_shot_watcher(attached: World) -> None:
    attached.call("get", GetData("/a", watch=True), watch=attached.hear("once"))
    attached.answer(attached.received(), zxid=12, body=StatReply(STAT))
    attached.machine.watch(attached.now_ms, "/a", WatchMode.PERSISTENT, Zxid(10), attached.hear("stream"))
    attached.answer(attached.received(), zxid=12)
    past, live = [WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(zxid)) for zxid in (12, 13)]
    attached.reply(past, live)
    assert attached.events == [("stream", past), ("once", live), ("stream", live)]


def test_a_stream_whose_registration_was_cut_off_asks_for_the_same_again(attached: World) -> None:
    attached.machine.watch(attached.now_ms, "/a", WatchMode.PERSISTENT, Zxid(3), attached.hear("a"))
    calls = attached.received()
    attached.answer(calls, zxid=40)
    attached.cut()  # before anything of what was to be told again
    attached.attach(zxid=50)
    assert attached.requests() == [AddWatch("/a", WatchMode.PERSISTENT, Zxid(3))]


def test_a_stream_that_can_not_be_had_is_told_why(attached: World) -> None:
    attached.machine.watch(attached.now_ms, "a", WatchMode.PERSISTENT, None, attached.hear("a"))
    attached.answer(attached.received(), body=BadArgumentsError("a"))
    assert attached.events == [("a", BadArgumentsError("a"))]
    assert len(attached.machine.watchers) == 0


def test_a_resync_reaches_the_stream_it_names(attached: World) -> None:
    attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, Zxid(1), attached.hear("a"))
    attached.machine.watch(attached.now_ms, "/", WatchMode.RECURSIVE, None, attached.hear("root"))
    attached.answer(attached.received())
    resync = WatchEvent(EventType.RESYNC, "/a", Zxid(40))
    attached.reply(resync)
    assert attached.events == [("a", resync)]


def test_the_last_stream_of_a_path_takes_the_servers_watch_with_it(attached: World) -> None:
    one = attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, None, attached.hear("one"))
    two = attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, None, attached.hear("two"))
    attached.answer(attached.received())
    attached.machine.unwatch(one)
    assert attached.received() == []
    attached.machine.unwatch(two)
    attached.machine.unwatch(two)
    assert attached.requests() == [RemoveWatches("/a", WatcherType.RECURSIVE)]


def test_streams_go_on_in_the_next_session(attached: World) -> None:
    attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, None, attached.hear("a"))
    attached.answer(attached.received(), zxid=10)
    expire_at_attach(attached, ExpiredByService())
    attached.session = ConnectReply(SessionId(78), SECRET, TIMEOUT_MS)
    attached.attach(zxid=50)
    assert attached.requests() == [AddWatch("/a", WatchMode.RECURSIVE, Zxid(10))]


# ---- the end


def test_closing_the_session_closes_the_client(attached: World) -> None:
    attached.call("close", CloseSession())
    attached.answer(attached.received())
    assert "close" in attached.outcomes
    assert attached.states == [State.CLOSED]
    attached.cut("as announced")
    assert attached.opened == []
    assert attached.machine.wake_ms == float("inf")


def test_a_closed_client_settles_every_call_and_takes_no_more(attached: World) -> None:
    attached.call("sent", SetData("/a", b""))
    attached.machine.watch(attached.now_ms, "/a", WatchMode.RECURSIVE, None, attached.hear("stream"))
    attached.received()
    attached.machine.close()
    attached.machine.close()
    assert attached.perform()[0] == Close()
    assert isinstance(attached.outcomes["sent"], ClientClosedError)
    assert [(name, type(event)) for name, event in attached.events] == [("stream", ClientClosedError)]
    with pytest.raises(ClientClosedError):
        attached.call("late", Sync())


def test_a_server_that_is_asked_anew_is_told_of_by_what_it_said_before() -> None:
    world = World("a:1")
    world.call("get", GetData("/a"))
    first = world.machine.why_no_server()
    world.machine.disconnected(world.now_ms, "refused")
    pause = world.machine.why_no_server()
    world.advance(world.machine.wake_ms - world.now_ms)
    world.perform()
    assert world.opened == ["a:1", "a:1"]
    assert (first, pause, world.machine.why_no_server()) == ("a:1: no answer yet", "a:1: refused", "a:1: refused")
