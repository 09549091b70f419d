"""DIGEST-MD5: what proves a password, and all that does not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk.model.errors import AuthFailedError
from zk.wire.sasl import REALM, URI, DigestMd5, Proved, proof_of, session_key

USERS = {"bob": "secret", 'a "quoted" \\ name': "x", "zoë": "grün", "żółw": "hasło"}
NONCE = "once"


def response(user: str = "bob", password: str = "secret", authzid: str = "", **changes: str | None) -> bytes:
    """What a client answers to the challenge; `changes` are to what it says, not to what it proves."""
    key = session_key(user, REALM, password, NONCE, "theirs", authzid)
    quoted = user.replace("\\", "\\\\").replace('"', '\\"')
    said = {
        "charset": "utf-8",
        "username": f'"{quoted}"',
        "realm": f'"{REALM}"',
        "nonce": f'"{NONCE}"',
        "nc": "00000001",
        "cnonce": '"theirs"',
        "digest_uri": f'"{URI}"',
        "response": proof_of(key, NONCE, "00000001", "theirs", f"AUTHENTICATE:{URI}"),
        "qop": "auth",
        "authzid": f'"{authzid}"' if authzid else None,
        **changes,
    }
    return ",".join(f"{name.replace('_', '-')}={value}" for name, value in said.items() if value is not None).encode()


def exchange(token: bytes) -> Proved:
    return DigestMd5(NONCE, USERS).accept(token)


def test_the_example_of_the_rfc() -> None:
    nonce, cnonce, uri = "OA6MG9tEQGm2hh", "OA6MHXh6VqTrRk", "imap/elwood.innosoft.com"
    key = session_key("chris", "elwood.innosoft.com", "secret", nonce, cnonce)
    proofs = [proof_of(key, nonce, "00000001", cnonce, f"{what}:{uri}") for what in ("AUTHENTICATE", "")]
    assert proofs == ["d388dad90d4bbd760a152321f2143af7", "ea40f60335c427b5527b84dbabcdfffd"]


def test_the_challenge_is_zookeepers() -> None:
    challenge = b'realm="zk-sasl-md5",nonce="once",charset=utf-8,algorithm=md5-sess'
    assert DigestMd5(NONCE, USERS).challenge == challenge


@pytest.mark.parametrize(("user", "password"), USERS.items())
def test_a_password_proves_its_user_and_is_proved_to_the_client(user: str, password: str) -> None:
    key = session_key(user, REALM, password, NONCE, "theirs")
    token = f"rspauth={proof_of(key, NONCE, '00000001', 'theirs', f':{URI}')}".encode()
    assert exchange(response(user, password)) == Proved(user, token)


@pytest.mark.parametrize(("name", "value"), [("charset", None), ("qop", None), ("qop", '"auth"'), ("maxbuf", "65536")])
def test_clients_may_say_it_in_their_own_ways(name: str, value: str | None) -> None:
    assert exchange(response("bob", "secret", "", **{name: value})).user == "bob"


def test_whom_the_client_wants_to_act_for_makes_it_nobody_else() -> None:
    assert exchange(response(authzid="super")).user == "bob"


def test_spaces_between_directives_make_no_difference() -> None:
    assert exchange(response().replace(b",", b" ,\r\n ").replace(b"=auth", b" = auth")).user == "bob"


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"\xff\xfe",
        response(password="another"),
        response(user="nobody", password=""),
        response(realm=None),
        response(realm='"elsewhere"'),
        response(nonce='"another"'),
        response(nonce=None),
        response(nc="00000002"),
        response(cnonce=None),
        response(cnonce='""'),
        response(digest_uri='"imap/zk-sasl-md5"'),
        response(digest_uri=None),
        response(qop="auth-conf"),
        response(charset="latin"),
        response(response=None),
        response(username=None),
        response(response="0" * 32),
        response() + b",username=bob",
        response() + b",=",
        response() + b',x="',
        response(username='"\xff"').replace("\xff".encode(), b"\xff"),
    ],
)
def test_whatever_else_comes_proves_nothing_and_looks_alike(token: bytes) -> None:
    with pytest.raises(AuthFailedError) as refused:
        exchange(token)
    assert str(refused.value) == "(code -115): DIGEST-MD5: the response does not prove a user's password"


def test_an_exchange_takes_one_response() -> None:
    one = DigestMd5(NONCE, USERS)
    one.accept(response())
    with pytest.raises(AuthFailedError):
        one.accept(response())


@given(st.binary() | st.text('",=\\ abc-').map(str.encode))
def test_no_bytes_do_anything_but_fail(token: bytes) -> None:
    with pytest.raises(AuthFailedError):
        exchange(token)
