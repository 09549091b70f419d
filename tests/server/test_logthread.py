"""The threads that write, over a simulated disk: order, group commit, failure, and what comes back."""

import threading
from collections.abc import Iterator, Sequence
from random import Random

import pytest
import trio

from zk.broadcast.engine import Append, StoreSnapshot
from zk.broadcast.records import Entry, EntryKind, Record, SnapshotRef
from zk.model.record import Epoch, ServerId
from zk.model.zxids import make_zxid
from zk.replica.events import WriteSnapshot
from zk.server.logthread import QUICK_SECONDS_MAX, USUAL_FLUSHES, LogThread, SnapshotThread
from zk.server.wakeup import Wakeup
from zk.sim.disk import Disk
from zk.storage.segment import Identity
from zk.storage.store import Opened, open_store

pytestmark = pytest.mark.trio


class SlowDisk(Disk):
    """A disk whose syncs wait until they are let through. `syncs` counts those of the log."""

    def __init__(self) -> None:
        super().__init__(Random(0))
        self.open = threading.Event()
        self.open.set()
        self.waiting = threading.Event()
        self.syncs = 0

    def begin(self, operation: str, name: str) -> None:
        if operation == "sync" and threading.current_thread().name == "zk-log":
            self.waiting.set()
            self.open.wait()
            self.syncs += 1
        super().begin(operation, name)


def opened(disk: Disk) -> Opened:
    return open_store(disk, Identity("zk", ServerId(1)), lambda: "uuid", ensemble=False)


def entry(counter: int) -> Entry:
    return Entry(make_zxid(1, counter), EntryKind.TXN, b"payload %d" % counter)


def ref(counter: int, *, installed: bool = False) -> SnapshotRef:
    zxid = make_zxid(1, counter)
    return SnapshotRef(zxid, f"snapshot-{zxid:016x}", "digest", ((Epoch(1), zxid),), b"{}", installed)


@pytest.fixture
def disk() -> SlowDisk:
    return SlowDisk()


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    wakeup = Wakeup()
    yield wakeup
    wakeup.close()


async def woken(wakeup: Wakeup) -> None:
    with trio.fail_after(5):
        await trio.lowlevel.wait_readable(wakeup.fileno())
    wakeup.clear()


def recovered(disk: SlowDisk) -> tuple[Sequence[Record], SnapshotRef | None, tuple[bytes, ...] | None]:
    """What is found after a power cut."""
    disk.open.set()
    disk.power_cut()
    found = opened(disk)
    return found.recovered.records, found.recovered.snapshot, found.state


async def test_what_is_reported_durable_survives_a_power_cut(disk: SlowDisk, wakeup: Wakeup) -> None:
    log = LogThread(opened(disk).store, wakeup)
    log.perform(Append((entry(1), entry(2))))
    log.flush()
    await woken(wakeup)
    assert log.durable_lsn == 2
    log.close(5_000)
    assert recovered(disk) == ((entry(1), entry(2)), None, None)


async def test_appends_that_gather_during_a_sync_share_the_next_one(disk: SlowDisk, wakeup: Wakeup) -> None:
    log = LogThread(opened(disk).store, wakeup)
    disk.open.clear()
    log.perform(Append((entry(1),)))
    log.flush()
    with trio.fail_after(5):
        await trio.to_thread.run_sync(disk.waiting.wait)
    for counter in range(2, 100):
        log.perform(Append((entry(counter),)))
        log.flush()
    assert log.durable_lsn == 0
    disk.open.set()
    while log.durable_lsn < 99:
        await woken(wakeup)
    assert disk.syncs <= 3
    log.close(5_000)
    assert recovered(disk)[0] == tuple(entry(counter) for counter in range(1, 100))


