"""Party: who takes part is told, and who lost the session is out."""

from collections.abc import Callable

import anyio
import pytest
from zkclient import AsyncZooKeeper, Party
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/parties/one"


async def test_members_are_told_in_the_order_of_joining(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        mine, yours = Party(zk, PATH, "mine"), Party(other, PATH, "yours")
        assert await mine.members() == ()
        first, second = await yours.join(), await mine.join()
        assert first.token < second.token
        assert await mine.members() == ("yours", "mine")
        assert await mine.join() is second
        assert [await yours.leave(), await yours.leave()] == [True, False]
        assert await mine.members() == ("mine",)


async def test_who_ends_the_session_is_out(connect: Connect) -> None:
    async with connect() as zk:
        async with connect() as other:
            await zk.ensure_path("/")
            await Party(other, PATH, "other").join()
            assert await Party(zk, PATH).members() == ("other",)
        assert await Party(zk, PATH).members() == ()


async def test_who_lost_the_session_is_out_until_it_joins_again(server: ServerProcess, connect: Connect) -> None:
    async with (
        connect() as watcher,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=400) as zk,
    ):
        await zk.ensure_path("/")
        party = Party(zk, PATH, "me")
        membership = await party.join()
        link.refuse()
        await membership.lost.wait()
        link.allow()
        again = await party.join()
        assert again.token > membership.token
        async for _ in watcher.watch(membership.path, since=membership.token):
            break
        assert await Party(watcher, PATH).members() == ("me",)
        assert await party.leave() is True


async def test_a_membership_that_was_deleted_is_lost(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        party = Party(zk, PATH, "me")
        membership = await party.join()
        await other.delete("/parties", recursive=True)
        await membership.lost.wait()
        assert await party.leave() is False


async def test_who_joins_again_in_a_session_that_was_given_up_for_lost_is_one_member(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        party = Party(zk, PATH, "me")
        (await party.join())._lose("no answer came for so long that it might be")
        again = await party.join()
        assert [await party.members(), await zk.get_children(PATH)] == [("me",), (again.path.rpartition("/")[2],)]


async def test_one_object_is_one_member(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        party = Party(zk, PATH, "me")
        refused: list[str] = []

        async def join() -> None:
            try:
                await party.join()
            except RuntimeError as error:
                refused.append(str(error))

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(join)
        assert await party.members() == ("me",)
        assert refused == [f"this member of {PATH} joins already: make one object per member"]


async def test_a_join_cancelled_at_any_moment_leaves_no_member(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path(PATH)
        for steps in range(30):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(join_and_stay, zk)
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            await zk.sync()
            assert await Party(zk, PATH).members() == ()


async def join_and_stay(zk: AsyncZooKeeper) -> None:
    party = Party(zk, PATH, "me")
    try:
        await party.join()
        await anyio.sleep_forever()
    finally:
        await party.leave()
