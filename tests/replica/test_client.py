"""A connection's unanswered calls: a chain, oldest first, and where its writes stand in it."""

from zk.model.record import ConnectionId
from zk.model.requests import Call, Ping
from zk.replica.client import Client, Pending


def read(xid: int) -> Pending:
    return Pending(Call(xid, Ping()))


def write(xid: int, n: int) -> Pending:
    return Pending(Call(xid, Ping()), n)


def xids(client: Client) -> list[int]:
    return [pending.call.xid for pending in client.pending]


def test_calls_leave_in_the_order_in_which_they_came_and_others_may_follow() -> None:
    client = Client(ConnectionId(1), ())
    for xid in (1, 2):
        client.put(read(xid))
    assert (client.drop_oldest(), xids(client)) == (client.oldest, [2])
    assert (client.drop_oldest(), xids(client)) == (None, [])
    client.put(read(3))
    assert xids(client) == [3]


def test_writes_come_back_in_their_order_whatever_stands_between_them() -> None:
    client = Client(ConnectionId(1), ())
    first, second, third = write(2, 1), write(4, 2), write(7, 3)
    for pending in (read(1), first, read(3), second):
        client.put(pending)
    assert [client.take_write(), client.take_write(), client.write] == [first, second, None]
    for pending in (read(6), third):
        client.put(pending)
    assert (client.take_write(), xids(client)) == (third, [1, 2, 3, 4, 6, 7])


def test_a_write_is_in_flight_from_when_it_left_until_it_comes_back() -> None:
    client = Client(ConnectionId(1), ())
    seen = [client.in_flight]
    for n in (1, 2):
        client.put(write(n, n))
        client.n, client.unsent = n, client.unsent + 1
    seen.append(client.in_flight)
    client.unsent = 1  # the first has left
    seen.append(client.in_flight)
    client.take_write()
    seen.append(client.in_flight)
    assert seen == [False, False, True, False]


def test_a_chain_of_any_length_is_freed() -> None:
    client = Client(ConnectionId(1), ())
    for xid in range(200_000):
        client.put(read(xid))
    del client  # one by one, and not each from within the one before: that would be too deep
