"""Calls: from a client's values through the bytes into a server's values, or into a refusal."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from zk.model.acl import Acl
from zk.model.errors import APIError, BadArgumentsError, MarshallingError, UnimplementedError
from zk.model.limits import DEFAULT_LIMITS, Limits
from zk.model.record import Zxid
from zk.model.requests import (
    Call,
    Create,
    GetChildrenPage,
    GetData,
    GetStatus,
    Malformed,
    Multi,
    MultiRead,
    Ping,
    SetAcl,
    SetData,
    SetWatches,
)
from zk.wire.native import ClientConnection, ProtocolError, ServerConnection
from zk.wire.packing import pack


def connected(limits: Limits = DEFAULT_LIMITS) -> tuple[ClientConnection, ServerConnection]:
    client, server = ClientConnection("test"), ServerConnection(limits)
    assert server.receive(client.hello()) == []
    client.receive(server.greeting())
    return client, server


def refused(server: ServerConnection, received: bytes) -> APIError:
    """Why the one call that was received, with xid 7, can't be understood."""
    (call,) = server.receive(received)
    assert isinstance(call.request, Malformed)
    assert call == Call(7, Malformed(call.request.error))
    return call.request.error


@given(st.data())
def test_every_call_comes_out_as_it_went_in(calls: SearchStrategy[Call], data: st.DataObject) -> None:
    client, server = connected()
    sent = data.draw(st.lists(calls, max_size=5))
    assert server.receive(b"".join(client.call(call) for call in sent)) == sent


@given(st.data())
def test_a_conversation_may_be_cut_anywhere(calls: SearchStrategy[Call], data: st.DataObject) -> None:
    client, server = ClientConnection("test"), ServerConnection()
    sent = data.draw(st.lists(calls, max_size=4))
    stream = client.hello() + b"".join(client.call(call) for call in sent)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    edges = sorted({0, len(stream), *cuts})
    assert [call for begin, end in pairwise(edges) for call in server.receive(stream[begin:end])] == sent
    assert server.handshake_done
    assert server.buffered_bytes == 0


def test_a_conversation_may_arrive_byte_by_byte() -> None:
    client, server = ClientConnection("test"), ServerConnection()
    sent = [Call(1, Create("/a", b"x" * 700)), Call(2, GetData("/a", True), linearizable=True), Call(3, Ping())]
    stream = client.hello() + b"".join(client.call(call) for call in sent)
    assert [call for at in range(len(stream)) for call in server.receive(stream[at : at + 1])] == sent


def test_calls_need_not_wait_for_the_greeting() -> None:
    client, server = ClientConnection("test"), ServerConnection()
    assert server.receive(client.hello() + client.call(Call(1, Ping()))) == [Call(1, Ping())]
    assert server.greeting() != b""


INTS = st.integers(-(2**63), 2**64 - 1) | st.integers(-3, 9)
PATHS = st.text(max_size=12) | st.just("/a")
DATA = st.binary(max_size=50) | st.none()
ODD = INTS | PATHS | DATA | st.booleans() | st.floats(allow_nan=False) | st.just(())
FREQUENT = st.one_of(
    st.tuples(st.sampled_from((3, 4)), PATHS, st.booleans()),
    st.tuples(st.just(5), PATHS, DATA, INTS),
    st.tuples(st.just(15), PATHS, DATA, st.none() | st.just(((31, "world", "anyone"),)), INTS, INTS),
)


@given(
    st.lists(st.tuples(INTS, INTS, FREQUENT), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255) | ODD), max_size=3),
)
def test_the_calls_that_are_read_by_hand_are_what_they_are_if_read_otherwise(
    frames: list[tuple[int, int, tuple[object, ...]]], changes: list[tuple[int, object]]
) -> None:
    """In one piece they are read by hand; but not if their first byte comes by itself."""
    arrays = [[xid, level, *operation] for xid, level, operation in frames]
    for at, value in changes[1:]:
        array = arrays[at % len(arrays)]
        array[at % len(array)] = value
    received = bytearray(b"".join(map(pack, arrays)))
    for at, value in changes[:1]:
        received[at % len(received)] = value if type(value) is int and 0 <= value < 256 else 0
    limits = Limits(path_length_max=8, data_bytes_max=40, frame_bytes_max=64)

    def heard(*pieces: bytes) -> list[Call] | type[ProtocolError]:
        _, server = connected(limits)
        try:
            return [call for piece in pieces for call in server.receive(piece)]
        except ProtocolError:
            return ProtocolError

    assert heard(bytes(received)) == heard(bytes(received[:1]), bytes(received[1:]))


