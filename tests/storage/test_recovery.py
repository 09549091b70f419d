"""What a server finds when it starts, after everything that can have happened to its disk."""

import re
import struct
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from zk.broadcast.records import Entry, EntryKind, Promise, Recovered, Truncate
from zk.model.record import Epoch, ServerId
from zk.model.zxids import make_zxid
from zk.sim.disk import Disk, PowerCut
from zk.storage.errors import LogFailure, StorageError
from zk.storage.names import MARK
from zk.storage.segment import SEGMENT_MAGIC, Identity

if TYPE_CHECKING:
    from tests.storage.conftest import Lab

Z = make_zxid
P1 = Promise(Epoch(1))


def test_an_empty_directory_begins_a_log_under_a_new_uuid(lab: "Lab") -> None:
    opened = lab.open()
    assert opened.recovered == Recovered("disk-1", Epoch(0), None, (), False)
    assert (opened.state, opened.notes) == (None, ())


def test_what_was_synced_comes_back_in_order(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 2), [Truncate(Z(1, 1))], lab.entries(2, 9, epoch=1))
    lab.disk.power_cut()
    expected = (P1, *lab.entries(0, 2), Truncate(Z(1, 1)), *lab.entries(2, 9))
    assert lab.open().recovered == Recovered("disk-1", Epoch(1), None, expected, False)


def test_what_was_not_synced_but_survives_is_durable_once_the_server_is_open(lab: "Lab") -> None:
    store = lab.open().store
    store.append((P1, *lab.entries(0, 5)))
    lab.disk.kill()
    assert lab.open().recovered.records == (P1, *lab.entries(0, 5))
    for _ in range(20):  # all 20 draws of what a power cut leaves of unsynced pages
        lab.disk.power_cut()
        assert lab.open().recovered.records == (P1, *lab.entries(0, 5))


def test_a_failed_sync_leaves_no_hole_in_the_log(lab: "Lab") -> None:
    """ZooKeeper 4925, 4882: after a temporary disk error the log went on behind pages that had never reached it."""
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 3))
    name, synced = lab.segments()[0], lab.disk.written_bytes(lab.segments()[0])
    store.append(lab.entries(4, 6))
    lab.disk.fail_next("sync")
    with pytest.raises(LogFailure):
        store.sync()
    lab.disk.kill()  # the kernel still shows the pages, but will not write them any more
    store = lab.open().store
    assert lab.disk.size(name) == synced
    lab.disk.damage(name, synced, bytes(500))  # the file was not cut for good, and now the pages are gone
    lab.write(store, lab.entries(7, 8))
    assert lab.open().recovered == Recovered("disk-1", Epoch(1), None, (P1, *lab.entries(0, 8)), False)


@pytest.mark.parametrize("seed", range(6))
def test_a_process_killed_in_its_start_then_a_power_cut_in_the_next_lose_nothing(lab: "Lab", seed: int) -> None:
    """The names that a killed process left may be no more than the kernel's: they are synced before any use."""
    lab.disk = Disk(Random(seed), "data")
    lab.write(lab.open().store, [P1], lab.entries(0, 3))
    image, before = lab.disk.image(), lab.disk.operations
    lab.open()
    steps = lab.disk.operations - before
    for first in range(steps):
        for second in range(steps):
            lab.disk.restore(image)
            for after, stop in ((first, lab.disk.kill), (second, lab.disk.power_cut)):
                lab.disk.cut_power_after(after)
                with suppress(PowerCut):
                    lab.open(ensemble=False)
                stop()
            assert lab.open(ensemble=False).recovered.records == (P1, *lab.entries(0, 3))


def test_a_segment_is_never_appended_to_again(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1])
    before = {name: lab.disk.read(name) for name in lab.segments()}
    lab.write(lab.open().store, lab.entries(0, 9))
    assert {name: before[name].startswith(lab.disk.read(name)) for name in before} == dict.fromkeys(before, True)


def test_the_accepted_epoch_outlives_the_segments_that_promised_it(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [Promise(Epoch(7))], *[lab.entries(n, n + 19, size=200) for n in range(0, 100, 20)])
    for counter in (90, 99):
        lab.snapshot(store, Z(1, counter))
    store.retire()
    assert "log-0000000001" not in lab.disk.names()
    assert lab.open().recovered.accepted_epoch == 7


# ---- snapshots


def test_a_snapshot_comes_back_with_the_entries_behind_it(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 20))
    ref = lab.snapshot(store, Z(1, 10))
    lab.write(store, lab.entries(21, 25))
    opened = lab.open()
    assert opened.recovered == Recovered(
        "disk-1", Epoch(1), ref, (*lab.entries(11, 20), ref, *lab.entries(21, 25)), False
    )
    assert opened.state == lab.chunks(ref)


