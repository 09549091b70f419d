"""ZooKeeper's frames as the model's calls, and the model's answers as ZooKeeper's frames, without a server."""

import struct
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.zookeeper.frames import (
    END,
    OPEN,
    acl,
    buffer,
    connect,
    flag,
    frame,
    head,
    int32,
    int64,
    request,
    text,
    vector,
)
from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.errors import (
    APIError,
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    MarshallingError,
    NoNodeError,
    ReconfigDisabledError,
    RuntimeInconsistencyError,
    SessionExpiredError,
    ThrottledError,
    UnimplementedError,
)
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.limits import DEFAULT_LIMITS, Limits
from zk.model.record import SessionId, Zxid
from zk.model.replies import (
    DONE,
    AclReply,
    Body,
    ChildrenReply,
    ConnectReply,
    CountReply,
    Created,
    IdentitiesReply,
    MultiReply,
    PathsReply,
    Reply,
    SaslReply,
    StatReply,
)
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Call,
    Check,
    CheckWatches,
    ClientRequest,
    CloseSession,
    Connect,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetData,
    GetEphemerals,
    Malformed,
    Multi,
    MultiRead,
    Ping,
    RemoveWatches,
    Sasl,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper import ServerConnection, begins

SMALL = Limits(
    zookeeper_frame_bytes_max=200, data_bytes_max=20, path_length_max=10, acl_entries_max=1, multi_operations_max=2
)
ZXID = Zxid(0x1_0000_0007)
SESSION = ConnectReply(SessionId(0x0123_4567_89AB_CDEF), b"0123456789abcdef", 12_000)
STAT = Stat(Zxid(11), Zxid(12), 13, 14, 5, 6, 7, SessionId(8), 2, 10, Zxid(15))
STAT_BYTES = struct.pack(">qqqqiiiqiiq", 11, 12, 13, 14, 5, 6, 7, 8, 2, 10, 15)
PATHS = vector([text("/a"), text("/b")])


def attached(limits: Limits = DEFAULT_LIMITS) -> ServerConnection:
    """A connection on which a session was opened."""
    connection = ServerConnection(limits)
    connection.receive(connect())
    connection.send([Reply(0, ZXID, SESSION)])
    return connection


def asked(op: int, *fields: bytes, limits: Limits = DEFAULT_LIMITS) -> ClientRequest:
    """What the frame of a request means."""
    [call] = attached(limits).receive(request(1, op, *fields))
    assert call == Call(0, call.request), "a call of this protocol has a number only on its connection"
    return call.request


def refused(op: int, *fields: bytes, limits: Limits = DEFAULT_LIMITS) -> type[APIError]:
    """With what a request is refused that is framed well."""
    malformed = asked(op, *fields, limits=limits)
    assert isinstance(malformed, Malformed)
    error = malformed.error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)
    return type(malformed.error)


def answered(op: int, *fields: bytes, body: Body | APIError, xid: int = 77) -> bytes:
    """The frame that answers a request with `body`."""
    connection = attached()
    connection.receive(request(xid, op, *fields))
    return connection.send([Reply(0, ZXID, body)])


def answer(*record: bytes, xid: int = 77, zxid: int = ZXID, error: int = 0) -> bytes:
    return frame(int32(xid), int64(zxid), int32(error), *record)


# ---- the beginning


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"\0", None),
        (b"\0\0\0", None),
        (connect(), True),
        (connect(secret=None, read_only=None), True),
        (b"\0\0\0\x1b", False),
        (b"\0\1\0\0", False),
        (b"ruok", False),
        (b"\xc1zk1", False),
        (b"\x16\x03\x01", False),
    ],
)
def test_a_connection_is_known_by_its_first_bytes(data: bytes, verdict: bool | None) -> None:
    assert begins(data) is verdict


def test_a_connect_request_opens_or_continues_a_session() -> None:
    data = connect(0x77, b"s" * 16, 9_000, last_zxid=5)
    assert ServerConnection().receive(data) == [Call(0, Connect(SessionId(0x77), b"s" * 16, 9_000, Zxid(5)))]
    assert ServerConnection().receive(connect(read_only=True)) == [
        Call(0, Connect(SessionId(0), bytes(16), 10_000, read_only=True))
    ]


