"""LeaderLatch: leads when its turn comes, stands again when it has lost, and tells both."""

from collections.abc import Callable
from queue import SimpleQueue

import anyio
import pytest
from zkclient import (
    CREATOR_ALL_ACL,
    AsyncZooKeeper,
    LockLost,
    NoAuthError,
    OperationTimeoutError,
    TransactionFailed,
    ZooKeeper,
)
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/leader"


async def test_the_first_one_leads_and_the_next_follows_with_a_greater_token(connect: Connect) -> None:
    async with connect() as one, connect() as two:
        await one.ensure_path("/")
        async with one.LeaderLatch(PATH, "one") as first:
            held = await first.wait(timeout=10)
            async with two.LeaderLatch(PATH, "two") as second:
                with pytest.raises(OperationTimeoutError, match="does not lead"):
                    await second.wait(timeout=0.5)
                assert (first.has_leadership, second.has_leadership) == (True, False)
                assert await two.Election(PATH).candidates() == ("one", "two")
                await first.close()
                assert not first.has_leadership
                assert (await second.wait(timeout=10)).token > held.token
        assert await one.Election(PATH).candidates() == ()


async def test_listeners_hear_of_each_turn_and_a_lost_leadership_is_stood_for_again(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        heard: list[bool] = []
        latch = zk.LeaderLatch(PATH)
        latch.add_listener(heard.append)
        async with latch:
            held = await latch.wait()
            await other.delete(held.path)
            await held.lost.wait()
            assert not latch.has_leadership
            again = await latch.wait(timeout=10)
            assert again.token > held.token
            assert heard == [True, False, True]
        assert heard == [True, False, True, False]


async def test_it_does_not_lead_any_more_before_its_session_ends(server: ServerProcess, connect: Connect) -> None:
    async with (
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=600) as old,
        connect() as new,
    ):
        await old.ensure_path("/")
        async with old.LeaderLatch(PATH) as first:
            held = await first.wait(timeout=10)
            async with new.LeaderLatch(PATH) as second:
                link.refuse()
                await second.wait(timeout=10)
                assert held.lost.is_set()
                assert not first.has_leadership
                link.allow()
            assert (await first.wait(timeout=10)).token > held.token


async def test_writes_guarded_by_the_leadership_fail_without_it(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.LeaderLatch(PATH) as latch:
            held = await latch.wait()
            async with zk.transaction(guard=held) as txn:
                txn.create("/result")
            with pytest.raises(TransactionFailed):
                async with zk.transaction(guard=held) as txn:
                    txn.create("/result")
        with pytest.raises(LockLost):
            await zk.transaction(guard=held).delete("/result").commit()


async def test_what_the_service_refuses_for_good_is_raised_by_waiting(connect: Connect) -> None:
    async with connect() as zk, connect(auth=[("digest", "user:password")]) as owner:
        await zk.ensure_path("/")
        await owner.create(PATH, acl=CREATOR_ALL_ACL)
        async with zk.LeaderLatch(PATH) as latch:
            with pytest.raises(NoAuthError):
                await latch.wait(timeout=10)


async def test_a_latch_that_does_not_stand_can_not_be_waited_for(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        latch = zk.LeaderLatch(PATH)
        with pytest.raises(RuntimeError, match="not started"):
            await latch.wait()
        async with latch:
            with pytest.raises(RuntimeError, match="once"):
                await latch.start()
        with pytest.raises(RuntimeError, match="closed"):
            await latch.wait()


async def test_closed_at_any_moment_it_leaves_no_candidate(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        for steps in range(30):
            latch = zk.LeaderLatch(PATH)
            await latch.start()
            for _ in range(steps):
                await anyio.lowlevel.checkpoint()
            await latch.close()
            assert not latch.has_leadership
            await zk.sync()  # behind the answers to what was under way, and then behind what undoes it
            await zk.sync()
            assert await zk.Election(PATH).candidates() == ()


def test_the_blocking_twin_leads_and_tells(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        heard: SimpleQueue[bool] = SimpleQueue()
        latch = zk.LeaderLatch(PATH, "me")
        latch.add_listener(heard.put)
        with latch:
            held = latch.wait(timeout=10)
            assert latch.has_leadership
            zk.delete(held.path)
            assert held.lost.wait(10)
            assert latch.wait(timeout=10).token > held.token
            assert zk.Election(PATH).leader() == "me"
        assert not latch.has_leadership
        assert [heard.get(timeout=10) for _ in range(4)] == [True, False, True, False]
