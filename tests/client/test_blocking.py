"""The client for plain threads: generated afresh, and the same service to be had without an event loop."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import anyio
import pytest
from zkclient import (
    ClientClosedError,
    EventType,
    LockLost,
    NodeExistsError,
    NoNodeError,
    NoWatcherError,
    OperationTimeoutError,
    State,
    TransactionFailed,
    WatchEvent,
    ZooKeeper,
)

from zk.server.testing import ServerProcess

ROOT = Path(__file__).parents[2]


@pytest.fixture
def open_client(server: ServerProcess, corner: str) -> Iterator[Callable[[], ZooKeeper]]:
    """Makes clients that live in the test's corner, and closes them."""
    clients: list[ZooKeeper] = []

    def open_client() -> ZooKeeper:
        clients.append(ZooKeeper(f"{server.address}{corner}", session_timeout_ms=2_000))
        return clients[-1]

    open_client().ensure_path("/")
    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def zk(open_client: Callable[[], ZooKeeper]) -> ZooKeeper:
    return open_client()


def test_the_file_is_what_the_generator_writes() -> None:
    script = "import generate_blocking as g; raise SystemExit(g.generate() != g.TARGET.read_text())"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT / "client", check=False).returncode == 0


def test_it_connects_at_the_first_call(zk: ZooKeeper) -> None:
    assert (zk.state, zk.session_id) == (State.CONNECTING, 0)
    zk.create("/config", "config.json", flags=ZooKeeper.EPHEMERAL)
    assert zk.state is State.CONNECTED
    data, stat = zk.get("/config")
    assert (data, str(zk.get("/config")), stat.ephemeral_owner) == (b"config.json", "config.json", zk.session_id)


def test_refusals_are_raised_in_the_calling_thread(zk: ZooKeeper) -> None:
    zk.create("/a")
    with pytest.raises(NodeExistsError, match="/a"):
        zk.create("/a")
    with pytest.raises(NoNodeError):
        zk.get("/b")


def test_put_creates_or_sets_and_update_compares(zk: ZooKeeper) -> None:
    with pytest.raises(NoNodeError):
        zk.put("/a/b", "1")
    assert zk.put("/a/b", "1", makepath=True).version == 0
    assert zk.put("/a/b", "2").version == 1

    def change(data: bytes) -> bytes:
        if data == b"2":
            zk.set("/a/b", "3")  # somebody else comes between
        return data + b"!"

    assert zk.update("/a/b", change).data == b"3!"
    assert zk.get("/a/b").stat.version == 3


def test_a_walk_shows_parents_before_children(zk: ZooKeeper) -> None:
    for path in ("/a/b/c", "/a/d", "/b"):
        zk.ensure_path(path)
    assert list(zk.walk("/a")) == ["/a", "/a/b", "/a/b/c", "/a/d"]
    assert [[entry.name for entry in page] for page in zk.pages("/", page_size=1)] == [["a"], ["b"]]


def test_a_transaction_is_done_at_the_end_of_its_block(zk: ZooKeeper) -> None:
    with zk.transaction() as txn:
        txn.create("/a", "1").create("/b")
    assert txn.results == ("/a", "/b")
    with pytest.raises(TransactionFailed) as failed, zk.transaction() as txn:
        txn.set("/a", "2").create("/b")
    assert (failed.value.index, zk.get("/a").data) == (1, b"1")


def test_a_callback_may_use_the_client(zk: ZooKeeper) -> None:
    zk.create("/a")
    seen: SimpleQueue[tuple[WatchEvent, bytes]] = SimpleQueue()
    zk.get("/a", watch=lambda event: seen.put((event, zk.get("/a").data)))
    zxid = zk.set("/a", "1").mzxid
    assert seen.get(timeout=10) == (WatchEvent(EventType.DATA_CHANGED, "/a", zxid), b"1")