def test_what_no_session_has_is_kept_within_bounds() -> None:
    data = connect(-5, b"s" * 1_000, -1, last_zxid=-1)
    assert ServerConnection().receive(data) == [Call(0, Connect(SessionId(-5), b"s" * 17, 0))]
    assert ServerConnection().receive(connect(secret=None)) == [Call(0, Connect(SessionId(0), b"", 10_000))]


@pytest.mark.parametrize(("read_only", "end"), [(False, b"\0"), (True, b"\0"), (None, b"")])
def test_a_session_is_told_with_the_byte_for_read_only_mode_to_those_who_know_it(
    read_only: bool | None, end: bytes
) -> None:
    connection = ServerConnection()
    connection.receive(connect(read_only=read_only))
    assert connection.greeting() == b""
    expected = frame(int32(0), int32(12_000), int64(SESSION.session_id), buffer(SESSION.secret), end)
    assert connection.send([Reply(0, ZXID, SESSION)]) == expected


def test_a_client_learns_that_it_may_only_read() -> None:
    connection = ServerConnection()
    connection.receive(connect(read_only=True))
    reply = ConnectReply(SESSION.session_id, SESSION.secret, 12_000, read_only=True)
    assert connection.send([Reply(0, ZXID, reply)])[-1:] == b"\1"


@pytest.mark.parametrize(("read_only", "end"), [(False, b"\0"), (None, b"")])
def test_a_session_that_is_over_is_told_as_session_zero(read_only: bool | None, end: bytes) -> None:
    connection = ServerConnection()
    connection.receive(connect(5, read_only=read_only))
    expected = frame(int32(0), int32(0), int64(0), buffer(bytes(16)), end)
    assert connection.send([Reply(0, ZXID, SessionExpiredError())]) == expected


@pytest.mark.parametrize("error", [ThrottledError(), BadArgumentsError()])
def test_any_other_refusal_to_connect_is_silence(error: APIError) -> None:
    connection = ServerConnection()
    connection.receive(connect())
    assert connection.send([Reply(0, ZXID, error)]) == b""


@pytest.mark.parametrize("length", [0, 27, 0x1_0000, -1, 0x7FFF_FFFF])
def test_what_can_be_no_connect_request_ends_the_connection(length: int) -> None:
    with pytest.raises(ProtocolError, match="begins with a connect request"):
        ServerConnection().receive(int32(length))


def test_a_connect_request_that_is_cut_ends_the_connection() -> None:
    with pytest.raises(ProtocolError, match="does not begin with a connect request"):
        ServerConnection().receive(frame(bytes(24), int32(100)))


# ---- requests

ENTRY = (31, "digest", "me:hash")


