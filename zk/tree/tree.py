"""Tree: the replicated state machine. `apply` for every entry of the log in order, `read` for reads, `image` for
snapshots, `digest` to tell whether two servers agree.

Applying is a pure function of the state and the transaction: no clock, no chance, no configuration. A refusal is a
result like any other. Read on in writes.py, sessions.py and reads.py; how the znodes are kept stands in store.py.
"""

from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from zk.model import paths
from zk.model.acl import Identity
from zk.model.errors import APIError, RuntimeInconsistencyError, SessionExpiredError, SessionMovedError
from zk.model.limits import STORED_ANSWERS_PER_SESSION_MAX
from zk.model.record import SessionId, Zxid, record
from zk.model.replies import Body
from zk.model.requests import (
    AttachSession,
    Authenticate,
    BeginRestore,
    Check,
    CloseSession,
    Create,
    Delete,
    ExpireSession,
    FinishRestore,
    GetData,
    Multi,
    NameMembers,
    OpenSession,
    Reap,
    Restore,
    SetAcl,
    SetData,
    TreeRead,
    Txn,
)
from zk.model.session import UNHASHED, Session
from zk.model.znode import Znode
from zk.tree import digest, members, reads, restoring, sessions, writes
from zk.tree.changes import Change
from zk.tree.image import Image
from zk.tree.restoration import Restoration
from zk.tree.store import Store, first_znodes

# The type of the request is the key under which its function stands, which no checker can follow: hence Any.
_CLIENT_WRITES: Mapping[type, Callable[[Store, Any, Session], Body]] = {
    Create: writes.create,
    SetData: writes.set_data,
    Delete: writes.delete,
    SetAcl: writes.set_acl,
    Check: writes.check,
    Multi: writes.multi,
    BeginRestore: restoring.begin_restore,
    Restore: restoring.restore,
    FinishRestore: restoring.finish_restore,
    Authenticate: sessions.authenticate,
    CloseSession: sessions.close_session,
}
_SERVER_WRITES: Mapping[type, Callable[[Store, Any], Body]] = {
    OpenSession: sessions.open_session,
    AttachSession: sessions.attach_session,
    ExpireSession: sessions.expire_session,
    Reap: writes.reap,
    NameMembers: members.name_members,
}


@record
class Applied:
    """What became of one entry of the log.

    `zxid` is the write's own: for a resend, the one under which it was done the first time, with the `body` of then
    and no changes. `closed` are the sessions that it ended, `over_quota` the roots of soft quotas that it exceeded.
    """

    zxid: Zxid
    body: Body | APIError
    changes: list[Change]
    closed: tuple[SessionId, ...] = ()
    over_quota: tuple[str, ...] = ()


