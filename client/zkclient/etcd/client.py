"""Client: etcd's methods, for plain threads."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from ssl import SSLContext
from time import monotonic
from types import TracebackType
from typing import Self

from zk.model.errors import (
    APIError,
    BadArgumentsError,
    BadVersionError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
)
from zk.model.events import WatchEvent
from zk.model.paths import is_inside, join, parent
from zk.model.record import SessionId, Zxid
from zk.model.requests import Create, GetData
from zk.model.stat import Stat
from zkclient.blocking import Lock, Transaction, ZooKeeper
from zkclient.errors import ClientClosedError, OperationTimeoutError, TransactionFailed
from zkclient.etcd.leases import Access, Lease
from zkclient.etcd.values import Comparison, Delete, Get, KeyValue, Operation, Put, Response, Transactions
from zkclient.etcd.watches import Events, directory_of
from zkclient.hosts import DEFAULT_PORT
from zkclient.operations import Consistency
from zkclient.results import NodeData

LOCKS = "/locks"
LOCK_TTL_S = 10.0
CHANGED = (BadVersionError, NoNodeError, NodeExistsError)
"""What a transaction is refused with if a key is no longer what was read."""


class Client:
    """A client of the service at `host` and `port`, or at several `hosts` ('host:port,host:port', with an optional
    '/chroot' behind). It connects at its first call. Errors are those of `ZooKeeper`; `timeout` (seconds) is the
    deadline of a call.

    2181 is where `zk server` listens. Any number of threads may share a client.
    """

    transactions: Transactions
    """What `transaction` is told."""

    def __init__(
        self,
        host: str = "localhost",
        port: int = DEFAULT_PORT,
        *,
        hosts: str = "",
        timeout: float = 10.0,
        auth: Sequence[tuple[str, str | bytes]] = (),
        tls: SSLContext | None = None,
    ) -> None:
        bracketed = f"[{host}]" if ":" in host else host
        self._access = Access(hosts or f"{bracketed}:{port}", timeout, auth, tls)
        self.transactions = Transactions()
        self.zk: ZooKeeper = self._session(LOCK_TTL_S)
        self._changing = threading.Lock()
        self._closed = False
        self._leases: list[Lease] = []
        self._for_locks: dict[float, ZooKeeper] = {LOCK_TTL_S: self.zk}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections. Locks are released; keys of leases stay as long as `Lease` says."""
        with self._changing:
            self._closed = True
            leases, sessions = self._leases, tuple(self._for_locks.values())
        for session in sessions:
            session.close()
        for lease in leases:
            lease.forsake()

    # ---- keys

    def put(self, key: str, value: str | bytes, *, lease: Lease | None = None) -> None:
        """Set a key, and give it this lease; without one, it loses what lease it had. All in one transaction.

        If that changes the lease of the key, those who watch it are told DELETED and CREATED, and its version starts
        anew. Raises NotEmptyError if it is to get a lease and there are keys below it.
        """
        path = path_of(key)
        with self._writing_by(lease) as zk:
            for _ in self._attempts(path):
                transaction = zk.transaction()
                found = zk.exists(path)
                if found is not None:
                    transaction.check(path, czxid=found.czxid)
                _put(transaction, path, found, value, lease)
                if self._done(transaction):
                    return

    def put_if_absent(self, key: str, value: str | bytes, *, lease: Lease | None = None) -> bool:
        """Set a key if it is missing. Whether it was."""
        path = path_of(key)
        with self._writing_by(lease) as zk:
            while True:
                try:
                    zk.create(path, value, ephemeral=lease is not None)
                except NodeExistsError:
                    return False
                except NoNodeError:
                    self.zk.ensure_path(parent(path))
                else:
                    return True

    def get(self, key: str) -> KeyValue | None:
        """A key's value, which prints as text and unpacks as `value, stat`; None if there is no such key."""
        try:
            return _key_value(self.zk.get(path_of(key), read="linearizable"))
        except NoNodeError:
            return None

    def get_prefix(self, prefix: str) -> dict[str, KeyValue]:
        """All keys that start with `prefix`, in order, with their values. Each page of up to 1,000 keys of one parent
        is read at one instant, all of them not."""
        start = prefix if prefix.startswith("/") else f"/{prefix}"
        directory = directory_of(start)
        found = dict(self._below(directory, start.rpartition("/")[2], "linearizable"))
        return dict(sorted(found.items()))

    def _below(self, directory: str, prefix: str, read: Consistency) -> Iterator[tuple[str, KeyValue]]:
        """What is below a node, of its children those that start with `prefix`."""
        try:
            for page in self.zk.pages(directory, prefix=prefix, with_data=True, read=read):
                for entry in page:
                    path = join(directory, entry.name)
                    if entry.data is None or entry.stat is None:
                        raise NoAuthError(path, "it may not be read")
                    yield (
                        path,
                        KeyValue(entry.data, entry.stat, entry.stat.mzxid),
                    )  # since when it was so: a page does not tell its own
                    if entry.stat.num_children:
                        yield from self._below(path, "", "session")  # never older than what has come already
        except NoNodeError:
            return

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
        return self.transaction([self.transactions.value(key) == old], [Put(key, new)])[0]

    # ---- transactions

    def transaction(
        self, compare: Sequence[Comparison], success: Sequence[Operation] = (), failure: Sequence[Operation] = ()
    ) -> tuple[bool, tuple[Response, ...]]:
        """Do `success` if all of `compare` hold, else `failure`, as one. Which of them it was, and a response for each
        operation: None for a put.

            t = client.transactions
            client.transaction(
                compare=[t.version("/leader") == 0], success=[t.put("/leader", "me")], failure=[t.get("/leader")]
            )

        It is optimistic: all keys are read at one instant, and the writes are done if none of those changed since;
        otherwise it begins again, until the deadline of a call. A key can be named by one write only, and all leases in
        it must be the same one. That a missing key is still missing is made sure by creating it; if it is not put, it
        is deleted again in the same transaction, and watchers see both.
        """
        for _ in self._attempts("the keys of the transaction"):
            keys = {path_of(each.key): None for each in (*compare, *success, *failure)}
            before = self._at_one_instant(tuple(keys))
            held = all(each.holds(before[path_of(each.key)]) for each in compare)
            attempt = success if held else failure
            relevant = {path_of(each.key) for each in (*compare, *attempt)}
            writes = [each for each in attempt if not isinstance(each, Get)]
            if not writes or self._written({path: before[path] for path in sorted(relevant)}, writes):
                break
        return held, tuple(_response(each, before[path_of(each.key)]) for each in attempt)

    def _at_one_instant(self, paths: Sequence[str]) -> Mapping[str, KeyValue | None]:
        found: dict[str, KeyValue | None] = {}
        for path, read in zip(
            paths, self.zk.multi_read([GetData(path) for path in paths], read="linearizable"), strict=True
        ):
            if isinstance(read, APIError) and not isinstance(read, NoNodeError):
                raise read
            found[path] = _key_value(read) if isinstance(read, NodeData) else None
        return found

    def _written(self, before: Mapping[str, KeyValue | None], writes: Sequence[Put | Delete]) -> bool:
        """Do the writes if all is still as `before`, which is sorted; whether it was."""
        by_path = {path_of(write.key): write for write in writes}
        puts = {path: write for path, write in by_path.items() if isinstance(write, Put)}
        leases = {id(put.lease): put.lease for put in puts.values() if put.lease is not None}
        if len(by_path) < len(writes) or len(leases) > 1:
            raise BadArgumentsError(hint="a transaction may name a key by one write only, and one lease only")
        with self._writing_by(next(iter(leases.values()), None)) as zk:
            transaction = zk.transaction()
            for path, found in before.items():
                if found is not None:
                    transaction.check(path, version=found.stat.version, czxid=found.stat.czxid)
                    if path in puts:
                        _put(transaction, path, found.stat, puts[path].value, puts[path].lease)
            made = _in_order([path for path, found in before.items() if found is None])
            for path in made:
                put = puts.get(path)
                _put(transaction, path, None, *((b"", None) if put is None else (put.value, put.lease)))
            deleted = [
                path for path, write in by_path.items() if isinstance(write, Delete) and before[path] is not None
            ]
            unwanted = [path for path in made if not any(is_inside(put, path) for put in puts)]
            for path in sorted((*deleted, *unwanted), reverse=True):
                transaction.delete(path)
            return self._done(transaction)

    # ---- how writes are done

    @contextmanager
    def _writing_by(self, lease: Lease | None) -> Iterator[ZooKeeper]:
        """The session to write by: what a lease is to have is made by its own."""
        if lease is None:
            yield self.zk
        else:
            with lease.in_use() as zk:
                yield zk

    def _attempts(self, what: str) -> Iterator[None]:
        until = monotonic() + self._access.timeout
        while monotonic() < until:
            yield
        raise OperationTimeoutError(f"{what} kept changing")

    def _done(self, transaction: Transaction) -> bool:
        """Do it; False if it has to be begun again, because a key had changed, or there was no parent."""
        try:
            transaction.commit()
        except TransactionFailed as failed:
            if isinstance(failed.op, Create) and isinstance(failed.cause, NoNodeError):
                self.zk.ensure_path(parent(failed.cause.path))
            elif not isinstance(failed.cause, CHANGED):
                raise failed.cause from failed
            return False
        return True

    # ---- leases, watches, locks

    def lease(self, ttl: float) -> Lease:
        """A lease of `ttl` seconds, to put keys with. See `Lease`."""
        lease = Lease(self._access, ttl)
        with self._changing:
            if not self._closed:
                self._leases = [each for each in self._leases if not each.over] + [lease]
                return lease
        lease.revoke()
        raise ClientClosedError("the client is closed")

    def watch(
        self,
        key: str,
        *,
        from_zxid: Zxid | int | None = None,
        callback: Callable[[WatchEvent], object] | None = None,
    ) -> Events:
        """The changes of a key, as an iterator which blocks until there is one.

        With `from_zxid`, changes in that transaction and behind it come first. An event tells type, path and zxid;
        the value is to be had by `get`. RESYNC says that some were too long ago to be told: read everything again.
        With `callback` a thread calls it for every event, until `close`.
        """
        return self._watch(key, False, from_zxid, callback)

    def watch_prefix(
        self,
        prefix: str,
        *,
        from_zxid: Zxid | int | None = None,
        callback: Callable[[WatchEvent], object] | None = None,
    ) -> Events:
        """The changes of all keys that start with `prefix`; otherwise as `watch`."""
        return self._watch(prefix, True, from_zxid, callback)

    def _watch(
        self, key: str, prefix: bool, from_zxid: Zxid | int | None, callback: Callable[[WatchEvent], object] | None
    ) -> Events:
        events = Events(self.zk, path_of(key), prefix, from_zxid)
        if callback is not None:
            threading.Thread(target=events.tell_all, args=(callback,), name="zkclient etcd", daemon=True).start()
        return events

    def lock(self, name: str, ttl: float = LOCK_TTL_S, *, timeout: float | None = None) -> Lock:
        """See `zkclient.Lock`. It is kept for as long as its holder lives; when that is gone, it is free after `ttl`
        seconds (4 to 40, if the servers are not set otherwise). `timeout` (seconds) is for each acquire. Locks with one
        `ttl` share a session; their contenders are below /locks/name."""
        with self._changing:
            if self._closed:
                raise ClientClosedError("the client is closed")
            if ttl not in self._for_locks:
                self._for_locks[ttl] = self._session(ttl)
            zk = self._for_locks[ttl]
        return zk.Lock(LOCKS + path_of(name), timeout=timeout)

    def _session(self, ttl: float) -> ZooKeeper:
        access = self._access
        return ZooKeeper(
            access.hosts,
            session_timeout_ms=round(ttl * 1000),
            timeout=access.timeout,
            auth=access.auth,
            tls=access.tls,
        )


