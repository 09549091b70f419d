"""One run from one seed: a random subset of all faults against a working ensemble, then peace, and the liveness check.

`uniform` strikes at any time; `focused` also strikes in the first 12 ms behind a change of role, where protocols are
thinnest. Neither finds everything that the other does.
"""

import gc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from random import Random
from typing import Generic

from zk.broadcast.engine import Role
from zk.broadcast.messages import Message
from zk.broadcast.records import Recovered
from zk.broadcast.zab import Zab, ZabConfig
from zk.broadcast.zab.config import COUNTER_ROLLOVER
from zk.model.limits import KIB, MIB, Limits
from zk.model.peering import ReplicaMessage
from zk.model.record import ServerId, Zxid, record
from zk.replica.config import ReplicaConfig
from zk.sim.checkers import BroadcastChecks
from zk.sim.clients import TIMEOUT_MS, SimClient
from zk.sim.faults import Faults
from zk.sim.links import Links
from zk.sim.logserver import LogServer
from zk.sim.network import Network
from zk.sim.node import M, Node
from zk.sim.opinion import SecondOpinion
from zk.sim.plan import Layer, Mode, Plan
from zk.sim.prelude import Prelude
from zk.sim.recipes import Recipes
from zk.sim.service import ReplicaServer
from zk.sim.trace import Trace, describe, zxid_text
from zk.sim.watched import WatchedEngine
from zk.sim.wishes import KEYS
from zk.sim.witness import Witness
from zk.sim.workload import BroadcastWorkload
from zk.sim.world import MS, TimeIsUp, World
from zk.storage.store import Options
from zk.wire.peer import MAGIC, Hello, PeerReader, encode

PROBE_MS = 1_500
"""How long a write may take in peace until it is everywhere."""

NEW_EPOCH_MS = 300
"""How long a leader may take from one epoch to the next."""

SERVED_WITHIN_MS = 3_000
"""How long a client may be without an answer in peace."""
TICK_MS = 20
CLIENTS = 5
RECIPES_EVERY = 3
"""Among so many seeds, one has locks and elections beside the other clients."""
BROUGHT_EVERY = 8
"""Among so many seeds, one begins with a tree that is brought from elsewhere."""


@record
class Result:
    """A run without a violation: how much happened, in how much of its own time, and, by name, how often what did."""

    plan: Plan
    events: int
    time_ms: float
    counters: Counter[str]


class _Stage(Generic[M]):
    """What a run of either kind takes place on. `add_nodes` comes before anything else."""

    def __init__(self, plan: Plan, world: World) -> None:
        self.world = world
        self.random = world.random
        self.plan = plan
        self.voters = tuple(ServerId(number) for number in range(1, plan.servers + 1))
        self._tuning = _tuning(self.random, self.voters)
        self.checks = BroadcastChecks(self.world, self.voters, self._tuning.initial_counter)

    def config(self, server: ServerId) -> ZabConfig:
        return replace(self._tuning, server_id=server)

    def add_nodes(self, build: Callable[[Node[M], Recovered, Sequence[bytes] | None], M]) -> list[Node[M]]:
        """A node for each voter, and the faults that will strike them."""
        codec = partial(through_the_wire, self.world)
        network: Network[Message | ReplicaMessage] = Network(self.world, self.voters, codec)
        options = _options(self.random)
        self.nodes = [Node(self.world, network, self.checks, voter, build, TICK_MS, options) for voter in self.voters]
        self.faults = Faults(self.world, network, self.nodes, focused=self.plan.mode is Mode.FOCUSED)
        return self.nodes

    def war_and_peace(self, truce: Callable[[], None]) -> None:
        """Start everything, let the faults strike, then `truce` and peace; wait until all should be well."""
        world = self.world
        for node in self.nodes:
            world.after(0, node.start)
        world.after(0, self.faults.war)
        world.run(self.plan.peace_ms * MS)
        world.after(0, truce)
        world.after(0, self.faults.peace)
        world.run(world.now_us + self.plan.mode.settle_ms * MS)


