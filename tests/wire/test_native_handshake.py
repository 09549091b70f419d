"""How a connection begins."""

from dataclasses import replace

import pytest

from zk.model.limits import DEFAULT_LIMITS
from zk.model.requests import Call, Ping
from zk.wire.native import MAGIC, ClientConnection, ClientHello, ProtocolError, ServerConnection, ServerHello
from zk.wire.native.handshake import FEATURES, announced
from zk.wire.packing import pack


def test_both_sides_learn_who_the_other_is_and_the_client_what_is_refused() -> None:
    limits = replace(DEFAULT_LIMITS, data_bytes_max=77)
    client, server = ClientConnection("py 1"), ServerConnection(limits)
    assert server.receive(client.hello()) == []
    assert server.client == ClientHello(1, 1, "py 1", FEATURES)
    assert client.receive(server.greeting()) == [client.server]
    assert client.server == ServerHello(1, "zk 0.1.0", FEATURES, announced(limits))
    assert client.server.limits.data_bytes_max == 77


def test_the_greeting_is_given_once_and_not_before_the_hello() -> None:
    client, server = ClientConnection("test"), ServerConnection()
    assert (server.greeting(), server.handshake_done) == (b"", False)
    hello = client.hello()
    server.receive(hello[:-1])
    assert (server.greeting(), server.handshake_done) == (b"", False)
    server.receive(hello[-1:])
    assert server.handshake_done
    assert server.greeting().startswith(MAGIC)
    assert server.greeting() == b""


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"ruok", b"\x16\x03\x01", b"\xc1zk2", b"\xc1\xc1", b"\x00"])
def test_who_begins_otherwise_is_left_without_a_word(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="magic") as caught:
        ServerConnection().receive(data)
    assert caught.value.farewell == b""


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"imok"])
def test_a_client_notices_that_it_reached_something_else(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="magic"):
        ClientConnection("test").receive(data)


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ((), "the first frame must be"),
        ((1, 1, "name"), "the first frame must be"),
        (("1", 1, "name", ()), "the first frame must be"),
        ((1, 1, b"name", ()), "the first frame must be"),
        ((1, 1, "n" * 257, ()), "the first frame must be"),
        ((1, 1, "name", (1,)), "the first frame must be"),
        ((1, 1, "name", ("f",) * 65), "the first frame must be"),
        ((0, 0, "name", ()), "the client speaks versions 0 to 0, this server 1 to 1"),
        ((9, 2, "name", ()), "the client speaks versions 2 to 9, this server 1 to 1"),
    ],
)
def test_a_hello_that_can_not_be_served_is_told_why(hello: tuple[object, ...], reason: str) -> None:
    server = ServerConnection()
    with pytest.raises(ProtocolError, match=reason) as caught:
        server.receive(MAGIC + pack(hello))
    with pytest.raises(ProtocolError, match=f"the server closed the connection: {reason}"):
        ClientConnection("test").receive(caught.value.farewell)


def test_client_and_server_settle_on_the_highest_version_that_both_speak() -> None:
    server = ServerConnection()
    server.receive(MAGIC + pack((9, 1, "from the future", (), "and more to say")))
    (hello,) = ClientConnection("test").receive(server.greeting())
    assert isinstance(hello, ServerHello)
    assert hello.version == 1


def test_a_farewell_right_behind_the_hello_still_lets_the_greeting_through() -> None:
    client, server = ClientConnection("test"), ServerConnection()
    with pytest.raises(ProtocolError) as caught:
        server.receive(client.hello() + b"\x05")
    with pytest.raises(ProtocolError, match="expected an array"):
        client.receive(caught.value.farewell)


def test_a_greeting_of_a_later_version_may_say_more() -> None:
    client = ClientConnection("test")
    limits = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
    (hello,) = client.receive(MAGIC + pack((1, "zk 9", ("new",), limits, "more")))
    assert isinstance(hello, ServerHello)
    assert (hello.limits.frame_bytes_max, hello.limits.outstanding_requests_max) == (1, 10)


@pytest.mark.parametrize("frame", [(), (1,), (1, "zk", ()), (1, "zk", (), 5), (1, "zk", (), (1, 2))])
def test_what_is_no_greeting_is_a_protocol_error(frame: tuple[object, ...]) -> None:
    with pytest.raises(ProtocolError, match="no greeting"):
        ClientConnection("test").receive(MAGIC + pack(frame))


def test_the_bytes_of_the_hello_stay_what_they_are() -> None:
    client = ClientConnection("c")
    assert client.hello() == MAGIC + pack((1, 1, "c", FEATURES))
    assert client.call(Call(5, Ping())).hex() == "9305000b"
