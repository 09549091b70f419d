"""What is durable, and what waits for it (rule R1: durable before speaking).

Whatever claims that something was written leaves through one queue, keyed by the serial number (lsn) of the newest
record that it depends on; only the disk's report releases it.
"""

from collections import deque

from zk.broadcast.messages import Message
from zk.model.record import ConnectionId, ServerId, Zxid, record

Mark = tuple[int, Zxid]
"""Once this lsn is durable, the history is durable up to this zxid."""


@record
class Held:
    """A message that may leave once `lsn` is durable, if `connection` is still the peer's."""

    lsn: int
    peer: ServerId
    connection: ConnectionId
    message: Message


class Durability:
    """Follows the log's appends (`lsn`) and the disk's reports (`durable_lsn`, `zxid`)."""

    def __init__(self, zxid: Zxid) -> None:
        self.lsn = 0
        self.durable_lsn = 0
        self.zxid = zxid
        self._marks: deque[Mark] = deque()
        self._held: deque[Held] = deque()
        self._owed_since_ms = 0  # while there are marks

    @property
    def complete(self) -> bool:
        """Whether all that was appended is durable."""
        return self.durable_lsn == self.lsn

    def appended(self, records: int, last: Zxid, now_ms: int) -> None:
        """So many records were appended, and the history now ends at `last`."""
        self.lsn += records
        if not self._marks:
            self._owed_since_ms = now_ms
        self._marks.append((self.lsn, last))

    def truncated(self, zxid: Zxid) -> None:
        """The history is about to be cut at `zxid`: nothing above it may be called durable any more, also not when
        the disk reports an append from before the cut."""
        self.zxid = min(self.zxid, zxid)
        self._marks = deque((lsn, min(end, zxid)) for lsn, end in self._marks)

    def reported(self, lsn: int, now_ms: int) -> list[Held]:
        """The disk says that all up to `lsn` is durable. Return what may now be sent."""
        assert self.durable_lsn <= lsn <= self.lsn
        self.durable_lsn = lsn
        self._owed_since_ms = now_ms
        while self._marks and self._marks[0][0] <= lsn:
            self.zxid = self._marks.popleft()[1]
        released = []
        while self._held and self._held[0].lsn <= lsn:
            released.append(self._held.popleft())
        return released

    def hold(self, peer: ServerId, connection: ConnectionId, message: Message) -> None:
        """Keep `message` until all that is appended so far is durable."""
        self._held.append(Held(self.lsn, peer, connection, message))

    def forget_held(self) -> None:
        """This server's role has changed: what it was about to say as a candidate or follower is void."""
        self._held.clear()

    def silent_since_ms(self) -> int | None:
        """Since when the disk has reported nothing although something waits for it; None if nothing does."""
        return self._owed_since_ms if self._marks else None