def path_of(key: str) -> str:
    """The node of a key."""
    return key if key.startswith("/") else f"/{key}"


def _put(transaction: Transaction, path: str, found: Stat | None, value: str | bytes, lease: Lease | None) -> None:
    """Give the node this value and owner: a new node, if it has another one."""
    owner = SessionId(0) if lease is None else lease.id
    if found is not None and found.ephemeral_owner == owner:
        transaction.set(path, value)
        return
    if found is not None:
        transaction.delete(path)
    transaction.create(path, value, ephemeral=lease is not None)


def _in_order(missing: Sequence[str]) -> list[str]:
    """What is to be created, parents first, so that nothing else comes of it: those missing (sorted), and what lacks
    between one of them and another one below it. Parents of them all are no part of the transaction."""
    made: dict[str, None] = {}
    for path in missing:
        between: list[str] = []
        if any(is_inside(path, above) for above in made):
            above = parent(path)
            while above not in made:
                between.append(above)
                above = parent(above)
        made.update(dict.fromkeys([*reversed(between), path]))
    return list(made)


def _key_value(found: NodeData) -> KeyValue:
    return KeyValue(found.data, found.stat, found.zxid)


def _response(operation: Operation, before: KeyValue | None) -> Response:
    if isinstance(operation, Put):
        return None
    return before if isinstance(operation, Get) else before is not None
