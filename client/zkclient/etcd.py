"""The service with the words of etcd's clients: put, get, delete, prefixes, leases, watches, transactions, locks.

    client = Client(host="localhost", port=2181)
    client.put("/config", "config.json")
    print(client.get("/config"))

Thin, over `ZooKeeper`, whose nodes the keys are. What is different from etcd:

- A key is a path. One without a slash in front gets it; `a//b` and a slash at the end are refused.
- Parents are made by themselves, and stay. They are keys too, with an empty value until one is set, and a key with
  others below it can't be deleted.
- The place of a revision is taken by the zxid: `stat.mzxid` of a key, `zxid` of an event.
- `get_prefix` reads key by key, not at one instant. There is no reading of the past.
"""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from ssl import SSLContext
from time import monotonic
from types import TracebackType
from typing import Literal, Self, TypeVar, assert_never

from zk.model.errors import (
    APIError,
    BadArgumentsError,
    BadVersionError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    ZKError,
)
from zk.model.events import EventType, WatchEvent
from zk.model.paths import parent
from zk.model.record import Zxid, record
from zk.model.requests import GetData
from zkclient.blocking import Lock, ZooKeeper
from zkclient.errors import ClientClosedError, OperationTimeoutError, TransactionFailed
from zkclient.hosts import DEFAULT_PORT
from zkclient.results import NodeData
from zkclient.transaction import to_bytes
from zkclient.twins import WatchStream

Relation = Literal["==", "!=", "<", ">"]
C = TypeVar("C", int, bytes)
log: logging.Logger = logging.getLogger(__name__)


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
    """A client of the service at `host` and `port`, which connects at its first call. Errors are those of `ZooKeeper`;
    `timeout` (seconds) is the deadline of a call."""

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
        self._timeout = timeout
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
                self.zk.ensure_path(parent(path))
            else:
                if lease is not None:
                    lease.hold(path)
                return True

    def get(self, key: str) -> NodeData | None:
        """A key's value, which prints as text and unpacks as `value, stat`; None if there is no such key."""
        try:
            return self.zk.get(path_of(key), read="linearizable")
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
        until = monotonic() + self._timeout
        while True:
            keys = {path_of(each.key): None for each in (*compare, *success, *failure)}
            before = self._at_one_instant(tuple(keys))
            held = all(holds(each, before[path_of(each.key)]) for each in compare)
            attempt = success if held else failure
            relevant = {path_of(each.key) for each in (*compare, *attempt)}
            writes = [each for each in attempt if not isinstance(each, Get)]
            if not writes or self._written({path: before[path] for path in relevant}, writes):
                return held, tuple(_response(each, before[path_of(each.key)]) for each in attempt)
            if monotonic() >= until:
                raise OperationTimeoutError("the keys of the transaction kept changing")

    def _at_one_instant(self, paths: Sequence[str]) -> Mapping[str, NodeData | None]:
        found: dict[str, NodeData | None] = {}
        for path, read in zip(
            paths, self.zk.multi_read([GetData(path) for path in paths], read="linearizable"), strict=True
        ):
            if isinstance(read, APIError) and not isinstance(read, NoNodeError):
                raise read
            found[path] = read if isinstance(read, NodeData) else None
        return found

    def _written(self, before: Mapping[str, NodeData | None], writes: Sequence[Put | Delete]) -> bool:
        """Do the writes if all is still as `before`; whether it was."""
        by_path = {path_of(write.key): write for write in writes}
        if len(by_path) < len(writes):
            raise BadArgumentsError(hint="a transaction may name a key by one write only")
        transaction = self.zk.transaction()
        for path, node in before.items():
            write = by_path.get(path)
            if node is None:
                self.zk.ensure_path(parent(path))
                transaction.create(path, write.value if isinstance(write, Put) else b"")
                if not isinstance(write, Put):
                    transaction.delete(path)
            else:
                transaction.check(path, version=node.stat.version, czxid=node.stat.czxid)
                if isinstance(write, Put):
                    transaction.set(path, write.value)
                elif write is not None:
                    transaction.delete(path)
        try:
            transaction.commit()
        except TransactionFailed as failed:
            if isinstance(failed.cause, BadVersionError | NoNodeError | NodeExistsError):
                return False
            raise
        return True

    # ---- leases, watches, locks

    def lease(self, ttl: float) -> "Lease":
        """A lease of `ttl` seconds, for `put` and `put_if_absent`. See `Lease`."""
        return Lease(self, ttl)

    def watch(
        self,
        key: str,
        *,
        prefix: bool = False,
        from_zxid: Zxid | int | None = None,
        callback: Callable[[WatchEvent], object] | None = None,
    ) -> "Events":
        """The changes of a key, or of all keys that start with it, as an iterator which blocks until there is one.

        With `from_zxid`, changes in that transaction and behind it come first. An event tells type, path and zxid;
        the value is to be had by `get`. RESYNC says that some were too long ago to be told: read everything again.
        With `callback` a thread calls it for every event, until `close`.
        """
        events = Events(self.zk, key if key.startswith("/") else f"/{key}", prefix, from_zxid)
        if callback is not None:
            threading.Thread(target=_tell_all, args=(events, callback), name="zkclient etcd", daemon=True).start()
        return events

    def lock(self, key: str, *, timeout: float | None = None) -> Lock:
        """See `zkclient.Lock`: it holds as long as the session lives, and needs no lease."""
        return self.zk.Lock(path_of(key), timeout=timeout)


