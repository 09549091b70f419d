"""Taking in a server whose disk the ensemble does not know: a wiped one, a new one (R16).

It first follows as a learner that counts nowhere. When it has caught up, two memberships are committed one after the
other: the first strikes its old disk off, the second names the new one. Between them lies the proof that is needed:
a quorum *without* this server has accepted something in this epoch after the server had caught up. So no epoch that its
old disk had promised to somebody can begin without this history, and whatever its old disk had helped to commit is
on the new one. Because the second is appended only when the first is committed, to hold it is enough to count: a
server may trust its own log, however it was restarted in between.
"""

from zk.broadcast.zab.node import Node
from zk.broadcast.zab.peer import Follower
from zk.broadcast.zab.streams import Streams
from zk.model.record import ServerId


class Admission:
    """One server at a time. `_struck` is the one that is named next, if it still has the stream that it had when its
    old disk was struck off."""

    def __init__(self, node: Node, streams: Streams) -> None:
        self._node = node
        self._streams = streams
        self._struck: tuple[ServerId, Follower] | None = None

    def next_membership(self) -> bytes | None:
        """The membership that the leader should append now, encoded; None if there is nothing to change, or the last
        change is not committed yet."""
        node = self._node
        membership = node.membership
        if membership is None or node.history.membership_zxid > node.commit:
            return None
        if self._struck is not None:
            server, follower = self._struck
            self._struck = None
            if self._streams.followers.get(server) is follower:
                return membership.with_disk(server, node.links[server].disk_uuid).encode()
        for server, follower in self._streams.followers.items():
            if not follower.counted and follower.caught_up and server in node.voters:
                self._struck = (server, follower)
                return membership.with_disk(server, "").encode()
        return None
