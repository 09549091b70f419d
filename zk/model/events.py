"""What a watcher is told."""

from enum import IntEnum

from zk.model.record import Zxid, record


class EventType(IntEnum):
    """The numbers are ZooKeeper's; RESYNC is ours: the stream could not be continued without a gap, so read everything
    again."""

    CREATED = 1
    DELETED = 2
    DATA_CHANGED = 3
    CHILDREN_CHANGED = 4
    DATA_WATCH_REMOVED = 5
    CHILD_WATCH_REMOVED = 6
    PERSISTENT_WATCH_REMOVED = 7
    RESYNC = 100


class WatchMode(IntEnum):
    """How long a watch of `AddWatch` lasts and what it sees; the numbers are ZooKeeper's."""

    PERSISTENT = 0
    RECURSIVE = 1


class WatcherType(IntEnum):
    """Which watches RemoveWatches and CheckWatches mean; the numbers are ZooKeeper's."""

    CHILDREN = 1
    DATA = 2
    ANY = 3
    PERSISTENT = 4
    RECURSIVE = 5


@record
class WatchEvent:
    """Something happened to `path` in transaction `zxid`."""

    type: EventType
    path: str
    zxid: Zxid
