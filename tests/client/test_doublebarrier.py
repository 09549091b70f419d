"""DoubleBarrier: begin together, end together; and what becomes of it when members go, come late, or lose sessions."""

from collections.abc import Callable

import anyio
import pytest
from zkclient import AsyncZooKeeper, DoubleBarrier, LockLost, OperationTimeoutError, SessionExpiredError
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/barriers/double"


async def names(zk: AsyncZooKeeper) -> tuple[str, ...]:
    await zk.sync()
    return await zk.get_children(PATH) if await zk.exists(PATH) else ()


async def until(zk: AsyncZooKeeper, members: int) -> None:
    """Wait until so many nodes of members are there."""
    with anyio.fail_after(10):
        while sum(name.startswith("member-") for name in await names(zk)) != members:
            pass


async def test_all_begin_together_and_end_together_again_and_again(connect: Connect) -> None:
    order: list[str] = []
    async with connect() as one, connect() as two:
        await one.ensure_path("/")

        async def member(zk: AsyncZooKeeper, name: str) -> None:
            barrier = DoubleBarrier(zk, PATH, 3, name)
            for turn in range(5):
                order.append(f"{turn} enters")
                await barrier.enter()
                order.append(f"{turn} works")
                await anyio.lowlevel.checkpoint()
                order.append(f"{turn} leaves")
                await barrier.leave()
                order.append(f"{turn} ends")

        async with anyio.create_task_group() as tasks:
            for zk, name in ((one, "a"), (one, "b"), (two, "c")):
                tasks.start_soon(member, zk, name)
        for turn in range(5):
            places = {what: [n for n, entry in enumerate(order) if entry == f"{turn} {what}"] for what in STEPS}
            assert [len(found) for found in places.values()] == [3, 3, 3, 3]
            assert max(places["enters"]) < min(places["works"]), "nobody works before all have entered"
            assert max(places["leaves"]) < min(places["ends"]), "nobody ends before all leave"
        for zk in (one, two):
            assert (await names(zk), zk.statistics().watches) == ((), 0)


STEPS = ("enters", "works", "leaves", "ends")


