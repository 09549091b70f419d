"""Election: one leader at a time, and those who look on."""

from collections.abc import Callable

import anyio
import pytest
from zkclient import AsyncZooKeeper, LockLost
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
PATH = "/leader"


async def test_one_leads_and_the_next_takes_over_with_a_greater_token(connect: Connect) -> None:
    async with connect() as one, connect() as two:
        await one.ensure_path("/")
        terms: list[tuple[str, int]] = []
        leading = 0

        async def campaign(zk: AsyncZooKeeper, name: str) -> None:
            nonlocal leading
            async with zk.Election(PATH, name) as leadership:
                leading += 1
                assert leading == 1
                assert await zk.Election(PATH).leader() == name
                terms.append((name, leadership.token))
                leading -= 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(campaign, one, "one")
            tasks.start_soon(campaign, two, "two")
            tasks.start_soon(campaign, one, "three")
        assert sorted(name for name, _ in terms) == ["one", "three", "two"]
        tokens = [token for _, token in terms]
        assert tokens == sorted(tokens)
        assert await one.Election(PATH).leader() is None


async def test_without_candidates_there_is_no_leader(connect: Connect) -> None:
    async with connect() as zk:
        election = zk.Election(PATH)
        assert await election.leader() is None
        await zk.ensure_path(PATH)
        assert await election.leader() is None


async def test_candidates_are_listed_in_order(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        async with zk.Election(PATH, "first"), anyio.create_task_group() as tasks:
            changed = anyio.Event()
            await zk.get_children(PATH, watch=lambda _: changed.set())
            tasks.start_soon(zk.Election(PATH, "second").__aenter__)
            await changed.wait()
            assert await zk.Election(PATH).candidates() == ("first", "second")
            tasks.cancel_scope.cancel()


async def test_an_observer_sees_every_change_of_leadership(connect: Connect) -> None:
    async with connect() as zk, connect() as observer:
        await zk.ensure_path("/")
        leaders = observer.Election(PATH).leaders()
        seen = [await anext(leaders)]
        for name in ("a", "b", "b"):
            async with zk.Election(PATH, name):
                seen.append(await anext(leaders))
            seen.append(await anext(leaders))
        assert seen == [None, "a", None, "b", None, "b", None]


async def test_an_observer_goes_on_over_broken_connections(server: ServerProcess, connect: Connect) -> None:
    async with (
        connect() as zk,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=20_000) as observer,
    ):
        await zk.ensure_path("/")
        leaders = observer.Election(PATH).leaders()
        assert await anext(leaders) is None
        link.refuse()
        async with zk.Election(PATH, "a"):
            link.allow()
            assert await anext(leaders) == "a"
            link.cut()
        assert await anext(leaders) is None


async def test_a_leader_that_loses_its_session_is_deposed_before_the_next_one_leads(
    server: ServerProcess, connect: Connect
) -> None:
    order: list[str] = []
    async with (
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=600) as old,
        connect() as new,
    ):
        await old.ensure_path("/")
        elected = anyio.Event()

        async def first() -> None:
            with pytest.raises(LockLost):  # noqa: PT012 - leaving the block is what is tested
                async with old.Election(PATH, "old"):
                    elected.set()
                    link.refuse()
                    await anyio.sleep_forever()
            order.append("deposed")

        async def second() -> None:
            await elected.wait()
            async with new.Election(PATH, "new"):
                order.append("elected")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
        assert order == ["deposed", "elected"]
        link.allow()
