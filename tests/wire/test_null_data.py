"""Data that is null is not the same as empty data to ZooKeeper's clients: it stays null wherever it goes."""

import pytest

from tests.zookeeper.frames import OPEN, buffer, connect, flag, frame, int32, request, text
from zk.importing.fields import FileReader
from zk.model.acl import OPEN_ACL
from zk.model.data import NO_DATA
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import ConnectReply, DataReply, Reply
from zk.model.requests import Call, Create, CreateMode, GetData, Multi, OpenSession, Restore, SetData, Txn, Write
from zk.model.znode import Znode
from zk.tree.digest import znode_hash
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Tree
from zk.wire import native, txn, zookeeper
from zk.wire.snapshot import chunks, load


def node(data: bytes) -> Znode:
    return Znode(data, OPEN_ACL, Zxid(1), Zxid(1), Zxid(1), 1, 1, 0, 0, 0, SessionId(0), 0, CreateMode.PERSISTENT, 0)


def logged(write: Write) -> Write:
    """The write as it comes out of the log."""
    body = txn.encode_body(Txn(0, SessionId(1), Zxid(1), 1, 0, 0, write))
    return txn.decode(txn.stamp(5, body)).request


def asked(connection: native.ServerConnection | zookeeper.ServerConnection, data: bytes) -> list[Call]:
    return [call for call in connection.receive(data) if isinstance(call.request, Create | SetData)]


@pytest.mark.parametrize("data", [b"", NO_DATA])
def test_the_log_keeps_it(data: bytes) -> None:
    create, set_data = logged(Create("/a", data)), logged(SetData("/a", data))
    multi, restore = logged(Multi((Create("/a", data),))), logged(Restore((("/a", node(data)),)))
    assert isinstance(create, Create)
    assert isinstance(set_data, SetData)
    assert isinstance(multi, Multi)
    assert isinstance(multi.operations[0], Create)
    assert isinstance(restore, Restore)
    kept = (create.data, set_data.data, multi.operations[0].data, restore.nodes[0][1].data)
    assert kept == (b"",) * 4
    assert [each is NO_DATA for each in kept] == [data is NO_DATA] * 4


def test_the_tree_and_its_snapshot_keep_it_and_its_digest_shows_it() -> None:
    driver = TreeDriver()
    opened = OpenSession(SessionId(1), b"s" * 16, 10_000, (), ServerId(1), 0)
    client = Caller(driver, SessionId(1), b"s" * 16, driver.serve(opened).zxid)
    client.do(Create("/null", NO_DATA))
    client.do(Create("/empty", b""))
    loaded = Tree(load(chunks(driver.tree.image())))
    assert [tree.znodes[path].data is NO_DATA for tree in (driver.tree, loaded) for path in ("/null", "/empty")] == [
        True, False, True, False,
    ]  # fmt: skip
    assert loaded.digest() == driver.tree.digest()
    assert loaded.znodes["/null"].stat.data_length == 0
    assert znode_hash("/a", node(NO_DATA)) != znode_hash("/a", node(b""))


def test_zookeepers_clients_send_it_and_see_it() -> None:
    connection = zookeeper.ServerConnection()
    connection.receive(connect())
    for op, rest in ((1, OPEN + int32(0)), (5, int32(-1))):
        for data in (None, b""):
            [call] = asked(connection, request(1, op, text("/a"), buffer(data), rest))
            assert isinstance(call.request, Create | SetData)
            assert (call.request.data is NO_DATA) == (data is None)
    for data, expected in ((NO_DATA, None), (b"", b"")):
        reader = zookeeper.ServerConnection()
        reader.receive(connect())
        reader.send([Reply(0, Zxid(0), ConnectReply(SessionId(1), bytes(16), 10_000))])
        reader.receive(request(2, 4, text("/a"), flag(False)))
        assert reader.send([Reply(0, Zxid(9), node(data))])[20:24] == buffer(expected)[:4]


def test_zookeepers_files_have_it() -> None:
    assert FileReader(buffer(None)).data() is NO_DATA
    assert FileReader(buffer(b"")).data() is not NO_DATA


def test_native_clients_see_empty_data() -> None:
    server = native.ServerConnection()
    client = native.ClientConnection("test")
    server.receive(client.hello())
    client.receive(server.greeting())
    [call] = asked(server, client.call(Call(1, SetData("/a", NO_DATA))))
    assert isinstance(call.request, SetData)
    assert call.request.data is NO_DATA
    server.receive(client.call(Call(2, GetData("/a"))))
    [answer] = client.receive(server.send([Reply(2, Zxid(9), node(NO_DATA))]))
    assert isinstance(answer, Reply)
    assert answer.body == DataReply(b"", node(b"").stat)


def test_it_is_empty_and_says_what_it_is() -> None:
    assert NO_DATA == b""
    assert repr(NO_DATA) == "NO_DATA"
    assert frame(NO_DATA) == frame(b"")
