"""Discovery: instances are found as long as they are there, also when their session was lost meanwhile."""

from collections import Counter
from collections.abc import Callable

import anyio
import pytest
from zkclient import AsyncZooKeeper, Instance, Instances, NoInstanceError, OperationTimeoutError, ZooKeeper
from zkclient.testing import Link

from zk.server.testing import ServerProcess

Connect = Callable[..., AsyncZooKeeper]
PATH = "/services"


async def until(instances: Instances, *ids: str) -> None:
    """Wait until exactly these are present."""
    with anyio.fail_after(10):
        async for present in instances.changes():
            if [instance.id for instance in present] == list(ids):
                return


@pytest.mark.anyio
async def test_an_instance_is_found_within_its_block(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        discovery = zk.Discovery(PATH)
        async with other.Discovery(PATH).find("web") as web:
            assert web.present == ()
            async with discovery.register("web", "10.0.0.7", 80, id="one", metadata={"zone": "a"}) as registration:
                expected = Instance("web", "one", "10.0.0.7", 80, {"zone": "a"})
                assert (registration.instance, registration.registered) == (expected, True)
                await until(web, "one")
                assert list(web.present) == [expected]
                async with discovery.register("web", "10.0.0.8", 80, id="two"):
                    await until(web, "one", "two")
                await until(web, "one")
                assert await discovery.names() == ("web",)
            await until(web)


@pytest.mark.anyio
async def test_instances_are_chosen_in_turn_or_by_chance(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        discovery = zk.Discovery(PATH)
        assert await discovery.names() == ()
        async with discovery.find("web") as web:
            with pytest.raises(NoInstanceError):
                web.choose()
            with pytest.raises(LookupError):
                web.choose_in_turn()
        async with (
            discovery.register("web", "a", 1, id="a"),
            discovery.register("web", "b", 2, id="b"),
            discovery.register("web", "c", 3, id="c"),
            discovery.find("web") as web,
        ):
            assert [web.choose_in_turn().id for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
            by_chance = Counter(web.choose().id for _ in range(300))
            assert set(by_chance) == {"a", "b", "c"}


@pytest.mark.anyio
async def test_without_an_id_each_instance_gets_its_own(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        discovery = zk.Discovery(PATH)
        async with discovery.register("web", "a", 1) as one, discovery.register("web", "a", 1) as two:
            assert one.instance.id != two.instance.id


@pytest.mark.anyio
async def test_it_registers_anew_in_the_next_session(server: ServerProcess, connect: Connect) -> None:
    async with (
        connect() as observer,
        Link(str(server.address)) as link,
        connect(link.address, session_timeout_ms=500) as zk,
    ):
        await observer.ensure_path("/")
        async with observer.Discovery(PATH).find("web") as web:
            async with zk.Discovery(PATH).register("web", "a", 1, id="one") as registration:
                await until(web, "one")
                link.refuse()
                await until(web)
                assert not registration.registered
                link.allow()
                await until(web, "one")
            await until(web)


@pytest.mark.anyio
async def test_it_registers_anew_when_its_node_was_deleted(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await zk.ensure_path("/")
        async with zk.Discovery(PATH).register("web", "a", 1, id="one"), other.Discovery(PATH).find("web") as web:
            await until(web, "one")
            for _ in range(3):
                before = await other.get_children(f"{PATH}/web")
                await other.delete(f"{PATH}/web/{before[0]}")
                with anyio.fail_after(10):
                    async with other.ChildrenCache(f"{PATH}/web") as cache:
                        changes = cache.changes()
                        while not cache or set(cache) == set(before):
                            await anext(changes)
            await until(web, "one")
        assert await other.get_children(f"{PATH}/web") == ()


@pytest.mark.anyio
async def test_of_several_with_one_id_the_latest_counts(connect: Connect) -> None:
    async with connect() as old, connect() as new:
        await old.ensure_path("/")
        async with (
            old.Discovery(PATH).register("web", "old", 1, id="one"),
            new.Discovery(PATH).register("web", "new", 2, id="one"),
            old.Discovery(PATH).find("web") as web,
        ):
            await until(web, "one")
            assert [instance.address for instance in web.present] == ["new"]


@pytest.mark.anyio
async def test_what_is_no_instance_is_left_out(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        for number, data in enumerate((b"", b"no json", b"[]", b'{"name": "web"}', b'{"metadata": 1}', b"\xff")):
            await zk.create(f"{PATH}/web/instance-{number}", data, makepath=True)
        async with zk.Discovery(PATH).register("web", "a", 1, id="one"), zk.Discovery(PATH).find("web") as web:
            await until(web, "one")


@pytest.mark.anyio
async def test_a_registration_that_is_given_up_leaves_nothing(server: ServerProcess, connect: Connect) -> None:
    async with connect() as other, Link(str(server.address)) as link, connect(link.address, timeout=5) as zk:
        await other.ensure_path("/")
        await other.ensure_path(f"{PATH}/web")
        await zk.exists("/")
        link.swallow_replies()
        with anyio.move_on_after(0.2):
            async with zk.Discovery(PATH).register("web", "a", 1):
                raise AssertionError("it can't be registered")
        with pytest.raises(OperationTimeoutError):
            async with zk.Discovery(PATH).register("web", "a", 1, timeout=0.1):
                raise AssertionError("it can't be registered")
        link.allow()
        link.cut()
        await zk.sync()
        await zk.get_children(f"{PATH}/web")
        await zk.set("/", "")  # behind whatever undoes the registrations
        assert await zk.get_children(f"{PATH}/web") == ()


def test_threads_find_instances_too(server: ServerProcess, corner: str) -> None:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        discovery = zk.Discovery(PATH)
        with discovery.find("web") as web:
            changes = web.changes()
            assert next(changes) == ()
            with discovery.register("web", "a", 1, id="one", metadata={"zone": "b"}) as registration:
                expected = Instance("web", "one", "a", 1, {"zone": "b"})
                assert (registration.instance, registration.registered) == (expected, True)
                assert next(changes) == (expected,)
                assert (web.choose(), web.choose_in_turn(), web.present) == (expected, expected, (expected,))
                assert discovery.names() == ("web",)
            assert next(changes) == ()
        assert list(changes) == []
