"""Which answers one connection still has to be given. They come in the order of the calls, so the xids stay here, and
the service never sees them."""

from librt.strings import BytesWriter

from zk.model.replies import Reply
from zk.wire.zookeeper.replies import REFUSAL, Encoder


class Unanswered:
    """The calls of one connection that have no answer yet: their xids, and how each is to be answered, oldest first.

    Two lists as rings, which grow to the number of calls that were ever without an answer at once. So nothing is built
    and freed for a call, as a queue would.
    """

    def __init__(self) -> None:
        self._xids = [0]
        self._encoders = [REFUSAL]
        self._oldest = 0
        self._count = 0

    def add(self, xid: int, encoder: Encoder) -> None:
        if self._count == len(self._xids):
            self._grow()
        at = self._oldest + self._count
        if at >= len(self._xids):
            at -= len(self._xids)
        self._xids[at] = xid
        self._encoders[at] = encoder
        self._count += 1

    def answer(self, out: BytesWriter, reply: Reply) -> None:
        """Write the answer to the oldest one."""
        assert self._count > 0, f"an answer nobody asked for: {reply!r}"
        at = self._oldest
        self._oldest = at + 1 if at + 1 < len(self._xids) else 0
        self._count -= 1
        self._encoders[at].write(out, self._xids[at], reply.zxid, reply.body)

    def _grow(self) -> None:
        oldest = self._oldest
        self._xids = 2 * (self._xids[oldest:] + self._xids[:oldest])
        self._encoders = 2 * (self._encoders[oldest:] + self._encoders[:oldest])
        self._oldest = 0