async def test_one_object_is_one_member(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        barrier = DoubleBarrier(zk, PATH, 1, "me")
        with pytest.raises(RuntimeError, match="not entered"):
            await barrier.leave()
        membership = await barrier.enter()
        assert (await zk.get(membership.path)).data == b"me"
        with pytest.raises(RuntimeError, match="entered already"):
            await barrier.enter()
        await barrier.leave()
        await barrier.enter()
        with pytest.raises(ValueError, match="num_clients"):
            DoubleBarrier(zk, PATH, 0)


async def test_too_few_wait_in_vain_and_leave_nothing(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        with pytest.raises(OperationTimeoutError, match="not enough have entered"):
            await DoubleBarrier(zk, PATH, 2).enter(timeout=0.5)
        assert (await names(zk), zk.statistics().watches) == ((), 0)


async def test_an_entry_cancelled_at_any_moment_leaves_nothing_and_counts_for_nothing(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        for steps in range(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(DoubleBarrier(zk, PATH, 2).enter)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert await names(zk) == ()
        with pytest.raises(OperationTimeoutError):
            await DoubleBarrier(zk, PATH, 2).enter(timeout=0.5)


async def test_who_comes_late_waits_for_the_next_round(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        first, second, third, fourth = (DoubleBarrier(zk, PATH, 2, name) for name in "abcd")
        entered: list[str] = []

        async def enter(barrier: DoubleBarrier, name: str) -> None:
            await barrier.enter()
            entered.append(name)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter, first, "a")
            await until(zk, 1)
            await enter(second, "b")
            tasks.start_soon(enter, third, "c")
            tasks.start_soon(enter, fourth, "d")
            await until(zk, 4)
            with pytest.raises(OperationTimeoutError, match="1 have not left"):
                await first.leave(timeout=0.5)
            await anyio.wait_all_tasks_blocked()
            assert sorted(entered) == ["a", "b"]
            await second.leave()
        assert sorted(entered) == ["a", "b", "c", "d"]


async def test_a_round_that_all_its_members_died_in_stops_nobody(connect: Connect) -> None:
    async with connect() as zk:
        async with connect() as dead:
            await zk.ensure_path("/")
            await DoubleBarrier(dead, PATH, 1).enter()
        assert await names(zk) == ("ready",)
        with pytest.raises(OperationTimeoutError):
            await DoubleBarrier(zk, PATH, 2).enter(timeout=0.5)
        async with anyio.create_task_group() as tasks:
            for name in "ab":
                tasks.start_soon(DoubleBarrier(zk, PATH, 2, name).enter)


async def test_nobody_passes_on_the_word_of_one_who_has_gone(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        passed = anyio.Event()

        async def enter() -> None:
            await DoubleBarrier(zk, PATH, 2).enter()
            passed.set()

        async with anyio.create_task_group() as tasks:
            async with connect() as dying, anyio.create_task_group() as dying_tasks:
                dying_tasks.start_soon(DoubleBarrier(dying, PATH, 3).enter)
                await until(zk, 1)
                dying_tasks.cancel_scope.cancel()
            tasks.start_soon(enter)
            await until(zk, 1)
            await anyio.wait_all_tasks_blocked()
            assert not passed.is_set()
            await DoubleBarrier(zk, PATH, 2).enter()


async def test_a_round_of_members_of_whom_one_has_gone_does_not_begin(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        barrier = DoubleBarrier(zk, PATH, 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(barrier.enter)
            await until(zk, 1)
            (here,) = await names(zk)
            no_round = (await barrier._look(anyio.current_time() + 10))[1]
            await barrier._begin([here, "member-0000000099"], no_round, anyio.current_time() + 10)
            assert await names(zk) == (here,)
            tasks.cancel_scope.cancel()


async def test_a_member_whose_session_ends_is_not_waited_for_and_is_told(
    server: ServerProcess, connect: Connect
) -> None:
    async with (
        connect() as zk,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=400) as lost,
    ):
        await zk.ensure_path("/")
        stays, goes = DoubleBarrier(zk, PATH, 2), DoubleBarrier(lost, PATH, 2)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stays.enter)
            membership = await goes.enter()
        link.refuse()
        with anyio.fail_after(10):
            await stays.leave()
            await membership.lost.wait()
        with pytest.raises(LockLost):
            await goes.leave()
        link.allow()
        assert await names(zk) == ()


async def test_who_loses_the_session_while_waiting_is_told(server: ServerProcess, connect: Connect) -> None:
    async with (
        connect() as zk,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=400) as lost,
    ):
        await zk.ensure_path("/")

        async def enter(barrier: DoubleBarrier) -> None:
            with pytest.raises((LockLost, SessionExpiredError)):
                await barrier.enter()

        for inside in (0, 1):  # while nobody is in, and while a round is on
            async with anyio.create_task_group() as tasks:
                if inside:
                    await DoubleBarrier(zk, PATH, 1).enter()
                tasks.start_soon(enter, DoubleBarrier(lost, PATH, 2))
                await until(zk, inside + 1)
                link.refuse()
                await until(zk, inside)
                link.allow()


async def test_a_member_whose_node_is_deleted_is_told(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")

        async def enter() -> None:
            with pytest.raises(LockLost, match="deleted"):
                await DoubleBarrier(zk, PATH, 2).enter()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(enter)
            await until(other, 1)
            await other.delete("/barriers", recursive=True)


async def test_entering_and_leaving_over_broken_connections_is_done_once(
    server: ServerProcess, connect: Connect
) -> None:
    async with connect() as zk, Link(str(server.address)) as link, connect(link.address) as other:
        await zk.ensure_path(PATH)
        await other.sync()
        here, there = DoubleBarrier(zk, PATH, 2), DoubleBarrier(other, PATH, 2)
        for mine, theirs in ((here.enter, there.enter), (here.leave, there.leave)):
            async with anyio.create_task_group() as tasks:
                link.swallow_replies()
                tasks.start_soon(theirs)
                await link.swallowed.wait()
                link.allow()
                link.cut()
                tasks.start_soon(mine)
        assert await names(zk) == ()
