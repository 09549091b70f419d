"""Which server to try next, and when. Pure: time and chance are handed in."""

from collections.abc import Sequence

from zk.model.chance import Chance

RETRY_DELAY_MS_MIN = 20
RETRY_DELAY_MS_MAX = 1_000


class Rotation:
    """Rounds: each tries every server once, in random order, the one that failed last as the last. Between rounds that
    found nobody the pause grows."""

    def __init__(self, servers: Sequence[str], chance: Chance) -> None:
        self._servers = tuple(servers)
        self._chance = chance
        self._untried: list[str] = []
        self._vain_rounds = 0
        self._failures: dict[str, str] = {}
        self.server: str = ""  # the one in use, or tried last

    def start_round(self) -> str:
        """The first server of a new round."""
        servers = [server for server in self._servers if server != self.server]
        for last in range(len(servers) - 1, 0, -1):
            other = self._chance.randrange(0, last + 1)
            servers[last], servers[other] = servers[other], servers[last]
        if self.server:
            servers.append(self.server)
        self._untried = servers
        return self._next()

    def failed(self, reason: str) -> str | None:
        """The present server is of no use. The next one of the round, if there is one."""
        self._failures[self.server] = reason
        return self._next() if self._untried else None

    def found(self) -> None:
        """The present server serves: the round is over."""
        self._untried.clear()
        self._failures.clear()

    def proven(self) -> None:
        """The present server has served for a while: the next search begins without a pause."""
        self._vain_rounds = 0

    def pause_ms(self) -> float:
        """How long to wait before the next round."""
        delay_ms = min(RETRY_DELAY_MS_MIN << min(self._vain_rounds, 10), RETRY_DELAY_MS_MAX)
        self._vain_rounds += 1
        return delay_ms * self._chance.randrange(500, 1000) / 1000

    def tried(self, *, asking: bool) -> str:
        """Each server that failed since the last one that served, and why. `asking`: so is the present one, which is
        told of only if it has not failed before."""
        reasons = {self.server: "no answer yet"} if asking and self.server not in self._failures else {}
        return "; ".join(f"{server}: {reason}" for server, reason in (self._failures | reasons).items())

    def _next(self) -> str:
        self.server = self._untried.pop(0)
        return self.server
