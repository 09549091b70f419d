"""Faults that strike an ensemble, and the peace that repairs them all.

Each run has a random subset of the kinds in use. What a disk held is taken away from a minority at a time, until
the ensemble counts that server again, and while it counts all others: no protocol survives the loss of a majority.
"""

import errno
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic

from zk.broadcast.engine import Resign, Role, RoleChanged
from zk.broadcast.messages import Message
from zk.model.peering import ReplicaMessage
from zk.model.record import ServerId
from zk.sim.disk import PAGE_BYTES
from zk.sim.network import Network
from zk.sim.node import M, Node
from zk.sim.world import MS, World


class Faults(Generic[M]):
    """Strikes from `war` to `peace`. If `focused`, it also answers some
    role changes by a strike within 12 ms."""

    def __init__(
        self, world: World, network: Network[Message | ReplicaMessage], nodes: Sequence[Node[M]], focused: bool
    ) -> None:
        random = world.fate
        self.world = world
        self._network = network
        self._nodes = tuple(nodes)
        self._at_war = False
        self._every_ms = random.choice((300, 700, 1_500, 3_000))
        self._focus = random.choice((0.0, 0.1, 0.3, 0.5)) if focused else 0.0
        self._power_cuts = random.random() < 0.8  # else only processes are killed
        self._losses_max = (len(nodes) - 1) // 2  # at a time
        self._counted: set[ServerId] = set()  # who has served with a disk that the ensemble knows, and has it still
        kinds: tuple[tuple[Callable[[Node[M]], None], float], ...] = (
            (self._crash, 0.6),
            (self._crash_many, 0.4),
            (self._partition, 0.6),
            (self._one_way, 0.6),
            (self._reset, 0.6),
            (self._pause, 0.6),
            (self._hand_over, 0.4),
            (self._slow_disk, 0.6),
            (self._disk_error, 0.3),
            (self._lose_disk, 0.3),
        )
        self._kinds = [strike for strike, likely in kinds if random.random() < likely]
        network.spikes = random.random() < 0.6
        for node in nodes:
            node.on_role = self._role_changed
            node.on_failure = self._restart_later

    def war(self) -> None:
        self._at_war = True
        self._strike_later()

    def peace(self) -> None:
        """Everything heals: servers run, connections come back, disks are fast."""
        self._at_war = False
        self._network.calm()
        for node in self._nodes:
            node.slow_until_us = 0
            node.disk.forget_faults()
            node.resume()
            if not node.up:
                node.start()

    # ---- when

    def _strike_later(self) -> None:
        self.world.after(int(self.world.fate.expovariate(1 / self._every_ms) + 1) * MS, self._strike)

    def _strike(self) -> None:
        if self._at_war:
            self._strike_later()
            if self._kinds:
                self.world.fate.choice(self._kinds)(self.world.fate.choice(self._nodes))

    def _role_changed(self, node: Node[M], effect: RoleChanged) -> None:
        if effect.role in (Role.LEADING, Role.FOLLOWING):
            self._counted.add(node.server)
        if self._at_war and self.world.fate.random() < self._focus:
            self.world.after(self.world.fate.randrange(12 * MS), partial(self._strike_focused, node))

    def _strike_focused(self, node: Node[M]) -> None:
        if not self._at_war:
            return
        random = self.world.fate
        victim = node if random.random() < 0.6 else random.choice(self._nodes)
        draw = random.random()
        if draw < 0.4:
            self._crash(victim)
        elif draw < 0.7:
            self._isolate((victim.server,))
        elif draw < 0.85:
            self._one_way(victim)
        else:
            self._slow_disk(victim)

    # ---- what

    def _note(self, fault: str, what: str) -> None:
        self.world.counters[f"fault: {fault}"] += 1
        self.world.log("!", f"{fault} {what}")

    def _crash(self, node: Node[M]) -> None:
        if node.up:
            self._note("crash", str(node.server))
            node.stop(power_cut=self._power_cuts and self.world.fate.random() < 0.7)
            self._restart_later(node)

    def _crash_many(self, node: Node[M]) -> None:
        for victim in self._nodes:
            if victim is node or self.world.fate.random() < 0.6:
                self._crash(victim)

    def _restart_later(self, node: Node[M]) -> None:
        delay_ms = self.world.fate.choice((5, 30, 100, 500, 2_000))
        self.world.after(delay_ms * MS, partial(self._restart, node))

    def _restart(self, node: Node[M]) -> None:
        if node.up:
            return
        if self._at_war and self.world.fate.random() < 0.1:
            node.disk.cut_power_after(self.world.fate.randrange(20))
        node.start()

    def _partition(self, node: Node[M]) -> None:
        self._isolate([node.server for node in self._nodes if self.world.fate.random() < 0.5])

    def _isolate(self, group: Sequence[ServerId]) -> None:
        self._note("partition", str(list(group)))
        self._network.isolate(group)
        self._open_later((100, 400, 1_500, 4_000))

    def _one_way(self, node: Node[M]) -> None:
        other = self.world.fate.choice(self._nodes)
        if other is not node:
            self._note("one-way loss", f"{node.server} -> {other.server}")
            self._network.block(node.server, other.server)
            self._open_later((100, 400, 1_500, 3_000))

    def _open_later(self, choices_ms: Sequence[int]) -> None:
        self.world.after(self.world.fate.choice(choices_ms) * MS, self._network.open_all)

    def _reset(self, node: Node[M]) -> None:
        other = self.world.fate.choice(self._nodes)
        if other is not node:
            self._note("reset", f"{node.server} - {other.server}")
            self._network.reset(node.server, other.server)

    def _pause(self, node: Node[M]) -> None:
        if node.up and not node.paused:
            self._note("pause", str(node.server))
            node.pause()
            self.world.after(self.world.fate.choice((50, 300, 1_000, 3_000)) * MS, node.resume)

    def _hand_over(self, node: Node[M]) -> None:
        """SIGTERM: the server resigns, and soon is gone."""
        self._note("hand over", str(node.server))
        node.act(lambda machine, now_ms: machine.step(now_ms, Resign()))
        self.world.after(self.world.fate.randrange(500 * MS), partial(self._crash, node))

    def _slow_disk(self, node: Node[M]) -> None:
        self._note("slow disk", str(node.server))
        node.slow_until_us = self.world.now_us + self.world.fate.choice((100, 300, 500, 1_500)) * MS

    def _disk_error(self, node: Node[M]) -> None:
        operation = self.world.fate.choice(("write", "sync", "create"))
        code = self.world.fate.choice((errno.EIO, errno.ENOSPC))
        self._note("disk error", f"{node.server}: {operation} {errno.errorcode[code]}")
        node.disk.fail_next(operation, code)

    def _lose_disk(self, node: Node[M]) -> None:
        """An empty disk, or damage at rest."""
        counted = self._counted - {node.server}
        if len(self._nodes) - len(counted) > self._losses_max:
            return
        self._counted = counted
        self._note("disk loss", str(node.server))
        node.stop(power_cut=False)
        node.tampered = True
        random = self.world.fate
        if random.random() < 0.4:
            node.disk.wipe()
        else:
            self._damage(node)
        self._restart_later(node)

    def _damage(self, node: Node[M]) -> None:
        random = self.world.fate
        names = node.disk.names()
        name = random.choice(names) if names else ""
        size = node.disk.written_bytes(name) if names else 0
        if size:
            offset = random.randrange(size)
            length = random.choice((1, 1, 16, PAGE_BYTES))
            node.disk.damage(name, offset, random.choice((random.randbytes(length), bytes(length))))
