"""What a server has whatever its role: the log, the links to its peers, what is committed and delivered, and the
effects of the running step.

It decides nothing about leadership; the roles do (election.py, leading.py, following.py).
"""

from collections.abc import Sequence
from itertools import groupby

from zk.broadcast.engine import (
    Append,
    Deliver,
    Disconnect,
    Effect,
    Install,
    Role,
    RoleChanged,
    Send,
    StoreSnapshot,
    Token,
)
from zk.broadcast.messages import Message
from zk.broadcast.records import Entry, EntryKind, Promise, Record, Recovered, SnapshotRef, Truncate
from zk.broadcast.zab.config import ALONE_HISTORY_BYTES_MAX, DELIVERED_PER_STEP_MAX, EPOCH_JUMP_MAX, ZabConfig
from zk.broadcast.zab.durability import Durability
from zk.broadcast.zab.history import History
from zk.broadcast.zab.peer import Link, RemoteProtocolError
from zk.model.chance import Chance
from zk.model.record import Epoch, ServerId, Zxid

_TXN = EntryKind.TXN  # found once: Python 3.11 takes longer to find it than to call a method


class Node:
    """Always `delivered <= min(commit, durability.zxid) <= history.last`."""

    def __init__(self, config: ZabConfig, recovered: Recovered, chance: Chance, now_ms: int) -> None:
        self.config = config
        self.server_id = config.server_id
        self.disk_uuid = recovered.disk_uuid
        self.damaged = recovered.damaged
        self.chance = chance
        self.now_ms = now_ms
        self.next_epoch_bump_ms = now_ms
        self.effects: list[Effect] = []
        self.links: dict[ServerId, Link] = {}

        self.accepted_epoch = recovered.accepted_epoch
        snapshot = recovered.snapshot
        self.history = _history_from(snapshot)
        self._replay(recovered.records)
        self.durability = Durability(self.history.last)
        self.snapshot_zxid = snapshot.zxid if snapshot else Zxid(0)
        self.delivered = self.delivered_txn = self.commit = self.snapshot_zxid
        self._installing: tuple[int, Install] | None = None
        self._note_membership()

    def _replay(self, records: Sequence[Record]) -> None:
        """Build the history from the log behind the snapshot."""
        for kind, run in groupby(records, type):
            if kind is Entry:
                entries = [record for record in run if isinstance(record, Entry) and record.zxid > self.history.base]
                if entries:  # else the snapshot covers them
                    self.history.append(entries)
                continue
            for record in run:
                if isinstance(record, Truncate):
                    self.history.truncate(max(record.zxid, self.history.base))
                elif isinstance(record, Promise):
                    self.accepted_epoch = max(self.accepted_epoch, record.epoch)
                elif isinstance(record, SnapshotRef) and record.installed:
                    self.history = _history_from(record)

    # ---- membership

    def _note_membership(self) -> None:
        """`membership` is what the history says; `configs` are the voter sets in force, `voters` all their members."""
        self.membership = self.history.membership
        self.configs = self.membership.configs if self.membership else (self.config.voters,)
        self.voters: frozenset[ServerId] = frozenset().union(*self.configs)
        config, alone = self.config, len(self.voters) == 1
        self._history_max = (
            (0, ALONE_HISTORY_BYTES_MAX) if alone else (config.history_entries_max, config.history_bytes_max)
        )

    @property
    def cluster_id(self) -> str:
        """Which founding of the ensemble this server's log belongs to; "" if it knows of none."""
        return self.membership.cluster_id if self.membership else ""

    def counts(self, peer: ServerId) -> bool:
        """Whether what the connected `peer` promises and acknowledges counts: it has the disk that the ensemble knows,
        or neither knows of a founding."""
        if peer not in self.voters:
            return False
        link, membership = self.links[peer], self.membership
        return membership.disk(peer) == link.disk_uuid if membership else not link.cluster_id

    def may_campaign(self) -> bool:
        """Whether this server, by its disk, may lead. A fresh one only where nobody has a history."""
        membership = self.membership
        if membership is None:
            return not self.damaged and not any(link.cluster_id for link in self.links.values())
        return membership.disk(self.server_id) == self.disk_uuid

    def may_vote_for(self, candidate: ServerId) -> bool:
        """Whether this server, by its disk, may promise something to `candidate`, which would count it.

        Where there is an ensemble, the candidate's membership decides: a disk that it names was caught up before it was
        named, and has lost nothing since, or it would be another disk. This server's own log may lack that membership
        yet, and waiting for it could be waiting for ever: the candidate may need this very vote.
        """
        return (bool(self.links[candidate].cluster_id) and not self.damaged) or self.may_campaign()

    # ---- peers

    def send(self, peer: ServerId, message: Message) -> None:
        """Send, if there is a connection."""
        link = self.links.get(peer)
        if link is not None:
            self.effects.append(Send(peer, link.connection, message))

    def send_once_durable(self, peer: ServerId, message: Message) -> None:
        """Send, if there is a connection and it still stands then, when all that is appended so far is durable."""
        link = self.links.get(peer)
        if link is None:
            return
        if self.durability.complete:
            self.effects.append(Send(peer, link.connection, message))
        else:
            self.durability.hold(peer, link.connection, message)

    def disconnect(self, peer: ServerId, reason: str) -> None:
        """Close the connection; nothing that comes from it counts any more."""
        link = self.links.pop(peer)
        self.effects.append(Disconnect(peer, link.connection, reason))

    def check_epoch(self, epoch: Epoch) -> None:
        """Raise RemoteProtocolError if `epoch` cannot be right."""
        if epoch > self.accepted_epoch + EPOCH_JUMP_MAX:
            raise RemoteProtocolError(f"epoch {epoch} is too far above {self.accepted_epoch}")

    def is_foreign(self, cluster_id: str) -> bool:
        """Whether it names another founding than this server's: zxids of the one say nothing about the other."""
        mine = self.cluster_id
        return bool(mine and cluster_id) and cluster_id != mine

    def check_founding(self, peer: ServerId, cluster_id: str) -> None:
        """Note which founding `peer` belongs to. Raise RemoteProtocolError if that is another one than this server's:
        nothing that follows from comparing their logs would be true."""
        if self.is_foreign(cluster_id):
            raise RemoteProtocolError(
                f"server {peer} belongs to another founding of the ensemble {self.config.cluster_name!r} "
                f"({cluster_id}, this server to {self.cluster_id}): its data directory is an old one, or this server's "
                "is. Keep a copy of the old one, then start its server with an empty one: it will be taken in again"
            )
        if cluster_id:
            self.links[peer].cluster_id = cluster_id

    def role_changed(self, role: Role, epoch: Epoch, leader: ServerId, why: str = "") -> None:
        self.effects.append(RoleChanged(role, epoch, leader, why))

    # ---- the log

    def promise(self, epoch: Epoch) -> None:
        """Take part in no epoch below `epoch` any more."""
        assert epoch > self.accepted_epoch
        self.accepted_epoch = epoch
        self._log((Promise(epoch),))

    def append(self, entries: tuple[Entry, ...]) -> int:
        """Append the next entries; how many bytes their payloads have."""
        size = self.history.append(entries)
        self._log(entries)
        return size

    def replace_above(self, common: Zxid, entries: tuple[Entry, ...]) -> None:
        """Drop what is above `common`, and append `entries`, if any."""
        records: tuple[Record, ...] = entries
        if common < self.history.last:
            assert common >= self.delivered
            self.durability.truncated(common)
            self.history.truncate(common)
            records = (Truncate(common), *entries)
        if entries:
            self.history.append(entries)
        if records:
            self._log(records)

    def install(self, ref: SnapshotRef, chunks: tuple[bytes, ...], entries: tuple[Entry, ...]) -> None:
        """Let a snapshot of the leader, and `entries` behind it, replace the whole log. The state follows once that is
        durable."""
        assert ref.installed
        assert ref.zxid >= self.delivered
        history = _history_from(ref)
        if entries:
            history.append(entries)
        self.durability.truncated(min(ref.zxid, self.delivered))
        self.history = history
        self.effects.append(StoreSnapshot(ref, chunks))
        self._log((ref, *entries))
        self._installing = (self.durability.lsn, Install(ref, chunks))

    def snapshot_stored(self, ref: SnapshotRef) -> None:
        """A snapshot of this server's own is durable: from here on its log may begin with it."""
        assert ref.zxid <= self.delivered
        if ref.zxid < self.snapshot_zxid or self._installing is not None:
            return  # another one, installed meanwhile, is newer
        self.snapshot_zxid = ref.zxid
        epochs, membership = self.history.shape_at(ref.zxid), self.history.membership_at(ref.zxid)
        self._log((SnapshotRef(ref.zxid, ref.file, ref.digest, epochs, membership, installed=False),))

    def _log(self, records: tuple[Record, ...]) -> None:
        """Write what was done to the history, or promised."""
        history = self.history
        self.effects.append(Append(records))
        self.durability.appended(len(records), history.last, self.now_ms)
        if history.membership is not self.membership:
            self._note_membership()

    def durable(self, lsn: int) -> None:
        """The disk has everything up to `lsn`."""
        for held in self.durability.reported(lsn, self.now_ms):
            link = self.links.get(held.peer)
            if link is not None and link.connection == held.connection:
                self.effects.append(Send(held.peer, held.connection, held.message))
        if self._installing is not None and self._installing[0] <= lsn:
            install = self._installing[1]
            self._installing = None
            self.delivered = self.delivered_txn = self.snapshot_zxid = install.ref.zxid
            self.commit = max(self.commit, self.delivered)
            self.effects.append(install)

    # ---- delivery

    def deliver(self, tokens: list[Token]) -> None:
        """Hand up what is committed and durable here, and of `tokens`, unless there are none, those that belong to it.

        If it is very much, the rest waits for the next call; the roles call at every tick.
        """
        commit, durable = self.commit, self.durability.zxid
        until = commit if commit <= durable else durable
        if until <= self.delivered or self._installing is not None:
            return
        entries = self.history.between(self.delivered, until, DELIVERED_PER_STEP_MAX)
        self.delivered = entries[-1].zxid
        for entry in entries:
            if entry.kind is not _TXN:
                entries = [entry for entry in entries if entry.kind is _TXN]
                break
        if entries:
            count = len(entries)
            self.delivered_txn = entries[-1].zxid
            self.effects.append(Deliver(entries, tokens[:count]))
            del tokens[:count]

    @property
    def history_is_long(self) -> bool:
        """Whether there is clearly more of it in memory than need be: it is time for `forget_history`."""
        entries_max, bytes_max = self._history_max
        return self.history.exceeds(entries_max, bytes_max)

    def forget_history(self, up_to: Zxid) -> None:
        """Keep the history in memory within its limits, but everything above `up_to`, and what a snapshot of the
        delivered state would be continued with."""
        self.history.forget(min(up_to, self.delivered_txn), *self._history_max)

    def jitter(self, low_ms: int, high_ms: int) -> int:
        return self.chance.randrange(low_ms, high_ms + 1)

    def nonce(self) -> int:
        """A number that no earlier stream or round had, but with negligible chance."""
        return self.chance.randrange(1, 1 << 31)


def _history_from(snapshot: SnapshotRef | None) -> History:
    if snapshot is None:
        return History(Zxid(0), (), b"")
    return History(snapshot.zxid, snapshot.epochs, snapshot.membership)