@pytest.mark.parametrize(
    ("op", "record", "meaning"),
    [
        (1, text("/a") + buffer(b"x") + OPEN + int32(0), Create("/a", b"x")),
        (1, text("/ä") + buffer(b"") + acl(ENTRY) + int32(3), Create("/ä", b"", (Acl(*ENTRY),), CreateMode(3))),
        (1, text("/a") + buffer(b"x") + vector(None) + int32(0), Create("/a", b"x", ())),
        (1, text("/a") + buffer(b"x") + acl((1, "ip", "::1"), (-1, "", "")) + int32(1),
         Create("/a", b"x", (Acl(1, "ip", "::1"), Acl(-1, "", "")), CreateMode.EPHEMERAL)),
        (15, text("/a") + buffer(b"x") + OPEN + int32(2), Create("/a", b"x", mode=CreateMode(2))),
        (19, text("/c") + buffer(b"") + OPEN + int32(4), Create("/c", b"", mode=CreateMode.CONTAINER)),
        (21, text("/t") + buffer(b"") + OPEN + int32(6) + int64(500), Create("/t", b"", OPEN_ACL, CreateMode(6), 500)),
        (2, text("/a") + int32(-1), Delete("/a")),
        (3, text("/a") + flag(True), Exists("/a", True)),
        (3, text("") + flag(False), Exists("")),
        (4, text("/a") + flag(True), GetData("/a", True)),
        (4, text("/a") + b"\2", GetData("/a", True)),
        (4, text("/a") + flag(False) + b"and more", GetData("/a")),
        (4, buffer(b"/\xff") + flag(False), GetData("/\ufffd")),
        (5, text("/a") + buffer(b"x") + int32(7), SetData("/a", b"x", 7)),
        (6, text("/a"), GetAcl("/a")),
        (7, text("/a") + OPEN + int32(3), SetAcl("/a", OPEN_ACL, 3)),
        (8, text("/a") + flag(False), GetChildren("/a")),
        (9, text("/a"), Sync("/a")),
        (9, text(None), Sync("/")),
        (11, b"", Ping()),
        (12, text("/a") + flag(True), GetChildren("/a", True)),
        (13, text("/a") + int32(4), Check("/a", 4)),
        (14, END, Multi(())),
        (14, head(1) + text("/a") + buffer(b"x") + OPEN + int32(0) + head(5) + text("/a") + buffer(b"y") + int32(0)
         + head(13) + text("/a") + int32(1) + head(2) + text("/a") + int32(1) + END,
         Multi((Create("/a", b"x"), SetData("/a", b"y", 0), Check("/a", 1), Delete("/a", 1)))),
        (14, head(15) + text("/a") + buffer(b"") + OPEN + int32(1) + head(19) + text("/c") + buffer(b"") + OPEN
         + int32(4) + head(21) + text("/t") + buffer(b"") + OPEN + int32(5) + int64(9) + END,
         Multi((Create("/a", b"", mode=CreateMode(1)), Create("/c", b"", mode=CreateMode(4)),
                Create("/t", b"", mode=CreateMode(5), ttl_ms=9)))),
        (17, text("/a") + int32(3), CheckWatches("/a", WatcherType.ANY)),
        (18, text("/a") + int32(5), RemoveWatches("/a", WatcherType.RECURSIVE)),
        (22, head(4) + text("/a") + flag(False) + head(8) + text("/b") + flag(False) + END,
         MultiRead((GetData("/a"), GetChildren("/b")))),
        (100, int32(0) + text("digest") + buffer(b"me:secret"), AddAuth("digest", b"me:secret")),
        (101, int64(9) + PATHS + vector([]) + vector([text("/c")]), SetWatches(Zxid(9), ("/a", "/b"), (), ("/c",))),
        (101, int64(-1) + vector([]) * 3, SetWatches(Zxid(0))),
        (102, buffer(b"token"), Sasl(b"token")),
        (103, text("/a"), GetEphemerals("/a")),
        (103, text(None), GetEphemerals("/")),
        (104, text("/a"), CountDescendants("/a")),
        (105, int64(9) + PATHS * 5, SetWatches(Zxid(9), *[("/a", "/b")] * 5)),
        (106, text("/a") + int32(1), AddWatch("/a", WatchMode.RECURSIVE)),
        (107, b"", WhoAmI()),
        (-11, b"", CloseSession()),
    ],
)  # fmt: skip
def test_a_request_means(op: int, record: bytes, meaning: ClientRequest) -> None:
    assert asked(op, record) == meaning


def test_many_watches_are_set_again_in_parts_and_answered_as_one() -> None:
    paths = tuple(f"/watched/{number:06}" for number in range(10 * DEFAULT_LIMITS.paths_per_set_watches_max))
    lists = vector([text(path) for path in paths]) + vector([text("/a")]) + vector([])
    connection = attached()
    calls = connection.receive(request(-8, 101, int64(9), lists))
    at_once = DEFAULT_LIMITS.paths_per_set_watches_max
    assert calls == [
        Call(0, SetWatches(Zxid(9), paths[at : at + at_once], ("/a",) if at == 0 else ()))
        for at in range(0, len(paths), at_once)
    ]
    event = WatchEvent(EventType.DELETED, "/a", ZXID)
    answers = [connection.send([Reply(0, ZXID, DONE), event]) for _ in calls]
    told = frame(int32(-1), int64(-1), int32(0), int32(2), int32(3), text("/a"))
    assert answers == [told] * 9 + [answer(xid=-8) + told]


def test_one_refusal_among_the_parts_refuses_all_the_watches() -> None:
    paths = vector([text(f"/{number}") for number in range(3 * DEFAULT_LIMITS.paths_per_set_watches_max)])
    connection = attached()
    connection.receive(request(-8, 105, int64(9), vector([]) * 4, paths) + request(-2, 11))
    outcomes = (DONE, ThrottledError(), DONE, DONE)
    assert connection.send([Reply(0, ZXID, body) for body in outcomes]) == answer(xid=-8, error=-127) + answer(xid=-2)


