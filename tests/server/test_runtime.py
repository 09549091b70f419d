"""The runtime with a whole replica over a simulated disk: it serves, stops, and ends when it must."""

import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random, SystemRandom

import pytest
import trio

from zk.broadcast.engine import Role, RoleChanged
from zk.broadcast.zab import ZabConfig
from zk.model.errors import ThrottledError
from zk.model.limits import DEFAULT_LIMITS
from zk.model.record import ConnectionId, ServerId, SessionId
from zk.model.replies import ConnectReply, Created, Reply
from zk.model.requests import Call, Connect, Create, Exists
from zk.replica.config import ReplicaConfig
from zk.replica.events import ClientConnected, ClientReceived, DiskSpace
from zk.replica.replica import Replica
from zk.server.config import Address
from zk.server.listener import listen
from zk.server.logthread import LogThread, SnapshotThread
from zk.server.poller import READ, Poller, Source
from zk.server.polling import open_poller
from zk.server.runtime import POLLS_PER_ROUND, Runtime, monotonic_ms, wall_ms
from zk.server.wakeup import Wakeup
from zk.sim.disk import Disk
from zk.storage.errors import LogFailure
from zk.storage.segment import Identity
from zk.storage.store import open_store
from zk.wire.native import ClientConnection
from zk.wire.peer import VERSION, Hello

pytestmark = pytest.mark.trio
ALONE = frozenset({ServerId(1)})


class Alone:
    """A server alone, over a simulated disk and real sockets."""

    def __init__(self, runtime: Runtime, poller: Poller, address: Address) -> None:
        self.runtime = runtime
        self.poller = poller
        self.address = address
        self.ended: BaseException | None = None

    async def run(self) -> None:
        try:
            await self.runtime.run()
        except* LogFailure as group:
            [self.ended] = group.exceptions


@asynccontextmanager
async def alone(disk: Disk, epoll: bool) -> AsyncIterator[Alone]:
    opened = open_store(disk, Identity("zk", ServerId(1)), lambda: "uuid", ensemble=False)
    wakeup = Wakeup()
    log, snapshots = LogThread(opened.store, wakeup), SnapshotThread(opened.store, wakeup)
    roles: list[RoleChanged] = []
    async with open_poller(epoll) as poller, trio.open_nursery() as nursery:
        config = ReplicaConfig(ZabConfig(ServerId(1), ALONE, "zk"))
        replica = Replica(config, opened.recovered, opened.state, SystemRandom(), monotonic_ms(), wall_ms())
        hello = Hello("zk", ServerId(1), "uuid", VERSION, (ServerId(1),))
        runtime = Runtime(replica, log, snapshots, poller, wakeup, DEFAULT_LIMITS, hello, roles.append)
        listening = listen(Address("127.0.0.1", 0))
        runtime.clients.listen(listening)
        server = Alone(runtime, poller, Address("127.0.0.1", listening.getsockname()[1]))
        nursery.start_soon(server.run)
        try:
            with trio.fail_after(5):
                await runtime.until(lambda: [change.role for change in roles][-1:] == [Role.LEADING])
            yield server
        finally:
            nursery.cancel_scope.cancel()
    log.close(5_000)
    snapshots.close(5_000)
    wakeup.close()


class Session:
    """A client that waits for every answer."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._native = ClientConnection("test")
        self._xid = 0

    def encode(self, request: Connect | Create | Exists) -> bytes:
        self._xid += 1
        return self._native.call(Call(self._xid, request))

    async def ask(self, request: Connect | Create) -> object:
        """The body of the answer; None if the server closes the connection instead."""
        if not self._xid:
            await self.stream.send_all(self._native.hello())
        await self.stream.send_all(self.encode(request))
        while data := await self.stream.receive_some():
            for item in self._native.receive(data):
                if isinstance(item, Reply) and item.xid == self._xid:
                    return item.body
        return None


@asynccontextmanager
async def session(server: Alone) -> AsyncIterator[Session]:
    async with await trio.open_tcp_stream(server.address.host, server.address.port) as stream:
        opened = Session(stream)
        assert isinstance(await opened.ask(Connect(SessionId(0), b"", 10_000)), ConnectReply)
        yield opened


@pytest.mark.parametrize("epoll", [True, False])
async def test_what_was_acknowledged_survives_a_power_cut(epoll: bool) -> None:
    disk = Disk(Random(0))
    async with alone(disk, epoll) as server, session(server) as client:
        for n in range(20):
            assert isinstance(await client.ask(Create(f"/{n}", b"")), Created)
    disk.power_cut()
    async with alone(disk, epoll) as server, session(server) as client:
        for n in range(20):
            assert isinstance(await client.ask(Create(f"/{n}/child", b"")), Created)


@pytest.mark.parametrize("epoll", [True, False])
async def test_a_write_that_the_disk_refuses_is_never_answered_and_ends_the_server(epoll: bool) -> None:
    disk = Disk(Random(0))
    async with alone(disk, epoll) as server, session(server) as client:
        disk.fail_next("sync")
        assert await client.ask(Create("/lost", b"")) is None
        assert isinstance(server.ended, LogFailure)


async def test_while_the_disk_is_low_writes_are_refused_and_then_taken_again() -> None:
    async with alone(Disk(Random(0)), True) as server, session(server) as client:
        server.runtime.post(DiskSpace(True))
        await server.runtime.until(lambda: True)
        assert isinstance(await client.ask(Create("/a", b"")), ThrottledError)
        server.runtime.post(DiskSpace(False))
        await server.runtime.until(lambda: True)
        assert isinstance(await client.ask(Create("/a", b"")), Created)


class Callers(Source):
    """A socket that is always ready to be read; each time, another client asks for a session, or nobody does.
    `answered` says for each time whether there was something for `reader`."""

    def __init__(self, runtime: Runtime, connected: socket.socket, asking: bool, reader: int) -> None:
        self.times = 0
        self.answered: list[bool] = []
        self._reader = reader
        self._runtime = runtime
        self._socket = connected
        self._asking = asking

    def fileno(self) -> int:
        return self._socket.fileno()

    def on_ready(self, ready: int) -> None:
        self.times += 1
        self.answered.append(bool(select.select([self._reader], [], [], 0)[0]))
        if self._asking:
            connection = ConnectionId(1_000 + self.times)
            self._runtime.step(ClientConnected(connection, ()))
            self._runtime.step(ClientReceived(connection, [Call(1, Connect(SessionId(0), b"", 10_000))]))


@pytest.mark.parametrize(("asking", "times"), [(True, POLLS_PER_ROUND), (False, 1)])
async def test_writes_that_come_while_others_are_read_are_synced_with_them_up_to_a_limit(
    asking: bool, times: int
) -> None:
    """Who reads in between is answered before the next ones are served."""
    async with alone(Disk(Random(1)), True) as server, session(server) as client:
        here, there = socket.socketpair()
        with here, there:
            there.send(b"x")  # is never read
            reader = client.stream.socket.fileno()
            os.write(reader, client.encode(Exists("/")))
            callers = Callers(server.runtime, here, asking, reader)
            server.poller.register(callers, READ)
            assert server.runtime.round(0)
            assert callers.answered == [number > 0 for number in range(times)]
            server.poller.unregister(callers)
