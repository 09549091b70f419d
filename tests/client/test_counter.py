"""Counter: every addition counts once, whatever happens to its answer."""

from collections.abc import Callable

import anyio
import pytest
from zkclient import AsyncZooKeeper, Counter
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/counters/one"


async def test_it_begins_at_its_default_and_tells_what_it_was(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        counter = Counter(zk, PATH, 5)
        assert (await counter.value(), counter.pre_value, counter.post_value) == (5, None, None)
        assert (await counter.add(2), counter.pre_value, counter.post_value) == (7, 5, 7)
        assert (await counter.add(-10), counter.pre_value, counter.post_value) == (-3, 7, -3)
        assert await Counter(zk, PATH).value() == -3


async def test_it_counts_in_one_type_alone(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        real = Counter(zk, PATH, 1.5)
        assert await real.add(0.25) == 1.75
        with pytest.raises(TypeError, match="counts in float"):
            await real.add(1)
        with pytest.raises(TypeError, match="counts in int"):
            await Counter(zk, PATH).add(True)
        with pytest.raises(TypeError, match="default"):
            Counter(zk, PATH, "1")  # type: ignore[arg-type]  # what is tested


async def test_additions_of_many_at_once_are_all_counted(connect: Connect) -> None:
    async with connect() as one, connect() as two:
        await one.ensure_path("/")
        values: list[float] = []

        async def work(zk: AsyncZooKeeper) -> None:
            counter = Counter(zk, PATH)
            for _ in range(10):
                values.append(await counter.add(1))
                assert counter.pre_value == values[-1] - 1

        async with anyio.create_task_group() as tasks:
            for zk in (one, two) * 3:
                tasks.start_soon(work, zk)
        assert sorted(values) == list(range(1, 61))


async def test_additions_over_broken_connections_are_counted_once(server: ServerProcess, connect: Connect) -> None:
    async with Link(str(server.address)) as link, connect(link.address) as zk:
        await zk.ensure_path("/")
        counter = Counter(zk, PATH)
        for _ in range(5):
            async with anyio.create_task_group() as tasks:
                link.swallow_replies()
                tasks.start_soon(counter.add, 1)
                await link.swallowed.wait()
                link.allow()
                link.cut()
        assert await counter.value() == 5


async def test_a_cancelled_first_addition_takes_nothing_away_from_others(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        for steps in range(30):
            path = f"{PATH}-{steps}"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(Counter(zk, path).add, 100)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await Counter(other, path).add(1)
            await zk.sync()
            assert await Counter(other, path).value() in (1, 101)
