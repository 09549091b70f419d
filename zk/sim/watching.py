"""What one connection of one client must be told by its watches, and when.

Worked out from the ledger and the tables in docs/semantics.md, one event after the other: the order of all changes and
the watches that are set leave no choice of what comes next.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from zk.model import paths
from zk.model.acl import Acl, Perms
from zk.model.errors import APIError, NoNodeError, NoWatcherError
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import SessionId, Zxid
from zk.model.replies import Body
from zk.model.requests import AddWatch, CheckWatches, Exists, GetChildren, GetData, RemoveWatches, SetWatches
from zk.sim.draft import allows
from zk.sim.ledger import Ledger
from zk.sim.trace import describe, zxid_text
from zk.tree.changes import Change

DATA, CHILD = WatcherType.DATA, WatcherType.CHILDREN
PERSISTENT, RECURSIVE = WatcherType.PERSISTENT, WatcherType.RECURSIVE
_OF_MODE = {WatchMode.PERSISTENT: PERSISTENT, WatchMode.RECURSIVE: RECURSIVE}


@dataclass(slots=True)
class _Watch:
    """`missing`: of a data watch, that `exists` left it where there was no node."""

    missing: bool = False


class Watching:
    """The watches of one session, and what is due to be told. `fail` is called with what is wrong.

    The watches are the client's own knowledge: they outlive the connection, and are in force only once the next one
    has them.
    """

    def __init__(self, ledger: Ledger, session: SessionId, fail: Callable[[str], NoReturn]) -> None:
        self.watches: dict[tuple[WatcherType, str], _Watch] = {}
        self._ledger = ledger
        self._session = session
        self._fail = fail
        self._in_force: set[tuple[WatcherType, str]] = set()
        self._position = 0  # in the ledger's changes: up to there all is told or due
        self._due: deque[WatchEvent] = deque()
        self._may_resync = ""  # the path of a stream whose beginning may be RESYNC

    def connected(self, zxid: Zxid, session: SessionId) -> None:
        """A new connection, at a server that had applied `zxid` and knows its client as `session`: no watch is in
        force."""
        self._session = session
        self._in_force.clear()
        self._due.clear()
        self._may_resync = ""
        self._skip_to(zxid)

    def _skip_to(self, zxid: Zxid) -> None:
        changes = self._ledger.changes
        while self._position < len(changes) and changes[self._position][0] <= zxid:
            self._position += 1

    # ---- what comes

    def told(self, event: WatchEvent) -> None:
        """(17) Every event is the one that is due: none is left out, made up, or told twice, and they come in the order
        of the log. Source: semantics of watches."""
        if event.type is EventType.RESYNC:
            self._begins_anew(event)
            return
        self._may_resync = ""
        self._reached(event.zxid)
        if not self._due or self._due[0] != event:
            self._fail(f"is told {describe(event)}; due is {describe(self._due[0]) if self._due else 'nothing'}")
        self._due.popleft()

    def _begins_anew(self, event: WatchEvent) -> None:
        """(17) RESYNC comes in place of all that a stream was to catch up with, and never amidst it. Source: semantics
        of streams."""
        if event.path != self._may_resync:
            self._fail(f"is told {describe(event)}, and has no stream there that just began")
        self._may_resync = ""
        self._due.clear()

    def answered(self, zxid: Zxid) -> None:
        """(17) No answer shows a state beyond a watched change that was not told. Source: semantics of watches,
        order."""
        self._may_resync = ""
        self._reached(zxid)
        if self._due:
            self._fail(f"sees {zxid_text(zxid)}, but was not told {describe(self._due[0])}")

    def _reached(self, zxid: Zxid) -> None:
        """The server has applied `zxid`: what was watched up to there is due."""
        changes = self._ledger.changes
        while self._position < len(changes) and changes[self._position][0] <= zxid:
            for change in changes[self._position][1]:
                self._happens(change)
            self._position += 1

    def _happens(self, change: Change) -> None:
        if not self._in_force:
            return
        path = change.path
        kinds = [(DATA, path), (PERSISTENT, path)]
        if change.type is EventType.DELETED:
            kinds.append((CHILD, path))
        heard = [each for each in kinds if each in self._in_force]
        if heard or any(kind is RECURSIVE and paths.is_inside(path, root) for kind, root in self._in_force):
            self._tell(WatchEvent(change.type, path, change.zxid), change.acl)
        if change.type is not EventType.DATA_CHANGED:
            parent = paths.parent(path)
            above = [each for each in ((CHILD, parent), (PERSISTENT, parent)) if each in self._in_force]
            if above:
                self._tell(WatchEvent(EventType.CHILDREN_CHANGED, parent, change.zxid), change.parent_acl)
            heard += above
        for each in heard:
            if each[0] in (DATA, CHILD):
                self._in_force.discard(each)
                self.watches.pop(each, None)

    def _tell(self, event: WatchEvent, acl: tuple[Acl, ...]) -> None:
        if allows(acl, Perms.READ, self._ledger.identities_at(self._session, event.zxid)):
            self._due.append(event)

    # ---- what is set and removed

    def read(self, request: GetData | Exists | GetChildren, body: Body | APIError) -> None:
        """A read that asked for a watch was answered: what leaves one stands in the semantics of watches."""
        missing = isinstance(request, Exists) and isinstance(body, NoNodeError)
        if missing or not isinstance(body, APIError):
            key = (CHILD if isinstance(request, GetChildren) else DATA, request.path)
            if key not in self._in_force:
                self.watches[key] = _Watch(missing)
                self._in_force.add(key)

    def added(self, request: AddWatch, zxid: Zxid) -> None:
        """A persistent watch is set; behind this answer comes what happened after `since`."""
        key = (_OF_MODE[request.mode], request.path)
        self.watches.setdefault(key, _Watch())
        self._in_force.add(key)
        if request.since is not None:
            self._due.extend(self._caught_up(key, request.since, zxid))
            self._may_resync = request.path

    def _caught_up(self, key: tuple[WatcherType, str], since: Zxid, until: Zxid) -> list[WatchEvent]:
        kind, root = key
        events: list[WatchEvent] = []
        identities = self._ledger.identities_at(self._session, until)
        for zxid, changes in self._ledger.since(since, until):
            for change in changes:
                path = change.path
                if path == root or (kind is RECURSIVE and paths.is_inside(path, root)):
                    event, acl = WatchEvent(change.type, path, zxid), change.acl
                elif kind is PERSISTENT and paths.parent(path) == root and change.type is not EventType.DATA_CHANGED:
                    event, acl = WatchEvent(EventType.CHILDREN_CHANGED, root, zxid), change.parent_acl
                else:
                    continue
                if allows(acl, Perms.READ, identities):
                    events.append(event)
        return events

    def removed(self, request: RemoveWatches | CheckWatches, body: Body | APIError) -> None:
        """(17) A connection knows its own watches. Source: semantics of watches."""
        kinds = (DATA, CHILD, PERSISTENT, RECURSIVE) if request.type is WatcherType.ANY else (request.type,)
        found = [(kind, request.path) for kind in kinds if (kind, request.path) in self._in_force]
        if bool(found) == isinstance(body, NoWatcherError):
            self._fail(f"is answered {describe(body)} to {describe(request)}, and holds {found}")
        if isinstance(request, RemoveWatches):
            for key in found:
                self._in_force.discard(key)
                self.watches.pop(key, None)

    # ---- coming back

    def to_set_again(self, since: Zxid, but_not: set[tuple[WatcherType, str]]) -> SetWatches | None:
        """What asks for the watches of the connection before, `but_not` these."""
        wanted = {key: watch for key, watch in self.watches.items() if key not in but_not}
        if not wanted:
            return None

        def of(kind: WatcherType, missing: bool = False) -> tuple[str, ...]:
            return tuple(path for (each, path), watch in wanted.items() if (each, watch.missing) == (kind, missing))

        return SetWatches(since, of(DATA), of(DATA, missing=True), of(CHILD), of(PERSISTENT), of(RECURSIVE))

    def set_again(self, request: SetWatches, zxid: Zxid) -> None:
        """(17) What happened to a watched node while its client was away is told when it comes back, or the watch
        stands again. Source: semantics of watches, reconnect."""
        for kind, wanted in ((DATA, request.data), (DATA, request.exist), (CHILD, request.child)):
            for path in wanted:
                happened = self._happened(kind, path, wanted is request.exist, request.since, zxid)
                if happened is None:
                    self._in_force.add((kind, path))
                    continue
                self.watches.pop((kind, path), None)
                node = self._ledger.node_at(path, zxid)
                if node is None or allows(node.acl, Perms.READ, self._ledger.identities_at(self._session, zxid)):
                    self._due.append(happened)
        self._in_force.update((PERSISTENT, path) for path in request.persistent)
        self._in_force.update((RECURSIVE, path) for path in request.recursive)

    def _happened(self, kind: WatcherType, path: str, missing: bool, since: Zxid, zxid: Zxid) -> WatchEvent | None:
        node = self._ledger.node_at(path, zxid)
        if missing:
            return None if node is None else WatchEvent(EventType.CREATED, path, node.czxid)
        if node is None:
            return WatchEvent(EventType.DELETED, path, zxid)
        changed = node.pzxid if kind is CHILD else node.mzxid
        if path in paths.RESERVED and since < self._ledger.restored <= zxid:
            changed = max(changed, self._ledger.restored)  # it was replaced by a node with older zxids
        kind_of_event = EventType.CHILDREN_CHANGED if kind is CHILD else EventType.DATA_CHANGED
        return WatchEvent(kind_of_event, path, changed) if changed > since else None
