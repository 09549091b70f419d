"""SASL through a whole server: what is proved belongs to the session, on every server."""

import re
from typing import TYPE_CHECKING

import pytest

from zk.model.acl import Acl, Identity
from zk.model.errors import AuthFailedError, NoAuthError
from zk.model.replies import DONE, Created, IdentitiesReply, Reply, SaslReply
from zk.model.requests import AddAuth, Create, GetData, Sasl, WhoAmI
from zk.model.znode import Znode
from zk.wire.sasl import REALM, URI, proof_of, session_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.replica.conftest import Cluster, TestClient

USERS = {"bob": "secret"}
BOB = Identity("sasl", "bob")
HERE = Identity("ip", "127.0.0.1")


@pytest.fixture
def three(new_cluster: "Callable[..., Cluster]") -> "Cluster":
    return new_cluster(3, sasl_users=USERS)


def challenged(client: "TestClient") -> str:
    """The nonce of the server's challenge."""
    challenge = client.ask(Sasl(b""))
    assert isinstance(challenge, SaslReply)
    assert challenge.token is not None
    found = re.search(rb'nonce="([^"]+)"', challenge.token)
    assert found is not None
    return found[1].decode()


def response(nonce: str, password: str = "secret") -> tuple[bytes, bytes]:
    """What bob says to prove a password, and what the server says if it is his."""
    key = session_key("bob", REALM, password, nonce, "theirs")
    proofs = [proof_of(key, nonce, "00000001", "theirs", f"{what}:{URI}") for what in ("AUTHENTICATE", "")]
    said = (
        f'username=bob,realm={REALM},nonce="{nonce}",nc=00000001,cnonce=theirs,digest-uri="{URI}",response={proofs[0]}'
    )
    return said.encode(), f"rspauth={proofs[1]}".encode()


def prove(client: "TestClient") -> None:
    said, expected = response(challenged(client))
    assert client.ask(Sasl(said)) == SaslReply(expected)


def test_a_proved_user_is_an_identity_of_the_session_on_every_server(three: "Cluster") -> None:
    client, other = three.connect(three.follower_id).open(), three.connect().open()
    prove(client)
    assert client.ask(WhoAmI()) == IdentitiesReply((HERE, BOB))
    assert isinstance(client.ask(Create("/his", b"x", (Acl(31, "auth", ""),))), Created)
    assert isinstance(client.ask(GetData("/his")), Znode)
    assert isinstance(other.ask(GetData("/his")), NoAuthError)
    moved = three.connect(three.leader_id)
    moved.attach(client.session)
    assert moved.ask(WhoAmI()) == IdentitiesReply((HERE, BOB))


def test_the_proof_is_answered_in_its_turn_and_counts_for_what_comes_behind_it(three: "Cluster") -> None:
    client = three.connect(three.follower_id).open()
    said, expected = response(challenged(client))
    requests = (
        Create("/a", b""),
        Sasl(said),
        WhoAmI(),
        Create("/his", b"", (Acl(31, "sasl", "bob"),)),
        GetData("/his"),
    )
    xids = [client.call(request) for request in requests]
    three.settle()
    assert [item.xid for item in client.received if isinstance(item, Reply)][-len(xids) :] == xids
    assert [client.answer_to(xid) for xid in xids[1:3]] == [SaslReply(expected), IdentitiesReply((HERE, BOB))]
    assert isinstance(client.answer_to(xids[-1]), Znode)


@pytest.mark.parametrize("token", [response("another nonce")[0], b"", b"garbage"])
def test_what_proves_nothing_is_answered_so_and_the_connection_closes(three: "Cluster", token: bytes) -> None:
    client = three.connect().open()
    challenged(client)
    assert isinstance(client.ask(Sasl(token)), AuthFailedError)
    assert client.closed is not None


def test_a_wrong_password_proves_nothing(three: "Cluster") -> None:
    client = three.connect().open()
    assert isinstance(client.ask(Sasl(response(challenged(client), "another")[0])), AuthFailedError)
    assert client.closed is not None


def test_a_connection_proves_one_user_once(three: "Cluster") -> None:
    client = three.connect().open()
    prove(client)
    assert isinstance(client.ask(Sasl(b"")), AuthFailedError)


def test_no_nonce_is_used_twice(three: "Cluster") -> None:
    nonces = {challenged(three.connect(number).open()) for number in (1, 2, 3, 1)}
    assert len(nonces) == 4


def test_a_server_without_users_says_nothing_and_proves_nothing(one: "Cluster") -> None:
    client = one.connect().open()
    assert client.ask(Sasl(b"")) == SaslReply(None)
    assert client.ask(Sasl(b"whatever")) == SaslReply(None)
    assert client.ask(AddAuth("digest", b"ann:secret")) == DONE
    assert client.closed is None
