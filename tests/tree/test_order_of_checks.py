"""Order of checks: the first failure wins. Each case breaks one rule and every rule behind it."""

import pytest

from zk.model.acl import ANYONE, Acl, Identity, Perms
from zk.model.errors import APIError, Code, SessionExpiredError
from zk.model.record import SessionId, Zxid
from zk.model.requests import Check, ClientWrite, Create, CreateMode, Delete, SetAcl, SetData
from zk.tree.testing import Caller, TreeDriver

ME = Identity("x509", "cn=me")


def _only(perms: int) -> tuple[Acl, ...]:
    return (Acl(perms, ANYONE.scheme, ANYONE.id),)


def _code(client: Caller, request: ClientWrite) -> Code:
    body = client.apply(request).body
    return body.code if isinstance(body, APIError) else Code.OK


@pytest.fixture
def nodes(client: Caller) -> Caller:
    """Nodes that break rules: /closed grants nothing, /closed/node exists in it, /e is ephemeral, /q is full."""
    client.do(Create("/closed", b""))
    client.do(Create("/closed/node", b"", acl=_only(0)))
    client.do(Create("/closed/parent", b"", acl=_only(0)))
    client.do(SetAcl("/closed", _only(0)))
    client.do(Create("/e", b"", mode=CreateMode.EPHEMERAL))
    client.do(Create("/full", b"12"))
    client.do(Create("/full/node", b"34"))
    client.do(Create("/full/eph", b"", mode=CreateMode.EPHEMERAL))
    for path in ("/zookeeper/quota/full", "/zookeeper/quota/full/zookeeper_limits"):
        client.do(Create(path, b"count=-1,bytes=-1=;byteHardLimit=4;countHardLimit=3"))
    return client


@pytest.mark.parametrize(
    ("create", "code"),
    [
        (Create("bad", b"", (), ttl_ms=1), Code.BAD_ARGUMENTS),  # a TTL on a kind without
        (Create("/x", b"", mode=CreateMode.PERSISTENT_WITH_TTL), Code.BAD_ARGUMENTS),
        (Create("/x", b"", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=1 << 40), Code.BAD_ARGUMENTS),
        (Create("bad", b"", ()), Code.BAD_ARGUMENTS),
        (Create("/none/x", b"", ()), Code.INVALID_ACL),
        (Create("/none/x", b""), Code.NO_NODE),
        (Create("/closed/node", b""), Code.NO_AUTH),
        (Create("/full/node", b"more"), Code.NODE_EXISTS),
        (Create("/full/eph/x", b"more"), Code.NO_CHILDREN_FOR_EPHEMERALS),
        (Create("/full/x", b""), Code.QUOTA_EXCEEDED),
        (Create("/fine", b""), Code.OK),
    ],
)
def test_create(nodes: Caller, create: Create, code: Code) -> None:
    assert _code(nodes, create) == code


def test_create_of_a_wrong_kind_is_refused_even_before_the_session_is_looked_at(driver: TreeDriver) -> None:
    def code(request: ClientWrite) -> int:
        body = driver.apply_txn(SessionId(99), Zxid(1), 1, 0, 0, request).body
        assert isinstance(body, APIError)
        return body.code

    assert code(Create("bad", b"", (), ttl_ms=1)) == Code.BAD_ARGUMENTS
    assert code(Create("bad", b"", ())) == Code.SESSION_EXPIRED
    assert code(Delete("/")) == Code.SESSION_EXPIRED


@pytest.mark.parametrize(
    ("delete", "code"),
    [
        (Delete("/zookeeper", 7), Code.BAD_ARGUMENTS),
        (Delete("/none/x", 7), Code.NO_NODE),
        (Delete("/closed/none", 7), Code.NO_AUTH),
        (Delete("/none", 7), Code.NO_NODE),
        (Delete("/full", 7), Code.BAD_VERSION),
        (Delete("/full", 0), Code.NOT_EMPTY),
        (Delete("/full/node", 0), Code.OK),
    ],
)
def test_delete(nodes: Caller, delete: Delete, code: Code) -> None:
    assert _code(nodes, delete) == code


def test_delete_asks_for_no_permission_on_the_node_itself(client: Caller) -> None:
    client.do(Create("/a", b"", acl=_only(0)))
    assert _code(client, Delete("/a")) == Code.OK


