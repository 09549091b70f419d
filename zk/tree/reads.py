"""What reads see: one function per request, `(store, request, caller) -> body`. Nothing is changed here."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import assert_never

from zk.model.acl import OPEN_ACL, Identity, Perms
from zk.model.errors import APIError, BadArgumentsError, NoAuthError
from zk.model.limits import PAGE_DATA_BYTES_MAX
from zk.model.record import SessionId
from zk.model.replies import (
    AclReply,
    Body,
    ChildrenPageReply,
    ChildrenReply,
    CountReply,
    IdentitiesReply,
    MultiReply,
    NodeReply,
    PageEntry,
    PathsReply,
    StatReply,
)
from zk.model.requests import (
    CountDescendants,
    Exists,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    GetNode,
    MultiRead,
    TreeRead,
    WhoAmI,
)
from zk.model.znode import Znode
from zk.tree.acl import masked, permitted
from zk.tree.children import below
from zk.tree.store import Store

_READ = int(Perms.READ)
_ADMIN = int(Perms.ADMIN)


def read(store: Store, request: TreeRead, session_id: SessionId, identities: Sequence[Identity]) -> Body:
    """Answer `request` from the tree as it is."""
    match request:
        case GetData():
            return get_data(store, request, identities)
        case Exists():
            return _exists(store, request)
        case GetChildren():
            return _get_children(store, request, identities)
        case GetChildrenPage():
            return _get_children_page(store, request, identities)
        case GetAcl():
            return _get_acl(store, request, identities)
        case GetNode():
            return _get_node(store, request, identities)
        case MultiRead():
            return _multi_read(store, request, session_id, identities)
        case CountDescendants():
            return _count_descendants(store, request, identities)
        case GetEphemerals():
            mine = store.ephemerals_of(session_id)
            return PathsReply(tuple(path for path in mine if path.startswith(request.prefix)))
        case WhoAmI():
            return IdentitiesReply(tuple(identities))
        case _:
            assert_never(request)


def get_data(store: Store, request: GetData, identities: Sequence[Identity]) -> Znode:
    """The znode itself."""
    return _readable(store, request.path, identities)


def _readable(store: Store, path: str, identities: Sequence[Identity]) -> Znode:
    znode = store.znodes.get(path)
    if znode is None:
        raise store.missing(path)
    if znode.acl is not OPEN_ACL and not permitted(znode.acl, _READ, identities):
        raise NoAuthError(path)
    return znode


def _exists(store: Store, request: Exists) -> StatReply:
    """Asks for no permission: that a node exists is no secret, as in ZooKeeper."""
    znode = store.znodes.get(request.path)
    if znode is None:
        raise store.missing(request.path)
    return StatReply(znode.stat)


def _get_acl(store: Store, request: GetAcl, identities: Sequence[Identity]) -> AclReply:
    znode = store.znodes.get(request.path)
    if znode is None:
        raise store.missing(request.path)
    if permitted(znode.acl, _ADMIN, identities):
        return AclReply(znode.acl, znode.stat)
    if permitted(znode.acl, _READ, identities):
        return AclReply(masked(znode.acl), znode.stat)
    raise NoAuthError(request.path, "reading an ACL asks for READ or ADMIN")


def _get_node(store: Store, request: GetNode, identities: Sequence[Identity]) -> NodeReply:
    znode = _readable(store, request.path, identities)
    acl = znode.acl if permitted(znode.acl, _ADMIN, identities) else masked(znode.acl)
    return NodeReply(znode.data, acl, znode.mode, znode.ttl_ms, znode.stat)


def _get_children(store: Store, request: GetChildren, identities: Sequence[Identity]) -> ChildrenReply:
    znode = _readable(store, request.path, identities)
    start = _name_start(request.path)
    return ChildrenReply(tuple([path[start:] for path in store.children.get(request.path, ())]), znode.stat)


def _get_children_page(store: Store, request: GetChildrenPage, identities: Sequence[Identity]) -> ChildrenPageReply:
    if request.limit < 1:
        raise BadArgumentsError(request.path, f"limit must be at least 1, not {request.limit}")
    znode = _readable(store, request.path, identities)
    ordered = store.sorted_children(request.path)
    directory = request.path if request.path != "/" else ""
    first = bisect_left(ordered, f"{directory}/{request.prefix}")
    if request.start_after:
        first = max(first, bisect_right(ordered, f"{directory}/{request.start_after}"))
    start = len(directory) + 1
    entries: list[PageEntry] = []
    last = first + request.limit
    room = PAGE_DATA_BYTES_MAX
    for path in ordered[first:last]:
        if not path.startswith(request.prefix, start):
            return ChildrenPageReply(tuple(entries), False, znode.stat)
        entry = _page_entry(store.znodes[path], path[start:], request.with_data, identities)
        room -= len(entry.data or b"")
        if room < 0 and entries:
            return ChildrenPageReply(tuple(entries), True, znode.stat)
        entries.append(entry)
    more = last < len(ordered) and ordered[last].startswith(request.prefix, start)
    return ChildrenPageReply(tuple(entries), more, znode.stat)


def _page_entry(child: Znode, name: str, with_data: bool, identities: Sequence[Identity]) -> PageEntry:
    if with_data and (child.acl is OPEN_ACL or permitted(child.acl, _READ, identities)):
        return PageEntry(name, child.stat, child.data)
    return PageEntry(name, None, None)


def _name_start(path: str) -> int:
    return len(path) + 1 if path != "/" else 1


def _count_descendants(store: Store, request: CountDescendants, identities: Sequence[Identity]) -> CountReply:
    _readable(store, request.path, identities)
    if request.path == "/":
        return CountReply(len(store.znodes) - 1)
    return CountReply(sum(1 for _ in below(store.children, request.path)))


def _multi_read(store: Store, request: MultiRead, session_id: SessionId, identities: Sequence[Identity]) -> MultiReply:
    results: list[Body | APIError] = []
    for operation in request.operations:
        try:
            results.append(read(store, operation, session_id, identities))
        except APIError as error:
            results.append(error.without_traceback())
    return MultiReply(tuple(results))
