"""Queue and PriorityQueue: every item to one consumer, in order, whatever happens to connections and consumers."""

from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from random import Random

import anyio
import pytest
from zkclient import AsyncZooKeeper, OperationTimeoutError, PriorityQueue, Queue
from zkclient.recipes.queue import AMONG_MAX, Choice
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/queues/one"
ITEMS = 200


async def line(zk: AsyncZooKeeper) -> int:
    """How many stand in the line."""
    await zk.sync()
    stat = await zk.exists(f"{PATH}/line")
    return 0 if stat is None else stat.num_children


async def until_in_line(zk: AsyncZooKeeper, count: int) -> None:
    with anyio.fail_after(10):
        while await line(zk) != count:
            pass


# ---- one consumer


async def test_items_come_out_as_they_went_in_and_in_their_order(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = Queue(zk, PATH)
        for value in ("a", b"b", "ü"):
            await queue.put(value)
        assert await queue.size() == 3
        assert [await queue.get() for _ in range(3)] == [b"a", b"b", "ü".encode()]
        assert (await queue.size(), await queue.poll()) == (0, None)


async def test_poll_takes_what_anybody_put_before(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        for n in range(5):
            await Queue(zk, PATH).put(str(n))
            assert await Queue(other, PATH).poll() == str(n).encode()


async def test_the_lowest_priority_comes_first_and_then_the_oldest(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = PriorityQueue(zk, PATH)
        for value, priority in (("c", 100), ("a", 0), ("d", 100), ("e", 999), ("b", 7)):
            await queue.put(value, priority)
        assert [await queue.get() for _ in range(5)] == [b"a", b"b", b"c", b"d", b"e"]
        with pytest.raises(ValueError, match="priority"):
            await queue.put("x", 1000)


@pytest.mark.parametrize("prefix", ["item-", "item-005-"])
async def test_numbers_that_need_more_digits_come_behind_those_that_don_t(connect: Connect, prefix: str) -> None:
    async with connect() as zk:
        await zk.ensure_path(f"{PATH}/items")
        for number in (10_000_000_001, 9_999_999_998, 10_000_000_000, 9_999_999_999):
            await zk.create(f"{PATH}/items/{prefix}{number:010d}", str(number))
        queue = Queue(zk, PATH)
        taken = [int(await queue.get()) for _ in range(4)]
        assert taken == [9_999_999_998, 9_999_999_999, 10_000_000_000, 10_000_000_001]


async def test_a_long_queue_is_not_listed(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = Queue(zk, PATH)
        async with anyio.create_task_group() as tasks:
            for n in range(500):
                tasks.start_soon(queue.put, f"{n:04d}")
        before = zk.statistics()
        for _ in range(10):
            await queue.get()
        after = zk.statistics()
        assert (after.calls - before.calls) == 20
        assert (after.bytes_received - before.bytes_received) < 5_000


# ---- many consumers


async def test_consumers_get_out_of_each_others_way(connect: Connect) -> None:
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect()) for _ in range(8)]
        await clients[0].ensure_path("/")
        async with anyio.create_task_group() as tasks:
            for n in range(ITEMS):
                tasks.start_soon(Queue(clients[0], PATH).put, str(n))
        before = sum(zk.statistics().calls for zk in clients)
        got: list[int] = []

        async def drain(zk: AsyncZooKeeper) -> None:
            queue = Queue(zk, PATH)
            while (item := await queue.poll()) is not None:
                got.append(int(item))

        async with anyio.create_task_group() as tasks:
            for zk in clients:
                tasks.start_soon(drain, zk)
        assert sorted(got) == list(range(ITEMS))
        assert sum(zk.statistics().calls for zk in clients) - before < 5 * ITEMS  # 2 for each are needed


@pytest.mark.parametrize("seed", range(3))
async def test_who_chooses_among_several_never_takes_the_less_urgent(connect: Connect, seed: int) -> None:
    async with connect(chance=Random(seed)) as zk:
        await zk.ensure_path("/")
        queue = PriorityQueue(zk, PATH)
        for n in range(20):
            await queue.put(str(n), 2 if n < 10 else 1)
        for _ in range(4):
            queue._choice.missed()
        got = [int(await queue.get()) for _ in range(20)]
        assert (sorted(got[:10]), sorted(got[10:])) == (list(range(10, 20)), list(range(10)))
        assert got[:10] != sorted(got[:10])
        assert queue._choice.among == 1


def test_whoever_was_slower_chooses_among_more_and_then_fewer() -> None:
    choice = Choice(Random(0))
    assert [choice.one_of("abc") for _ in range(9)] == ["a"] * 9
    wide = []
    for _ in range(6):
        choice.missed()
        wide.append(choice.among)
    assert wide == [2, 4, 8, AMONG_MAX, AMONG_MAX, AMONG_MAX]
    assert {choice.one_of("abc") for _ in range(99)} == set("abc")
    for _ in range(20):
        choice.took()
    assert choice.among == 1


# ---- waiting


async def test_a_consumer_waits_for_an_item_and_leaves_nothing_behind(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        got: list[bytes] = []

        async def consume() -> None:
            async for value in Queue(zk, PATH):
                got.append(value)
                if value == b"c":
                    return

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            for value in ("a", "b", "c"):
                await until_in_line(other, 1)
                await Queue(other, PATH).put(value)
        assert got == [b"a", b"b", b"c"]
        assert (await line(zk), zk.statistics().watches) == (0, 0)


async def test_a_get_in_vain_raises_in_time_and_leaves_nothing_behind(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = Queue(zk, PATH)
        with pytest.raises(OperationTimeoutError, match="no item came in time"):
            await queue.get(timeout=0.5)
        assert (await line(zk), zk.statistics().watches) == (0, 0)


async def test_an_item_wakes_one_of_those_who_wait(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        got: list[int] = []

        async def consume(number: int) -> None:
            await Queue(zk, PATH).get()
            got.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(consume, number)
                await until_in_line(other, number + 1)
            await zk.sync()
            before = zk.statistics().calls
            await Queue(other, PATH).put("x")
            await until_in_line(other, 9)
            await zk.sync()
            calls = zk.statistics().calls - before
            tasks.cancel_scope.cancel()
        assert got == [0]
        assert calls < 15


async def test_consumers_go_on_when_the_whole_path_vanishes(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(Queue(zk, PATH).get)
            await until_in_line(other, 2)
            await other.delete("/queues", recursive=True)
            await Queue(other, PATH).put("a")
            await Queue(other, PATH).put("b")


async def test_a_consumer_whose_session_ends_waits_on_in_the_next_one(server: ServerProcess, connect: Connect) -> None:
    async with (
        connect() as other,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=400) as zk,
    ):
        await other.ensure_path("/")
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(Queue(zk, PATH).get)
            await until_in_line(other, 2)
            link.refuse()
            await until_in_line(other, 0)
            await Queue(other, PATH).put("a")
            await Queue(other, PATH).put("b")
            link.allow()
        assert await Queue(other, PATH).size() == 0


# ---- nothing is lost, nothing comes twice


async def test_puts_and_gets_over_broken_connections_are_done_once(server: ServerProcess, connect: Connect) -> None:
    async with Link(str(server.address)) as link, connect(link.address) as zk:
        await zk.ensure_path(f"{PATH}/items")
        queue = Queue(zk, PATH)
        got: list[bytes] = []

        async def get() -> None:
            got.append(await queue.get())

        for n in range(2):
            for operation in (lambda: queue.put(str(n)), get):  # noqa: B023 - called in the same round
                async with anyio.create_task_group() as tasks:
                    link.swallow_replies()
                    tasks.start_soon(operation)
                    await link.swallowed.wait()
                    link.allow()
                    link.cut()
        assert got == [b"0", b"1"]
        assert await queue.size() == 0


async def test_a_get_cancelled_at_any_moment_takes_nothing(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = Queue(zk, PATH)
        for steps in range(40):
            for value in ("a", "b"):
                await queue.put(value)
            got: list[bytes] = []

            async def get() -> None:
                got.append(await queue.get())  # noqa: B023 - ends within the round

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(get)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            with anyio.fail_after(10):
                while await queue.size() + len(got) != 2:
                    pass
            assert [*got, *[await queue.poll() for _ in range(3 - len(got))]] == [b"a", b"b", None]
        assert await line(zk) == 0


async def test_a_get_cancelled_before_it_heard_of_its_item_puts_it_back_in_its_place(
    server: ServerProcess, connect: Connect
) -> None:
    async with connect() as other, Link(str(server.address), delay_ms=50) as link, connect(link.address) as zk:
        await other.ensure_path("/")
        for value in ("a", "b"):
            await Queue(other, PATH).put(value)
        with other.watch(f"{PATH}/items") as changes:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Queue(zk, PATH).get)
                await anext(changes)
                assert await Queue(other, PATH).size() == 1
                tasks.cancel_scope.cancel()
            await anext(changes)
        assert [await Queue(other, PATH).poll() for _ in range(3)] == [b"a", b"b", None]


async def test_nothing_is_lost_and_nothing_comes_twice(server: ServerProcess, connect: Connect) -> None:
    """Producers and consumers that are cancelled at random, on connections that are cut at random."""
    random = Random(7)
    got: Counter[bytes] = Counter()
    wanted: Counter[bytes] = Counter()
    async with (
        connect() as zk,
        Link(str(server.address), delay_ms=1, jitter_ms=2) as link,
        connect(link.address, session_timeout_ms=20_000) as one,
        connect(link.address, session_timeout_ms=20_000) as two,
    ):
        await zk.ensure_path("/")

        async def produce(client: AsyncZooKeeper, name: str) -> None:
            for n in range(15):
                await Queue(client, PATH).put(f"{name} {n}")
                wanted[f"{name} {n}".encode()] += 1

        async def consume(client: AsyncZooKeeper) -> None:
            while True:
                with anyio.move_on_after(random.uniform(0, 0.03)):
                    value = await Queue(client, PATH).get()
                    got[value] += 1

        async def cut() -> None:
            while True:
                await anyio.sleep(0.4)
                link.cut()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            for client in (one, two):
                for _ in range(3):
                    tasks.start_soon(consume, client)
            async with anyio.create_task_group() as producers:
                for name, client in (("a", one), ("b", two), ("c", zk)):
                    producers.start_soon(produce, client, name)
            with anyio.fail_after(20):
                while got.total() < 45:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        for client in (one, two):
            await client.sync()
        assert await Queue(zk, PATH).poll() is None
    assert got == wanted
