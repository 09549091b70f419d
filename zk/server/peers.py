"""Connections to the other servers: made, introduced (Hello), read, written, lost, and made again.

Of two servers the one with the higher id dials; so between two there is one connection, unless one side has not
noticed yet that it broke: then the new one replaces it. What the messages mean is the replica's business. Read
zk/wire/peer.py and stream.py next.
"""

import logging
import os
import random
import socket
from collections.abc import Callable, Mapping, Sequence

import trio

from zk.broadcast.engine import PeerConnected, PeerDisconnected
from zk.broadcast.messages import Message
from zk.model.limits import MIB
from zk.model.peering import ReplicaMessage
from zk.model.record import ConnectionId, ServerId
from zk.replica.events import Event, PeerReceived
from zk.server.config import Address
from zk.server.listener import Listener
from zk.server.poller import READ, WRITE, Poller, Source
from zk.server.stream import Stream
from zk.wire.framing import ProtocolError
from zk.wire.peer import Hello, PeerReader, encode

logger = logging.getLogger(__name__)

REDIAL_MS_MIN = 20
REDIAL_MS_MAX = 500
DIAL_TIMEOUT_MS = 2_000
SETTLED_MS = 2_000  # a connection that lived for so long was a good one
COMPLAINT_INTERVAL_MS = 1_000
HELLO_TIMEOUT_MS = 2_000
SEND_BUFFER_BYTES_MAX = 64 * MIB  # unsent bytes per connection; beyond it the peer must begin again
SILENT_LOSS_MS = 5_000  # bytes unacknowledged for so long mean that the network, or the other machine, is gone


class Peers:
    """All connections to other servers. Its methods are called between two waits of the runtime, never concurrently.

    `now_ms` is kept up to date by the runtime. `step` feeds an event to the replica and performs its effects, `post`
    does so later in the round.
    """

    def __init__(
        self,
        poller: Poller,
        hello: Hello,
        step: Callable[[Event], None],
        post: Callable[[Event], None],
    ) -> None:
        self.poller = poller
        self.hello = hello
        self.step = step
        self.post = post
        self.now_ms = 0
        self._listener: Listener | None = None
        self._links: dict[ConnectionId, PeerLink] = {}
        self._newest = ConnectionId(0)
        self._to_flush: list[PeerLink] = []
        self._complaints: dict[str, tuple[str, int]] = {}  # the last one about each peer, and when it was said

    # ---- what the runtime asks and tells

    @property
    def busy(self) -> bool:
        return bool(self._to_flush)

    @property
    def connected(self) -> Mapping[ServerId, str]:
        """The servers that there is a connection to, with the uuids of their disks."""
        return {link.peer: link.disk_uuid for link in self._links.values() if link.peer is not None}

    @property
    def unsent_bytes(self) -> int:
        return sum(link.unsent_bytes for link in self._links.values())

    def listen(self, listening: socket.socket) -> None:
        self._listener = Listener(self.poller, listening, self._accepted)

    async def keep_connected(self, peer: ServerId, address: Address) -> None:
        """Dial `peer`, for ever again."""
        redial_ms = REDIAL_MS_MIN
        while True:
            try:
                dialled = await _dial(address)
            except OSError as error:
                self.complain(f"server {peer} ({address})", f"can't be reached: {_reason(error)}")
            else:
                link = self._open(dialled, f"server {peer} ({address})", peer)
                link.flush()
                opened_ms = self.now_ms
                await link.closed.wait()
                if self.now_ms >= opened_ms + SETTLED_MS:  # else they don't get along: again, but ever less often
                    redial_ms = REDIAL_MS_MIN
            await trio.sleep(redial_ms * random.uniform(0.5, 1) / 1_000)
            redial_ms = min(2 * redial_ms, REDIAL_MS_MAX)

    def tick(self) -> None:
        """Time has passed: end what takes too long."""
        if self._listener is not None:
            self._listener.tick(self.now_ms)
        for link in list(self._links.values()):
            if link.peer is None and self.now_ms >= link.hello_until_ms:
                link.drop(f"did not introduce itself within {HELLO_TIMEOUT_MS} ms")

    def send(self, connection: ConnectionId, message: Message | ReplicaMessage) -> None:
        link = self._links.get(connection)
        if link is not None:
            link.send(encode(message))

    def disconnect(self, connection: ConnectionId, reason: str) -> None:
        link = self._links.get(connection)
        if link is not None:
            link.flush()  # what was said last tells the other side why
            link.drop(reason)

    def flush(self) -> None:
        """One send for each connection that has something to be sent."""
        to_flush, self._to_flush = self._to_flush, []
        for link in to_flush:
            link.flush()

    def drop_all(self) -> None:
        if self._listener is not None:
            self._listener.close()
        for link in list(self._links.values()):
            link.drop("this server stops")

    # ---- what the links tell

    def flush_later(self, link: "PeerLink") -> None:
        self._to_flush.append(link)

    def introduced(self, link: "PeerLink", hello: Hello) -> None:
        """The other side has said who it is, and belongs here."""
        earlier = self._link_to(hello.server_id)
        if earlier is not None:
            earlier.drop("replaced by a newer connection")
        link.peer, link.disk_uuid = hello.server_id, hello.disk_uuid
        self._complaints.pop(link.name, None)
        logger.info("connected to server %d", hello.server_id)
        self.step(PeerConnected(hello.server_id, link.id, hello.disk_uuid))

    def holds_another_disk(self, hello: Hello) -> bool:
        """Whether the server of this id is connected already, with another disk: then there are two of the id.

        One that restarts with a new disk is let in when its old connection has broken, a moment later.
        """
        link = self._link_to(hello.server_id)
        return link is not None and link.disk_uuid != hello.disk_uuid

    def _link_to(self, peer: ServerId) -> "PeerLink | None":
        return next((link for link in self._links.values() if link.peer == peer), None)

    def lost(self, link: "PeerLink", reason: str) -> None:
        del self._links[link.id]
        if link.peer is None:
            self.complain(link.name, reason)
        else:
            logger.info("lost the connection to server %d: %s", link.peer, reason)
            self.post(PeerDisconnected(link.peer, link.id))

    def complain(self, name: str, reason: str) -> None:
        """Say what is wrong with a peer: the same not twice, and not more than one thing at a time."""
        last, said_ms = self._complaints.get(name, ("", -COMPLAINT_INTERVAL_MS))
        if reason != last and self.now_ms >= said_ms + COMPLAINT_INTERVAL_MS:
            self._complaints[name] = (reason, self.now_ms)
            logger.warning("%s %s", name, reason)

    def _accepted(self, accepted: socket.socket, host: str) -> None:
        self._open(accepted, f"a server at {host}", None).flush()

    def _open(self, connected: socket.socket, name: str, expected: ServerId | None) -> "PeerLink":
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENT_LOSS_MS)
        self._newest = ConnectionId(self._newest + 1)
        link = PeerLink(self, self._newest, Stream(connected), name, expected)
        self._links[link.id] = link
        self.poller.register(link, READ)
        link.send(encode(self.hello))
        return link


