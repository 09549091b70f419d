"""Refusals. Each knows its code (the numbers are ZooKeeper's), the path it is about, and a hint that says what to do.

They are raised where they are found, travel as results, and are raised again by the client: one family from end to end.
"""

from enum import IntEnum
from typing import ClassVar, Self


class Code(IntEnum):
    """Result codes as they travel on the wire."""

    OK = 0
    SYSTEM_ERROR = -1
    RUNTIME_INCONSISTENCY = -2
    CONNECTION_LOSS = -4
    MARSHALLING_ERROR = -5
    UNIMPLEMENTED = -6
    OPERATION_TIMEOUT = -7
    BAD_ARGUMENTS = -8
    UNKNOWN_SESSION = -12
    NEW_CONFIG_NO_QUORUM = -13
    RECONFIG_IN_PROGRESS = -14
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NO_CHILDREN_FOR_EPHEMERALS = -108
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    INVALID_CALLBACK = -113
    INVALID_ACL = -114
    AUTH_FAILED = -115
    SESSION_MOVED = -118
    NOT_READ_ONLY = -119
    EPHEMERAL_ON_LOCAL_SESSION = -120
    NO_WATCHER = -121
    REQUEST_TIMEOUT = -122
    RECONFIG_DISABLED = -123
    SASL_REQUIRED = -124
    QUOTA_EXCEEDED = -125
    THROTTLED = -127


class ZKError(Exception):
    """The root of everything that this project raises at its users."""


class APIError(ZKError):
    """A request was refused, and certainly had no effect. `code`, `path` and `hint` say why, where and what to do."""

    code: ClassVar[Code] = Code.SYSTEM_ERROR
    default_hint: ClassVar[str] = "the server could not carry out the request"

    def __init__(self, path: str = "", hint: str = "") -> None:
        self.path = path
        self.hint = hint or self.default_hint
        super().__init__(path, self.hint)

    def without_traceback(self) -> Self:
        """Itself, when it has become an answer. That must not keep what was on the stack: among it may be the answer
        itself, a cycle of references which only the garbage collector would find."""
        self.__cause__ = self.__context__ = None
        return self.with_traceback(None)

    def __str__(self) -> str:
        where = f"{self.path} " if self.path else ""
        return f"{where}(code {int(self.code)}): {self.hint}"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.args == self.args

    def __hash__(self) -> int:
        return hash((type(self), self.args))


class InternalError(APIError):
    """-1: a defect in the server. Please report it."""


class RuntimeInconsistencyError(APIError):
    """-2: in a failed multi, an operation behind the one that failed."""

    code = Code.RUNTIME_INCONSISTENCY
    default_hint = "not tried: an earlier operation of the same transaction failed"


class MarshallingError(APIError):
    """-5: the bytes of a request could not be understood."""

    code = Code.MARSHALLING_ERROR
    default_hint = "the request could not be decoded"


class UnimplementedError(APIError):
    """-6: no such operation."""

    code = Code.UNIMPLEMENTED
    default_hint = "this server does not know the operation"


class BadArgumentsError(APIError, ValueError):
    """-8: an argument is malformed or out of its limits."""

    code = Code.BAD_ARGUMENTS
    default_hint = "bad arguments"


class UnknownSessionError(APIError):
    """-12: the session named by a request does not exist."""

    code = Code.UNKNOWN_SESSION
    default_hint = "no such session"


class NoNodeError(APIError, LookupError):
    """-101: the node does not exist."""

    code = Code.NO_NODE
    default_hint = "the node does not exist"


class NoAuthError(APIError, PermissionError):
    """-102: the node's ACL does not allow this."""

    code = Code.NO_AUTH
    default_hint = "the ACL of the node does not grant this to your identities"


class BadVersionError(APIError):
    """-103: the node was changed since the version that the request names."""

    code = Code.BAD_VERSION
    default_hint = "the version does not match: read the node again and retry with its current version"


class NoChildrenForEphemeralsError(APIError):
    """-108: ephemeral nodes can't have children."""

    code = Code.NO_CHILDREN_FOR_EPHEMERALS
    default_hint = "ephemeral nodes can't have children"


class NodeExistsError(APIError):
    """-110: the node exists already."""

    code = Code.NODE_EXISTS
    default_hint = "the node exists already"


class NotEmptyError(APIError):
    """-111: the node has children."""

    code = Code.NOT_EMPTY
    default_hint = "the node has children: delete them first, or delete recursively"


class SessionExpiredError(APIError):
    """-112: the session is closed or expired; its ephemeral nodes are gone."""

    code = Code.SESSION_EXPIRED
    default_hint = "the session is over, and its ephemeral nodes are gone: open a new one"


class InvalidACLError(APIError, ValueError):
    """-114: the ACL is empty or malformed, or 'auth' was used without an identity."""

    code = Code.INVALID_ACL
    default_hint = "the ACL is empty or malformed"


class AuthFailedError(APIError):
    """-115: the credentials were not accepted."""

    code = Code.AUTH_FAILED
    default_hint = "the credentials were not accepted"


class SessionMovedError(APIError):
    """-118: the session has been taken over by a newer connection."""

    code = Code.SESSION_MOVED
    default_hint = "the session was taken over by a newer connection"


class NotReadOnlyError(APIError):
    """-119: the server has no quorum, and serves this client old state only."""

    code = Code.NOT_READ_ONLY
    default_hint = "this server has no quorum and can only be read: for anything else, wait until it has one"


class NoWatcherError(APIError):
    """-121: there is no such watch to remove."""

    code = Code.NO_WATCHER
    default_hint = "no such watch is set on this connection"


class ReconfigDisabledError(APIError):
    """-123: servers do not join or leave in this way."""

    code = Code.RECONFIG_DISABLED
    default_hint = "the ensemble's members can't be changed by this request"


class QuotaExceededError(APIError):
    """-125: a hard quota of the subtree would be exceeded."""

    code = Code.QUOTA_EXCEEDED
    default_hint = "a hard quota of the subtree would be exceeded"


class ThrottledError(APIError):
    """-127: the server takes no more of this at the moment; nothing was done."""

    code = Code.THROTTLED
    default_hint = "the server refuses new work at the moment: try again later"


def _descendants(cls: type[APIError]) -> list[type[APIError]]:
    return [cls, *(found for child in cls.__subclasses__() for found in _descendants(child))]


ERRORS: dict[int, type[APIError]] = {int(cls.code): cls for cls in _descendants(APIError) if cls is not APIError}


def error_from_code(code: int, path: str = "", hint: str = "") -> APIError:
    """The error that travelled as (code, path, hint). An unknown code becomes a InternalError that names it."""
    found = ERRORS.get(code)
    if found is None:
        return InternalError(path, f"{hint or 'unknown error'} (unknown code {code})")
    return found(path, hint)
