"""Writing: group commit, segments, retention, and what happens when the disk refuses."""

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from zk.broadcast.records import Entry, EntryKind, Promise
from zk.model.limits import KIB
from zk.model.record import Epoch
from zk.model.zxids import make_zxid
from zk.sim.disk import PowerCut
from zk.storage.errors import LogFailure, StorageError
from zk.storage.names import BALLAST
from zk.storage.snapshot import SnapshotDefectError
from zk.storage.store import Options, Space

if TYPE_CHECKING:
    from tests.storage.conftest import Lab

Z = make_zxid


def test_one_sync_makes_all_appends_before_it_durable(lab: "Lab") -> None:
    store = lab.open().store
    before = lab.disk.operations
    for counter in range(3):
        store.append(lab.entries(counter, counter))
    store.sync()
    assert lab.disk.operations - before == 3 + 1 + 1  # writes, one sync, the mark
    lab.disk.power_cut()
    assert lab.open().recovered.records == lab.entries(0, 2)


def test_nothing_to_write_costs_nothing(lab: "Lab") -> None:
    store = lab.open().store
    before = lab.disk.operations
    store.append(())
    store.sync()
    assert lab.disk.operations == before


def test_a_full_segment_is_followed_by_another(lab: "Lab") -> None:
    store = lab.open().store
    for counter in range(100):
        store.append(lab.entries(counter, counter, size=1_000))
    store.sync()
    assert len(lab.segments()) > 10
    lab.disk.power_cut()
    assert lab.open().recovered.records == lab.entries(0, 99, size=1_000)


def test_a_batch_larger_than_a_segment_is_taken(lab: "Lab") -> None:
    huge = (Entry(Z(1, 1), EntryKind.TXN, b"x" * 50 * KIB),)
    lab.write(lab.open().store, lab.entries(0, 0), huge, lab.entries(2, 3))
    assert lab.open().recovered.records == (*lab.entries(0, 0), *huge, *lab.entries(2, 3))


# ---- retention


def test_two_verified_snapshots_and_the_log_since_the_older_are_kept(lab: "Lab") -> None:
    store = lab.open().store
    refs = []
    for counter in range(0, 200, 10):
        lab.write(store, lab.entries(counter, counter + 9, size=200))
        refs.append(lab.snapshot(store, Z(1, counter + 5)))
        store.retire()
        kept = [name for name in lab.disk.names() if name.startswith("snapshot")]
        assert kept == [ref.file for ref in refs[-2:]]
    assert len(lab.segments()) <= 4
    assert lab.open().recovered.snapshot == refs[-1]
    lab.disk.remove(refs[-1].file)
    recovered = lab.open(ensemble=False).recovered
    assert recovered.snapshot == refs[-2]
    assert [item for item in recovered.records if isinstance(item, Entry)] == list(lab.entries(186, 199, size=200))


def test_nothing_is_dropped_before_the_record_of_the_snapshot_is_durable(lab: "Lab") -> None:
    store = lab.open().store
    for counter in range(0, 100, 20):
        lab.write(store, lab.entries(counter, counter + 19, size=200))
    lab.snapshot(store, Z(1, 80))
    ref = lab.ref(Z(1, 99))
    store.store_snapshot(ref, lab.chunks(ref))
    before = lab.disk.names()
    store.append((ref,))
    store.retire()
    assert lab.disk.names() == before
    store.sync()
    store.retire()
    assert "log-0000000001" in before
    assert "log-0000000001" not in lab.disk.names()


def test_a_snapshot_of_an_earlier_incarnation_counts_only_if_it_was_verified(lab: "Lab") -> None:
    store = lab.open().store
    for counter in range(0, 100, 20):
        lab.write(store, lab.entries(counter, counter + 19, size=200))
    oldest, newer = lab.snapshot(store, Z(1, 20)), lab.snapshot(store, Z(1, 60))
    store = lab.open().store  # reads only the newer one
    store.retire()
    assert oldest.file in lab.disk.names()
    newest = lab.snapshot(store, Z(1, 99))
    store.retire()
    assert [name for name in lab.disk.names() if name.startswith("snapshot")] == [newer.file, newest.file]