def run(plan: Plan, trace: Trace | None = None, stop_ms: int | None = None) -> Result:
    """Do one run; with `stop_ms`, only so much of it. Raises Violation at the first breach of an invariant."""
    world = World(plan.seed, trace, plan.only_faults, plan.only_wishes, stop_ms, plan.nature)
    play = _play_broadcast if plan.layer is Layer.BROADCAST else _play_service
    with suppress(TimeIsUp), _no_collector():
        play(plan, world)
    return Result(plan, world.events, world.now_us / MS, world.counters)


@contextmanager
def _no_collector() -> Iterator[None]:
    """What a run leaves in cycles is little until it ends: to look for it meanwhile only costs time."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _play_broadcast(plan: Plan, world: World) -> None:
    """Bare engines, which are asked to order this and that."""
    stage: _Stage[LogServer] = _Stage(plan, world)
    checks = stage.checks

    def build(node: Node[LogServer], recovered: Recovered, state: Sequence[bytes] | None) -> LogServer:
        inner = Zab(stage.config(node.server), recovered, stage.random, node.now_ms)
        return LogServer(node.server, WatchedEngine(inner, node.server, checks), recovered, state, checks)

    nodes = stage.add_nodes(build)
    workload = BroadcastWorkload(world, nodes, (5, 60) if plan.mode is Mode.FOCUSED else (2, 30))
    workload.start()
    stage.war_and_peace(truce=workload.stop)

    leader = the_leader(world, nodes)
    before = len(checks.history)
    workload.propose(leader)
    world.run(world.now_us + PROBE_MS * MS)
    if len(checks.history) == before:
        world.fail("liveness", "in peace, a write did not commit")
    everyone_is_at_the_end(world, nodes, checks.history[-1][0])


def _play_service(plan: Plan, world: World) -> None:
    """Whole replicas and their clients."""
    stage: _Stage[ReplicaServer] = _Stage(plan, world)
    checks, random = stage.checks, stage.random
    witness = Witness(world)
    checks.on_leading = witness.leading
    common = ReplicaConfig(
        stage.config(stage.voters[0]),
        limits=Limits(session_timeout_ms_min=TIMEOUT_MS, history_changes_max=random.choice((20, 200, 100_000))),
        read_only_mode=True,
        leaderless_ms_max=100 if plan.seed % 4 == 1 else 1_500,  # so short, now and then, that clients are read-only
        reap_interval_ms=random.choice((50, 400)),
        snapshot_every_txns=random.choice((50, 300, 100_000)),
        digest_every_txns=16,
        snapshot_nodes_per_slice=random.choice((5, 2_000)),
    )

    def build(node: Node[ReplicaServer], recovered: Recovered, state: Sequence[bytes] | None) -> ReplicaServer:
        config = replace(common, zab=stage.config(node.server), members=_members(stage.voters, node.incarnation))
        return ReplicaServer(config, recovered, state, random, node.now_ms, node.wall_ms, checks, witness)

    nodes = stage.add_nodes(build)
    links = Links(world, nodes)
    links.observer = opinion = SecondOpinion(world, KEYS)
    prelude = None
    if plan.seed % BROUGHT_EVERY == BROUGHT_EVERY - 1:
        prelude = Prelude(world, witness.ledger, epoch=3 + plan.seed % 50)
    clients = [SimClient(world, links, witness, number, prelude) for number in range(CLIENTS)]
    with Recipes(world, links, witness, stage.voters, plan.peace_ms) as recipes:
        checks.on_committed = recipes.referee.committed
        if plan.seed % RECIPES_EVERY == 0:
            recipes.begin()
        stage.war_and_peace(truce=links.calm)

        clients_are_served(world, clients, checks, witness)
        witness.emptied_containers_are_gone(checks.led_since_us, SERVED_WITHIN_MS)
        for client in clients:
            client.rest()
        recipes.rest()
        end = checks.history[-1][0]
        world.run(world.now_us + PROBE_MS * MS)
        leader = the_leader(world, nodes)
        witness.members_are_named(_members(stage.voters, leader.incarnation))
        everyone_is_at_the_end(world, nodes, end)
        for node in nodes:
            assert node.machine is not None
            witness.equal_states(node.server, node.machine.replica.tree)
            witness.no_ephemeral_outlives_its_session(node.server, node.machine.replica.tree)
    opinion.check()


def _members(voters: Sequence[ServerId], incarnation: int) -> tuple[str, ...]:
    """As a server's configuration names them; every other time that it starts they have other ports."""
    port = 2888 + incarnation % 2
    return tuple(f"server.{voter}=host-{voter}:{port}:3888:participant" for voter in voters)


