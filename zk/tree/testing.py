"""A driver for tests: it plays the log. Zxids, times, and the numbers that sessions give their writes come by
themselves, so that a test reads as what its clients do."""

from zk.model.acl import Identity
from zk.model.errors import APIError
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import Body
from zk.model.requests import (
    AttachSession,
    ClientWrite,
    ExpireSession,
    OpenSession,
    Reap,
    ServerWrite,
    TreeRead,
    Txn,
)
from zk.tree.tree import Applied, Tree

ANY_ZXID = Zxid(0)


class Caller:
    """One client: a session and its present connection."""

    def __init__(self, driver: "TreeDriver", session_id: SessionId, secret: bytes, generation: Zxid) -> None:
        self.driver = driver
        self.session_id = session_id
        self.secret = secret
        self.generation = generation
        self.n = 0

    @property
    def identities(self) -> tuple[Identity, ...]:
        session = self.driver.tree.sessions.get(self.session_id)
        return session.identities if session is not None else ()

    def apply(self, request: ClientWrite, xid: int = 0, floor: int = 0) -> Applied:
        """The next write of this client, whatever becomes of it."""
        self.n += 1
        return self.driver.apply_txn(self.session_id, self.generation, self.n, xid, floor, request)

    def do(self, request: ClientWrite) -> Body:
        """A write that is expected to succeed."""
        body = self.apply(request).body
        if isinstance(body, APIError):
            raise body
        return body

    def read(self, request: TreeRead) -> Body:
        return self.driver.tree.read(request, self.session_id, self.identities)

    def attach(
        self,
        *identities: Identity,
        timeout_ms: int = 10_000,
        secret: bytes | None = None,
        last_zxid: Zxid = ANY_ZXID,
    ) -> Applied:
        """The client comes back over a new connection."""
        proof = self.secret if secret is None else secret
        attach = AttachSession(self.session_id, proof, timeout_ms, identities, ServerId(1), 0, last_zxid)
        applied = self.driver.serve(attach)
        if not isinstance(applied.body, APIError):
            self.generation = applied.zxid
            self.n = 0
        return applied


class TreeDriver:
    """A tree, and the log that is applied to it. `log` keeps every entry, for a replay."""

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree if tree is not None else Tree()
        self.time_ms = 1_000_000
        self.log: list[tuple[Zxid, Txn]] = []

    def apply_txn(
        self,
        session_id: SessionId,
        generation: Zxid,
        n: int,
        xid: int,
        floor: int,
        request: ClientWrite | ServerWrite,
    ) -> Applied:
        txn = Txn(self.time_ms, session_id, generation, n, xid, floor, request)
        zxid = Zxid(self.tree.zxid + 1)
        self.log.append((zxid, txn))
        return self.tree.apply(zxid, txn)

    def serve(self, request: ServerWrite) -> Applied:
        """A write that a server makes."""
        return self.apply_txn(SessionId(0), Zxid(0), 0, 0, 0, request)

    def open(self, *identities: Identity, session_id: int = 1, timeout_ms: int = 10_000) -> Caller:
        """A client with a new session."""
        secret = session_id.to_bytes(16, "big")
        request = OpenSession(SessionId(session_id), secret, timeout_ms, identities, ServerId(1), 0)
        applied = self.serve(request)
        if isinstance(applied.body, APIError):
            raise applied.body
        return Caller(self, SessionId(session_id), secret, applied.zxid)

    def expire(self, caller: Caller) -> Applied:
        return self.serve(ExpireSession(caller.session_id, caller.generation))

    def reap(self, path: str) -> Applied:
        return self.serve(Reap(path))
