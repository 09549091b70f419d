"""Functions that watch a node's data or children: told at once, told of the last value always, in order."""

import logging
import threading
from collections.abc import Callable, Iterator

import anyio
import pytest
from zkclient import AsyncZooKeeper, EventType, Stat, WatchEvent, ZooKeeper
from zkclient.testing import Link

from zk.server.testing import ServerProcess

Connect = Callable[..., AsyncZooKeeper]


class Told:
    """What a function was told; `until` waits for a value."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._changed = anyio.Event()

    def add(self, value: object) -> None:
        self.values.append(value)
        self._changed.set()

    async def until(self, value: object) -> None:
        with anyio.fail_after(10):
            while not self.values or self.values[-1] != value:
                self._changed = anyio.Event()
                await self._changed.wait()


@pytest.mark.anyio
async def test_data_is_told_at_once_and_after_each_change(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        told = Told()

        @zk.DataWatch("/a")
        def watch(data: bytes | None, stat: Stat | None) -> None:
            told.add((data, stat))

        await told.until((None, None))
        await zk.create("/a", "1")
        await told.until(tuple(await zk.get("/a")))
        await zk.set("/a", "2")
        await told.until(tuple(await zk.get("/a")))
        await zk.delete("/a")
        await told.until((None, None))
        assert len(told.values) == 4


@pytest.mark.anyio
async def test_a_third_argument_is_the_event(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await zk.create("/a", "1")
        told = Told()

        async def watch(data: bytes | None, stat: Stat | None, event: WatchEvent | None) -> None:
            await anyio.lowlevel.checkpoint()
            told.add((data, event))

        zk.DataWatch("/a", watch)
        await told.until((b"1", None))
        stat = await zk.set("/a", "2")
        await told.until((b"2", WatchEvent(EventType.DATA_CHANGED, "/a", stat.mzxid)))


@pytest.mark.anyio
async def test_a_slow_function_is_told_the_last_value_and_never_an_older_one_after_it(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await zk.create("/a", "0")
        told = Told()
        go_on = anyio.Event()

        @zk.DataWatch("/a")
        async def watch(data: bytes | None, _: Stat | None) -> None:
            told.add(int(data or b"-1"))
            await go_on.wait()

        await told.until(0)
        for n in range(1, 51):
            await zk.set("/a", str(n))
        go_on.set()
        await told.until(50)
        values = [value for value in told.values if isinstance(value, int)]
        assert values == sorted(set(values))


@pytest.mark.anyio
async def test_returning_false_ends_the_watch(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await zk.create("/a", "0")
        told, other = Told(), Told()

        @zk.DataWatch("/a")
        def watch(data: bytes | None, _: Stat | None) -> bool:
            told.add(data)
            return data != b"1"

        zk.DataWatch("/a", lambda data, _: other.add(data))
        await told.until(b"0")
        for n in range(1, 4):
            await zk.set("/a", str(n))
            await other.until(str(n).encode())
        assert told.values == [b"0", b"1"]


@pytest.mark.anyio
async def test_what_a_function_raises_is_logged_and_the_watch_goes_on(
    connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        told = Told()

        @zk.DataWatch("/a")
        def watch(data: bytes | None, _: Stat | None) -> None:
            told.add(data)
            if data is None:
                raise ValueError("no data")

        await told.until(None)
        await zk.create("/a", "1")
        await told.until(b"1")
    assert [record.levelno for record in caplog.records if "the watch of /a" in record.message] == [logging.ERROR]


@pytest.mark.anyio
async def test_children_are_told_sorted_and_a_missing_node_has_none(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        told = Told()
        zk.ChildrenWatch("/p", told.add)
        await told.until(())
        await zk.create("/p")
        await zk.create("/p/b")
        await told.until(("b",))
        await zk.create("/p/a")
        await told.until(("a", "b"))
        await zk.set("/p", "data")
        await zk.set("/p/a", "data")
        await zk.delete("/p", recursive=True)
        await told.until(())
        assert told.values[-1] == ()


@pytest.mark.anyio
async def test_changes_behind_a_broken_connection_are_told(server: ServerProcess, connect: Connect) -> None:
    async with (
        connect() as zk,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=20_000) as watcher,
    ):
        await zk.ensure_path("/")
        data, children = Told(), Told()
        watcher.DataWatch("/a", lambda value, _: data.add(value))
        watcher.ChildrenWatch("/a", children.add)
        await data.until(None)
        await children.until(())
        link.refuse()
        await zk.create("/a", "1")
        await zk.create("/a/b")
        link.allow()
        await data.until(b"1")
        await children.until(("b",))


@pytest.mark.anyio
async def test_changes_are_told_over_a_lost_session(server: ServerProcess, connect: Connect) -> None:
    async with (
        connect() as zk,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=500) as watcher,
    ):
        await zk.ensure_path("/")
        await zk.create("/a", "1")
        told = Told()
        watcher.DataWatch("/a", lambda value, _: told.add(value))
        await told.until(b"1")
        old = watcher.session_id
        mark = await watcher.create("/mark", ephemeral=True)
        gone = anyio.Event()
        await zk.exists(mark, watch=lambda _: gone.set())
        link.refuse()
        with anyio.fail_after(10):
            await gone.wait()
        await zk.set("/a", "2")
        link.allow()
        await told.until(b"2")
        assert watcher.session_id != old


@pytest.mark.anyio
async def test_changes_are_told_over_a_killed_and_restarted_server(own_server: ServerProcess) -> None:
    async with AsyncZooKeeper(str(own_server.address), session_timeout_ms=20_000) as zk:
        told = Told()
        zk.DataWatch("/a", lambda value, _: told.add(value))
        await told.until(None)
        await zk.create("/a", "1")
        own_server.kill()
        own_server.start()
        await zk.set("/a", "2")
        await told.until(b"2")


# ---- plain threads


@pytest.fixture
def blocking(server: ServerProcess, corner: str) -> Iterator[ZooKeeper]:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        yield zk


class Blocked:
    """What a function was told, in which thread; `until` waits for a value."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self.threads: list[str] = []
        self._changed = threading.Condition()

    def add(self, value: object) -> None:
        with self._changed:
            self.values.append(value)
            self.threads.append(threading.current_thread().name)
            self._changed.notify_all()

    def until(self, value: object) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.values[-1:] == [value], timeout=10)


