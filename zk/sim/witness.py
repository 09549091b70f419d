"""What must hold for clients: every transaction of the history is applied once more, by nobody's server, and every
answer and every server's state is held against what came of it.

Two witnesses that know nothing of each other: a production tree, for its digest, and the ledger, the naive twin by
which the tree itself is judged. What holds for the calls of one client stands in clients.py, for its watches in
watching.py.
"""

from copy import copy
from dataclasses import fields
from typing import TypeVar

from zk.model.acl import Acl, Identity
from zk.model.errors import APIError, NoAuthError, QuotaExceededError, SessionExpiredError, SessionMovedError
from zk.model.record import Epoch, SessionId, Zxid
from zk.model.replies import DONE, Body
from zk.model.requests import (
    CloseSession,
    Create,
    CreateMode,
    ExpireSession,
    FinishRestore,
    Multi,
    NameMembers,
    Reap,
    TreeRead,
    Txn,
)
from zk.model.session import Session
from zk.model.znode import Znode
from zk.model.zxids import counter_of, epoch_of
from zk.sim.answers import Answers, agrees
from zk.sim.draft import QUOTA
from zk.sim.ledger import Ledger, Posted
from zk.sim.trace import describe, zxid_text
from zk.sim.world import MS, World
from zk.tree import digest
from zk.tree.tree import Applied, Tree
from zk.wire import txn as txn_codec

T = TypeVar("T", Znode, Session)

DRIFT = 0.04
"""How far two clocks of ±2 % can part."""

DIGEST_EVERY_TXNS = 8
COMPARED_EVERY = 25
_NOT_TRIED = (SessionMovedError, SessionExpiredError)
_SESSION_FIELDS = ("secret", "timeout_ms", "identities", "generation", "n", "floor", "answers")


