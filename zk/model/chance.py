"""Where randomness comes from: always handed in, so that a whole server can be replayed from a seed."""

from typing import Protocol


class Chance(Protocol):
    """A source of random numbers; `random.Random` (simulated) and `random.SystemRandom` (real) both are one."""

    def randrange(self, start: int, stop: int, /) -> int: ...
    def randbytes(self, n: int, /) -> bytes: ...
