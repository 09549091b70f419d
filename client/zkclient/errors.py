"""Every error that the client raises, in one place. Refusals by the service are the service's own classes, re-exported.

`ZKError` is the root. An `APIError` says that the service refused a request, which then certainly had no effect. The
classes defined here say what only a client can know: that no answer came, and whether a write may have been done.
"""

from zk.model.errors import (
    APIError,
    AuthFailedError,
    BadArgumentsError,
    BadVersionError,
    Code,
    InternalError,
    InvalidACLError,
    MarshallingError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NotReadOnlyError,
    NoWatcherError,
    QuotaExceededError,
    RuntimeInconsistencyError,
    SessionMovedError,
    ThrottledError,
    UnimplementedError,
    UnknownSessionError,
    ZKError,
)
from zk.model.errors import SessionExpiredError as _ExpiredByService
from zk.model.requests import Operation


class ConnectionLossError(ZKError, ConnectionError):
    """No server could be asked. `maybe_applied` tells whether the request, if it was a write, may have been done."""

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class OperationTimeoutError(ZKError, TimeoutError):
    """The answer did not come in time. A write with `maybe_applied` may still be done, also after this error."""

    def __init__(self, message: str, *, maybe_applied: bool = False) -> None:
        super().__init__(message)
        self.maybe_applied = maybe_applied


class SessionExpiredError(_ExpiredByService):
    """The session is over and its ephemeral nodes are gone. A write that was on its way raises this, and
    `maybe_applied` tells whether it may have been done before."""

    def __init__(self, path: str = "", hint: str = "", *, maybe_applied: bool = False) -> None:
        super().__init__(path, hint)
        self.maybe_applied = maybe_applied


class ClientClosedError(ZKError):
    """The client was used outside its `async with` block."""


class TransactionFailed(ZKError):  # noqa: N818 - what happened, in the past tense, as the service's documents call it
    """A transaction was refused as a whole. `index` and `op` tell which operation was to blame, `cause` why."""

    def __init__(self, index: int, op: Operation, cause: APIError) -> None:
        super().__init__(index, op, cause)
        self.index = index
        self.op = op
        self.cause = cause

    def __str__(self) -> str:
        return f"operation {self.index} ({type(self.op).__name__}) failed, nothing was done: {self.cause}"


class LockLost(ZKError):  # noqa: N818 - an event in the life of a lock, not a mistake
    """The lock (or leadership) at `path` was lost while it was held: another may hold it now."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}; another may hold it now"


class TooManyNodesError(ZKError):
    """There are more nodes below a path than the cache of it may keep (`nodes_max`)."""

    def __init__(self, nodes: int, nodes_max: int) -> None:
        super().__init__(f"a cache would have {nodes} nodes; its nodes_max is {nodes_max}")


class NoInstanceError(ZKError, LookupError):
    """No instance of the service is registered at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__(f"{path}: no instance is registered")
        self.path = path


def at_path(error: APIError, path: str) -> APIError:
    """The same error, about `path`: as the caller knows it, not as the service does."""
    error.path = path
    error.args = (path, error.hint)
    return error


__all__ = [
    "ZKError",
    "ConnectionLossError",
    "OperationTimeoutError",
    "SessionExpiredError",
    "ClientClosedError",
    "TransactionFailed",
    "LockLost",
    "TooManyNodesError",
    "NoInstanceError",
    "APIError",
    "AuthFailedError",
    "BadArgumentsError",
    "BadVersionError",
    "Code",
    "InternalError",
    "InvalidACLError",
    "MarshallingError",
    "NoAuthError",
    "NoChildrenForEphemeralsError",
    "NoNodeError",
    "NoWatcherError",
    "NodeExistsError",
    "NotEmptyError",
    "NotReadOnlyError",
    "QuotaExceededError",
    "RuntimeInconsistencyError",
    "SessionMovedError",
    "ThrottledError",
    "UnimplementedError",
    "UnknownSessionError",
]
