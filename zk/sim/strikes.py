"""What may strike: each fault by itself. Which of them, when and whom is the business of faults.py.

A strike has its own source of chance, handed to it, and draws from no other: so a run from which some strikes are left
out draws the others as before. What a disk held is taken away from a minority at a time, until the ensemble counts that
server again, and while it counts all others: no protocol survives the loss of a majority.
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from random import Random
from typing import Generic

from zk.broadcast.engine import Resign
from zk.broadcast.messages import Message
from zk.model.limits import KIB
from zk.model.peering import ReplicaMessage
from zk.model.record import ServerId
from zk.sim.disk import CAPACITY_BYTES, PAGE_BYTES
from zk.sim.network import Network
from zk.sim.node import SYNC_MS_MAX, M, Node
from zk.sim.world import MS, World

Direction = tuple[ServerId, ServerId]

HOUR_MS = 3_600_000


class Strikes(Generic[M]):
    """The means of destruction, and of repair. `power_cuts` False: only processes are killed. Nothing lasts longer than
    `lasts_ms_max`."""

    def __init__(
        self,
        world: World,
        network: Network[Message | ReplicaMessage],
        nodes: Sequence[Node[M]],
        power_cuts: bool,
        lasts_ms_max: int,
    ) -> None:
        self.world = world
        self.network = network
        self.nodes = tuple(nodes)
        self.allowed = False  # to strike: at war, and no truce in force
        self.in_truce = False
        self.counted: set[ServerId] = set()  # who has served with a disk that the ensemble knows, and has it still
        self._power_cuts = power_cuts
        self._lasts_ms_max = lasts_ms_max
        self._losses_max = (len(nodes) - 1) // 2  # at a time
        self._blocks: Counter[Direction] = Counter()  # how many strikes keep each direction closed

    @property
    def closed(self) -> bool:
        """Whether a direction of the network is closed by some strike."""
        return any(count > 0 for count in self._blocks.values())

    def note(self, fault: str, what: str) -> None:
        self.world.counters[f"fault: {fault}"] += 1
        self.world.log("!", f"{fault} {what}")

    def repair(self) -> None:
        """Servers run, connections come back, disks are fast and have room. Clocks stay as they are."""
        self.allowed = self.in_truce = False
        self._blocks.clear()
        self.network.calm()
        for node in self.nodes:
            node.slow_until_us, node.sync_ms_max = 0, SYNC_MS_MAX
            node.free_disk()
            node.disk.forget_faults()
            self.make_room(node)
            node.resume()
            if not node.up:
                node.start()

    def _lasting(self, chance: Random, choices_ms: Sequence[int]) -> int:
        """One of these times, in microseconds."""
        return min(chance.choice(choices_ms), self._lasts_ms_max) * MS

    # ---- processes

    def crash(self, victim: Node[M], chance: Random) -> None:
        """kill -9, or the power of one machine is cut; soon it starts again, and may lose its power in the midst of
        that."""
        power_cut = self._power_cuts and chance.random() < 0.7
        if victim.up:
            self.note("power cut" if power_cut else "crash", str(victim.server))
            victim.stop(power_cut)
            self.restart_later(victim, chance)

    def crash_many(self, victim: Node[M], chance: Random) -> None:
        for node in self.nodes:
            if node is victim or chance.random() < 0.6:
                self.crash(node, chance)

    def restart_later(self, node: Node[M], chance: Random) -> None:
        delay_us = self._lasting(chance, (5, 30, 100, 500, 2_000))
        power_until = chance.randrange(20) if chance.random() < 0.1 else None
        self.world.after(delay_us, partial(self._restart, node, power_until))

    def _restart(self, node: Node[M], power_until: int | None) -> None:
        if node.up:
            return
        if power_until is not None and self._power_cuts:
            node.disk.cut_power_after(power_until)
        node.start()

    def pause(self, victim: Node[M], chance: Random) -> None:
        if victim.up and not victim.paused:
            self.note("pause", str(victim.server))
            victim.pause()
            self.world.after(self._lasting(chance, (50, 300, 1_000, 3_000)), victim.resume)

    def hand_over(self, victim: Node[M], chance: Random) -> None:
        """SIGTERM: the server resigns, and soon is gone."""
        self.note("hand over", str(victim.server))
        victim.act(lambda machine, now_ms: machine.step(now_ms, Resign()))
        self.world.after(chance.randrange(500 * MS), partial(self._end_resigned, victim, chance))

    def _end_resigned(self, victim: Node[M], chance: Random) -> None:
        if self.allowed:
            self.crash(victim, chance)

    def set_clock(self, victim: Node[M], chance: Random) -> None:
        """Somebody, or something, sets the wall clock; the monotonic one knows nothing of it."""
        victim.wall_ahead_ms = chance.choice((0, 1)) and int(chance.uniform(-1, 1) * chance.choice((1, 50)) * HOUR_MS)
        self.note("set clock", f"{victim.server}: {victim.wall_ahead_ms} ms ahead")

    # ---- the network

    def partition(self, victim: Node[M], chance: Random) -> None:
        group = [node.server for node in self.nodes if chance.random() < 0.5]
        self.note("partition", str(group))
        others = [node.server for node in self.nodes if node.server not in group]
        self._close([(one, other) for one in group for other in others], chance)

    def isolate(self, victim: Node[M], chance: Random) -> None:
        self.note("partition", str([victim.server]))
        self._close([(victim.server, node.server) for node in self.nodes if node is not victim], chance)

    def cut_link(self, victim: Node[M], chance: Random) -> None:
        """Two servers can't reach each other, while others reach both."""
        other = chance.choice(self.nodes)
        if other is not victim:
            self.note("cut link", f"{victim.server} - {other.server}")
            self._close([(victim.server, other.server)], chance)

    def one_way(self, victim: Node[M], chance: Random) -> None:
        other = chance.choice(self.nodes)
        if other is not victim:
            self.note("one-way loss", f"{victim.server} -> {other.server}")
            self._close([(victim.server, other.server)], chance, both_ways=False)

    def _close(self, pairs: Iterable[Direction], chance: Random, *, both_ways: bool = True) -> None:
        directions = [way for one, other in pairs for way in ((one, other), (other, one))[: 1 + both_ways]]
        for sender, receiver in directions:
            self._blocks[sender, receiver] += 1
            self.network.block(sender, receiver)
        self.world.after(self._lasting(chance, (50, 100, 400, 1_500, 4_000)), partial(self._open, directions))

    def _open(self, directions: Sequence[Direction]) -> None:
        """What no other strike keeps closed opens."""
        self._blocks.subtract(directions)
        self.network.heal([way for way in directions if self._blocks[way] <= 0])

    def reset(self, victim: Node[M], chance: Random) -> None:
        other = chance.choice(self.nodes)
        if other is not victim:
            self.note("reset", f"{victim.server} - {other.server}")
            self.network.reset(victim.server, other.server)

    def stall(self, victim: Node[M], chance: Random) -> None:
        """One connection, one way: what it carries waits, even while a newer connection is used."""
        other = chance.choice(self.nodes)
        if other is not victim:
            self.note("stall", f"{victim.server} -> {other.server}")
            flow = self.network.stall(victim.server, other.server)
            self.world.after(self._lasting(chance, (20, 100, 400, 1_500)), flow)

    # ---- disks

    def slow_disk(self, victim: Node[M], chance: Random) -> None:
        """Each fsync takes long; or none comes back, for longer than a leader keeps the lead so."""
        if chance.random() < 0.3:
            self.note("stuck disk", str(victim.server))
            victim.stick_disk()
            self.world.after(self._lasting(chance, (300, 3_000, 5_000)), victim.free_disk)
            return
        self.note("slow disk", str(victim.server))
        victim.slow_until_us = self.world.now_us + self._lasting(chance, (100, 300, 500, 1_500))

    def disk_error(self, victim: Node[M], chance: Random) -> None:
        operation = chance.choice(("write", "sync", "create", "rename"))
        code = chance.choice((errno.EIO, errno.ENOSPC))
        files = chance.choice(("", "snapshot"))
        self.note("disk error", f"{victim.server}: {operation} {files} {errno.errorcode[code]}")
        victim.disk.fail_next(operation, code, files)

    def little_space(self, victim: Node[M], chance: Random) -> None:
        """Somebody else fills the disk, or nearly so; later there is room again."""
        disk = victim.disk
        left_bytes = chance.choice((0, 2, 40, 200)) * KIB
        self.note("little space", f"{victim.server}: {left_bytes} bytes")
        disk.capacity_bytes = disk.used_bytes() + left_bytes
        self.world.after(self._lasting(chance, (300, 1_500, 4_000)), partial(self.make_room, victim))

    def make_room(self, node: Node[M]) -> None:
        node.disk.capacity_bytes = CAPACITY_BYTES

    def lose_disk(self, victim: Node[M], chance: Random) -> None:
        """An empty disk in place of the old one, or damage at rest."""
        counted = self.counted - {victim.server}
        if len(self.nodes) - len(counted) > self._losses_max:
            return
        self.counted = counted
        victim.stop(power_cut=False)
        victim.tampered = True
        harm: Callable[[Node[M], Random], None]
        harm = chance.choice((self._wipe, self._flip_bit, self._zero_page, self._overwrite, self._shorten))
        harm(victim, chance)
        self.restart_later(victim, chance)

    def _wipe(self, victim: Node[M], chance: Random) -> None:
        self.note("wiped disk", str(victim.server))
        victim.disk.wipe()

    def _flip_bit(self, victim: Node[M], chance: Random) -> None:
        name, offset = self._somewhere(victim, chance)
        if name:
            (byte,) = victim.disk.image()[name][offset : offset + 1]
            self._damage("flipped bit", victim, name, offset, bytes([byte ^ 1 << chance.randrange(8)]))

    def _zero_page(self, victim: Node[M], chance: Random) -> None:
        name, offset = self._somewhere(victim, chance)
        if name:
            self._damage("zeroed page", victim, name, offset - offset % PAGE_BYTES, bytes(PAGE_BYTES))

    def _overwrite(self, victim: Node[M], chance: Random) -> None:
        name, offset = self._somewhere(victim, chance)
        if name:
            self._damage(
                "overwritten bytes", victim, name, offset, chance.randbytes(chance.choice((1, 16, PAGE_BYTES)))
            )

    def _shorten(self, victim: Node[M], chance: Random) -> None:
        name, offset = self._somewhere(victim, chance)
        if name:
            self.note("truncated file", f"{victim.server}: {name} at {offset}")
            victim.disk.shorten(name, offset)

    def _somewhere(self, victim: Node[M], chance: Random) -> tuple[str, int]:
        """A file, and an offset in what was written of it; ("", 0) if there is none."""
        disk = victim.disk
        names = [name for name in disk.names() if disk.written_bytes(name)]
        if not names:
            return "", 0
        name = chance.choice(names)
        return name, chance.randrange(disk.written_bytes(name))

    def _damage(self, fault: str, victim: Node[M], name: str, offset: int, data: bytes) -> None:
        self.note(fault, f"{victim.server}: {name} at {offset}, {len(data)} bytes")
        victim.disk.damage(name, offset, data)
