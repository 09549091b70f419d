"""WatchTable: who on this server wants to be told of what. Each server has its own; it is not replicated.

One-shot watches (data, child) go when they fire; persistent and recursive ones stay until they are removed or the
connection is gone. A watch that `exists` leaves on a missing node is a data watch: the one thing that can happen to
such a node is its creation. The rules stand under "Watches" in docs/semantics.md.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

from zk.model import paths
from zk.model.acl import OPEN_ACL, Acl
from zk.model.errors import APIError, NoNodeError, NoWatcherError, ThrottledError
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import ConnectionId, Zxid
from zk.model.replies import Body
from zk.model.requests import Exists, GetChildren, GetData, SetWatches, TreeRead
from zk.model.znode import Znode
from zk.tree.changes import Change

MayRead = Callable[[ConnectionId, tuple[Acl, ...]], bool]


class Kind(IntEnum):
    """The four tables of watches."""

    DATA = 0
    CHILD = 1
    PERSISTENT = 2
    RECURSIVE = 3


_KIND_OF_MODE = {WatchMode.PERSISTENT: Kind.PERSISTENT, WatchMode.RECURSIVE: Kind.RECURSIVE}
_KINDS_OF_TYPE = {
    WatcherType.CHILDREN: (Kind.CHILD,),
    WatcherType.DATA: (Kind.DATA,),
    WatcherType.ANY: tuple(Kind),
    WatcherType.PERSISTENT: (Kind.PERSISTENT,),
    WatcherType.RECURSIVE: (Kind.RECURSIVE,),
}
_Watchers = dict[ConnectionId, None]  # an ordered set: watchers are told in the order in which they came


class WatchTable:
    """All watches of one server's connections. `count` is how many there are."""

    __slots__ = ("_child", "_data", "_held", "_per_connection_max", "_persistent", "_recursive", "_tables", "count")

    def __init__(self, per_connection_max: int) -> None:
        self._data: dict[str, _Watchers] = {}
        self._child: dict[str, _Watchers] = {}
        self._persistent: dict[str, _Watchers] = {}
        self._recursive: dict[str, _Watchers] = {}
        self._tables = (self._data, self._child, self._persistent, self._recursive)  # by Kind
        self._held: dict[ConnectionId, dict[tuple[Kind, str], None]] = {}
        self._per_connection_max = per_connection_max
        self.count = 0

    def count_of(self, connection: ConnectionId) -> int:
        """How many watches the connection holds."""
        return len(self._held.get(connection, ()))

    def by_connection(self) -> dict[ConnectionId, list[str]]:
        """The paths that each connection watches, in whatever ways."""
        return {connection: list(dict.fromkeys(path for _, path in held)) for connection, held in self._held.items()}

    # ---- setting and removing

    def add(self, connection: ConnectionId, kind: Kind, path: str) -> None:
        """Set a watch; one that is set already stays as it is. ThrottledError (-127) beyond the limit."""
        held = self._held.get(connection)
        if held is None:
            held = self._held[connection] = {}
        if (kind, path) in held:
            return
        if len(held) >= self._per_connection_max:
            raise ThrottledError(path, f"a connection may hold {self._per_connection_max} watches: remove some first")
        held[kind, path] = None
        self._tables[kind].setdefault(path, {})[connection] = None
        self.count += 1

    def add_watch(self, connection: ConnectionId, path: str, mode: WatchMode) -> None:
        """Set the watch that an AddWatch asks for."""
        paths.validate(path)
        self.add(connection, _KIND_OF_MODE[mode], path)

    def add_for_read(self, connection: ConnectionId, request: TreeRead, outcome: Body | APIError) -> None:
        """Set the one-shot watch that a read asks for, if its outcome leaves one.

        A read that was refused leaves none, but for `exists` on a missing node.
        """
        match request:
            case Exists(path, True) if not isinstance(outcome, APIError) or isinstance(outcome, NoNodeError):
                self.add(connection, Kind.DATA, path)
            case GetData(path, True) if not isinstance(outcome, APIError):
                self.add(connection, Kind.DATA, path)
            case GetChildren(path, True) if not isinstance(outcome, APIError):
                self.add(connection, Kind.CHILD, path)

    def remove(self, connection: ConnectionId, path: str, watcher_type: WatcherType) -> None:
        """Remove the connection's watches of this type on `path`; NoWatcherError (-121) if there is none."""
        for kind in self._find(connection, path, watcher_type):
            self._remove(connection, kind, path)

    def check(self, connection: ConnectionId, path: str, watcher_type: WatcherType) -> None:
        """NoWatcherError (-121) unless the connection has a watch of this type on `path`."""
        self._find(connection, path, watcher_type)

    def _find(self, connection: ConnectionId, path: str, watcher_type: WatcherType) -> list[Kind]:
        held = self._held.get(connection, {})
        found = [kind for kind in _KINDS_OF_TYPE[watcher_type] if (kind, path) in held]
        if not found:
            raise NoWatcherError(path)
        return found

    def drop(self, connection: ConnectionId) -> None:
        """The connection is gone, and with it all its watches."""
        for kind, path in tuple(self._held.get(connection, ())):
            self._remove(connection, kind, path)
        self._held.pop(connection, None)

    def _remove(self, connection: ConnectionId, kind: Kind, path: str) -> None:
        table = self._tables[kind]
        watchers = table[path]
        del watchers[connection]
        if not watchers:
            del table[path]
        self._unhold(connection, kind, path)

    def _unhold(self, connection: ConnectionId, kind: Kind, path: str) -> None:
        held = self._held[connection]
        del held[kind, path]
        if not held:
            del self._held[connection]
        self.count -= 1

    # ---- firing

    def fire(self, change: Change, may_read: MayRead) -> list[tuple[ConnectionId, WatchEvent]]:
        """Who is to be told what of `change`, in order; the one-shot watches among them are used up.

        The node's own event comes before its parent's ChildrenChanged, and each watcher gets each of them once.
        `may_read` is asked for every watcher of a node that is not open to all; who may not read is not told.
        """
        if not self.count:
            return []
        told: list[tuple[ConnectionId, WatchEvent]] = []
        path = change.path
        watchers = self._take(Kind.DATA, path) if path in self._data else {}
        if change.type == EventType.DELETED and path in self._child:
            watchers.update(self._take(Kind.CHILD, path))
        if path in self._persistent:
            watchers.update(self._persistent[path])
        if self._recursive:
            self._collect_recursive(path, watchers)
        if watchers:
            _tell(told, watchers, WatchEvent(change.type, path, change.zxid), change.acl, may_read)
        if change.type != EventType.DATA_CHANGED:
            parent = paths.parent(path)
            watchers = self._take(Kind.CHILD, parent) if parent in self._child else {}
            if parent in self._persistent:
                watchers.update(self._persistent[parent])
            if watchers:
                event = WatchEvent(EventType.CHILDREN_CHANGED, parent, change.zxid)
                _tell(told, watchers, event, change.parent_acl, may_read)
        return told

    def _take(self, kind: Kind, path: str) -> _Watchers:
        """The one-shot watchers of `path`, who have no watch there any more."""
        watchers = self._tables[kind].pop(path)
        for connection in watchers:
            self._unhold(connection, kind, path)
        return watchers

    def _collect_recursive(self, path: str, watchers: _Watchers) -> None:
        """Add the recursive watchers of `path` and of everything above it."""
        while True:
            found = self._recursive.get(path)
            if found is not None:
                watchers.update(found)
            if path == "/":
                return
            path = paths.parent(path)

    # ---- after a reconnect

    def set_again(
        self,
        connection: ConnectionId,
        request: SetWatches,
        znodes: Mapping[str, Znode],
        zxid: Zxid,
        may_read: MayRead,
    ) -> list[WatchEvent]:
        """Set a reconnected client's watches again; what has already happened to them is told at once instead.

        `zxid` is the last transaction that `znodes` shows. A one-shot watch is told or set, never both. A client that
        may not read a node is not told of it.
        """
        wanted = (request.data, request.exist, request.child, request.persistent, request.recursive)
        if sum(map(len, wanted)) + self.count_of(connection) > self._per_connection_max:
            raise ThrottledError(hint=f"a connection may hold {self._per_connection_max} watches: set fewer")
        for path in _all_of(wanted):
            paths.validate(path)
        events: list[WatchEvent] = []

        def tell_or_set(kind: Kind, path: str, event: WatchEvent | None) -> None:
            if event is None:
                self.add(connection, kind, path)
            elif path not in znodes or may_read(connection, znodes[path].acl):
                events.append(event)

        for path in request.data:
            tell_or_set(Kind.DATA, path, _data_event(path, znodes.get(path), request.since, zxid))
        for path in request.exist:
            znode = znodes.get(path)
            created = WatchEvent(EventType.CREATED, path, znode.czxid) if znode is not None else None
            tell_or_set(Kind.DATA, path, created)
        for path in request.child:
            tell_or_set(Kind.CHILD, path, _child_event(path, znodes.get(path), request.since, zxid))
        for path in request.persistent:
            self.add(connection, Kind.PERSISTENT, path)
        for path in request.recursive:
            self.add(connection, Kind.RECURSIVE, path)
        return events


def _data_event(path: str, znode: Znode | None, since: Zxid, zxid: Zxid) -> WatchEvent | None:
    if znode is None:
        return WatchEvent(EventType.DELETED, path, zxid)
    return WatchEvent(EventType.DATA_CHANGED, path, znode.mzxid) if znode.mzxid > since else None


def _child_event(path: str, znode: Znode | None, since: Zxid, zxid: Zxid) -> WatchEvent | None:
    if znode is None:
        return WatchEvent(EventType.DELETED, path, zxid)
    return WatchEvent(EventType.CHILDREN_CHANGED, path, znode.pzxid) if znode.pzxid > since else None


def _all_of(lists: Iterable[Iterable[str]]) -> Iterable[str]:
    return (path for each in lists for path in each)


def _tell(
    told: list[tuple[ConnectionId, WatchEvent]],
    watchers: _Watchers,
    event: WatchEvent,
    acl: tuple[Acl, ...],
    may_read: MayRead,
) -> None:
    if acl is OPEN_ACL:
        told.extend([(connection, event) for connection in watchers])
    else:
        told.extend([(connection, event) for connection in watchers if may_read(connection, acl)])
