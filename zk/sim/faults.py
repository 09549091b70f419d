"""Which faults strike an ensemble, when and whom; and the peace that repairs them all.

Each run has a random subset of the strikes in use (strikes.py says what they do). A focused run answers changes of role
besides, by tactics that it keeps for the whole run: a bug deep in the protocol needs the same accident several times.
"""

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from random import Random
from typing import Generic, assert_never

from zk.broadcast.engine import Role, RoleChanged
from zk.broadcast.messages import Message
from zk.model.peering import ReplicaMessage
from zk.model.record import ServerId
from zk.sim.network import DELAY_MS_MAX, Network
from zk.sim.node import SYNC_MS_MAX, M, Node
from zk.sim.strikes import Strikes
from zk.sim.truces import Truces
from zk.sim.world import MS, World

_FOCUS_US = 12 * MS


class Whom(Enum):
    """At whom a tactic aims."""

    SERVER = "the one whose role has changed"
    LEADER = "its leader, or the candidate that it obeys"
    ANYONE = "anyone"


class Tactic(Generic[M]):
    """What is done about one role, whoever comes to it: with which strike, and to whom. How often and how soon is drawn
    once for the whole run."""

    def __init__(self, role: Role, strike: Callable[[Node[M], Random], None], whom: Whom, chance: Random) -> None:
        self.role = role
        self.strike = strike
        self.whom = whom
        self.likely = chance.choice((0.1, 0.4, 0.9))
        self.within_us = chance.choice((1, 3 * MS, _FOCUS_US, 60 * MS))


