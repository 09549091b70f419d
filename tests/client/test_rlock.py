"""RLock: whoever holds it may take it again; tasks and threads are told apart."""

import threading
from collections.abc import Callable

import anyio
import pytest
from zkclient import AsyncZooKeeper, LockLost, OperationTimeoutError, ZooKeeper

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/locks/one"


async def test_its_holder_takes_it_again_at_no_cost_and_all_must_release(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lock = zk.RLock(PATH)
        async with lock as outer:
            calls = zk.statistics().calls
            async with lock as inner:
                assert (await lock.acquire()) is inner is outer
                await lock.release()
            assert zk.statistics().calls == calls
            outer.check()
            assert await zk.Lock(PATH).try_acquire() is None
        assert await zk.get_children(PATH) == ()
        with pytest.raises(RuntimeError, match="not held"):
            await lock.release()


async def test_another_task_waits_though_it_uses_the_same_object(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lock = zk.RLock(PATH)
        order: list[str] = []

        async def other() -> None:
            assert await lock.try_acquire() is None
            with pytest.raises(OperationTimeoutError):
                await lock.acquire(timeout=0.05)
            order.append("waits")
            tried.set()
            async with lock, lock:
                order.append("other")

        tried = anyio.Event()
        async with anyio.create_task_group() as tasks, lock, lock:
            tasks.start_soon(other)
            await tried.wait()
            order.append("first")
        assert order == ["waits", "first", "other"]
        assert await zk.get_children(PATH) == ()


async def test_losing_it_cancels_the_innermost_body_and_every_block_says_so(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lock = zk.RLock(PATH)
        with pytest.raises(LockLost, match="deleted"):  # noqa: PT012 - leaving the block is what is tested
            async with lock as held:
                try:
                    async with lock:
                        await zk.delete(held.path)
                        await anyio.sleep(20)
                except LockLost as error:
                    raise ValueError("an inner block said so") from error
        async with lock as again:
            assert again.token > held.token


async def test_a_block_inside_an_acquire_is_cancelled_too(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lock = zk.RLock(PATH)
        held = await lock.acquire()
        with pytest.raises(LockLost, match="deleted"):  # noqa: PT012 - leaving the block is what is tested
            async with lock:
                await zk.delete(held.path)
                await anyio.sleep(20)
        with pytest.raises(LockLost):
            await lock.acquire()
        with pytest.raises(LockLost):
            await lock.release()
        assert await lock.contenders() == ()


def test_a_thread_takes_it_again_and_another_one_waits(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        lock = zk.RLock(PATH)
        order: list[str] = []
        tried = threading.Event()

        def other() -> None:
            assert lock.try_acquire() is None
            order.append("waits")
            tried.set()
            with lock, lock:
                order.append("other")

        thread = threading.Thread(target=other)
        with lock as outer:
            thread.start()
            assert tried.wait(10)
            with lock as inner:
                assert inner.token == outer.token
            assert lock.acquire(timeout=1).token == outer.token
            lock.release()
            outer.check()
            order.append("first")
        thread.join()
        assert order == ["waits", "first", "other"]


def test_every_level_of_a_thread_is_told_of_the_loss(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        lock = zk.RLock(PATH)

        def lose() -> None:
            with lock as outer, lock as inner:
                zk.delete(outer.path)
                assert outer.lost.wait(10)
                assert inner.lost.wait(10)

        with pytest.raises(LockLost):
            lose()
        with lock:
            pass
