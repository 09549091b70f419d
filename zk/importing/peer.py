"""A connection to a live ZooKeeper (or to whoever speaks its protocol): calls by the hundred, and events.

It makes a session of its own and keeps it alive. If the connection breaks, that is a ConnectionError: who follows the
source connects anew, and looks at everything again.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
from anyio.abc import ByteStream
from zkclient.hosts import parse_hosts, split_host

from zk.model.errors import APIError
from zk.model.events import WatchEvent
from zk.model.record import SessionId, Zxid
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import AddAuth, Call, ClientRequest, CloseSession, Connect, Ping
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper.client import ClientConnection

SESSION_TIMEOUT_MS = 30_000
CONNECT_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 30.0
_READ_BYTES = 256 * 1024


class SourcePeer:
    """`zxid` is the newest that the source has told of; `on_event` is told of what watches tell."""

    def __init__(self, stream: ByteStream, on_event: Callable[[WatchEvent], object]) -> None:
        self.zxid = Zxid(0)
        self._stream = stream
        self._on_event = on_event
        self._connection = ClientConnection()
        self._xid = 0
        self._replies: dict[int, Reply] = {}
        self._arrived = anyio.Event()
        self._broken = ""

    async def call(self, request: ClientRequest, timeout_s: float = ANSWER_TIMEOUT_S) -> Reply:
        """Make one call; raises the refusal."""
        [reply] = await self.call_all((request,), timeout_s)
        if isinstance(reply.body, APIError):
            raise reply.body
        return reply

    async def call_all(self, requests: Sequence[ClientRequest], timeout_s: float = ANSWER_TIMEOUT_S) -> list[Reply]:
        """Make several calls at once; their answers in the same order. ConnectionError if they don't come."""
        xids = []
        sent = bytearray()
        for request in requests:
            self._xid += 1
            xids.append(self._xid)
            sent += self._connection.call(Call(self._xid, request))
        try:
            with anyio.fail_after(timeout_s):
                await self._stream.send(bytes(sent))
                while not all(xid in self._replies for xid in xids):
                    if self._broken:
                        raise ConnectionError(self._broken)
                    await self._arrived.wait()
        except anyio.BrokenResourceError as error:
            raise ConnectionError("the source closed the connection") from error
        except TimeoutError:
            raise ConnectionError(f"the source has not answered for {timeout_s} s") from None
        return [self._replies.pop(xid) for xid in xids]

    async def receive(self) -> None:
        """Take in what comes, until nothing comes any more."""
        while not self._broken:
            try:
                data = await self._stream.receive(_READ_BYTES)
                items = self._connection.receive(data)
            except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                self._broken = "the source closed the connection"
                items = []
            except ProtocolError as error:
                self._broken = str(error)
                items = []
            for item in items:
                if isinstance(item, Reply):
                    self._replies[item.xid] = item
                    self.zxid = max(self.zxid, item.zxid)
                else:
                    self._on_event(item)
            arrived, self._arrived = self._arrived, anyio.Event()
            arrived.set()

    async def keep_alive(self) -> None:
        with suppress(ConnectionError):  # whoever calls next is told
            while True:
                await anyio.sleep(SESSION_TIMEOUT_MS / 3_000)
                await self.call(Ping())


@asynccontextmanager
async def connect(hosts: str, auth: str | None, on_event: Callable[[WatchEvent], object]) -> AsyncIterator[SourcePeer]:
    """A session with the first of these servers that can be reached. ConnectionError; AuthFailedError."""
    failures = []
    for server in parse_hosts(hosts).servers:
        host, port = split_host(server)
        try:
            with anyio.fail_after(CONNECT_TIMEOUT_S):
                stream = await anyio.connect_tcp(host.strip("[]"), port)
        except (OSError, TimeoutError) as error:
            failures.append(f"{server}: {str(error) or 'no answer'}")
            continue
        async with stream, anyio.create_task_group() as tasks:
            peer = SourcePeer(stream, on_event)
            tasks.start_soon(peer.receive)
            try:
                connected = await peer.call(Connect(SessionId(0), b"", SESSION_TIMEOUT_MS))
                assert isinstance(connected.body, ConnectReply)
                if auth is not None:
                    await peer.call(AddAuth("digest", auth.encode()))
                tasks.start_soon(peer.keep_alive)
                yield peer
                await peer.call(CloseSession())
            finally:
                tasks.cancel_scope.cancel()
        return
    raise ConnectionError("none of the source's servers can be reached: " + "; ".join(failures))