def test_the_decorating_thread_makes_the_first_call(blocking: ZooKeeper) -> None:
    told = Blocked()

    @blocking.DataWatch("/a")
    def watch(data: bytes | None, _: Stat | None) -> None:
        told.add(data)

    assert told.values == [None]
    blocking.create("/a", "1")
    told.until(b"1")
    assert told.threads == [threading.current_thread().name, "zkclient callbacks"]


def test_a_function_may_use_the_client(blocking: ZooKeeper) -> None:
    told = Blocked()

    @blocking.ChildrenWatch("/p")
    def watch(names: tuple[str, ...]) -> None:
        told.add([str(blocking.get(f"/p/{name}")) for name in names])

    blocking.create("/p")
    blocking.create("/p/a", "1")
    told.until(["1"])
    blocking.create("/p/b", "2")
    told.until(["1", "2"])


def test_in_threads_returning_false_ends_the_watch(blocking: ZooKeeper) -> None:
    blocking.create("/a", "0")
    told, first, other = Blocked(), Blocked(), Blocked()

    def watch(data: bytes | None, _: Stat | None) -> bool:
        told.add(data)
        return data != b"1"

    def only_once(data: bytes | None, _: Stat | None) -> bool:
        first.add(data)
        return False

    blocking.DataWatch("/a", watch)
    blocking.DataWatch("/a", only_once)
    blocking.DataWatch("/a", lambda data, _: other.add(data))
    for n in range(1, 4):
        blocking.set("/a", str(n))
        other.until(str(n).encode())
    assert (told.values, first.values) == ([b"0", b"1"], [b"0"])
    assert blocking.statistics().watches == 1


def test_what_the_first_call_raises_comes_out(blocking: ZooKeeper) -> None:
    def watch(_: bytes | None, __: Stat | None) -> None:
        raise ValueError("not so")

    with pytest.raises(ValueError, match="not so"):
        blocking.DataWatch("/a", watch)
    assert blocking.statistics().watches == 0