@pytest.mark.parametrize(
    ("set_data", "code"),
    [
        (SetData("bad", b"", 7), Code.BAD_ARGUMENTS),
        (SetData("/none", b"", 7), Code.NO_NODE),
        (SetData("/closed", b"", 7), Code.NO_AUTH),
        (SetData("/full/node", b"345", 7), Code.QUOTA_EXCEEDED),
        (SetData("/full/node", b"35", 7), Code.BAD_VERSION),
        (SetData("/full/node", b"35", 0), Code.OK),
        (SetData("/full/node", b"35"), Code.OK),
    ],
)
def test_set_data(nodes: Caller, set_data: SetData, code: Code) -> None:
    assert _code(nodes, set_data) == code


@pytest.mark.parametrize(
    ("check", "code"),
    [
        (Check("bad"), Code.BAD_ARGUMENTS),
        (Check("/none", 7, Zxid(1)), Code.NO_NODE),
        (Check("/closed", 7, Zxid(1)), Code.NO_AUTH),
        (Check("/full", 7, Zxid(1)), Code.BAD_VERSION),
        (Check("/full", 0, Zxid(1)), Code.BAD_VERSION),
        (Check("/full", 0), Code.OK),
        (Check("/full"), Code.OK),
    ],
)
def test_check(nodes: Caller, check: Check, code: Code) -> None:
    assert _code(nodes, check) == code


def test_check_tells_a_node_from_a_later_one_of_the_same_name(client: Caller) -> None:
    client.do(Create("/lock", b""))
    czxid = client.driver.tree.znodes["/lock"].czxid
    assert _code(client, Check("/lock", czxid=czxid)) == Code.OK
    client.do(Delete("/lock"))
    client.do(Create("/lock", b""))
    assert _code(client, Check("/lock", czxid=czxid)) == Code.BAD_VERSION


@pytest.mark.parametrize(
    ("set_acl", "code"),
    [
        (SetAcl("none", (), 7), Code.BAD_ARGUMENTS),
        (SetAcl("/none", (), 7), Code.INVALID_ACL),
        (SetAcl("/none", _only(1), 7), Code.NO_NODE),
        (SetAcl("/closed", _only(1), 7), Code.NO_AUTH),
        (SetAcl("/full", _only(1), 7), Code.BAD_VERSION),
        (SetAcl("/full", _only(1), 0), Code.OK),
    ],
)
def test_set_acl(nodes: Caller, set_acl: SetAcl, code: Code) -> None:
    assert _code(nodes, set_acl) == code


@pytest.mark.parametrize(
    ("request_", "perm"),
    [
        (Create("/p/new", b""), Perms.CREATE),
        (Delete("/p/child"), Perms.DELETE),
        (SetData("/p", b""), Perms.WRITE),
        (SetAcl("/p", _only(31)), Perms.ADMIN),
        (Check("/p"), Perms.READ),
    ],
)
def test_each_write_asks_for_its_own_permission_and_no_other(
    client: Caller, request_: ClientWrite, perm: Perms
) -> None:
    client.do(Create("/p", b""))
    client.do(Create("/p/child", b""))
    everything_else = (Acl(int(Perms.ALL & ~perm), "world", "anyone"), Acl(31, ME.scheme, ME.id))
    client.do(SetAcl("/p", everything_else))
    assert _code(client, request_) == Code.NO_AUTH
    client.attach(ME)
    client.do(SetAcl("/p", (*_only(int(perm)), Acl(31, ME.scheme, ME.id))))
    client.attach()
    assert _code(client, request_) == Code.OK


def test_a_refused_write_consumes_a_zxid_and_changes_nothing_else(client: Caller) -> None:
    before = client.driver.tree.image()
    applied = client.apply(Delete("/none"))
    after = client.driver.tree.image()
    assert applied.zxid == after.zxid == before.zxid + 1
    assert (applied.changes, after.znodes) == ([], before.znodes)


def test_a_refusal_is_the_same_on_every_replica(driver: TreeDriver, client: Caller) -> None:
    refused = client.apply(Delete("/none"))
    other = TreeDriver()
    for zxid, txn in driver.log[:-1]:
        other.tree.apply(zxid, txn)
    assert other.tree.apply(*driver.log[-1]) == refused
    assert other.tree.digest() == driver.tree.digest()


def test_an_unknown_session_is_told_that_it_expired(driver: TreeDriver) -> None:
    applied = driver.apply_txn(SessionId(5), Zxid(1), 1, 1, 0, Create("/a", b""))
    assert applied.body == SessionExpiredError()
