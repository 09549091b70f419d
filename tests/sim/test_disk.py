"""The simulated disk forgets what it may forget, and nothing else."""

import errno
from random import Random

import pytest

from zk.sim.disk import PAGE_BYTES, Disk, PowerCut


def test_what_was_synced_survives_every_power_cut() -> None:
    for seed in range(50):
        disk = Disk(Random(seed))
        file = disk.create("log", 4 * PAGE_BYTES)
        file.write(10, b"durable")
        file.sync()
        disk.sync_names()
        file.write(10, b"changed")
        file.write(20, b"more")
        disk.power_cut()
        found = disk.read("log", 10, 7)
        assert set(zip(found, range(7), strict=True)) <= {
            *zip(b"durable", range(7), strict=True),
            *zip(b"changed", range(7), strict=True),
        }
        disk.power_cut()
        assert disk.read("log", 10, 7) == found


def test_unsynced_pages_survive_in_any_order() -> None:
    survivors = set()
    for seed in range(200):
        disk = Disk(Random(seed))
        file = disk.create("log", 2 * PAGE_BYTES)
        file.sync()
        disk.sync_names()
        file.write(0, b"a" * PAGE_BYTES + b"b" * PAGE_BYTES)
        disk.power_cut()
        survivors.add((disk.read("log", PAGE_BYTES - 1, 1), disk.read("log", 2 * PAGE_BYTES - 1, 1)))
    assert survivors == {(b"a", b"b"), (b"a", b"\0"), (b"\0", b"b"), (b"\0", b"\0")}


def test_a_rename_before_sync_names_leaves_the_old_file_or_the_new_one() -> None:
    found = set()
    for seed in range(100):
        disk = Disk(Random(seed))
        for name in ("current", "next"):
            file = disk.create(name)
            file.write(0, name.encode())
            file.sync()
        disk.sync_names()
        disk.rename("next", "current")
        disk.power_cut()
        found.add((disk.names(), disk.read("current")))
    assert found == {(("current",), b"next"), (("current", "next"), b"current")}


def test_a_file_whose_name_was_never_synced_may_vanish() -> None:
    found = set()
    for seed in range(50):
        disk = Disk(Random(seed))
        disk.create("log").sync()
        disk.power_cut()
        found.add(disk.names())
    assert found == {(), ("log",)}


def test_a_killed_process_loses_nothing_that_it_wrote() -> None:
    disk = Disk(Random(1))
    disk.create("log").write(0, b"written")
    disk.kill()
    assert disk.read("log") == b"written"


def test_a_power_cut_in_the_midst_stops_every_later_operation_too() -> None:
    disk = Disk(Random(1))
    file = disk.create("log")
    disk.cut_power_after(1)
    file.write(0, b"one")
    for _ in range(2):
        with pytest.raises(PowerCut):
            file.write(3, b"two")
    disk.kill()
    assert disk.read("log") == b"one"


def test_errors_come_when_asked_for_and_a_full_disk_says_so() -> None:
    disk = Disk(Random(1), capacity_bytes=100)
    file = disk.create("log", 80)
    assert disk.free_bytes() == 20
    with pytest.raises(OSError, match="no space") as full:
        file.write(90, bytes(20))
    assert (full.value.errno, full.value.filename) == (errno.ENOSPC, "log")
    disk.fail_next("sync", errno.EIO)
    with pytest.raises(OSError, match="EIO"):
        file.sync()
    file.sync()


def test_a_gap_and_a_preallocated_file_read_as_zeroes() -> None:
    disk = Disk(Random(1))
    disk.create("log", 10).write(4, b"x")
    assert disk.read("log") == b"\0\0\0\0x\0\0\0\0\0"
    assert disk.read("log", 3, 4) == b"\0x\0\0"
    disk.truncate("log", 5)
    assert (disk.size("log"), disk.read("log")) == (5, b"\0\0\0\0x")


def test_an_image_can_be_restored() -> None:
    disk = Disk(Random(1))
    disk.create("log").write(0, b"old")
    image = disk.image()
    disk.wipe()
    assert disk.names() == ()
    disk.restore(image)
    disk.power_cut()
    assert disk.read("log") == b"old"


def test_damage_at_rest_changes_and_shortens_files() -> None:
    disk = Disk(Random(1))
    disk.create("log").write(0, b"whole")
    disk.damage("log", 1, b"?")
    disk.shorten("log", 3)
    assert disk.read("log") == b"w?o"
    disk.shorten("log", 10)
    assert disk.size("log") == 3


def test_an_error_may_be_meant_for_some_files_only() -> None:
    disk = Disk(Random(1))
    log, snapshot = disk.create("log"), disk.create("snapshot-1")
    disk.fail_next("write", errno.ENOSPC, "snapshot")
    log.write(0, b"x")
    with pytest.raises(OSError, match="ENOSPC"):
        snapshot.write(0, b"x")
    snapshot.write(0, b"x")
