"""How a production client reaches simulated servers: streams of bytes over the links of zk.sim.links.

Both ends of the real protocol are here: what the client writes goes through the server's codec, and what the server
answers comes as bytes, in pieces of any size. A client's own line may go dark: then nothing passes, until it is bright
again, and nobody is told. `Tap` lets a checker listen.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from random import Random
from typing import Protocol

import anyio
from anyio.abc import ByteStream

from zk.model.events import WatchEvent
from zk.model.record import ServerId, SessionId
from zk.model.replies import ConnectReply, Reply
from zk.model.requests import Call
from zk.sim.eventloop import EventLoop
from zk.sim.links import Link, Links
from zk.sim.world import World
from zk.wire.native import ServerConnection

PORT = 2181


def host_of(server: ServerId) -> str:
    return f"server-{server}"


class Tap(Protocol):
    """Hears what a session was answered, before the session does."""

    def answered(self, session: SessionId, call: Call, reply: Reply) -> None: ...


class Line:
    """The network of one process: makes its streams. `connect` is what a client is given."""

    def __init__(self, world: World, links: Links, loop: EventLoop, servers: Sequence[ServerId], tap: Tap) -> None:
        self.world = world
        self.links = links
        self.loop = loop
        self.tap = tap
        self.random: Random = world.random
        self._servers: Mapping[str, ServerId] = {host_of(server): server for server in servers}
        self._dark_until_us = -inf
        self._held: deque[Callable[[], None]] = deque()  # what waits for the line to be bright
        self._streams: list[Stream] = []

    def darken(self, duration_us: float) -> None:
        """Nothing passes for so long; with infinity, never again."""
        self._dark_until_us = max(self._dark_until_us, self.world.now_us + duration_us)

    def reset(self) -> None:
        """All connections break."""
        for stream in tuple(self._streams):
            stream.reset()

    def cut(self) -> None:
        """The process has ended: the system closes its connections."""
        for stream in tuple(self._streams):
            stream.close()

    def pass_on(self, action: Callable[[], None]) -> None:
        """Do `action` as soon as the line is bright; in the order of asking."""
        if not self._held and self._dark_until_us <= self.world.now_us:
            action()
            return
        self._held.append(action)
        if len(self._held) == 1:
            self._look_again()

    def _look_again(self) -> None:
        if self._dark_until_us < inf:
            self.world.after(int(self._dark_until_us - self.world.now_us) + 1, self._pass_held)

    def _pass_held(self) -> None:
        if self._dark_until_us > self.world.now_us:
            self._look_again()
            return
        held, self._held = self._held, deque()
        for action in held:
            action()

    async def connect(self, host: str, port: int) -> ByteStream:
        assert port == PORT
        await asyncio.sleep(self.random.uniform(0.2, 4) / 1_000)
        if self.loop.over:
            raise ConnectionRefusedError("the run is over")
        bright = asyncio.Event()
        self.pass_on(bright.set)
        await bright.wait()
        stream = Stream(self)
        stream.link = self.links.connect(stream, at=self._servers[host])
        if stream.link is None:
            raise ConnectionRefusedError(f"{host} does not run")
        self._streams.append(stream)
        return stream

    def forget(self, stream: "Stream") -> None:
        if stream in self._streams:
            self._streams.remove(stream)


class Stream(ByteStream):
    """The client's end of one connection."""

    def __init__(self, line: Line) -> None:
        self.link: Link | None = None
        self._line = line
        self._wire = ServerConnection()
        self._calls: dict[int, Call] = {}
        self._session = SessionId(0)
        self._arrived: deque[bytes] = deque()
        self._broken = False
        self._end: Exception = line.random.choice((anyio.EndOfStream(), anyio.BrokenResourceError()))  # FIN or RST
        self._closed = False
        self._reader: asyncio.Future[None] | None = None

    # ---- what the client does

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        if self._broken:
            raise anyio.BrokenResourceError
        calls = self._wire.receive(item)  # it never says what a server can't understand: ProtocolError ends the run
        greeting = self._wire.greeting()
        if greeting:
            self._line.pass_on(partial(self._arrive, greeting))
        if calls:
            self._calls.update((call.xid, call) for call in calls)
            self._line.pass_on(partial(self._to_server, calls))

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.lowlevel.checkpoint()
        while not self._arrived:
            if self._broken:
                raise self._end
            self._reader = self._line.loop.create_future()
            await self._reader
        return self._arrived.popleft()

    async def send_eof(self) -> None:
        raise NotImplementedError("the client never ends one direction alone")

    async def aclose(self) -> None:
        self.close()
        await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        if not self._closed:
            self._closed = self._broken = True
            self._line.forget(self)
            assert self.link is not None
            self._line.pass_on(self.link.break_off)

    def reset(self) -> None:
        assert self.link is not None
        self._line.pass_on(self.link.break_off)
        self._break()

    # ---- what the link tells

    def told(self, link: Link, items: list[Reply | WatchEvent]) -> None:
        for item in items:
            if isinstance(item, Reply):
                call = self._calls.pop(item.xid)
                if isinstance(item.body, ConnectReply):
                    self._session = item.body.session_id
                self._line.tap.answered(self._session, call, item)
        data = self._wire.send(items)
        cut = self._line.random.randrange(len(data)) if self._line.random.randrange(8) == 0 else 0
        for part in (data[:cut], data[cut:]):
            if part:
                self._line.pass_on(partial(self._arrive, part))

    def lost(self, link: Link) -> None:
        self._line.pass_on(self._break)

    def _to_server(self, calls: Sequence[Call]) -> None:
        assert self.link is not None
        self.link.send(calls)

    def _arrive(self, data: bytes) -> None:
        self._arrived.append(data)
        self._wake()

    def _break(self) -> None:
        self._broken = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)
