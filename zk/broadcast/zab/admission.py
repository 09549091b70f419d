"""Taking in a server whose disk the ensemble does not know: a wiped one, a new one (R16).

It first follows as a learner that counts nowhere. When it has caught up, two memberships are committed one after the
other: the first strikes its old disk off, the second names the new one. Between them lies the proof that is needed:
a quorum *without* this server has accepted something in this epoch after the server had caught up. So no epoch that its
old disk had promised to somebody can begin without this history, and whatever its old disk had helped to commit is
on the new one. Because the second is appended only when the first is committed, to hold it is enough to count: a
server may trust its own log, however it was restarted in between.
"""

from zk.broadcast.zab.node import Node
from zk.broadcast.zab.streams import Streams
from zk.model.record import ServerId, record


@record
class _Pending:
    """`server` is struck off, and is named by `disk_uuid` next."""

    server: ServerId
    disk_uuid: str


class Admission:
    """One server at a time."""

    def __init__(self, node: Node, streams: Streams) -> None:
        self._node = node
        self._streams = streams
        self._pending: _Pending | None = None

    def next_membership(self) -> bytes | None:
        """The membership that the leader should append now, encoded; None if there is nothing to change, or the last
        change is not committed yet."""
        node = self._node
        membership = node.membership
        if membership is None or node.history.membership_zxid > node.commit:
            return None
        if self._pending is not None:
            server, disk_uuid = self._pending.server, self._pending.disk_uuid
            self._pending = None
            if self._caught_up(server) and node.links[server].disk_uuid == disk_uuid:
                return membership.with_disk(server, disk_uuid).encode()
        for server, follower in self._streams.followers.items():
            if not follower.counted and server in node.voters and self._caught_up(server):
                self._pending = _Pending(server, node.links[server].disk_uuid)
                return membership.with_disk(server, "").encode()
        return None

    def _caught_up(self, server: ServerId) -> bool:
        follower = self._streams.followers.get(server)
        return follower is not None and follower.streaming and follower.acked >= self._node.commit