class Faults(Generic[M]):
    """Strikes from `war` to `peace`. If `focused`, it also answers role changes."""

    def __init__(
        self, world: World, network: Network[Message | ReplicaMessage], nodes: Sequence[Node[M]], focused: bool
    ) -> None:
        fate = world.fate
        self.world = world
        self._nodes = tuple(nodes)
        self._at_war = False
        self._every_ms = fate.choice((300, 700, 1_500, 3_000))
        self._focus = fate.choice((0.0, 0.1, 0.3, 0.5)) if focused else 0.0
        lasts_ms_max = fate.choice((300, 600, 5_000)) if focused else 5_000
        self._strikes = strikes = Strikes(world, network, nodes, fate.random() < 0.8, lasts_ms_max)
        truces = Truces(world, strikes)
        kinds = (
            (strikes.crash, 0.6),
            (strikes.crash_many, 0.4),
            (strikes.pause, 0.6),
            (strikes.hand_over, 0.4),
            (strikes.set_clock, 0.3),
            (strikes.partition, 0.6),
            (strikes.cut_link, 0.4),
            (strikes.one_way, 0.6),
            (strikes.reset, 0.6),
            (strikes.stall, 0.6),
            (strikes.slow_disk, 0.6),
            (strikes.disk_error, 0.3),
            (strikes.little_space, 0.3),
            (strikes.lose_disk, 0.5),
            (truces.restore_old_image, 0.3),
            (truces.hide_leader, 0.3),
        )
        self._kinds = [strike for strike, likely in kinds if fate.random() < likely]
        self._tactics = self._some_tactics() if focused and fate.random() < 0.85 else []
        self._role_chance = Random(fate.getrandbits(64))
        self._repair_chance = Random(fate.getrandbits(64))
        network.spikes = fate.random() < 0.6
        network.delay_ms_max = fate.choice((DELAY_MS_MAX, DELAY_MS_MAX, 60))
        for node in nodes:
            node.sync_ms_max = fate.choice((SYNC_MS_MAX, SYNC_MS_MAX, 60))
            node.on_role = self._role_changed
            node.on_failure = partial(strikes.restart_later, chance=self._repair_chance)

    def war(self) -> None:
        self._at_war = self._strikes.allowed = True
        self._strike_later()

    def peace(self) -> None:
        """Everything heals: servers run, connections come back, disks are fast."""
        self._at_war = False
        self._strikes.repair()

    # ---- when

    def _strike_later(self) -> None:
        self.world.after(int(self.world.fate.expovariate(1 / self._every_ms) + 1) * MS, self._strike)

    def _strike(self) -> None:
        if not self._at_war:
            return
        self._strike_later()
        if self._kinds:
            chance = Random(self.world.fate.getrandbits(64))
            self._do(chance.choice(self._kinds), chance.choice(self._nodes), chance)

    def _do(self, strike: Callable[[Node[M], Random], None], victim: Node[M], chance: Random) -> None:
        if self.world.strikes() and self._strikes.allowed:
            strike(victim, chance)

    # ---- focus

    def _some_tactics(self) -> list[Tactic[M]]:
        """A few of those that have shown bugs which nothing else did."""
        fate, strikes = self.world.fate, self._strikes
        tactics = (
            (Role.CANDIDATE, strikes.crash, Whom.SERVER),  # it has promised itself an epoch that nobody heard of
            (Role.CANDIDATE, strikes.stall, Whom.SERVER),  # its call arrives when it is long forgotten
            (Role.CANDIDATE, strikes.slow_disk, Whom.ANYONE),
            (Role.LOOKING, strikes.cut_link, Whom.ANYONE),  # two are elected by a third that both can reach
            (Role.LEAD_SYNC, strikes.isolate, Whom.SERVER),
            (Role.LEAD_SYNC, strikes.reset, Whom.SERVER),
            (Role.LEADING, strikes.isolate, Whom.SERVER),  # what it appends from here on is on its disk alone
            (Role.LEADING, strikes.pause, Whom.SERVER),
            (Role.LEADING, strikes.crash, Whom.SERVER),
            (Role.FOLLOW_SYNC, strikes.crash, Whom.SERVER),  # what it has promised may be forgotten
            (Role.FOLLOW_SYNC, strikes.isolate, Whom.LEADER),
            (Role.FOLLOW_SYNC, strikes.one_way, Whom.LEADER),
            (Role.FOLLOW_SYNC, strikes.slow_disk, Whom.SERVER),
            (Role.FOLLOWING, strikes.stall, Whom.LEADER),
            (Role.FOLLOWING, strikes.crash, Whom.ANYONE),
        )
        return [Tactic(*tactic, fate) for tactic in fate.sample(tactics, fate.randrange(1, 5))]

    def _role_changed(self, node: Node[M], effect: RoleChanged) -> None:
        if effect.role in (Role.LEADING, Role.FOLLOWING):
            self._strikes.counted.add(node.server)
        if not self._at_war:
            return
        chance = self._role_chance
        for tactic in self._tactics:
            if tactic.role is effect.role and chance.random() < tactic.likely:
                victim = self._victim(tactic.whom, node, effect.leader)
                self._do_later(chance.randrange(tactic.within_us), tactic.strike, victim)
        if chance.random() < self._focus:
            strikes = self._strikes
            means = (strikes.crash, strikes.isolate, strikes.one_way, strikes.slow_disk)
            (strike,) = chance.choices(means, (40, 30, 15, 15))
            victim = node if chance.random() < 0.6 else chance.choice(self._nodes)
            self._do_later(chance.randrange(_FOCUS_US), strike, victim)

    def _victim(self, whom: Whom, node: Node[M], leader: ServerId) -> Node[M]:
        match whom:
            case Whom.SERVER:
                return node
            case Whom.LEADER:
                return next((other for other in self._nodes if other.server == leader), node)
            case Whom.ANYONE:
                return self._role_chance.choice(self._nodes)
            case _:
                assert_never(whom)

    def _do_later(self, delay_us: int, strike: Callable[[Node[M], Random], None], victim: Node[M]) -> None:
        chance = Random(self._role_chance.getrandbits(64))
        self.world.after(delay_us, partial(self._do, strike, victim, chance))
