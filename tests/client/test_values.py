"""Connect strings, errors, small values."""

import pickle

import pytest
from zkclient import BadArgumentsError, ConnectionLossError, NoNodeError, TransactionFailed, errors
from zkclient.errors import LockLost, SessionExpiredError, ZKError
from zkclient.hosts import Hosts, parse_hosts

from zk.model.record import Zxid
from zk.model.requests import Delete


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("localhost", Hosts(("localhost:2181",), "")),
        ("a:1,b:2", Hosts(("a:1", "b:2"), "")),
        ("a:1, b", Hosts(("a:1", "b:2181"), "")),
        ("a:1/app/one", Hosts(("a:1",), "/app/one")),
        ("a:1/", Hosts(("a:1",), "")),
        ("[::1]:99,[fe80::1]", Hosts(("[::1]:99", "[fe80::1]:2181"), "")),
    ],
)
def test_connect_strings(text: str, hosts: Hosts) -> None:
    assert parse_hosts(text) == hosts


@pytest.mark.parametrize("text", ["", "a:1,", "a:port", "a:0", "a:65536", "::1", ":2181", "a:1//x", "a:1/x/"])
def test_bad_connect_strings_are_refused_with_a_reason(text: str) -> None:
    with pytest.raises(BadArgumentsError) as caught:
        parse_hosts(text)
    assert caught.value.hint


def test_every_error_is_a_zk_error_and_a_python_error_where_there_is_one() -> None:
    assert issubclass(NoNodeError, LookupError)
    assert issubclass(ConnectionLossError, ConnectionError)
    assert issubclass(errors.OperationTimeoutError, TimeoutError)
    for name in errors.__all__:
        found = getattr(errors, name)
        assert name == "Code" or issubclass(found, ZKError)


def test_messages_say_what_where_and_what_to_do() -> None:
    cause = NoNodeError("/a")
    assert str(TransactionFailed(2, Delete("/a"), cause)) == (
        "operation 2 (Delete) failed, nothing was done: /a (code -101): the node does not exist"
    )
    assert str(LockLost("/l/c-1", "its node was deleted")) == ("/l/c-1: its node was deleted; another may hold it now")
    assert SessionExpiredError("", "it ended", maybe_applied=True).maybe_applied


def test_errors_survive_a_trip_to_another_process() -> None:
    for error in (LockLost("/a", "gone"), TransactionFailed(1, Delete("/a"), NoNodeError("/a")), NoNodeError("/a")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
    lost = pickle.loads(pickle.dumps(ConnectionLossError("lost", maybe_applied=True)))
    assert (str(lost), lost.maybe_applied, Zxid(0)) == ("lost", True, 0)
