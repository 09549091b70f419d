"""The client's methods against a real server, on both event loops."""

import math
import re
from collections.abc import Callable

import anyio
import pytest
from zkclient import (
    CREATOR_ALL_ACL,
    OPEN_ACL,
    APIError,
    AsyncZooKeeper,
    BadArgumentsError,
    BadVersionError,
    ClientClosedError,
    ConnectionLossError,
    EventType,
    GetChildren,
    GetData,
    Identity,
    NoAuthError,
    NodeData,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NoWatcherError,
    OperationTimeoutError,
    State,
    TransactionFailed,
    WatchEvent,
    status_of,
)

from zk.server.testing import ServerProcess, free_ports

pytestmark = pytest.mark.anyio
Connect = Callable[..., AsyncZooKeeper]


async def in_corner(zk: AsyncZooKeeper) -> AsyncZooKeeper:
    await zk.ensure_path("/")
    return zk


# ---- life


async def test_it_connects_at_the_first_call_and_says_goodbye(connect: Connect, server: ServerProcess) -> None:
    states: list[State] = []
    async with connect() as zk:
        zk.add_listener(states.append)
        assert (zk.state, zk.session_id) == (State.CONNECTING, 0)
        await in_corner(zk)
        assert zk.session_id != 0
        await zk.create("/mine", ephemeral=True)
        assert zk.statistics().server == str(server.address)
    assert states == [State.CONNECTED, State.CLOSED]
    async with connect() as zk:
        assert await zk.exists("/mine") is None


async def test_outside_its_block_it_says_so(connect: Connect) -> None:
    zk = connect()
    with pytest.raises(ClientClosedError, match="async with"):
        await zk.get("/")
    async with zk:
        await in_corner(zk)
    with pytest.raises(ClientClosedError):
        await zk.get("/")


async def test_an_error_in_the_block_comes_out_as_it_is(connect: Connect) -> None:
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving the block is what is tested
        async with connect() as zk:
            await in_corner(zk)
            raise ZeroDivisionError


async def test_cancelling_the_block_closes_the_session(connect: Connect, server: ServerProcess) -> None:
    async with connect() as zk:
        await in_corner(zk)
    with anyio.CancelScope() as scope:
        async with connect() as zk:
            await zk.create("/mine", ephemeral=True)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    async with connect() as zk:
        assert await zk.exists("/mine") is None


async def test_a_client_that_never_connects_says_which_hosts_it_tried(connect: Connect) -> None:
    [port] = free_ports(1)
    async with AsyncZooKeeper(f"127.0.0.1:{port},localhost:{port}", timeout=0.5) as zk:
        with pytest.raises(ConnectionLossError, match="refused") as caught:
            await zk.create("/a")
    assert f"127.0.0.1:{port}: " in str(caught.value)
    assert f"localhost:{port}: " in str(caught.value)
    assert not caught.value.maybe_applied
    assert isinstance(caught.value, ConnectionError)


async def test_status_needs_no_session(server: ServerProcess, connect: Connect) -> None:
    alone = await status_of(str(server.address))
    async with connect() as zk:
        attached = await zk.status()
    assert (alone.server_id, alone.role) == (attached.server_id, attached.role) == (1, "leader")
    [port] = free_ports(1)
    with pytest.raises(ConnectionLossError, match="refused"):
        await status_of(f"127.0.0.1:{port}")


# ---- nodes


