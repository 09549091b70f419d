"""A small world for replicas: perfect network, instant disk, time by hand. Faults are the simulator's business
(zk/sim)."""

import random
from collections import deque
from collections.abc import Callable, Mapping

import pytest

from zk.broadcast import engine
from zk.broadcast.messages import Message
from zk.broadcast.records import Recovered
from zk.broadcast.zab import ZabConfig
from zk.model.acl import Identity
from zk.model.errors import APIError
from zk.model.events import WatchEvent
from zk.model.limits import Limits
from zk.model.peering import ReadIndexAsk, ReplicaMessage
from zk.model.record import ConnectionId, Epoch, ServerId, SessionId, Zxid
from zk.model.replies import Body, ConnectReply, Reply
from zk.model.requests import Call, ClientRequest, Connect
from zk.replica import events
from zk.replica.config import ReplicaConfig
from zk.replica.replica import Replica

START_MS = 1_000_000
WALL_MS = 1_700_000_000_000


class Cluster:
    """`servers` by id. `settle` lets everything that is under way arrive; `advance` lets time pass."""

    def __init__(
        self,
        size: int,
        zab_changes: Mapping[str, int] | None = None,
        **changes: bool | int | str | tuple[str, ...] | Limits | Mapping[str, str],
    ) -> None:
        self.now_ms = START_MS
        voters = frozenset(ServerId(number) for number in range(1, size + 1))
        self.servers: dict[ServerId, Replica] = {}
        self.effects: dict[ServerId, deque[events.Effect]] = {}
        self.lsn = dict.fromkeys(voters, 0)
        self.received: dict[ConnectionId, list[Reply | WatchEvent]] = {}
        self.closed: dict[ConnectionId, str] = {}
        self.unreachable: set[ServerId] = set()
        self.sent: list[tuple[ServerId, ServerId, Message | ReplicaMessage]] = []
        self.lost_kinds: set[type] = set()  # messages of these types never arrive
        self.may_halt = False
        self.halted: dict[ServerId, str] = {}
        self.logs: dict[ServerId, list[events.Log]] = {}
        self.slices: dict[ServerId, list[events.WriteSnapshot]] = {}
        self.clocks_ahead_ms: dict[ServerId, int] = {}  # whose wall clock differs from the others', by how much
        self.stopped_disks: set[ServerId] = set()  # their log is written, but never becomes durable
        self._serial = 0
        self._links: dict[tuple[ServerId, ServerId], ConnectionId] = {}
        for server_id in sorted(voters):
            zab = ZabConfig(server_id, voters, "test", **(zab_changes or {}))
            config = ReplicaConfig(zab, **changes)  # type: ignore[arg-type]  # by name
            recovered = Recovered(f"disk-{server_id}", Epoch(0), None, (), False)
            self.servers[server_id] = Replica(
                config, recovered, None, random.Random(int(server_id)), self.now_ms, WALL_MS
            )
        for one in sorted(voters):
            for other in sorted(voters):
                if one < other:
                    self.link(one, other)
        self.run_until(lambda: self.leader is not None and all(server.serving for server in self.servers.values()))

    # ---- servers

    @property
    def leader(self) -> Replica | None:
        leaders = [
            server
            for server_id, server in self.servers.items()
            if server.engine.role is engine.Role.LEADING and server_id not in self.unreachable
        ]
        return leaders[0] if leaders else None

    @property
    def leader_id(self) -> ServerId:
        assert self.leader is not None
        return self.leader.engine.leader

    @property
    def follower_id(self) -> ServerId:
        """A server that can be reached and does not lead."""
        return next(server for server in self.servers if server != self.leader_id and server not in self.unreachable)

    def rejoin(self, server_id: ServerId) -> None:
        """Connect a server that was cut off to all the others again."""
        self.unreachable.discard(server_id)
        for other in self.servers:
            if other != server_id and other not in self.unreachable:
                self.link(min(server_id, other), max(server_id, other))

    def link(self, one: ServerId, other: ServerId) -> None:
        self._serial += 1
        connection = ConnectionId(self._serial)
        self._links[one, other] = self._links[other, one] = connection
        for server, peer in ((one, other), (other, one)):
            self.step(server, engine.PeerConnected(peer, connection, f"disk-{peer}"))

    def connection(self, one: ServerId, other: ServerId) -> ConnectionId:
        return self._links[one, other]

    def ask_of(self, server_id: ServerId) -> int:
        """End a follower's round; the token of the one question about reads that it puts to its leader."""
        self.step(server_id, events.Flush())
        (token,) = [
            effect.message.token
            for effect in self.effects[server_id]
            if isinstance(effect, events.SendPeer) and isinstance(effect.message, ReadIndexAsk)
        ]
        return token

    def cut_off(self, server_id: ServerId) -> None:
        """Break all connections of a server to its peers."""
        self.unreachable.add(server_id)
        for (one, other), connection in list(self._links.items()):
            if server_id in (one, other):
                del self._links[one, other]
                self.step(one, engine.PeerDisconnected(other, connection))

    def start_disk(self, server_id: ServerId) -> None:
        """A disk that was stopped goes on: all that was written is durable."""
        self.stopped_disks.discard(server_id)
        self.step(server_id, engine.Durable(self.lsn[server_id]))

    def step(self, server_id: ServerId, event: events.Event) -> None:
        """One event, and its effects at once; what they send to others waits its turn."""
        if server_id in self.halted:
            return
        for effect in self.servers[server_id].step(self.now_ms, event):
            match effect:
                case events.Answer():
                    self.received.setdefault(effect.connection, []).extend(effect.items)
                case events.CloseClient():
                    self.closed[effect.connection] = effect.reason
                case _:
                    self.effects.setdefault(server_id, deque()).append(effect)

    def settle(self) -> None:
        """Perform effects, server by server, until nothing is left to do at this time."""
        busy = True
        while busy:
            busy = False
            for server_id in self.servers:
                self.step(server_id, events.Flush())
                queue = self.effects.get(server_id, deque())
                while queue:
                    busy = True
                    self._perform(server_id, queue.popleft())

    def _perform(self, server_id: ServerId, effect: events.Effect) -> None:
        match effect:
            case engine.Append():
                self.lsn[server_id] += len(effect.records)
                if server_id not in self.stopped_disks:
                    self.step(server_id, engine.Durable(self.lsn[server_id]))
            case engine.Send() | events.SendPeer():
                self.sent.append((server_id, effect.peer, effect.message))
                arrives = type(effect.message) not in self.lost_kinds
                if arrives and self._links.get((server_id, effect.peer)) == effect.connection:
                    self.step(effect.peer, events.PeerReceived(server_id, effect.connection, effect.message))
            case events.WriteSnapshot():
                self.slices.setdefault(server_id, []).append(effect)
                if effect.last:
                    self.step(server_id, engine.SnapshotStored(effect.ref))
            case events.Log():
                self.logs.setdefault(server_id, []).append(effect)
            case engine.Halt():
                assert self.may_halt, f"server {server_id} halted: {effect.reason}"
                self.halted[server_id] = effect.reason
                self.cut_off(server_id)
            case _:
                pass

    def advance(self, ms: int) -> None:
        """Let time pass, in ticks of 20 ms."""
        until_ms = self.now_ms + ms
        while self.now_ms < until_ms:
            self.now_ms = min(self.now_ms + 20, until_ms)
            for server_id in self.servers:
                ahead_ms = self.clocks_ahead_ms.get(server_id, 0)
                self.step(server_id, events.Tick(WALL_MS + self.now_ms - START_MS + ahead_ms))
            self.settle()

    def run_until(self, condition: Callable[[], bool], at_most_ms: int = 10_000) -> None:
        until_ms = self.now_ms + at_most_ms
        while not condition():
            assert self.now_ms < until_ms, "it did not come to pass in time"
            self.advance(20)

    # ---- clients

    def connect(self, server_id: int = 1, address: str = "127.0.0.1") -> "TestClient":
        self._serial += 1
        return TestClient(self, ServerId(server_id), ConnectionId(self._serial), address)


