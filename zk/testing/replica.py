"""The replica of an `EmbeddedServer`: the real one, which loses replies and ends sessions when it is told to.

It only looks at what goes into the real one and what comes out, so that whatever a test meets, a real server does too.
"""

from collections.abc import Sequence
from random import SystemRandom
from typing import Final

from zk.model.record import ConnectionId, SessionId
from zk.model.replies import Reply
from zk.model.requests import Connect, ExpireSession, Ping, SetWatches
from zk.replica.config import ReplicaConfig
from zk.replica.events import Answer, ClientConnected, ClientDisconnected, ClientReceived, CloseClient, Effect, Event
from zk.replica.replica import Replica
from zk.storage.store import Opened

OWN_ACCOUNT: Final = (Connect, Ping, SetWatches)  # what a client asks without being asked


class Connection:
    """What is known of a client's connection from what was said on it."""

    def __init__(self) -> None:
        self.own: set[int] = set()  # xids of unanswered calls that the client made on its own account
        self.cut = False


class EmbeddedReplica(Replica):
    """`replies_to_drop` counts down to 0."""

    def __init__(self, config: ReplicaConfig, opened: Opened, now_ms: int, wall_ms: int) -> None:
        super().__init__(config, opened.recovered, opened.state, SystemRandom(), now_ms, wall_ms)
        self.replies_to_drop = 0
        self._connections: dict[ConnectionId, Connection] = {}

    @property
    def has_unproposed(self) -> bool:
        """Whether there are writes, its own or clients', that are not in the log's order yet."""
        return len(self._outbox) > 0

    def expire(self, session_id: int) -> None:
        """End a session as if its client had been silent. LookupError if there is none with this id."""
        session = self.tree.sessions.get(SessionId(session_id))
        if session is None:
            known = ", ".join(map(str, self.tree.sessions)) or "none"
            raise LookupError(
                f"there is no session {session_id}, only {known}. (A client has none before its first call)"
            )
        self.clients.propose(ExpireSession(session.id, session.generation))

    def prepare_to_jump(self) -> None:
        """The clock is about to be put forward. Meanwhile, whoever is connected would have been heard of, and nobody
        else; and empty containers and TTL nodes would have been looked after."""
        self._hear_own_clients()
        self.clients.hear_all()
        self._next_reap_ms = self._now_ms

    def step(self, now_ms: int, event: Event) -> list[Effect]:
        match event:
            case ClientConnected():
                self._connections[event.connection] = Connection()
            case ClientReceived():
                own = [call.xid for call in event.calls if isinstance(call.request, OWN_ACCOUNT)]
                self._connections[event.connection].own.update(own)
            case ClientDisconnected():
                del self._connections[event.connection]
        return [left for effect in super().step(now_ms, event) for left in self._without_lost(effect)]

    def _without_lost(self, effect: Effect) -> Sequence[Effect]:
        """The effect; if it answers a call whose reply is to be lost, what comes before, and the cut."""
        if not isinstance(effect, Answer):
            return [effect]
        known = self._connections[effect.connection]
        for index, item in enumerate(effect.items):
            if not isinstance(item, Reply):
                continue
            if item.xid in known.own:
                known.own.remove(item.xid)
            elif self.replies_to_drop and not known.cut:
                self.replies_to_drop -= 1
                known.cut = True
                before = [Answer(effect.connection, effect.items[:index])] if index else []
                return [*before, CloseClient(effect.connection, "its reply is lost")]
        return [effect]