def test_a_watch_is_taken_back(zk: ZooKeeper) -> None:
    seen: SimpleQueue[str] = SimpleQueue()
    zk.get("/", watch=lambda event: seen.put(event.type.name))
    zk.remove_all_watches("/")
    assert (seen.get(timeout=5), zk.statistics().watches) == ("DATA_WATCH_REMOVED", 0)
    with pytest.raises(NoWatcherError):
        zk.remove_all_watches("/")


def test_a_stream_blocks_until_there_is_an_event(zk: ZooKeeper) -> None:
    with zk.watch("/", recursive=True) as stream:
        zk.create("/a")
        zk.create("/a/b")
        assert [(event.type, event.path) for event in (next(stream), next(stream))] == [
            (EventType.CREATED, "/a"),
            (EventType.CREATED, "/a/b"),
        ]
    assert list(stream) == []


def test_a_lock_excludes_and_its_tokens_grow(open_client: Callable[[], ZooKeeper]) -> None:
    tokens: list[int] = []
    inside = threading.Semaphore(1)

    def work() -> None:
        client = open_client()
        for _ in range(5):
            with client.Lock("/lock") as held:
                assert inside.acquire(blocking=False)
                tokens.append(held.token)
                held.check()
                inside.release()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 15
    assert tokens == sorted(tokens)


def test_a_lock_that_is_not_granted_in_time_raises(zk: ZooKeeper, open_client: Callable[[], ZooKeeper]) -> None:
    with zk.Lock("/lock", identifier="the first"):
        late = open_client().Lock("/lock", timeout=0.5)
        with pytest.raises(OperationTimeoutError), late:
            raise AssertionError("it was not granted")
        assert late.contenders() == ("the first",)


def test_a_lost_lock_is_told_and_raised(zk: ZooKeeper, open_client: Callable[[], ZooKeeper]) -> None:
    told = threading.Event()

    def lose() -> None:
        with zk.Lock("/lock") as held:
            held.on_lost(told.set)
            open_client().delete(held.path)
            assert held.lost.wait(10)
            with pytest.raises(LockLost):
                held.check()

    with pytest.raises(LockLost):
        lose()
    assert told.wait(10)


def test_the_election_names_its_leader(zk: ZooKeeper) -> None:
    leaders = zk.Election("/leader").leaders()
    assert next(leaders) is None
    with zk.Election("/leader", "host-1"):
        assert next(leaders) == "host-1"
    assert next(leaders) is None


def test_a_closed_client_says_so(zk: ZooKeeper) -> None:
    zk.create("/a", ephemeral=True)
    zk.close()
    with pytest.raises(ClientClosedError):
        zk.get("/a")
    assert zk.state is State.CLOSED


def test_a_forked_child_has_a_session_of_its_own_and_holds_nothing(zk: ZooKeeper) -> None:
    zk.create("/a", ephemeral=True)
    lock = zk.Lock("/lock")
    held = lock.acquire()
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        said = "it failed"
        try:
            try:
                held.check()
            except LockLost:
                said = f"{zk.exists('/a') is not None} {zk.session_id}"
            zk.close()
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    exists, session_id = os.read(reader, 100).decode().split()
    assert exists == "True"
    assert int(session_id) != zk.session_id
    held.check()
    assert zk.exists("/a") is not None
    lock.release()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_its_first_call_may_come_from_a_coroutine_of_either_event_loop(zk: ZooKeeper, backend: str) -> None:
    async def call() -> None:
        zk.create("/a")

    anyio.run(call, backend=backend)
    assert zk.get_children("/") == ("a",)


def test_a_program_that_closes_nothing_ends_at_once_and_leaves_no_ephemeral_node(
    server: ServerProcess, corner: str, zk: ZooKeeper
) -> None:
    script = f"""
from zkclient import ZooKeeper
zk = ZooKeeper("{server.address}{corner}", session_timeout_ms=40_000)
zk.create("/ephemeral", ephemeral=True)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=20)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert zk.exists("/ephemeral", read="linearizable") is None
