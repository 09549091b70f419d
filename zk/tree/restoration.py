"""Restoration: a tree that is being brought here from elsewhere, with its stats, and is not to be seen before it is
whole. It is part of the replicated state; what may be brought stands in restoring.py."""

from zk.model.paths import parent
from zk.model.znode import Znode
from zk.tree.children import Children
from zk.tree.digest import ZnodesSum, restoration_hash
from zk.tree.image import Brought


class Restoration:
    """What `session_id` has brought so far: `znodes`, whose zxids are at most `last_zxid`."""

    __slots__ = ("children", "last_zxid", "miscounted", "session_id", "sum", "znodes")

    def __init__(self, brought: Brought) -> None:
        self.session_id = brought.session_id
        self.last_zxid = brought.last_zxid
        self.znodes: dict[str, Znode] = {}
        self.children: Children = {}
        self.miscounted: dict[str, None] = {}  # whose num_children is not what has been brought
        self.sum = ZnodesSum(0, 0)
        for path, znode in brought.znodes.items():
            self.put(path, znode)
        self.sum.settle(self.znodes)

    def put(self, path: str, znode: Znode) -> None:
        """A node comes, or replaces what was brought for its path."""
        old = self.znodes.get(path)
        if old is None:
            self.sum.came(path, znode)
        else:
            self.sum.replaced(path, old)
        self.znodes[path] = znode
        if path != "/":
            self.children.setdefault(parent(path), {})[path] = None
            self._count(parent(path))
        self._count(path)

    def take(self, path: str) -> None:
        """A node without children goes."""
        znode = self.znodes.pop(path)
        self.sum.went(path, znode)
        self.miscounted.pop(path, None)
        if path != "/":
            siblings = self.children[parent(path)]
            del siblings[path]
            if not siblings:
                del self.children[parent(path)]
            self._count(parent(path))

    def leave_out(self, path: str) -> None:
        """This node is none of those that take their place; its children are."""
        self.sum.went(path, self.znodes.pop(path))

    def _count(self, path: str) -> None:
        znode = self.znodes.get(path)
        if znode is None or znode.num_children == len(self.children.get(path, ())):
            self.miscounted.pop(path, None)
        else:
            self.miscounted[path] = None

    def settle(self) -> int:
        """The sum of the hashes of all that was brought."""
        return self.sum.settle(self.znodes)

    def hash(self) -> int:
        """Its part of the state's digest."""
        return restoration_hash(self.session_id, self.last_zxid, self.settle())

    def image(self) -> Brought:
        return Brought(self.session_id, self.last_zxid, self.znodes.copy())
