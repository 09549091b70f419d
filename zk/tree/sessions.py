"""Sessions as the log orders them: opened, attached by a new connection, given identities, closed, expired."""

import hmac

from zk.model.acl import Identity
from zk.model.errors import BadArgumentsError, SessionExpiredError, SessionMovedError
from zk.model.limits import IDENTITIES_PER_SESSION_MAX
from zk.model.record import Zxid
from zk.model.replies import DONE, ConnectReply, Done
from zk.model.requests import AttachSession, Authenticate, CloseSession, ExpireSession, OpenSession
from zk.model.session import UNHASHED, Session
from zk.tree.store import Store
from zk.tree.writes import remove

_BY_CREDENTIAL = frozenset(
    {"digest", "sasl", "super"}
)  # schemes of identities that a session adds; its connection proves the others


def open_session(store: Store, request: OpenSession) -> ConnectReply:
    """A new session. BadArgumentsError if the id is taken: the server that drew it draws another."""
    _check_history(store, request.last_zxid)
    if request.session_id in store.sessions:
        raise BadArgumentsError(hint=f"the session id {request.session_id:#x} is in use: draw another")
    store.sessions[request.session_id] = Session(
        request.session_id, request.secret, request.timeout_ms, request.identities, store.zxid
    )
    return ConnectReply(request.session_id, request.secret, request.timeout_ms)


def attach_session(store: Store, request: AttachSession) -> ConnectReply:
    """The session goes on over a new connection; what comes through an older one is refused from here on.

    What the old connection itself proved goes with it. What a credential proved stays: adding it was a write of the
    session, and the writes behind it may be resent and rest on it.
    """
    _check_history(store, request.last_zxid)
    session = store.sessions.get(request.session_id)
    if session is None or not hmac.compare_digest(session.secret, request.secret):
        raise SessionExpiredError
    session.generation = store.zxid
    session.n = 0
    session.identities = attached_identities(session, request.identities)
    session.timeout_ms = request.timeout_ms
    session.hash = UNHASHED
    return ConnectReply(session.id, session.secret, session.timeout_ms)


def attached_identities(session: Session, of_connection: tuple[Identity, ...]) -> tuple[Identity, ...]:
    """Who the session is on a new connection, which proves this much by itself."""
    added = (who for who in session.identities if who.scheme in _BY_CREDENTIAL)
    return tuple(dict.fromkeys((*of_connection, *added)))


def _check_history(store: Store, last_zxid: Zxid) -> None:
    """Whatever a client can have seen of this service is before this transaction."""
    if last_zxid > store.zxid:
        raise BadArgumentsError(
            hint=f"the client has seen zxid 0x{last_zxid:x}, and the service has only come to 0x{store.zxid:x}: it was "
            "restored from an older state, or is another one than the client knows"
        )


def authenticate(store: Store, request: Authenticate, session: Session) -> Done:
    """Some identities more, from the next write on."""
    session.identities = with_added(session.identities, request.identities)
    return DONE


def with_added(known: tuple[Identity, ...], added: tuple[Identity, ...]) -> tuple[Identity, ...]:
    """Both, in their order; BadArgumentsError if that is too many."""
    identities = tuple(dict.fromkeys((*known, *added)))
    if len(identities) > max(IDENTITIES_PER_SESSION_MAX, len(known)):
        raise BadArgumentsError(hint=f"a session has at most {IDENTITIES_PER_SESSION_MAX} identities")
    return identities


def close_session(store: Store, request: CloseSession, session: Session) -> Done:
    """The client says goodbye."""
    _end(store, session)
    return DONE


def expire_session(store: Store, request: ExpireSession) -> Done:
    """Void (SessionMovedError) if a newer connection has taken the session over meanwhile."""
    session = store.sessions.get(request.session_id)
    if session is None:
        raise SessionExpiredError
    if session.generation != request.generation:
        raise SessionMovedError
    _end(store, session)
    return DONE


def _end(store: Store, session: Session) -> None:
    """The session and all its ephemerals go, in this one transaction."""
    del store.sessions[session.id]
    for path in store.ephemerals_of(session.id):
        remove(store, path, store.znodes[path])
    store.closed = (session.id,)
    if store.restoration is not None and store.restoration.session_id == session.id:
        store.restoration = None