def test_an_installed_snapshot_wipes_the_log_before_it(lab: "Lab") -> None:
    """ZooKeeper 2845, 3642, 5094: what a leader's snapshot had replaced came back, in whole or in part."""
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 20))
    lab.snapshot(store, Z(1, 10))
    lab.write(store, [Promise(Epoch(3))])
    ref = lab.snapshot(store, Z(3, 5), installed=True)
    lab.write(store, lab.entries(6, 8, epoch=3))
    opened = lab.open()
    assert opened.recovered == Recovered("disk-1", Epoch(3), ref, lab.entries(6, 8, epoch=3), False)


def test_an_installation_cut_short_before_its_record_never_happened(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 20))
    ref = lab.ref(Z(3, 5), installed=True)
    store.store_snapshot(ref, lab.chunks(ref))
    assert ref.file in lab.disk.names()
    lab.disk.power_cut()
    opened = lab.open()
    assert opened.recovered == Recovered("disk-1", Epoch(1), None, (P1, *lab.entries(0, 20)), False)
    assert ref.file not in lab.disk.names()


def test_a_snapshot_that_does_not_verify_is_passed_over_for_the_older_one(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 20))
    older = lab.snapshot(store, Z(1, 10))
    newer = lab.snapshot(store, Z(1, 15))
    lab.flip(newer.file, lab.disk.size(newer.file) // 2)
    opened = lab.open(ensemble=False)
    assert opened.recovered == Recovered("disk-1", Epoch(1), older, (*lab.entries(11, 20), older, newer), False)
    assert [note.split(":")[0] for note in opened.notes] == [
        "a snapshot was passed over",
        f"{newer.file} is set aside as {newer.file}.damaged",
    ]


def test_without_any_good_snapshot_a_whole_log_is_enough(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 20))
    ref = lab.snapshot(store, Z(1, 10))
    lab.disk.remove(ref.file)
    recovered = lab.open(ensemble=False).recovered
    assert recovered == Recovered("disk-1", Epoch(1), None, (P1, *lab.entries(0, 20), ref), False)


def test_a_log_whose_snapshots_are_gone_is_not_taken_as_empty(lab: "Lab") -> None:
    """ZooKeeper 3056, 2325: a log without its snapshot started as an empty tree."""
    store = lab.open().store
    for counter in range(0, 200, 20):
        lab.write(store, lab.entries(counter, counter + 19, size=200))
    refs = [lab.snapshot(store, Z(1, counter)) for counter in (120, 199)]
    store.retire()
    for ref in refs:
        lab.disk.remove(ref.file)
    with pytest.raises(StorageError, match="the snapshot is missing"):
        lab.open(ensemble=False)
    recovered = lab.open().recovered
    assert recovered == Recovered("disk-2", Epoch(0), None, (), True)


def test_snapshots_without_a_log_are_not_taken_as_empty(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, lab.entries(0, 3))
    ref = lab.snapshot(store, Z(1, 3))
    for name in (*lab.segments(), MARK):
        lab.disk.remove(name)
    with pytest.raises(StorageError, match=r"missing, like every log file, but there is a snapshot"):
        lab.open(ensemble=False)
    assert lab.open().recovered == Recovered("disk-2", Epoch(0), None, (), True)
    assert f"{ref.file}.damaged" in lab.disk.names()


# ---- damage


def test_a_server_alone_refuses_to_start_on_a_damaged_log(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 3), lab.entries(4, 6), lab.entries(7, 9))
    name = lab.segments()[0]
    lab.flip(name, 600)
    before = lab.disk.image()
    with pytest.raises(StorageError) as refused:
        lab.open(ensemble=False)
    assert refused.value.file == f"data/{name}"
    assert 300 < refused.value.offset <= 600
    assert "the batch here has a wrong checksum, but was once durable" in refused.value.why
    assert "zk salvage --data data (it keeps 5 records" in refused.value.remedy
    assert lab.disk.image() == before


def test_one_of_several_starts_damaged_with_what_is_good_under_a_new_uuid(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 3), lab.entries(4, 6), lab.entries(7, 9))
    name = lab.segments()[0]
    lab.flip(name, 600)
    damaged = lab.disk.read(name)
    opened = lab.open()
    assert opened.recovered == Recovered("disk-2", Epoch(1), None, (P1, *lab.entries(0, 3)), True)
    damage, aside = opened.notes
    assert re.fullmatch(
        f"the log is damaged: {name}, offset [0-9]+: the batch here has a wrong checksum, but was once durable: .+; "
        "what is lost with it has to come from the other servers",
        damage,
    )
    assert aside == f"{name} is set aside as {name}.damaged"
    assert lab.disk.read(f"{name}.damaged") == damaged
    lab.write(opened.store, lab.entries(4, 5, epoch=2))
    again = lab.open().recovered
    assert again == Recovered("disk-2", Epoch(1), None, (P1, *lab.entries(0, 3), *lab.entries(4, 5, epoch=2)), False)