# ---- refusals


@pytest.mark.parametrize(
    ("operation", "refusal", "hint"),
    [
        ((999,), UnimplementedError, "number 999"),
        (("4",), UnimplementedError, "type str"),
        ((True,), UnimplementedError, "type bool"),
        ((4.0, "/a", False), UnimplementedError, "type float"),
        ((None,), UnimplementedError, "type NoneType"),
        ((4,), MarshallingError, r"takes 2 fields \(path, watch\), not 0"),
        ((4, "/a", False, 1), MarshallingError, r"takes 2 fields \(path, watch\), not 3"),
        ((11, 1), MarshallingError, r"takes 0 fields \(\), not 1"),
        ((4, b"/a", False), MarshallingError, "path must be text, not bytes"),
        ((4, None, False), MarshallingError, "path must be text, not NoneType"),
        ((4, "/a", 1), MarshallingError, "watch must be a boolean, not int"),
        ((15, "/a", "text", None, 0, 0), MarshallingError, "data must be binary, not str"),
        ((15, "/a", b"", None, True, 0), MarshallingError, "mode must be an integer, not bool"),
        ((15, "/a", b"", None, 7, 0), BadArgumentsError, "mode is 7; it must be from 0 to 6"),
        ((15, "/a", b"", None, 5, 2**63), BadArgumentsError, "ttl_ms is 9223372036854775808"),
        ((15, "/a", b"", 31, 0, 0), MarshallingError, "acl must be an array, or nil"),
        ((15, "/a", b"", ((31, "world"),), 0, 0), MarshallingError, "an entry of acl must be"),
        ((15, "/a", b"", ((2**31, "world", "anyone"),), 0, 0), BadArgumentsError, "perms is 2147483648"),
        ((5, "/a", b"", -(2**31) - 1), BadArgumentsError, "version is -2147483649"),
        ((5, "/a", b"", 2**31), BadArgumentsError, "version is 2147483648"),
        ((13, "/a", -1, 2**63), BadArgumentsError, "czxid"),
        ((14, 5), MarshallingError, "operations must be an array"),
        ((14, (5,)), MarshallingError, "an operation must be an array"),
        ((14, ((),)), MarshallingError, "an operation must be an array"),
        ((14, ((4, "/a", False),)), UnimplementedError, "number 4"),
        ((14, ((14, ()),)), UnimplementedError, "number 14"),
        ((14, ((2, "/a"),)), MarshallingError, r"operation 2 takes 2 fields \(path, version\), not 1"),
        ((22, ((15, "/a", b"", None, 0, 0),)), UnimplementedError, "number 15"),
        ((22, ((22, ()),)), UnimplementedError, "number 22"),
        ((-10, -1, b"", 0, 0, False), BadArgumentsError, "session_id is -1"),
        ((-10, 0, bytes(65), 0, 0, False), BadArgumentsError, "secret has 65 bytes"),
        ((100, "digest", bytes(4_097)), BadArgumentsError, "credential has 4097 bytes"),
        ((106, "/a", 2, None), BadArgumentsError, "mode is 2"),
        ((18, "/a", 0), BadArgumentsError, "type is 0"),
        ((105, 1, (), (), (), (), "/a"), MarshallingError, "recursive must be an array"),
        ((105, 1, (), (5,), (), (), ()), MarshallingError, "path must be text"),
        ((200, "/a", "", "", 0, False), BadArgumentsError, "limit is 0"),
    ],
)
def test_a_call_that_can_not_be_understood_gets_an_answer_that_says_why(
    operation: tuple[object, ...], refusal: type[APIError], hint: str
) -> None:
    _, server = connected()
    error = refused(server, pack((7, 0, *operation)))
    assert type(error) is refusal
    with pytest.raises(refusal, match=hint):
        raise error
    assert server.receive(pack((8, 0, 11))) == [Call(8, Ping())]


