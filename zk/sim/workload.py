"""What is asked of the simulated servers: proposals and reads, mostly of whoever believes to lead, and snapshots."""

from collections.abc import Sequence
from random import Random

from zk.broadcast.engine import Propose, ReadIndex, Resign, Role
from zk.sim.logserver import LogServer
from zk.sim.node import Node
from zk.sim.world import MS, World


class BroadcastWorkload:
    """Keeps bare engines busy. Every payload is another, so that the checks can tell where each one went."""

    def __init__(self, world: World, nodes: Sequence[Node[LogServer]], pause_ms: tuple[int, int]) -> None:
        self.world = world
        self.nodes = tuple(nodes)
        self.running = False
        self._pause_us = (pause_ms[0] * MS, pause_ms[1] * MS)
        self._snapshots = world.wishes.random() < 0.6
        self._bursts = world.wishes.random() < 0.6
        self._payloads = 0
        self._tokens = 0

    def start(self) -> None:
        self.running = True
        self._soon()

    def stop(self) -> None:
        self.running = False

    def propose(self, node: Node[LogServer], count: int = 1, filling_bytes: int = 20) -> None:
        """Have `count` new payloads ordered, whatever comes of it."""
        payloads = [self._payload(filling_bytes) for _ in range(count)]
        tokens = [self._token() for _ in range(count)]
        node.act(lambda server, now_ms: server.step(now_ms, Propose(payloads, tokens)))

    def _soon(self) -> None:
        self.world.after(self.world.wishes.randrange(*self._pause_us), self._turn)

    def _turn(self) -> None:
        if not self.running:
            return
        self._soon()
        random = Random(self.world.wishes.getrandbits(32))  # for all of this wish, so that the others come without it
        if not self.world.wants():
            return
        up = [node for node in self.nodes if node.machine is not None]
        leading = [node for node in up if node.machine is not None and node.machine.role is Role.LEADING]
        if leading:
            node = random.choice(leading)
        elif up and random.randrange(8) == 0:
            node = random.choice(up)  # one that must refuse
        else:
            return
        draw = random.random()
        if draw < 0.2:
            token = self._token()
            node.act(lambda server, now_ms: server.step(now_ms, ReadIndex(token)))
        elif draw < 0.205:
            node.act(lambda server, now_ms: server.step(now_ms, Resign()))
        else:
            count = 60 if self._bursts and draw > 0.95 else random.randrange(1, 5)
            self.propose(node, count, filling_bytes=4_000 if random.randrange(40) == 0 else 20)
        if self._snapshots and random.random() < 0.05:
            self._snapshot(random.choice(up))

    def _snapshot(self, node: Node[LogServer]) -> None:
        node.act(lambda server, now_ms: server.snapshot())

    def _payload(self, filling_bytes: int) -> bytes:
        self._payloads += 1
        return b"payload %d " % self._payloads + bytes(filling_bytes)

    def _token(self) -> tuple[str, int]:
        self._tokens += 1
        return ("token", self._tokens)
