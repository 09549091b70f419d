"""What strikes is numbered, and may be left out; what is tried in a truce is tried alone, and shows what it is for."""

from collections.abc import Sequence
from functools import partial
from random import Random
from unittest.mock import patch

import pytest

from zk.broadcast.engine import Halt, Role
from zk.broadcast.messages import Message, Poll, PollReply
from zk.broadcast.records import Recovered
from zk.broadcast.zab import Zab, ZabConfig
from zk.broadcast.zab.following import Following
from zk.broadcast.zab.node import Node as ZabNode
from zk.broadcast.zab.stance import Stance
from zk.build import COMPILED
from zk.model.peering import ReplicaMessage
from zk.model.record import Epoch, ServerId
from zk.sim import Layer, Mode, Plan, Violation, run
from zk.sim.checkers import BroadcastChecks
from zk.sim.logserver import LogServer
from zk.sim.network import Network
from zk.sim.node import Node
from zk.sim.strikes import Strikes
from zk.sim.swarm import through_the_wire
from zk.sim.truces import Truces
from zk.sim.watched import WatchedEngine
from zk.sim.workload import BroadcastWorkload
from zk.sim.world import MS, World
from zk.storage.store import Options

VOTERS = (ServerId(1), ServerId(2), ServerId(3))


class Ensemble:
    """Three bare engines at work, and the means to strike them."""

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        checks = self.checks = BroadcastChecks(self.world, VOTERS, 0)
        network: Network[Message | ReplicaMessage] = Network(
            self.world, VOTERS, partial(through_the_wire, self.world), spikes=False
        )

        def build(node: Node[LogServer], recovered: Recovered, state: Sequence[bytes] | None) -> LogServer:
            zab = Zab(ZabConfig(node.server, frozenset(VOTERS), "simulated"), recovered, self.world.random, node.now_ms)
            return LogServer(node.server, WatchedEngine(zab, node.server, checks), recovered, state, checks)

        self.nodes = [
            Node(self.world, network, checks, voter, build, 20, Options(1 << 16, 0, 1 << 15)) for voter in VOTERS
        ]
        self.strikes = Strikes(self.world, network, self.nodes, power_cuts=True, lasts_ms_max=1_000)
        self.truces = Truces(self.world, self.strikes)
        for node in self.nodes:
            node.on_role = lambda changed, effect: self.strikes.counted.add(changed.server)
            node.start()
        self.workload = BroadcastWorkload(self.world, self.nodes, (5, 20))
        self.workload.start()
        self.run(2_000)
        self.strikes.allowed = True

    def run(self, ms: int) -> None:
        self.world.run(self.world.now_us + ms * MS)

    def follower(self) -> Node[LogServer]:
        return next(node for node in self.nodes if node.machine is not None and node.machine.role is Role.FOLLOWING)


def test_an_old_image_is_put_back_while_others_lead_on_and_nothing_is_lost() -> None:
    ensemble = Ensemble(seed=1)
    victim, uuid = ensemble.follower(), ensemble.follower().disk_uuid
    ensemble.truces.restore_old_image(victim, Random(1))
    ensemble.run(8_000)
    assert ensemble.world.counters["fault: old image"] == 1
    assert ensemble.strikes.allowed
    assert victim.disk_uuid == uuid  # nobody could tell
    assert victim.machine is not None
    assert victim.machine.role is Role.FOLLOWING
    ensemble.workload.stop()
    ensemble.run(1_000)
    assert {node.machine.applied for node in ensemble.nodes if node.machine} == {ensemble.checks.history[-1][0]}


def test_a_leader_out_of_one_servers_sight_leads_on() -> None:
    ensemble = Ensemble(seed=2)
    ensemble.truces.hide_leader(ensemble.follower(), Random(1))
    assert not ensemble.strikes.allowed
    ensemble.run(8_000)
    assert ensemble.world.counters["fault: leader out of sight"] == 1
    assert ensemble.strikes.allowed


@pytest.mark.skipif(COMPILED, reason="bugs can't be planted into compiled code")
def test_voters_that_desert_a_living_leader_are_found() -> None:
    def grant_to_anyone(node: ZabNode, stance: Stance, peer: ServerId, poll: Poll) -> None:
        node.check_founding(peer, poll.cluster_id)
        granted = poll.counts_you and poll.last >= node.history.last
        node.send(peer, PollReply(poll.round, granted, node.accepted_epoch, ServerId(0), node.cluster_id))

    def obey_anyone(stance: Following, candidate: ServerId, epoch: Epoch) -> bool:
        return True

    def hide_leader(seed: int) -> None:
        ensemble = Ensemble(seed)
        ensemble.workload.stop()  # else the server in the dark soon lacks what others have
        ensemble.truces.hide_leader(ensemble.follower(), Random(1))
        ensemble.run(8_000)

    with (
        patch("zk.broadcast.zab.zab.answer_poll", grant_to_anyone),
        patch.object(Following, "obeys", obey_anyone),
        pytest.raises(Violation, match="sticky leader"),
    ):
        hide_leader(seed=0)


def test_a_disk_with_little_space_is_noticed_and_so_is_room() -> None:
    ensemble = Ensemble(seed=3)
    victim = ensemble.follower()
    victim.disk.capacity_bytes = victim.disk.used_bytes() + 1_000
    ensemble.run(1_100)
    assert ensemble.world.counters["low on space"] == 1
    ensemble.strikes.make_room(victim)
    ensemble.run(1_100)
    assert ensemble.world.counters["space again"] == 1


def test_a_direction_that_several_strikes_closed_opens_behind_the_last() -> None:
    ensemble = Ensemble(seed=4)
    strikes, victim = ensemble.strikes, ensemble.nodes[0]
    for seed in range(10):
        strikes.isolate(victim, Random(seed))
    waited_ms = 0
    while strikes.closed:
        ensemble.run(50)
        waited_ms += 50
    assert waited_ms == 1_000


def test_a_halt_is_a_violation() -> None:
    ensemble = Ensemble(seed=5)
    with pytest.raises(Violation, match="halts: no reason"):
        ensemble.nodes[0].act(lambda machine, now_ms: [Halt("no reason")])


@pytest.mark.parametrize("mode", list(Mode))
def test_a_run_without_faults_has_none(mode: Mode) -> None:
    counters = run(Plan(1, 3, mode, Layer.BROADCAST, only_faults=frozenset())).counters
    strikes = {name for name in counters if name.startswith("fault: ")}
    assert strikes <= {"fault: crash while starting"}
    assert counters["leader"] > 0


def test_only_the_faults_that_are_asked_for_take_place() -> None:
    def strikes(only: frozenset[int] | None) -> int:
        counters = run(Plan(6, 3, Mode.FOCUSED, Layer.BROADCAST, only_faults=only)).counters
        return sum(count for name, count in counters.items() if name.startswith("fault: "))

    assert 0 < strikes(frozenset(range(1, 6))) < strikes(None)
