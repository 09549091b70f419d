"""What clients' writes do to the znodes: one function per request, `(store, request, session) -> body`.

A function checks first, in the documented order, and raises the first refusal it finds; only then it changes anything.
The order of checks and the counters are ZooKeeper's: see "Order of checks" in docs/semantics.md.
"""

from typing import assert_never

from zk.model import paths
from zk.model.acl import OPEN_ACL, Perms
from zk.model.errors import (
    APIError,
    BadArgumentsError,
    BadVersionError,
    NoAuthError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RuntimeInconsistencyError,
)
from zk.model.events import EventType
from zk.model.record import SessionId
from zk.model.replies import DONE, Body, Created, Done, MultiReply, StatReply
from zk.model.requests import (
    ANY_VERSION,
    TTL_MS_MAX,
    Check,
    Create,
    CreateMode,
    Delete,
    Multi,
    Operation,
    Reap,
    SetAcl,
    SetData,
)
from zk.model.session import Session
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.tree.acl import fix_acl, permitted
from zk.tree.changes import Change
from zk.tree.reaping import is_reapable
from zk.tree.store import Store

_WRITE, _CREATE, _DELETE, _READ, _ADMIN = (
    int(perm) for perm in (Perms.WRITE, Perms.CREATE, Perms.DELETE, Perms.READ, Perms.ADMIN)
)
_NO_OWNER = SessionId(0)
_CREATED = EventType.CREATED  # dear to look up
_DELETED = EventType.DELETED
_DATA_CHANGED = EventType.DATA_CHANGED
_STORED_MODE = {  # only the name remembers that a node was sequential
    CreateMode.PERSISTENT_SEQUENTIAL: CreateMode.PERSISTENT,
    CreateMode.EPHEMERAL_SEQUENTIAL: CreateMode.EPHEMERAL,
    CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL: CreateMode.PERSISTENT_WITH_TTL,
}


def next_version(version: int) -> int:
    """The version after this one: a signed 32-bit count that leaves out -1, which means 'any version'."""
    version += 1
    if version > 0x7FFF_FFFF:
        return version - (1 << 32)
    return version if version != ANY_VERSION else 0


# ---- create


def check_kind(request: Create) -> None:
    """BadArgumentsError (-8) if `ttl_ms` does not go with the mode."""
    if request.mode.has_ttl:
        if not 0 < request.ttl_ms <= TTL_MS_MAX:
            raise BadArgumentsError(request.path, f"ttl_ms must be within 1..{TTL_MS_MAX}, not {request.ttl_ms}")
    elif request.ttl_ms != 0:
        raise BadArgumentsError(request.path, f"ttl_ms is for the TTL modes only, not for {request.mode.name}")


def create(store: Store, request: Create, session: Session) -> Created:
    mode = request.mode
    path = request.path
    owner = _NO_OWNER
    sequential = False
    if mode or request.ttl_ms:  # anything but the plain kind
        check_kind(request)
        sequential = mode.sequential
        if mode.ephemeral:
            owner = session.id
        mode = _STORED_MODE.get(mode, mode)
    directory, slash, name = path.rpartition("/")
    parent_path = directory or "/"
    parent = store.znodes.get(parent_path)
    # A plain name below a node makes a path; "a" and "//a", too, seem to be below the root.
    if parent is None or not slash or directory == "/" or not paths.is_plain(name):
        if sequential:
            paths.validate_prefix(path)
        else:
            paths.validate(path)
    acl = request.acl
    if acl is not OPEN_ACL:
        acl = store.intern_acl(fix_acl(path, acl, session.identities))
    if parent is None:
        raise NoNodeError(path, f"its parent {parent_path} does not exist: create it first")
    if parent.acl is not OPEN_ACL and not permitted(parent.acl, _CREATE, session.identities):
        raise NoAuthError(parent_path)
    if sequential:
        path = f"{path}{parent.created:010d}"
    if path in store.znodes:
        raise NodeExistsError(path)
    if parent.owner:
        raise NoChildrenForEphemeralsError(path)
    data = request.data
    if store.quotas.roots:
        store.check_quota(path, 1, len(data))

    zxid = store.zxid
    time_ms = store.time_ms
    store.replace(parent_path, parent, _with_children(parent, store, parent.created + 1, parent.num_children + 1))
    znode = Znode(data, acl, zxid, zxid, zxid, time_ms, time_ms, 0, 0, 0, owner, 0, mode, request.ttl_ms)
    store.insert(path, znode, parent_path)
    store.changes.append(Change(_CREATED, path, zxid, acl, parent.acl))
    return Created(path, Stat(zxid, zxid, time_ms, time_ms, 0, 0, 0, owner, len(data), 0, zxid))


def _with_children(parent: Znode, store: Store, created: int, num_children: int) -> Znode:
    """The parent after a child came or went in the present transaction."""
    return Znode(
        parent.data,
        parent.acl,
        parent.czxid,
        parent.mzxid,
        store.zxid,
        parent.ctime,
        parent.mtime,
        parent.version,
        created,
        parent.aversion,
        parent.owner,
        num_children,
        parent.mode,
        parent.ttl_ms,
    )


# ---- delete


