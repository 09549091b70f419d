"""Which containers and TTL nodes are to be deleted next: an index beside the znodes, so that nobody has to look at all
of them. It only finds candidates; whether one is deleted is decided when the Reap is applied."""

import heapq
from collections.abc import Mapping

from zk.model.requests import CreateMode
from zk.model.znode import Znode


def is_reapable(znode: Znode, now_ms: int) -> bool:
    """Whether a container had children and has none, or a TTL node has none and was not modified for its TTL."""
    if znode.num_children:
        return False
    if znode.mode == CreateMode.CONTAINER:
        return znode.created > 0
    return znode.mode.has_ttl and znode.mtime + znode.ttl_ms <= now_ms


class ReapIndex:
    """Empty containers, and childless TTL nodes by the time at which they are due."""

    __slots__ = ("_containers", "_deadlines", "_heap")

    def __init__(self) -> None:
        self._containers: dict[str, None] = {}
        self._deadlines: dict[str, int] = {}  # the one entry of a path in the heap that counts
        self._heap: list[tuple[int, str]] = []

    def note(self, path: str, znode: Znode | None) -> None:
        """The container or TTL node at `path` is now this; None: it is gone."""
        if znode is not None and znode.mode == CreateMode.CONTAINER:
            if znode.created and not znode.num_children:
                self._containers[path] = None
            else:
                self._containers.pop(path, None)
            return
        self._containers.pop(path, None)
        if znode is None or znode.num_children:
            self._deadlines.pop(path, None)
        else:
            self._schedule(path, znode.mtime + znode.ttl_ms)

    def _schedule(self, path: str, deadline: int) -> None:
        standing = self._deadlines.get(path)
        if standing is not None and standing <= deadline:
            return  # it comes up early, and is then put off: a node that is written all the time has one entry
        self._deadlines[path] = deadline
        heapq.heappush(self._heap, (deadline, path))
        if len(self._heap) > 2 * len(self._deadlines) + 64:  # mostly entries that no longer count
            self._heap = [(due, each) for each, due in self._deadlines.items()]
            heapq.heapify(self._heap)

    def due(self, now_ms: int, znodes: Mapping[str, Znode], at_most: int) -> list[str]:
        """Up to `at_most` paths whose condition holds at `now_ms`. They stay candidates until they are gone."""
        found = [path for path, _ in zip(self._containers, range(at_most), strict=False)]
        again = []
        while self._heap and self._heap[0][0] <= now_ms and len(found) < at_most:
            deadline, path = heapq.heappop(self._heap)
            if self._deadlines.get(path) != deadline:
                continue
            del self._deadlines[path]
            znode = znodes[path]
            again.append((path, znode.mtime + znode.ttl_ms))
            if is_reapable(znode, now_ms):
                found.append(path)
        for path, deadline in again:
            self._schedule(path, deadline)
        return found
