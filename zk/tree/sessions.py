"""Sessions as the log orders them: opened, attached by a new connection, given identities, closed, expired."""

import hmac

from zk.model.errors import BadArgumentsError, SessionExpiredError, SessionMovedError
from zk.model.limits import IDENTITIES_PER_SESSION_MAX
from zk.model.replies import DONE, ConnectReply, Done
from zk.model.requests import AttachSession, Authenticate, CloseSession, ExpireSession, OpenSession
from zk.model.session import Session
from zk.tree.store import Store
from zk.tree.writes import remove

_BY_CREDENTIAL = frozenset({"digest"})  # schemes of identities that a session adds; its connection proves the others


def open_session(store: Store, request: OpenSession) -> ConnectReply:
    """A new session. BadArgumentsError if the id is taken: the server that drew it draws another."""
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
    session = store.sessions.get(request.session_id)
    if session is None or not hmac.compare_digest(session.secret, request.secret):
        raise SessionExpiredError
    session.generation = store.zxid
    session.n = 0
    added = (who for who in session.identities if who.scheme in _BY_CREDENTIAL)
    session.identities = tuple(dict.fromkeys((*request.identities, *added)))
    session.timeout_ms = request.timeout_ms
    return ConnectReply(session.id, session.secret, session.timeout_ms)


def authenticate(store: Store, request: Authenticate, session: Session) -> Done:
    """One identity more, from the next write on."""
    if request.identity not in session.identities:
        if len(session.identities) >= IDENTITIES_PER_SESSION_MAX:
            raise BadArgumentsError(hint=f"a session has at most {IDENTITIES_PER_SESSION_MAX} identities")
        session.identities = (*session.identities, request.identity)
    return DONE


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