@pytest.mark.parametrize(
    ("op", "record", "error"),
    [
        (0, b"", UnimplementedError),
        (77, b"", UnimplementedError),
        (-10, int32(5_000), UnimplementedError),
        (16, text(None) * 3 + int64(-1), ReconfigDisabledError),
        (16, b"", MarshallingError),
        (20, text("/c"), BadArgumentsError),
        (1, b"", MarshallingError),
        (1, text(None) + buffer(b"") + OPEN + int32(0), MarshallingError),
        (1, text("/a") + buffer(b"") + OPEN + int32(7), BadArgumentsError),
        (1, text("/a") + buffer(b"") + OPEN + int32(-1), BadArgumentsError),
        (1, text("/a") + buffer(b"") + int32(1 << 30) + int32(0), MarshallingError),
        (1, text("/a") + buffer(b"") + int32(-2) + int32(0), MarshallingError),
        (19, text("/c") + buffer(b"") + OPEN + int32(1), BadArgumentsError),
        (21, text("/t") + buffer(b"") + OPEN + int32(0) + int64(500), BadArgumentsError),
        (21, text("/t") + buffer(b"") + OPEN + int32(5), MarshallingError),
        (4, int32(100) + b"/a", MarshallingError),
        (4, int32(-7), MarshallingError),
        (4, text("/a"), MarshallingError),
        (14, head(1), MarshallingError),
        (14, head(7) + text("/a") + OPEN + int32(-1) + END, MarshallingError),
        (14, head(4) + text("/a") + flag(False) + END, MarshallingError),
        (14, head(1) + text("/a") + buffer(b"") + OPEN + int32(0), MarshallingError),
        (22, head(12) + text("/a") + flag(False) + END, MarshallingError),
        (17, text("/a") + int32(0), MarshallingError),
        (18, text("/a") + int32(6), MarshallingError),
        (106, text("/a") + int32(2), MarshallingError),
        (101, int64(0) + vector(None) * 3, MarshallingError),
        (105, int64(0) + vector([]) * 3, MarshallingError),
        (100, int32(0) + text(None) + buffer(b"x"), AuthFailedError),
        (100, int32(0) + text("digest") + buffer(None), AuthFailedError),
        (100, int32(0) + text("digest") + buffer(b"x" * 5_000), AuthFailedError),
        (102, buffer(b"x" * 5_000), AuthFailedError),
    ],
)
def test_what_is_framed_well_and_wrong_is_refused_in_its_turn(op: int, record: bytes, error: type[APIError]) -> None:
    assert refused(op, record) is error


@pytest.mark.parametrize(("op", "final"), [(77, True), (0, True), (-10, True), (16, False), (20, False), (1, False)])
def test_only_the_refusal_of_an_unknown_request_is_final(op: int, final: bool) -> None:
    malformed = asked(op, text("/c"))
    assert isinstance(malformed, Malformed)
    assert malformed.final is final


