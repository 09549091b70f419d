"""An engine under observation: every step is shown to the checks before anything comes of it."""

from zk.broadcast.engine import Effect, Engine, Event, Role
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
