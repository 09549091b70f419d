"""A tree is brought here with its stats: nothing is seen before all of it is, then everything goes on from there."""

from dataclasses import replace

import pytest

from zk.model.acl import OPEN_ACL, READ_ACL, Acl
from zk.model.errors import (
    APIError,
    BadArgumentsError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
)
from zk.model.events import EventType
from zk.model.limits import RESTORED_EPOCH_MAX
from zk.model.paths import RESERVED
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE, Created
from zk.model.requests import BeginRestore, Create, CreateMode, FinishRestore, GetChildren, Restore, SetAcl, SetData
from zk.model.znode import Znode
from zk.model.zxids import make_zxid
from zk.tree.changes import Change
from zk.tree.digest import combined, restoration_hash, restored_hash, znodes_sum
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Applied, Tree
from zk.wire import snapshot

LAST = Zxid(90)
OWN_ACL = (Acl(31, "digest", "ann:hash"), Acl(1, "world", "anyone"))


def znode(data: bytes = b"", num_children: int = 0, **changes: object) -> Znode:
    made = Znode(
        data, OPEN_ACL, Zxid(5), Zxid(7), Zxid(9), 1_000, 2_000, 3, 8, 2, SessionId(0), num_children, CreateMode(0), 0
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # what is changed is named by the caller


TREE = {
    "/": znode(num_children=2, created=14),
    "/zookeeper": znode(num_children=1),
    "/zookeeper/quota": znode(),
    "/app": znode(b"app", 2, acl=OWN_ACL, created=77),
    "/app/a": znode(b"a", aversion=-1),
    "/app/box": znode(mode=CreateMode.CONTAINER),
}


@pytest.fixture
def driver() -> TreeDriver:
    """Its log has gone on for a while."""
    driver = TreeDriver()
    for _ in range(LAST + 1):
        driver.reap("/")
    return driver


def bring(client: Caller, tree: dict[str, Znode]) -> None:
    client.do(BeginRestore(LAST))
    client.do(Restore(tuple(tree.items())))


def refusal(applied: Applied) -> APIError:
    assert isinstance(applied.body, APIError)
    return applied.body


def test_nothing_is_seen_before_the_end_and_then_all_of_it(client: Caller, driver: TreeDriver) -> None:
    before = dict(driver.tree.znodes)
    bring(client, TREE)
    assert driver.tree.znodes == before
    assert client.do(FinishRestore(len(TREE))) == DONE
    assert driver.tree.znodes == {
        **TREE,
        "/zookeeper": replace(TREE["/zookeeper"], num_children=2),  # this service has a node of its own there
        "/zookeeper/config": before["/zookeeper/config"],
    }
    names = client.read(GetChildren("/app"))
    assert sorted(names.names) == ["a", "box"]  # type: ignore[union-attr]  # the answer to GetChildren


def test_counters_go_on_where_they_were(client: Caller, driver: TreeDriver) -> None:
    bring(client, TREE)
    client.do(FinishRestore(len(TREE)))
    created = client.do(Create("/q-", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL))
    assert isinstance(created, Created)
    assert created.path == "/q-0000000014"
    client.do(SetData("/app/a", b"new", 3))
    assert driver.tree.znodes["/app/a"].version == 4
    client.do(SetAcl("/app/a", OPEN_ACL, -1))
    assert driver.tree.znodes["/app/a"].aversion == 0


def test_watchers_are_told_of_every_node_when_it_is_seen(client: Caller, driver: TreeDriver) -> None:
    bring(client, TREE)
    applied = client.apply(FinishRestore(len(TREE)))
    zxid = driver.tree.zxid
    assert applied.changes == [
        Change(EventType.CREATED, "/app", zxid, OWN_ACL, OPEN_ACL),
        Change(EventType.CREATED, "/app/a", zxid, OPEN_ACL, OWN_ACL),
        Change(EventType.CREATED, "/app/box", zxid, OPEN_ACL, OWN_ACL),
    ]


def test_containers_ttls_and_quotas_are_looked_after(client: Caller, driver: TreeDriver) -> None:
    tree = {
        **TREE,
        "/": znode(num_children=3),
        "/zookeeper/quota": znode(num_children=1),
        "/zookeeper/quota/app": znode(num_children=2),
        "/zookeeper/quota/app/zookeeper_limits": znode(b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3"),
        "/zookeeper/quota/app/zookeeper_stats": znode(b"count=9,bytes=9"),
        "/ttl": znode(mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=5_000),
    }
    bring(client, tree)
    client.do(FinishRestore(len(tree)))
    assert driver.tree.reapable(8_000) == ["/app/box", "/ttl"]
    assert driver.tree.znodes["/zookeeper/quota/app/zookeeper_stats"].data == b"count=3,bytes=4"
    assert refusal(client.apply(Create("/app/b", b""))).code == -102  # its ACL was kept
    assert refusal(driver.open(session_id=9).apply(Create("/app/b", b""))) == NoAuthError("/app")


def test_what_tells_of_this_ensemble_stays_as_it_is(client: Caller, driver: TreeDriver) -> None:
    before = driver.tree.znodes["/zookeeper/config"]
    tree = {
        **TREE,
        "/zookeeper": znode(num_children=2),
        "/zookeeper/config": znode(b"server.1=there", acl=READ_ACL),
    }
    bring(client, tree)
    client.do(FinishRestore(len(tree)))
    assert driver.tree.znodes["/zookeeper/config"] == before
    hashed = restored_hash(driver.tree.zxid)
    assert driver.tree.digest() == combined(znodes_sum(driver.tree.znodes), driver.tree.sessions.values(), hashed)


def test_a_node_may_be_brought_again_and_taken_back(client: Caller, driver: TreeDriver) -> None:
    bring(client, TREE)
    client.do(Restore((("/app", znode(b"later", 1)), ("/app/a", znode(b"new"))), gone=("/app/box",)))
    client.do(FinishRestore(len(TREE) - 1))
    assert {path: node.data for path, node in driver.tree.znodes.items() if path.startswith("/app")} == {
        "/app": b"later",
        "/app/a": b"new",
    }


@pytest.mark.parametrize("ending", ["close", "expire"])
def test_it_is_dropped_when_its_session_ends(client: Caller, driver: TreeDriver, ending: str) -> None:
    empty = Tree(driver.tree.image())
    bring(client, TREE)
    assert driver.tree.to_exceed == LAST
    driver.expire(client)
    assert driver.tree.to_exceed == 0
    other = driver.open(session_id=2)
    assert isinstance(refusal(other.apply(FinishRestore(len(TREE)))), BadArgumentsError)
    assert driver.tree.znodes == empty.znodes


def test_a_session_that_moves_goes_on(client: Caller, driver: TreeDriver) -> None:
    bring(client, TREE)
    client.attach()
    client.do(FinishRestore(len(TREE)))
    assert "/app/a" in driver.tree.znodes


def test_only_one_session_at_a_time(client: Caller, driver: TreeDriver) -> None:
    bring(client, TREE)
    other = driver.open(session_id=2)
    assert isinstance(refusal(other.apply(BeginRestore(LAST))), BadArgumentsError)
    assert isinstance(refusal(other.apply(Restore((("/", znode()),)))), BadArgumentsError)
    client.do(BeginRestore(LAST))  # its own it may begin again
    assert isinstance(refusal(client.apply(FinishRestore(len(TREE)))), BadArgumentsError)


def test_only_where_there_is_no_tree(client: Caller) -> None:
    bring(client, TREE)
    client.do(Create("/mine", b""))
    error = refusal(client.apply(FinishRestore(len(TREE))))
    assert (type(error), error.path) == (NotEmptyError, "/mine")
    assert isinstance(refusal(client.apply(BeginRestore(LAST))), NotEmptyError)


def test_only_for_those_who_may_administer_the_root(client: Caller) -> None:
    client.do(SetAcl("/", READ_ACL))
    assert isinstance(refusal(client.apply(BeginRestore(LAST))), NoAuthError)


def test_zxids_of_the_service_must_be_above_those_that_are_brought(client: Caller, driver: TreeDriver) -> None:
    above = make_zxid(2, 7)
    client.do(BeginRestore(above))
    client.do(Restore((("/", znode(num_children=1, pzxid=above)), ("/a", znode(czxid=above)))))
    assert driver.tree.to_exceed == above
    error = refusal(client.apply(FinishRestore(2)))
    wait = f"the zxids of the service are not above {above:#x} yet: wait until its status shows that"
    assert error == BadArgumentsError(hint=wait)
    client.n += 1
    txn = replace(driver.log[-1][1], n=client.n)
    assert driver.tree.apply(make_zxid(3, 1), txn).body == DONE


def test_zxids_of_an_epoch_that_is_too_high_are_refused(client: Caller) -> None:
    client.do(BeginRestore(make_zxid(RESTORED_EPOCH_MAX, 5)))
    error = refusal(client.apply(BeginRestore(make_zxid(RESTORED_EPOCH_MAX + 1, 5))))
    assert error.hint == "zxid 0x8000000000005 is of epoch 524288; 524287 is the highest that can be taken over"


@pytest.mark.parametrize(
    ("request_", "path", "hint"),
    [
        (Restore((("/b/c", znode()),)), "/b/c", "its parent must be brought before it"),
        (Restore((("/app/a/x", znode()),), gone=("/app/a",)), "/app/a/x", "its parent must be brought before it"),
        (Restore((("/b//", znode()),)), "/b//", "a path must not end with '/'"),
        (Restore((), gone=("/app",)), "/app", "its children must be taken back before it"),
        (Restore((), gone=("/nothing",)), "/nothing", "it was not brought, so it can't be taken back"),
        (Restore((), gone=("/app/a", "/app/a")), "/app/a", "it was not brought, so it can't be taken back"),
        (
            Restore((("/e", znode(owner=SessionId(4), mode=CreateMode.EPHEMERAL)),)),
            "/e",
            "an ephemeral belongs to its session, and can't be brought without it",
        ),
        (
            Restore((("/t", znode(mode=CreateMode.PERSISTENT_WITH_TTL)),)),
            "/t",
            "a TTL of 0 ms does not go with PERSISTENT_WITH_TTL",
        ),
        (Restore((("/z", znode(mzxid=LAST + 1)),)), "/z", "its zxids must not be above 0x5a, as was said first"),
    ],
)
def test_a_piece_that_is_wrong_is_refused_as_a_whole(
    client: Caller, driver: TreeDriver, request_: Restore, path: str, hint: str
) -> None:
    bring(client, TREE)
    digest = driver.tree.digest()
    piece = Restore((*request_.nodes, ("/new", znode())), request_.gone)
    assert refusal(client.apply(piece)) == BadArgumentsError(path, hint)
    client.n -= 1  # as if it had not been asked
    driver.tree.sessions[client.session_id].n -= 1
    assert driver.tree.digest() == digest


def test_what_is_missing_is_told(client: Caller) -> None:
    bring(client, TREE)
    assert refusal(client.apply(FinishRestore(9))).hint == "6 nodes were brought, not 9"
    client.do(Restore((("/app", znode(num_children=5)),)))
    error = refusal(client.apply(FinishRestore(len(TREE))))
    assert (error.path, error.hint) == ("/app", "its num_children is 5, and 2 children were brought")


def test_it_is_in_snapshots_and_digests(client: Caller, driver: TreeDriver) -> None:
    bring(client, TREE)
    client.do(Restore((("/app/a", znode(b"again")),), gone=("/app/box",)))
    tree = driver.tree
    again = Tree(snapshot.load(list(snapshot.chunks(tree.image(), 2))))
    assert (again.image(), again.digest()) == (tree.image(), tree.digest())
    brought = tree.image().brought
    assert brought is not None
    hashed = restoration_hash(client.session_id, LAST, znodes_sum(brought.znodes))
    assert tree.digest() == combined(znodes_sum(tree.znodes), tree.sessions.values(), hashed)
    after = replace(TREE["/app"], num_children=1)
    for each in (tree, again):
        driver.tree = each
        client.n = each.sessions[client.session_id].n
        client.do(Restore((("/app", after),)))
        client.do(FinishRestore(len(TREE) - 1))
    assert (again.image(), again.digest()) == (tree.image(), tree.digest())
    assert tree.digest() == combined(znodes_sum(tree.znodes), tree.sessions.values(), restored_hash(tree.zxid))


def test_who_compares_zxids_with_older_ones_sees_that_the_reserved_nodes_changed(
    client: Caller, driver: TreeDriver
) -> None:
    before = driver.tree.zxid
    bring(client, TREE)
    client.do(FinishRestore(len(TREE)))
    at = driver.tree.zxid
    for tree in (driver.tree, Tree(snapshot.load(list(snapshot.chunks(driver.tree.image()))))):
        assert tree.znodes_since(at) == tree.znodes
        changed = {path: (znode.mzxid, znode.pzxid) for path, znode in tree.znodes_since(before).items()}
        same = {path: (znode.mzxid, znode.pzxid) for path, znode in tree.znodes.items()}
        assert changed == {**same, **dict.fromkeys(RESERVED, (at, at))}


def test_the_names_are_taken_from_then_on(client: Caller) -> None:
    bring(client, {**TREE, "/app": znode(num_children=2)})
    assert isinstance(refusal(client.apply(Create("/app/a", b""))), NoNodeError)
    client.do(BeginRestore(LAST))
    bring(client, {**TREE, "/app": znode(num_children=2)})
    client.do(FinishRestore(len(TREE)))
    assert isinstance(refusal(client.apply(Create("/app/a", b""))), NodeExistsError)