class Witness:
    """The one state behind all servers, and what it was at each zxid."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.tree = Tree()
        self.ledger = Ledger()
        self.acknowledged = Zxid(0)  # the highest write that any client knows of
        self._led_us: dict[Epoch, int] = {}  # since when each epoch's leader serves
        self._alive_us: dict[SessionId, int] = {}  # when a client last sent an answered sign of life; -1: it gave up
        self._results: dict[tuple[SessionId, int], tuple[Zxid, Body | APIError]] = {}
        self._refused: set[tuple[SessionId, int]] = set()  # writes whose clients know that they were not done
        self._digests: dict[Zxid, str] = {}
        self._stamped_ms = 0
        self._emptied_us: dict[str, int] = {}  # since when containers are without the children that they had
        self._looks = 0

    def committed(self, zxid: Zxid, payload: bytes) -> None:
        """The next transaction of the history."""
        txn = txn_codec.decode(payload)
        expiring = self.ledger.sessions.get(txn.request.session_id) if isinstance(txn.request, ExpireSession) else None
        self._stamps_do_not_run_backwards(zxid, txn)
        applied = self.tree.apply(zxid, txn)
        posted = self.ledger.post(zxid, txn)
        if posted.known is not None:
            self._exactly_once(txn, applied, posted.known)
        else:
            self._done_as_documented(txn, applied, posted)
            if txn.session_id and posted.outcome not in _NOT_TRIED:
                self._is_wanted_still(txn)
                self._results[txn.session_id, txn.xid] = (zxid, applied.body)
                self.ledger.keep_answer(txn.session_id, txn.xid, applied.body)
        if expiring is not None and posted.closed:
            assert isinstance(txn.request, ExpireSession)
            self._expires_when_silent(txn.request.session_id, expiring.timeout_ms)
            self._expires_no_sooner_than_a_timeout_after_an_election(zxid, expiring.timeout_ms)
        self._count(txn, posted)
        for path in posted.looked_at:
            self._note_emptied(path, self.ledger.znodes.get(path))
        if counter_of(zxid) % DIGEST_EVERY_TXNS == 0:
            self._digests[zxid] = self.tree.digest()

    def leading(self, epoch: Epoch) -> None:
        """A leader begins to serve."""
        self._led_us[epoch] = self.world.now_us

    def members_are_named(self, members: tuple[str, ...]) -> None:
        """(28) /zookeeper/config says what the leader's configuration says. Source: semantics of the data model."""
        if self.tree.members != members:
            self.world.fail("members", f"the leader's configuration has {members}, the tree {self.tree.members}")

    def _count(self, txn: Txn, posted: Posted) -> None:
        counters = self.world.counters
        request, outcome = txn.request, posted.outcome
        if posted.known is not None:
            counters["dedup hits"] += 1
        elif outcome is SessionMovedError:
            counters["stale session refused"] += 1
        elif outcome is NoAuthError:
            counters["refused by acl"] += 1
        elif outcome is QuotaExceededError:
            counters["quota exceeded"] += 1
        elif isinstance(request, Multi) and _failed(posted):
            counters["failed multis"] += 1
        elif isinstance(request, Reap):
            gone = self.ledger.node_at(request.path, Zxid(posted.zxid - 1))
            kind = "container" if gone is not None and gone.mode is CreateMode.CONTAINER else "ttl node"
            counters["reap void" if _failed(posted) else f"{kind} reaped"] += 1
        elif isinstance(request, NameMembers):
            counters["members named"] += 1
        elif isinstance(request, FinishRestore):
            counters["restore refused" if _failed(posted) else "trees brought"] += 1
        elif isinstance(request, ExpireSession):
            counters["expiries" if posted.closed else "expiry void"] += 1

    # ---- (12) what is done

    def _stamps_do_not_run_backwards(self, zxid: Zxid, txn: Txn) -> None:
        """(12) Times never run backwards, whichever leader's clock they come from. Source: semantics, data model."""
        if txn.time_ms < self._stamped_ms:
            self.world.fail("effects", f"{zxid_text(zxid)} is stamped {txn.time_ms}, the one before {self._stamped_ms}")
        self._stamped_ms = txn.time_ms

    def _exactly_once(self, txn: Txn, applied: Applied, known: tuple[Zxid, Body | APIError]) -> None:
        """(12) However often a write is sent, it is done once, and has one answer. Source: semantics, exactly once."""
        if applied.changes or (applied.zxid, applied.body) != known:
            self.world.fail(
                "exactly once", f"session {txn.session_id:#x} write {txn.xid}: {known} and again {applied.body}"
            )

    def _is_wanted_still(self, txn: Txn) -> None:
        """(12) What a client was told not to be done is not done later. Source: semantics, exactly once."""
        if (txn.session_id, txn.xid) in self._refused:
            self.world.fail(
                "acknowledged writes", f"session {txn.session_id:#x} write {txn.xid} was said not to be done, and is"
            )

    def _done_as_documented(self, txn: Txn, applied: Applied, posted: Posted) -> None:
        """(12) A write does what the semantics say, answers so, and does nothing else. Source: docs/semantics.md."""
        wrong = self._contradiction(applied, posted)
        if not wrong:
            return
        wrong = f"{describe(txn)} at {zxid_text(posted.zxid)}: {wrong}"
        self._stale_connections_are_refused(posted, wrong)
        self._no_ephemeral_is_left(txn, wrong)
        self._a_failed_multi_did_nothing(txn, posted, wrong)
        self._sequence_numbers_count_creates(txn, posted, wrong)
        self._reaped_is_what_may_go(txn, wrong)
        self._quotas_are_kept(applied, posted, wrong)
        self.world.fail("access" if NoAuthError in (posted.outcome, type(applied.body)) else "effects", wrong)

    def _contradiction(self, applied: Applied, posted: Posted) -> str:
        """Where the tree and the ledger part; '' if they agree."""
        if not agrees(posted.outcome, applied.body):
            return f"is answered {describe(applied.body)}, and not {posted.outcome}"
        if tuple(applied.changes) != posted.changes:
            return f"tells of {describe(tuple(applied.changes))}, and not {describe(posted.changes)}"
        if applied.closed != posted.closed:
            return f"closes the sessions {applied.closed}, and not {posted.closed}"
        for path in posted.looked_at:
            found, expected = self.tree.znodes.get(path), self.ledger.znodes.get(path)
            if found != expected:
                return f"leaves {path} as {found}, and not {expected}"
        return ""

    def _stale_connections_are_refused(self, posted: Posted, wrong: str) -> None:
        """(16) What comes through a connection that the session left has no effect, and no write is done out of its
        turn. Source: semantics of sessions."""
        if posted.outcome is SessionMovedError:
            self.world.fail("stale sessions", wrong)

    def _no_ephemeral_is_left(self, txn: Txn, wrong: str) -> None:
        """(18) A session that ends takes all its ephemerals along, in the same transaction. Source: semantics of
        sessions."""
        if isinstance(txn.request, CloseSession | ExpireSession):
            self.world.fail("ephemerals", wrong)

    def _a_failed_multi_did_nothing(self, txn: Txn, posted: Posted, wrong: str) -> None:
        """(12) A multi that fails leaves everything as it was: data, counters, sequence numbers; and nobody is told.
        Source: semantics of multi."""
        if isinstance(txn.request, Multi) and _failed(posted):
            self.world.fail("all or nothing", wrong)

    def _sequence_numbers_count_creates(self, txn: Txn, posted: Posted, wrong: str) -> None:
        """(12) A sequential name ends with the number of creates below the parent before it, so never the same twice.
        Source: semantics of counters."""
        if isinstance(txn.request, Create) and txn.request.mode.sequential and not _failed(posted):
            self.world.fail("sequence numbers", wrong)

    def _reaped_is_what_may_go(self, txn: Txn, wrong: str) -> None:
        """(12) A container goes when it had a child and has none, a TTL node when it has none and its TTL is over, by
        the time in the transaction. Source: semantics of containers and TTL."""
        if isinstance(txn.request, Reap):
            self.world.fail("containers and ttl", wrong)

    def _quotas_are_kept(self, applied: Applied, posted: Posted, wrong: str) -> None:
        """(12) The usage is what is there, and a hard limit holds. Source: semantics of quotas."""
        if QuotaExceededError in (posted.outcome, type(applied.body)) or f"{QUOTA}/" in wrong:
            self.world.fail("quotas", wrong)

    def _note_emptied(self, path: str, node: Znode | None) -> None:
        if node is None or node.mode is not CreateMode.CONTAINER or node.num_children or not node.created:
            self._emptied_us.pop(path, None)
        else:
            self._emptied_us.setdefault(path, self.world.now_us)

    def emptied_containers_are_gone(self, since_us: int, within_ms: int) -> None:
        """(12) Where a leader has served since `since_us`, no container stays without its children for `within_ms`. (Of
        a TTL this can't be said: the next leader has another clock.) Source: semantics of containers and TTL."""
        for path, emptied_us in self._emptied_us.items():
            empty_ms = (self.world.now_us - max(emptied_us, since_us)) / MS
            if empty_ms > within_ms:
                self.world.fail("containers and ttl", f"{path} is there yet, empty for {empty_ms:.0f} ms")

    def write_answered(self, session: SessionId, xid: int, zxid: Zxid, body: Body | APIError) -> None:
        """(12) What a client is told of its write is what happened. Source: the history itself."""
        known = self._results.get((session, xid))
        if known != (zxid, body):
            self.world.fail(
                "acknowledged writes",
                f"session {session:#x} write {xid} is answered {describe(body)} at {zxid_text(zxid)}; it was {known}",
            )
        self.acknowledged = max(self.acknowledged, zxid)

    def write_refused(self, session: SessionId, xid: int) -> None:
        """(12) A client is told that its write was not done only if it was not, however often it was sent. Source:
        semantics, exactly once."""
        known = self._results.get((session, xid))
        if known is not None:
            self.world.fail(
                "acknowledged writes", f"session {session:#x} write {xid} is said not to be done; it was {known}"
            )
        self._refused.add((session, xid))

    # ---- (15) what is read

    def read_answered(self, session: SessionId, request: TreeRead, zxid: Zxid, body: Body | APIError) -> None:
        """(15) A read shows the state at the zxid that it claims, as far as the session may see it. Source: Zab, total
        order: a replica's state is a prefix of the history; semantics of reads and ACLs."""
        expected = Answers(self.ledger, session, zxid).to(request)
        if not agrees(expected, body):
            self.world.fail(
                "access" if NoAuthError in (expected, type(body)) else "reads",
                f"{describe(request)} at {zxid_text(zxid)} is answered {describe(body)}, and not {describe(expected)}",
            )
        self.world.counters["reads refused by acl"] += expected is NoAuthError

    # ---- (18) sessions

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

    def _expires_no_sooner_than_a_timeout_after_an_election(self, zxid: Zxid, timeout_ms: int) -> None:
        """(18) A new leader gives every session its whole timeout again. Source: semantics of sessions."""
        led_ms = (self.world.now_us - self._led_us.get(epoch_of(zxid), 0)) / MS
        if led_ms < timeout_ms * (1 - DRIFT):
            self.world.fail("expiry", f"a leader of {led_ms:.0f} ms expires a session of {timeout_ms} ms")

    # ---- (18, 19) what servers hold

    def same_state(self, server: int, tree: Tree) -> None:
        """Look at a server's tree, at any time."""
        self._looks += 1
        if tree.zxid in self._digests:
            self._equal_digests(server, tree, self._digests[tree.zxid])
        if self._looks % COMPARED_EVERY == 0:
            self._digests_tell_apart(self._looks // COMPARED_EVERY)
            self.equal_states(server, tree)

    def _equal_digests(self, server: int, tree: Tree, expected: str) -> None:
        """(19) Equal digests at equal zxids. Source: Raft, state machine safety."""
        if tree.digest() != expected:
            self.world.fail("equal digests", f"server {server} holds another state at {zxid_text(tree.zxid)}")

    def equal_states(self, server: int, tree: Tree) -> None:
        """(19) A server that applied the whole history holds what the ledger does, field by field. Source: Raft, state
        machine safety."""
        if tree.zxid != self.ledger.zxid:
            return
        for path in sorted(tree.znodes.keys() | self.ledger.znodes.keys()):
            found, expected = tree.znodes.get(path), self.ledger.znodes.get(path)
            if found != expected:
                self.world.fail("equal states", f"server {server} holds {path} as {found}, and not as {expected}")
        if tree.sessions.keys() != self.ledger.sessions.keys():
            found_ids, expected_ids = sorted(tree.sessions), sorted(self.ledger.sessions)
            self.world.fail("equal states", f"server {server} knows the sessions {found_ids}, and not {expected_ids}")
        for key, session in tree.sessions.items():
            for name in _SESSION_FIELDS:
                of_tree, of_ledger = getattr(session, name), getattr(self.ledger.sessions[key], name)
                if of_tree != of_ledger:
                    self.world.fail(
                        "equal states", f"server {server}, session {key:#x}: {name} is {of_tree}, and not {of_ledger}"
                    )

    def _digests_tell_apart(self, look: int) -> None:
        """(19) Two states that differ in one field of one node or session have different digests. Source: what a digest
        is for."""
        path = next(reversed(self.tree.znodes))
        znode = self.tree.znodes[path]
        figures = [each.name for each in fields(Znode) if each.compare]
        name = figures[look % len(figures)]
        if digest.znode_hash(path, znode) == digest.znode_hash(path, _altered(znode, name)):
            self.world.fail("equal digests", f"the digest does not show the {name} of {path}")
        for session in self.tree.sessions.values():
            names = [each.name for each in fields(Session) if each.compare]
            name = names[look % len(names)]
            if digest.session_hash(session) == digest.session_hash(_altered(session, name)):
                self.world.fail("equal digests", f"the digest does not show the {name} of session {session.id:#x}")
            break

    def no_ephemeral_outlives_its_session(self, server: int, tree: Tree) -> None:
        """(18) Each ephemeral's owner lives. Source: semantics of sessions."""
        orphans = [path for path, node in tree.znodes.items() if node.owner and node.owner not in tree.sessions]
        if orphans:
            self.world.fail("ephemerals", f"server {server} keeps {orphans[:5]}, their sessions are over")


def _failed(posted: Posted) -> bool:
    outcome = posted.outcome
    return isinstance(outcome, type) or (isinstance(outcome, tuple) and any(isinstance(each, type) for each in outcome))


def _altered(value: T, name: str) -> T:
    """The same with another `name`."""
    other = copy(value)
    setattr(other, name, _another(getattr(value, name)))
    return other


def _another(value: object) -> object:
    match value:
        case bytes():
            return value + b"!"
        case CreateMode():
            return CreateMode.PERSISTENT if value is CreateMode.CONTAINER else CreateMode.CONTAINER
        case int():
            return value + 1
        case dict():
            return {**value, 1 << 40: (Zxid(1), DONE)}
        case (Acl(), *entries):
            return (*entries, Acl(1, "digest", "another:one"))
        case tuple():
            return (*value, Identity("digest", "another:one"))
        case _:
            raise AssertionError(f"{value!r} is of a type that no field has")
