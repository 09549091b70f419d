"""The outbox: writes in order of arrival, until they leave or nobody wants them."""

from zk.model.record import ConnectionId, SessionId, Zxid
from zk.model.requests import Reap, Txn
from zk.replica.client import Client
from zk.replica.outbox import Outbox


def client_with(session_id: int, unsent: int) -> Client:
    client = Client(ConnectionId(1), ())
    client.session_id = SessionId(session_id)
    client.unsent = unsent
    return client


def txn(n: int) -> Txn:
    return Txn(0, SessionId(0), Zxid(0), n, 0, 0, Reap("/"))


def test_writes_leave_in_order_of_arrival_and_are_counted_as_sent() -> None:
    outbox, client = Outbox(), client_with(7, unsent=2)
    outbox.add(b"1", txn(1), client)
    outbox.add(b"forwarded", None, None)
    outbox.add(b"2", txn(2), client)
    assert len(outbox) == 3
    assert outbox.take() == ([b"1", b"forwarded", b"2"], [txn(1), None, txn(2)])
    assert (len(outbox), client.unsent, outbox.take()) == (0, 0, ([], []))


def test_no_more_leaves_at_once_than_the_bytes_allow_but_one_write_at_the_least() -> None:
    outbox, client = Outbox(), client_with(7, unsent=3)
    outbox.add(b"1" * 10, txn(1), client)
    outbox.add(b"2" * 4, txn(2), client)
    outbox.add(b"forwarded", None, None)
    outbox.add(b"3", txn(3), client)
    assert outbox.take(9) == ([b"1" * 10], [txn(1)])
    assert (len(outbox), client.unsent) == (3, 2)
    assert outbox.take(13) == ([b"2" * 4, b"forwarded"], [txn(2), None])
    assert (len(outbox), client.unsent) == (1, 1)
    assert outbox.take(13) == ([b"3"], [txn(3)])
    assert (len(outbox), client.unsent, outbox.take(13)) == (0, 0, ([], []))


def test_the_open_of_a_connection_that_is_gone_is_dropped_but_the_writes_of_a_session_are_not() -> None:
    outbox, opening, writing = Outbox(), client_with(0, unsent=1), client_with(7, unsent=1)
    opening.closed = writing.closed = True
    outbox.add(b"open", txn(0), opening)
    outbox.add(b"write", txn(1), writing)
    outbox.add(b"forwarded", None, None)
    assert outbox.take() == ([b"write", b"forwarded"], [txn(1), None])


def test_the_end_of_a_leaders_role_leaves_only_what_own_clients_wrote() -> None:
    outbox, client = Outbox(), client_with(7, unsent=1)
    outbox.add(b"forwarded", None, None)
    outbox.add(b"own", txn(1), client)
    outbox.add(b"expire", txn(0), None)
    outbox.keep_own_clients()
    assert outbox.take() == ([b"own"], [txn(1)])
