"""What ZooKeeper's transactions do to its tree: one entry of the log after the other.

Source: Apache ZooKeeper 3.4 to 3.9, SerializeUtils and DataTree.
"""

from collections.abc import Callable
from typing import NamedTuple

from zk.importing.log import LoggedTxn, TxnReader
from zk.importing.tree import CONTAINER_OWNER, ZooKeeperTree, ttl_owner
from zk.model.errors import MarshallingError
from zk.model.record import Zxid
from zk.wire.zookeeper.numbers import OpCode

_NOT_COUNTED = -1


class _Header(NamedTuple):
    session: int
    time_ms: int


def replay(tree: ZooKeeperTree, txn: LoggedTxn) -> int | None:
    """Apply the transaction; what the log says of the tree's digest behind it, if anything. MarshallingError if it
    can't be understood."""
    tree.zxid = Zxid(txn.zxid)
    reader = TxnReader(txn.body)
    _apply(tree, txn.type, reader, _Header(txn.session, txn.time_ms))
    return reader.digest()


def _apply(tree: ZooKeeperTree, kind: int, reader: TxnReader, header: _Header) -> None:
    apply = _KINDS.get(kind)
    if apply is None:
        raise MarshallingError("", f"a transaction of type {kind} is not known here")
    apply(tree, reader, header)


def _create(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    path, data, acl, ephemeral = reader.string(), reader.data(), reader.acl(), reader.flag()
    count = reader.int32() if reader.left >= 4 else _NOT_COUNTED  # version 3.3 did not log it
    tree.create(path, data, acl, header.session if ephemeral else 0, count, header.time_ms)


def _create_container(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    path, data, acl, count = reader.string(), reader.data(), reader.acl(), reader.int32()
    tree.create(path, data, acl, CONTAINER_OWNER, count, header.time_ms)


def _create_ttl(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    path, data, acl, count = reader.string(), reader.data(), reader.acl(), reader.int32()
    tree.create(path, data, acl, ttl_owner(reader.int64()), count, header.time_ms)


def _delete(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    tree.delete(reader.string())


def _set_data(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    path, data = reader.string(), reader.data()
    tree.set_data(path, data, reader.int32(), header.time_ms)


def _set_acl(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    path, acl = reader.string(), reader.acl()
    tree.set_acl(path, acl, reader.int32())


def _check(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    reader.string()
    reader.int32()


def _error(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    """A request that was refused: it has its zxid, and no effect."""
    reader.int32()


def _multi(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    """All or nothing: one that failed says so in one of its parts, and has no effect."""
    parts = reader.vector(lambda: (reader.int32(), reader.data()), 8) or []
    if any(kind == OpCode.ERROR for kind, _ in parts):
        return
    for kind, body in parts:
        _apply(tree, kind, TxnReader(body), header)


def _open_session(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    tree.sessions[header.session] = reader.int32()


def _close_session(tree: ZooKeeperTree, reader: TxnReader, header: _Header) -> None:
    """Since version 3.6, with the ephemerals that go with it, unless that is switched off."""
    told = (reader.vector(reader.string, 4) or []) if reader.left and not reader.at_digest else []
    tree.close_session(header.session, tuple(told))


_KINDS: dict[int, Callable[[ZooKeeperTree, TxnReader, _Header], None]] = {
    OpCode.CREATE: _create,
    OpCode.CREATE2: _create,
    OpCode.CREATE_CONTAINER: _create_container,
    OpCode.CREATE_TTL: _create_ttl,
    OpCode.DELETE: _delete,
    OpCode.DELETE_CONTAINER: _delete,
    OpCode.SET_DATA: _set_data,
    OpCode.RECONFIG: _set_data,
    OpCode.SET_ACL: _set_acl,
    OpCode.CHECK: _check,
    OpCode.MULTI: _multi,
    OpCode.ERROR: _error,
    OpCode.CREATE_SESSION: _open_session,
    OpCode.CLOSE_SESSION: _close_session,
}
