"""Any history of writes, syncs, snapshots, restarts, kills and power cuts, held against a model of what must survive.

The model is the list of all records appended so far, and how many of them were synced. A start must find at least the
synced ones, in their order, and nothing that was never appended.
"""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from zk.broadcast.records import Entry, EntryKind, Promise, Record, Recovered, SnapshotRef, Truncate
from zk.model.limits import KIB
from zk.model.record import Epoch, Zxid
from zk.model.zxids import epoch_of, make_zxid
from zk.sim.disk import Disk, PowerCut
from zk.storage.errors import LogFailure, StorageError
from zk.storage.store import Options

if TYPE_CHECKING:
    from tests.storage.conftest import Lab


def history(records: list[Record]) -> list[Zxid]:
    """The zxids that make the history after these records; an installed snapshot stands for all up to its own."""
    live: list[Zxid] = []
    for item in records:
        if isinstance(item, Entry):
            live.append(item.zxid)
        elif isinstance(item, Truncate):
            live = [zxid for zxid in live if zxid <= item.zxid]
        elif isinstance(item, SnapshotRef) and item.installed:
            live = [item.zxid]
    return live


class Writer:
    """Writes what an engine might, and remembers it."""

    def __init__(self, lab: "Lab", random: Random) -> None:
        self.lab = lab
        self.random = random
        self.disk = lab.disk
        self.records: list[Record] = []  # everything that may be in the log, in order
        self.synced = 0  # so many of them must be
        self.live: list[Zxid] = []  # the history that these records make
        self.delivered = Zxid(0)  # snapshots are of delivered state, and nothing below it is truncated
        self.epoch = 0
        self.uuid = ""

    def start(self, ensemble: bool = False) -> Recovered:
        opened = self.lab.open(ensemble)
        self.store = opened.store
        if opened.recovered.snapshot is not None:
            assert opened.state == self.lab.chunks(opened.recovered.snapshot)
        return opened.recovered

    def write(self) -> None:
        """One batch of anything."""
        batch: list[Record] = []
        while len(batch) < self.random.randrange(1, 8):
            match self.random.randrange(12):
                case 0:
                    self.epoch += 1
                    batch.append(Promise(Epoch(self.epoch)))
                case 1 if self.last > self.delivered:
                    cut = self.random.choice([self.delivered, *[zxid for zxid in self.live if zxid > self.delivered]])
                    batch += [Truncate(cut), self._marker()]
                case 2:
                    batch.append(self._marker())
                case _:
                    batch.append(Entry(Zxid(self.last + 1), EntryKind.TXN, self._payload()))
            self.live = history([*self.records, *batch])
        self._append(batch)

    @property
    def last(self) -> Zxid:
        return self.live[-1] if self.live else Zxid(0)

    def _marker(self) -> Entry:
        self.epoch = max(self.epoch, epoch_of(self.last)) + 1
        return Entry(make_zxid(self.epoch, 0), EntryKind.MARKER, b"")

    def _payload(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 20, 300, 5_000)))

    def _append(self, batch: list[Record]) -> None:
        self.records += batch
        self.live = history(self.records)
        self.store.append(batch)

    def sync(self) -> None:
        self.store.sync()
        self.synced = len(self.records)
        self.delivered = self.last

    def snapshot(self, installed: bool) -> None:
        if self.delivered == 0:
            return
        if installed:
            self.epoch = max(self.epoch, epoch_of(self.last)) + 1
        zxid = make_zxid(self.epoch, self.random.randrange(1, 9)) if installed else self.delivered
        ref = self.lab.ref(zxid, installed)
        self.store.store_snapshot(ref, self.lab.chunks(ref))
        self._append([ref])
        if installed:
            self.sync()

    def check(self, found: Recovered) -> None:
        """`found` continues all that was synced. What it has beyond that is what the log now is."""
        assert not found.damaged
        assert self.uuid in ("", found.disk_uuid)
        self.uuid = found.disk_uuid
        tail = len(found.records)
        ends = [end for end in range(self.synced, len(self.records) + 1) if self._agrees(found, end, tail)]
        assert ends, (found, self.records, self.synced)
        self.records = self.records[: ends[-1]]
        self.synced = len(self.records)
        self.live = history(self.records)
        self.delivered = self.last

    def _agrees(self, found: Recovered, end: int, tail: int) -> bool:
        """Whether the log would be found so if it ended at `end`."""
        kept = self.records[:end]
        if found.accepted_epoch != max((item.epoch for item in kept if isinstance(item, Promise)), default=0):
            return False
        if tuple(kept[end - tail :] if tail else ()) != found.records or tail > end:
            return False
        ref = found.snapshot
        if ref is not None and ref not in kept:
            return False
        left_away = history(kept[: end - tail])  # what the snapshot holds; promises are in every segment's header too
        return tail == end or left_away[-1:] == ([] if ref is None else [ref.zxid])


@given(st.integers(0, 2**64))
@settings(max_examples=400, deadline=None)
def test_what_was_synced_survives_every_history_and_nothing_else_appears(
    new_lab: "Callable[[], Lab]", seed: int
) -> None:
    random = Random(seed)
    lab = new_lab()
    lab.disk = Disk(random, "data")
    lab.options = Options(segment_bytes=random.choice((1, 8, 64)) * KIB, ballast_bytes=0, space_low_bytes=0)
    writer = Writer(lab, random)
    for _ in range(random.randrange(1, 12)):
        if random.random() < 0.5:
            lab.disk.cut_power_after(random.randrange(60))
        elif random.random() < 0.3:
            lab.disk.fail_next(random.choice(("write", "sync", "create", "rename", "sync_names")))
        with suppress(PowerCut, LogFailure, StorageError):
            writer.check(writer.start())
            for _ in range(random.randrange(20)):
                match random.randrange(10):
                    case 0:
                        writer.snapshot(installed=random.random() < 0.3)
                    case 1:
                        with suppress(OSError):
                            writer.store.retire()
                    case 2 | 3 | 4:
                        writer.sync()
                    case _:
                        writer.write()
        if random.random() < 0.6:
            lab.disk.power_cut()
        else:
            lab.disk.kill()
    writer.check(writer.start())


@given(st.integers(0, 2**64))
@settings(max_examples=200, deadline=None)
def test_damage_at_rest_is_found_or_harmless(new_lab: "Callable[[], Lab]", seed: int) -> None:
    """A flipped bit anywhere below what was synced is a refusal, or what it hit is not needed: never a shorter log."""
    random = Random(seed)
    lab = new_lab()
    lab.options = Options(segment_bytes=random.choice((1, 8, 64)) * KIB, ballast_bytes=0, space_low_bytes=0)
    writer = Writer(lab, random)
    for _ in range(random.randrange(1, 4)):
        writer.check(writer.start())
        for _ in range(random.randrange(1, 15)):
            writer.write()
            writer.sync()
            if random.randrange(5) == 0:
                writer.snapshot(installed=random.random() < 0.3)
                writer.sync()
                writer.store.retire()
    names = [name for name in lab.disk.names() if name != "mark"]
    name = random.choice(names)
    lab.flip(name, random.randrange(lab.disk.written_bytes(name)))
    image = lab.disk.image()
    try:
        found = writer.start(ensemble=False)
    except StorageError:
        lab.disk.restore(image)
        assert writer.start(ensemble=True).damaged
    else:
        writer.check(found)
