"""Picture: what a subtree looked like at one zxid after another, put together from events and reads. Pure.

Events say that a node changed at some zxid, and not how. A read says what a node is at some zxid, but while it is under
way other nodes change. What makes a whole of it: every event up to the zxid of an answer is told before that answer.
So a read gives the last event of its node up to there its value, and events before that one will never have any. The
nodes as of zxid z are known if no node's last event up to z is without a value; the newest such z is what is shown.

Read cache.py next: it feeds this.
"""

from collections.abc import Iterable

from zk.model.events import EventType
from zk.model.record import Zxid, record
from zkclient.errors import TooManyNodesError
from zkclient.results import NodeData

EVENTS_MAX = 100_000  # that wait to be shown; with more, everything is read again instead
ROUNDS_IN_VAIN_MAX = 20  # reads behind which nothing could be shown; then a picture is shown that is not exact


@record
class CacheChange:
    """`path` was `old` before and is `new` now; None where there was no such node, or is none."""

    path: str
    old: NodeData | None
    new: NodeData | None

    @property
    def type(self) -> EventType:
        """CREATED, DELETED or DATA_CHANGED. A node that was deleted and created anew in between counts as changed: its
        czxid is another one."""
        if self.old is None:
            return EventType.CREATED
        return EventType.DELETED if self.new is None else EventType.DATA_CHANGED


def is_same(old: NodeData | None, new: NodeData | None) -> bool:
    """Whether nothing happened between the two, as far as events tell."""
    if old is None or new is None:
        return old is new
    return (old.stat.czxid, old.stat.mzxid) == (new.stat.czxid, new.stat.mzxid)


class _Event:
    """At `zxid`, `path` became `node`; unless that is not `known`."""

    __slots__ = ("known", "node", "path", "zxid")

    def __init__(self, path: str, zxid: Zxid, known: bool) -> None:
        self.path = path
        self.zxid = zxid
        self.known = known
        self.node: NodeData | None = None