async def test_a_received_snapshot_is_on_disk_before_the_record_that_names_it(disk: SlowDisk, wakeup: Wakeup) -> None:
    log = LogThread(opened(disk).store, wakeup)
    log.perform(Append((entry(1),)))
    log.perform(StoreSnapshot(ref(9, installed=True), (b"one", b"two")))
    log.perform(Append((ref(9, installed=True), entry(10))))
    log.flush()
    while log.durable_lsn < 3:
        await woken(wakeup)
    log.close(5_000)
    assert recovered(disk) == ((entry(10),), ref(9, installed=True), (b"one", b"two"))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_after_a_failure_nothing_is_reported_durable_any_more(
    disk: SlowDisk, wakeup: Wakeup, operation: str, alone: bool
) -> None:
    log = LogThread(opened(disk).store, wakeup, alone=alone)
    log.perform(Append((entry(1),)))
    log.flush()
    while log.durable_lsn < 1:
        await woken(wakeup)
    disk.fail_next(operation)
    log.perform(Append((entry(2),)))
    log.flush()
    while log.worker.failure is None:
        await woken(wakeup)
    assert "the log can't be written" in str(log.worker.failure)
    log.perform(Append((entry(3),)))
    log.close(5_000)
    assert log.durable_lsn == 1


async def test_a_server_that_is_alone_writes_without_the_thread_while_its_disk_is_quick(
    disk: SlowDisk, wakeup: Wakeup
) -> None:
    stall_s = 2 * QUICK_SECONDS_MAX
    times_s = iter((0.0, stall_s, 1.0, 1.0 + USUAL_FLUSHES * stall_s))  # before and behind two writes
    log = LogThread(opened(disk).store, wakeup, alone=True, clock=times_s.__next__)
    for counter in (1, 2):  # the first stall is not usual
        log.perform(Append((entry(counter),)))
        log.flush()
        assert log.durable_lsn == counter
    assert disk.syncs == 0  # of the thread's
    disk.open.clear()
    log.perform(Append((entry(3),)))
    log.flush()
    assert log.durable_lsn == 2
    disk.open.set()
    log.close(5_000)
    assert disk.syncs == 1
    assert recovered(disk)[0] == (entry(1), entry(2), entry(3))


async def test_own_snapshots_are_written_while_the_log_is_busy(disk: SlowDisk, wakeup: Wakeup) -> None:
    store = opened(disk).store
    log, snapshots = LogThread(store, wakeup), SnapshotThread(store, wakeup)
    disk.open.clear()
    log.perform(Append((entry(1),)))
    log.flush()
    snapshots.perform(WriteSnapshot(ref(1), b"one", False))
    snapshots.perform(WriteSnapshot(ref(1), b"two", True))
    while not snapshots.stored:
        await woken(wakeup)
    assert list(snapshots.stored) == [ref(1)]
    assert log.durable_lsn == 0
    disk.open.set()
    log.perform(Append((ref(1),)))
    assert log.close(5_000)
    assert snapshots.close(5_000)
    assert recovered(disk)[1:] == (ref(1), (b"one", b"two"))


async def test_a_snapshot_that_is_not_finished_leaves_no_file(disk: SlowDisk, wakeup: Wakeup) -> None:
    snapshots = SnapshotThread(opened(disk).store, wakeup)
    snapshots.perform(WriteSnapshot(ref(1), b"one", False))
    snapshots.perform(WriteSnapshot(ref(2), b"one", True))
    while not snapshots.stored:
        await woken(wakeup)
    assert list(snapshots.stored) == [ref(2)]
    snapshots.close(5_000)
    assert [name for name in disk.names() if name.startswith("snapshot")] == [ref(2).file]


async def test_a_snapshot_that_fails_is_given_up_and_the_next_one_is_not(
    disk: SlowDisk, wakeup: Wakeup, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = SnapshotThread(opened(disk).store, wakeup)
    disk.fail_next("write")
    snapshots.perform(WriteSnapshot(ref(1), b"one", False))
    snapshots.perform(WriteSnapshot(ref(1), b"two", True))
    snapshots.perform(WriteSnapshot(ref(2), b"one", True))
    while not snapshots.stored:
        await woken(wakeup)
    snapshots.close(5_000)
    assert list(snapshots.stored) == [ref(2)]
    assert snapshots.worker.failure is None
    assert f"the snapshot {ref(1).file} was given up" in caplog.text


async def test_closing_finishes_what_was_submitted_but_does_not_wait_for_ever(disk: SlowDisk, wakeup: Wakeup) -> None:
    log = LogThread(opened(disk).store, wakeup)
    disk.open.clear()
    log.perform(Append((entry(1),)))
    log.flush()
    assert not log.close(10)
    disk.open.set()
    assert log.close(5_000)
    assert log.durable_lsn == 1
