"""Planted bugs of the tree: transactions, snapshots, digests, quotas, paging, and what watches are told."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from inspect import signature
from typing import Any

from zk.model import paths
from zk.model.acl import Acl, Identity
from zk.model.errors import SessionExpiredError
from zk.model.events import EventType, WatchEvent
from zk.model.record import ConnectionId, Zxid
from zk.model.replies import Body, ChildrenPageReply, Done, PageEntry
from zk.model.requests import ExpireSession, GetChildrenPage, SetWatches, Txn
from zk.model.session import Session
from zk.model.znode import Znode
from zk.replica import replica
from zk.sim import Plant
from zk.sim.plant import patched
from zk.tree import digest, reads, sessions, tree, writes
from zk.tree.changes import Change
from zk.tree.children import Children
from zk.tree.history import ChangeHistory
from zk.tree.image import Image
from zk.tree.quotas import Quotas
from zk.tree.reaping import is_reapable
from zk.tree.store import Store
from zk.tree.tree import Applied, Tree
from zk.tree.watches import Kind, MayRead, WatchTable

apply = Tree.apply
append = ChangeHistory.append
close_journal = Store.close_journal
copy = Session.copy
create = writes.create
fire = WatchTable.fire
get_children_page = reads._get_children_page

quotas_init = Quotas.__init__
session_hash = digest.session_hash
set_again = WatchTable.set_again
znode_hash = digest.znode_hash


# ---- multi


class Unforgettable(list[Change]):
    """Changes that stay, whatever becomes of the multi that made them."""

    def clear(self) -> None:
        """They stay."""


def tells_of_what_is_undone(self: Store, undo: bool) -> None:
    close_journal(self, undo)
    if undo:
        self.changes = Unforgettable(self.changes)


def undoes_nothing(self: Store, undo: bool) -> None:
    close_journal(self, False)


def keeps_counting(self: Store, undo: bool) -> None:
    """What is undone leaves the parents' counts of creates as high as they were."""
    counted = {path: self.znodes[path].created for path, _ in self._journal or () if path in self.znodes}
    close_journal(self, undo)
    for path, created in counted.items():
        if undo and path in self.znodes and self.znodes[path].created != created:
            self.replace(path, self.znodes[path], replace(self.znodes[path], created=created))


def counts_children_again(self: Store, undo: bool) -> None:
    """What is undone counts the children that are left, and takes that for the number of creates."""
    touched = [path for path, _ in self._journal or ()]
    close_journal(self, undo)
    for path in touched:
        znode = self.znodes.get(path)
        if undo and znode is not None and znode.created > znode.num_children:
            self.replace(path, znode, replace(znode, created=znode.num_children))


# ---- sessions


def leaves_one_behind(store: Store, session: Session) -> None:
    del store.sessions[session.id]
    for path in store.ephemerals_of(session.id)[1:]:
        writes.remove(store, path, store.znodes[path])
    store.closed = (session.id,)


def does_what_is_stale(self: Tree, zxid: Zxid, txn: Txn) -> Applied:
    session = self.sessions.get(txn.session_id)
    if session is None or txn.generation >= session.generation:
        return apply(self, zxid, txn)
    n = session.n
    applied = apply(self, zxid, replace(txn, generation=session.generation, n=n + 1))
    session.n = n
    return applied


def ends_any_generation(store: Store, request: ExpireSession) -> Done:
    session = store.sessions.get(request.session_id)
    if session is None:
        raise SessionExpiredError
    return sessions.expire_session(store, replace(request, generation=session.generation))


# ---- snapshots and digests


def forgets_answers(self: Session) -> Session:
    other = copy(self)
    other.answers.clear()
    return other


class OneBehind(Tree):
    """Its image has the zxid of the last transaction, and the state before that."""

    def __init__(self, image: Image | None = None) -> None:
        super().__init__(image)
        self.before = super().image()

    def apply(self, zxid: Zxid, txn: Txn) -> Applied:
        self.before = super().image()
        return super().apply(zxid, txn)

    def image(self) -> Image:
        return replace(self.before, zxid=self.zxid)


def hashes_all_but_the_ttl(path: str, znode: Znode) -> int:
    return znode_hash(path, replace(znode, ttl_ms=0))


def hashes_all_but_the_floor(session: Session) -> int:
    return session_hash(replace(session, floor=0))


# ---- containers, TTL, quotas


def may_always_go(znode: Znode, now_ms: int) -> bool:
    return True