class Tree:
    """The state after transaction `zxid`. `znodes` and `sessions` are for reading: only `apply` changes them."""

    __slots__ = ("_store", "sessions", "znodes")

    def __init__(self, image: Image | None = None) -> None:
        if image is None:
            znodes = first_znodes()
            image = Image(Zxid(0), 0, znodes, {}, digest.znodes_sum(znodes))
        self.znodes: dict[str, Znode] = dict(image.znodes)
        self.sessions: dict[SessionId, Session] = {key: session.copy() for key, session in image.sessions.items()}
        restoration = None if image.brought is None else Restoration(image.brought)
        self._store = Store(
            image.zxid, image.time_ms, self.znodes, self.sessions, image.znodes_sum, restoration, image.restored
        )

    @property
    def zxid(self) -> Zxid:
        """The last transaction applied."""
        return self._store.zxid

    @property
    def time_ms(self) -> int:
        """The last transaction's stamp."""
        return self._store.time_ms

    # ---- writes

    def apply(self, zxid: Zxid, txn: Txn) -> Applied:
        """Carry out one entry of the log. Never raises for anything that a client or a server may ask."""
        store = self._store
        store.begin(zxid, txn.time_ms)
        request = txn.request
        if not isinstance(request, (SetData, Create)) and type(request) in _SERVER_WRITES:
            return self._apply_server_write(zxid, txn)

        session = self.sessions.get(txn.session_id)
        if session is None:
            return Applied(zxid, _refusal_without_session(txn), [])
        if txn.generation != session.generation:
            return Applied(zxid, SessionMovedError(), [])
        if txn.n != session.n + 1:
            return Applied(zxid, SessionMovedError(hint=f"gap: write {txn.n} came after write {session.n}"), [])
        session.n = txn.n
        session.hash = UNHASHED
        xid = txn.xid
        if xid > 0:
            stored = session.answers.get(xid)
            floor = txn.floor
            if floor > session.floor:
                if floor == session.floor + 1:
                    if session.floor in session.answers:
                        del session.answers[session.floor]
                    session.floor = floor
                else:
                    _forget_answers(session, floor)
            if stored is not None:
                return Applied(stored[0], stored[1], [])
            if xid < session.floor:
                return Applied(zxid, RuntimeInconsistencyError(hint=_ANSWERED.format(xid)), [])

        body: Body | APIError
        try:
            if isinstance(request, SetData):  # the two most frequent ones, without detours
                body = writes.set_data(store, request, session)
            elif isinstance(request, Create):
                body = writes.create(store, request, session)
            else:
                body = _CLIENT_WRITES[type(request)](store, request, session)
        except APIError as error:
            body = error.without_traceback()
        if store.quotas.unwritten:
            store.write_quota_stats()
        if xid > 0:
            answers = session.answers
            answers[xid] = (zxid, body)
            if len(answers) > STORED_ANSWERS_PER_SESSION_MAX:
                _forget_answers(session, next(iter(answers)) + 1)
        return Applied(zxid, body, store.changes, store.closed, store.over_quota)

    def _apply_server_write(self, zxid: Zxid, txn: Txn) -> Applied:
        store = self._store
        body: Body | APIError
        try:
            body = _SERVER_WRITES[type(txn.request)](store, txn.request)
        except APIError as error:
            body = error.without_traceback()
        if store.quotas.unwritten:
            store.write_quota_stats()
        return Applied(zxid, body, store.changes, store.closed, store.over_quota)

    def reapable(self, now_ms: int, at_most: int = 1_000) -> list[str]:
        """Containers that had children and are empty, TTL nodes that are due: what a leader may propose to Reap."""
        return self._store.reap_index.due(now_ms, self.znodes, at_most)

    def znodes_since(self, since: Zxid) -> Mapping[str, Znode]:
        """The znodes, for who compares their zxids with `since`. The reserved ones have the zxids that they had where
        they were brought from, which do not show that they changed when they were."""
        restored = self._store.restored
        if since >= restored:
            return self.znodes
        reserved = {
            path: replace(znode, mzxid=max(znode.mzxid, restored), pzxid=max(znode.pzxid, restored))
            for path in paths.RESERVED
            for znode in (self.znodes[path],)
        }
        return ChainMap(reserved, self.znodes)

    @property
    def to_exceed(self) -> Zxid:
        """A tree is being brought here whose zxids reach up to this one: the service's own must go on above it."""
        restoration = self._store.restoration
        return Zxid(0) if restoration is None else restoration.last_zxid

    # ---- reads

    def read(self, request: TreeRead, session_id: SessionId, identities: Sequence[Identity]) -> Body:
        """Answer from the state as it is; raises the APIError that refuses the read."""
        if type(request) is GetData:  # by far the most frequent
            return reads.get_data(self._store, request, identities)
        return reads.read(self._store, request, session_id, identities)

    # ---- figures

    @property
    def members(self) -> tuple[str, ...]:
        """Who belongs to the ensemble, a line for each; nobody, for a server alone."""
        return members.members(self.znodes)

    @property
    def ephemerals(self) -> Mapping[SessionId, Collection[str]]:
        """The paths of the ephemerals, by the sessions that have some. For reading."""
        return self._store.ephemerals

    @property
    def data_bytes(self) -> int:
        """What the znodes hold: their paths, in characters, and their data."""
        self._store.sum.settle(self.znodes)
        return self._store.sum.bytes

    # ---- the state as a whole

    def image(self) -> Image:
        """The state of this moment; nothing that is applied later shows in it."""
        settled = self._store.sum.settle(self.znodes)
        copies = {key: session.copy() for key, session in self.sessions.items()}
        restoration = self._store.restoration
        brought = None if restoration is None else restoration.image()
        return Image(self.zxid, self.time_ms, self.znodes.copy(), copies, settled, brought, self._store.restored)

    def digest(self) -> str:
        """15 hex digits, equal on two servers at the same zxid exactly if they hold the same state."""
        store = self._store
        restoration = digest.restored_hash(store.restored)
        if store.restoration is not None:
            restoration += store.restoration.hash()
        return digest.combined(store.sum.settle(self.znodes), self.sessions.values(), restoration)


_ANSWERED = "the write with xid {} was done before, and its answer was acknowledged or is too old to be kept"


def _refusal_without_session(txn: Txn) -> APIError:
    if isinstance(txn.request, Create):
        try:
            writes.check_kind(txn.request)  # comes before the session in the documented order of checks
        except APIError as error:
            return error.without_traceback()
    return SessionExpiredError()


def _forget_answers(session: Session, floor: int) -> None:
    """Drop the answers below `floor`; what would be asked again below it is refused from here on."""
    session.floor = floor
    answers = session.answers
    while answers:
        oldest = next(iter(answers))
        if oldest >= floor:
            return
        del answers[oldest]
