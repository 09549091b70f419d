"""A connection that its client has left behind, while the server does not know it yet."""

from collections.abc import Sequence

from zk.model.errors import SessionExpiredError, SessionMovedError, ThrottledError
from zk.model.events import WatchEvent
from zk.model.replies import Reply
from zk.model.requests import Call
from zk.sim.links import Link
from zk.sim.trace import describe
from zk.sim.world import MS, World

_LASTS_MS = 3_000


class Ghost:
    """Holds `link` open for a while. Once the session is attached elsewhere, it makes one more call."""

    def __init__(self, world: World, link: Link, name: str) -> None:
        self.world = world
        self._link = link
        self._name = name
        self._xid = -1
        link.caller = self
        world.after(_LASTS_MS * MS, link.break_off)

    def call(self, call: Call) -> None:
        """Try a write, behind the attach of a newer connection."""
        self._xid = call.xid
        self._link.send((call,))

    def told(self, link: Link, items: Sequence[Reply | WatchEvent]) -> None:
        """(16) Once a newer connection is attached, no call from an older one is carried out. Source: semantics of
        sessions."""
        for item in items:
            if isinstance(item, Reply) and item.xid == self._xid:
                self.world.counters["ghosts refused"] += 1
                if not isinstance(item.body, SessionMovedError | SessionExpiredError | ThrottledError):
                    self.world.fail("stale sessions", f"{self._name}, which has moved, is still told {describe(item)}")

    def lost(self, link: Link) -> None:
        """Most often that is how it ends."""
