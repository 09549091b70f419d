"""Lease: held for a time, by one at a time, whatever becomes of the session."""

from collections.abc import Callable

import anyio
import pytest
from zkclient import (
    AsyncZooKeeper,
    BadArgumentsError,
    LockLost,
    TransactionFailed,
    ZooKeeper,
)

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/leases/cleanup"


async def test_one_has_it_and_others_are_told_so_at_once(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        lease = zk.Lease(PATH, duration=60, identifier="host-1")
        held = await lease.acquire()
        assert held is not None
        held.check()
        assert await other.Lease(PATH, duration=60).acquire() is None
        assert await lease.acquire() is None
        assert await other.Lease(PATH, duration=60).holder() == "host-1"
        await lease.release()
        assert await other.Lease(PATH, duration=60).holder() is None
        again = await other.Lease(PATH, duration=60).acquire()
        assert again is not None
        assert again.token > held.token


async def test_it_outlives_its_session(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        assert await zk.Lease(PATH, duration=60).acquire() is not None
    async with connect() as zk:
        assert await zk.Lease(PATH, duration=60).acquire() is None


async def test_its_time_is_over_for_the_holder_before_another_takes_it(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        held = await zk.Lease(PATH, duration=0.2).acquire()
        assert held is not None
        taken = None
        with anyio.fail_after(10):
            while taken is None:
                taken = await other.Lease(PATH, duration=60).acquire()
        with pytest.raises(LockLost, match="time is over"):
            held.check()
        assert taken.token > held.token
        await held.lost.wait()


async def test_renewed_it_is_held_for_longer(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lease = zk.Lease(PATH, duration=0.5)
        held = await lease.acquire()
        assert held is not None
        began = anyio.current_time()
        while anyio.current_time() < began + 0.6:
            await lease.renew()
        held.check()
        await held.lost.wait()
        with pytest.raises(LockLost, match="time is over"):
            await lease.renew()
        with pytest.raises(LockLost, match="time is over"):
            await lease.release()


async def test_it_guards_transactions_and_is_lost_with_its_node(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        lease = zk.Lease(PATH, duration=60)
        held = await lease.acquire()
        assert held is not None
        async with zk.transaction(guard=held) as txn:
            txn.create("/result")
        with pytest.raises(TransactionFailed):
            await zk.transaction(guard=held).create("/result").commit()
        await other.delete(PATH)
        with anyio.fail_after(10):
            await held.lost.wait()
        with pytest.raises(LockLost, match="deleted"):
            await lease.renew()


async def test_a_taking_that_is_cancelled_at_any_moment_leaves_it_free(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        for steps in range(15):
            held: list[object] = []

            async def take(held: list[object] = held) -> None:
                held.append(await zk.Lease(PATH, duration=60).acquire())

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await zk.sync()  # behind the answer to the taking, which is then undone
            await zk.sync()  # behind that
            assert (await other.exists(PATH, read="linearizable") is not None) == bool(held)
            if held:
                await other.delete(PATH)


async def test_what_is_no_lease_is_not_taken(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await zk.create(PATH, "something else", makepath=True)
        with pytest.raises(BadArgumentsError, match="no lease"):
            await zk.Lease(PATH, duration=60).acquire()
        with pytest.raises(BadArgumentsError, match="more than 0"):
            zk.Lease(PATH, duration=0)
        with pytest.raises(RuntimeError, match="not taken"):
            await zk.Lease(PATH, duration=60).release()


def test_the_blocking_twin_takes_renews_and_releases(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        lease = zk.Lease(PATH, duration=60, identifier="me")
        held = lease.acquire()
        assert held is not None
        lease.renew()
        held.check()
        assert (lease.holder(), zk.Lease(PATH, duration=60).acquire()) == ("me", None)
        lease.release()
        short = zk.Lease(PATH, duration=0.05).acquire()
        assert short is not None
        assert short.lost.wait(10)
