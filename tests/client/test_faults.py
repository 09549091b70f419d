"""Lost replies, broken connections, killed servers, ended sessions: a real server behind a link that fails."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
import pytest
from zkclient import (
    OPEN_ACL,
    AsyncZooKeeper,
    EventType,
    OperationTimeoutError,
    SessionExpiredError,
    State,
    WatchEvent,
)
from zkclient.testing import Link

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]
Operation = Callable[[AsyncZooKeeper], Awaitable[object]]


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


class States:
    """The states of a client as they come, to be waited for."""

    def __init__(self, zk: AsyncZooKeeper) -> None:
        self.seen: list[State] = []
        self._changed = anyio.Event()
        zk.add_listener(self._add)

    def _add(self, state: State) -> None:
        self.seen.append(state)
        self._changed.set()

    async def wait_for(self, state: State) -> None:
        with anyio.fail_after(10):
            while state not in self.seen:
                self._changed = anyio.Event()
                await self._changed.wait()


# ---- exactly once


async def _transact(zk: AsyncZooKeeper) -> object:
    async with zk.transaction() as txn:
        txn.create("/in-txn-", sequence=True).set("/node", "txn", version=0)
    return txn.results[0]


ONCE: dict[str, tuple[Operation, object]] = {
    "create": (lambda zk: zk.create("/new"), "/new"),
    "create sequential": (lambda zk: zk.create("/s-", sequence=True), "/s-0000000001"),
    "create ephemeral": (lambda zk: zk.create("/e", ephemeral=True), "/e"),
    "delete": (lambda zk: zk.delete("/node", version=0), None),
    "transaction": (_transact, "/in-txn-0000000001"),
    "add_auth": (lambda zk: zk.add_auth("digest", "u:p"), None),
    "ensure_path": (lambda zk: zk.ensure_path("/x"), None),
}


@pytest.mark.parametrize("name", ONCE)
async def test_a_write_whose_reply_is_lost_is_done_once_and_answered_with_the_first_answer(
    server: ServerProcess, connect: Connect, name: str
) -> None:
    operation, expected = ONCE[name]
    results: list[object] = []
    async with linked(server, connect) as (zk, link):
        await zk.create("/node")
        children = len(await zk.get_children("/"))

        async def operate() -> None:
            results.append(await operation(zk))

        async with anyio.create_task_group() as tasks:
            link.swallow_replies()
            tasks.start_soon(operate)
            await link.swallowed.wait()
            link.allow()
            link.cut()
        assert results == [expected]
        grown = len(await zk.get_children("/")) - children
        assert grown == {"delete": -1, "add_auth": 0}.get(name, 1)


@pytest.mark.parametrize("name", ["set", "set_acls"])
async def test_a_conditional_write_whose_reply_is_lost_does_not_fail_on_its_own_effect(
    server: ServerProcess, connect: Connect, name: str
) -> None:
    versions: list[tuple[int, int]] = []
    async with linked(server, connect) as (zk, link):
        await zk.create("/node")

        async def operate() -> None:
            call = zk.set("/node", "1", version=0) if name == "set" else zk.set_acls("/node", OPEN_ACL, version=0)
            stat = await call
            versions.append((stat.version, stat.aversion))

        async with anyio.create_task_group() as tasks:
            link.swallow_replies()
            tasks.start_soon(operate)
            await link.swallowed.wait()
            link.allow()
            link.cut()
        assert versions == [(1, 0) if name == "set" else (0, 1)]


async def test_reads_whose_replies_are_lost_are_asked_again(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (zk, link):
        await zk.set("/", "x")
        link.swallow_replies()
        results: list[object] = []

        async def read(call: Awaitable[object]) -> None:
            results.append(await call)

        async with anyio.create_task_group() as tasks:
            for call in (zk.count("/"), zk.get_children("/"), zk.get_ephemerals(), zk.sync()):
                tasks.start_soon(read, call)
            await link.swallowed.wait()
            link.allow()
            link.cut()
        assert sorted(results, key=repr) == [(), (), 0, None]


async def test_increments_under_broken_connections_add_up(server: ServerProcess, connect: Connect) -> None:
    tasks_count, each = 10, 30
    async with linked(server, connect) as (zk, link):

        async def increment() -> None:
            for _ in range(each):
                await zk.set("/", "x")

        async def disturb() -> None:
            for _ in range(5):
                await anyio.sleep(0.02)
                link.cut()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(disturb)
            for _ in range(tasks_count):
                tasks.start_soon(increment)
        stat = await zk.exists("/")
        assert stat is not None
        assert stat.version == tasks_count * each


async def test_a_server_killed_in_mid_flight_and_restarted_has_done_every_write_once(own_server: ServerProcess) -> None:
    async with AsyncZooKeeper(str(own_server.address), timeout=30) as zk:
        created: list[str] = []
        await zk.create("/q")

        async def create() -> None:
            for _ in range(20):
                path = await zk.create("/q/n-", sequence=True)
                created.append(path)

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(create)
            while len(created) < 40:
                await anyio.sleep(0.001)
            await anyio.to_thread.run_sync(own_server.kill)
            own_server.start()
        assert len(created) == len(set(created)) == 200
        assert await zk.get_children("/q") == tuple(sorted(path[3:] for path in created))


async def test_a_cancelled_write_is_finished_or_was_never_sent(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (zk, link):
        link.swallow_replies()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(zk.create, "/sent")
            await link.swallowed.wait()
            tasks.cancel_scope.cancel()
        states = States(zk)
        link.refuse()
        await states.wait_for(State.SUSPENDED)
        with anyio.move_on_after(0.05):
            await zk.create("/unsent")
        link.allow()
        assert await zk.get_children("/") == ("sent",)


async def test_an_overdue_write_says_that_it_may_have_been_done(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (zk, link):
        link.swallow_replies()
        with pytest.raises(OperationTimeoutError) as caught:
            await zk.set("/", "x", timeout=0.5)
        assert caught.value.maybe_applied
        with pytest.raises(OperationTimeoutError) as caught:
            await zk.get("/", timeout=0.5)
        assert not caught.value.maybe_applied
        link.allow()
        link.cut()
        assert str(await zk.get("/")) == "x"


# ---- sessions


async def test_a_silent_server_is_left_and_the_session_lives_on(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=3_000) as (zk, link):  # a third is left to come back in
        session_id = zk.session_id
        states = States(zk)
        await zk.create("/mine", ephemeral=True)
        link.swallow_replies()
        await states.wait_for(State.SUSPENDED)
        link.allow()
        await states.wait_for(State.CONNECTED)
        assert zk.session_id == session_id
        assert await zk.exists("/mine") is not None


async def test_expiry_is_told_and_a_new_session_follows(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=400) as (zk, link), connect() as other:
        session_id = zk.session_id
        states = States(zk)
        await zk.create("/mine", ephemeral=True)
        gone = anyio.Event()
        await other.get("/mine", watch=lambda _: gone.set())
        outcomes: list[object] = []

        async def write() -> None:
            try:
                outcomes.append(await zk.set("/", "x"))
            except SessionExpiredError as error:
                outcomes.append(error.maybe_applied)

        async with anyio.create_task_group() as tasks:
            link.swallow_replies()
            tasks.start_soon(write)
            await link.swallowed.wait()
            link.refuse()
            with anyio.fail_after(20):
                await gone.wait()
            link.allow()
        assert outcomes == [True]
        await states.wait_for(State.CONNECTED)
        assert states.seen == [State.SUSPENDED, State.LOST, State.CONNECTED]
        assert zk.session_id != session_id
        assert await zk.exists("/mine") is None
        await zk.create("/mine", ephemeral=True)


async def test_lost_comes_before_the_service_lets_go(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect, session_timeout_ms=600) as (zk, link), connect() as other:
        order: list[str] = []
        gone = anyio.Event()
        zk.add_listener(lambda state: order.append(state.name))
        await zk.create("/mine", ephemeral=True)
        await other.get("/mine", watch=lambda _: gone.set())
        link.refuse()
        with anyio.fail_after(20):
            await gone.wait()
        await other.sync()  # if this loop stood still, it has found its own deadline and the event at the same moment
        order.append("deleted")
        assert order == ["SUSPENDED", "LOST", "deleted"]
        link.allow()


# ---- watches


async def test_a_stream_misses_nothing_while_its_client_is_away(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (zk, link), connect() as other:
        stream = zk.watch("/", recursive=True)
        await zk.sync()
        await other.create("/a")
        assert (await anext(stream)).path == "/a"
        link.refuse()
        await other.delete("/a")
        await other.create("/a")
        async with other.transaction() as txn:
            txn.create("/b").create("/c")
        link.allow()
        events = [await anext(stream) for _ in range(4)]
        assert [(event.type.name, event.path) for event in events] == [
            ("DELETED", "/a"),
            ("CREATED", "/a"),
            ("CREATED", "/b"),
            ("CREATED", "/c"),
        ]


async def test_a_stream_goes_on_over_broken_connections_without_gap_or_double(
    server: ServerProcess, connect: Connect
) -> None:
    rounds = 100
    async with linked(server, connect) as (zk, link), connect() as other:
        streams = [zk.watch("/", recursive=True), zk.watch("/"), zk.watch("/p", recursive=True)]
        await zk.sync()
        await other.create("/p")

        async def write() -> None:
            for n in range(rounds):
                async with other.transaction() as txn:
                    txn.create(f"/p/{n}").set("/p", str(n))
                if n % 10 == 5:
                    link.cut()
                    await anyio.sleep(0.01)
            await other.delete("/p", recursive=True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            for stream, per_round in ((streams[0], 2), (streams[2], 2)):
                events = [await anext(stream) for _ in range(1 + per_round * rounds)]
                assert [event.path for event in events] == [
                    "/p",
                    *[p for n in range(rounds) for p in (f"/p/{n}", "/p")],
                ]
            assert (await anext(streams[1])).type is EventType.CHILDREN_CHANGED


async def test_one_shot_watches_survive_the_connection(server: ServerProcess, connect: Connect) -> None:
    async with linked(server, connect) as (zk, link), connect() as other:
        await zk.create("/a")
        seen: list[tuple[str, str]] = []
        told = anyio.Event()

        def hear(name: str) -> Callable[[WatchEvent], None]:
            def hear(event: WatchEvent) -> None:
                seen.append((name, event.type.name))
                if len(seen) == 3:
                    told.set()

            return hear

        await zk.get("/a", watch=hear("data"))
        await zk.exists("/b", watch=hear("exists"))
        await zk.get_children("/", watch=hear("children"))
        link.refuse()
        await other.set("/a", "1")
        await other.create("/b")
        link.allow()
        with anyio.fail_after(10):
            await told.wait()
        assert sorted(seen) == [("children", "CHILDREN_CHANGED"), ("data", "DATA_CHANGED"), ("exists", "CREATED")]
