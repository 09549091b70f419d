"""Caches: one state of a subtree after the other, none missed at last; over faults of all kinds."""

import os
import random
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zkclient import (
    AsyncZooKeeper,
    CacheChange,
    ClientClosedError,
    NodeData,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OperationTimeoutError,
    TooManyNodesError,
    TreeCache,
    ZKError,
    ZooKeeper,
)
from zkclient.picture import ROUNDS_IN_VAIN_MAX
from zkclient.testing import Link

from zk.server.testing import ServerProcess

Connect = Callable[..., AsyncZooKeeper]
TRANSIENT = (NoNodeError, NodeExistsError, NotEmptyError)


def seen(nodes: dict[str, NodeData]) -> dict[str, tuple[bytes, int, int]]:
    """What a cache answers for: a stat is of the time when the data was read."""
    return {path: (node.data, node.stat.czxid, node.stat.mzxid) for path, node in nodes.items()}


async def tree(zk: AsyncZooKeeper, root: str) -> dict[str, NodeData]:
    if await zk.exists(root) is None:
        return {}
    return {path: await zk.get(path) async for path in zk.walk(root)}


async def equals(cache: TreeCache, zk: AsyncZooKeeper) -> None:
    """Once it shows all that `zk` has seen, it shows what is there."""
    await cache.wait_until(zk.last_zxid)
    assert cache.exact
    assert seen(dict(cache)) == seen(await tree(zk, cache.path))


@asynccontextmanager
async def linked(
    server: ServerProcess, connect: Connect, *, session_timeout_ms: int = 20_000
) -> AsyncIterator[tuple[AsyncZooKeeper, AsyncZooKeeper, Link]]:
    """A client that writes; one behind a link, and the link."""
    async with (
        connect() as writer,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=session_timeout_ms) as reader,
    ):
        await writer.ensure_path("/")
        yield writer, reader, link


async def grow(zk: AsyncZooKeeper) -> None:
    for path in ("/t", "/t/a", "/t/a/x", "/t/a/x/deep", "/t/b"):
        await zk.create(path, path)


# ---- what is shown


