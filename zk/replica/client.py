"""One client connection, and the order of its calls: answered in the order in which they came, whatever each has to
wait for."""

from collections.abc import Iterator
from dataclasses import dataclass

from zk.model.acl import Identity
from zk.model.errors import APIError
from zk.model.events import WatchEvent
from zk.model.record import ConnectionId, SessionId, Zxid
from zk.model.replies import DONE, Body, Reply
from zk.model.requests import Call
from zk.model.session import Session
from zk.wire.sasl import DigestMd5

ANY_ZXID = Zxid(0)


@dataclass(slots=True, eq=False)
class Pending:
    """A call that can't be answered yet: it waits for its turn, for its write to be applied, or for a zxid to be
    reached.

    `n` is a write's number in this connection, `size` its bytes on the way. A read is not answered before `at_least` is
    applied (None: not known yet). `body` is the answer, once it is known; `done` is what is answered to a write where
    the tree says Done; `zxid` is the answer's, if it is not the server's last applied one at the time of sending.
    `next` is the call behind it.
    """

    call: Call
    n: int = 0
    size: int = 0
    at_least: Zxid | None = ANY_ZXID
    body: Body | APIError | None = None
    done: Body = DONE
    zxid: Zxid = ANY_ZXID
    next: "Pending | None" = None


class Client:
    """What a server knows of one connection. `session_id` is 0 until the session's open or attach has been applied
    here, and stays 0 if the client is read-only: then `session` is the connection's own.

    Its unanswered calls are a chain from `oldest` to `newest`, for mostly there is one: a list would cost more.
    """

    __slots__ = (
        "attaching_since_ms",
        "closed",
        "connection",
        "early",
        "generation",
        "heard",
        "heard_ms",
        "identities",
        "items",
        "later",
        "n",
        "newest",
        "nonce",
        "oldest",
        "refused_xid",
        "sasl",
        "session",
        "session_id",
        "unsent",
        "write",
    )

    def __init__(self, connection: ConnectionId, identities: tuple[Identity, ...]) -> None:
        self.connection = connection
        self.identities = identities  # of the connection alone; the session's are in the tree
        self.session_id = SessionId(0)
        self.session: Session | None = None  # as the tree holds it
        self.heard = False  # since the replica last asked
        self.heard_ms = 0  # of a read-only client, who has no other clock
        self.generation = Zxid(0)
        self.nonce = 0  # of the open or attach that was asked for
        self.attaching_since_ms = 0
        self.n = 0  # writes taken in on this connection
        self.unsent = 0  # of those, how many have not left for the leader
        self.early: list[Call] = []  # calls behind a Connect that is under way
        self.oldest: Pending | None = None
        self.newest: Pending | None = None
        self.write: Pending | None = None  # the oldest one that is under way
        self.items: list[Reply | WatchEvent] = []  # to be sent at the end of this step
        self.later: list[WatchEvent] = []  # what the request being carried out tells behind its own answer
        self.refused_xid = 0  # of the last write that was refused for want of disk space
        self.sasl: DigestMd5 | None = None  # the exchange under way, or over
        self.closed = False

    @property
    def awaits_session(self) -> bool:
        """Whether its open or attach is under way."""
        return self.nonce != 0 and self.session_id == 0 and not self.closed

    @property
    def in_flight(self) -> bool:
        """Whether a write has left for the leader and has not come back."""
        return self.write is not None and self.n - self.write.n >= self.unsent

    @property
    def pending(self) -> Iterator[Pending]:
        """All unanswered calls, oldest first."""
        pending = self.oldest
        while pending is not None:
            yield pending
            pending = pending.next

    @property
    def write_bytes(self) -> int:
        """Of all writes under way."""
        total, pending = 0, self.write
        while pending is not None:
            total += pending.size
            pending = pending.next
        return total

    def put(self, pending: Pending) -> None:
        """A call came in that can't be answered yet."""
        if self.newest is None:
            self.oldest = pending
        else:
            self.newest.next = pending
        self.newest = pending
        if pending.n and self.write is None:
            self.write = pending

    def drop_oldest(self) -> Pending | None:
        """The oldest call is answered; the one behind it, if any."""
        assert self.oldest is not None
        following = self.oldest.next
        self.oldest = following
        if following is None:
            self.newest = None
        return following

    def take_write(self) -> Pending:
        """The oldest write under way has come back."""
        write = self.write
        assert write is not None
        behind = write.next
        while behind is not None and not behind.n:
            behind = behind.next
        self.write = behind
        return write
