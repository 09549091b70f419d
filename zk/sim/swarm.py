"""One run from one seed: a random subset of all faults against a working ensemble, then peace, and the liveness check.

`uniform` strikes at any time; `focused` also strikes in the first 12 ms behind a change of role, where protocols are
thinnest. Neither finds everything that the other does.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from random import Random

from zk.broadcast.engine import Engine
from zk.broadcast.messages import Message
from zk.broadcast.records import Recovered
from zk.broadcast.zab import Zab, ZabConfig
from zk.broadcast.zab.config import COUNTER_ROLLOVER
from zk.model.chance import Chance
from zk.model.limits import KIB, MIB
from zk.model.peering import ReplicaMessage
from zk.model.record import ServerId, record
from zk.sim.checkers import BroadcastChecks
from zk.sim.faults import Faults
from zk.sim.logserver import LogServer
from zk.sim.network import Network
from zk.sim.node import Node
from zk.sim.trace import Trace, describe
from zk.sim.watched import WatchedEngine
from zk.sim.workload import BroadcastWorkload, leaders
from zk.sim.world import MS, World
from zk.storage.store import Options
from zk.wire.peer import MAGIC, Hello, PeerReader, encode

PROBE_MS = 1_500
"""How long a write may take in peace until it is everywhere."""

MakeEngine = Callable[[ZabConfig, Recovered, Chance, int], Engine]


class Mode(Enum):
    """When faults strike."""

    UNIFORM = "uniform"
    FOCUSED = "focused"

    @property
    def war_ms(self) -> int:
        return 12_000 if self is Mode.UNIFORM else 5_000

    @property
    def settle_ms(self) -> int:
        """Within so much peace there must be one leader."""
        return 9_000 if self is Mode.UNIFORM else 5_000


@record
class Result:
    """A run without a violation. `counters` says how often what happened: a campaign that never saw a truncation has
    proved nothing about truncations."""

    seed: int
    events: int
    committed: int
    counters: Counter[str]


def run(
    seed: int, servers: int = 3, mode: Mode = Mode.UNIFORM, trace: Trace | None = None, engine: MakeEngine = Zab
) -> Result:
    """Run bare engines through the faults of `seed`. Raises Violation at the first breach of an invariant.

    The same arguments give the same run, to the last event. `engine` makes each server's engine: the way to try another
    one, or one with a planted bug.
    """
    world = World(seed, trace)
    voters = tuple(ServerId(number) for number in range(1, servers + 1))
    tuning = _tuning(world.random)
    checks = BroadcastChecks(world, voters, tuning.initial_counter)
    network: Network[Message | ReplicaMessage] = Network(world, voters, codec=partial(through_the_wire, world))

    def build(node: Node[LogServer], recovered: Recovered, state: Sequence[bytes] | None) -> LogServer:
        config = replace(tuning, server_id=node.server, voters=frozenset(voters))
        watched = WatchedEngine(engine(config, recovered, world.random, node.now_ms), node.server, checks)
        return LogServer(node.server, watched, recovered, state, checks)

    options = Options(segment_bytes=world.random.choice((8, 64, 512)) * KIB, ballast_bytes=4 * KIB, space_low_bytes=0)
    nodes = [Node(world, network, checks, voter, build, 20, options) for voter in voters]
    faults = Faults(world, network, nodes, focused=mode is Mode.FOCUSED)
    workload = BroadcastWorkload(world, nodes, (5, 60) if mode is Mode.FOCUSED else (2, 30))
    for node in nodes:
        world.after(0, node.start)
    workload.start()
    faults.war()
    world.run(mode.war_ms * MS)
    workload.running = False
    world.after(0, faults.peace)
    world.run(world.now_us + mode.settle_ms * MS)
    check_liveness(world, nodes, checks, workload)
    return Result(seed, world.events, len(checks.history), checks.counters + faults.counters)


def _tuning(random: Random) -> ZabConfig:
    """Limits small enough, now and then, that what they limit happens: snapshots for peers, many frames, broken
    streams, the end of the counters."""
    return ZabConfig(
        ServerId(1),
        frozenset((ServerId(1),)),
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


def check_liveness(
    world: World, nodes: Sequence[Node[LogServer]], checks: BroadcastChecks, workload: BroadcastWorkload
) -> None:
    """In peace there is one leader, a write commits, every server has applied everything, and all states are equal.

    Source: Zab, progress; the bounds are this project's.
    """
    found = leaders(nodes)
    if len(found) != 1:
        roles = {node.server: node.machine.engine.role.value for node in nodes if node.machine is not None}
        world.fail("liveness", f"after peace the leaders are {found}: {roles}")
    before = len(checks.history)
    workload.propose(next(node for node in nodes if node.server == found[0]))
    world.run(world.now_us + PROBE_MS * MS)
    if len(checks.history) == before:
        world.fail("liveness", "in peace, a write did not commit")
    for node in nodes:
        applied = node.machine.applied if node.machine is not None else 0
        if applied != checks.history[-1][0]:
            world.fail("liveness", f"in peace, server {node.server} applied {applied:#x} of {checks.history[-1][0]:#x}")