def counts_from_its_creation(znode: Znode, now_ms: int) -> bool:
    return is_reapable(replace(znode, mtime=znode.ctime), now_ms)


def counts_from_nothing(self: Quotas, znodes: Mapping[str, Znode], children: Children) -> None:
    """What is in use when a tree is loaded is not counted."""
    quotas_init(self, znodes, children)
    for quota in self.roots.values():
        quota.count = quota.bytes = 0


def forbids_nothing(self: Store, path: str, more_count: int, more_bytes: int) -> None:
    """There is always room for more."""


def permits_all(acl: tuple[Acl, ...], perms: int, identities: Sequence[Identity]) -> bool:
    return True


# ---- reads


def goes_on_one_too_far(store: Store, request: GetChildrenPage, identities: Sequence[Identity]) -> ChildrenPageReply:
    """The next page begins one place behind where the last name stands, or would stand: it may be gone by now."""
    ordered = store.sorted_children(request.path)
    place = bisect_left(ordered, paths.join(request.path, request.start_after)) if request.start_after else len(ordered)
    if place < len(ordered):
        request = replace(request, start_after=paths.basename(ordered[place]))
    return get_children_page(store, request, identities)


def shows_to_all(child: Znode, name: str, with_data: bool, identities: Sequence[Identity]) -> PageEntry:
    return PageEntry(name, child.stat, child.data) if with_data else PageEntry(name, None, None)


# ---- watches


def fires_not_always(self: WatchTable, change: Change, may_read: MayRead) -> list[tuple[ConnectionId, WatchEvent]]:
    return fire(self, change, may_read) if change.zxid % 20 else []


def fires_child_watches_for_data(
    self: WatchTable, change: Change, may_read: MayRead
) -> list[tuple[ConnectionId, WatchEvent]]:
    told = fire(self, change, may_read)
    parent = paths.parent(change.path)
    if change.type is EventType.DATA_CHANGED and parent in self._child:
        event = WatchEvent(EventType.CHILDREN_CHANGED, parent, change.zxid)
        told += [(connection, event) for connection in self._take(Kind.CHILD, parent)]
    return told


def leaves_them_set(self: WatchTable, kind: Kind, path: str) -> dict[ConnectionId, None]:
    return dict(self._tables[kind][path])


def sets_all_but_recursive_ones(
    self: WatchTable,
    connection: ConnectionId,
    request: SetWatches,
    znodes: Mapping[str, Znode],
    zxid: Zxid,
    may_read: MayRead,
) -> list[WatchEvent]:
    return set_again(self, connection, replace(request, recursive=()), znodes, zxid, may_read)


def sets_and_tells_nothing(
    self: WatchTable,
    connection: ConnectionId,
    request: SetWatches,
    znodes: Mapping[str, Znode],
    zxid: Zxid,
    may_read: MayRead,
) -> list[WatchEvent]:
    """As if the client had missed nothing."""
    return set_again(self, connection, replace(request, since=zxid), znodes, zxid, may_read)


def believes_to_be_complete(self: ChangeHistory, changes: list[Change]) -> None:
    since = self.complete_since
    append(self, changes)
    self.complete_since = since


Patch = tuple[object, str, object]


def server_write(kind: type, replacement: Callable[[Store, Any], Body]) -> Patch:
    """The function that carries out such a write of a server stands in a table."""
    original = tree._SERVER_WRITES[kind]
    assert list(signature(original).parameters) == list(signature(replacement).parameters)
    return tree, "_SERVER_WRITES", {**tree._SERVER_WRITES, kind: replacement}


def plant(name: str, what: str, invariants: str, seeds: int, *changes: Patch, servers: int = 3) -> Plant:
    """`invariants` are separated by commas."""

    def planted() -> AbstractContextManager[object]:
        return patched(*changes)

    return Plant(name, what, planted, frozenset(invariants.split(", ")), seeds, servers=servers)