@pytest.mark.parametrize("level", [-2, 2**63, 1.0, True, None, "0"])
def test_a_level_that_means_nothing_is_refused(level: object) -> None:
    _, server = connected()
    assert type(refused(server, pack((7, level, 4, "/a", False)))) is MarshallingError


def test_a_write_has_no_negative_floor() -> None:
    _, server = connected()
    assert type(refused(server, pack((7, -1, 2, "/a", -1)))) is MarshallingError


SMALL = replace(
    DEFAULT_LIMITS,
    data_bytes_max=10,
    path_length_max=8,
    acl_entries_max=2,
    multi_operations_max=3,
    children_per_page_max=5,
    paths_per_set_watches_max=2,
)
ENTRY = Acl(1, "world", "anyone")
AT_THE_LIMIT = [
    Call(1, Create("/" + "é" * 7, bytes(10), (ENTRY,) * 2)),
    Call(2, SetData("/a", bytes(10))),
    Call(3, SetAcl("/a", (ENTRY,) * 2)),
    Call(4, Multi((Create("/a", bytes(5)), SetData("/b", bytes(4)), Create("/c", b"x")))),
    Call(5, MultiRead((GetData("/a"),) * 3)),
    Call(6, GetChildrenPage("/a", limit=5)),
    Call(7, SetWatches(Zxid(1), ("/a",) * 2, ("/a",) * 2, ("/a",) * 2, ("/a",) * 2, ("/a",) * 2)),
]
BEYOND_THE_LIMIT = [
    (Create("/12345678", b""), "path_length_max is 8"),
    (Create("/a", bytes(11)), "data_bytes_max is 10"),
    (SetData("/a", bytes(11)), "data_bytes_max is 10"),
    (SetAcl("/a", (ENTRY,) * 3), "acl_entries_max is 2"),
    (SetAcl("/a", (Acl(1, "digest", "123456789"),)), "path_length_max is 8"),
    (Multi((SetData("/a", bytes(11)),)), "data_bytes_max is 10"),
    (Multi((Create("/a", bytes(6)), SetData("/b", bytes(5)))), "11 bytes of data; data_bytes_max is 10"),
    (Multi((Create("/a", b""),) * 4), "multi_operations_max is 3"),
    (MultiRead((GetData("/a"),) * 4), "multi_operations_max is 3"),
    (GetChildrenPage("/a", limit=6), "limit is 6; it must be from 1 to 5"),
    (GetChildrenPage("/a", prefix="123456789"), "path_length_max is 8"),
    (SetWatches(Zxid(1), child=("/a",) * 3), "paths_per_set_watches_max is 2"),
]


@pytest.mark.parametrize("call", AT_THE_LIMIT, ids=lambda call: type(call.request).__name__)
def test_what_is_at_its_limit_is_taken(call: Call) -> None:
    client, server = connected(SMALL)
    assert server.receive(client.call(call)) == [call]


@pytest.mark.parametrize(("request_", "hint"), BEYOND_THE_LIMIT, ids=lambda value: str(value)[:50])
def test_what_is_beyond_its_limit_is_refused_by_the_name_of_the_limit(request_: Create, hint: str) -> None:
    client, server = connected(SMALL)
    with pytest.raises(BadArgumentsError, match=hint):
        raise refused(server, client.call(Call(7, request_)))


def test_a_refusal_keeps_its_place_among_the_calls() -> None:
    client, server = connected()
    stream = client.call(Call(1, Ping())) + pack((2, 0, 999)) + client.call(Call(3, Ping()))
    refusal = Malformed(UnimplementedError("", "there is no such operation here: number 999"))
    assert server.receive(stream) == [Call(1, Ping()), Call(2, refusal), Call(3, Ping())]


