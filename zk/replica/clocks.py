"""The leader's clocks of all sessions. Only the leader expires; a new leader starts every clock anew."""

from collections.abc import Iterable
from heapq import heappop, heappush

from zk.model.record import SessionId
from zk.model.session import Session


class SessionClocks:
    """Who was heard of when, and whose time is over. Times are the leader's monotonic milliseconds.

    A sign of life costs one dict write: the heap holds one entry a session, whose deadline is looked at again when it
    comes up.
    """

    def __init__(self, now_ms: int, sessions: Iterable[Session]) -> None:
        self._last_heard_ms: dict[SessionId, int] = {}
        self._timeout_ms: dict[SessionId, int] = {}
        self._looked_at_ms: dict[SessionId, int] = {}  # when a session's heap entry comes up; any other entry is void
        self._heap: list[tuple[int, SessionId]] = []
        for session in sessions:
            self.start(session, now_ms)

    def start(self, session: Session, now_ms: int) -> None:
        """A session was opened, or attached again with what may be another timeout."""
        self._last_heard_ms[session.id] = now_ms
        if self._timeout_ms.get(session.id) != session.timeout_ms:
            self._timeout_ms[session.id] = session.timeout_ms
            self._look_at(session.id, now_ms + session.timeout_ms)

    def _look_at(self, session_id: SessionId, deadline_ms: int) -> None:
        self._looked_at_ms[session_id] = deadline_ms
        heappush(self._heap, (deadline_ms, session_id))

    def heard(self, session_id: SessionId, now_ms: int) -> None:
        if session_id in self._last_heard_ms:
            self._last_heard_ms[session_id] = now_ms

    def stop(self, session_id: SessionId) -> None:
        """The session is over; its heap entry is dropped when it comes up."""
        self._last_heard_ms.pop(session_id, None)
        self._timeout_ms.pop(session_id, None)
        self._looked_at_ms.pop(session_id, None)

    def extend(self, pause_ms: int) -> None:
        """This process did not run for `pause_ms`, so it could not hear anybody: nobody pays for that."""
        for session_id in self._last_heard_ms:
            self._last_heard_ms[session_id] += pause_ms

    def deadlines(self) -> dict[SessionId, int]:
        """When each session's time is over, if it stays silent."""
        return {
            session_id: heard_ms + self._timeout_ms[session_id] for session_id, heard_ms in self._last_heard_ms.items()
        }

    def due(self, now_ms: int) -> list[SessionId]:
        """Sessions whose time is over. Each is named once for each timeout that it stays silent."""
        heap = self._heap
        over: list[SessionId] = []
        while heap and heap[0][0] <= now_ms:
            entry_ms, session_id = heappop(heap)
            if self._looked_at_ms.get(session_id) != entry_ms:
                continue
            timeout_ms = self._timeout_ms[session_id]
            deadline_ms = self._last_heard_ms[session_id] + timeout_ms
            if deadline_ms <= now_ms:
                over.append(session_id)
                deadline_ms = now_ms + timeout_ms  # should the expiry not become committed, it is tried again
            self._look_at(session_id, deadline_ms)
        return over
