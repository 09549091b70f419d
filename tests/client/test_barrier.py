"""Barrier: all wait while it stands, and nobody passes one that was put up before."""

from collections.abc import Callable

import anyio
import pytest
from zkclient import AsyncZooKeeper, Barrier, OperationTimeoutError
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/barriers/one"


async def test_all_wait_until_it_is_removed(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        assert await Barrier(zk, PATH).create() is True
        order: list[str] = []

        async def wait(name: str) -> None:
            await Barrier(other, PATH).wait()
            order.append(name)

        async with anyio.create_task_group() as tasks:
            for name in ("a", "b"):
                tasks.start_soon(wait, name)
            await anyio.wait_all_tasks_blocked()
            order.append("removed")
            assert await Barrier(zk, PATH).remove() is True
        assert (order[0], sorted(order[1:])) == ("removed", ["a", "b"])
        assert other.statistics().watches == 0


async def test_it_is_created_and_removed_once(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        barrier = Barrier(zk, PATH)
        assert [await barrier.create(), await barrier.create()] == [True, False]
        assert [await barrier.remove(), await barrier.remove()] == [True, False]
        await barrier.wait()


async def test_who_waits_in_vain_is_told_and_leaves_no_watch(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        barrier = Barrier(zk, PATH)
        await barrier.create()
        with pytest.raises(OperationTimeoutError, match="was not removed in time"):
            await barrier.wait(timeout=0.5)
        with anyio.move_on_after(0.05):
            await barrier.wait()
        assert zk.statistics().watches == 0


async def test_a_removal_while_the_waiter_is_cut_off_is_noticed(server: ServerProcess, connect: Connect) -> None:
    async with connect() as zk, Link(str(server.address)) as link, connect(link.address) as other:
        await zk.ensure_path("/")
        await Barrier(zk, PATH).create()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Barrier(other, PATH).wait)
            await anyio.wait_all_tasks_blocked()
            link.refuse()
            await Barrier(zk, PATH).remove()
            await Barrier(zk, PATH).create()
            await Barrier(zk, PATH).remove()
            link.allow()


async def test_create_and_remove_whose_replies_are_lost_are_done_once(server: ServerProcess, connect: Connect) -> None:
    async with connect() as zk, Link(str(server.address)) as link, connect(link.address) as other:
        await zk.ensure_path("/")
        barrier = Barrier(other, PATH)
        await barrier.wait()
        await zk.ensure_path("/barriers")
        for operation in (barrier.create, barrier.remove):
            link.swallow_replies()
            done: list[bool] = []

            async def operate() -> None:
                done.append(await operation())  # noqa: B023 - awaited in the same round

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(operate)
                await link.swallowed.wait()
                link.allow()
                link.cut()
            assert done == [True]
