"""What a read must be answered: worked out from the ledger, for the zxid that the answer itself claims."""

from collections.abc import Sequence

from zk.model import paths
from zk.model.acl import Acl, Identity, Perms
from zk.model.errors import APIError, NoAuthError, NoNodeError
from zk.model.record import SessionId, Zxid
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
from zk.sim.draft import Outcome, allows
from zk.sim.ledger import Ledger


def agrees(expected: Outcome, body: Body | APIError) -> bool:
    """Whether the answer is the expected one. Children come in any order."""
    if isinstance(expected, type):
        return type(body) is expected
    if isinstance(expected, tuple):
        return (
            isinstance(body, MultiReply)
            and len(expected) == len(body.results)
            and all(map(agrees, expected, body.results))
        )
    if isinstance(expected, ChildrenReply) and isinstance(body, ChildrenReply):
        return expected.stat == body.stat and expected.names == tuple(sorted(body.names))
    return expected == body


class Answers:
    """What one session is to be told of the state at `zxid`."""

    def __init__(self, ledger: Ledger, session: SessionId, zxid: Zxid) -> None:
        self._ledger = ledger
        self._session = session
        self._zxid = zxid
        self._identities: Sequence[Identity] = ledger.identities_at(session, zxid)

    def to(self, request: TreeRead) -> Outcome:
        match request:
            case GetData():
                return self._readable(request.path)
            case Exists():
                node = self._node(request.path)
                return NoNodeError if node is None else StatReply(node.stat)
            case GetAcl():
                return self._acl(request)
            case GetNode():
                return self._whole(request)
            case MultiRead():
                return tuple(self._part(operation) for operation in request.operations)
            case GetEphemerals():
                owned = self._ledger.owned(self._session).at(self._zxid)
                return PathsReply(tuple(sorted(path for path in owned if path.startswith(request.prefix))))
            case WhoAmI():
                return IdentitiesReply(tuple(self._identities))
            case GetChildren() | GetChildrenPage() | CountDescendants():
                return self._about_children(request)

    def _node(self, path: str) -> Znode | None:
        return self._ledger.node_at(path, self._zxid)

    def _readable(self, path: str) -> Znode | type[APIError]:
        node = self._node(path)
        if node is None:
            return NoNodeError
        return node if allows(node.acl, Perms.READ, self._identities) else NoAuthError

    def _whole(self, request: GetNode) -> NodeReply | type[APIError]:
        node, acl = self._readable(request.path), self._acl(GetAcl(request.path))
        if isinstance(node, type) or isinstance(acl, type):
            return NoNodeError if node is NoNodeError else NoAuthError
        return NodeReply(node.data, acl.acl, node.mode, node.ttl_ms, node.stat)

    def _acl(self, request: GetAcl) -> AclReply | type[APIError]:
        node = self._node(request.path)
        if node is None:
            return NoNodeError
        if allows(node.acl, Perms.ADMIN, self._identities):
            return AclReply(node.acl, node.stat)
        if allows(node.acl, Perms.READ, self._identities):
            hidden = [
                Acl(entry.perms, entry.scheme, entry.id.split(":")[0] + ":x") if entry.scheme == "digest" else entry
                for entry in node.acl
            ]
            return AclReply(tuple(hidden), node.stat)
        return NoAuthError

    def _part(self, operation: GetData | GetChildren) -> "Body | type[APIError]":
        return self._readable(operation.path) if isinstance(operation, GetData) else self._about_children(operation)

    def _about_children(
        self, request: GetChildren | GetChildrenPage | CountDescendants
    ) -> ChildrenReply | ChildrenPageReply | CountReply | type[APIError]:
        node = self._readable(request.path)
        if isinstance(node, type):
            return node
        if isinstance(request, CountDescendants):
            return CountReply(self._ledger.below_at(request.path, self._zxid))
        names = sorted(self._ledger.children(request.path).at(self._zxid))
        if isinstance(request, GetChildren):
            return ChildrenReply(tuple(names), node.stat)
        left = [name for name in names if name.startswith(request.prefix) and name > request.start_after]
        entries = [self._entry(request, name) for name in left[: request.limit]]
        return ChildrenPageReply(tuple(entries), len(left) > request.limit, node.stat)

    def _entry(self, request: GetChildrenPage, name: str) -> PageEntry:
        child = self._node(paths.join(request.path, name))
        assert child is not None
        if request.with_data and allows(child.acl, Perms.READ, self._identities):
            return PageEntry(name, child.stat, child.data)
        return PageEntry(name, None, None)
