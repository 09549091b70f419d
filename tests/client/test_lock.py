"""Lock: exclusive, fair, fenced; and what becomes of it when sessions end, acquires are cancelled, nodes vanish."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from zkclient import (
    AsyncZooKeeper,
    Held,
    LockLost,
    NoNodeError,
    OperationTimeoutError,
    SessionExpiredError,
    State,
    TransactionFailed,
    WatchEvent,
)
from zkclient.recipes.contenders import LOCK, PREFIX, SHARED_LOCK, in_order
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/locks/one"


@asynccontextmanager
async def linked(
    server: ServerProcess, connect: Connect, *, session_timeout_ms: int = 20_000
) -> AsyncIterator[tuple[AsyncZooKeeper, Link]]:
    """A connected client and its link."""
    async with (
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=session_timeout_ms) as zk,
    ):
        await zk.ensure_path("/")
        yield zk, link


async def contenders(zk: AsyncZooKeeper) -> int:
    return len(await zk.get_children(PATH)) if await zk.exists(PATH) else 0


async def until(zk: AsyncZooKeeper, count: int) -> None:
    """Wait until there are `count` contenders."""
    changed = anyio.Event()

    def on_change(_: WatchEvent) -> None:
        changed.set()

    with anyio.fail_after(10):
        while True:
            changed = anyio.Event()
            try:
                names = await zk.get_children(PATH, watch=on_change)
            except NoNodeError:
                names = ()
                if await zk.exists(PATH, watch=on_change) is not None:
                    continue
            if len(names) == count:
                return
            await changed.wait()


# ---- holding


async def test_one_holds_at_a_time_in_order_and_tokens_grow(connect: Connect) -> None:
    async with connect() as one, connect() as two:
        await one.ensure_path("/")
        holders = 0
        tokens: list[int] = []

        async def work(zk: AsyncZooKeeper) -> None:
            nonlocal holders
            for _ in range(5):
                async with zk.Lock(PATH) as held:
                    holders += 1
                    assert holders == 1
                    tokens.append(held.token)
                    await anyio.lowlevel.checkpoint()
                    held.check()
                    holders -= 1

        async with anyio.create_task_group() as tasks:
            for zk in (one, two) * 5:
                tasks.start_soon(work, zk)
        assert len(tokens) == 50
        assert tokens == sorted(set(tokens))
        assert await contenders(one) == 0


async def test_the_token_is_the_contenders_czxid_and_the_owner_is_the_session(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.Lock(PATH, identifier="me") as held:
            data, stat = await zk.get(held.path)
            assert (data, stat.czxid, stat.ephemeral_owner) == (b"me", held.token, zk.session_id)
            assert await zk.Lock(PATH).contenders() == ("me",)


async def test_its_parents_are_containers(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.Lock("/deep/down/lock"):
            pass
        with pytest.raises(TransactionFailed, match="exists"):
            async with zk.transaction() as txn:
                txn.create("/deep", container=True)
        stats = await zk.get("/deep/down")
        assert stats.stat.ephemeral_owner == 0


async def test_the_contenders_path_may_vanish_between_two_acquires(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lock = zk.Lock(PATH)
        async with lock as first:
            pass
        await zk.delete("/locks", recursive=True)
        async with lock as second:
            assert second.token > first.token


async def test_each_waiter_watches_its_predecessor_alone(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with anyio.create_task_group() as tasks:
            for n in range(5):
                tasks.start_soon(hold, zk)
                await until(zk, n + 1)
            before = zk.statistics().calls
            first = (await zk.get_children(PATH))[0]
            await zk.delete(f"{PATH}/{first}")
            await until(zk, 4)
            calls = zk.statistics().calls - before
            tasks.cancel_scope.cancel()
        assert calls < 15, "one waiter looked, not all of them"


async def hold(zk: AsyncZooKeeper) -> None:
    try:
        async with zk.Lock(PATH):
            await anyio.sleep_forever()
    except LockLost:
        pass


async def test_one_object_can_not_be_held_twice_at_once(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        lock = zk.Lock(PATH)
        async with lock:
            with pytest.raises(RuntimeError, match="held already"):
                await lock.__aenter__()
        async with lock:
            pass


def test_sequences_are_compared_as_numbers_and_strangers_ignored() -> None:
    numbers = ("10000000000", "9999999999", "x", "", "0000000007")
    names = (*(f"{PREFIX}{number}" for number in numbers), "other", "other-0000000001", "reader__rlock__0000000002")
    assert [contender.name for contender in in_order(names)] == [names[4], names[1], names[0]]
    assert [contender.sequence for contender in in_order(names, (LOCK, SHARED_LOCK))] == [2, 7, 9999999999, 10000000000]


async def test_an_error_in_the_body_comes_out_as_it_is_and_releases(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        with pytest.raises(ZeroDivisionError):
            async with zk.Lock(PATH):
                raise ZeroDivisionError
        assert await contenders(zk) == 0


# ---- deadlines and cancellation


async def test_a_timed_out_acquire_raises_and_leaves_nothing_behind(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.Lock(PATH):
            with pytest.raises(OperationTimeoutError, match="not granted"):
                await zk.Lock(PATH, timeout=0.5).__aenter__()
            assert await contenders(zk) == 1


async def test_an_acquire_cancelled_at_any_moment_leaves_nothing_behind(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with other.Lock(PATH):
            for steps in range(40):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(hold, zk)
                    for _ in range(steps):
                        await anyio.lowlevel.checkpoint()
                    tasks.cancel_scope.cancel()
                await until(zk, 1)
        await until(zk, 0)


async def test_a_free_lock_cancelled_at_any_moment_leaves_nothing_behind(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        for steps in range(40):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(hold, zk)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await until(zk, 0)


async def test_cancelling_from_outside_passes_through_and_releases(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        with anyio.CancelScope() as scope:
            async with zk.Lock(PATH):
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert await contenders(zk) == 0


async def test_an_acquire_whose_create_lost_its_reply_has_one_contender(
    server: ServerProcess, connect: Connect
) -> None:
    async with linked(server, connect) as (zk, link):
        await zk.ensure_path(PATH)
        async with anyio.create_task_group() as tasks:
            link.swallow_replies()
            tasks.start_soon(hold, zk)
            await link.swallowed.wait()
            link.allow()
            link.cut()
            await until(zk, 1)
            await zk.sync()
            assert await contenders(zk) == 1
            tasks.cancel_scope.cancel()
        await until(zk, 0)


async def test_an_acquire_cancelled_while_disconnected_is_cleaned_up_later(
    server: ServerProcess, connect: Connect
) -> None:
    async with linked(server, connect) as (zk, link):
        await zk.ensure_path(PATH)
        async with anyio.create_task_group() as tasks:
            link.swallow_replies()
            tasks.start_soon(hold, zk)
            await link.swallowed.wait()  # the contender is there, and nobody here knows its name
            link.refuse()
            tasks.cancel_scope.cancel()
        link.allow()
        await until(zk, 0)


async def test_a_release_while_disconnected_is_done_later(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (zk, link), connect() as other:
        suspended = anyio.Event()
        zk.add_listener(lambda state: suspended.set() if state is State.SUSPENDED else None)
        async with zk.Lock(PATH):
            link.refuse()
            await suspended.wait()
        assert await contenders(other) == 1
        link.allow()
        await until(other, 0)


# ---- losing


async def test_losing_the_session_cancels_the_body_and_raises(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=400) as (zk, link):
        cancelled = False
        with pytest.raises(LockLost, match="the session is lost"):  # noqa: PT012 - leaving the block is what is tested
            async with zk.Lock(PATH):
                link.refuse()
                try:
                    await anyio.sleep(20)
                except anyio.get_cancelled_exc_class():
                    cancelled = True
                    raise
        assert cancelled
        link.allow()


async def test_a_waiter_whose_whole_path_vanishes_is_told_that_its_place_is_gone(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        lost: list[str] = []

        async def wait() -> None:
            try:
                async with zk.Lock(PATH):
                    raise AssertionError("it was granted")
            except LockLost as error:
                lost.append(error.reason)

        async with anyio.create_task_group() as tasks:
            with pytest.raises(LockLost):  # noqa: PT012 - leaving the block is what is tested
                async with other.Lock(PATH):
                    tasks.start_soon(wait)
                    await until(other, 2)
                    async with other.transaction() as transaction:  # else the waiter is the next for a moment
                        for name in await other.get_children(PATH):
                            transaction.delete(f"{PATH}/{name}")
                        transaction.delete(PATH)
        assert lost == ["its node was deleted"]
        assert await zk.Lock(PATH).contenders() == ()


async def test_a_body_that_finished_after_the_loss_raises_too(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=400) as (zk, link):
        with pytest.raises(LockLost):  # noqa: PT012 - leaving the block is what is tested
            async with zk.Lock(PATH) as held:
                link.refuse()
                with anyio.CancelScope(shield=True):
                    await held.lost.wait()
                with pytest.raises(LockLost):
                    held.check()
        link.allow()


async def test_an_error_of_the_body_after_the_loss_is_the_cause(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=400) as (zk, link):
        with pytest.raises(LockLost) as caught:  # noqa: PT012 - leaving the block is what is tested
            async with zk.Lock(PATH) as held:
                link.refuse()
                with anyio.CancelScope(shield=True):
                    await held.lost.wait()
                raise ZeroDivisionError
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        link.allow()


async def test_the_next_one_gets_it_with_a_greater_token_after_the_old_holder_knows(
    server: ServerProcess, connect: Connect
) -> None:
    order: list[str] = []
    tokens: list[int] = []
    async with linked(server, connect, session_timeout_ms=600) as (zk, link), connect() as other:

        async def first() -> None:
            try:
                async with zk.Lock(PATH) as held:
                    tokens.append(held.token)
                    link.refuse()
                    await anyio.sleep_forever()
            except LockLost:
                order.append("lost")

        async def second() -> None:
            async with other.Lock(PATH) as held:
                order.append("granted")
                tokens.append(held.token)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            await until(other, 1)
            tasks.start_soon(second)
        assert order == ["lost", "granted"]
        assert tokens[0] < tokens[1]
        link.allow()


async def test_a_short_interruption_is_no_loss(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (zk, link):
        connected = anyio.Event()
        async with zk.Lock(PATH) as held:
            zk.add_listener(lambda state: connected.set() if state is State.CONNECTED else None)
            link.cut()
            await connected.wait()
            await zk.sync()
            held.check()


async def test_a_lock_whose_node_is_deleted_is_lost(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        with pytest.raises(LockLost, match="deleted"):  # noqa: PT012 - leaving the block is what is tested
            async with zk.Lock(PATH) as held:
                await other.delete(held.path)
                await anyio.sleep(20)


async def test_a_lock_whose_node_is_written_to_is_still_held(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        with pytest.raises(LockLost, match="deleted"):  # noqa: PT012 - leaving the block is what is tested
            async with zk.Lock(PATH) as held:
                await other.set(held.path, "scribble")
                await zk.sync()
                held.check()
                await other.delete(held.path)
                await anyio.sleep(20)


async def test_a_waiter_whose_node_is_deleted_does_not_wait_for_ever(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")

        async def wait() -> None:
            with pytest.raises(LockLost):
                await zk.Lock(PATH, identifier="waiter").__aenter__()

        async with other.Lock(PATH) as held, anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(other, 2)
            [_, waiter] = await other.get_children(PATH)
            await other.delete(f"{PATH}/{waiter}")
            await other.set(held.path, "wake up")


async def test_a_waiter_whose_session_ends_raises(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=400) as (zk, link), connect() as other:

        async def wait() -> None:
            with pytest.raises(SessionExpiredError):
                await zk.Lock(PATH).__aenter__()

        async with other.Lock(PATH), anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await until(other, 2)
            link.refuse()
            await until(other, 1)
            link.allow()


async def test_a_node_of_an_earlier_session_is_somebody_elses(server: ServerProcess, connect: Connect) -> None:
    async with connect() as other:
        await other.ensure_path("/")
        async with linked(server, connect, session_timeout_ms=600) as (zk, link):
            with anyio.move_on_after(20):
                with pytest.raises(LockLost):  # noqa: PT012 - leaving the block is what is tested
                    async with zk.Lock(PATH, identifier="same"):
                        link.refuse()
                        await anyio.sleep(20)
            first = zk.session_id
            link.allow()
            async with zk.Lock(PATH, identifier="same") as held:
                stat = await zk.exists(held.path)
                assert stat is not None
                assert stat.ephemeral_owner == zk.session_id
                assert await zk.get_children(PATH) == (held.path.rpartition("/")[2],)
                assert first != 0


# ---- guarding writes


async def test_a_guarded_transaction_works_while_held_and_fails_after(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        helds: list[Held] = []
        async with zk.Lock(PATH) as held:
            helds.append(held)
            async with zk.transaction(guard=held) as txn:
                txn.create("/result")
            assert txn.results == ("/result",)
            with pytest.raises(TransactionFailed) as caught:
                async with zk.transaction(guard=held) as txn:
                    txn.create("/result")
            assert caught.value.index == 0, "the guard is not counted"
        with pytest.raises(LockLost, match="released"):
            async with zk.transaction(guard=helds[0]) as txn:
                txn.create("/late")
        assert await zk.get_children("/") == ("locks", "result")


async def test_the_service_refuses_what_is_guarded_by_a_lock_that_is_gone(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        with pytest.raises(LockLost, match="guard"):  # noqa: PT012 - leaving the block is what is tested
            async with zk.Lock(PATH) as held:
                stale = Held(zk.driver, held.path, zk.absolute(held.path), held.token, zk.session_id)
                with anyio.CancelScope(shield=True):
                    await other.delete(held.path)
                    async with zk.transaction(guard=stale) as txn:  # does not know of the loss
                        txn.create("/late")
        assert await zk.exists("/late") is None
