"""ACL and auth."""

import base64
import hashlib
import hmac

import pytest

from zk.model.acl import ANYONE, CREATOR_ALL_ACL, OPEN_ACL, READ_ACL, Acl, Identity, Perms
from zk.model.errors import InvalidACLError, NoAuthError
from zk.model.replies import AclReply, NodeReply
from zk.model.requests import Authenticate, Create, CreateMode, GetAcl, GetData, GetNode, SetAcl
from zk.tree.acl import digest_identity, fix_acl, masked, permitted
from zk.tree.testing import Caller, TreeDriver

ME = Identity("digest", "me:hash")
IP = Identity("ip", "10.1.2.3")
X509 = Identity("x509", "CN=me")
SUPER = Identity("super", "")
SASL = Identity("sasl", "me")


def test_permissions_have_zookeepers_bits() -> None:
    assert {perm.name: perm.value for perm in Perms} | {"ALL": Perms.ALL.value} == {
        "READ": 1,
        "WRITE": 2,
        "CREATE": 4,
        "DELETE": 8,
        "ADMIN": 16,
        "ALL": 31,
    }


def test_there_is_no_inheritance(client: Caller) -> None:
    client.do(Create("/p", b"", acl=(Acl(4, "world", "anyone"),)))
    client.do(Create("/p/open", b""))
    client.read(GetData("/p/open"))
    with pytest.raises(NoAuthError):
        client.read(GetData("/p"))


# ---- form


@pytest.mark.parametrize(
    "acl",
    [
        (),
        (Acl(31, "world", "someone"),),
        (Acl(31, "digest", "me"),),
        (Acl(31, "digest", "a:b:c"),),
        (Acl(31, "digest", "a:"),),
        (Acl(31, "sasl", "me@here@there"),),
        (Acl(31, "sasl", "me/a/b@here"),),
        (Acl(31, "super", "root"),),
        (Acl(31, "ip", "300.1.1.1"),),
        (Acl(31, "ip", "10.0.0.0/33"),),
        (Acl(31, "ip", ""),),
        (Acl(31, "ip", "10.0.0.0/"),),
        (Acl(31, "ip", "10.0.0.0/255.0.0.0"),),
        (Acl(31, "x509", ""),),
        (Acl(31, "nonsense", "x"),),
        (Acl(31, "", ""),),
        (Acl(32, "world", "anyone"),),
        (Acl(-1, "world", "anyone"),),
        (*OPEN_ACL, Acl(31, "nonsense", "x")),
    ],
)
def test_a_malformed_acl_is_refused(acl: tuple[Acl, ...]) -> None:
    with pytest.raises(InvalidACLError):
        fix_acl("/a", acl, (ME,))


@pytest.mark.parametrize(
    "entry",
    [
        Acl(31, "world", "anyone"),
        Acl(0, "world", "anyone"),
        Acl(31, "digest", "me:hash"),
        Acl(31, "ip", "10.0.0.1"),
        Acl(31, "ip", "10.0.0.0/8"),
        Acl(31, "ip", "10.1.2.3/8"),
        Acl(31, "ip", "::1"),
        Acl(31, "ip", "fe80::/10"),
        Acl(31, "x509", "CN=me"),
        Acl(31, "digest", ":hash"),
        Acl(31, "digest", "me:hash:"),
        Acl(31, "sasl", "me"),
        Acl(31, "sasl", "me/host@REALM"),
    ],
)
def test_a_well_formed_acl_is_kept_as_it_is(entry: Acl) -> None:
    assert fix_acl("/a", (entry,), ()) == (entry,)


def test_auth_expands_to_the_callers_identities() -> None:
    assert fix_acl("/a", (Acl(3, "auth", "ignored"),), (IP, SUPER, ME, X509, SASL)) == (
        Acl(3, "digest", "me:hash"),
        Acl(3, "x509", "CN=me"),
        Acl(3, "sasl", "me"),
    )


@pytest.mark.parametrize("identities", [(), (IP,), (ANYONE,), (SUPER,)])
def test_auth_without_an_identity_is_refused(identities: tuple[Identity, ...]) -> None:
    with pytest.raises(InvalidACLError):
        fix_acl("/a", CREATOR_ALL_ACL, identities)


def test_duplicates_are_dropped() -> None:
    read, write = Acl(1, "digest", "me:hash"), Acl(2, "digest", "me:hash")
    assert fix_acl("/a", (read, write, read, Acl(1, "auth", "")), (ME,)) == (read, write)


def test_a_created_node_has_the_expanded_acl(driver: TreeDriver) -> None:
    client = driver.open(ME)
    client.do(Create("/a", b"", acl=CREATOR_ALL_ACL))
    assert driver.tree.znodes["/a"].acl == (Acl(31, "digest", "me:hash"),)
    client.do(SetAcl("/a", (*READ_ACL, *CREATOR_ALL_ACL)))
    assert driver.tree.znodes["/a"].acl == (*READ_ACL, Acl(31, "digest", "me:hash"))


# ---- what is granted


