"""Before the clients begin, in some runs: one of them brings a tree to the empty ensemble, and the others only read."""

from dataclasses import replace

from zk.model.acl import OPEN_ACL
from zk.model.paths import RESERVED
from zk.model.record import SessionId, Zxid
from zk.model.requests import BeginRestore, CreateMode, Exists, FinishRestore, Restore, TreeRead
from zk.model.znode import Znode
from zk.model.zxids import make_zxid
from zk.sim.ledger import Ledger
from zk.sim.wishes import Wish
from zk.sim.world import MS, World

BRINGER = 2
"""The client that does it; not the one that may go away for ever."""
AT_MOST_MS = 4_000
"""Then the others begin all the same, and what is brought is too late."""


class Prelude:
    """`epoch` is that of the zxids that are brought: above what an ensemble begins with."""

    def __init__(self, world: World, ledger: Ledger, epoch: int) -> None:
        self._world = world
        self._ledger = ledger
        self._session = SessionId(0)
        self._made = 0
        last = make_zxid(epoch, 7)
        node = Znode(
            b"brought", OPEN_ACL, last, last, last, 1_000, 1_000, 3, 0, 0, SessionId(0), 0, CreateMode.PERSISTENT, 0
        )
        top = replace(node, data=b"", czxid=Zxid(0))
        tree = {
            "/": replace(top, num_children=4, created=9),
            "/zookeeper": replace(top, num_children=1),
            "/zookeeper/quota": top,
            "/tree": replace(node, num_children=1, created=5),
            "/tree/a": node,
            "/box-0": replace(node, mode=CreateMode.CONTAINER),
            "/ttl-0": replace(node, mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=150),
        }
        nodes = tuple(tree.items())
        self._steps = (
            BeginRestore(last),
            Restore((*nodes[:5], ("/tree/b", node))),
            Restore((*nodes[5:], ("/tree/a", replace(node, version=9))), gone=("/tree/b",)),
            FinishRestore(len(nodes)),
        )

    @property
    def over(self) -> bool:
        """There is a tree, brought or not, or it took too long."""
        return (
            bool(self._ledger.restored)
            or len(self._ledger.znodes) > len(RESERVED)
            or self._world.now_us > AT_MOST_MS * MS
        )

    def instead(self, number: int, session: SessionId, wish: Wish) -> Wish:
        """What the client `number` asks for, in place of its own wish. In a new session, all begins anew; the end is
        asked for again and again, since the zxids of the ensemble have to go above those that are brought."""
        if number != BRINGER:
            return wish if isinstance(wish.request, TreeRead) else Wish(Exists("/tree", watch=True), False, False)
        if session != self._session:
            self._session, self._made = session, 0
        request = self._steps[min(self._made, len(self._steps) - 1)]
        self._made += 1
        return Wish(request, False, False)