@pytest.mark.parametrize("frame", [(2, 0, 999), (2, 0, 5, "/a"), (2, 0, 5, 1, b"", -1), (2, -2, 11)])
def test_a_refusal_holds_nothing_of_what_was_on_the_stack(frame: tuple[object, ...]) -> None:
    _, server = connected()
    (call,) = server.receive(pack(frame))
    assert isinstance(call.request, Malformed)
    error = call.request.error
    assert (error.__traceback__, error.__cause__, error.__context__) == (None, None, None)


# ---- what can't be answered


@pytest.mark.parametrize("frame", [(), (1,), (1, 0), ("1", 0, 11), (-1, 0, 11), (True, 0, 11), (2**63, 0, 11)])
def test_a_frame_without_an_xid_to_answer_closes_the_connection(frame: tuple[object, ...]) -> None:
    client, server = connected()
    with pytest.raises(ProtocolError) as caught:
        server.receive(pack(frame))
    with pytest.raises(ProtocolError, match="the server closed the connection: a call"):
        client.receive(caught.value.farewell)


def test_a_frame_beyond_its_limit_closes_the_connection_and_is_never_buffered() -> None:
    client, server = connected(replace(DEFAULT_LIMITS, frame_bytes_max=1_000))
    with pytest.raises(ProtocolError, match="frame_bytes_max") as caught:
        server.receive(pack((1, 0, 15, "/a", bytes(2_000), None, 0, 0)))
    assert server.buffered_bytes == 0
    with pytest.raises(ProtocolError, match="frame_bytes_max"):
        client.receive(caught.value.farewell)


def test_a_client_does_not_send_what_would_close_its_connection() -> None:
    client, _ = connected(replace(DEFAULT_LIMITS, frame_bytes_max=1_000))
    with pytest.raises(BadArgumentsError, match="the server takes at most 1000"):
        client.call(Call(1, SetData("/a", bytes(1_000))))


@pytest.mark.parametrize(
    "request_",
    [
        lambda: GetData("/\ud800"),
        lambda: SetData("/a", b"", 2**64),
        lambda: SetData("/a", object()),  # type: ignore[arg-type]  # as a program without types may
        lambda: Create("/a", b"", acl=("world:anyone",)),  # type: ignore[arg-type]  # the same
    ],
)
def test_a_client_does_not_send_what_has_no_encoding(request_: Callable[[], GetData | SetData | Create]) -> None:
    client, _ = connected()
    with pytest.raises(
        (BadArgumentsError, TypeError), match=r"can't be sent|object expected"
    ):  # the latter if compiled
        client.call(Call(1, request_()))


# ---- hostile bytes


@given(st.lists(st.binary(max_size=400), max_size=4))
def test_any_bytes_give_calls_or_a_protocol_error(received: list[bytes]) -> None:
    _, server = connected()
    assert_survives(server, received)


@given(st.data())
def test_damaged_calls_give_calls_or_a_protocol_error(calls: SearchStrategy[Call], data: st.DataObject) -> None:
    client, server = connected()
    stream = bytearray(b"".join(client.call(call) for call in data.draw(st.lists(calls, min_size=1, max_size=3))))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(stream)))
    assert_survives(server, [bytes(stream[:cut]), bytes(stream[cut:])])


def assert_survives(server: ServerConnection, received: list[bytes]) -> None:
    with suppress(ProtocolError):
        for data in received:
            for call in server.receive(data):
                assert isinstance(call, Call)
            assert server.buffered_bytes <= sum(map(len, received))


json_like = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4).map(tuple),
    max_leaves=8,
)


@given(st.integers(0, 2**63 - 1), st.lists(json_like, min_size=2, max_size=9), st.data())
def test_any_fields_give_a_call_or_a_refusal(xid: int, fields: list[object], data: st.DataObject) -> None:
    _, server = connected()
    ops = [-11, -10, *range(25), *range(98, 110), 200, 201]
    frame = [xid, 0, data.draw(st.sampled_from(ops)), *fields[2:]]
    assert [call.xid for call in server.receive(pack(frame))] == [xid]


def test_status_needs_no_fields() -> None:
    client, server = connected()
    assert server.receive(client.call(Call(1, GetStatus()))) == [Call(1, GetStatus())]