PLANTS = (
    plant(
        "failed-multi-fires-watches",
        "watches are told of what a failed multi would have changed (ClickHouse Keeper 79247)",
        "all or nothing",
        30,
        (Store, "close_journal", tells_of_what_is_undone),
    ),
    plant(
        "multi-half-done",
        "what a multi did in front of the operation that failed stays",
        "all or nothing",
        30,
        (Store, "close_journal", undoes_nothing),
    ),
    plant(
        "failed-multi-uses-up-numbers",
        "a failed multi leaves the counts of creates as high as it had raised them",
        "all or nothing",
        30,
        (Store, "close_journal", keeps_counting),
    ),
    plant(
        "number-reused-after-a-failed-multi",
        "a failed multi sets the counts of creates too far back, and names come twice",
        "all or nothing",
        30,
        (Store, "close_journal", counts_children_again),
    ),
    plant(
        "ephemeral-left-after-close",
        "a session that ends leaves one of its ephemerals",
        "ephemerals",
        30,
        (sessions, "_end", leaves_one_behind),
    ),
    plant(
        "stale-session-writes",
        "a write through a connection that the session has left is done",
        "stale sessions",
        30,
        (Tree, "apply", does_what_is_stale),
    ),
    plant(
        "expiry-ends-a-moved-session",
        "an expiry ends its session though a newer connection has taken it over meanwhile",
        "stale sessions, ephemerals, expiry",
        60,
        server_write(ExpireSession, ends_any_generation),
    ),
    plant(
        "dedup-forgotten-by-the-snapshot",
        "the answers kept for a resend are in no snapshot",
        "equal digests, equal states, exactly once, acknowledged writes, halt",
        30,
        (Session, "copy", forgets_answers),
    ),
    plant(
        "snapshot-misses-the-last-transaction",
        "a snapshot holds all but the transaction that it is named after",
        "equal digests, equal states, acknowledged writes, exactly once, reads, watches, halt",
        30,
        (replica, "Tree", OneBehind),
    ),
    plant(
        "digest-skips-a-field-of-nodes",
        "the digest does not show the TTL of a node",
        "equal digests",
        30,
        (digest, "znode_hash", hashes_all_but_the_ttl),
    ),
    plant(
        "digest-skips-a-field-of-sessions",
        "the digest does not show below which number a session's answers were dropped",
        "equal digests",
        30,
        (digest, "session_hash", hashes_all_but_the_floor),
    ),
    plant(
        "container-with-a-child-deleted",
        "whether a node may still go is not looked at again when its turn has come",
        "containers and ttl",
        30,
        (writes, "is_reapable", may_always_go),
    ),
    plant(
        "ttl-from-creation",
        "a TTL counts from a node's creation, not from its last change",
        "containers and ttl",
        60,
        (writes, "is_reapable", counts_from_its_creation),
    ),
    plant(
        "quota-drift",
        "a server that loads a snapshot does not count what is in use: its quotas differ from the others'",
        "equal digests, equal states, halt",
        30,
        (Quotas, "__init__", counts_from_nothing),
    ),
    plant(
        "quota-not-kept",
        "a hard quota forbids nothing",
        "quotas",
        20,
        (Store, "check_quota", forbids_nothing),
    ),
    plant(
        "no-permission-needed",
        "whoever wants to create a node may",
        "access",
        20,
        (writes, "permitted", permits_all),
    ),
    plant(
        "page-skips-a-node",
        "a walk loses a node if the one that ended its page is gone before the next",
        "reads, paging",
        30,
        (reads, "_get_children_page", goes_on_one_too_far),
    ),
    plant(
        "page-shows-secrets",
        "a page shows the data of nodes that its reader may not read",
        "reads",
        30,
        (reads, "_page_entry", shows_to_all),
    ),
    plant(
        "watch-lost",
        "now and then a change fires no watch",
        "watches",
        30,
        (WatchTable, "fire", fires_not_always),
    ),
    plant(
        "child-watch-fires-for-data",
        "a child watch is told that the data of a child has changed",
        "watches",
        30,
        (WatchTable, "fire", fires_child_watches_for_data),
    ),
    plant(
        "one-shot-watch-stays",
        "a one-shot watch is told of every change",
        "watches",
        30,
        (WatchTable, "_take", leaves_them_set),
    ),
    plant(
        "recursive-watch-deaf-after-reconnect",
        "a client that comes back gets all its watches again, but for the recursive ones",
        "watches",
        30,
        (WatchTable, "set_again", sets_all_but_recursive_ones),
    ),
    plant(
        "missed-while-away",
        "a client that comes back is not told what has happened meanwhile to the nodes that it watches",
        "watches",
        30,
        (WatchTable, "set_again", sets_and_tells_nothing),
    ),
    plant(
        "stream-gap",
        "a stream is continued behind what the history has forgotten, and nobody says RESYNC",
        "watches",
        30,
        (ChangeHistory, "append", believes_to_be_complete),
    ),
)