def _options(random: Random) -> Options:
    """Segments so small that there are many."""
    return Options(segment_bytes=random.choice((8, 64, 512)) * KIB, ballast_bytes=4 * KIB, space_low_bytes=64 * KIB)


def _tuning(random: Random, voters: Sequence[ServerId]) -> ZabConfig:
    """Limits small enough, now and then, that what they limit happens: snapshots for peers, many frames, broken
    streams, the end of the counters."""
    return ZabConfig(
        voters[0],
        frozenset(voters),
        "simulated",
        uncommitted_txns_max=random.choice((20, 2_000)),
        proposal_txns_max=random.choice((3, 512)),
        in_flight_bytes_max=random.choice((5_000, 8 * MIB)),
        history_entries_max=random.choice((10, 100, 120_000)),
        initial_counter=random.choice((0, 0, 0, COUNTER_ROLLOVER - 300)),
    )


def through_the_wire(world: World, message: Message | ReplicaMessage) -> Message | ReplicaMessage:
    """The message as it comes out of the peers' real protocol. Source: what a codec is for."""
    (decoded,) = PeerReader().feed(MAGIC + encode(message))
    if decoded != message or isinstance(decoded, Hello):
        world.fail("codec", f"sent {describe(message)}, received {describe(decoded)}")
    return decoded


def the_leader(world: World, nodes: Sequence[Node[M]]) -> Node[M]:
    """In peace there is one leader. Source: Zab, progress; the bound is this project's."""
    found = _leading(nodes)
    if not found:  # unless it has just come to the end of its epoch's counters, and begins another epoch
        world.run(world.now_us + NEW_EPOCH_MS * MS)
        found = _leading(nodes)
    if len(found) != 1:
        roles = {node.server: node.machine.role.value for node in nodes if node.machine is not None}
        world.fail("liveness", f"in peace the roles are {roles}")
    return found[0]


def _leading(nodes: Sequence[Node[M]]) -> list[Node[M]]:
    return [node for node in nodes if node.machine is not None and node.machine.role is Role.LEADING]


def everyone_is_at_the_end(world: World, nodes: Sequence[Node[M]], end: Zxid) -> None:
    """In peace every server applies all that was committed. Source: Zab, agreement."""
    for node in nodes:
        applied = node.machine.applied if node.machine is not None else 0
        if applied < end:
            world.fail("liveness", f"in peace server {node.server} applied {zxid_text(applied)} of {zxid_text(end)}")


def clients_are_served(world: World, clients: Sequence[SimClient], checks: BroadcastChecks, witness: Witness) -> None:
    """In peace every client gets answers, and the sessions of the dead are over. Source: semantics of sessions."""
    for client in clients:
        if client.gone:
            silent_ms = (world.now_us - max(client.silent_since_us, checks.led_since_us)) / MS
            if client.session in witness.tree.sessions and silent_ms > 2 * TIMEOUT_MS:
                world.fail("expiry", f"{client.name} is gone, and its session {client.session:#x} lives on")
        elif not client.silent and world.now_us - client.answered_us > SERVED_WITHIN_MS * MS:
            world.fail("liveness", f"{client.name} got its last answer at {client.answered_us / MS:.0f} ms")