@pytest.mark.parametrize(("op", "record"), [(100, int32(0) + text("digest")), (102, b"")])
def test_a_credential_that_is_cut_ends_the_connection(op: int, record: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed"):
        attached().receive(request(1, op, record))


LONG = text("/" + "x" * 10)


@pytest.mark.parametrize(
    ("op", "record"),
    [
        (1, LONG + buffer(b"") + OPEN + int32(0)),
        (1, text("/a") + buffer(b"x" * 21) + OPEN + int32(0)),
        (1, text("/a") + buffer(b"") + acl(ENTRY, ENTRY) + int32(0)),
        (2, LONG + int32(-1)),
        (4, LONG + flag(False)),
        (5, text("/a") + buffer(b"x" * 21) + int32(-1)),
        (5, LONG + buffer(b"") + int32(-1)),
        (7, text("/a") + acl(ENTRY, ENTRY) + int32(-1)),
        (7, LONG + OPEN + int32(-1)),
        (13, LONG + int32(-1)),
        (14, (head(13) + text("/a") + int32(0)) * 3 + END),
        (14, (head(5) + text("/a") + buffer(b"x" * 11) + int32(0)) * 2 + END),
        (22, (head(8) + text("/a") + flag(False)) * 3 + END),
    ],
)
def test_what_is_over_a_limit_is_refused_in_its_turn(op: int, record: bytes) -> None:
    assert refused(op, record, limits=SMALL) is BadArgumentsError


# ---- answers

CREATE = text("/a") + buffer(b"x") + OPEN + int32(0)
PATH = text("/a")
READ = PATH + flag(False)
CREATED = Created("/a1", STAT)
NODE = Znode(b"xy", OPEN_ACL, Zxid(11), Zxid(12), Zxid(15), 13, 14, 5, 8, 7, SessionId(8), 10, CreateMode(1), 0)


@pytest.mark.parametrize(
    ("op", "record", "body", "expected"),
    [
        (1, CREATE, CREATED, text("/a1")),
        (15, CREATE, CREATED, text("/a1") + STAT_BYTES),
        (19, CREATE, CREATED, text("/a1") + STAT_BYTES),
        (21, text("/a") + buffer(b"") + OPEN + int32(5) + int64(1), CREATED, text("/a1") + STAT_BYTES),
        (2, PATH + int32(-1), DONE, b""),
        (3, READ, StatReply(STAT), STAT_BYTES),
        (4, READ, NODE, buffer(b"xy") + STAT_BYTES),
        (5, PATH + buffer(b"") + int32(-1), StatReply(STAT), STAT_BYTES),
        (6, PATH, AclReply((Acl(*ENTRY), Acl(1, "world", "anyone")), STAT),
         acl(ENTRY, (1, "world", "anyone")) + STAT_BYTES),
        (7, PATH + OPEN + int32(-1), StatReply(STAT), STAT_BYTES),
        (8, READ, ChildrenReply(("b", "ä" * 200), STAT), vector([text("b"), text("ä" * 200)])),
        (8, READ, ChildrenReply((), STAT), vector([])),
        (9, PATH, DONE, PATH),
        (9, text(None), DONE, text(None)),
        (12, READ, ChildrenReply(("b", "c"), STAT), vector([text("b"), text("c")]) + STAT_BYTES),
        (13, PATH + int32(-1), DONE, b""),
        (17, PATH + int32(1), DONE, b""),
        (18, PATH + int32(1), DONE, b""),
        (101, int64(0) + vector([]) * 3, DONE, b""),
        (103, PATH, PathsReply(("/a/b", "/a/c")), vector([text("/a/b"), text("/a/c")])),
        (104, PATH, CountReply(5), int32(5)),
        (106, PATH + int32(0), DONE, int32(0)),
        (107, b"", IdentitiesReply((Identity("ip", "::1"), Identity("digest", "me:hash"))),
         vector([text("ip") + text("::1"), text("digest") + text("me")])),
        (-11, b"", DONE, b""),
        (14, END, MultiReply(()), END),
        (14, head(1) + CREATE + head(15) + CREATE + head(19) + text("/c") + buffer(b"") + OPEN + int32(4)
         + head(5) + PATH + buffer(b"") + int32(0) + head(13) + PATH + int32(0) + head(2) + PATH + int32(0) + END,
         MultiReply((CREATED, CREATED, CREATED, StatReply(STAT), DONE, DONE)),
         head(1, error=0) + text("/a1") + head(1, error=0) + text("/a1") + head(15, error=0) + text("/a1") + STAT_BYTES
         + head(5, error=0) + STAT_BYTES + head(13, error=0) + head(2, error=0) + END),
        (14, (head(2) + PATH + int32(0)) * 3 + END,
         MultiReply((DONE, NoNodeError("/a"), RuntimeInconsistencyError())),
         b"".join([head(-1, error=code) + int32(code) for code in (0, -101, -2)]) + END),
        (22, head(4) + READ + head(4) + READ + head(8) + READ + END,
         MultiReply((NODE, NoNodeError(), ChildrenReply(("b",), STAT))),
         head(4, error=0) + buffer(b"xy") + STAT_BYTES + head(-1, error=-101) + int32(-101)
         + head(8, error=0) + vector([text("b")]) + END),
    ],
)  # fmt: skip
def test_an_answer_has_the_form_that_its_request_asked_for(op: int, record: bytes, body: Body, expected: bytes) -> None:
    assert answered(op, record, body=body) == answer(expected)


def test_a_znode_is_encoded_once() -> None:
    node = Znode(b"xy", OPEN_ACL, Zxid(1), Zxid(1), Zxid(1), 1, 1, 0, 0, 0, SessionId(0), 0, CreateMode(0), 0)
    first = answered(4, READ, body=node)
    kept = node.zookeeper_tail
    assert answered(4, READ, body=node) == first
    assert node.zookeeper_tail is kept


@pytest.mark.parametrize(
    ("op", "record"),
    [(1, CREATE), (2, PATH + int32(-1)), (3, READ), (4, READ), (8, READ), (9, PATH), (14, END), (77, b""), (107, b"")],
)
def test_a_refusal_is_its_code_without_a_record(op: int, record: bytes) -> None:
    assert answered(op, record, body=BadVersionError("/a")) == answer(error=-103)


@pytest.mark.parametrize("op", [3, 4, 8, 12])
def test_to_a_reader_what_can_be_no_path_is_no_node(op: int) -> None:
    assert answered(op, READ, body=BadArgumentsError("/a")) == answer(error=-101)


def test_a_transaction_with_wrong_flags_names_the_culprit() -> None:
    connection = attached()
    wrong = head(1) + text("/a") + buffer(b"") + OPEN + int32(99)
    [call] = connection.receive(request(5, 14, head(2), PATH, int32(0), wrong, head(2), PATH, int32(0), END))
    assert isinstance(call.request, Malformed)
    expected = b"".join([head(-1, error=code) + int32(code) for code in (0, -8, -2)]) + END
    assert connection.send([Reply(0, ZXID, call.request.error)]) == answer(expected, xid=5)


def test_a_ping_is_answered_as_a_ping_whatever_its_xid() -> None:
    assert answered(11, body=DONE, xid=-2) == answered(11, body=DONE, xid=7) == answer(xid=-2)


def test_authentication_is_no_matter_of_zxids() -> None:
    record = int32(0) + text("digest") + buffer(b"me:secret")
    assert answered(100, record, body=DONE, xid=-4) == answer(xid=-4, zxid=0)
    assert answered(100, record, body=AuthFailedError(), xid=-4) == answer(xid=-4, zxid=0, error=-115)
    cut = int32(0) + text(None) + buffer(None)
    assert answered(100, cut, body=AuthFailedError(), xid=-4) == answer(xid=-4, zxid=0, error=-115)


def test_sasl_has_a_token_in_both_directions_even_in_a_refusal() -> None:
    assert answered(102, buffer(b""), body=SaslReply(b"challenge")) == answer(buffer(b"challenge"), zxid=0)
    assert answered(102, buffer(b""), body=SaslReply(None)) == answer(buffer(None), zxid=0)
    assert answered(102, buffer(b""), body=AuthFailedError()) == answer(buffer(None), zxid=0, error=-115)


def test_a_count_that_has_outgrown_its_32_bits_wraps() -> None:
    stat = replace(STAT, cversion=0x8000_0000)
    assert answered(3, READ, body=StatReply(stat)) == answer(
        struct.pack(">qqqqiiiqiiq", 11, 12, 13, 14, 5, -0x8000_0000, 7, 8, 2, 10, 15)
    )


def test_answers_go_to_the_calls_in_their_order_and_events_in_between() -> None:
    connection = attached()
    connection.receive(request(3, 2, PATH, int32(-1)) + request(-8, 101, int64(0), vector([]) * 3))
    event = WatchEvent(EventType.DELETED, "/ä", ZXID)
    assert connection.send([event, Reply(0, ZXID, DONE), event, Reply(0, ZXID, DONE)]) == b"".join(
        [
            frame(int32(-1), int64(-1), int32(0), int32(2), int32(3), text("/ä")),
            answer(xid=3),
            frame(int32(-1), int64(-1), int32(0), int32(2), int32(3), text("/ä")),
            answer(xid=-8),
        ]
    )


# ---- framing

CONVERSATION = [
    connect(),
    request(1, 1, CREATE),
    request(2, 4, READ),
    request(-2, 11),
    request(3, 14, head(1) + CREATE + END),
    request(4, 4, READ),
    request(5, -11),
]
MEANING = ServerConnection().receive(b"".join(CONVERSATION))


@given(st.data())
def test_frames_are_put_together_wherever_they_were_cut(data: st.DataObject) -> None:
    whole = b"".join(CONVERSATION)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=40))
    connection = ServerConnection()
    calls = []
    for begin, end in pairwise(sorted({0, *cuts, len(whole)})):
        calls += connection.receive(whole[begin:end])
    assert calls == MEANING
    assert len(calls) == len(CONVERSATION)
    assert connection.buffered_bytes == 0


