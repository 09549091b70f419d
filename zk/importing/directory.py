"""A data directory of ZooKeeper 3.4 to 3.9 as a source: its newest snapshot that is whole, and the logs behind it.

Nothing is guessed: damage, and transactions that are missing, are errors that say where. Only what a killed server
leaves in the usual course of things is passed over, and noted: a log whose last record was never finished, a snapshot
that was not finished when an older one and the logs tell as much. With `salvage`, what comes before the first damage is
taken, so that it is a state that there was; only where no snapshot is whole, the beginning of one serves.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from zk.importing.log import Defect, LogFile
from zk.importing.replay import replay
from zk.importing.snapshot import Snapshot, read_snapshot
from zk.importing.source import DamagedSourceError, Source
from zk.importing.tree import ZooKeeperTree
from zk.model.errors import MarshallingError, ZKError
from zk.model.record import Zxid
from zk.model.zxids import counter_of, epoch_of

_VERSION_2 = "version-2"
_SNAPSHOT = re.compile(r"snapshot\.([0-9a-f]{1,16})(?:\.gz|\.snappy)?")
_LOG = re.compile(r"log\.([0-9a-f]{1,16})")


class NoDirectoryError(ZKError):
    """There is no data directory of ZooKeeper's."""


def read_directory(data: Path, log: Path | None = None, *, salvage: bool = False) -> Source:
    """What the data directory `data` (or its `version-2`) holds; `log` is where the transaction logs are, if ZooKeeper
    was told to keep them elsewhere (dataLogDir). Raises NoDirectoryError, DamagedSourceError.
    """
    snapshots = _named(_SNAPSHOT, data)
    logs = _named(_LOG, data if log is None else log)
    if not snapshots and not logs:
        raise NoDirectoryError(
            f"{data}: here are neither snapshots nor transaction logs of ZooKeeper's (nor in its {_VERSION_2}); "
            "name its dataDir"
        )
    return _Reading(snapshots, logs, salvage).read(data)


def _named(pattern: re.Pattern[str], directory: Path) -> list[tuple[Zxid, Path]]:
    """The files whose names are of this kind, by the zxids in them, ascending."""
    inner = directory / _VERSION_2
    try:
        files = list((inner if inner.is_dir() else directory).iterdir())
    except OSError as error:
        raise NoDirectoryError(f"{directory} can't be read: {error.strerror}") from error
    found = [(pattern.fullmatch(file.name), file) for file in files]
    return sorted((Zxid(int(match.group(1), 16)), file) for match, file in found if match)


def follows(zxid: int, before: int) -> bool:
    """Whether a transaction comes right behind another: the next in its epoch, or the first of a later one."""
    if epoch_of(zxid) == epoch_of(before):
        return zxid == before + 1
    return zxid > before and counter_of(zxid) == 1


