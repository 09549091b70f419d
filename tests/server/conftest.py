"""Clients on a loopback port, with a stand-in for the replica that answers as a test says."""

from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Protocol

import pytest
import trio
import trio.testing

from zk.model.events import WatchEvent
from zk.model.limits import DEFAULT_LIMITS, Limits
from zk.model.record import ConnectionId, Zxid
from zk.model.replies import DONE, Body, Reply
from zk.model.requests import Call, ClientRequest, Ping
from zk.replica.events import ClientConnected, ClientDisconnected, ClientReceived, Event
from zk.server.clients import Clients
from zk.server.config import Address
from zk.server.listener import listen
from zk.server.poller import READ, Poller, Source
from zk.server.polling import open_poller
from zk.server.wakeup import Wakeup
from zk.wire.framing import ProtocolError
from zk.wire.native import ClientConnection, ServerHello

PING = Ping()


class OpenEdge(Protocol):
    def __call__(self, **limits: int) -> "AbstractAsyncContextManager[Edge]": ...


class Edge(Source):
    """What stands between sockets and a replica; in place of the replica, `body` answers, if `answering`."""

    def __init__(self, poller: Poller, limits: Limits) -> None:
        self.events: list[Event] = []
        self.answering = True
        self.backlogged = False
        self.body: Callable[[Call], Body] = lambda _: DONE
        self.poller = poller
        self.posted: deque[Event] = deque()
        self.clients = Clients(poller, limits, self.step, self.posted.append, lambda: self.backlogged)
        listening = listen(Address("127.0.0.1", 0))
        self.address = listening.getsockname()
        self._streams: list[trio.SocketStream] = []
        self.clients.listen(listening)
        self._changed = trio.Event()
        self._wakeup = Wakeup()

    # ---- what the runtime does for a real replica

    async def run(self) -> None:
        self.poller.register(self, READ)
        while True:
            if self.clients.busy:
                await trio.lowlevel.checkpoint()
            else:
                await self.poller.wait()
            self.round()

    def round(self) -> None:
        self.clients.begin_round()
        for source, ready in self.poller.poll():
            source.on_ready(ready)
        while self.posted:
            self.step(self.posted.popleft())
        self.clients.flush()
        self._changed.set()
        self._changed = trio.Event()

    def step(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, ClientReceived) and self.answering:
            self.answer(event.connection, event.calls)

    def fileno(self) -> int:
        return self._wakeup.fileno()

    def on_ready(self, ready: int) -> None:
        self._wakeup.clear()

    # ---- for tests

    def wake(self) -> None:
        """To be called after doing something that concerns the clients outside of their rounds."""
        self._wakeup.set()

    def answer(self, connection: ConnectionId, calls: Sequence[Call]) -> None:
        self.clients.answer(connection, [Reply(call.xid, Zxid(0), self.body(call)) for call in calls])

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a round has made it so."""
        with trio.fail_after(5):
            while not condition():
                await self._changed.wait()

    async def settled(self) -> None:
        """Wait until nothing happens any more without somebody else's doing."""
        await trio.testing.wait_all_tasks_blocked(0.02)

    @property
    def connected(self) -> list[ConnectionId]:
        return [event.connection for event in self.events if isinstance(event, ClientConnected)]

    @property
    def disconnected(self) -> list[ConnectionId]:
        return [event.connection for event in self.events if isinstance(event, ClientDisconnected)]

    def received(self, connection: ConnectionId) -> list[ClientReceived]:
        return [e for e in self.events if isinstance(e, ClientReceived) and e.connection == connection]

    def calls(self, connection: int | None = None) -> list[int]:
        """The xids handed over so far."""
        return [
            call.xid
            for event in self.events
            if isinstance(event, ClientReceived) and connection in (None, event.connection)
            for call in event.calls
        ]

    async def connect(self) -> "Caller":
        self._streams.append(await trio.open_tcp_stream(*self.address))
        return Caller(self._streams[-1])

    def close(self) -> None:
        self.poller.unregister(self)
        self.clients.drop_all()
        for stream in self._streams:
            stream.socket.close()
        self._wakeup.close()


class Caller:
    """A client, as far as bytes go."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.native = ClientConnection("test")
        self.received: list[ServerHello | Reply | WatchEvent] = []
        self.farewell = ""
        self._xid = 0

    def encoded(self, count: int, request: ClientRequest = PING) -> bytes:
        """So many calls, numbered on."""
        calls = []
        for _ in range(count):
            self._xid += 1
            calls.append(self.native.call(Call(self._xid, request)))
        return b"".join(calls)

    async def hello(self) -> None:
        await self.stream.send_all(self.native.hello())

    async def greeting(self) -> None:
        with trio.fail_after(5):
            while not self.received and await self._receive_some():
                pass

    async def send(self, count: int = 1, request: ClientRequest = PING) -> None:
        await self.stream.send_all(self.encoded(count, request))

    async def receive(self, replies: int) -> list[int]:
        """The xids of the answers, once there are so many of them."""
        with trio.fail_after(5):
            while len(self.xids) < replies and await self._receive_some():
                pass
        return self.xids

    async def receive_event(self, event: WatchEvent) -> None:
        with trio.fail_after(5):
            while event not in self.received and await self._receive_some():
                pass

    async def receive_all(self) -> list[int]:
        """The xids of all answers until the server closes the connection."""
        with trio.fail_after(5):
            while await self._receive_some():
                pass
        return self.xids

    async def _receive_some(self) -> bool:
        try:
            data = await self.stream.receive_some(65_536)
            self.received += self.native.receive(bytes(data))
        except ProtocolError as error:
            self.farewell = error.reason
        except trio.BrokenResourceError:
            return False
        return data != b""

    @property
    def xids(self) -> list[int]:
        return [item.xid for item in self.received if isinstance(item, Reply)]


@pytest.fixture(params=[True, False], ids=["epoll", "tasks"])
def open_edge(request: pytest.FixtureRequest) -> OpenEdge:
    """`async with open_edge(connections_max=3) as edge`: an Edge with these limits, at work."""

    @asynccontextmanager
    async def opened(**limits: int) -> AsyncIterator[Edge]:
        async with open_poller(epoll=request.param) as poller, trio.open_nursery() as nursery:
            edge = Edge(poller, replace(DEFAULT_LIMITS, **limits))
            nursery.start_soon(edge.run)
            try:
                yield edge
            finally:
                edge.close()
                nursery.cancel_scope.cancel()

    return opened
