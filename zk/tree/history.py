"""ChangeHistory: the latest committed changes, so that a watch can be continued from a zxid without a gap.

Every server keeps its own, bounded, and begins anew after a restart or a snapshot: what is older than it reaches is
answered by 'too old', never by silence.
"""

from collections.abc import Callable

from zk.model import paths
from zk.model.acl import Acl
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import Zxid
from zk.tree.changes import Change


class ChangeHistory:
    """All changes after `complete_since`, and no older ones."""

    __slots__ = ("_changes", "_changes_max", "_oldest", "complete_since")

    def __init__(self, changes_max: int, zxid: Zxid) -> None:
        self._changes: list[Change] = []
        self._changes_max = changes_max
        self._oldest = 0  # where the oldest one is: once there are so many, the next takes its place
        self.complete_since = zxid

    def __len__(self) -> int:
        return len(self._changes)

    def append(self, changes: list[Change]) -> None:
        """The changes of the next transaction."""
        kept = self._changes
        for change in changes:
            if len(kept) < self._changes_max:
                kept.append(change)
            else:
                self.complete_since = kept[self._oldest].zxid
                kept[self._oldest] = change
                self._oldest = (self._oldest + 1) % self._changes_max

    def since(
        self, zxid: Zxid, path: str, mode: WatchMode, may_read: Callable[[tuple[Acl, ...]], bool]
    ) -> list[WatchEvent] | None:
        """What a watch on `path` would have been told after `zxid`, oldest first; None if the history does not reach
        back that far."""
        if zxid < self.complete_since:
            return None
        events: list[WatchEvent] = []
        for back in range(1, len(self._changes) + 1):
            change = self._changes[self._oldest - back]
            if change.zxid <= zxid:
                break
            if mode == WatchMode.RECURSIVE:
                if paths.is_inside(change.path, path) and may_read(change.acl):
                    events.append(WatchEvent(change.type, change.path, change.zxid))
                continue
            if change.path == path:
                if may_read(change.acl):
                    events.append(WatchEvent(change.type, path, change.zxid))
            elif (
                change.type != EventType.DATA_CHANGED
                and change.path.startswith(path)
                and paths.parent(change.path) == path
                and may_read(change.parent_acl)
            ):
                events.append(WatchEvent(EventType.CHILDREN_CHANGED, path, change.zxid))
        events.reverse()
        return events
