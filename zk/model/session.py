"""Session: a client's standing with the service, as every replica knows it."""

from dataclasses import dataclass, field

from zk.model.acl import Identity
from zk.model.errors import APIError
from zk.model.record import SessionId, Zxid
from zk.model.replies import Body

UNHASHED = -1


@dataclass(slots=True)  # not @record: copying the answers at every write would cost more than the write
class Session:
    """Replicated state of one session. Only applying a transaction changes it.

    `generation` is the zxid of the open or attach that the live connection rests on; `n` the number of the last write
    applied in it.
    `answers` keeps (zxid, result) by xid for every write with an xid >= `floor`: what a resend is answered with.
    `hash` is what the session adds to the tree's digest, UNHASHED since it changed; it is no part of the value.
    """

    id: SessionId
    secret: bytes
    timeout_ms: int
    identities: tuple[Identity, ...]
    generation: Zxid
    n: int = 0
    floor: int = 0
    answers: dict[int, tuple[Zxid, Body | APIError]] = field(default_factory=dict)
    hash: int = field(default=UNHASHED, init=False, repr=False, compare=False)

    def copy(self) -> "Session":
        """An independent copy, for a snapshot."""
        return Session(
            self.id,
            self.secret,
            self.timeout_ms,
            self.identities,
            self.generation,
            self.n,
            self.floor,
            dict(self.answers),
        )
