"""Whatever a ZooKeeper client may send: if it becomes a write, every server can read it in the log."""

from pathlib import Path
from typing import get_args

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zookeeper.differential import Client
from zk.model.limits import DEFAULT_LIMITS
from zk.model.record import SessionId, Zxid
from zk.model.requests import ClientWrite, Connect, Txn
from zk.server.testing import start_server
from zk.wire import txn as txn_codec
from zk.wire.zookeeper.jute import Reader, buffer_bytes, int32_bytes, int64_bytes, text_bytes, vector_bytes
from zk.wire.zookeeper.numbers import OpCode
from zk.wire.zookeeper.requests import RequestDecoder
from zk.wire.zookeeper.unanswered import Unanswered

INT32 = st.integers(-(2**31), 2**31 - 1).map(int32_bytes)
INT64 = st.integers(-(2**63), 2**63 - 1).map(int64_bytes)
TEXT = (st.text(max_size=8) | st.none()).map(text_bytes) | st.binary(max_size=8).map(buffer_bytes)
DATA = (st.binary(max_size=8) | st.none()).map(buffer_bytes)
ACL = st.lists(st.tuples(INT32, TEXT, TEXT).map(b"".join), max_size=3).map(vector_bytes)
FIELDS = {
    OpCode.CREATE: (TEXT, DATA, ACL, st.integers(0, 6).map(int32_bytes)),
    OpCode.CREATE_CONTAINER: (TEXT, DATA, ACL, st.just(int32_bytes(4))),
    OpCode.CREATE_TTL: (TEXT, DATA, ACL, st.integers(5, 6).map(int32_bytes), INT64),
    OpCode.DELETE: (TEXT, INT32),
    OpCode.SET_DATA: (TEXT, DATA, INT32),
    OpCode.SET_ACL: (TEXT, ACL, INT32),
    OpCode.CHECK: (TEXT, INT32),
}
WRITES = st.sampled_from(list(FIELDS)).flatmap(lambda op: st.tuples(st.just(op), st.tuples(*FIELDS[op]).map(b"".join)))
IN_MULTI = WRITES.filter(lambda write: write[0] != OpCode.SET_ACL)
END = int32_bytes(OpCode.ERROR) + b"\x01" + int32_bytes(-1)
MULTIS = st.lists(IN_MULTI, max_size=3).map(
    lambda writes: (
        OpCode.MULTI,
        b"".join(int32_bytes(op) + b"\x00" + int32_bytes(-1) + record for op, record in writes) + END,
    )
)


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(WRITES | MULTIS)
def test_every_write_that_a_client_can_send_is_read_back_from_the_log(sent: tuple[int, bytes]) -> None:
    op, record = sent
    for call in RequestDecoder(DEFAULT_LIMITS).decode(1, Reader(int32_bytes(op) + record), Unanswered()):
        if isinstance(call.request, get_args(ClientWrite)):
            txn = Txn(1, SessionId(2), Zxid(3), 4, 0, 0, call.request)
            assert txn_codec.decode(txn_codec.stamp(1, txn_codec.encode_body(txn))) == txn


def test_a_server_starts_again_with_whatever_it_was_asked(tmp_path: Path) -> None:
    everyone = text_bytes("world") + text_bytes("anyone")
    odd = (
        (OpCode.SET_DATA, text_bytes("/") + buffer_bytes(b"") + int32_bytes(-2)),
        (OpCode.DELETE, text_bytes("/a") + int32_bytes(-(2**31))),
        (OpCode.SET_ACL, text_bytes("/") + vector_bytes([int32_bytes(-1) + everyone]) + int32_bytes(-1)),
        (
            OpCode.CREATE_TTL,
            text_bytes("/a")
            + buffer_bytes(b"")
            + vector_bytes([int32_bytes(31) + everyone])
            + int32_bytes(5)
            + int64_bytes(-1),
        ),
    )
    with start_server(tmp_path) as server:
        client = Client(server.address)
        client.connect(Connect(SessionId(0), bytes(16), 10_000))
        for op, record in odd:
            client.raw(op, record)
        client.vanish()
        server.kill()
        server.start()
        server.wait_until_serving()
