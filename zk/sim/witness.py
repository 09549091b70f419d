"""What must hold for clients: the history of the broadcast, applied once more by nobody's server, is the witness that
every answer is held against.

The tree of the witness is the production code's: what is checked here is order, loss and repetition, not the semantics
of single operations (those have a model of their own in the tests of the tree).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from zk.model.errors import APIError, NoNodeError, SessionMovedError
from zk.model.events import EventType
from zk.model.record import SessionId, Zxid
from zk.model.replies import Body
from zk.model.requests import ExpireSession
from zk.model.znode import Znode
from zk.sim.trace import describe, zxid_text
from zk.sim.world import MS, World
from zk.tree.tree import Tree
from zk.wire import txn as txn_codec

DRIFT = 0.04
"""How far two clocks of ±2 % can part."""


@dataclass(slots=True)
class Version:
    """What a path held from `zxid` on; `node` None: nothing."""

    zxid: Zxid
    type: EventType
    node: Znode | None


class Witness:
    """The one state behind all servers, and what it was at each zxid."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tree = Tree()
        self.acknowledged = Zxid(0)  # the highest write that any client knows of
        self._alive_us: dict[SessionId, int] = {}  # when a client last sent an answered sign of life; -1: it gave up
        self._results: dict[tuple[SessionId, int], tuple[Zxid, Body | APIError]] = {}
        self._versions: dict[str, list[Version]] = {}

    def committed(self, zxid: Zxid, payload: bytes) -> None:
        """The next transaction of the history."""
        txn = txn_codec.decode(payload)
        session = self.tree.sessions.get(txn.session_id)
        expiring = self.tree.sessions.get(txn.request.session_id) if isinstance(txn.request, ExpireSession) else None
        applied = self.tree.apply(zxid, txn)
        for change in applied.changes:
            versions = self._versions.setdefault(change.path, [])
            versions.append(Version(zxid, change.type, self.tree.znodes.get(change.path)))
        if txn.xid and session is not None and not isinstance(applied.body, SessionMovedError):
            self._exactly_once((txn.session_id, txn.xid), applied.zxid, applied.body, changed=bool(applied.changes))
        if expiring is not None and applied.closed:
            self._expires_when_silent(expiring.id, expiring.timeout_ms)

    # ---- the invariants

    def _exactly_once(self, write: tuple[SessionId, int], zxid: Zxid, body: Body | APIError, *, changed: bool) -> None:
        """(12) However often a write is sent, it is done once, and has one answer. Source: semantics of sessions."""
        known = self._results.get(write)
        if known is None:
            self._results[write] = (zxid, body)
        elif changed or known != (zxid, body):
            self.world.fail("exactly once", f"session {write[0]:#x} write {write[1]}: {known} and again {body}")

    def heard(self, session: SessionId, timeout_ms: int, sent_us: int) -> None:
        """A ping, or the Connect, that the session's client had sent at `sent_us` is answered. A client without such an
        answer for its timeout gives the session up, whatever it hears later."""
        alive_us = self._alive_us.setdefault(session, sent_us)
        if sent_us - alive_us > timeout_ms * MS:
            self._alive_us[session] = -1
        elif alive_us >= 0:
            self._alive_us[session] = max(alive_us, sent_us)

    def _expires_when_silent(self, session: SessionId, timeout_ms: int) -> None:
        """(18) No session is expired before its client gives it up, at the sending time of its last answered ping plus
        the timeout. Source: semantics of sessions."""
        alive_us = self._alive_us.get(session, -1)
        silent_ms = (self.world.now_us - alive_us) / MS
        if alive_us >= 0 and silent_ms < timeout_ms * (1 - DRIFT):
            self.world.fail(
                "expiry", f"session {session:#x} of {timeout_ms} ms expires, its client was silent for {silent_ms:.0f}"
            )

    def write_answered(self, session: SessionId, xid: int, zxid: Zxid, body: Body | APIError) -> None:
        """(12) What a client is told of its write is what happened. Source: the history itself."""
        known = self._results.get((session, xid))
        if known != (zxid, body):
            self.world.fail(
                "acknowledged writes",
                f"session {session:#x} write {xid} is answered {describe(body)} at {zxid_text(zxid)}; it was {known}",
            )
        self.acknowledged = max(self.acknowledged, zxid)

    def read_answered(self, path: str, zxid: Zxid, body: Body | APIError) -> None:
        """(15) A read shows the state at the zxid that it claims. Source: Zab, total order: a replica's state is a
        prefix of the history."""
        version = self.version_at(path, zxid)
        expected = None if version is None else version.node
        same = (
            isinstance(body, NoNodeError)
            if expected is None
            else isinstance(body, Znode)
            and (body.data, body.mzxid, body.version) == (expected.data, expected.mzxid, expected.version)
        )
        if not same:
            self.world.fail(
                "reads", f"{path} at {zxid_text(zxid)} is read as {describe(body)}, and was {describe(expected)}"
            )

    def no_ephemeral_outlives_its_session(self, server: int, tree: Tree) -> None:
        """(18) Each ephemeral's owner lives. Source: semantics of sessions."""
        orphans = [path for path, node in tree.znodes.items() if node.owner and node.owner not in tree.sessions]
        if orphans:
            self.world.fail("ephemerals", f"server {server} keeps {orphans[:5]}, their sessions are over")

    def same_state(self, server: int, tree: Tree) -> None:
        """(19) Equal states at equal zxids. Source: Raft, state machine safety."""
        if tree.zxid == self.tree.zxid and tree.digest() != self.tree.digest():
            self.world.fail("equal digests", f"server {server} holds another state at {zxid_text(tree.zxid)}")

    # ---- what was when

    def version_at(self, path: str, zxid: Zxid) -> Version | None:
        """What `path` held at `zxid`; None: it had never existed."""
        versions = self._versions.get(path, [])
        index = bisect_right(versions, zxid, key=lambda version: version.zxid)
        return versions[index - 1] if index else None

    def first_change(self, path: str, after: Zxid, until: Zxid) -> Version | None:
        """The first thing that happened to `path` behind `after`, up to `until`."""
        versions: Sequence[Version] = self._versions.get(path, [])
        index = bisect_right(versions, after, key=lambda version: version.zxid)
        return versions[index] if index < len(versions) and versions[index].zxid <= until else None