@pytest.mark.anyio
async def test_a_tree_is_there_at_once_and_follows_every_change(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await grow(zk)
        await zk.create("/other")
        async with zk.TreeCache("/t") as cache:
            assert seen(dict(cache)) == seen(await tree(zk, "/t"))
            assert len(cache) == 5
            assert cache.children("/t") == ("a", "b")
            await zk.set("/t/a", "new")
            await zk.create("/t/b/y")
            await zk.delete("/t/a/x/deep")
            await zk.set("/other", "not of its business")
            await equals(cache, zk)
            await zk.delete("/t", recursive=True)
            await equals(cache, zk)
            assert dict(cache) == {}
            await zk.create("/t", "again")
            await equals(cache, zk)
        with pytest.raises(ClientClosedError):
            cache["/t"]


@pytest.mark.anyio
async def test_the_whole_tree_may_be_cached(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.TreeCache("/") as cache:
            await grow(zk)
            await equals(cache, zk)
            assert cache.children("/") == ("t",)


@pytest.mark.anyio
async def test_children_are_found_by_name_and_grandchildren_are_not_there(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.ChildrenCache("/t") as cache:
            assert dict(cache) == {}
            await grow(zk)
            stat = await zk.set("/t/b", "new")
            await cache.wait_until(stat.mzxid)
            assert {name: str(node) for name, node in cache.items()} == {"a": "/t/a", "b": "new"}
            assert (len(cache), "" in cache, "a/x" in cache) == (2, False, False)


@pytest.mark.anyio
async def test_a_node_is_there_or_none(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.NodeCache("/t") as cache:
            assert cache.node is None
            await zk.create("/t", "1")
            await zk.create("/t/child")
            stat = await zk.set("/t", "2")
            await cache.wait_until(stat.mzxid)
            assert str(cache.node) == "2"
            await zk.delete("/t", recursive=True)
            await cache.wait_until(zk.last_zxid)
            assert cache.node is None


@pytest.mark.anyio
async def test_waiting_for_what_happened_elsewhere_comes_to_an_end(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with zk.TreeCache("/t") as cache:
            await other.create("/elsewhere")
            await cache.wait_until(other.last_zxid)
            assert cache.zxid >= other.last_zxid
            with pytest.raises(OperationTimeoutError):
                await cache.wait_until(other.last_zxid + 1_000_000, timeout=0.05)
            await other.create("/t")
            await equals(cache, other)


@pytest.mark.anyio
async def test_many_nodes_are_read_in_pages_and_large_ones_in_smaller_ones(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await zk.create("/t")
        async with anyio.create_task_group() as tasks:
            for number in range(600):
                tasks.start_soon(zk.create, f"/t/{number}", b"x" * (10_000 if number else 900_000))
        calls = zk.statistics().calls
        async with zk.TreeCache("/t") as cache:
            assert len(cache) == 601
            assert zk.statistics().calls - calls < 60
            await equals(cache, zk)


@pytest.mark.anyio
async def test_more_nodes_than_allowed_end_it(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await grow(zk)
        with pytest.raises(TooManyNodesError):
            async with zk.TreeCache("/t", nodes_max=4):
                pass
        async with zk.TreeCache("/t", nodes_max=5) as cache:
            changes = cache.changes()
            await zk.create("/t/one-more")
            with pytest.raises(TooManyNodesError):
                await cache.wait_until(zk.last_zxid)
            with pytest.raises(TooManyNodesError):
                cache["/t"]
            with pytest.raises(TooManyNodesError):
                async for _ in changes:
                    pass
        assert zk.statistics().watches == 0


@pytest.mark.anyio
async def test_a_wrong_path_and_a_missing_server_are_told(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        with pytest.raises(ZKError):
            async with zk.TreeCache("no/path"):
                pass
        with pytest.raises(ZKError):
            async with zk.TreeCache("/no//path"):
                pass
    async with AsyncZooKeeper("127.0.0.1:1", timeout=0.05) as zk:
        with pytest.raises(OperationTimeoutError):
            async with zk.TreeCache("/t"):
                pass


# ---- changes


@pytest.mark.anyio
async def test_changes_lead_from_each_state_to_the_next(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await grow(zk)
        async with zk.TreeCache("/t") as cache:
            copies = [dict(cache), dict(cache)]

            def follow(copy: dict[str, NodeData], change: CacheChange) -> None:
                assert copy.pop(change.path, None) == change.old
                if change.new is not None:
                    copy[change.path] = change.new

            cache.add_listener(lambda change: follow(copies[0], change))
            changes = cache.changes()
            for number in range(100):
                await _change_something(zk, random.Random(number))
            await zk.create("/t/last")
            await equals(cache, zk)
            async for change in changes:
                follow(copies[1], change)
                if change.path == "/t/last":
                    break
            shown = seen(dict(cache))
            assert [seen(copy) for copy in copies] == [shown, shown]


@pytest.mark.anyio
async def test_the_changes_of_a_step_keep_parents_around_their_children(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.TreeCache("/t") as cache:
            told: list[tuple[str, str]] = []
            cache.add_listener(lambda change: told.append((change.type.name, change.path)))
            async with zk.transaction() as txn:
                txn.create("/t").create("/t/a").create("/t/a/x")
            await cache.wait_until(zk.last_zxid)
            async with zk.transaction() as txn:
                txn.delete("/t/a/x").delete("/t/a").set("/t", "1")
            await cache.wait_until(zk.last_zxid)
            created = [("CREATED", "/t"), ("CREATED", "/t/a"), ("CREATED", "/t/a/x")]
            assert told == [*created, ("DELETED", "/t/a/x"), ("DELETED", "/t/a"), ("DATA_CHANGED", "/t")]


@pytest.mark.anyio
async def test_a_slow_consumer_gets_what_matters(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await zk.create("/t", "0")
        async with zk.TreeCache("/t") as cache:
            changes = cache.changes()
            for number in range(1, 20):
                stat = await zk.set("/t", str(number))
                await cache.wait_until(stat.mzxid)
                await zk.create("/t/short")
                await cache.wait_until(zk.last_zxid)
                await zk.delete("/t/short")
                await cache.wait_until(zk.last_zxid)
            change = await anext(changes)
            assert (change.path, str(change.old), str(change.new)) == ("/t", "0", "19")
            with anyio.move_on_after(0.05) as nothing_else:
                await anext(changes)
            assert nothing_else.cancelled_caught
        assert [change async for change in changes] == []


@asynccontextmanager
async def one_node(connect: Connect) -> AsyncIterator[tuple[AsyncZooKeeper, TreeCache]]:
    """A client that writes, and another one's cache of /t, in which there is /t/0."""
    async with connect() as writer, connect() as reader:
        await writer.ensure_path("/")
        await writer.create("/t")
        await writer.create("/t/0")
        async with reader.TreeCache("/t") as cache:
            yield writer, cache


async def move(writer: AsyncZooKeeper, number: int) -> None:
    async with writer.transaction() as txn:
        txn.delete(f"/t/{number}").create(f"/t/{number + 1}", str(number))


@pytest.mark.anyio
async def test_every_state_is_one_of_the_tree(connect: Connect) -> None:
    """A transaction moves a node: it is never seen twice, nor not at all."""
    async with one_node(connect) as (writer, cache):
        states: list[int] = []
        cache.add_listener(lambda _: states.append(len(cache)))
        for number in range(150):
            if number % (ROUNDS_IN_VAIN_MAX // 2) == 0:  # by then each reading may have come too late
                await equals(cache, writer)
            await move(writer, number)
        await equals(cache, writer)
        assert set(states) == {2}


@pytest.mark.anyio
async def test_a_state_that_is_none_of_the_tree_is_not_called_exact(connect: Connect) -> None:
    """A quick writer lets every reading come too late."""
    async with one_node(connect) as (writer, cache):
        states: list[tuple[bool, int]] = []
        cache.add_listener(lambda _: states.append((cache.exact, len(cache))))
        for number in range(200):
            await move(writer, number)
        await equals(cache, writer)
        assert {number for exact, number in states if exact} == {2}


# ---- faults


async def _change_something(zk: AsyncZooKeeper, chance: random.Random) -> None:
    path = "/t" + "".join(f"/{chance.choice('ab')}" for _ in range(chance.randrange(4)))
    try:
        match chance.randrange(3):
            case 0:
                await zk.create(path, str(chance.random()))
            case 1:
                await zk.set(path, str(chance.random()))
            case 2:
                await zk.delete(path)
    except TRANSIENT:
        pass


@pytest.mark.anyio
async def test_nothing_is_missed_behind_connections_that_break(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (writer, reader, link), reader.TreeCache("/t") as cache:
        chance = random.Random(1)
        for _ in range(6):
            for _ in range(40):
                await _change_something(writer, chance)
            link.cut()
            for _ in range(10):
                await _change_something(writer, chance)
            await equals(cache, writer)


@pytest.mark.anyio
async def test_nothing_is_missed_while_replies_are_swallowed(server: ServerProcess, connect: Connect) -> None:
    async with (
        linked(server, connect, session_timeout_ms=1_500) as (writer, reader, link),
        reader.TreeCache("/t") as cache,
    ):
        await writer.create("/t")
        await equals(cache, writer)
        link.swallow_replies()
        await writer.create("/t/a")
        await link.swallowed.wait()
        link.allow()
        link.cut()
        await writer.create("/t/b")
        await equals(cache, writer)


@pytest.mark.anyio
async def test_it_goes_on_in_another_session(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=500) as (writer, reader, link):
        await grow(writer)
        mark = await reader.create("/mark", ephemeral=True)
        old = reader.session_id
        gone = anyio.Event()
        async with reader.TreeCache("/t") as cache:
            await writer.exists(mark, watch=lambda _: gone.set())
            link.refuse()
            await writer.set("/t/a", "while it was away")
            await writer.delete("/t/b")
            with anyio.fail_after(10):
                await gone.wait()
            assert set(cache) == {"/t", "/t/a", "/t/a/x", "/t/a/x/deep", "/t/b"}
            link.allow()
            await equals(cache, writer)
            assert reader.session_id != old


@pytest.mark.anyio
async def test_it_reads_anew_what_a_restarted_server_does_not_remember(own_server: ServerProcess) -> None:
    address = str(own_server.address)
    async with AsyncZooKeeper(address, session_timeout_ms=20_000) as zk:
        await grow(zk)
        async with (
            Link(address) as link,
            AsyncZooKeeper(link.address, session_timeout_ms=20_000) as reader,
            reader.TreeCache("/t") as cache,
        ):
            changes = cache.changes()
            link.refuse()
            await zk.set("/t/a", "new")
            await zk.delete("/t/b")
            await zk.create("/t/c")
            own_server.kill()
            own_server.start()
            link.allow()
            await equals(cache, zk)
            told = [await anext(changes) for _ in range(3)]
            assert [(change.type.name, change.path) for change in told] == [
                ("DELETED", "/t/b"),
                ("DATA_CHANGED", "/t/a"),
                ("CREATED", "/t/c"),
            ]


@pytest.mark.anyio
async def test_a_burst_of_changes_is_followed_to_its_end(connect: Connect) -> None:
    async with connect() as writer, connect() as reader:
        await writer.ensure_path("/")
        await writer.create("/t")
        async with reader.TreeCache("/t") as cache:

            async def burst(name: str) -> None:
                for number in range(100):
                    await writer.create(f"/t/{name}", str(number))
                    await writer.set(f"/t/{name}", "then")
                    if number < 99:
                        await writer.delete(f"/t/{name}")

            async with anyio.create_task_group() as tasks:
                for name in "abcdefgh":
                    tasks.start_soon(burst, name)
            await equals(cache, writer)


paths = st.sampled_from(("/t", "/t/a", "/t/a/x", "/t/b", "/t/b/y"))
operations = st.tuples(st.sampled_from(("create", "set", "delete", "cut", "wait")), paths)


def test_a_tree_cache_equals_the_tree_after_any_operations(server: ServerProcess) -> None:
    corners = iter(range(1_000_000))

    async def follow(steps: list[tuple[str, str]]) -> None:
        corner = f"/property-{os.getpid()}-{next(corners)}"
        async with (
            AsyncZooKeeper(f"{server.address}{corner}") as zk,
            Link(str(server.address)) as link,
            AsyncZooKeeper(f"{link.address}{corner}") as reader,
        ):
            await zk.ensure_path("/")
            async with reader.TreeCache("/t") as cache:
                for verb, path in steps:
                    try:
                        if verb == "create":
                            await zk.create(path, "new")
                        elif verb == "set":
                            await zk.set(path, str(zk.last_zxid))
                        elif verb == "delete":
                            await zk.delete(path)
                        elif verb == "cut":
                            link.cut()
                        else:
                            await equals(cache, zk)
                    except TRANSIENT:
                        pass
                await equals(cache, zk)

    @settings(max_examples=25, deadline=None)
    @given(st.lists(operations, max_size=30))
    def property_holds(steps: list[tuple[str, str]]) -> None:
        anyio.run(follow, steps)

    property_holds()


# ---- plain threads


@pytest.fixture
def blocking(server: ServerProcess, corner: str) -> Iterator[ZooKeeper]:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        yield zk


def test_threads_have_the_same_caches(blocking: ZooKeeper) -> None:
    for path in ("/t", "/t/a", "/t/a/x"):
        blocking.create(path, path)
    with (
        blocking.TreeCache("/t") as tree,
        blocking.ChildrenCache("/t") as children,
        blocking.NodeCache("/t") as node,
    ):
        stat = blocking.set("/t", "new")
        for cache in (tree, children, node):
            cache.wait_until(stat.mzxid)
            assert (cache.path, cache.exact, cache.zxid >= stat.mzxid) == ("/t", True, True)
        assert {path: str(data) for path, data in tree.items()} == {"/t": "new", "/t/a": "/t/a", "/t/a/x": "/t/a/x"}
        assert (sorted(tree), len(tree), tree.children("/t")) == (["/t", "/t/a", "/t/a/x"], 3, ("a",))
        assert [str(data) for data in tree.values()] == [str(tree[path]) for path in tree]
        assert {name: str(data) for name, data in children.snapshot().items()} == {"a": "/t/a"}
        assert str(node.node) == "new"
    with pytest.raises(ClientClosedError):
        tree["/t"]


def test_threads_are_told_of_changes(blocking: ZooKeeper) -> None:
    with blocking.TreeCache("/t") as cache:
        told: list[str] = []
        both = threading.Event()

        def listen(change: CacheChange) -> None:
            told.append(f"{change.path} {blocking.exists(change.path) is not None}")
            if len(told) == 2:
                both.set()

        cache.add_listener(listen)
        changes = cache.changes()
        blocking.create("/t")
        assert next(changes).path == "/t"
        blocking.create("/t/a")
        assert next(changes).path == "/t/a"
        assert both.wait(10)
        cache.remove_listener(listen)
        blocking.create("/t/b")
        assert next(changes).path == "/t/b"
    assert list(changes) == []
    assert told == ["/t True", "/t/a True"]
