"""A whole replica on a node: the production `Replica`, its engine under observation."""

from collections.abc import Sequence
from random import Random

from zk.broadcast.engine import Role
from zk.broadcast.messages import Message
from zk.broadcast.records import Recovered
from zk.model.peering import ReplicaMessage
from zk.model.record import ConnectionId, ServerId, Zxid
from zk.replica.config import ReplicaConfig
from zk.replica.events import ClientConnected, ClientDisconnected, ClientReceived, Effect, Flush, PeerReceived, Tick
from zk.replica.replica import Replica
from zk.sim.checkers import BroadcastChecks
from zk.sim.node import MachineEvent
from zk.sim.watched import WatchedZab
from zk.sim.witness import Witness

_ROUND_ENDS_SHARE = 3 / 4

ClientEvent = ClientConnected | ClientReceived | ClientDisconnected


class ReplicaServer:
    """`state` is the content of the snapshot that `recovered` names, None without one."""

    def __init__(
        self,
        config: ReplicaConfig,
        recovered: Recovered,
        state: Sequence[bytes] | None,
        random: Random,
        now_ms: int,
        wall_ms: int,
        checks: BroadcastChecks,
        witness: Witness,
    ) -> None:
        self.server: ServerId = config.zab.server_id
        self.replica = Replica(config, recovered, state, random, now_ms, wall_ms)
        self.replica.engine = WatchedZab(checks, config.zab, recovered, random, now_ms)
        self._random = random
        self._witness = witness

    @property
    def role(self) -> Role:
        return self.replica.engine.role

    @property
    def applied(self) -> Zxid:
        """The last transaction that the tree holds."""
        return self.replica.tree.zxid

    def tick(self, now_ms: int, wall_ms: int) -> list[Effect]:
        self._witness.same_state(self.server, self.replica.tree)
        return self.replica.step(now_ms, Tick(wall_ms))

    def received(
        self, now_ms: int, peer: ServerId, connection: ConnectionId, message: Message | ReplicaMessage
    ) -> list[Effect]:
        return self._round(now_ms, self.replica.step(now_ms, PeerReceived(peer, connection, message)))

    def step(self, now_ms: int, event: MachineEvent) -> list[Effect]:
        return self._round(now_ms, self.replica.step(now_ms, event))

    def client(self, now_ms: int, event: ClientEvent) -> list[Effect]:
        """Something came from a client."""
        return self._round(now_ms, self.replica.step(now_ms, event))

    def _round(self, now_ms: int, effects: list[Effect]) -> list[Effect]:
        """Mostly the round ends here; else what gathered waits for a later one, or the tick."""
        if self._random.random() < _ROUND_ENDS_SHARE:
            effects += self.replica.step(now_ms, Flush())
        return effects
