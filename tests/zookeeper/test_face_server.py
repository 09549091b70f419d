"""A real server, asked with ZooKeeper's frames by hand and by kazoo, which knows nothing of this service."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import (
    BadVersionError,
    NoAuthError,
    NoNodeError,
    RolledBackError,
    RuntimeInconsistency,
)
from kazoo.protocol.states import EventType, KazooState, WatchedEvent
from kazoo.recipe.watchers import ChildrenWatch, DataWatch
from kazoo.security import make_digest_acl

from tests.zookeeper.frames import (
    EXPIRED,
    OPEN,
    TIMEOUT_S,
    Heard,
    RawClient,
    buffer,
    connect,
    flag,
    int32,
    int64,
    request,
    text,
    vector,
)
from zk.model.limits import DEFAULT_LIMITS
from zk.server.testing import ServerProcess, start_ensemble, start_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with start_server(tmp_path_factory.mktemp("face")) as server:
        yield server


@contextmanager
def kazoo(hosts: str, timeout_s: float = 30.0) -> Iterator[KazooClient]:
    client = KazooClient(hosts, timeout=timeout_s, command_retry={"max_tries": -1, "max_delay": 0.2})
    client.start(TIMEOUT_S)
    try:
        yield client
    finally:
        client.stop()
        client.close()


# ---- by hand


def test_a_session_goes_on_over_another_connection_and_the_first_one_ends(server: ServerProcess) -> None:
    with RawClient(server.address) as first, RawClient(server.address) as second:
        session = first.connect()
        assert session is not None
        assert second.connect(session) == session
        assert first.hear() is None
        answer = second.ask(3, text("/"), flag(False))
        assert answer is not None
        assert answer.error == 0


def test_an_unknown_session_and_a_wrong_password_are_told_as_expired_and_closed(server: ServerProcess) -> None:
    with RawClient(server.address) as client, RawClient(server.address) as thief, RawClient(server.address) as nobody:
        session = client.connect()
        assert session is not None
        for imposter, claimed in ((thief, session.session_id), (nobody, 0x7777)):
            imposter.send(connect(claimed, b"x" * 16))
            assert imposter.read() == int32(0) + int32(0) + int64(0) + buffer(bytes(16)) + flag(False)
            assert imposter.read() is None
        assert client.ask(11) is not None


def test_a_client_that_knows_another_history_is_closed_without_a_word(server: ServerProcess) -> None:
    with RawClient(server.address) as client, RawClient(server.address) as again, RawClient(server.address) as new:
        session = client.connect()
        assert again.connect(session, last_zxid=1 << 60) is None
        assert new.connect(last_zxid=1 << 60) is None
        assert client.ask(11) is not None


@pytest.mark.parametrize(("wanted_ms", "granted_ms"), [(1, 4_000), (-1, 4_000), (10_000, 10_000), (1 << 30, 40_000)])
def test_the_timeout_is_negotiated(server: ServerProcess, wanted_ms: int, granted_ms: int) -> None:
    with RawClient(server.address) as client:
        session = client.connect(timeout_ms=wanted_ms)
        assert session is not None
        assert session.timeout_ms == granted_ms


def test_an_unknown_request_is_refused_and_ends_the_connection_but_not_the_session(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        session = client.connect()
        unknown = client.ask(77)
        assert unknown == Heard(1, unknown.zxid, -6, b"") if unknown is not None else False
        assert client.hear() is None
    with RawClient(server.address) as client:
        assert client.connect(session) == session


def test_a_wrong_credential_is_refused_and_the_connection_closed(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.connect()
        client.send(request(-4, 100, int32(0), text("kerberos"), buffer(b"me")))
        assert client.hear() == Heard(-4, 0, -115, b"")
        assert client.hear() is None


def test_goodbye_is_answered_and_the_connection_closed(server: ServerProcess) -> None:
    with RawClient(server.address) as client, RawClient(server.address) as late:
        session = client.connect()
        goodbye = client.ask(-11)
        assert goodbye == Heard(1, goodbye.zxid, 0, b"") if goodbye is not None else False
        assert client.hear() is None
        assert late.connect(session) == EXPIRED


def test_a_request_that_is_too_long_ends_the_connection_and_the_operator_hears_of_it(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.connect()
        client.send(int32(DEFAULT_LIMITS.zookeeper_frame_bytes_max + 1))
        assert client.hear() is None
    server.wait_for_line("zookeeper_frame_bytes_max is 1048575")


def test_the_longest_request_is_served(server: ServerProcess) -> None:
    data = b"x" * (DEFAULT_LIMITS.zookeeper_frame_bytes_max - 100)
    with RawClient(server.address) as client:
        client.connect()
        created = client.ask(1, text("/longest"), buffer(data), OPEN, int32(0))
        assert created == Heard(1, created.zxid, 0, text("/longest")) if created is not None else False
        read = client.ask(4, text("/longest"), flag(False))
        assert read is not None
        assert read.record[: len(data) + 4] == buffer(data)


def test_a_client_sees_an_event_before_the_answer_to_its_own_write_that_caused_it(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.connect()
        client.ask(1, text("/watched"), buffer(b""), OPEN, int32(0))
        client.ask(4, text("/watched"), flag(True))
        event = client.ask(5, text("/watched"), buffer(b"new"), int32(-1))
        assert event == Heard(-1, -1, 0, int32(3) + int32(3) + text("/watched"))
        answer = client.hear()
        assert answer is not None
        assert (answer.xid, answer.error, len(answer.record)) == (3, 0, 68)


def test_thousands_of_watches_are_set_again_by_one_request(server: ServerProcess) -> None:
    paths = [f"/nowhere/{number:05}" for number in range(5_000)]
    with RawClient(server.address) as client:
        client.connect()
        client.ask(1, text("/again"), buffer(b""), OPEN, int32(0))
        exist = vector([text(path) for path in (*paths, "/again")])
        client.send(request(-8, 101, int64(0), vector([]), exist, vector([])))
        heard = [client.hear(), client.hear()]
        assert Heard(-1, -1, 0, int32(1) + int32(3) + text("/again")) in heard
        assert [each for each in heard if each is not None and each.xid == -8 and each.error == 0]
        assert [client.ask(17, text(path), int32(2)) for path in ("/nowhere/00000", "/nowhere/04999")] != [None, None]


def test_pipelined_requests_are_answered_in_their_order(server: ServerProcess) -> None:
    with RawClient(server.address) as client:
        client.connect()
        ops = [
            (1, text("/order") + buffer(b"") + OPEN + int32(0)),
            (4, text("/order") + flag(False)),
            (9, text("/order")),
            (3, text("/nothing") + flag(False)),
            (2, text("/order") + int32(-1)),
            (4, text("/order") + flag(False)),
        ]
        client.send(b"".join(request(xid, op, record) for xid, (op, record) in enumerate(ops)))
        answers = [client.hear() for _ in ops]
        assert [(each.xid, each.error) for each in answers if each is not None] == [
            (0, 0), (1, 0), (2, 0), (3, -101), (4, 0), (5, -101)
        ]  # fmt: skip


# ---- kazoo


def test_kazoo_reads_and_writes(server: ServerProcess) -> None:
    with kazoo(server.hosts) as zk:
        assert zk.create("/kazoo", b"one") == "/kazoo"
        path, stat = zk.create("/kazoo/s-", b"", sequence=True, include_data=True)
        assert path == "/kazoo/s-0000000000"
        assert (stat.version, stat.ephemeralOwner) == (0, 0)
        assert zk.create("/kazoo/e", b"", ephemeral=True) == "/kazoo/e"
        assert zk.exists("/kazoo/e").ephemeralOwner == zk.client_id[0]
        assert zk.set("/kazoo", b"two", 0).version == 1
        data, stat = zk.get("/kazoo")
        assert (data, stat.version, stat.numChildren, stat.dataLength) == (b"two", 1, 2, 3)
        assert sorted(zk.get_children("/kazoo")) == ["e", "s-0000000000"]
        names, stat = zk.get_children("/kazoo", include_data=True)
        assert (sorted(names), stat.cversion) == (["e", "s-0000000000"], 2)
        assert zk.sync("/kazoo") == "/kazoo"
        with pytest.raises(BadVersionError):
            zk.set("/kazoo", b"", 7)
        zk.delete("/kazoo", recursive=True)
        assert zk.exists("/kazoo") is None


def test_kazoo_has_transactions(server: ServerProcess) -> None:
    with kazoo(server.hosts) as zk:
        zk.create("/tx", b"")
        done = zk.transaction()
        done.create("/tx/a", b"x")
        done.set_data("/tx", b"y")
        done.check("/tx", 1)
        done.delete("/tx/a")
        path, stat, checked, deleted = done.commit()
        assert (path, stat.version, checked, deleted) == ("/tx/a", 1, True, True)
        failed = zk.transaction()
        failed.create("/tx/a")
        failed.delete("/tx/missing")
        failed.create("/tx/b")
        assert [type(result) for result in failed.commit()] == [RolledBackError, NoNodeError, RuntimeInconsistency]
        assert zk.get_children("/tx") == []


def test_kazoo_is_told_of_changes_once_and_by_its_watchers_always(server: ServerProcess) -> None:
    events: queue.Queue[WatchedEvent] = queue.Queue()
    seen: queue.Queue[bytes | None] = queue.Queue()
    children: queue.Queue[list[str]] = queue.Queue()
    with kazoo(server.hosts) as zk, kazoo(server.hosts) as other:
        assert zk.exists("/w", watch=events.put) is None
        DataWatch(zk, "/w", lambda data, stat: seen.put(data))
        assert seen.get(timeout=TIMEOUT_S) is None
        other.create("/w", b"0")
        assert events.get(timeout=TIMEOUT_S) == WatchedEvent(EventType.CREATED, "CONNECTED", "/w")
        assert seen.get(timeout=TIMEOUT_S) == b"0"
        ChildrenWatch(zk, "/w", children.put)
        assert children.get(timeout=TIMEOUT_S) == []
        other.set("/w", b"1")
        assert seen.get(timeout=TIMEOUT_S) == b"1"
        other.create("/w/c")
        assert children.get(timeout=TIMEOUT_S) == ["c"]
        assert events.empty()


def test_kazoo_proves_who_it_is(server: ServerProcess) -> None:
    with kazoo(server.hosts) as zk, kazoo(server.hosts) as other:
        zk.add_auth("digest", "me:secret")
        mine = make_digest_acl("me", "secret", all=True)
        zk.create("/mine", b"x", acl=[mine])
        assert zk.get_acls("/mine")[0] == [mine]
        assert zk.get("/mine")[0] == b"x"
        with pytest.raises(NoAuthError):
            other.get("/mine")


def test_kazoo_locks_exclude_and_elections_have_one_leader(server: ServerProcess) -> None:
    inside: list[int] = []
    led: list[int] = []
    most = 0

    def work(number: int) -> None:
        nonlocal most
        with kazoo(server.hosts) as zk:
            for _ in range(5):
                with zk.Lock("/lock", str(number)):
                    inside.append(number)
                    most = max(most, len(inside))
                    zk.exists("/lock")
                    inside.remove(number)
            zk.Election("/election", str(number)).run(led.append, number)

    workers = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()  # some fifty writes, one after the other: a slow disk may well take a while
    assert most == 1
    assert sorted(led) == [0, 1, 2]


def test_kazoo_keeps_its_session_and_its_watches_when_the_server_is_killed(tmp_path: Path) -> None:
    states: queue.Queue[str] = queue.Queue()
    seen: queue.Queue[bytes | None] = queue.Queue()
    with start_server(tmp_path) as server, kazoo(server.hosts) as zk:
        zk.add_listener(states.put)
        session = zk.client_id
        zk.create("/e", b"", ephemeral=True)
        zk.create("/d", b"0")
        DataWatch(zk, "/d", lambda data, stat: seen.put(data))
        assert seen.get(timeout=TIMEOUT_S) == b"0"
        server.kill()
        assert states.get(timeout=TIMEOUT_S) == KazooState.SUSPENDED
        server.start()
        assert states.get(timeout=TIMEOUT_S) == KazooState.CONNECTED
        assert zk.client_id == session
        assert zk.retry(zk.exists, "/e").ephemeralOwner == session[0]
        zk.retry(zk.set, "/d", b"1")
        assert seen.get(timeout=TIMEOUT_S) == b"1"


def test_a_flood_of_large_writes_costs_no_connection_at_any_server(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        for server in ensemble.servers:
            with kazoo(server.hosts) as zk:
                states: list[str] = []
                zk.add_listener(states.append)
                zk.create("/flood")
                writes = [zk.set_async("/flood", bytes(40_000)) for _ in range(1_000)]  # none waits for another
                assert [write.get(timeout=TIMEOUT_S).version for write in writes] == [*range(1, 1_001)]
                zk.delete("/flood")
                assert states == []


def test_kazoo_moves_to_another_server_when_the_leader_is_killed(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble:
        leader = ensemble.leader()
        others = ",".join(server.hosts for server in ensemble.others(leader))
        with kazoo(leader.hosts) as zk, kazoo(others) as other:
            zk.set_hosts(f"{leader.hosts},{others}")
            zk.create("/held", b"", ephemeral=True)
            session = zk.client_id
            leader.kill()
            assert zk.retry(zk.get, "/held")[1].ephemeralOwner == session[0]
            assert zk.client_id == session
            other.retry(other.set, "/held", b"by another")
            zk.retry(zk.sync, "/held")
            assert zk.retry(zk.get, "/held")[0] == b"by another"