def test_a_power_cut_while_dropping_leaves_a_log_that_starts(lab: "Lab") -> None:
    for after in range(12):
        lab.disk.wipe()
        store = lab.open().store
        for counter in range(0, 100, 20):
            lab.write(store, lab.entries(counter, counter + 19, size=200))
        lab.snapshot(store, Z(1, 80))
        ref = lab.snapshot(store, Z(1, 90))
        lab.disk.cut_power_after(after)
        with suppress(PowerCut):
            store.retire()
        lab.disk.power_cut()
        opened = lab.open(ensemble=False)
        assert opened.recovered.snapshot == ref


# ---- snapshots of its own


def test_an_own_snapshot_may_be_written_while_the_log_goes_on(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, lab.entries(0, 5))
    ref = lab.ref(Z(1, 3))
    writer = store.snapshot_writer(ref)
    for chunk in lab.chunks(ref):
        writer.write(chunk)
        lab.write(store, [Promise(Epoch(1))])
    assert ref.file not in lab.disk.names()
    writer.finish()
    lab.write(store, [ref])
    lab.disk.power_cut()
    opened = lab.open()
    assert (opened.recovered.snapshot, opened.state) == (ref, lab.chunks(ref))
    assert opened.recovered.records[:2] == lab.entries(4, 5)


def test_an_own_snapshot_that_fails_leaves_nothing_and_harms_nothing(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, lab.entries(0, 5))
    before = lab.disk.names()
    writer = store.snapshot_writer(lab.ref(Z(1, 3)))
    lab.disk.fail_next("write", errno.ENOSPC)
    with pytest.raises(OSError, match="ENOSPC"):
        writer.write(b"chunk")
    writer.abandon()
    assert lab.disk.names() == before
    lab.write(store, lab.entries(6, 6))


def test_a_snapshot_is_read_back_before_it_gets_its_name(lab: "Lab") -> None:
    store = lab.open().store
    ref = lab.ref(Z(1, 3))
    writer = store.snapshot_writer(ref)
    writer.write(b"chunk" * 20)
    lab.flip(f"{ref.file}.tmp", lab.disk.size(f"{ref.file}.tmp") - 10)
    with pytest.raises(SnapshotDefectError, match="a chunk has a wrong checksum"):
        writer.finish()
    writer.abandon()
    assert not any(name.startswith("snapshot") for name in lab.disk.names())


# ---- the disk refuses


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_after_a_failure_nothing_is_written_any_more(lab: "Lab", operation: str) -> None:
    store = lab.open().store
    lab.write(store, lab.entries(0, 1))
    lab.disk.fail_next(operation)
    with pytest.raises(LogFailure, match=r"log-0000000001.*: the log can't be written: EIO"):
        lab.write(store, lab.entries(2, 3))
    before = lab.disk.operations
    with pytest.raises(LogFailure):
        store.append(lab.entries(4, 5))
    with pytest.raises(LogFailure):
        store.sync()
    assert lab.disk.operations == before


def test_a_received_snapshot_that_cannot_be_stored_is_a_failure_of_the_log(lab: "Lab") -> None:
    store = lab.open().store
    ref = lab.ref(Z(1, 3), installed=True)
    lab.disk.fail_next("sync")
    with pytest.raises(LogFailure, match=f"{ref.file}: the snapshot can't be stored"):
        store.store_snapshot(ref, lab.chunks(ref))


def test_a_disk_that_fills_up_gives_a_warning_then_the_ballast_then_fails(lab: "Lab") -> None:
    lab.disk.capacity_bytes = 64 * KIB
    store = lab.open().store
    assert BALLAST in lab.disk.names()
    assert store.space() == Space(low=False, free_bytes=(64 - 8 - 4) * KIB - 16)
    seen: list[tuple[bool, bool]] = []

    def fill() -> None:
        while True:
            lab.write(store, lab.entries(len(seen), len(seen), size=1_000))
            seen.append((store.space().low, BALLAST in lab.disk.names()))

    with pytest.raises(LogFailure, match="no space left"):
        fill()
    assert list(dict.fromkeys(seen)) == [(False, True), (True, True), (True, False)]
    lab.disk.capacity_bytes *= 2
    assert lab.open().recovered.records == lab.entries(0, len(seen) - 1, size=1_000)


def test_a_disk_that_is_full_at_the_start_is_said_so(lab: "Lab") -> None:
    lab.disk.capacity_bytes = 100
    with pytest.raises(StorageError, match=r"the operating system refuses: no space left.*disk is not full"):
        lab.open()
    assert lab.disk.names() == ()


def test_the_defaults_leave_room_for_a_segment_above_the_low_water_mark() -> None:
    options = Options()
    assert options.space_low_bytes > options.segment_bytes + options.ballast_bytes
