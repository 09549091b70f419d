"""NodeCache, ChildrenCache and TreeCache: what each shows of what is kept at hand (cache.py)."""

from collections.abc import Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING

from zk.model.paths import basename, join
from zkclient.cache import Cache
from zkclient.results import NodeData

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

NODES_MAX = 100_000  # that a cache keeps unless it is told otherwise


class TreeCache(Cache, Mapping[str, NodeData]):
    """`path` and all below it, as a mapping from paths to nodes, kept up to date.

        async with zk.TreeCache("/config") as cache:
            print(cache["/config/db"])
            async for change in cache.changes():
                print(change.type.name, change.path, change.new)

    It shows one state of the tree after the other, each as it was at one instant, `cache.zxid`; states may be left out,
    the last one never. (When changes come too fast for that, `exact` says so.) Behind a write,
    `await cache.wait_until(stat.mzxid)` waits until it is shown. While the client is not connected the last state
    stays; after that it goes on without a gap, also in another session and at another server.

    A node's stat is of the moment when its data was last read: what is there of children and ACLs may be older. A node
    that this client may not read is not shown, nor what is below; permissions that change are noticed at the node's
    next change. `nodes_max` bounds how much it keeps; where there is more the cache ends, and all its methods raise
    TooManyNodesError. `timeout` (seconds) is the deadline of the first filling.
    """

    def __init__(
        self, client: "AsyncZooKeeper", path: str, *, nodes_max: int = NODES_MAX, timeout: float | None = None
    ) -> None:
        super().__init__(client, path, inf, nodes_max, timeout)

    def __getitem__(self, path: str) -> NodeData:
        return self._nodes()[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._nodes())

    def __len__(self) -> int:
        return len(self._nodes())

    def children(self, path: str) -> tuple[str, ...]:
        """The sorted names of the children of `path`."""
        inside = path if path.endswith("/") else f"{path}/"
        return tuple(
            sorted(
                node[len(inside) :]
                for node in self._nodes()
                if node.startswith(inside) and node != inside and "/" not in node[len(inside) :]
            )
        )


class ChildrenCache(Cache, Mapping[str, NodeData]):
    """The children of `path`, as a mapping from names to nodes, kept up to date. A missing node has none.

        async with zk.ChildrenCache("/workers") as workers:
            for name, node in workers.items():
                print(name, node)

    All else is as of TreeCache. The changes of `path` itself are told too.
    """

    def __init__(
        self, client: "AsyncZooKeeper", path: str, *, nodes_max: int = NODES_MAX, timeout: float | None = None
    ) -> None:
        super().__init__(client, path, 1, nodes_max, timeout)

    def __getitem__(self, name: str) -> NodeData:
        if "/" in name or not name:
            raise KeyError(name)
        return self._nodes()[join(self._path, name)]

    def __iter__(self) -> Iterator[str]:
        return (basename(path) for path in self._nodes() if path != self._path)

    def __len__(self) -> int:
        nodes = self._nodes()
        return len(nodes) - (self._path in nodes)


class NodeCache(Cache):
    """One node, kept up to date: `cache.node` is its data and stat, None while it is missing.

        async with zk.NodeCache("/config") as config:
            print(config.node)

    All else is as of TreeCache.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, *, timeout: float | None = None) -> None:
        super().__init__(client, path, 0, 1, timeout)

    @property
    def node(self) -> NodeData | None:
        return self._nodes().get(self._path)