class Lease:
    """Keys that were put with it vanish when it was not refreshed for `ttl` seconds. The service looks for such keys
    once a minute.

        with client.lease(10) as lease:                 # refreshed by a thread, and revoked at the end
            client.put("/services/web/1", "10.0.0.1:80", lease=lease)

    Without the block, call `refresh` in time. They are TTL nodes: refreshing writes each key's value again, which those
    who watch it see. The lease is known to this object only.
    """

    def __init__(self, client: Client, ttl: float) -> None:
        self.ttl_ms: int = round(ttl * 1000)
        self._zk = client.zk
        self._czxids: dict[str, Zxid] = {}
        self._left = threading.Event()
        self._keeper: threading.Thread | None = None

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that were put with it and are not known to be gone."""
        return tuple(self._czxids)

    def hold(self, path: str) -> None:
        """For the client: this key was just made with the lease."""
        stat = self._zk.exists(path)
        if stat is not None:
            self._czxids[path] = stat.czxid

    def refresh(self) -> None:
        """Let the keys live for `ttl` seconds from now on."""
        for path, czxid in tuple(self._czxids.items()):
            try:
                data, stat = self._zk.get(path)
                with self._zk.transaction() as transaction:
                    transaction.check(path, czxid=czxid).set(path, data, version=stat.version)
            except NoNodeError:
                self._czxids.pop(path, None)
            except TransactionFailed as failed:
                if failed.index == 0:
                    self._czxids.pop(path, None)  # it is gone, or another one's
                elif not isinstance(failed.cause, BadVersionError):
                    raise  # it was put just now: that refreshed it

    def revoke(self) -> None:
        """Remove the keys now; one with others below it stays until those are gone."""
        self._leave()
        for path, czxid in tuple(self._czxids.items()):
            self._czxids.pop(path, None)
            try:
                with self._zk.transaction() as transaction:
                    transaction.check(path, czxid=czxid).delete(path)
            except TransactionFailed as failed:
                if failed.index == 1 and not isinstance(failed.cause, NotEmptyError):
                    raise

    def __enter__(self) -> Self:
        self._keeper = threading.Thread(target=self._keep, name="zkclient lease", daemon=True)
        self._keeper.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.revoke()

    def _keep(self) -> None:
        while not self._left.wait(self.ttl_ms / 3000):
            try:
                self.refresh()
            except ClientClosedError:
                return
            except ZKError:
                log.exception("a lease could not be refreshed")

    def _leave(self) -> None:
        self._left.set()
        if self._keeper is not None:
            self._keeper.join()


class Events:
    """`for event in events`. It ends when it is closed: by `close`, by leaving its `with` block, or with the client."""

    def __init__(self, zk: ZooKeeper, key: str, prefix: bool, from_zxid: Zxid | int | None) -> None:
        self._key = key
        self._prefix = prefix
        since = None if from_zxid is None else max(from_zxid - 1, 0)
        self._stream: WatchStream = zk.watch(_directory(key) if prefix else key, recursive=prefix, since=since)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        while True:
            event = next(self._stream)
            if event.type is EventType.RESYNC or (event.type is not EventType.CHILDREN_CHANGED and self._is_of(event)):
                return event

    def close(self) -> None:
        """Stop watching."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _is_of(self, event: WatchEvent) -> bool:
        return event.path.startswith(self._key) if self._prefix else event.path == self._key


def path_of(key: str) -> str:
    """The node of a key."""
    return key if key.startswith("/") else f"/{key}"


def holds(comparison: Comparison, node: NodeData | None) -> bool:
    """Whether it holds for what was found."""
    match comparison:
        case Value(_, relation, value):
            return (relation == "!=") if node is None else _compare(node.data, relation, to_bytes(value))
        case Version(_, relation, version):
            return _compare(0 if node is None else node.stat.version + 1, relation, version)
        case ModZxid(_, relation, zxid):
            return _compare(0 if node is None else node.stat.mzxid, relation, zxid)
        case _:
            assert_never(comparison)


def _compare(one: C, relation: Relation, other: C) -> bool:
    match relation:
        case "==":
            return one == other
        case "!=":
            return one != other
        case "<":
            return one < other
        case ">":
            return one > other
        case _:
            assert_never(relation)


def _response(operation: Operation, before: NodeData | None) -> Response:
    if isinstance(operation, Put):
        return None
    return before if isinstance(operation, Get) else before is not None


def _directory(prefix: str) -> str:
    """The node below which all paths with this prefix are."""
    return prefix[: prefix.rfind("/")] or "/"


def _tell_all(events: Events, callback: Callable[[WatchEvent], object]) -> None:
    for event in events:
        try:
            callback(event)
        except Exception:
            log.exception("a callback failed on %s", event)