async def test_what_is_stored_comes_back_as_bytes_as_text_and_as_a_pair(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        assert await zk.create("/config", "größe") == "/config"
        node = await zk.get("/config")
        data, stat = node
        assert (data, node.data, bytes(node), str(node)) == ("größe".encode(), data, data, "größe")
        assert stat == node.stat == await zk.exists("/config")
        assert node.zxid == zk.last_zxid == stat.czxid
        await zk.set("/config", b"\xff")
        assert str(await zk.get("/config")) == "\\xff"


async def test_every_kind_of_node(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        assert await zk.create("/s-", sequence=True) == "/s-0000000000"
        assert await zk.create("/s-", flags=zk.EPHEMERAL | zk.SEQUENCE) == "/s-0000000001"
        await zk.create("/e", ephemeral=True)
        await zk.create("/c", container=True)
        await zk.create("/t", ttl_ms=60_000)
        assert await zk.create("/t-", ttl_ms=60_000, sequence=True) == "/t-0000000005"
        owners = {}
        for name in await zk.get_children("/"):
            owners[name] = (await zk.get(f"/{name}")).stat.ephemeral_owner
        mine = zk.session_id
        assert owners == {"s-0000000000": 0, "s-0000000001": mine, "e": mine, "c": 0, "t": 0, "t-0000000005": 0}
        assert await zk.get_ephemerals() == ("/e", "/s-0000000001")
        assert await zk.get_ephemerals("/s") == ("/s-0000000001",)
        for nonsense in ({"ephemeral": True, "container": True}, {"ttl_ms": 5, "ephemeral": True}, {"flags": 99}):
            with pytest.raises(BadArgumentsError, match="kind"):
                await zk.create("/no", **nonsense)


async def test_missing_parents_are_made_on_demand(connect: Connect) -> None:
    async with connect() as zk:
        with pytest.raises(NoNodeError):
            await zk.create("/a/b/c")
        assert await zk.create("/a/b/c-", makepath=True, sequence=True) == "/a/b/c-0000000000"
        await zk.ensure_path("/a/b/c-0000000000/d/e")
        await zk.ensure_path("/a/b/c-0000000000/d/e")
        assert await zk.count("/") == 5


async def test_versions_guard_writes(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        await zk.create("/a")
        assert (await zk.set("/a", "1", version=0)).version == 1
        with pytest.raises(BadVersionError) as caught:
            await zk.set("/a", "2", version=0)
        assert (caught.value.path, int(caught.value.code)) == ("/a", -103)
        with pytest.raises(BadVersionError):
            await zk.delete("/a", version=0)
        await zk.delete("/a", version=1)
        await zk.create("/b")
        with pytest.raises(NodeExistsError):
            await zk.create("/b")


async def test_deleting_recursively_takes_everything_below(connect: Connect) -> None:
    async with connect() as zk:
        for path in ("/a/b/c/d", "/a/b/e", "/a/f", "/a/g/h"):
            await zk.create(path, makepath=True)
        with pytest.raises(NotEmptyError):
            await zk.delete("/a")
        with pytest.raises(BadVersionError):
            await zk.delete("/a", version=7, recursive=True)
        assert await zk.count("/a") == 7, "nothing goes if the node itself can't go"
        await zk.delete("/a", recursive=True)
        assert await zk.get_children("/") == ()
        with pytest.raises(NoNodeError):
            await zk.delete("/a", recursive=True)


async def test_children_are_sorted_and_come_with_the_stat_if_wanted(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        for name in "cab":
            await zk.create(f"/{name}")
        assert await zk.get_children("/") == ("a", "b", "c")
        names, stat = await zk.get_children("/", include_stat=True)
        assert (names, stat.num_children) == (("a", "b", "c"), 3)


async def test_pages_go_through_all_children_in_order(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        for n in range(7):
            await zk.create(f"/n{n}", str(n))
        pages = [[entry.name for entry in page] async for page in zk.pages("/", page_size=3)]
        assert pages == [["n0", "n1", "n2"], ["n3", "n4", "n5"], ["n6"]]
        data = [[entry.data for entry in page] async for page in zk.pages("/", start_after="n4", with_data=True)]
        assert data == [[b"5", b"6"]]
        assert [page async for page in zk.pages("/", prefix="x")] == []
        async for page in zk.pages("/", page_size=1):
            assert [entry.name for entry in page] == ["n0"]
            break


async def test_identities_open_what_they_closed(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        await zk.add_auth("digest", "user:secret")
        assert [identity.scheme for identity in await zk.whoami()].count("digest") == 1
        await zk.create("/mine", "x", acl=CREATOR_ALL_ACL)
        acl, stat = await zk.get_acls("/mine")
        assert ([entry.scheme for entry in acl], stat.aversion) == (["digest"], 0)
        async with connect() as stranger:
            assert Identity("ip", "127.0.0.1") in await stranger.whoami()
            with pytest.raises(NoAuthError) as caught:
                await stranger.get("/mine")
            assert caught.value.path == "/mine"
        assert (await zk.set_acls("/mine", OPEN_ACL, version=0)).aversion == 1


async def test_every_session_begins_with_the_identities_of_the_constructor(connect: Connect) -> None:
    async with connect(auth=[("digest", "user:secret")]) as zk:
        await zk.create("/mine", "x", acl=CREATOR_ALL_ACL, makepath=True)
        async with connect(auth=(("digest", b"user:secret"),)) as same, connect() as stranger:
            assert str(await same.get("/mine")) == "x"
            with pytest.raises(NoAuthError):
                await stranger.get("/mine")
    for wrong in ("digest", "user"), ("kerberos", "user:secret"):
        with pytest.raises(BadArgumentsError, match="user:password"):
            connect(auth=[wrong])


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"session_timeout_ms": 0}, "a whole number from 1 to 2147483647, not 0"),
        ({"session_timeout_ms": "10000"}, "a whole number from 1 to 2147483647, not '10000'"),
        ({"timeout": None}, "a number of seconds, math.inf for no deadline; not None"),
        ({"timeout": math.nan}, "not nan"),
        ({"tls": True}, "an ssl.SSLContext"),
        ({"auth": ("digest", "user:secret")}, "a list of"),
    ],
)
async def test_what_a_client_is_made_of_is_checked_at_once(
    connect: Connect, options: dict[str, object], what: str
) -> None:
    with pytest.raises(BadArgumentsError, match=what):
        connect(**options)
    with pytest.raises(BadArgumentsError, match="hosts is text"):
        AsyncZooKeeper(None)  # type: ignore[arg-type]  # as a program without types may


async def test_arguments_of_other_types_are_refused_and_do_no_harm(connect: Connect) -> None:
    async with connect() as zk:
        await zk.ensure_path("/")
        for data in ({"json": 1}, None, bytearray(b"x"), 5):
            with pytest.raises(BadArgumentsError, match=f"data is bytes or text, not {type(data).__name__}"):
                await zk.create("/a", data)  # type: ignore[arg-type]  # as a program without types may
        for path in (None, b"/a", {"/a": 1}):
            with pytest.raises(BadArgumentsError, match=f"a path is text, not {type(path).__name__}"):
                await zk.exists(path)  # type: ignore[arg-type]  # the same
        with pytest.raises(BadArgumentsError, match="watch is a function of the event, not True"):
            await zk.exists("/a", watch=True)  # type: ignore[arg-type]  # the same
        with pytest.raises(BadArgumentsError, match=re.escape("a path must start with '/'; did you mean '/a'?")):
            zk.Lock("a")
        assert await zk.create("/a", "fine") == "/a"


async def test_what_waits_for_a_first_server_says_in_the_end_which_were_tried() -> None:
    async with AsyncZooKeeper("127.0.0.1:1") as zk:
        tried = "no server to be had (127.0.0.1:1: Connection refused)"
        with pytest.raises(OperationTimeoutError) as cache:
            await zk.NodeCache("/a", timeout=0.5).__aenter__()
        async with zk.LeaderLatch("/b") as latch:
            with pytest.raises(OperationTimeoutError) as leadership:
                await latch.wait(timeout=0.5)
        assert str(cache.value) == f"the cache of /a was not filled in time: {tried}"
        assert str(leadership.value) == f"/b: this process does not lead yet: {tried}"


async def test_several_reads_at_one_instant(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        await zk.create("/b", "1")
        await zk.create("/a")
        data, names, missing = await zk.multi_read([GetData("/b"), GetChildren("/"), GetData("/x")])
        assert isinstance(data, NodeData)
        assert str(data) == "1"
        assert names == ("a", "b")
        assert isinstance(missing, APIError)
        assert (type(missing), missing.path) == (NoNodeError, "/x")


async def test_reads_can_be_linearizable_or_wait_for_a_zxid(connect: Connect) -> None:
    async with connect() as one, connect() as other:
        await in_corner(one)
        stat = await one.set("/", "x")
        assert str(await other.get("/", at_least=stat.mzxid)) == "x"
        assert str(await other.get("/", read="linearizable")) == "x"
        await other.sync()
        with pytest.raises(OperationTimeoutError):
            await other.get("/", at_least=stat.mzxid + 1_000_000, timeout=0.05)
        with pytest.raises(BadArgumentsError, match="linearizable"):
            await other.get("/", read="eventual")  # type: ignore[arg-type]  # that is the point


# ---- transactions


async def test_a_transaction_is_done_on_leaving_its_block(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        await zk.create("/old")
        async with zk.transaction() as txn:
            txn.create("/a-", "1", sequence=True).set("/old", "2", version=0).set_acls("/old", OPEN_ACL)
            txn.check("/old", version=1).delete("/old")
        created, written, acl, checked, deleted = txn.results
        assert created == "/a-0000000001"
        assert getattr(written, "version", None) == 1
        assert getattr(acl, "aversion", None) == 1
        assert (checked, deleted) == (None, None)


async def test_a_failed_transaction_names_the_operation_and_did_nothing(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        with pytest.raises(TransactionFailed) as caught:  # noqa: PT012 - leaving the block is what is tested
            async with zk.transaction() as txn:
                txn.create("/a")
                txn.delete("/missing")
                txn.create("/b")
        failed = caught.value
        assert (failed.index, failed.cause) == (1, NoNodeError("/missing", failed.cause.hint))
        assert failed.cause.path == "/missing"
        assert await zk.get_children("/") == ()


async def test_an_error_in_the_block_of_a_transaction_does_nothing(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving the block is what is tested
            async with zk.transaction() as txn:
                txn.create("/a")
                raise ZeroDivisionError
        assert await zk.get_children("/") == ()


# ---- watches


async def test_one_shot_watches_are_told_once(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        seen: list[tuple[str, EventType, str]] = []

        def hear(name: str) -> Callable[[WatchEvent], None]:
            return lambda event: seen.append((name, event.type, event.path))

        await zk.exists("/a", watch=hear("exists"))
        await zk.get_children("/", watch=hear("children"))
        await zk.create("/a")
        await zk.get("/a", watch=hear("data"))
        await zk.set("/a", "1")
        await zk.set("/a", "2")
        await zk.create("/b")
        assert seen == [
            ("exists", EventType.CREATED, "/a"),
            ("children", EventType.CHILDREN_CHANGED, "/"),
            ("data", EventType.DATA_CHANGED, "/a"),
        ]


async def test_watches_that_are_taken_back_hear_of_that_and_of_nothing_else(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        await zk.create("/a")
        seen: list[tuple[EventType, str]] = []

        def hear(event: WatchEvent) -> None:
            seen.append((event.type, event.path))

        await zk.get("/a", watch=hear)
        await zk.get_children("/a", watch=hear)
        await zk.get("/", watch=hear)
        await zk.remove_all_watches("/a")
        assert zk.statistics().watches == 1
        await zk.set("/a", "1")
        await zk.create("/a/b")
        await zk.set("/", "1")
        with pytest.raises(NoWatcherError) as refused:
            await zk.remove_all_watches("/a")
        assert refused.value.path == "/a"
    assert seen == [
        (EventType.DATA_WATCH_REMOVED, "/a"),
        (EventType.CHILD_WATCH_REMOVED, "/a"),
        (EventType.DATA_CHANGED, "/"),
    ]


async def test_a_lock_survives_that_its_watches_are_taken_back(connect: Connect) -> None:
    async with connect() as zk, connect() as other:
        await in_corner(zk)
        async with anyio.create_task_group() as tasks:
            holder = await other.Lock("/lock").acquire()
            waiter = zk.Lock("/lock")
            tasks.start_soon(waiter.acquire)
            watched = 2  # the own node and the one before it
            while zk.statistics().watches < watched:
                await zk.sync()
            await zk.remove_all_watches(holder.path)
            while zk.statistics().watches < watched:
                await zk.sync()
            await other.delete(holder.path)
        assert len(await zk.get_children("/lock")) == 1
        await waiter.release()


async def test_a_failing_callback_harms_nobody_else(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    async with connect() as zk:
        await in_corner(zk)
        seen: list[WatchEvent] = []

        def fail(_: WatchEvent) -> None:
            raise ZeroDivisionError

        await zk.exists("/a", watch=fail)
        await zk.exists("/a", watch=seen.append)
        await zk.create("/a")
        assert [event.type for event in seen] == [EventType.CREATED]
    assert "a callback failed" in caplog.text


async def test_a_stream_tells_all_that_happens_from_its_beginning(connect: Connect) -> None:
    async with connect() as zk, connect() as writer:
        await in_corner(zk)
        stream = zk.watch("/", recursive=True)
        await zk.sync()
        await writer.create("/a")
        await writer.set("/a", "1")
        await writer.delete("/a")
        events = []
        async for event in stream:
            events.append(event)
            if len(events) == 3:
                break
        assert [(event.type.name, event.path) for event in events] == [
            ("CREATED", "/a"),
            ("DATA_CHANGED", "/a"),
            ("DELETED", "/a"),
        ]
        assert events[-1].zxid == writer.last_zxid
        with zk.watch("/", recursive=True, since=events[0].zxid) as again:
            assert [await anext(again), await anext(again)] == events[1:]
        with pytest.raises(StopAsyncIteration):
            await anext(again)


async def test_a_forgotten_stream_is_unwatched(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        async for _ in zk.watch("/", since=0):
            break
        await zk.create("/a")
        assert zk.statistics().watches == 0


async def test_a_stream_ends_with_its_client_and_fails_for_a_bad_path(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        stream = zk.watch("/")
        with pytest.raises(BadArgumentsError):
            await anext(zk.watch("//"))
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_slow_consumer_gets_the_latest_of_equal_events_and_then_a_resync(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        await zk.create("/a")
        stream = zk.watch("/", recursive=True, buffer_size=4)
        for n in range(6):
            await zk.set("/a", str(n))
        first = await anext(stream)
        assert (first.type, first.zxid) == (EventType.DATA_CHANGED, zk.last_zxid - 2), "earlier ones were merged"
        for n in range(6):
            await zk.create(f"/{n}")
        kinds = [(await anext(stream)).type for _ in range(2)]
        assert kinds == [EventType.RESYNC, EventType.CREATED]


# ---- cancelling


async def test_a_cancelled_call_leaves_the_client_usable(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        for steps in range(8):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(zk.set, "/", str(steps))
                for _ in range(steps):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
            assert await zk.exists("/") is not None
        assert zk.statistics().calls_pending == 0


async def test_calls_of_many_tasks_share_sends(connect: Connect) -> None:
    async with connect() as zk:
        await in_corner(zk)
        await zk.create("/a", "1")
        results: list[str] = []

        async def read() -> None:
            results.extend([str(await zk.get("/a")) for _ in range(50)])

        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(read)
        assert results == ["1"] * 2_000
