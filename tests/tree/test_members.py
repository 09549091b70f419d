"""/zookeeper/config: written by leaders, read by anybody, changed by nobody else."""

import pytest

from zk.model.acl import READ_ACL, Identity
from zk.model.errors import BadArgumentsError, NoAuthError
from zk.model.events import EventType
from zk.model.requests import Create, Delete, GetData, NameMembers, SetData
from zk.model.znode import Znode
from zk.tree.changes import Change
from zk.tree.testing import Caller, TreeDriver

CONFIG = "/zookeeper/config"
MEMBERS = ("server.1=one:2281:2281:participant", "server.2=[::1]:2281:2281:participant")


def test_a_server_alone_has_no_members(driver: TreeDriver, client: Caller) -> None:
    body = client.read(GetData(CONFIG))
    assert isinstance(body, Znode)
    assert body.data == b""
    assert driver.tree.members == ()


def test_the_members_are_written_with_the_zxid_as_their_version(driver: TreeDriver, client: Caller) -> None:
    driver.time_ms = 77
    applied = driver.serve(NameMembers(MEMBERS))
    zxid = applied.zxid
    assert applied.changes == [Change(EventType.DATA_CHANGED, CONFIG, zxid, READ_ACL)]
    assert driver.tree.members == MEMBERS
    body = client.read(GetData(CONFIG))
    assert isinstance(body, Znode)
    assert body.data.decode() == "\n".join((*MEMBERS, f"version={zxid:x}"))
    assert (body.stat.mzxid, body.stat.mtime, body.stat.version, body.stat.czxid) == (zxid, 77, 1, 0)


def test_clients_may_not_change_the_members(driver: TreeDriver, client: Caller) -> None:
    driver.serve(NameMembers(MEMBERS))
    with pytest.raises(NoAuthError):
        client.do(SetData(CONFIG, b""))
    with pytest.raises(NoAuthError):
        client.do(Create(f"{CONFIG}/more", b""))
    with pytest.raises(BadArgumentsError):
        client.do(Delete(CONFIG))


def test_what_a_super_user_writes_there_does_no_harm(driver: TreeDriver) -> None:
    driver.open(Identity("super", ""), session_id=2).do(SetData(CONFIG, b"\xff\n\xfe"))
    assert list(driver.tree.members) == ["\ufffd"]
    driver.serve(NameMembers(MEMBERS))
    assert list(driver.tree.members) == list(MEMBERS)


def test_anybody_may_read_the_members(driver: TreeDriver) -> None:
    anybody = driver.open(Identity("ip", "10.0.0.1"), session_id=2)
    assert isinstance(anybody.read(GetData(CONFIG)), Znode)