def test_a_power_cut_at_any_moment_of_a_damaged_start_loses_nothing_more(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 3), lab.entries(4, 6), lab.entries(7, 9))
    lab.flip(lab.segments()[0], 600)
    image = lab.disk.image()
    before = lab.disk.operations
    lab.open()
    needed = lab.disk.operations - before
    for after in range(needed):
        lab.disk.restore(image)
        lab.disk.cut_power_after(after)
        with pytest.raises(PowerCut):
            lab.open()
        lab.disk.power_cut()
        recovered = lab.open().recovered
        assert recovered.records == (P1, *lab.entries(0, 3))
        assert recovered.disk_uuid != "disk-1"


def test_a_log_that_lost_its_synced_end_is_damaged(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 3))
    name = lab.segments()[0]
    lab.disk.damage(name, 300, bytes(lab.disk.written_bytes(name) - 300))
    with pytest.raises(StorageError, match="the mark file says that all up to offset"):
        lab.open(ensemble=False)


def test_a_missing_newest_segment_is_damage(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], *[lab.entries(n, n + 19, size=200) for n in range(0, 100, 20)])
    lab.disk.remove(lab.segments()[-1])
    with pytest.raises(StorageError, match="missing, but the mark file says it was synced"):
        lab.open(ensemble=False)
    opened = lab.open()
    assert opened.recovered.damaged
    assert "missing, but the mark file says it was synced" in opened.notes[0]


def test_a_missing_middle_segment_is_damage(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], *[lab.entries(n, n + 19, size=200) for n in range(0, 100, 20)])
    assert len(lab.segments()) >= 3
    lab.disk.remove(lab.segments()[1])
    with pytest.raises(StorageError, match="the segment is missing between others"):
        lab.open(ensemble=False)
    recovered = lab.open().recovered
    assert recovered.damaged
    assert recovered.records == (P1, *lab.entries(0, 19, size=200))


def test_damage_before_the_snapshot_costs_nothing_but_a_note(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [P1], *[lab.entries(n, n + 19, size=200) for n in range(0, 100, 20)])
    ref = lab.snapshot(store, Z(1, 99))
    first = lab.segments()[0]
    lab.flip(first, 1_000)
    opened = lab.open(ensemble=False)
    assert (opened.recovered.snapshot, opened.recovered.records, opened.recovered.damaged) == (ref, (ref,), False)
    assert opened.notes[0].startswith(f"damaged, but not needed any more: {first}, offset ")
    assert opened.notes[1] == f"{first} is set aside as {first}.damaged"


def test_an_installed_snapshot_that_is_lost_leaves_the_log_before_it(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 5))
    ref = lab.snapshot(store, Z(3, 5), installed=True)
    lab.flip(ref.file, 100)
    with pytest.raises(StorageError, match=ref.file):
        lab.open(ensemble=False)
    assert lab.open().recovered == Recovered("disk-2", Epoch(1), None, (P1, *lab.entries(0, 5)), True)


# ---- the wrong directory


def test_a_directory_of_another_server_is_refused(lab: "Lab") -> None:
    lab.open()
    lab.identity = Identity("test", ServerId(2))
    with pytest.raises(StorageError, match=r"belongs to server 1 of 'test', but this is server 2 of 'test'.*--data"):
        lab.open()
    lab.identity = Identity("other", ServerId(1))
    with pytest.raises(StorageError, match=r"belongs to server 1 of 'test', but this is server 1 of 'other'"):
        lab.open()


def test_a_log_of_a_later_format_is_refused_and_not_taken_for_damaged(lab: "Lab") -> None:
    head = struct.pack(">8sII", SEGMENT_MAGIC, 2, 2)
    file = lab.disk.create("log-0000000001")
    file.write(0, head + crc32(b"{}", crc32(head)).to_bytes(4, "big") + b"{}")
    with pytest.raises(StorageError, match=r"data/log-0000000001, offset 0: the file has format 2.*Start the version"):
        lab.open()


def test_an_unreadable_file_is_refused_by_its_name(lab: "Lab") -> None:
    lab.open()
    lab.disk.fail_next("read")
    with pytest.raises(StorageError, match=r"the operating system refuses: EIO.*Check that"):
        lab.open()


def test_a_snapshot_taken_before_an_installed_one_does_not_come_back(lab: "Lab") -> None:
    store = lab.open().store
    lab.write(store, [P1], lab.entries(0, 5))
    installed = lab.snapshot(store, Z(3, 5), installed=True)
    lab.snapshot(store, Z(1, 4))  # it was under way when the other one came
    assert lab.open().recovered.snapshot == installed


def test_a_configuration_in_the_log_is_an_entry_like_any_other(lab: "Lab") -> None:
    config = Entry(Z(1, 1), EntryKind.CONFIG, b"membership")
    lab.write(lab.open().store, lab.entries(0, 0), [config])
    assert lab.open().recovered.records == (*lab.entries(0, 0), config)
