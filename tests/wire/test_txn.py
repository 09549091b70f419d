"""The payloads of the ordered log."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from zk.model.acl import Acl
from zk.model.errors import MarshallingError
from zk.model.limits import DEFAULT_LIMITS
from zk.model.record import SessionId, Zxid
from zk.model.requests import AddAuth, Create, GetData, SetData, Txn
from zk.wire import txn as codec
from zk.wire.native.operations import operation_fields
from zk.wire.packing import pack


def payload_of(txn: Txn) -> bytes:
    return codec.stamp(txn.time_ms, codec.encode_body(txn))


@given(st.data())
def test_every_transaction_comes_back_as_it_went_in(txns: SearchStrategy[Txn], data: st.DataObject) -> None:
    txn = data.draw(txns)
    assert codec.decode(payload_of(txn)) == txn


@given(st.data())
def test_only_the_stamp_depends_on_the_time(txns: SearchStrategy[Txn], data: st.DataObject) -> None:
    txn = data.draw(txns)
    body = codec.encode_body(txn)
    assert payload_of(txn) == txn.time_ms.to_bytes(8, "big") + body
    txn.time_ms = 1
    assert codec.encode_body(txn) == body


def test_the_bytes_of_the_log_stay_what_they_are() -> None:
    txn = Txn(
        1_700_000_000_000,
        SessionId(7),
        Zxid(1 << 32 | 2),
        3,
        4,
        1,
        Create("/a", b"x", (Acl(31, "digest", "u:h"),)),
    )
    assert payload_of(txn).hex() == "0000018bcfe568009b07cf000000010000000203040" + "10fa22f61c401789193" + (
        "1fa6646967657374a3753a680000"
    )


@given(st.data())
def test_the_frequent_writes_are_written_as_the_library_writes_them(
    frequent_txns: SearchStrategy[Txn], data: st.DataObject
) -> None:
    txn = data.draw(frequent_txns)
    head = (txn.session_id, txn.generation, txn.n, txn.xid, txn.floor)
    assert isinstance(txn.request, SetData | Create)
    assert codec.encode_body(txn) == pack(head + operation_fields(txn.request))


def decoded(payload: bytes) -> Txn | None:
    try:
        return codec.decode(payload)
    except MarshallingError:
        return None


@given(st.data())
def test_the_frequent_writes_are_read_as_all_others_are(
    frequent_txns: SearchStrategy[Txn], data: st.DataObject
) -> None:
    payload = bytearray(payload_of(data.draw(frequent_txns)))
    for at in data.draw(st.lists(st.integers(9, len(payload) - 1), max_size=2)):
        payload[at] = data.draw(st.integers(0, 255))
    whole = bytes(payload)[: data.draw(st.integers(9, len(payload)) | st.just(len(payload)))]
    stamp, array, fields = whole[:8], whole[8], whole[9:]
    unusual = stamp + bytes((0xDC, 0, array & 15)) + fields  # the same array, its length in three bytes
    assert decoded(whole) == decoded(unusual)


def test_a_log_with_more_than_todays_limits_is_still_readable() -> None:
    big = SetData("/" + "p" * 2 * DEFAULT_LIMITS.path_length_max, bytes(2 * DEFAULT_LIMITS.data_bytes_max))
    txn = Txn(5, SessionId(1), Zxid(2), 3, 4, 0, big)
    assert codec.decode(payload_of(txn)) == txn


@pytest.mark.parametrize("request_", [GetData("/a"), AddAuth("digest", b"user:password")])
def test_reads_and_passwords_have_no_place_in_the_log(request_: GetData | AddAuth) -> None:
    body = pack((1, 2, 3, 4, 5, *operation_fields(request_)))
    with pytest.raises(MarshallingError, match="not a transaction"):
        codec.decode(codec.stamp(1, body))


@given(st.binary(max_size=100))
def test_garbage_is_refused(garbage: bytes) -> None:
    try:
        codec.decode(garbage)
    except MarshallingError:
        return
    raise AssertionError(f"{garbage.hex()} was taken for a transaction")


@given(st.data())
def test_damage_is_refused_or_harmless(txns: SearchStrategy[Txn], data: st.DataObject) -> None:
    payload = bytearray(payload_of(data.draw(txns)))
    payload[data.draw(st.integers(8, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        txn = codec.decode(bytes(payload))
    except MarshallingError:
        return
    assert isinstance(txn, Txn)
