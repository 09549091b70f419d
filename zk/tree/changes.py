"""Change: what one write did to one node. Watches and the history of changes are made of it."""

from zk.model.acl import Acl
from zk.model.events import EventType
from zk.model.record import Zxid, record


@record
class Change:
    """`path` was CREATED, DELETED or DATA_CHANGED by transaction `zxid`.

    That the parent's children changed follows from CREATED and DELETED. The two ACLs (the node's own, for a deleted
    node the one it had; and the parent's) say who may be told; `parent_acl` is () for DATA_CHANGED.
    """

    type: EventType
    path: str
    zxid: Zxid
    acl: tuple[Acl, ...]
    parent_acl: tuple[Acl, ...] = ()
