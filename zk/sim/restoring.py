"""What bringing a tree here must do, by the rules in docs/semantics.md: naive, and apart from the production tree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from zk.model import paths
from zk.model.acl import Identity, Perms
from zk.model.errors import APIError, BadArgumentsError, NoAuthError, NotEmptyError
from zk.model.events import EventType
from zk.model.limits import RESTORED_EPOCH_MAX
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE
from zk.model.requests import BeginRestore, CreateMode, FinishRestore, Restore
from zk.model.znode import Znode
from zk.model.zxids import epoch_of
from zk.sim.draft import Draft, Outcome, allows
from zk.tree.changes import Change

_KINDS = {CreateMode.PERSISTENT: False, CreateMode.CONTAINER: False, CreateMode.PERSISTENT_WITH_TTL: True}  # with a TTL


@dataclass(slots=True)
class Bringing:
    """A tree that a session is bringing here, as far as it has come."""

    session: SessionId
    last_zxid: Zxid
    znodes: dict[str, Znode] = field(default_factory=dict)


def _taken(znodes: Mapping[str, Znode]) -> bool:
    return any(path not in paths.RESERVED for path in znodes)


def refused_to_begin(
    draft: Draft,
    request: BeginRestore,
    session: SessionId,
    identities: Sequence[Identity],
    standing: Bringing | None,
    znodes: Mapping[str, Znode],
) -> type[APIError] | None:
    root = draft.node("/")
    assert root is not None
    if not allows(root.acl, Perms.ADMIN, identities):
        return NoAuthError
    if epoch_of(request.last_zxid) > RESTORED_EPOCH_MAX:
        return BadArgumentsError
    if standing is not None and standing.session != session:
        return BadArgumentsError
    return NotEmptyError if _taken(znodes) else None


def bring(request: Restore, session: SessionId, standing: Bringing | None) -> Outcome:
    if standing is None or standing.session != session:
        return BadArgumentsError
    after = dict(standing.znodes)
    for path in request.gone:
        if path not in after or any(paths.parent(other) == path != other for other in after):
            return BadArgumentsError
        del after[path]
    for path, node in request.nodes:
        if path != "/" and paths.parent(path) not in after:
            return BadArgumentsError
        if node.owner or node.mode not in _KINDS or _KINDS[node.mode] != (node.ttl_ms > 0):
            return BadArgumentsError
        if any(zxid > standing.last_zxid for zxid in (node.czxid, node.mzxid, node.pzxid)):
            return BadArgumentsError
        after[path] = node
    standing.znodes = after
    return DONE


def finish(
    draft: Draft,
    request: FinishRestore,
    session: SessionId,
    standing: Bringing | None,
    znodes: Mapping[str, Znode],
) -> Outcome:
    if standing is None or standing.session != session:
        return BadArgumentsError
    if _taken(znodes):
        return NotEmptyError
    if standing.last_zxid >= draft.zxid:
        return BadArgumentsError
    names = [path for path in standing.znodes if path != "/"]
    counted = all(
        node.num_children == sum(paths.parent(name) == path for name in names) for path, node in standing.znodes.items()
    )
    if len(standing.znodes) != request.znodes or not counted:
        return BadArgumentsError

    after = {**znodes, **standing.znodes, "/zookeeper/config": znodes["/zookeeper/config"]}
    for path in ("/", "/zookeeper"):
        count = sum(paths.parent(other) == path != other for other in after)
        after[path] = replace(after[path], num_children=count)
    for path in sorted(paths.RESERVED):
        if after[path].data != znodes[path].data:
            draft.changes.append(Change(EventType.DATA_CHANGED, path, draft.zxid, after[path].acl))
    for path, node in after.items():
        if path not in znodes:
            draft.changes.append(Change(EventType.CREATED, path, draft.zxid, node.acl, after[paths.parent(path)].acl))
        draft.znodes[path] = node
    return DONE
