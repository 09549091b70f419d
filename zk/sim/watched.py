"""An engine under observation: every step is shown to the checks before anything comes of it."""

from zk.broadcast.engine import Effect, Engine, Event, Role
from zk.broadcast.records import Recovered
from zk.broadcast.zab import Zab, ZabConfig
from zk.model.chance import Chance
from zk.model.record import Epoch, ServerId
from zk.sim.checkers import BroadcastChecks


class WatchedEngine:
    """Is the engine that it wraps, to whoever runs it."""

    def __init__(self, inner: Engine, server: ServerId, checks: BroadcastChecks) -> None:
        self._inner = inner
        self._server = server
        self._checks = checks

    @property
    def role(self) -> Role:
        return self._inner.role

    @property
    def epoch(self) -> Epoch:
        return self._inner.epoch

    @property
    def leader(self) -> ServerId:
        return self._inner.leader

    @property
    def window_open(self) -> bool:
        return self._inner.window_open

    def step(self, now_ms: int, event: Event) -> list[Effect]:
        effects = self._inner.step(now_ms, event)
        self._checks.stepped(self._server, event, effects)
        return effects


class WatchedZab(Zab):
    """The same for a replica, which knows its engine by class."""

    def __init__(
        self, checks: BroadcastChecks, config: ZabConfig, recovered: Recovered, chance: Chance, now_ms: int
    ) -> None:
        super().__init__(config, recovered, chance, now_ms)
        self._server = config.server_id
        self._checks = checks

    def step(self, now_ms: int, event: Event) -> list[Effect]:
        effects = super().step(now_ms, event)
        self._checks.stepped(self._server, event, effects)
        return effects