def test_frames_are_put_together_from_single_bytes() -> None:
    connection = ServerConnection()
    calls = [call for byte in b"".join(CONVERSATION) for call in connection.receive(bytes([byte]))]
    assert calls == MEANING


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_random_bytes_are_calls_or_the_end_of_the_connection(chunks: list[bytes]) -> None:
    for connection in (ServerConnection(), attached()):
        try:
            for chunk in chunks:
                assert all(type(call) is Call for call in connection.receive(chunk))
        except ProtocolError:
            pass


@given(st.integers(-12, 110), st.binary(max_size=80))
def test_random_records_are_requests_or_refusals_or_the_end_of_the_connection(op: int, record: bytes) -> None:
    connection = attached(SMALL)
    try:
        [call] = connection.receive(request(1, op, record))
    except ProtocolError:
        assert op in (100, 102)
        return
    if isinstance(call.request, Malformed):
        assert connection.send([Reply(0, ZXID, call.request.error)])


@given(st.data())
def test_a_request_ends_where_its_frame_ends_whatever_follows(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from(CONVERSATION[1:]))
    cut = bytearray(whole[: data.draw(st.integers(12, len(whole)))])
    cut[:4] = int32(len(cut) - 4)
    heard: list[list[Call] | str] = []
    for received in (bytes(cut), bytes(cut) + whole):
        try:
            heard.append(attached().receive(received)[:1])
        except ProtocolError as error:
            heard.append(error.reason)
    assert heard[0] == heard[1]


