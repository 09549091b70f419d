"""The queue of contenders under a path: what locks and elections have in common."""

import anyio

from zk.model.record import Zxid


class Held:
    """A place at the head of the queue. `token` is the fencing token: it grows with every grant of the path."""

    path: str
    """The contender's node."""
    token: Zxid
    """The contender's czxid."""
    lost: anyio.Event
    """Set when the place is lost."""

    def check(self) -> None:
        """Raise LockLost if the place is known to be lost."""
        raise NotImplementedError
