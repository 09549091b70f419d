"""A server's data directory on a simulated disk, opened and opened again."""

from collections.abc import Callable, Iterable
from itertools import count
from random import Random

import pytest

from zk.broadcast.records import Entry, EntryKind, Record, SnapshotRef
from zk.model.limits import KIB
from zk.model.record import ServerId, Zxid
from zk.model.zxids import epoch_of, make_zxid
from zk.sim.disk import Disk
from zk.storage.segment import Identity
from zk.storage.store import Opened, Options, Store, open_store

OPTIONS = Options(segment_bytes=8 * KIB, ballast_bytes=4 * KIB, space_low_bytes=16 * KIB)
IDENTITY = Identity("test", ServerId(1))


class Lab:
    """A disk, and what the tests do with it again and again."""

    def __init__(self) -> None:
        self.disk = Disk(Random(1), "data")
        self.uuids = count(1)
        self.identity = IDENTITY
        self.options = OPTIONS

    def open(self, ensemble: bool = True) -> Opened:
        return open_store(self.disk, self.identity, self.make_uuid, ensemble=ensemble, options=self.options)

    def make_uuid(self) -> str:
        return f"disk-{next(self.uuids)}"

    def segments(self) -> list[str]:
        return [name for name in self.disk.names() if name.startswith("log-") and "." not in name]

    def flip(self, name: str, offset: int) -> None:
        """One bit changes at rest."""
        self.disk.damage(name, offset, bytes([self.disk.read(name, offset, 1)[0] ^ 0x10]))

    @staticmethod
    def entries(first: int, last: int, epoch: int = 1, size: int = 50) -> tuple[Record, ...]:
        """Transactions with the counters `first` to `last`; counter 0 is the epoch's marker."""
        return tuple(
            Entry(make_zxid(epoch, n), EntryKind.TXN if n else EntryKind.MARKER, bytes([n % 251]) * size if n else b"")
            for n in range(first, last + 1)
        )

    @staticmethod
    def write(store: Store, *batches: Iterable[Record]) -> None:
        """Each a batch, each synced."""
        for batch in batches:
            store.append(tuple(batch))
            store.sync()

    @staticmethod
    def ref(zxid: Zxid, installed: bool = False) -> SnapshotRef:
        kind = "installed" if installed else "own"
        return SnapshotRef(zxid, f"snapshot-{zxid:016x}-{kind}", f"d{zxid}", ((epoch_of(zxid), zxid),), b"m", installed)

    @staticmethod
    def chunks(ref: SnapshotRef) -> tuple[bytes, ...]:
        return (b"state at ", str(ref.zxid).encode() * 20, b"")

    def snapshot(self, store: Store, zxid: Zxid, installed: bool = False) -> SnapshotRef:
        """Store a snapshot and name it, durably."""
        ref = self.ref(zxid, installed)
        store.store_snapshot(ref, self.chunks(ref))
        self.write(store, (ref,))
        return ref


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture(scope="session")
def new_lab() -> Callable[[], Lab]:
    """For properties, which need a fresh one for each example."""
    return Lab