@dataclass
class _Reading:
    snapshots: list[tuple[Zxid, Path]]
    logs: list[tuple[Zxid, Path]]
    salvage: bool
    notes: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    digest: tuple[int, int] | None = None  # the last that was told, and of which zxid

    def read(self, data: Path) -> Source:
        tree, damages = self._begin(data)
        self._replay(tree)
        self._check_reach(tree, damages)
        self._check_whole(tree)
        if not self.lost:
            self._check_digest(tree)
        znodes, ephemerals = tree.znodes()
        return Source(znodes, tree.zxid, ephemerals, len(tree.sessions), tuple(self.notes), tuple(self.lost))

    # ---- where to begin

    def _begin(self, data: Path) -> tuple[ZooKeeperTree, list[DamagedSourceError]]:
        """The newest snapshot that is whole; and what is wrong with newer ones."""
        damages: list[DamagedSourceError] = []
        for zxid, file in reversed(self.snapshots):
            try:
                snapshot, _ = read_snapshot(file, zxid)
            except DamagedSourceError as error:
                damages.append(error)
                continue
            self._remember_digest(snapshot)
            return snapshot.tree, damages
        if not damages:
            missing = DamagedSourceError(str(data), "there is no snapshot, only logs: what came before them is missing")
            if not self.salvage:
                raise missing
            self.lost.append(str(missing))
            return ZooKeeperTree.empty(), []
        if not self.salvage:
            raise damages[0]
        for zxid, file in reversed(self.snapshots):
            try:
                snapshot, damage = read_snapshot(file, zxid, salvage=True)
            except DamagedSourceError as error:
                self.lost.append(str(error))
                continue
            self.lost.append(
                f"{damage}; {len(snapshot.tree.nodes)} nodes could be read, what stood behind them is lost unless the "
                "logs hold it"
            )
            return snapshot.tree, []
        raise damages[0]

    def _remember_digest(self, snapshot: Snapshot) -> None:
        if snapshot.digest is not None:
            self.digest = (snapshot.digest, snapshot.digest_zxid)

    # ---- the logs

    def _replay(self, tree: ZooKeeperTree) -> None:
        if not self.logs:
            self.notes.append(
                "there are no transaction logs here: what came behind the snapshot is missing, if there was anything "
                "(a dataLogDir of its own is named by --zookeeper-log)"
            )
        begin = max((index for index, (first, _) in enumerate(self.logs) if first <= tree.zxid + 1), default=0)
        pending: tuple[LogFile, Defect] | None = None  # where the log before ended, if not in good order
        for _, file in self.logs[begin:]:
            log = LogFile(file)
            for txn in log:
                if txn.zxid <= tree.zxid:
                    continue
                if not follows(txn.zxid, tree.zxid):
                    gap = f"the transactions from 0x{tree.zxid + 1:x} to 0x{txn.zxid - 1:x} are missing before it"
                    self._damage(DamagedSourceError(str(file), gap, offset=txn.offset, zxid=tree.zxid), pending)
                    return
                pending = None  # ZooKeeper itself went on from there
                try:
                    told = replay(tree, txn)
                except MarshallingError as error:
                    at = Zxid(txn.zxid - 1)
                    self._damage(DamagedSourceError(str(file), error.hint, offset=txn.offset, zxid=at), None)
                    return
                if told is not None:
                    self.digest = (told, txn.zxid)
            if log.defect is not None and (pending is None or not log.defect.torn):
                pending = (log, log.defect)
        if pending is not None:
            self._ended_badly(tree, *pending)

    def _ended_badly(self, tree: ZooKeeperTree, log: LogFile, defect: Defect) -> None:
        if defect.torn:
            self.notes.append(
                f"{log.file} at offset {defect.offset}: {defect.why}, as it happens when a server is killed"
            )
            return
        self._damage(DamagedSourceError(str(log.file), defect.why, offset=defect.offset, zxid=tree.zxid), (log, defect))

    def _damage(self, damage: DamagedSourceError, at: tuple[LogFile, Defect] | None) -> None:
        """The logs can't be followed any further. `at` is the defect that it comes from."""
        if at is not None:
            log, defect = at
            damage = DamagedSourceError(str(log.file), defect.why, offset=defect.offset, zxid=damage.zxid)
        if not self.salvage:
            raise damage
        self.lost.append(f"{damage}; all that came behind it is lost" + "".join(self._told_behind(at)))

    def _told_behind(self, at: tuple[LogFile, Defect] | None) -> Iterator[str]:
        if at is None:
            return
        count, highest = at[0].behind(at[1])
        if count:
            yield f": at least {count} transactions, up to 0x{highest:x}"

    # ---- whether that is all

    def _check_reach(self, tree: ZooKeeperTree, damages: list[DamagedSourceError]) -> None:
        """A damaged snapshot is no loss if an older one and the logs tell all that it told."""
        for (zxid, _), damage in zip(reversed(self.snapshots), damages, strict=False):
            if zxid <= tree.zxid:
                self.notes.append(f"{damage}; an older snapshot and the logs tell what it told")
            elif not self.salvage:
                raise DamagedSourceError(
                    damage.file,
                    f"{damage.why}; older files tell only what was up to zxid 0x{tree.zxid:x}, it was of 0x{zxid:x}",
                    offset=damage.offset,
                )
            else:
                self.lost.append(f"{damage}; lost is what happened from 0x{tree.zxid + 1:x} to 0x{zxid:x}, and later")

    def _check_digest(self, tree: ZooKeeperTree) -> None:
        if self.digest is not None and self.digest[1] == tree.zxid and self.digest[0] != tree.digest():
            damage = DamagedSourceError(
                "the tree that the files amount to", "its digest is not the one that ZooKeeper noted", zxid=tree.zxid
            )
            if not self.salvage:
                raise damage
            self.lost.append(str(damage))

    def _check_whole(self, tree: ZooKeeperTree) -> None:
        """A snapshot may be ahead of its name, if something went on while it was written: then the logs must tell."""
        for path, node in list(tree.nodes.items()):
            newest = max(node.czxid, node.mzxid, node.pzxid)
            if newest > tree.zxid or node.acl is None:
                why = (
                    f"{path} was changed by transaction 0x{newest:x}"
                    if newest > tree.zxid
                    else f"{path} has an ACL that stands nowhere"
                )
                damage = DamagedSourceError(
                    "the transaction logs", f"{why}, but they end at 0x{tree.zxid:x}", zxid=tree.zxid
                )
                if not self.salvage:
                    raise damage
                self._make_do(tree, path, str(damage))

    def _make_do(self, tree: ZooKeeperTree, path: str, why: str) -> None:
        node = tree.nodes[path]
        tree.zxid = Zxid(max(tree.zxid, node.czxid, node.mzxid, node.pzxid))
        if node.acl is None:
            node.acl = ()  # nobody but the super user may touch it
        self.lost.append(why)