def delete(store: Store, request: Delete, session: Session) -> Done:
    path = request.path
    if path in paths.RESERVED:
        raise BadArgumentsError(path, "this node belongs to the service and can't be deleted")
    parent = store.znodes.get(paths.parent(path))
    if parent is None:
        raise store.missing(path)
    if parent.acl is not OPEN_ACL and not permitted(parent.acl, _DELETE, session.identities):
        raise NoAuthError(paths.parent(path), "deleting asks for DELETE on the parent")
    znode = store.znodes.get(path)
    if znode is None:
        raise store.missing(path)
    if request.version not in (ANY_VERSION, znode.version):
        raise BadVersionError(path, _versions(znode.version, request.version))
    if znode.num_children:
        raise NotEmptyError(path)
    remove(store, path, znode)
    return DONE


def remove(store: Store, path: str, znode: Znode) -> None:
    """Take a childless node out of the tree; nobody is asked."""
    parent_path = paths.parent(path)
    parent = store.znodes[parent_path]
    store.replace(parent_path, parent, _with_children(parent, store, parent.created, parent.num_children - 1))
    store.remove(path, znode, parent_path)
    store.changes.append(Change(_DELETED, path, store.zxid, znode.acl, parent.acl))


def reap(store: Store, request: Reap) -> Done:
    """Delete a container or TTL node, if the condition still holds now that its turn has come."""
    znode = store.znodes.get(request.path)
    if znode is None:
        raise NoNodeError(request.path)
    if not is_reapable(znode, store.time_ms):
        raise BadArgumentsError(
            request.path, "not an empty container that had children, nor a childless node past its TTL"
        )
    remove(store, request.path, znode)
    return DONE


# ---- setData, setACL, check


def set_data(store: Store, request: SetData, session: Session) -> StatReply:
    path = request.path
    old = store.znodes.get(path)
    if old is None:
        raise store.missing(path)
    if old.acl is not OPEN_ACL and not permitted(old.acl, _WRITE, session.identities):
        raise NoAuthError(path)
    data = request.data
    if store.quotas.roots:
        store.check_quota(path, 0, len(data) - len(old.data))
    if request.version != ANY_VERSION and request.version != old.version:
        raise BadVersionError(path, _versions(old.version, request.version))

    new = Znode(
        data,
        old.acl,
        old.czxid,
        store.zxid,
        old.pzxid,
        old.ctime,
        store.time_ms,
        next_version(old.version),
        old.created,
        old.aversion,
        old.owner,
        old.num_children,
        old.mode,
        old.ttl_ms,
    )
    store.replace(path, old, new)
    store.changes.append(Change(_DATA_CHANGED, path, store.zxid, old.acl))
    return StatReply(new.stat)


def set_acl(store: Store, request: SetAcl, session: Session) -> StatReply:
    path = request.path
    paths.validate(path)
    acl = store.intern_acl(fix_acl(path, request.acl, session.identities))
    old = store.znodes.get(path)
    if old is None:
        raise store.missing(path)
    if not permitted(old.acl, _ADMIN, session.identities):
        raise NoAuthError(path)
    if request.version not in (ANY_VERSION, old.aversion):
        raise BadVersionError(path, _versions(old.aversion, request.version))

    new = Znode(
        old.data,
        acl,
        old.czxid,
        old.mzxid,
        old.pzxid,
        old.ctime,
        old.mtime,
        old.version,
        old.created,
        next_version(old.aversion),
        old.owner,
        old.num_children,
        old.mode,
        old.ttl_ms,
    )
    store.replace(path, old, new)
    return StatReply(new.stat)


def check(store: Store, request: Check, session: Session) -> Done:
    path = request.path
    znode = store.znodes.get(path)
    if znode is None:
        raise store.missing(path)
    if not permitted(znode.acl, _READ, session.identities):
        raise NoAuthError(path)
    if request.version not in (ANY_VERSION, znode.version):
        raise BadVersionError(path, _versions(znode.version, request.version))
    if request.czxid not in (0, znode.czxid):
        raise BadVersionError(path, f"another node of that name: its czxid is {znode.czxid}, not {request.czxid}")
    return DONE


def _versions(actual: int, expected: int) -> str:
    return f"the version is {actual}, not {expected}: read the node again and retry with its current version"


# ---- multi


def multi(store: Store, request: Multi, session: Session) -> MultiReply:
    """All operations or none. A refusal is told per operation: it does not raise."""
    results: list[Body | APIError] = []
    store.open_journal()
    for operation in request.operations:
        try:
            results.append(_operate(store, operation, session))
        except APIError as error:
            store.close_journal(undo=True)
            store.changes.clear()
            store.over_quota = ()
            behind = len(request.operations) - len(results) - 1
            return MultiReply(
                (*[DONE] * len(results), error.without_traceback(), *[RuntimeInconsistencyError()] * behind)
            )
    store.close_journal(undo=False)
    return MultiReply(tuple(results))


def _operate(store: Store, operation: Operation, session: Session) -> Body:
    match operation:
        case Create():
            return create(store, operation, session)
        case SetData():
            return set_data(store, operation, session)
        case Delete():
            return delete(store, operation, session)
        case Check():
            return check(store, operation, session)
        case SetAcl():
            return set_acl(store, operation, session)
        case _:
            assert_never(operation)
