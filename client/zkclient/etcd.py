"""The service with the words of etcd's clients: put, get, delete, prefixes, leases, watches, transactions, locks.

    client = Client(host="localhost", port=2181)
    client.put("/config", "config.json")
    print(client.get("/config"))

Thin, over `ZooKeeper`, whose nodes the keys are. What is different from etcd:

- A key is a path. One without a slash in front gets it; `a//b` and a slash at the end are refused.
- Parents are made by themselves, as containers: they go when their last child goes. Till then they are keys too, with
  an empty value, and a key with others below it can't be deleted.
- The place of a revision is taken by the zxid: `stat.mzxid` of a key, `zxid` of an event.
- `get_prefix` reads key by key, not at one instant. There is no reading of the past.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from ssl import SSLContext
from types import TracebackType
from typing import Literal, Self, overload

from zk.model.errors import APIError, BadArgumentsError, NodeExistsError, NoNodeError
from zk.model.events import EventType, WatchEvent
from zk.model.paths import parent
from zk.model.record import Zxid, record
from zk.model.requests import GetData
from zk.model.stat import Stat
from zkclient.blocking import Lock, Transaction, ZooKeeper
from zkclient.errors import ClientClosedError, OperationTimeoutError, TransactionFailed
from zkclient.hosts import DEFAULT_PORT
from zkclient.results import NodeData
from zkclient.twins import WatchStream

Relation = Literal["==", "!=", "<", ">"]
Attempt = Callable[[Transaction], object]


@record
class Put:
    """In a transaction: `key` gets `value`."""

    key: str
    value: str | bytes


@record
class Get:
    """In a transaction: its response is what `Client.get` gives, at the instant of the comparisons."""

    key: str


@record
class Delete:
    """In a transaction: `key` goes, if it is there. Its response tells whether it was."""

    key: str


Operation = Put | Get | Delete
Response = NodeData | bool | None


@record
class Value:
    """A comparison of a key's value; that of a missing key is unequal to everything."""

    key: str
    relation: Relation
    value: str | bytes


@record
class Version:
    """A comparison of how often a key was put; 0: there is no such key."""

    key: str
    relation: Relation
    version: int


@record
class ModZxid:
    """A comparison of the transaction that last put a key; 0: there is no such key."""

    key: str
    relation: Relation
    zxid: int


Comparison = Value | Version | ModZxid


