"""Read-only mode: what is answered by a server that has no leader, and who its clients are meanwhile. Pure functions.

Nobody else learns of these clients, and nothing keeps their sessions alive. What they read is old, but true: the state
after a part of the history, never before what they have seen. They are closed when there is a leader again.
"""

from collections.abc import Sequence
from hmac import compare_digest
from typing import get_args

from zk.model.acl import Identity
from zk.model.errors import NotReadOnlyError, SessionExpiredError, ThrottledError
from zk.model.record import SessionId, Zxid
from zk.model.requests import Call, Connect, ConnectionRequest, Sync, TreeRead
from zk.model.session import Session
from zk.tree.sessions import attached_identities

UNPROVED = SessionId(0)
_SERVED = {*get_args(TreeRead), *get_args(ConnectionRequest)} - {Sync}


def check_served(call: Call, applied: Zxid) -> None:
    """NotReadOnlyError if the call needs a leader, or state that is not applied here. It does not wait for either:
    with a leader, the connection ends."""
    if type(call.request) not in _SERVED or call.linearizable or call.at_least > applied:
        raise NotReadOnlyError


def session_for(
    request: Connect,
    known: Session | None,
    connection: Sequence[Identity],
    new: tuple[SessionId, bytes],
    timeout_ms: int,
    applied: Zxid,
) -> tuple[SessionId, Session]:
    """The id under which the client goes on, and what it counts for here. An APIError if it can't be served.

    `known` is the session that it names, as this server's tree has it; `new` is what a client gets that names none. A
    session that is not known here is taken for what the client says, for the log to check later: until then it is
    nobody, but for what the connection proves. Who has the secret of a known one has its identities.
    """
    if request.last_zxid > applied:
        hint = f"you have seen zxid 0x{request.last_zxid:x}, this server has no leader and only 0x{applied:x}"
        raise ThrottledError(hint=hint)
    identities = tuple(connection)
    if not request.session_id:
        session_id, secret = new
        return session_id, Session(session_id, secret, timeout_ms, identities, Zxid(0))
    if known is None:
        return request.session_id, Session(UNPROVED, request.secret, timeout_ms, identities, Zxid(0))
    if not compare_digest(known.secret, request.secret):
        raise SessionExpiredError
    identities = attached_identities(known, identities)
    return known.id, Session(known.id, known.secret, timeout_ms, identities, Zxid(0))
