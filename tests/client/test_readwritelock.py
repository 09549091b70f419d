"""ReadWriteLock: readers together, writers alone, in the order in which they asked."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest
from zkclient import AsyncZooKeeper, OperationTimeoutError, ReadLock, WatchEvent, WriteLock, ZooKeeper

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/locks/one"


async def until(zk: AsyncZooKeeper, count: int) -> None:
    """Wait until `count` contenders stand in the queue."""
    with anyio.fail_after(10):
        await zk.ensure_path(PATH)
        while True:
            changed = anyio.Event()
            if len(await zk.get_children(PATH, watch=partial(_set, changed))) == count:
                return
            await changed.wait()


def _set(changed: anyio.Event, _: WatchEvent) -> None:
    changed.set()


async def queue(zk: AsyncZooKeeper, order: str, run: Callable[[str], object]) -> None:
    """Readers ('r') and writers ('w') ask, one after the other in this order, while a writer holds; then it goes."""

    async def ask(side: ReadLock | WriteLock, number: int) -> None:
        async with side:
            run(f"{order[number]}{number}")
            await anyio.lowlevel.checkpoint()
            run(f"-{order[number]}{number}")

    lock = zk.ReadWriteLock(PATH)
    async with anyio.create_task_group() as tasks, lock.write_lock():
        for number, kind in enumerate(order):
            tasks.start_soon(ask, lock.read_lock() if kind == "r" else lock.write_lock(), number)
            await until(zk, number + 2)


async def test_readers_hold_together(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with AsyncExitStack() as stack:
            for client in (zk, other, zk):
                await stack.enter_async_context(client.ReadWriteLock(PATH, timeout=5).read_lock())
            with pytest.raises(OperationTimeoutError, match="not granted"):
                await other.ReadWriteLock(PATH, timeout=0.5).write_lock().acquire()
        assert await other.ReadWriteLock(PATH, timeout=5).write_lock().try_acquire() is not None


async def test_a_writer_holds_alone(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with zk.ReadWriteLock(PATH).write_lock():
            lock = other.ReadWriteLock(PATH)
            assert await lock.read_lock().try_acquire() is None
            assert await lock.write_lock().try_acquire() is None
            assert len(await zk.get_children(PATH)) == 1


async def test_a_reader_behind_a_waiting_writer_waits_for_it(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        order: list[str] = []
        await queue(zk, "rrwrrw", order.append)
        entered = [step for step in order if step[0] != "-"]
        assert [sorted(entered[:2]), entered[2], sorted(entered[3:5]), entered[5]] == [
            ["r0", "r1"],
            "w2",
            ["r3", "r4"],
            "w5",
        ]
        for writer in ("w2", "w5"):
            assert order[order.index(writer) + 1] == f"-{writer}"
        assert order.index("w2") > max(order.index("-r0"), order.index("-r1"))


async def test_tokens_grow_with_every_writer_and_order_readers_among_them(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lock = zk.ReadWriteLock(PATH)
        tokens = []
        for side in (lock.write_lock(), lock.read_lock(), lock.write_lock(), lock.read_lock()):
            async with side as held:
                tokens.append(held.token)
        assert tokens == sorted(set(tokens))


async def test_a_release_wakes_whom_it_lets_in_and_nobody_else(connect: Connect) -> None:
    async with connect() as holder, connect() as waiters:
        await holder.ensure_path("/")
        granted: list[str] = []
        both = anyio.Event()

        async def ask(side: ReadLock | WriteLock, name: str) -> None:
            async with side:
                granted.append(name)
                if len(granted) == 2:
                    both.set()
                await anyio.sleep_forever()

        async with anyio.create_task_group() as tasks:
            lock = waiters.ReadWriteLock(PATH)
            async with holder.ReadWriteLock(PATH).write_lock():
                for number, kind in enumerate("rrwwrr"):
                    tasks.start_soon(ask, lock.read_lock() if kind == "r" else lock.write_lock(), f"{kind}{number}")
                    await until(holder, number + 2)
                before = waiters.statistics().calls
            with anyio.fail_after(10):
                await both.wait()
            calls = waiters.statistics().calls - before
            tasks.cancel_scope.cancel()
        assert sorted(granted) == ["r0", "r1"]
        assert calls <= 6, "two look, and the last one may just have begun to wait; not all six"


async def test_the_queue_is_empty_when_all_have_left(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await queue(zk, "rwrw", lambda _: None)
        assert await zk.get_children(PATH) == ()


def test_the_blocking_twin_shares_and_excludes(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        lock = zk.ReadWriteLock(PATH, identifier="me")
        with lock.read_lock() as first, lock.read_lock() as second:
            assert first.token < second.token
            assert lock.write_lock().try_acquire() is None
            assert lock.write_lock().contenders() == ("me", "me")
        writer = lock.write_lock()
        assert writer.acquire(timeout=5).token > second.token
        assert lock.read_lock().try_acquire() is None
        writer.release()