class Picture:
    """Begins empty, to be filled: by `learn` of all nodes, one by one, and then `filled`. Events may come meanwhile."""

    def __init__(self, nodes_max: int, rounds_in_vain_max: int = ROUNDS_IN_VAIN_MAX) -> None:
        self.nodes: dict[str, NodeData] = {}
        self.zxid: Zxid = Zxid(0)
        """Every change up to here is shown; 0 before there was anything to show."""
        self.exact: bool = False
        """Whether `nodes` is exactly what was there at `zxid`; otherwise some are newer."""
        self.generation: int = 0
        """What was read in an earlier one is of no use."""
        self.to_fill: bool = True
        self._nodes_max = nodes_max
        self._rounds_in_vain_max = rounds_in_vain_max
        self._base: dict[str, NodeData] | None = {}  # read anew, and not shown yet
        self._floor = Zxid(0)  # from here on all that was read is in force
        self._events: list[_Event] = []  # not shown yet
        self._by_path: dict[str, list[_Event]] = {}
        self._in_vain = 0

    # ---- what comes in

    def start_over(self) -> None:
        """Events were missed. What is shown stays until all is read anew."""
        self.generation += 1
        self.to_fill = True
        self._base = {}
        self._keep(())

    def on_event(self, kind: EventType, path: str, zxid: Zxid) -> None:
        """`path` was CREATED, DELETED or DATA_CHANGED."""
        if len(self._events) >= EVENTS_MAX:
            self.start_over()
            return
        self._add(_Event(path, zxid, kind is EventType.DELETED))

    def learn(self, path: str, zxid: Zxid, node: NodeData | None) -> None:
        """A read has found `path` to be `node` at `zxid`. Raises TooManyNodesError."""
        told = [event for event in self._by_path.get(path, ()) if event.zxid <= zxid]
        if told:
            told[-1].node = node
            told[-1].known = True
        elif self.to_fill and self._base is not None and node is not None:
            self._base[path] = node
            self._bound(len(self._base))
        if self.to_fill:
            self._floor = max(self._floor, zxid)

    def filled(self) -> None:
        """Every node was learnt that there was."""
        self.to_fill = False

    # ---- what comes out

    @property
    def unread(self) -> tuple[str, ...]:
        """The paths to be read next, all at one instant where possible."""
        return tuple(self._by_path)

    def advance(self, zxid: Zxid) -> tuple[CacheChange, ...]:
        """Show the newest state up to `zxid`, at which a read was answered. Parents come and go around their children.

        Raises TooManyNodesError.
        """
        if self.to_fill:
            return ()
        shown, until = self._newest_known(zxid)
        waits = bool(self._events) and self._events[0].zxid <= zxid
        self._in_vain = self._in_vain + 1 if not until or (waits and not shown) else 0
        if self._in_vain >= self._rounds_in_vain_max:
            return self._show_at_least(zxid)
        if not until:
            return ()
        self.exact = True
        self.zxid = until
        updates = {event.path: event.node for event in self._events[:shown]}
        self._keep(self._events[shown:])
        return self._show(updates)

    def _newest_known(self, zxid: Zxid) -> tuple[int, Zxid]:
        """Up to which of the events the nodes are known, and up to which zxid that state lasts; 0 if at none."""
        found, until = 0, Zxid(0)
        unknown: set[str] = set()
        for shown in range(len(self._events) + 1):
            following = self._events[shown].zxid if shown < len(self._events) else zxid + 1
            last = Zxid(min(following - 1, zxid))
            whole = shown == 0 or self._events[shown - 1].zxid < following  # the end of a transaction
            if whole and not unknown and last >= max(self._floor, self.zxid):
                found, until = shown, last
            if following > zxid:
                break
            event = self._events[shown]
            (unknown.discard if event.known else unknown.add)(event.path)
        return found, until

    def _show_at_least(self, zxid: Zxid) -> tuple[CacheChange, ...]:
        """Changes come so fast that no state is known as a whole: show the newest of each node."""
        updates: dict[str, NodeData | None] = {}
        left: list[_Event] = []
        for events in self._by_path.values():
            known = [index for index, event in enumerate(events) if event.known and event.zxid <= zxid]
            if known:
                updates[events[known[-1]].path] = events[known[-1]].node
            left += events[known[-1] + 1 :] if known else events
        left.sort(key=lambda event: event.zxid)
        self._keep(left)
        self._floor = zxid
        until = Zxid(min(left[0].zxid - 1, zxid)) if left else zxid
        self.exact = False
        self.zxid = max(self.zxid, until)
        return self._show(updates)

    def _show(self, updates: dict[str, NodeData | None]) -> tuple[CacheChange, ...]:
        nodes = self.nodes
        if self._base is not None:
            gone = {path: None for path in nodes if path not in self._base}
            updates = {**gone, **self._base, **updates}
            self._base = None
        changes = [CacheChange(path, nodes.get(path), new) for path, new in updates.items()]
        for path, new in updates.items():
            if new is None:
                nodes.pop(path, None)
            else:
                nodes[path] = new
        self._bound(len(nodes))
        changes = [change for change in changes if not is_same(change.old, change.new)]
        deleted = [change for change in changes if change.new is None]
        deleted.sort(key=lambda change: change.path, reverse=True)
        others = [change for change in changes if change.new is not None]
        others.sort(key=lambda change: change.path)
        return (*deleted, *others)

    # ---- the events

    def _keep(self, events: Iterable[_Event]) -> None:
        self._events, self._by_path = [], {}
        for event in tuple(events):
            self._add(event)

    def _add(self, event: _Event) -> None:
        self._events.append(event)
        self._by_path.setdefault(event.path, []).append(event)

    def _bound(self, nodes: int) -> None:
        if nodes > self._nodes_max:
            raise TooManyNodesError(nodes, self._nodes_max)
