"""What is tried while nothing else strikes: accidents that no protocol survives together with others, and promises
that hold only in between.

**An old image.** A data directory restored from a copy has the same disk uuid, so nobody can tell that it has
forgotten acknowledgements and promises. It does no harm under one assumption, which is what an operator has to see to:
it is done to one server, while it is stopped and its connections are over, and while a leader leads with a quorum of
*other* servers in step; and nothing else happens until it has caught up. Then nothing may be lost.

**A leader out of sight.** A server that can't reach the leader, but others, can't depose it (R12): as long as a quorum
hears the leader, it leads on.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Generic

from zk.broadcast.engine import Role
from zk.model.record import ServerId, Zxid
from zk.sim.node import M, Node
from zk.sim.strikes import Strikes
from zk.sim.world import MS, World

_LOOK_EVERY_US = 50 * MS
_PATIENCE_US = 4_000 * MS
"""So long it is waited for everything to be in order; else nothing is tried."""


class Truces(Generic[M]):
    """One at a time; nobody else strikes meanwhile."""

    def __init__(self, world: World, strikes: Strikes[M]) -> None:
        self.world = world
        self._strikes = strikes
        self._nodes = strikes.nodes
        self._newest = 0

    def _begin(self) -> bool:
        """Have the other strikes stop, and take back what they prepared; False if it is not the time for that."""
        if not self._strikes.allowed:
            return False
        self._strikes.allowed = False
        self._strikes.in_truce = True
        for node in self._nodes:
            self._strikes.make_room(node)
            node.disk.forget_faults()
        self._newest += 1
        return True

    def _end(self) -> None:
        self._strikes.in_truce = False
        self._strikes.allowed = True

    def _when(self, condition: Callable[[], bool], then: Callable[[], None], else_: Callable[[], None]) -> None:
        """Do `then` as soon as the condition holds; `else_` if that takes too long."""
        self._look(condition, then, else_, self.world.now_us + _PATIENCE_US, self._newest)

    def _look(
        self,
        condition: Callable[[], bool],
        then: Callable[[], None],
        else_: Callable[[], None],
        until_us: int,
        truce: int,
    ) -> None:
        if not self._strikes.in_truce or truce != self._newest:
            return  # peace has come
        if condition():
            then()
        elif self.world.now_us >= until_us:
            else_()
        else:
            self.world.after(_LOOK_EVERY_US, partial(self._look, condition, then, else_, until_us, truce))

    def _in_step(self) -> list[Node[M]]:
        """The leader, if there is one that serves, and then its followers."""
        for node in self._nodes:
            if node.standing is not None and node.standing.role is Role.LEADING and not node.paused:
                reign = (node.server, node.standing.epoch)
                followers = [
                    other
                    for other in self._nodes
                    if other.standing is not None
                    and other.standing.role is Role.FOLLOWING
                    and (other.standing.leader, other.standing.epoch) == reign
                    and not other.paused
                ]
                return [node, *followers]
        return []

    # ---- an old image

    def restore_old_image(self, victim: Node[M], chance: Random) -> None:
        """Take a copy of the data directory; later put it back in place of what the directory has become."""
        image = victim.disk.image()
        if len(self._nodes) > 2 and image and not victim.tampered:
            uuid = victim.disk_uuid
            self.world.after(chance.randrange(100, 3_000) * MS, partial(self._stop_for, victim, image, uuid))

    def _stop_for(self, victim: Node[M], image: Mapping[str, bytes], uuid: str) -> None:
        if victim.up and victim.server in self._strikes.counted and victim.disk_uuid == uuid and self._begin():
            victim.stop(power_cut=False)
            self._when(
                partial(self._others_go_on, victim),
                partial(self._restore, victim, image),
                partial(self._give_up, victim),
            )

    def _others_go_on(self, victim: Node[M]) -> bool:
        """Whether a leader leads a quorum of others that have everything, and nobody hears `victim` any more."""
        checks, network = victim.checks, self._strikes.network
        in_step = self._in_step()
        if not in_step or not checks.history or victim.up:
            return False
        standing, last = in_step[0].standing, checks.history[-1][0]
        assert standing is not None
        return (
            len([node for node in in_step if checks.mirrors[node.server].durable.holds(last)]) >= checks.quorum
            and checks.mirrors[victim.server].appended.accepted <= standing.epoch
            and not any(network.linked(node.server, victim.server) for node in self._nodes)
        )

    def _restore(self, victim: Node[M], image: Mapping[str, bytes]) -> None:
        self._strikes.note("old image", str(victim.server))
        victim.disk.restore(image)
        victim.tampered = True
        self._strikes.counted.discard(victim.server)
        end = victim.checks.history[-1][0]
        victim.start()
        self._when(partial(self._caught_up, victim, end), self._end, self._end)

    def _caught_up(self, victim: Node[M], end: Zxid) -> bool:
        return victim in self._in_step() and victim.machine is not None and victim.machine.applied >= end

    def _give_up(self, victim: Node[M]) -> None:
        self._end()
        if not victim.up:
            victim.start()

    # ---- a leader out of sight

    def hide_leader(self, victim: Node[M], chance: Random) -> None:
        """Cut the link between `victim` and the leader for a while."""
        if len(self._nodes) > 2 and self._begin():
            network = self._strikes.network
            spikes, network.spikes = network.spikes, False
            hide = partial(self._hide, victim, chance.randrange(500, 1_500) * MS, spikes)
            self._when(self._all_in_step, hide, partial(self._show, (), spikes))

    def _all_in_step(self) -> bool:
        """Whether everyone follows one leader, every way is open, and neither a disk nor a message is slow: an answer
        that an older spike holds up lets a leader give up by right."""
        fast = all(node.slow_until_us < self.world.now_us for node in self._nodes) and self._strikes.network.prompt()
        return fast and not self._strikes.closed and len(self._in_step()) == len(self._nodes)

    def _hide(self, victim: Node[M], for_us: int, spikes: bool) -> None:
        leader = self._in_step()[0]
        if leader is victim:
            self._show((), spikes)
            return
        self._strikes.note("leader out of sight", f"of {victim.server}: {leader.server}")
        ways = ((victim.server, leader.server), (leader.server, victim.server))
        for sender, receiver in ways:
            self._strikes.network.block(sender, receiver)
        before = self._conditions(leader, victim)
        self.world.after(for_us, partial(self._still_leads, leader, victim, before, ways, spikes, self._newest))

    def _conditions(self, leader: Node[M], victim: Node[M]) -> list[object]:
        """What the leader's reign may end with, by right: its process, its will, its connections to the others. (It
        closes one when too much is under way there, and some runs allow very little.)"""
        others = [node.server for node in self._nodes if node is not victim and node is not leader]
        connections = [self._strikes.network.connection(leader.server, other) for other in others]
        return [leader.incarnation, self.world.counters["HandOver"], *connections]

    def _still_leads(
        self,
        leader: Node[M],
        victim: Node[M],
        before: list[object],
        ways: Sequence[tuple[ServerId, ServerId]],
        spikes: bool,
        truce: int,
    ) -> None:
        """(R12) Who can't hear the leader does not depose it while a quorum hears it. Source: Ongaro, Raft thesis,
        4.2.3, disruptive servers."""
        if not self._strikes.in_truce or truce != self._newest:
            return
        rivals = [
            node.server
            for node in self._nodes
            if node is not leader
            and node.standing is not None
            and node.standing.role in (Role.CANDIDATE, Role.LEAD_SYNC, Role.LEADING)
        ]
        if rivals and self._conditions(leader, victim) == before:
            self.world.fail(
                "sticky leader", f"{rivals} would lead; {leader.server} is out of {victim.server}'s sight only"
            )
        self._show(ways, spikes)

    def _show(self, ways: Sequence[tuple[ServerId, ServerId]], spikes: bool) -> None:
        self._strikes.network.heal(ways)
        self._strikes.network.spikes = spikes
        self._end()