@given(st.lists(st.integers(-5, 5), max_size=30))
def test_each_answer_has_the_xid_of_its_call_however_many_wait(steps: list[int]) -> None:
    """A step above 0 asks so often, one below 0 is so many answers."""
    connection = attached()
    waiting: list[int] = []
    xid = 100
    for step in steps:
        for _ in range(step):
            xid += 1
            connection.receive(request(xid, 3, READ))
            waiting.append(xid)
        now, waiting = waiting[: max(-step, 0)], waiting[max(-step, 0) :]
        answers: list[Reply | WatchEvent] = [Reply(0, ZXID, StatReply(STAT)) for _ in now]
        assert connection.send(answers) == b"".join(answer(STAT_BYTES, xid=each) for each in now)


@given(st.data())
def test_requests_with_a_byte_changed_are_requests_or_refusals_or_the_end(data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.sampled_from(CONVERSATION[1:])))
    whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert len(attached().receive(bytes(whole))) == 1
    except ProtocolError:
        assert whole[8:12] in (int32(100), int32(102))


@pytest.mark.parametrize("length", [-1, 0, 7, 201, 0x7FFF_FFFF])
@pytest.mark.parametrize("rest", [b"", b"x" * 20])
def test_a_length_that_no_request_has_ends_the_connection_at_once(length: int, rest: bytes) -> None:
    with pytest.raises(ProtocolError, match="zookeeper_frame_bytes_max is 200"):
        attached(SMALL).receive(request(1, 11) + int32(length) + rest)


def test_the_longest_request_is_taken_and_no_more_is_kept_than_it_has() -> None:
    connection = attached(SMALL)
    whole = request(1, 11, b"x" * 192)
    for byte in whole[:-1]:
        assert connection.receive(bytes([byte])) == []
    assert connection.buffered_bytes == 203
    assert connection.receive(whole[-1:]) == [Call(0, Ping())]
    assert connection.buffered_bytes == 0


def test_what_is_remembered_of_requests_is_bounded() -> None:
    connection = attached(Limits(path_length_max=2_000))
    for number in range(9_000):
        connection.receive(request(1, 3, text(f"/{number}"), flag(False)))
    connection.receive(request(1, 3, text("/" + "x" * 1_000), flag(False)))
    cache = connection._decoder.cache
    assert 0 < len(cache) <= 8_192
    assert max(map(len, cache)) <= 256
