"""The digest and the image: equal exactly if the states are."""

import dataclasses

import pytest

from zk.model.acl import READ_ACL, Identity
from zk.model.errors import NoNodeError
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE
from zk.model.requests import Authenticate, Create, CreateMode, Delete, GetChildren, GetChildrenPage, SetAcl, SetData
from zk.model.session import Session
from zk.model.znode import Znode
from zk.tree.digest import combined, session_hash, znode_hash, znodes_sum
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Tree

ZNODE = Znode(b"d", READ_ACL, Zxid(1), Zxid(2), Zxid(3), 4, 5, 6, 7, 8, SessionId(9), 10, CreateMode.PERSISTENT, 11)
SESSION = Session(SessionId(1), b"s" * 16, 5_000, (), Zxid(3), 4, 5, {6: (Zxid(7), DONE)})


def _other(value: object) -> object:
    """A value of the same type that differs."""
    match value:
        case CreateMode():
            return CreateMode.CONTAINER
        case int():
            return value + 1
        case bytes():
            return value + b"x"
        case tuple():
            return (*value, *(READ_ACL if value else ()))
        case _:
            raise AssertionError(value)


@pytest.mark.parametrize("name", [each.name for each in dataclasses.fields(Znode) if each.compare])
def test_every_attribute_of_a_znode_counts(name: str) -> None:
    changed = dataclasses.replace(ZNODE)
    setattr(changed, name, _other(getattr(ZNODE, name)))
    assert znode_hash("/a", changed) != znode_hash("/a", ZNODE)


def test_the_path_counts_and_borders_are_kept() -> None:
    assert znode_hash("/b", ZNODE) != znode_hash("/a", ZNODE)
    data = dataclasses.replace(ZNODE, data=b"xy", acl=())
    assert znode_hash("/a", dataclasses.replace(data, data=b"y")) != znode_hash("/ax", data)


def test_the_cached_encoding_does_not_count() -> None:
    cached = dataclasses.replace(ZNODE)
    cached.tail = b"tail"
    assert znode_hash("/a", cached) == znode_hash("/a", ZNODE)


@pytest.mark.parametrize(
    "changed",
    [
        dataclasses.replace(SESSION, id=SessionId(2)),
        dataclasses.replace(SESSION, secret=b"t" * 16),
        dataclasses.replace(SESSION, timeout_ms=5_001),
        dataclasses.replace(SESSION, identities=(Identity("digest", "me:x"),)),
        dataclasses.replace(SESSION, generation=Zxid(4)),
        dataclasses.replace(SESSION, n=5),
        dataclasses.replace(SESSION, floor=6),
        dataclasses.replace(SESSION, answers={}),
        dataclasses.replace(SESSION, answers={7: (Zxid(7), DONE)}),
        dataclasses.replace(SESSION, answers={6: (Zxid(8), DONE)}),
        dataclasses.replace(SESSION, answers={6: (Zxid(7), NoNodeError())}),
    ],
)
def test_every_attribute_of_a_session_counts(changed: Session) -> None:
    assert session_hash(changed) != session_hash(SESSION)


def test_the_digest_is_that_of_the_whole_state_counted_anew(driver: TreeDriver, client: Caller) -> None:
    for request in (
        Create("/a", b"1"),
        Create("/a/b", b""),
        SetData("/a", b"2"),
        SetAcl("/a", READ_ACL),
        Create("/gone", b""),
        Delete("/gone"),
    ):
        client.apply(request, xid=client.n + 1)
        digest = driver.tree.digest()
        assert digest == combined(znodes_sum(driver.tree.znodes), driver.tree.sessions.values())
        assert len(digest) == 15


def test_the_digest_shows_every_write_and_undoing_it_by_hand_does_not_restore_it(client: Caller) -> None:
    seen = [client.driver.tree.digest()]
    for request in (Create("/a", b""), Delete("/a"), Authenticate((Identity("digest", "me:x"),))):
        client.do(request)
        seen.append(client.driver.tree.digest())
    assert len(set(seen)) == len(seen)


def test_what_waits_for_the_digest_is_bounded_by_the_znodes(driver: TreeDriver, client: Caller) -> None:
    for _ in range(100):
        client.do(Create("/lock-", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL))
        client.do(Delete(next(path for path in driver.tree.znodes if path.startswith("/lock-"))))
    assert set(driver.tree._store.sum.changed) == {"/"}


def test_an_image_is_frozen(driver: TreeDriver, client: Caller) -> None:
    client.apply(Create("/a", b"1"), xid=1)
    image = driver.tree.image()
    frozen = (image.zxid, dict(image.znodes), {key: each.copy() for key, each in image.sessions.items()})
    client.apply(SetData("/a", b"2"), xid=2)
    client.attach(Identity("digest", "me:x"))
    driver.open(session_id=2)
    assert (image.zxid, image.znodes, image.sessions) == frozen


def test_a_tree_restored_from_an_image_goes_on_as_the_original(driver: TreeDriver, client: Caller) -> None:
    for path in ("/b", "/a", "/a/x"):
        client.apply(Create(path, b""), xid=client.n + 1)
    client.do(Create("/a/e-", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL))
    client.do(Create("/c", b"", mode=CreateMode.CONTAINER))
    original, restored = driver.tree, Tree(driver.tree.image())
    assert restored.image() == original.image()
    assert restored.digest() == original.digest()
    start = len(driver.log)
    client.apply(Create("/c/y", b""), xid=9, floor=2)
    client.do(Delete("/c/y"))
    client.do(Create("/a/e-", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL))
    driver.expire(client)
    for zxid, txn in driver.log[start:]:
        restored.apply(zxid, txn)
    assert restored.image() == original.image()
    assert restored.digest() == original.digest()
    assert restored.reapable(0) == original.reapable(0) == ["/c"]
    for request in (GetChildren("/a"), GetChildrenPage("/")):
        assert restored.read(request, SessionId(0), ()) == original.read(request, SessionId(0), ())


def test_a_restored_tree_does_not_change_its_image(driver: TreeDriver, client: Caller) -> None:
    image = driver.tree.image()
    frozen = (dict(image.znodes), {key: each.copy() for key, each in image.sessions.items()})
    driver.tree = Tree(image)
    client.apply(Create("/a", b""), xid=1)
    assert (image.znodes, image.sessions) == frozen


def test_the_paths_of_children_are_the_strings_of_the_znodes(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/a", b""))
    client.do(Create("/a/b", b""))
    for tree in (driver.tree, Tree(driver.tree.image())):
        keys = {path: path for path in tree.znodes}
        held = [path for children in tree._store.children.values() for path in children]
        assert held
        assert all(keys[path] is path for path in held)
        assert "/a/b" not in tree._store.children  # a childless node has no index