def _reason(error: OSError) -> str:
    """Of several attempts that failed, the first one's reason."""
    cause = error.__cause__
    if isinstance(cause, ExceptionGroup):
        cause = cause.exceptions[0]
    return os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else str(error)


def _listed(servers: Sequence[ServerId]) -> str:
    return ", ".join(str(server) for server in servers)


async def _dial(address: Address) -> socket.socket:
    """A connected socket. OSError if there is none to be had."""
    with trio.move_on_after(DIAL_TIMEOUT_MS / 1_000):
        stream = await trio.open_tcp_stream(address.host, address.port)
        return socket.socket(fileno=stream.socket.detach())
    raise OSError(f"no answer within {DIAL_TIMEOUT_MS} ms")


class PeerLink(Source):
    """One connection to another server; `peer` is None until it has introduced itself."""

    def __init__(
        self, peers: Peers, connection_id: ConnectionId, stream: Stream, name: str, expected: ServerId | None
    ) -> None:
        self.id = connection_id
        self.name = name
        self.peer: ServerId | None = None
        self.disk_uuid = ""
        self.hello_until_ms = peers.now_ms + HELLO_TIMEOUT_MS
        self.dropped = False
        self.closed = trio.Event()  # set at the same time, for whoever waits for it
        self._peers = peers
        self._stream = stream
        self._expected = expected  # whom we dialled
        self._reader = PeerReader()
        self._interest = READ
        self._to_flush = False

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def unsent_bytes(self) -> int:
        return self._stream.unsent_bytes

    def on_ready(self, ready: int) -> None:
        if ready & READ and not self.dropped:
            data = self._stream.receive()
            if data == b"":
                self.drop("the other side has closed it")
            elif data is not None:
                self._decode(data)
        if ready & WRITE and not self.dropped:
            self.flush()

    def _decode(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
        except ProtocolError as error:
            self.drop(f"does not speak our protocol: {error.reason}")
            return
        for message in messages:
            if self.dropped:
                return
            if self.peer is not None and not isinstance(message, Hello):
                self._peers.step(PeerReceived(self.peer, self.id, message))
            elif self.peer is None and isinstance(message, Hello):
                self._meet(message)
            else:
                self.drop("must introduce itself once, and first")

    def _meet(self, hello: Hello) -> None:
        objection = self._objection(hello)
        if objection:
            self.drop(objection)
        else:
            self._peers.introduced(self, hello)

    def _objection(self, hello: Hello) -> str:
        """Why this is not one of our ensemble; "" if it is."""
        mine = self._peers.hello
        if hello.version != mine.version:
            return f"speaks version {hello.version} of the servers' protocol, this server {mine.version}"
        if hello.cluster_name != mine.cluster_name:
            return f"belongs to the ensemble {hello.cluster_name!r}, this server to {mine.cluster_name!r}"
        if hello.voters != mine.voters:
            return f"is configured with the peers {_listed(hello.voters)}, this server with {_listed(mine.voters)}"
        if hello.server_id == mine.server_id:
            return f"calls itself server {hello.server_id}, as this one does"
        if self._peers.holds_another_disk(hello):
            return (
                f"calls itself server {hello.server_id}, but that one is connected, with another disk: are there two?"
            )
        if hello.server_id not in mine.voters or self._expected not in (None, hello.server_id):
            return f"calls itself server {hello.server_id}"
        return ""

    def send(self, frame: bytes) -> None:
        stream = self._stream
        stream.queue(frame)
        if stream.unsent_bytes > SEND_BUFFER_BYTES_MAX:
            self.drop(f"takes too little: {stream.unsent_bytes} bytes wait for it")
        elif not self._to_flush:
            self._to_flush = True
            self._peers.flush_later(self)

    def flush(self) -> None:
        self._to_flush = False
        if self.dropped:
            return
        stream = self._stream
        stream.flush()
        if stream.broken:
            self.drop("it broke")
            return
        interest = READ | WRITE if stream.unsent_bytes else READ
        if interest != self._interest:
            self._interest = interest
            self._peers.poller.modify(self, interest)

    def drop(self, reason: str) -> None:
        """End the connection at once."""
        if not self.dropped:
            self.dropped = True
            self.closed.set()
            self._peers.poller.unregister(self)
            self._stream.close()
            self._peers.lost(self, reason)
