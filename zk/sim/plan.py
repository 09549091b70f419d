"""Which run: what a seed is to be run with."""

from enum import Enum

from zk.model.record import record


class Mode(Enum):
    """When faults strike."""

    UNIFORM = "uniform"
    FOCUSED = "focused"

    @property
    def war_ms(self) -> int:
        return 12_000 if self is Mode.UNIFORM else 8_000

    @property
    def settle_ms(self) -> int:
        """Within so much peace there must be one leader."""
        return 9_000 if self is Mode.UNIFORM else 5_000


class Layer(Enum):
    """How much of a server takes part: the bare engine that orders transactions, or all of it, with clients."""

    BROADCAST = "broadcast"
    SERVICE = "service"


@record
class Plan:
    """One run. Equal plans give equal runs, to the last event.

    Faults are numbered from 1 as they come up, and so are the wishes of clients. With `only_faults` or `only_wishes`
    no other ones take place; with `war_ms`, peace comes then: that is how a violating run is made shorter. `nature` is
    the chance of delays and the like; another number, another chance.
    """

    seed: int
    servers: int = 3
    mode: Mode = Mode.UNIFORM
    layer: Layer = Layer.SERVICE
    only_faults: frozenset[int] | None = None
    only_wishes: frozenset[int] | None = None
    war_ms: int | None = None
    nature: int = 0

    @property
    def peace_ms(self) -> int:
        """When faults end."""
        return self.mode.war_ms if self.war_ms is None else self.war_ms
