"""Copying a live ZooKeeper, and following it until it is time to cut over.

The source is read node by node while it is written to, so one reading is no state that there ever was. It is read again
until a whole reading finds nothing new: then all of it was so at one moment between the last two. What ZooKeeper tells
nobody can't be copied: whether a node is a container or has a TTL.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import anyio
from zkclient import AsyncZooKeeper

from zk.importing.peer import SourcePeer, connect
from zk.importing.restore import Node, Restoring
from zk.importing.subtree import CALLS_AT_ONCE, CONFIG
from zk.model.acl import Acl
from zk.model.errors import APIError, NoAuthError, NoNodeError
from zk.model.events import WatchEvent, WatchMode
from zk.model.limits import MIB
from zk.model.paths import join, parent
from zk.model.record import SessionId, Zxid, record
from zk.model.replies import AclReply, ChildrenReply, DataReply, Reply
from zk.model.requests import AddWatch, CreateMode, Exists, GetAcl, GetChildren, GetData
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.model.zxids import epoch_of, make_zxid

POLL_S = 2.0
"""How often all of a source is read that has no persistent watches (ZooKeeper before 3.6)."""
REPORT_S = 10.0
RECONNECT_S = 1.0
WATCH_TIMEOUT_S = 5.0
SWEEPS_MAX = 10
"""So often everything is read for a cut-over; if something is new each time, the source is still written to."""
EPOCHS_AHEAD = 16
"""So many elections may be held at the source while it is followed."""
_DATA_AT_ONCE_BYTES = 4 * MIB
_LAST_COUNTER = 0xFFFF_FFFF


@dataclass(slots=True)
class Known:
    """One node of the source as it was last seen."""

    stat: Stat
    data: bytes
    acl: tuple[Acl, ...]


@dataclass
class Copy:
    """What is known of the source, and what of it is new since `take` was last asked. Without ephemerals."""

    nodes: dict[str, Known] = field(default_factory=dict)
    ephemerals: set[str] = field(default_factory=set)
    changes: int = 0
    _children: dict[str, set[str]] = field(default_factory=dict)
    _new: set[str] = field(default_factory=set)
    _taken: set[str] = field(default_factory=set)

    async def look(self, peer: SourcePeer, paths: Iterable[str], *, deep: bool) -> bool:
        """Read these nodes, all that turns out to be new below them, and with `deep` all that is below them. Whether
        anything is new. NoAuthError names a node that may not be read."""
        before = self.changes
        waiting = list(paths)
        if deep:
            self.ephemerals.clear()
        while waiting:
            batch, waiting = waiting[:CALLS_AT_ONCE], waiting[CALLS_AT_ONCE:]
            seen: list[tuple[str, Stat]] = []
            for path, reply in zip(batch, await peer.call_all([GetChildren(path) for path in batch]), strict=True):
                if isinstance(reply.body, NoNodeError):
                    self._forget(path)
                    continue
                body = _readable(path, reply)
                assert isinstance(body, ChildrenReply)
                if body.stat.ephemeral_owner:
                    self._forget(path)
                    self.ephemerals.add(path)
                    continue
                seen.append((path, body.stat))
                names = {join(path, name) for name in body.names} - {CONFIG}
                for gone in self._children.get(path, set()) - names:
                    self._forget(gone)
                waiting += sorted(names if deep else names - self.nodes.keys())
            await self._read(peer, seen)
        return self.changes > before

    async def _read(self, peer: SourcePeer, seen: Sequence[tuple[str, Stat]]) -> None:
        """Read data and ACL where they are not the ones that are known."""
        data: dict[str, int] = {}
        acl: list[str] = []
        for path, stat in seen:
            known = self.nodes.get(path)
            again = known is None or known.stat.czxid != stat.czxid
            if known is None or again or known.stat.mzxid != stat.mzxid:
                data[path] = stat.data_length
            if known is None or again or known.stat.aversion != stat.aversion:
                acl.append(path)
        found_data = await _read_data(peer, data)
        found_acl = await _read_acls(peer, acl)
        for path, stat in seen:
            known = self.nodes.get(path)
            if path in data or path in acl:
                missing = (path in data and path not in found_data) or (path in acl and path not in found_acl)
                if missing or (path != "/" and parent(path) not in self.nodes):
                    continue  # deleted meanwhile: its parent tells, when all is read again
                old_data, old_acl = (known.data, known.acl) if known is not None else (b"", ())
                self._learn(path, Known(stat, found_data.get(path, old_data), found_acl.get(path, old_acl)))
            elif known is not None and known.stat != stat:
                self._learn(path, Known(stat, known.data, known.acl))

    def _learn(self, path: str, known: Known) -> None:
        self.changes += 1
        self.nodes[path] = known
        self.ephemerals.discard(path)
        self._new.add(path)
        if path != "/":
            siblings = self._children.setdefault(parent(path), set())
            if path not in siblings:
                siblings.add(path)
                self._new.add(parent(path))

    def _forget(self, path: str) -> None:
        self.ephemerals.discard(path)
        for child in tuple(self._children.get(path, ())):
            self._forget(child)
        if self.nodes.pop(path, None) is not None:
            self.changes += 1
            self._children.pop(path, None)
            self._children[parent(path)].discard(path)
            self._new.update((path, parent(path)))

    def take(self) -> tuple[list[Node], list[str]]:
        """What is new: nodes, parents first, and paths of nodes that are gone, children first."""
        gone = sorted((path for path in self._new if path not in self.nodes and path in self._taken), reverse=True)
        nodes = [(path, self._znode(path)) for path in sorted(self._new) if path in self.nodes]
        self._new.clear()
        self._taken.difference_update(gone)
        self._taken.update(path for path, _ in nodes)
        return nodes, gone

    def _znode(self, path: str) -> Znode:
        known = self.nodes[path]
        stat = known.stat
        return Znode(
            known.data,
            known.acl,
            stat.czxid,
            stat.mzxid,
            stat.pzxid,
            stat.ctime,
            stat.mtime,
            stat.version,
            (stat.cversion + stat.num_children) // 2 % (1 << 32),
            stat.aversion,
            SessionId(0),
            len(self._children.get(path, ())),
            CreateMode.PERSISTENT,
            0,
        )


def _readable(path: str, reply: Reply) -> object:
    if isinstance(reply.body, NoAuthError):
        raise NoAuthError(path, "the source does not let it be read: name an identity that may (--from-auth)")
    if isinstance(reply.body, APIError):
        raise reply.body
    return reply.body


async def _read_data(peer: SourcePeer, sizes: dict[str, int]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    batch: list[str] = []
    size = 0
    for path, length in [*sizes.items(), ("", 0)]:
        if batch and (not path or size + length > _DATA_AT_ONCE_BYTES):
            for each, reply in zip(batch, await peer.call_all([GetData(each) for each in batch]), strict=True):
                if not isinstance(reply.body, NoNodeError):
                    body = _readable(each, reply)
                    assert isinstance(body, DataReply)
                    found[each] = body.data
            batch, size = [], 0
        batch.append(path)
        size += length
    return found


async def _read_acls(peer: SourcePeer, paths: Sequence[str]) -> dict[str, tuple[Acl, ...]]:
    found: dict[str, tuple[Acl, ...]] = {}
    for path, reply in zip(paths, await peer.call_all([GetAcl(path) for path in paths]), strict=True):
        if not isinstance(reply.body, NoNodeError):
            body = _readable(path, reply)
            assert isinstance(body, AclReply)
            if any(entry.scheme == "digest" and entry.id.endswith(":x") for entry in body.acl):
                raise NoAuthError(
                    path, "the source hides digests of its ACL: name an identity with ADMIN (--from-auth)"
                )
            found[path] = body.acl
    return found


@record
class Copied:
    """What came of it."""

    znodes: int
    data_bytes: int
    ephemerals: int
    zxid: Zxid


class LiveImport:
    """One import of the ensemble at `hosts` by the client `zk`. `report` is told what happens, for the operator.

    Once `following` is set, setting `cut_over` ends it.
    """

    def __init__(self, zk: AsyncZooKeeper, hosts: str, auth: str | None, report: Callable[[str], object]) -> None:
        self.following = False
        self.cut_over = anyio.Event()
        self._restoring = Restoring(zk)
        self._hosts = hosts
        self._auth = auth
        self._report = report
        self._copy = Copy()
        self._begun = False
        self._done = False
        self._watchless = False
        self._zxid = Zxid(0)  # up to where everything is known
        self._watched: set[str] = set()
        self._news = anyio.Event()
        self._next_report_s = 0.0

    async def run(self, until_caught_up: bool) -> Copied:
        """Copy, follow, cut over. Raises ConnectionError if the source can't be reached at the beginning; later it is
        tried again."""
        while not self._done:
            failures: list[str] = []
            try:
                async with connect(self._hosts, self._auth, self._told) as peer:
                    await self._attend(peer, until_caught_up)
            except* ConnectionError as group:
                if not self._begun and not self._watchless:
                    raise
                failures += [str(error) for error in group.exceptions]
            if failures and not self._done:
                self._report(f"{failures[0]}: trying again")
                await anyio.sleep(RECONNECT_S)
        copy = self._copy
        await self._restoring.finish(len(copy.nodes))
        data_bytes = sum(len(known.data) for known in copy.nodes.values())
        return Copied(len(copy.nodes), data_bytes, len(copy.ephemerals), self._zxid)

    def _told(self, event: WatchEvent) -> None:
        self._watched.update((event.path, parent(event.path)))
        self._news.set()

    async def _attend(self, peer: SourcePeer, until_caught_up: bool) -> None:
        """Follow over one connection, until it breaks or all is done."""
        watching = await self._watch(peer)
        if not self._begun:
            highest = make_zxid(epoch_of(peer.zxid) + EPOCHS_AHEAD, _LAST_COUNTER)
            await self._restoring.begin(highest)
            self._begun = True
        await self._sweep(peer)
        if not self.following:
            self.following = True
            self._report(f"copied {len(self._copy.nodes)} znodes, up to zxid {self._zxid:#x}; following")
        while not self._done:
            if until_caught_up or self.cut_over.is_set():
                await self._try_to_cut_over(peer)
                continue
            with anyio.move_on_after(POLL_S if not watching else 1.0):
                await self._wait()
            if not watching:
                await self._sweep(peer)
            elif self._watched:
                await self._catch_up(peer)
            else:
                await peer.call(Exists("/"))  # its zxid shows how far the source is, and that it is there
                self._zxid = self._zxid if self._watched else peer.zxid
            self._tell_lag(peer)

    async def _wait(self) -> None:
        """Until there is something to do."""
        async with anyio.create_task_group() as tasks:

            async def end_with(event: anyio.Event) -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(end_with, self._news)
            tasks.start_soon(end_with, self.cut_over)

    async def _watch(self, peer: SourcePeer) -> bool:
        """Whether the source tells what happens. One that does not know the request refuses it, or says nothing."""
        if self._watchless:
            return False
        try:
            await peer.call(AddWatch("/", WatchMode.RECURSIVE), WATCH_TIMEOUT_S)
        except (APIError, ConnectionError) as error:
            self._watchless = True
            self._report("the source has no persistent watches: it is read again and again")
            if isinstance(error, ConnectionError):
                raise
            return False
        return True

    async def _sweep(self, peer: SourcePeer) -> bool:
        """Read everything; whether anything was new."""
        self._begin_to_look()
        zxid = peer.zxid
        changed = await self._copy.look(peer, ("/",), deep=True)
        await self._bring()
        self._zxid = zxid
        return changed

    async def _catch_up(self, peer: SourcePeer) -> None:
        paths = self._begin_to_look()
        zxid = peer.zxid
        known = sorted(path for path in paths if path == "/" or parent(path) in self._copy.nodes)
        await self._copy.look(peer, known, deep=False)
        await self._bring()
        self._zxid = zxid

    def _begin_to_look(self) -> set[str]:
        paths, self._watched, self._news = self._watched, set(), anyio.Event()
        return paths

    async def _bring(self) -> None:
        nodes, gone = self._copy.take()
        if nodes or gone:
            await self._restoring.bring(nodes, gone)

    async def _try_to_cut_over(self, peer: SourcePeer) -> None:
        for _ in range(SWEEPS_MAX):
            if not await self._sweep(peer):
                self._done = True
                return
        self._report("the source is still written to: stop its writers, then cut over")
        self.cut_over = anyio.Event()
        await anyio.sleep(POLL_S)

    def _tell_lag(self, peer: SourcePeer) -> None:
        now_s = anyio.current_time()
        if now_s >= self._next_report_s:
            self._next_report_s = now_s + REPORT_S
            behind = "nothing is behind" if self._zxid >= peer.zxid else f"the source is at {peer.zxid:#x}"
            self._report(f"{len(self._copy.nodes)} znodes, up to zxid {self._zxid:#x}; {behind}")
