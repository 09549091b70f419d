"""Semaphore: so many holders and no more, in the order in which they asked; and one limit for all."""

from collections.abc import Callable

import anyio
import pytest
from zkclient import (
    AsyncZooKeeper,
    BadArgumentsError,
    LockLost,
    OperationTimeoutError,
    WatchEvent,
    ZooKeeper,
)

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/downloads"


class Crowd:
    """Contenders that hold until they are told to go; knows who holds."""

    def __init__(self, zk: AsyncZooKeeper, max_leases: int) -> None:
        self.zk = zk
        self.max_leases = max_leases
        self.holding: list[int] = []
        self.order: list[int] = []
        self.tokens: list[int] = []
        self._go: dict[int, anyio.Event] = {}
        self._changed = anyio.Event()

    async def hold(self, number: int) -> None:
        self._go[number] = anyio.Event()
        semaphore = self.zk.Semaphore(PATH, max_leases=self.max_leases, identifier=str(number))
        async with semaphore as held:
            self.holding.append(number)
            self.order.append(number)
            self.tokens.append(held.token)
            assert len(self.holding) <= self.max_leases
            self._changed.set()
            await self._go[number].wait()
            self.holding.remove(number)

    def leave(self, number: int) -> None:
        self._go[number].set()

    async def until_holding(self, *numbers: int) -> None:
        with anyio.fail_after(10):
            while sorted(self.holding) != sorted(numbers):
                self._changed = anyio.Event()
                await self._changed.wait()


async def until(zk: AsyncZooKeeper, count: int) -> None:
    """Wait until `count` contenders stand in the queue."""
    changed = anyio.Event()

    def on_change(_: WatchEvent) -> None:
        changed.set()

    await zk.ensure_path(PATH)
    with anyio.fail_after(10):
        while len(await zk.get_children(PATH, watch=on_change)) != count:
            await changed.wait()
            changed = anyio.Event()


async def test_so_many_hold_and_the_others_follow_in_order(connect: Connect) -> None:
    async with connect() as zk, connect() as observer:
        await zk.ensure_path("/")
        crowd = Crowd(zk, max_leases=3)
        async with anyio.create_task_group() as tasks:
            for number in range(7):
                tasks.start_soon(crowd.hold, number)
                await until(observer, number + 1)
            await crowd.until_holding(0, 1, 2)
            semaphore = observer.Semaphore(PATH, max_leases=3)
            assert await semaphore.lease_holders() == ("0", "1", "2")
            assert await semaphore.contenders() == ("0", "1", "2", "3", "4", "5", "6")
            crowd.leave(1)
            await crowd.until_holding(0, 2, 3)
            crowd.leave(0)
            crowd.leave(3)
            await crowd.until_holding(2, 4, 5)
            for number in (2, 4, 5, 6):
                crowd.leave(number)
        assert crowd.order[3:] == [3, 4, 5, 6]
        assert sorted(crowd.tokens[:3]) + crowd.tokens[3:] == sorted(set(crowd.tokens))
        assert await observer.get_children(PATH) == ()


async def test_a_waiter_that_gives_up_lets_nobody_past_and_stops_nobody(connect: Connect) -> None:
    async with connect() as zk, connect() as observer:
        await zk.ensure_path("/")
        crowd = Crowd(zk, max_leases=2)
        async with anyio.create_task_group() as tasks:
            for number in range(2):
                tasks.start_soon(crowd.hold, number)
                await until(observer, number + 1)
            await crowd.until_holding(0, 1)
            async with anyio.create_task_group() as impatient:
                for number in range(2, 5):
                    (tasks if number == 3 else impatient).start_soon(crowd.hold, number)
                    await until(observer, number + 1)
                impatient.cancel_scope.cancel()
            assert sorted(crowd.holding) == [0, 1]
            crowd.leave(0)
            await crowd.until_holding(1, 3)
            crowd.leave(1)
            crowd.leave(3)


async def test_a_release_wakes_one_however_many_wait(connect: Connect) -> None:
    async with connect() as holders, connect() as waiters:
        await holders.ensure_path("/")
        holding, waiting = Crowd(holders, max_leases=2), Crowd(waiters, max_leases=2)
        async with anyio.create_task_group() as tasks:
            for number in range(2):
                tasks.start_soon(holding.hold, number)
            await holding.until_holding(0, 1)
            for number in range(10):
                tasks.start_soon(waiting.hold, number)
                await until(holders, number + 3)
            before = waiters.statistics().calls
            holding.leave(0)
            await waiting.until_holding(0)
            await until(holders, 11)
            calls = waiters.statistics().calls - before
            tasks.cancel_scope.cancel()
        assert calls <= 12, "the one that is let in, the next one, and the last one that had just begun to wait"


async def test_one_lease_is_a_lock(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with zk.Semaphore(PATH, max_leases=1):
            assert await other.Semaphore(PATH, max_leases=1).try_acquire() is None
            with pytest.raises(OperationTimeoutError, match="not granted"):
                await other.Semaphore(PATH, max_leases=1).acquire(timeout=0.5)
        assert await other.get_children(PATH) == ()


async def test_who_comes_with_another_limit_is_told_and_leaves_nothing(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with zk.Semaphore(PATH, max_leases=2):
            with pytest.raises(BadArgumentsError, match="max_leases=2, not 3"):
                await other.Semaphore(PATH, max_leases=3).acquire()
            assert len(await zk.get_children(PATH)) == 1
            assert str(await zk.get(PATH)) == "2"
            assert await other.Semaphore(PATH, max_leases=2).try_acquire() is not None
    with pytest.raises(BadArgumentsError, match="at least 1"):
        zk.Semaphore(PATH, max_leases=0)


async def test_a_lease_whose_node_is_deleted_is_lost_and_goes_to_the_next_one(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        crowd = Crowd(other, max_leases=1)
        async with anyio.create_task_group() as tasks:
            with pytest.raises(LockLost, match="deleted"):  # noqa: PT012 - leaving the block is what is tested
                async with zk.Semaphore(PATH, max_leases=1) as held:
                    tasks.start_soon(crowd.hold, 0)
                    await until(other, 2)
                    await other.delete(held.path)
                    await anyio.sleep(20)
            await crowd.until_holding(0)
            crowd.leave(0)


def test_the_blocking_twin_counts_too(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        with (
            zk.Semaphore(PATH, max_leases=2, identifier="a") as first,
            zk.Semaphore(PATH, max_leases=2, identifier="b") as second,
        ):
            assert first.token < second.token
            third = zk.Semaphore(PATH, max_leases=2)
            assert (third.try_acquire(), third.lease_holders()) == (None, ("a", "b"))
        assert third.acquire(timeout=5).token > second.token
        third.release()