@pytest.mark.parametrize(
    ("entry", "identity", "granted"),
    [
        (Acl(1, "world", "anyone"), None, True),
        (Acl(2, "world", "anyone"), None, False),
        (Acl(1, "digest", "me:hash"), ME, True),
        (Acl(1, "digest", "me:other"), ME, False),
        (Acl(2, "digest", "me:hash"), ME, False),
        (Acl(1, "digest", "me:hash"), Identity("x509", "me:hash"), False),
        (Acl(1, "ip", "10.1.2.3"), IP, True),
        (Acl(1, "ip", "10.1.2.4"), IP, False),
        (Acl(1, "ip", "10.1.0.0/16"), IP, True),
        (Acl(1, "ip", "10.1.9.9/16"), IP, True),
        (Acl(1, "ip", "10.2.0.0/16"), IP, False),
        (Acl(1, "ip", "::/0"), IP, False),
        (Acl(1, "ip", "10.0.0.0/8"), Identity("ip", "::ffff:10.1.2.3"), True),
        (Acl(1, "ip", "::1"), Identity("ip", "::1"), True),
        (Acl(1, "ip", "fe80::/10"), Identity("ip", "fe80::1"), True),
        (Acl(1, "ip", "10.0.0.0/8"), Identity("ip", "no address"), False),
        (Acl(1, "x509", "CN=me"), X509, True),
        (Acl(1, "x509", "CN=you"), X509, False),
        (Acl(1, "sasl", "me"), SASL, True),
        (Acl(1, "sasl", "you"), SASL, False),
        (Acl(1, "sasl", "you"), Identity("sasl", "super"), False),
        (Acl(0, "digest", "nobody:x"), SUPER, True),
        (Acl(0, "digest", "nobody:x"), ME, False),
    ],
)
def test_who_may_read(entry: Acl, identity: Identity | None, granted: bool) -> None:
    assert permitted((entry,), int(Perms.READ), [identity] if identity is not None else []) == granted


def test_any_entry_may_grant() -> None:
    acl = (Acl(2, "world", "anyone"), Acl(1, "digest", "you:x"), Acl(1, "digest", "me:hash"))
    assert permitted(acl, int(Perms.READ), (IP, ME))


def test_an_identity_counts_from_the_next_request_on(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/a", b"", acl=(Acl(31, "digest", "me:hash"),)))
    with pytest.raises(NoAuthError):
        client.read(GetData("/a"))
    client.do(Authenticate((ME,)))
    client.read(GetData("/a"))


# ---- digest


def test_a_digest_is_user_and_the_base64_of_sha1_of_user_and_password() -> None:
    expected = "ben:" + base64.b64encode(hashlib.sha1(b"ben:secret").digest()).decode()
    assert digest_identity(b"ben:secret") == Identity("digest", expected)


def test_the_digest_of_zookeepers_documentation() -> None:
    assert digest_identity(b"super:test") == Identity("digest", "super:D/InIHSb7yEEbrWz8b9l71RjZJU=")


def test_any_credential_proves_some_identity_as_with_zookeeper() -> None:
    users = [digest_identity(credential).id.partition(":")[0] for credential in (b"", b"nocolon", b"\xff:x", b"u:a:b")]
    assert users == ["", "nocolon", "\ufffd", "u"]


def test_bytes_that_are_no_text_count_as_replaced() -> None:
    assert digest_identity(b"u:\xff") == digest_identity("u:\ufffd".encode())


# ---- getACL

GUARDED = (Acl(1, "world", "anyone"), Acl(31, "digest", "me:hash"))


def test_without_admin_a_digest_is_hidden() -> None:
    assert masked(GUARDED) == (Acl(1, "world", "anyone"), Acl(31, "digest", "me:x"))


def test_get_acl_shows_the_digest_to_admins_only(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/a", b"", acl=GUARDED))
    stat = driver.tree.znodes["/a"].stat
    assert client.read(GetAcl("/a")) == AclReply(masked(GUARDED), stat)
    assert client.read(GetNode("/a")) == NodeReply(b"", masked(GUARDED), CreateMode.PERSISTENT, 0, stat)
    client.do(Authenticate((ME,)))
    assert client.read(GetAcl("/a")) == AclReply(GUARDED, stat)


@pytest.mark.parametrize(("perms", "allowed"), [(1, True), (16, True), (2 | 4 | 8, False)])
def test_get_acl_needs_read_or_admin(client: Caller, perms: int, allowed: bool) -> None:
    acl = (Acl(perms, "world", "anyone"),)
    client.do(Create("/a", b"", acl=acl))
    if allowed:
        assert client.read(GetAcl("/a")) == AclReply(acl, client.driver.tree.znodes["/a"].stat)
    else:
        with pytest.raises(NoAuthError):
            client.read(GetAcl("/a"))


def test_secrets_and_digests_are_compared_in_constant_time(client: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[object] = []
    honest = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append({a, b})
        return honest(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    client.attach(secret=b"wrong")
    assert not permitted((Acl(1, "digest", "me:other"),), 1, (ME,))
    assert compared == [{client.secret, b"wrong"}, {b"me:other", b"me:hash"}]
