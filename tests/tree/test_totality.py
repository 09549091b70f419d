"""Whatever a client may send is answered, never raised; and the state stays whole."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from zk.model.acl import Acl, Identity
from zk.model.errors import APIError
from zk.model.record import Zxid
from zk.model.requests import (
    Authenticate,
    Check,
    ClientWrite,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    GetNode,
    Multi,
    Operation,
    SetAcl,
    SetData,
    TreeRead,
)
from zk.tree.digest import combined, znodes_sum
from zk.tree.testing import TreeDriver
from zk.tree.tree import Tree

TEXT = st.text(max_size=6) | st.text("/.az", max_size=6) | st.just("/zookeeper/quota/a/zookeeper_limits")
PATHS = TEXT | TEXT.map(lambda text: "/" + text)
BYTES = st.binary(max_size=8) | st.sampled_from([b"count=1,bytes=1=;countHardLimit=0;byteHardLimit=9", b"count=-9"])
I64 = st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 2)
INT63 = st.integers(0, 2**63 - 1)  # as large as the numbers are that the wires let through
SCHEMES = st.sampled_from(["world", "auth", "digest", "ip", "x509", "sasl", "super", ""]) | TEXT
IDS = st.sampled_from(["anyone", "a:b", "10.0.0.0/8", "::/0"]) | TEXT
ACLS = st.lists(st.builds(Acl, I64, SCHEMES, IDS), max_size=3).map(tuple)
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Create, PATHS, BYTES, ACLS, st.sampled_from(CreateMode), I64),
    st.builds(Create, PATHS, BYTES),
    st.builds(Delete, PATHS, I64),
    st.builds(SetData, PATHS, BYTES, I64),
    st.builds(SetAcl, PATHS, ACLS, I64),
    st.builds(Check, PATHS, I64, INT63.map(Zxid)),
)
WRITES: st.SearchStrategy[ClientWrite] = st.one_of(
    OPERATIONS,
    st.lists(OPERATIONS, max_size=4).map(lambda operations: Multi(tuple(operations))),
    st.builds(Authenticate, st.lists(st.builds(Identity, SCHEMES, IDS), max_size=3).map(tuple)),
)
READS: st.SearchStrategy[TreeRead] = st.one_of(
    st.builds(GetData, PATHS),
    st.builds(Exists, PATHS),
    st.builds(GetChildren, PATHS),
    st.builds(GetAcl, PATHS),
    st.builds(GetNode, PATHS),
    st.builds(CountDescendants, PATHS),
    st.builds(GetEphemerals, PATHS),
    st.builds(GetChildrenPage, PATHS, TEXT, TEXT, I64, st.booleans()),
)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(WRITES, INT63, I64), max_size=12),
    st.lists(READS, max_size=6),
)
def test_everything_is_answered(writes: list[tuple[ClientWrite, int, int]], reads: list[TreeRead]) -> None:
    driver = TreeDriver()
    client = driver.open()
    for write, xid, floor in writes:
        client.apply(write, xid, floor)
    for read in reads:
        with contextlib.suppress(APIError):  # an answer like any other
            client.read(read)
    tree = driver.tree
    assert tree.digest() == combined(znodes_sum(tree.znodes), tree.sessions.values())
    assert Tree(tree.image()).digest() == tree.digest()
    tree.reapable(2**62)
    driver.expire(client)
    assert tree.sessions == {}
    assert not any(znode.owner for znode in tree.znodes.values())