class Client:
    """A client of the service at `host` and `port`. Errors are those of `ZooKeeper`; `timeout` (seconds) is the deadline
    of a call. It connects at the first one."""

    def __init__(
        self,
        host: str = "localhost",
        port: int = DEFAULT_PORT,
        *,
        timeout: float = 10.0,
        auth: Sequence[tuple[str, str | bytes]] = (),
        tls: SSLContext | None = None,
    ) -> None:
        bracketed = f"[{host}]" if ":" in host else host
        self.zk: ZooKeeper = ZooKeeper(f"{bracketed}:{port}", timeout=timeout, auth=auth, tls=tls)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session. Keys with a lease stay until it runs out."""
        self.zk.close()

    # ---- keys

    def put(self, key: str, value: str | bytes, *, lease: "Lease | None" = None) -> None:
        """Set a key. With `lease`, it goes when the lease runs out; a key that had one before keeps it otherwise."""
        path = path_of(key)
        if lease is None:
            while True:
                try:
                    self.zk.set(path, value)
                except NoNodeError:
                    if not self.put_if_absent(key, value):
                        continue
                return
        while not self.put_if_absent(key, value, lease=lease):
            self.delete(key)

    def put_if_absent(self, key: str, value: str | bytes, *, lease: "Lease | None" = None) -> bool:
        """Set a key if it is missing. Whether it was."""
        path = path_of(key)
        while True:
            try:
                self.zk.create(path, value, ttl_ms=0 if lease is None else lease.ttl_ms)
            except NodeExistsError:
                return False
            except NoNodeError:
                self.zk.ensure_path(parent(path), container=True)
            else:
                if lease is not None:
                    lease.hold(path)
                return True

    def get(self, key: str) -> NodeData | None:
        """A key's value, which prints as text and unpacks as `value, stat`; None if there is no such key."""
        try:
            return self.zk.get(path_of(key))
        except NoNodeError:
            return None

    def get_prefix(self, prefix: str) -> dict[str, NodeData]:
        """All keys that start with `prefix`, in order, with their values. Not at one instant."""
        start = prefix if prefix.startswith("/") else f"/{prefix}"
        found: dict[str, NodeData] = {}
        try:
            for path in self.zk.walk(_directory(start)):
                node = self.get(path) if path.startswith(start) and path != "/" else None
                if node is not None:
                    found[path] = node
        except NoNodeError:
            return {}
        return dict(sorted(found.items()))

    def delete(self, key: str) -> bool:
        """Remove a key. Whether it was there. Raises NotEmptyError if there are keys below it."""
        try:
            self.zk.delete(path_of(key))
        except NoNodeError:
            return False
        return True

    def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that start with `prefix`; how many. Not in one transaction."""
        return sum(self.delete(key) for key in sorted(self.get_prefix(prefix), key=lambda key: -key.count("/")))

    def replace(self, key: str, old: str | bytes, new: str | bytes) -> bool:
        """Compare and swap: set a key to `new` if it is `old`. Whether it was."""
        return self.transaction([Value(key, "==", old)], [Put(key, new)])[0]

    # ---- transactions

    def transaction(
        self, compare: Sequence[Comparison], success: Sequence[Operation] = (), failure: Sequence[Operation] = ()
    ) -> tuple[bool, tuple[Response, ...]]:
        """Do `success` if all of `compare` hold, else `failure`, as one. Which of them it was, and a response for each
        operation: None for a Put.

            client.transaction([Version("/leader", "==", 0)], [Put("/leader", "me")], [Get("/leader")])

        It is optimistic: all keys are read at one instant, and the writes are done if none of those changed since;
        otherwise it begins again, until the deadline of a call. A key can be named by one write only. That a missing
        key is still missing is made sure by creating it; if it is not put, it is deleted again at once, and watchers
        see both. A key of a lease can be put, but not get a lease here.
        """
        deadline = self.zk.deadline()
        while True:
            keys = {path_of(each.key): None for each in (*compare, *success, *failure)}
            before = self._at_one_instant(tuple(keys))
            held = all(holds(each, before[path_of(each.key)]) for each in compare)
            attempt = success if held else failure
            relevant = {path_of(each.key) for each in (*compare, *attempt)}
            writes = {path_of(each.key): each for each in attempt if not isinstance(each, Get)}
            if not writes or self._written({path: before[path] for path in relevant}, writes):
                return held, tuple(_response(each, before[path_of(each.key)]) for each in attempt)
            if self.zk.overdue(deadline):
                raise OperationTimeoutError("the keys of the transaction kept changing")

    def _at_one_instant(self, paths: Sequence[str]) -> Mapping[str, NodeData | None]:
        found: dict[str, NodeData | None] = {}
        for path, read in zip(paths, self.zk.multi_read([GetData(path) for path in paths]), strict=True):
            if isinstance(read, APIError) and not isinstance(read, NoNodeError):
                raise read
            found[path] = read if isinstance(read, NodeData) else None
        return found

    def _written(self, before: Mapping[str, NodeData | None], writes: Mapping[str, Put | Delete]) -> bool:
        """Do the writes if all is as `before`."""
        for path, node in before.items():
            if node is None and not isinstance(writes.get(path), Delete):
                self.zk.ensure_path(parent(path), container=True)
        transaction = self.zk.transaction()
        for path, node in before.items():
            write = writes.get(path)
            if node is not None:
                transaction.check(path, version=node.stat.version)
