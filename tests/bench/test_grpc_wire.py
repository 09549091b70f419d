"""The load generator's face for etcd: what it counts is what etcd did. Figures without that would be worth nothing."""

import base64
import json
from collections.abc import Iterator
from dataclasses import asdict
from struct import pack

import pytest

from etcd_server import EtcdProcess, ask, etcd_missing, start_etcd
from loadgen import Connection, run
from zk.model.limits import KIB

pytest.importorskip("hpack", reason="hpack is not installed: pip install 'zkensemble[bench]'")
from grpc_wire import FRAME_BYTES_MAX, Etcd, Kind, Setting, frame

WITH_ETCD = pytest.mark.skipif(etcd_missing() is not None, reason=str(etcd_missing()))
INVALID_ARGUMENT = 3  # of gRPC's codes


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdProcess]:
    with start_etcd(tmp_path_factory.mktemp("etcd")) as etcd:
        yield etcd.servers[0]


def revision(etcd: EtcdProcess) -> int:
    """How many writes it has done, and one."""
    key = base64.b64encode(b"/").decode()
    answer = ask(etcd.hosts, "/v3/kv/range", {"key": key, "count_only": True})
    assert isinstance(answer["header"], dict)
    return int(answer["header"]["revision"])


def value(etcd: EtcdProcess, key: str) -> bytes:
    answer = ask(etcd.hosts, "/v3/kv/range", {"key": base64.b64encode(key.encode()).decode()})
    assert isinstance(answer["kvs"], list)
    return base64.b64decode(answer["kvs"][0]["value"])


@WITH_ETCD
@pytest.mark.parametrize(
    ("operation", "writes"), [("get", 0), ("linearizable", 0), ("set", 60), ("create", 60), ("mix", 6)]
)
def test_etcd_has_done_what_the_generator_counts(etcd: EtcdProcess, operation: str, writes: int) -> None:
    before, server = revision(etcd), (etcd.address.host, etcd.address.port)
    outcome = run([server], Etcd, f"/{operation}", connections=3, window=4, operation=operation, total=60, size=200)
    assert (outcome.operations, outcome.refused) == (60, {})
    nodes = 1 + 3  # the root, and one for each connection
    assert revision(etcd) == before + nodes + writes
    assert value(etcd, f"/{operation}/2") == b"x" * 200


class Wrong(Etcd):
    """Its calls are such that etcd refuses them."""

    def get(self, xid: int, path: str) -> bytes:
        return self.set(xid, 0, "", b"no key")


@WITH_ETCD
def test_refusals_are_counted_by_their_codes(etcd: EtcdProcess) -> None:
    server = (etcd.address.host, etcd.address.port)
    outcome = run([server], Wrong, "/wrong", connections=3, window=4, operation="get", total=60, size=200)
    printed = json.loads(json.dumps(asdict(outcome)))
    assert (printed["operations"], printed["refused"]) == (60, {str(INVALID_ARGUMENT): 60})


@WITH_ETCD
def test_answers_and_refusals_are_the_same_however_the_bytes_are_cut(etcd: EtcdProcess) -> None:
    connection = Connection(0, Etcd(), "/cut", etcd.address.host, etcd.address.port)
    wire = connection.wire
    calls = [wire.set(1, 0, "/cut", b"x"), wire.get(2, "/cut"), wire.set(3, 0, "", b"no key"), wire.get(4, "/cut")]
    calls += [wire.get_linearizable(5, "/none"), wire.set(6, 0, "", b"no key")]
    heard, codes = b"", []
    for call in calls:
        connection.socket.sendall(wire.before(1) + call)
        found: list[int] = []
        while not found:
            data = connection.receive()
            heard += data
            found += wire.answers(data)
        codes += found
    connection.socket.close()
    assert codes == [0, 0, INVALID_ARGUMENT, 0, 0, INVALID_ARGUMENT]
    again = Etcd()
    assert [code for at in range(len(heard)) for code in again.answers(heard[at : at + 1])] == codes


@WITH_ETCD
def test_what_etcd_refuses_at_the_preparations_is_an_error(etcd: EtcdProcess) -> None:
    connection = Connection(0, Etcd(), "/refused", etcd.address.host, etcd.address.port)
    with pytest.raises(RuntimeError, match=r"the server refused what prepares /refused/0: \[3\]"):
        connection.create("", b"no key")
    connection.socket.close()


def opened(settings: bytes = b"") -> Etcd:
    """A wire that has heard a server's settings."""
    wire = Etcd()
    assert wire.answers(frame(Kind.SETTINGS, 0, 0, settings)) == [0]
    return wire


def test_no_more_streams_are_opened_than_the_server_allows() -> None:
    wire = opened(pack(">HI", Setting.MAX_CONCURRENT_STREAMS, 2))
    for xid in range(1, 4):
        wire.get(xid, "/node")
    wire.before(2)
    with pytest.raises(RuntimeError, match="etcd does not allow so much at a time"):
        wire.before(1)


def test_no_more_bytes_are_sent_than_the_server_takes() -> None:
    def prepared() -> Etcd:
        wire = opened()
        for xid in range(1, 6):
            wire.set(xid, 0, "/node", b"x" * 15 * KIB)
        wire.before(4)
        return wire

    with pytest.raises(RuntimeError, match="etcd does not allow so much at a time"):
        prepared().before(1)
    wire = prepared()
    assert wire.answers(frame(Kind.WINDOW_UPDATE, 0, 0, pack(">I", 15 * KIB))) == []
    wire.before(1)


def test_a_call_that_does_not_fit_in_a_frame_is_an_error() -> None:
    with pytest.raises(ValueError, match="use a smaller --size"):
        opened().set(1, 0, "/node", b"x" * FRAME_BYTES_MAX)


def test_settings_and_pings_are_acknowledged_with_the_next_call() -> None:
    wire = opened()
    wire.get(1, "/node")
    assert wire.answers(frame(Kind.PING, 0, 0, b"12345678")) == []
    assert wire.before(1) == frame(Kind.SETTINGS, 1, 0, b"") + frame(Kind.PING, 1, 0, b"12345678")
    assert wire.before(0) == b""


def test_a_reset_without_an_error_follows_an_answer_and_is_none_itself() -> None:
    wire = opened()
    assert wire.answers(frame(Kind.RST_STREAM, 0, 1, pack(">I", 0))) == []
    with pytest.raises(ConnectionError, match="error 7 of HTTP/2"):
        wire.answers(frame(Kind.RST_STREAM, 0, 3, pack(">I", 7)))
