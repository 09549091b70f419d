"""Who a client is: what its credentials prove beside what its connection proves by itself.

What is proved goes into the log (or, where there is no quorum, no further than the connection); a secret goes nowhere.
"""

import hmac
from collections.abc import Sequence

from zk.model.acl import Identity
from zk.model.errors import AuthFailedError
from zk.model.requests import AddAuth
from zk.tree.acl import digest_identity

SUPER = Identity("super", "")
_OF_CONNECTIONS = ("ip", "x509")


def proved_by(request: AddAuth, of_connection: Sequence[Identity], super_digest: str) -> tuple[Identity, ...]:
    """The identities that a credential adds: none where the connection has proved them already. AuthFailedError if it
    proves nothing. Whose digest is `super_digest` may do everything; '' is nobody's."""
    scheme = request.scheme
    if scheme == "digest":
        identity = digest_identity(request.credential)
        if super_digest and hmac.compare_digest(identity.id.encode(), super_digest.encode()):
            return (SUPER, identity)
        return (identity,)
    if scheme not in _OF_CONNECTIONS:
        raise AuthFailedError(hint=f"unknown scheme {scheme!r}: 'digest' takes b'user:password'")
    if not any(who.scheme == scheme for who in of_connection):
        raise AuthFailedError(hint=f"this connection has no identity of the scheme {scheme!r}")
    return ()
