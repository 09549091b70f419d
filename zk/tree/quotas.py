"""Quotas: how many nodes and bytes a subtree may hold, and how many it holds.

The limits of `/some/path` are the text of `/zookeeper/quota/some/path/zookeeper_limits`, its usage is written to
`…/zookeeper_stats` beside it; both in ZooKeeper's form, so that its tools read and set them. The usage is of the whole
subtree, the root of the quota included; only the deepest limit above a node is enforced on it.

The figures kept here follow from the znodes alone: they are counted when a quota appears and carried on from there.
"""

from collections.abc import Mapping

from zk.model import paths
from zk.model.errors import QuotaExceededError
from zk.model.record import record
from zk.model.znode import Znode
from zk.tree.children import Children, below

PREFIX = "/zookeeper/quota/"
_ROOT = "/zookeeper/quota"
_LIMITS = "/zookeeper_limits"
_STATS = "/zookeeper_stats"
_UNLIMITED = -1


@record
class QuotaLimits:
    """-1 is unlimited. A soft limit is only reported, and not looked at where there is a hard one."""

    count: int = _UNLIMITED
    bytes: int = _UNLIMITED
    hard_count: int = _UNLIMITED
    hard_bytes: int = _UNLIMITED


def parse_limits(data: bytes) -> QuotaLimits:
    """The limits in a limits node. What can't be understood limits nothing, as in ZooKeeper."""
    found: dict[str, int] = {}
    for pair in data.decode(errors="replace").replace(";", ",").split(","):
        key, _, value = pair.partition("=")
        try:
            found[key.strip()] = int(value.rstrip("= "))
        except ValueError:
            continue
    return QuotaLimits(
        found.get("count", _UNLIMITED),
        found.get("bytes", _UNLIMITED),
        found.get("countHardLimit", _UNLIMITED),
        found.get("byteHardLimit", _UNLIMITED),
    )


def format_limits(limits: QuotaLimits) -> bytes:
    """The text of a limits node."""
    text = f"count={limits.count},bytes={limits.bytes}"
    if limits.hard_count != _UNLIMITED or limits.hard_bytes != _UNLIMITED:
        text += f"=;byteHardLimit={limits.hard_bytes};countHardLimit={limits.hard_count}"
    return text.encode()


def limits_path(path: str) -> str:
    """The node that holds the limits of `path`."""
    return f"{_ROOT}{path}{_LIMITS}"


def stats_path(path: str) -> str:
    """The node that shows the usage of `path`."""
    return f"{_ROOT}{path}{_STATS}"


def _limited_by(path: str) -> str | None:
    """The root of the quota whose limits node is `path`; None if it is none. The root node and ZooKeeper's own nodes
    have no quotas."""
    if path.startswith(PREFIX) and path.endswith(_LIMITS):
        root = path[len(_ROOT) : -len(_LIMITS)]
        if root and not paths.is_inside(root, "/zookeeper"):
            return root
    return None


def _shown_by(path: str) -> str | None:
    """The root of the quota whose stats node is `path`; None if it is none."""
    if path.startswith(PREFIX) and path.endswith(_STATS):
        return path[len(_ROOT) : -len(_STATS)] or None
    return None


class _Quota:
    """The limits and the present usage of one subtree."""

    __slots__ = ("bytes", "count", "limits")

    def __init__(self, limits: QuotaLimits, count: int, size_bytes: int) -> None:
        self.limits = limits
        self.count = count
        self.bytes = size_bytes


class Quotas:
    """All quotas of a tree, by the path they hold for. `note` follows every change of a znode, `check` asks before
    one; both cost nothing as long as there are no `roots`, if the caller looks first."""

    __slots__ = ("_children", "_znodes", "roots", "unwritten")

    def __init__(self, znodes: Mapping[str, Znode], children: Children) -> None:
        self._znodes = znodes
        self._children = children
        self.roots: dict[str, _Quota] = {}
        self.unwritten: dict[str, None] = {}  # roots whose stats node is behind, in order of appearance
        for path in below(children, _ROOT):
            root = _limited_by(path)
            if root is not None:
                self.roots[root] = self._counted(root, parse_limits(znodes[path].data))

    def _above(self, path: str) -> list[tuple[str, _Quota]]:
        """The quotas that `path` counts for, deepest first."""
        found = []
        while path != "/":
            quota = self.roots.get(path)
            if quota is not None:
                found.append((path, quota))
            path = paths.parent(path)
        return found

    def check(self, path: str, more_count: int, more_bytes: int) -> str | None:
        """QuotaExceededError if the growth would break the hard limit that applies to `path`; the root of the soft
        limit that it breaks, if any. What does not grow is never refused."""
        above = self._above(path)
        if not above:
            return None
        root, quota = above[0]
        exceeded_softly = False
        for what, used, more, soft, hard in (
            ("nodes", quota.count, more_count, quota.limits.count, quota.limits.hard_count),
            ("bytes", quota.bytes, more_bytes, quota.limits.bytes, quota.limits.hard_bytes),
        ):
            if more <= 0:
                continue
            if hard >= 0:
                if used + more > hard:
                    raise QuotaExceededError(
                        path, f"the quota of {root} is {hard} {what}: {used} are in use, and this needs {more} more"
                    )
            elif 0 <= soft < used + more:
                exceeded_softly = True
        return root if exceeded_softly else None

    def note(self, path: str, old: Znode | None, new: Znode | None) -> None:
        """A znode appeared (old None), vanished (new None) or was replaced; the znodes show it already."""
        if path.startswith(PREFIX):
            self._note_own(path, new)
        elif self.roots:
            more_count = (new is not None) - (old is not None)
            more_bytes = (len(new.data) if new is not None else 0) - (len(old.data) if old is not None else 0)
            if more_count or more_bytes:
                for root, quota in self._above(path):
                    quota.count += more_count
                    quota.bytes += more_bytes
                    self.unwritten[root] = None

    def _note_own(self, path: str, new: Znode | None) -> None:
        """The same for a node that is about quotas."""
        root = _limited_by(path)
        if root is None:
            root = _shown_by(path)
            if root is not None and root in self.roots:
                self.unwritten[root] = None
        elif new is None:
            self.roots.pop(root, None)
        elif root in self.roots:
            self.roots[root].limits = parse_limits(new.data)
        else:
            self.roots[root] = self._counted(root, parse_limits(new.data))
            self.unwritten[root] = None

    def _counted(self, root: str, limits: QuotaLimits) -> _Quota:
        quota = _Quota(limits, 0, 0)
        if root in self._znodes:
            for path in (root, *below(self._children, root)):
                quota.count += 1
                quota.bytes += len(self._znodes[path].data)
        return quota

    def stats(self, root: str) -> bytes | None:
        """The text of the stats node of `root`; None if it has no quota (any more)."""
        quota = self.roots.get(root)
        return f"count={quota.count},bytes={quota.bytes}".encode() if quota is not None else None
