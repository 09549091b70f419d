"""How a tree is brought here with its stats: begun, piece by piece, and then seen at once.

Only where the service has nothing but its own nodes. Zxids, versions and counts of creates stay what they were, so that
sequential names go on, and what rests on a version holds; the service's own zxids must be above them before anything is
seen, for which a leader begins an epoch above theirs (see Replica).
"""

from dataclasses import replace

from zk.model.acl import OPEN_ACL, Perms
from zk.model.errors import BadArgumentsError, NoAuthError, NotEmptyError
from zk.model.events import EventType
from zk.model.limits import RESTORED_EPOCH_MAX
from zk.model.paths import RESERVED, parent, validate
from zk.model.replies import DONE, Done
from zk.model.requests import BeginRestore, CreateMode, FinishRestore, Restore
from zk.model.session import Session
from zk.model.zxids import epoch_of
from zk.tree.acl import permitted
from zk.tree.changes import Change
from zk.tree.image import Brought
from zk.tree.restoration import Restoration
from zk.tree.store import Store

_KINDS = frozenset({CreateMode.PERSISTENT, CreateMode.CONTAINER, CreateMode.PERSISTENT_WITH_TTL})
_CONFIG = "/zookeeper/config"  # it tells of this ensemble, and not of the one that the tree comes from


def begin_restore(store: Store, request: BeginRestore, session: Session) -> Done:
    if not permitted(store.znodes["/"].acl, int(Perms.ADMIN), session.identities):
        raise NoAuthError("/", "a tree is brought here only by those who may administer the root")
    if epoch_of(request.last_zxid) > RESTORED_EPOCH_MAX:
        raise BadArgumentsError(
            hint=f"zxid {request.last_zxid:#x} is of epoch {epoch_of(request.last_zxid)}; {RESTORED_EPOCH_MAX} is the "
            "highest that can be taken over"
        )
    other = store.restoration
    if other is not None and other.session_id != session.id:
        raise BadArgumentsError(hint=f"session {other.session_id:#x} is bringing a tree here: it must end first")
    _check_empty(store)
    store.restoration = Restoration(Brought(session.id, request.last_zxid, {}))
    return DONE


def restore(store: Store, request: Restore, session: Session) -> Done:
    brought = _begun(store, session)
    _check(brought, request)
    for path in request.gone:
        brought.take(path)
    for path, znode in request.nodes:
        if znode.acl is not OPEN_ACL:
            znode = replace(znode, acl=store.intern_acl(znode.acl))
        brought.put(path, znode)
    brought.settle()
    return DONE


def finish_restore(store: Store, request: FinishRestore, session: Session) -> Done:
    brought = _begun(store, session)
    _check_empty(store)
    if brought.last_zxid >= store.zxid:
        raise BadArgumentsError(
            hint=f"the zxids of the service are not above {brought.last_zxid:#x} yet: wait until its status shows that"
        )
    if len(brought.znodes) != request.znodes:
        raise BadArgumentsError(hint=f"{len(brought.znodes)} nodes were brought, not {request.znodes}")
    if brought.miscounted:
        path = min(brought.miscounted)
        found = len(brought.children.get(path, ()))
        raise BadArgumentsError(
            path, f"its num_children is {brought.znodes[path].num_children}, and {found} children were brought"
        )
    store.restoration, store.restored = None, store.zxid
    _let_be_seen(store, brought)
    return DONE


def _begun(store: Store, session: Session) -> Restoration:
    brought = store.restoration
    if brought is None or brought.session_id != session.id:
        raise BadArgumentsError(hint="this session has not begun to restore anything: BeginRestore comes first")
    return brought


def _check_empty(store: Store) -> None:
    if len(store.znodes) > len(RESERVED):
        path = min(store.znodes.keys() - RESERVED)
        raise NotEmptyError(
            path, "a tree can be brought here only where there is none; this node is there: delete it, or begin anew"
        )


def _check(brought: Restoration, request: Restore) -> None:
    """All or nothing of a piece: raises before anything of it is done."""
    gone: set[str] = set()
    for path in request.gone:
        if path not in brought.znodes or path in gone:
            raise BadArgumentsError(path, "it was not brought, so it can't be taken back")
        if any(child not in gone for child in brought.children.get(path, ())):
            raise BadArgumentsError(path, "its children must be taken back before it")
        gone.add(path)
    new: set[str] = set()
    for path, znode in request.nodes:
        validate(path)
        above = parent(path)
        if path != "/" and above not in new and (above not in brought.znodes or above in gone):
            raise BadArgumentsError(path, "its parent must be brought before it")
        new.add(path)
        if znode.owner or znode.mode not in _KINDS:
            raise BadArgumentsError(path, "an ephemeral belongs to its session, and can't be brought without it")
        if (znode.ttl_ms > 0) != znode.mode.has_ttl:
            raise BadArgumentsError(path, f"a TTL of {znode.ttl_ms} ms does not go with {znode.mode.name}")
        if max(znode.czxid, znode.mzxid, znode.pzxid) > brought.last_zxid:
            raise BadArgumentsError(path, f"its zxids must not be above {brought.last_zxid:#x}, as was said first")


def _let_be_seen(store: Store, brought: Restoration) -> None:
    own = {path: brought.znodes[path] for path in sorted(brought.znodes.keys() & RESERVED)}
    for path in sorted(own, reverse=True):
        brought.leave_out(path)
    store.add_all(brought)
    for path, znode in own.items():
        if path != _CONFIG:
            old = store.znodes[path]
            store.replace(path, old, znode)
            if znode.data != old.data:
                store.changes.append(Change(EventType.DATA_CHANGED, path, store.zxid, znode.acl))
    for path in ("/", "/zookeeper"):  # they may have other children here than where the tree comes from
        znode = store.znodes[path]
        store.replace(path, znode, replace(znode, num_children=len(store.children[path])))
    for path, znode in brought.znodes.items():
        above = store.znodes[parent(path)].acl
        store.changes.append(Change(EventType.CREATED, path, store.zxid, znode.acl, above))
