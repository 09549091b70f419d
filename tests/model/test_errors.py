"""Refusals: their numbers, what they say, and that they survive the way to the client."""

import pytest

from zk.model.errors import ERRORS, APIError, BadVersionError, Code, InternalError, NoNodeError, error_from_code

ZOOKEEPERS = {
    0: "OK",
    -1: "SYSTEM_ERROR",
    -2: "RUNTIME_INCONSISTENCY",
    -4: "CONNECTION_LOSS",
    -5: "MARSHALLING_ERROR",
    -6: "UNIMPLEMENTED",
    -7: "OPERATION_TIMEOUT",
    -8: "BAD_ARGUMENTS",
    -12: "UNKNOWN_SESSION",
    -13: "NEW_CONFIG_NO_QUORUM",
    -14: "RECONFIG_IN_PROGRESS",
    -101: "NO_NODE",
    -102: "NO_AUTH",
    -103: "BAD_VERSION",
    -108: "NO_CHILDREN_FOR_EPHEMERALS",
    -110: "NODE_EXISTS",
    -111: "NOT_EMPTY",
    -112: "SESSION_EXPIRED",
    -113: "INVALID_CALLBACK",
    -114: "INVALID_ACL",
    -115: "AUTH_FAILED",
    -118: "SESSION_MOVED",
    -119: "NOT_READ_ONLY",
    -120: "EPHEMERAL_ON_LOCAL_SESSION",
    -121: "NO_WATCHER",
    -122: "REQUEST_TIMEOUT",
    -123: "RECONFIG_DISABLED",
    -124: "SASL_REQUIRED",
    -125: "QUOTA_EXCEEDED",
    -127: "THROTTLED",
}


def test_the_numbers_are_zookeepers() -> None:
    assert {code.value: code.name for code in Code} == ZOOKEEPERS


def test_each_code_has_one_error() -> None:
    classes = list(ERRORS.values())
    assert len(set(classes)) == len(classes)
    assert all(cls.code == code for code, cls in ERRORS.items())


@pytest.mark.parametrize("cls", ERRORS.values())
def test_an_error_survives_the_way_to_the_client(cls: type[APIError]) -> None:
    error = cls("/a", "do this")
    assert error_from_code(int(error.code), error.path, error.hint) == error
    assert error_from_code(int(cls.code)) == cls()


def test_an_unknown_code_is_named() -> None:
    assert error_from_code(-99, "/a", "hm") == InternalError("/a", "hm (unknown code -99)")


def test_an_error_says_where_why_and_what_to_do() -> None:
    assert str(NoNodeError("/a")) == "/a (code -101): the node does not exist"
    assert str(BadVersionError("/a", "read it again")) == "/a (code -103): read it again"


def test_errors_are_equal_if_they_say_the_same() -> None:
    assert NoNodeError("/a") == NoNodeError("/a")
    assert NoNodeError("/a") != NoNodeError("/b")
    assert NoNodeError("/a") != BadVersionError("/a", NoNodeError.default_hint)
    assert len({NoNodeError("/a"), NoNodeError("/a"), NoNodeError("/b")}) == 2
