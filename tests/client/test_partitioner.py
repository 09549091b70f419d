"""Partitioner: every partition at one member at a time, all of them at somebody in the end."""

import random
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio
import pytest
from zkclient import (
    AsyncZooKeeper,
    BadArgumentsError,
    LockLost,
    OperationTimeoutError,
    Partitioner,
    PartitionState,
    SessionExpiredError,
    ZKError,
    ZooKeeper,
)
from zkclient.testing import Link

from zk.server.testing import ServerProcess

Connect = Callable[..., AsyncZooKeeper]
PATH = "/shards"
ALL = ("a", "b", "c/d", "e")
SOON = 0.02  # seconds: a time boundary


@asynccontextmanager
async def deadline() -> AsyncIterator[None]:
    with anyio.fail_after(15):
        yield


async def left_behind(zk: AsyncZooKeeper) -> list[str]:
    """The ephemeral nodes of all sessions."""
    return [path async for path in zk.walk(PATH) if (stat := await zk.exists(path)) and stat.ephemeral_owner]


@pytest.mark.anyio
async def test_one_member_has_them_all_and_more_share_them(connect: Connect) -> None:
    async with connect() as zk, connect() as other, deadline():
        await zk.ensure_path("/")
        async with zk.Partitioner(PATH, ALL, time_boundary=SOON) as one:
            assert (one.state, one.partitions) == (PartitionState.ALLOCATING, ())
            assert await one.wait_for_acquire() == ALL
            async with other.Partitioner(PATH, reversed_(ALL), time_boundary=SOON) as two:
                await one.wait_for_release()
                assert (one.partitions, two.partitions) == (ALL, ())
                await one.release_set()
                assert (await one.wait_for_acquire(), await two.wait_for_acquire()) == (("a", "c/d"), ("b", "e"))
            await one.wait_for_release()
            await one.release_set()
            assert await one.wait_for_acquire() == ALL
        assert await left_behind(zk) == []


def reversed_(names: tuple[str, ...]) -> list[str]:
    return list(names[::-1])


@pytest.mark.anyio
async def test_who_does_not_release_keeps_the_others_waiting(connect: Connect) -> None:
    async with connect() as zk, deadline():
        await zk.ensure_path("/")
        async with zk.Partitioner(PATH, ["a", "b"], time_boundary=SOON) as one:
            await one.wait_for_acquire()
            async with zk.Partitioner(PATH, ["a", "b"], time_boundary=SOON) as two:
                with pytest.raises(OperationTimeoutError):
                    await two.wait_for_acquire(timeout=0.3)
                await one.wait_for_release()
                assert (one.state, one.partitions) == (PartitionState.RELEASE, ("a", "b"))
                assert (two.state, two.partitions) == (PartitionState.ALLOCATING, ())


@pytest.mark.anyio
async def test_more_members_than_partitions_have_empty_sets(connect: Connect) -> None:
    async with connect() as zk, deadline():
        await zk.ensure_path("/")
        async with (
            zk.Partitioner(PATH, ["a"], time_boundary=0.1) as one,
            zk.Partitioner(PATH, ["a"], time_boundary=0.1) as two,
        ):
            assert (await one.wait_for_acquire(), await two.wait_for_acquire()) == (("a",), ())


@pytest.mark.anyio
async def test_nothing_is_allocated_while_members_come_and_go(connect: Connect) -> None:
    """Members that come at once cost one allocation, not one for each."""
    async with connect() as zk, deadline(), AsyncExitStack() as stack:
        await zk.ensure_path("/")
        members = [
            await stack.enter_async_context(zk.Partitioner(PATH, ALL, time_boundary=0.5)) for _ in range(len(ALL))
        ]
        for member, partition in zip(members, ALL, strict=True):
            assert await member.wait_for_acquire() == (partition,)
        locks = [await zk.get_children(f"{PATH}/locks/{name}") for name in await zk.get_children(f"{PATH}/locks")]
        assert locks == [("contender__lock__0000000000",)] * len(ALL)


@pytest.mark.anyio
async def test_a_partition_is_held_under_a_lock_that_fences(connect: Connect) -> None:
    async with connect() as zk, deadline():
        await zk.ensure_path("/")
        async with zk.Partitioner(PATH, ["a"], identifier="me", time_boundary=SOON) as one:
            with pytest.raises(LockLost):
                one.held("a")
            await one.wait_for_acquire()
            held = one.held("a")
            data, stat = await zk.get(held.path)
            assert (data, stat.czxid, stat.ephemeral_owner) == (b"me", held.token, zk.session_id)
            async with zk.transaction(guard=held) as txn:
                txn.create("/guarded")
        with pytest.raises(LockLost):
            held.check()


@pytest.mark.anyio
async def test_losing_the_session_cancels_the_body_before_another_has_the_partitions(
    server: ServerProcess, connect: Connect
) -> None:
    order: list[str] = []
    async with (
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=600) as old,
        connect() as new,
        deadline(),
    ):
        await new.ensure_path("/")

        async def first(acquired: anyio.Event) -> None:
            with pytest.raises(LockLost):  # noqa: PT012 - leaving the block is what is tested
                async with old.Partitioner(PATH, ALL, time_boundary=SOON) as one:
                    await one.wait_for_acquire()
                    acquired.set()
                    await anyio.sleep_forever()
            assert (one.state, one.partitions) == (PartitionState.FAILURE, ())
            order.append("lost")

        async with anyio.create_task_group() as tasks:
            acquired = anyio.Event()
            tasks.start_soon(first, acquired)
            await acquired.wait()
            async with new.Partitioner(PATH, ALL, time_boundary=SOON) as two:
                link.refuse()
                while await two.wait_for_acquire() != ALL:
                    await two.wait_for_release()
                    await two.release_set()
                order.append("acquired")
        link.allow()
    assert order == ["lost", "acquired"]


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["members", "locks/partition-a"])
async def test_losing_a_node_is_a_failure(connect: Connect, what: str) -> None:
    async with connect() as zk, connect() as other, deadline():
        await zk.ensure_path("/")
        with pytest.raises(LockLost):  # noqa: PT012 - leaving the block is what is tested
            async with zk.Partitioner(PATH, ["a"], time_boundary=SOON) as one:
                await one.wait_for_acquire()
                (name,) = await other.get_children(f"{PATH}/{what}")
                await other.delete(f"{PATH}/{what}/{name}")
                await anyio.sleep_forever()
        assert await left_behind(other) == []
        for call in (one.wait_for_acquire, one.wait_for_release, one.release_set):
            with pytest.raises(LockLost):
                await call()


