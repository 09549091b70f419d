"""Hand-written scenarios: one story, told step by step to whole servers in a calm world.

Where the swarm lets chance choose, a scenario says everything itself: no fault strikes unless it is ordered, every
message takes the same short time, every fsync too, and a power cut takes all that was not synced. Servers, disks,
network, checks and witness are those of the swarm; so each step is held against every invariant, and the `with` block
ends with all faults healed and the ensemble as it must then be: one leader, every call answered, equal trees.

>>> with Scenario(servers=3) as s:
...     leader, other = s.leader(), s.followers()[0]
...     client = s.client(at=other)
...     _ = client.create("/a", b"1")
...     s.power_cut(leader)
...     new = s.run_until_leader()
...     print(leader, new, client.get("/a").data)
3 2 b'1'

To see what happens, hand in `Trace(print)`. To have a plant shown up: `with plant.plant(), raises(Violation): story()`.
Read next: scenario_client.py (clients, and the calls that they have outstanding), scenario_app.py (production clients).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from random import Random
from types import TracebackType
from typing import Literal

from zk.broadcast.engine import Resign, Role
from zk.broadcast.messages import Message
from zk.broadcast.records import Recovered
from zk.broadcast.zab import ZabConfig
from zk.model.limits import KIB, Limits
from zk.model.peering import ReplicaMessage
from zk.model.record import ServerId, Zxid
from zk.replica.config import ReplicaConfig
from zk.replica.replica import Replica
from zk.sim.checkers import BroadcastChecks
from zk.sim.disk import CAPACITY_BYTES
from zk.sim.eventloop import EventLoop
from zk.sim.links import Links
from zk.sim.network import Network
from zk.sim.node import Node
from zk.sim.referee import Referee, Rules
from zk.sim.scenario_app import ScenarioApp
from zk.sim.scenario_client import ScenarioClient
from zk.sim.service import ReplicaServer
from zk.sim.streams import Line, Tap
from zk.sim.swarm import PROBE_MS, everyone_is_at_the_end, through_the_wire
from zk.sim.trace import Trace
from zk.sim.witness import Witness
from zk.sim.world import MS, World
from zk.storage.store import Options

WITHIN_MS = 10_000
"""What does not come about within so much virtual time does not come about."""
TICK_MS = 20
SPACE_LOW_BYTES = 64 * KIB
"""A server whose disk has less than this left takes no writes of clients."""
_STEP_US = 100  # how closely a condition that is waited for is watched
_IDENTIFIERS = 1 << 30  # what is drawn out of so many is a name, and must be another each time

PeerMessage = Message | ReplicaMessage


class Calm(Random):
    """Nature at rest: whatever is drawn is the middle of what it may be, but for names. So delays are all the same,
    clocks run true, nothing breaks by itself, and of two servers with equal logs the one with the higher id leads."""

    unlikely = False
    """Whether, for the moment, the unlikely happens."""

    def random(self) -> float:
        return 0.0 if self.unlikely else 0.5

    def getrandbits(self, k: int, /) -> int:
        return super().getrandbits(k)  # said here, or Random would draw its numbers from `random`

    def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
        low, high = (0, start) if stop is None else (start, stop)
        if high - low >= _IDENTIFIERS:
            return super().randrange(low, high)
        return low + (high - low) // 2


class Scenario:
    """An ensemble of the servers 1 to `servers`, which works when the `with` block begins.

    `tune` adjusts what every server is configured with; `segment_bytes` is the size of their logs' segments. `contests`
    are the paths of locks and the like that apps compete for, with the rules that these are judged by.
    """

    def __init__(
        self,
        servers: int = 3,
        tune: Callable[[ReplicaConfig], ReplicaConfig] = lambda config: config,
        segment_bytes: int = 64 * KIB,
        trace: Trace | None = None,
        contests: Mapping[str, Rules] | None = None,
    ) -> None:
        self.servers = tuple(ServerId(number) for number in range(1, servers + 1))
        self.world = World(0, trace)
        self._nature = Calm(0)
        self.world.random = self._nature
        zab = ZabConfig(self.servers[0], frozenset(self.servers), "simulated")
        self._config = tune(ReplicaConfig(zab, Limits(session_timeout_ms_min=500), digest_every_txns=1))
        self.checks = BroadcastChecks(self.world, self.servers, self._config.zab.initial_counter)
        self.witness = Witness(self.world)
        self._referee = Referee(self.world, self.witness, contests or {})
        self.checks.on_committed = self._referee.committed
        self.checks.on_leading = self.witness.leading
        self._network: Network[PeerMessage] = Network(self.world, self.servers, partial(through_the_wire, self.world))
        self._network.spikes = False
        options = Options(segment_bytes=segment_bytes, ballast_bytes=4 * KIB, space_low_bytes=SPACE_LOW_BYTES)
        self._nodes = {
            server: Node(self.world, self._network, self.checks, server, self._build, TICK_MS, options)
            for server in self.servers
        }
        self._links = Links(self.world, list(self._nodes.values()))
        self._links.calm()
        self._clients: list[ScenarioClient] = []
        self._apps: list[ScenarioApp] = []

    def _build(self, node: Node[ReplicaServer], recovered: Recovered, state: Sequence[bytes] | None) -> ReplicaServer:
        config = replace(self._config, zab=replace(self._config.zab, server_id=node.server))
        random = self.world.random
        return ReplicaServer(config, recovered, state, random, node.now_ms, node.wall_ms, self.checks, self.witness)

    def __enter__(self) -> "Scenario":
        self.start(*self.servers)
        self.run_until_in_step()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.heal()
                self._ends_well()
        finally:
            for app in self._apps:
                app.end()

    # ---- what is to be seen

    def leader(self) -> ServerId:
        """The one that leads; there must be one, and only one, among those that run and are not paused."""
        (leader,) = self._leading()
        return leader

    def followers(self) -> tuple[ServerId, ...]:
        """All servers but the leader, lowest first."""
        return tuple(server for server in self.servers if server != self.leader())

    def role(self, server: ServerId) -> Role | None:
        """What the server believes to be; None if it is down."""
        machine = self._nodes[server].machine
        return None if machine is None else machine.role

    def replica(self, server: ServerId) -> Replica:
        """The running server itself, to look into: its `tree`, its `engine`'s `last`, `delivered`, `epoch` …"""
        machine = self._nodes[server].machine
        assert machine is not None, f"server {server} is down"
        return machine.replica

    def durable(self, server: ServerId) -> Zxid:
        """How far the log reaches that would survive a power cut now."""
        return self.checks.mirrors[server].durable.last

    def stalled(self, sender: ServerId, receiver: ServerId) -> tuple[PeerMessage, ...]:
        """The messages that a block holds back in this direction, oldest first."""
        return self._network.stalled(sender, receiver)

    def _leading(self, other_than: ServerId | None = None) -> list[ServerId]:
        return [
            server
            for server, node in self._nodes.items()
            if server != other_than and not node.paused and self.role(server) is Role.LEADING
        ]

    # ---- time

    def run_ms(self, duration_ms: int) -> None:
        """Let so much time pass."""
        self.world.run(self.world.now_us + duration_ms * MS)

    def run_until(self, condition: Callable[[], object], within_ms: int = WITHIN_MS) -> None:
        """Let time pass until the condition holds: to a tenth of a millisecond, and at most so long."""
        assert self._comes_about(condition, within_ms), f"did not come about within {within_ms} ms"

    def run_until_leader(self, other_than: ServerId | None = None, within_ms: int = WITHIN_MS) -> ServerId:
        """Let time pass until some server (`other_than` this one) leads, and say which."""
        self._make_progress(lambda: bool(self._leading(other_than)), within_ms)
        return self._leading(other_than)[0]

    def run_until_in_step(self, within_ms: int = WITHIN_MS) -> None:
        """Let time pass until one server leads, and all others that run follow it in step and count."""
        self._make_progress(self._in_step, within_ms)

    def _in_step(self) -> bool:
        roles = [role for server in self.servers if (role := self.role(server)) is not None]
        return roles.count(Role.LEADING) == 1 and roles.count(Role.FOLLOWING) == len(roles) - 1

    def _make_progress(self, condition: Callable[[], bool], within_ms: int) -> None:
        """Source: Zab, progress; the bound is this project's."""
        if not self._comes_about(condition, within_ms):
            roles = {server: role and role.value for server in self.servers for role in [self.role(server)]}
            self.world.fail("liveness", f"after {within_ms} ms the roles are {roles}")

    def _comes_about(self, condition: Callable[[], object], within_ms: int) -> bool:
        end_us = self.world.now_us + within_ms * MS
        while not condition():
            if self.world.now_us >= end_us:
                return False
            self.world.run(self.world.now_us + _STEP_US)
        return True

    # ---- processes

    def start(self, *servers: ServerId) -> None:
        """Start servers on what their disks hold. One that finds its disk unusable stays down."""
        for server in servers:
            self._nodes[server].start()

    def kill(self, *servers: ServerId) -> None:
        """kill -9: what the process had written is still there."""
        for server in servers:
            self._nodes[server].stop(power_cut=False)

    def power_cut(self, *servers: ServerId) -> None:
        """What was not synced is gone."""
        for server in servers:
            self._nodes[server].stop(power_cut=True)

    def pause(self, server: ServerId) -> None:
        """SIGSTOP: what arrives waits, and no time passes for the server."""
        self._nodes[server].pause()

    def resume(self, server: ServerId) -> None:
        self._nodes[server].resume()

    def resign(self, server: ServerId) -> None:
        """SIGTERM's first half: if it leads, it hands over."""
        self._nodes[server].act(lambda machine, now_ms: machine.step(now_ms, Resign()))

    # ---- the network between servers

    def isolate(self, *group: ServerId) -> None:
        """Partition: nothing passes between these servers and the others."""
        self._network.isolate(group)

    def block(self, sender: ServerId, receiver: ServerId, first: type[PeerMessage] | None = None) -> None:
        """Hold back what goes in this direction from now on, or from the first message of that type on."""
        if first is None:
            self._network.block(sender, receiver)
        else:
            self._network.block_from(sender, receiver, first)

    def open(self, sender: ServerId, receiver: ServerId) -> None:
        """Open this direction again; what was held back arrives."""
        self._network.open(sender, receiver)

    def open_all(self) -> None:
        """Open every direction."""
        for sender in self.servers:
            for receiver in self.servers:
                self.open(sender, receiver)

    def reset(self, one: ServerId, other: ServerId, *, half_open: bool = False) -> None:
        """Break the connection between two servers; what a block holds back is lost. They have a new one 0.1 s later.

        `half_open`: both hear of the old one's end only after 0.8 s, and just before that what was held back on it.
        """
        self._nature.unlikely = self._network.spikes = half_open
        self._network.reset(one, other)
        self._nature.unlikely = self._network.spikes = False

    # ---- disks

    def stick_disk(self, server: ServerId) -> None:
        """No fsync comes back until `free_disk`."""
        self._nodes[server].stick_disk()

    def free_disk(self, server: ServerId) -> None:
        self._nodes[server].free_disk()

    def fail_disk(self, server: ServerId, operation: Literal["write", "sync", "create", "read"], code: int) -> None:
        """The next such operation fails with this errno."""
        self._nodes[server].disk.fail_next(operation, code)

    def fill_disk(self, server: ServerId) -> None:
        """Somebody else takes up the space, until `make_room`: too little is left for the server to take writes."""
        disk = self._nodes[server].disk
        disk.capacity_bytes = disk.used_bytes() + SPACE_LOW_BYTES // 2

    def make_room(self, server: ServerId) -> None:
        self._nodes[server].disk.capacity_bytes = CAPACITY_BYTES

    def wipe(self, server: ServerId) -> None:
        """An empty disk for a server that is down."""
        node = self._down(server)
        node.disk.wipe()
        node.tampered = True

    def files(self, server: ServerId) -> dict[str, bytes]:
        """A copy of the disk's files, to look at or to `restore`."""
        return self._nodes[server].disk.image()

    def restore(self, server: ServerId, files: dict[str, bytes]) -> None:
        """Put an old copy of its files on the disk of a server that is down."""
        node = self._down(server)
        node.disk.restore(files)
        node.tampered = True

    def damage(self, server: ServerId, name: str, offset: int, data: bytes) -> None:
        """Change bytes of a file behind the back of a server that is down."""
        node = self._down(server)
        node.disk.damage(name, offset, data)
        node.tampered = True

    def _down(self, server: ServerId) -> Node[ReplicaServer]:
        node = self._nodes[server]
        assert not node.up, f"server {server} runs: stop it before its disk is changed"
        return node

    # ---- clients

    def client(
        self, at: ServerId | None = None, timeout_ms: int = 2_000, may_read_only: bool = False
    ) -> ScenarioClient:
        """A client with a new session, connected to the server `at`, else to the leader. `may_read_only`: or without a
        session, where there is no quorum and the server allows it."""
        server = self.leader() if at is None else at
        client = ScenarioClient(
            self.world, self._links, self.witness, server, timeout_ms, self.run_until, may_read_only
        )
        self._clients.append(client)
        self.run_until(lambda: client.connected)
        return client

    def app(self, at: ServerId | None = None, timeout_ms: int = 2_000, read_only: bool = False) -> ScenarioApp:
        """A process with a production client, connected to the server `at`, else to any. `read_only`: it may also be to
        one without a quorum."""
        servers = self.servers if at is None else (at,)
        app = ScenarioApp(self.world, self._links, servers, self._referee, timeout_ms, self.run_until, read_only)
        self._apps.append(app)
        return app

    def line(self, loop: EventLoop, tap: Tap) -> Line:
        """The network of a process whose client is a production one."""
        return Line(self.world, self._links, loop, self.servers, tap)

    # ---- the end

    def heal(self) -> None:
        """End every fault: the network is whole, disks answer, and all servers run."""
        self.open_all()
        for server, node in self._nodes.items():
            node.disk.forget_faults()
            self.make_room(server)
            node.free_disk()
            node.resume()
            if not node.up:
                self.start(server)

    def _ends_well(self) -> None:
        """In peace there is one leader that all others follow, every call is answered, a new write reaches everyone,
        and all hold the same tree. Source: Zab, progress and agreement; semantics of sessions."""
        world = self.world
        self.run_until_in_step()
        for client in self._clients:
            if not self._comes_about(partial(ScenarioClient.is_served, client), WITHIN_MS):
                world.fail("liveness", f"in peace the session {client.session:#x} gets no answer")
        probe = self.client()
        probe.create("/-probe")
        probe.close()
        self.run_ms(PROBE_MS)
        everyone_is_at_the_end(world, list(self._nodes.values()), self.checks.history[-1][0])
        for server in self.servers:
            tree = self.replica(server).tree
            self.witness.same_state(server, tree)
            self.witness.no_ephemeral_outlives_its_session(server, tree)