class TestClient:
    """One connection. `ask` sends a call and gives its answer."""

    __test__ = False

    def __init__(self, cluster: Cluster, server_id: ServerId, connection: ConnectionId, address: str) -> None:
        self.cluster = cluster
        self.server_id = server_id
        self.connection = connection
        self.xid = connection * 1_000  # no two connections of a session use the same xid by accident
        self.session = ConnectReply(SessionId(0), b"", 0)
        cluster.step(server_id, events.ClientConnected(connection, (Identity("ip", address),)))

    @property
    def received(self) -> list[Reply | WatchEvent]:
        return self.cluster.received.setdefault(self.connection, [])

    @property
    def closed(self) -> str | None:
        return self.cluster.closed.get(self.connection)

    def call(self, request: ClientRequest, *, xid: int | None = None, **options: int | bool) -> int:
        """Send without waiting for anything; gives the xid."""
        if xid is None:
            self.xid += 1
            xid = self.xid
        call = Call(xid, request, **options)  # type: ignore[arg-type]  # floor, at_least, linearizable
        self.cluster.step(self.server_id, events.ClientReceived(self.connection, [call]))
        return xid

    def answer_to(self, xid: int) -> Body | APIError | None:
        return next((item.body for item in self.received if isinstance(item, Reply) and item.xid == xid), None)

    def ask(self, request: ClientRequest, **options: int | bool) -> Body | APIError:
        xid = self.call(request, **options)
        self.cluster.settle()
        if self.answer_to(xid) is None:
            self.cluster.run_until(lambda: self.answer_to(xid) is not None)
        answer = self.answer_to(xid)
        assert answer is not None
        return answer

    def open(self, timeout_ms: int = 10_000) -> "TestClient":
        session = self.ask(Connect(SessionId(0), b"", timeout_ms))
        assert isinstance(session, ConnectReply), session
        self.session = session
        return self

    def attach(self, session: ConnectReply, timeout_ms: int = 10_000) -> Body | APIError:
        return self.ask(Connect(session.session_id, session.secret, timeout_ms, Zxid(0)))

    def drop(self) -> None:
        self.cluster.step(self.server_id, events.ClientDisconnected(self.connection))


@pytest.fixture
def new_cluster() -> Callable[..., Cluster]:
    """Make a cluster of a size, with changes to the replicas' configuration."""
    return Cluster


@pytest.fixture
def one() -> Cluster:
    """One server."""
    return Cluster(1)


@pytest.fixture
def three() -> Cluster:
    """Three servers with a leader."""
    return Cluster(3)
