"""How long requests take, from samples."""

from zk.wire.zookeeper.words import Latency

SAMPLES_MASK = 7  # of the requests that come one by one, every eighth is timed


class Latencies:
    """Of one connection or of all, since the operator last set it back."""

    __slots__ = ("_max_ms", "_min_ms", "_samples", "_sum_ms", "last_ms")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self.last_ms = self._samples = self._sum_ms = self._min_ms = self._max_ms = 0

    def took(self, elapsed_ms: int) -> None:
        """A request was answered after this time."""
        if not self._samples or elapsed_ms < self._min_ms:
            self._min_ms = elapsed_ms
        if elapsed_ms > self._max_ms:
            self._max_ms = elapsed_ms
        self.last_ms = elapsed_ms
        self._samples += 1
        self._sum_ms += elapsed_ms

    @property
    def summary(self) -> Latency:
        return Latency(self._min_ms, self._sum_ms / self._samples if self._samples else 0.0, self._max_ms)