@pytest.mark.anyio
async def test_cancelling_from_outside_passes_through_and_leaves_nothing(connect: Connect) -> None:
    async with connect() as zk, connect() as other, deadline():
        await zk.ensure_path("/")
        for seconds in (0.0, 0.002, 0.005, 0.02, 0.1):
            with anyio.move_on_after(seconds) as scope:
                async with zk.Partitioner(PATH, ALL, time_boundary=0):
                    await anyio.sleep_forever()
            assert scope.cancelled_caught
            for _ in range(2):  # what undoes a create is posted at its answer, and the second is behind that
                await zk.set("/", "")
            if await other.exists(PATH) is not None:
                await other.sync()
                assert await left_behind(other) == []


@pytest.mark.anyio
async def test_misuse_is_told(connect: Connect) -> None:
    async with connect() as zk, deadline():
        await zk.ensure_path("/")
        with pytest.raises(BadArgumentsError):
            zk.Partitioner(PATH, "abc")
        async with zk.Partitioner(PATH, ALL, time_boundary=SOON) as one:
            with pytest.raises(RuntimeError, match="ALLOCATING"):
                await one.release_set()
            with pytest.raises(RuntimeError, match="once"):
                await one.join()


@pytest.mark.anyio
async def test_two_never_hold_the_same_whatever_happens(server: ServerProcess, connect: Connect) -> None:
    chance = random.Random(7)
    holders: dict[str, int] = {}
    granted = 0
    async with connect() as zk, anyio.create_task_group() as tasks, deadline():
        await zk.ensure_path("/")
        over = False

        async def live(number: int) -> None:
            async with Link(str(server.address)) as link, anyio.create_task_group() as strikes:
                strikes.start_soon(strike, link)
                async with connect(link.address, session_timeout_ms=500) as member:
                    while not over:
                        with suppress(LockLost, SessionExpiredError, OperationTimeoutError):
                            await take_part(member, number)
                strikes.cancel_scope.cancel()

        async def strike(link: Link) -> None:
            while True:
                await anyio.sleep(chance.uniform(0.1, 1.0))
                if chance.random() < 0.5:
                    link.cut()
                else:
                    link.refuse()
                    await anyio.sleep(chance.uniform(0, 0.9))
                    link.allow()

        async def take_part(member: AsyncZooKeeper, number: int) -> None:
            nonlocal granted
            async with member.Partitioner(PATH, ALL, time_boundary=SOON) as shards:
                for _ in range(chance.randrange(1, 4)):
                    mine = await shards.wait_for_acquire()
                    try:
                        for partition in mine:
                            assert holders.setdefault(partition, number) == number
                            granted += 1
                        await release_or_go(shards)
                    finally:
                        for partition in mine:
                            del holders[partition]
                    if shards.state is PartitionState.RELEASE:
                        await shards.release_set()

        async def release_or_go(shards: Partitioner) -> None:
            with anyio.move_on_after(chance.uniform(0, 0.3)):
                await shards.wait_for_release()

        for number in range(4):
            tasks.start_soon(live, number)
        while granted < 30:
            await anyio.sleep(0.05)
        over = True
    async with connect() as zk, zk.Partitioner(PATH, ALL, time_boundary=SOON) as last, deadline():
        while await last.wait_for_acquire() != ALL:  # until the sessions of the others have ended
            await last.wait_for_release()
            await last.release_set()


def test_threads_share_partitions_too(server: ServerProcess, corner: str) -> None:
    hosts = f"{server.address}{corner}"
    with ZooKeeper(hosts) as zk, ZooKeeper(hosts) as other:
        zk.ensure_path("/")
        with zk.Partitioner(PATH, ALL, time_boundary=SOON) as one:
            assert one.wait_for_acquire(timeout=10) == ALL
            assert one.held("a").token > 0
            with other.Partitioner(PATH, ALL, time_boundary=SOON) as two:
                one.wait_for_release(timeout=10)
                assert (one.state, one.partitions) == (PartitionState.RELEASE, ALL)
                one.release_set()
                shares = one.wait_for_acquire(timeout=10), two.wait_for_acquire(timeout=10)
                assert shares == (("a", "c/d"), ("b", "e"))


def test_a_thread_is_told_of_its_loss(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        told = threading.Event()
        with pytest.raises(LockLost):  # noqa: PT012, SIM117 - leaving the block is what is tested
            with zk.Partitioner(PATH, ["a"], time_boundary=SOON) as one:
                one.wait_for_acquire(timeout=10)
                held = one.held("a")
                held.on_lost(told.set)
                zk.delete(held.path)
                assert told.wait(10)
                assert one.state is PartitionState.FAILURE
        with pytest.raises(ZKError):
            one.wait_for_acquire(timeout=10)
