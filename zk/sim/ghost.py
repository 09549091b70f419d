"""A connection that its client has left behind, while the server does not know it yet."""

from collections.abc import Sequence

from zk.model.errors import APIError
from zk.model.events import WatchEvent
from zk.model.record import Zxid
from zk.model.replies import Reply
from zk.model.requests import Call
from zk.sim.links import Link
from zk.sim.trace import describe
from zk.sim.world import MS, World

_LASTS_MS = 3_000


class Ghost:
    """Holds `link` open for a while. Once the session is attached elsewhere, it makes a few more calls."""

    def __init__(self, world: World, link: Link, name: str) -> None:
        self.world = world
        self._link = link
        self._name = name
        self._moved: Zxid | None = None
        self._write_xid = 0
        link.caller = self
        world.after(_LASTS_MS * MS, link.break_off)

    def haunt(self, moved: Zxid, calls: Sequence[Call]) -> None:
        """The session was attached elsewhere by `moved`. The last of `calls` is a write."""
        self._moved = moved
        self._write_xid = calls[-1].xid
        self._link.send(calls)

    def told(self, link: Link, items: list[Reply | WatchEvent]) -> None:
        """(16) Once a newer connection is attached, an older one is shown nothing newer, and none of its writes is
        done. Source: semantics of sessions."""
        for item in items:
            if self._moved is None:
                return
            refused = isinstance(item, Reply) and isinstance(item.body, APIError)
            self.world.counters["ghosts refused"] += refused
            beyond = item.zxid >= self._moved or (isinstance(item, Reply) and item.xid == self._write_xid)
            if beyond and not refused:
                self.world.fail("stale sessions", f"{self._name}, which has moved, is still told {describe(item)}")

    def lost(self, link: Link) -> None:
        """Most often that is how it ends."""
