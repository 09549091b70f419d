"""WorkQueue: every item is worked on until it is acknowledged, by one worker at a time, and never comes back then."""

from collections import Counter
from collections.abc import Callable
from random import Random

import anyio
import pytest
from zkclient import AsyncZooKeeper, LockLost, NodeExistsError, OperationTimeoutError, State, Task, WorkQueue
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/work/one"


async def sizes(zk: AsyncZooKeeper) -> tuple[int, int, int]:
    """Items, claims, and how many stand in line."""
    await zk.sync()
    line = await zk.exists(f"{PATH}/line")
    queue = WorkQueue(zk, PATH)
    return await queue.size(), await queue.claimed(), 0 if line is None else line.num_children


async def until(zk: AsyncZooKeeper, wanted: tuple[int, int, int]) -> None:
    with anyio.fail_after(10):
        while await sizes(zk) != wanted:
            pass


# ---- claiming and ending


async def test_items_are_claimed_in_their_order_and_gone_when_acknowledged(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = WorkQueue(zk, PATH)
        for value in ("a", "b"):
            await queue.put(value)
        first, second = await queue.claim(), await queue.claim()
        assert [(task.data, task.deliveries) for task in (first, second)] == [(b"a", 1), (b"b", 1)]
        assert first.token < second.token
        assert await sizes(zk) == (2, 2, 0)
        await second.ack()
        await first.ack()
        assert (await sizes(zk), zk.statistics().watches) == ((0, 0, 0), 0)


async def test_a_claim_is_an_ephemeral_node_of_the_workers_session(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        task = await WorkQueue(zk, PATH).claim()
        stat = await zk.exists(task.held.path)
        assert stat is not None
        assert (stat.ephemeral_owner, stat.czxid) == (zk.session_id, task.token)


async def test_an_item_that_is_given_back_is_delivered_again(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        first = await WorkQueue(zk, PATH).claim()
        await first.nack()
        second = await WorkQueue(other, PATH).claim()
        assert (second.data, second.deliveries) == (b"a", 2)
        assert second.token > first.token


async def test_a_block_acknowledges_and_an_error_in_it_gives_back(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = WorkQueue(zk, PATH)
        await queue.put("a")
        with pytest.raises(ZeroDivisionError):
            async with await queue.claim():
                raise ZeroDivisionError
        assert await sizes(zk) == (1, 0, 0)
        async with await queue.claim() as task:
            assert task.deliveries == 2
        assert await sizes(zk) == (0, 0, 0)
        assert zk.statistics().watches == 0


async def test_a_task_may_be_ended_in_its_block_and_only_once(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = WorkQueue(zk, PATH)
        await queue.put("a")
        async with await queue.claim() as task:
            await task.nack()
        assert await sizes(zk) == (1, 0, 0)
        async with await queue.claim() as task:
            await task.ack()
            with pytest.raises(RuntimeError, match="already"):
                await task.nack()
        assert await sizes(zk) == (0, 0, 0)


async def test_cancelling_the_worker_gives_the_item_back(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        with anyio.CancelScope() as scope:
            async with await WorkQueue(zk, PATH).claim():
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert await sizes(zk) == (1, 0, 0)


async def test_what_was_delivered_too_often_becomes_a_dead_letter(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = WorkQueue(zk, PATH, deliveries_max=2)
        for value in ("bad", "good"):
            await queue.put(value)
        for _ in range(2):
            await (await queue.claim()).nack()
        async with await queue.claim() as task:
            assert (task.data, task.deliveries) == (b"good", 1)
        with pytest.raises(OperationTimeoutError, match="no item"):
            await queue.claim(timeout=0.5)
        assert (await queue.size(), await queue.dead_letters().size()) == (0, 1)
        assert await queue.dead_letters().get() == b"bad"


async def test_a_dead_letter_is_not_made_of_what_is_being_worked_on(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        async with await WorkQueue(zk, PATH).claim() as task:
            item = await other.get(f"{PATH}/items/item-0000000000")
            with pytest.raises(NodeExistsError):
                await WorkQueue(other, PATH)._bury("item-0000000000", item, anyio.current_time() + 10)
            task.held.check()
        assert await WorkQueue(zk, PATH).dead_letters().size() == 0


# ---- waiting


async def test_a_worker_waits_for_items_and_for_claims_that_end(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        done: list[tuple[bytes, int]] = []

        async def work() -> None:
            async for task in WorkQueue(zk, PATH):
                async with task:
                    done.append((task.data, task.deliveries))
                if task.data == b"b":
                    return

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await until(other, (0, 0, 1))
            await WorkQueue(other, PATH).put("a")
            await until(other, (0, 0, 1))
            tasks.cancel_scope.cancel()
        await WorkQueue(other, PATH).put("b")
        theirs = await WorkQueue(other, PATH).claim()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work)
            await until(other, (1, 1, 1))
            await theirs.nack()
        assert done == [(b"a", 1), (b"b", 2)]
        assert (await sizes(zk), zk.statistics().watches) == ((0, 0, 0), 0)


async def test_an_item_wakes_one_worker(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        claimed: list[int] = []

        async def work(number: int) -> None:
            await WorkQueue(zk, PATH).claim()
            claimed.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(10):
                tasks.start_soon(work, number)
                await until(other, (0, 0, number + 1))
            await zk.sync()
            before = zk.statistics().calls
            await WorkQueue(other, PATH).put("x")
            await until(other, (1, 1, 9))
            await zk.sync()
            calls = zk.statistics().calls - before
            tasks.cancel_scope.cancel()
        assert claimed == [0]
        assert calls < 25


# ---- faults


async def test_a_claim_ends_with_its_session_and_the_worker_is_told(server: ServerProcess, connect: Connect) -> None:
    order: list[str] = []
    async with (
        connect() as other,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=600) as zk,
    ):
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        claimed = anyio.Event()

        async def first() -> None:
            with pytest.raises(LockLost):  # noqa: PT012 - leaving the block is what is tested
                async with await WorkQueue(zk, PATH).claim():
                    claimed.set()
                    link.refuse()
                    await anyio.sleep_forever()
            order.append("lost")

        async def second() -> None:
            await claimed.wait()
            async with await WorkQueue(other, PATH).claim() as task:
                order.append(f"delivery {task.deliveries}")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
        link.allow()
        assert order == ["lost", "delivery 2"]
        assert await sizes(other) == (0, 0, 0)


async def test_who_lost_the_claim_can_not_acknowledge(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        stale = await WorkQueue(zk, PATH).claim()
        await other.delete(stale.held.path)
        task = await WorkQueue(other, PATH).claim()
        with pytest.raises(LockLost):
            await stale.ack()
        with pytest.raises(LockLost):
            await Task(WorkQueue(zk, PATH), f"{PATH}/items/item-0000000000", b"", 1, stale.held).ack()
        task.held.check()
        assert await sizes(other) == (1, 1, 0)
        await task.ack()
        assert await sizes(other) == (0, 0, 0)


async def test_a_write_guarded_by_a_lost_claim_is_refused(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        task = await WorkQueue(zk, PATH).claim()
        async with zk.transaction(guard=task.held) as txn:
            txn.create("/result")
        await other.delete(task.held.path)
        with pytest.raises(LockLost):
            async with zk.transaction(guard=task.held) as txn:
                txn.create("/late")
        assert await zk.exists("/late") is None


async def test_an_item_deleted_under_its_worker_leaves_no_claim(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        with pytest.raises(LockLost, match="gone"):
            async with await WorkQueue(zk, PATH).claim():
                await zk.delete(f"{PATH}/items", recursive=True)
        assert await sizes(zk) == (0, 0, 0)


@pytest.mark.parametrize("ending", ["ack", "nack"])
async def test_operations_over_broken_connections_are_done_once(
    server: ServerProcess, connect: Connect, ending: str
) -> None:
    async with Link(str(server.address)) as link, connect(link.address) as zk:
        await zk.ensure_path(f"{PATH}/claims")
        found: list[Task] = []

        async def put() -> None:
            await WorkQueue(zk, PATH).put("a")

        async def claim() -> None:
            found.append(await WorkQueue(zk, PATH).claim())

        async def end() -> None:
            await getattr(found[0], ending)()

        seen: list[tuple[int, int, int]] = []
        for operation in (put, claim, end):
            async with anyio.create_task_group() as tasks:
                link.swallow_replies()
                tasks.start_soon(operation)
                await link.swallowed.wait()
                link.allow()
                link.cut()
            seen.append(await sizes(zk))
        assert seen == [(1, 0, 0), (1, 1, 0), (0 if ending == "ack" else 1, 0, 0)]
        assert found[0].deliveries == 1


async def test_a_claim_cancelled_at_any_moment_leaves_the_item_free(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = WorkQueue(zk, PATH, deliveries_max=1000)
        await queue.put("a")
        for steps in range(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(claim_and_give_back, queue)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert await sizes(zk) == (1, 0, 0)


async def claim_and_give_back(queue: WorkQueue) -> None:
    async with await queue.claim():
        await anyio.sleep_forever()


async def test_an_acknowledgement_cancelled_at_any_moment_is_done_all_the_same(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        queue = WorkQueue(zk, PATH)
        for steps in range(20):
            await queue.put("a")
            task = await queue.claim()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(task.ack)
                await anyio.lowlevel.checkpoint()  # it begins
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert await sizes(zk) == (0, 0, 0)


async def test_an_acknowledgement_cancelled_while_cut_off_is_done_later(
    server: ServerProcess, connect: Connect
) -> None:
    async with connect() as other, Link(str(server.address)) as link, connect(link.address) as zk:
        await zk.ensure_path("/")
        await WorkQueue(zk, PATH).put("a")
        task = await WorkQueue(zk, PATH).claim()
        suspended = anyio.Event()
        zk.add_listener(lambda state: suspended.set() if state is State.SUSPENDED else None)
        link.refuse()
        await suspended.wait()
        with anyio.move_on_after(0.05) as scope:
            await task.ack()
        assert scope.cancelled_caught
        link.allow()
        await until(other, (0, 0, 0))


async def test_every_item_is_finished_once_and_worked_on_by_one_at_a_time(
    server: ServerProcess, connect: Connect
) -> None:
    """Workers that fail, are cancelled and lose their connections at random."""
    random = Random(7)
    working: Counter[bytes] = Counter()
    finished: Counter[bytes] = Counter()
    wanted = Counter(str(n).encode() for n in range(30))
    async with (
        connect() as zk,
        Link(str(server.address), delay_ms=1, jitter_ms=2) as link,
        connect(link.address, session_timeout_ms=20_000) as one,
        connect(link.address, session_timeout_ms=20_000) as two,
    ):
        await zk.ensure_path("/")

        async def work(client: AsyncZooKeeper) -> None:
            queue = WorkQueue(client, PATH, deliveries_max=1000)
            while True:
                with anyio.move_on_after(random.uniform(0, 0.1)):
                    await work_on(await queue.claim())

        async def work_on(task: Task) -> None:
            async with task:
                working[task.data] += 1
                assert working[task.data] == 1
                try:
                    await anyio.sleep(random.uniform(0, 0.01))
                    failed = random.random() < 0.3
                finally:
                    working[task.data] -= 1
                if failed:
                    await task.nack()
                else:
                    finished[task.data] += 1  # at once before the acknowledgement, which is done whatever happens

        async def cut() -> None:
            while True:
                await anyio.sleep(0.4)
                link.cut()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cut)
            for client in (one, two):
                for _ in range(3):
                    tasks.start_soon(work, client)
            for value in wanted:
                await WorkQueue(zk, PATH).put(value)
            with anyio.fail_after(20):
                while finished.total() < 30:
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()
        for client in (one, two):
            await client.sync()
        assert await sizes(zk) == (0, 0, 0)
    assert finished == wanted
