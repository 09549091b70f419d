"""Planted bugs of the log's storage: each makes it say what is not so, or forget what it said."""

from dataclasses import replace

from zk.sim import Layer, Mode, Plant
from zk.sim.disk import Disk
from zk.sim.plant import patched
from zk.storage import recovery, store
from zk.storage.directory import Directory
from zk.storage.recovery import Reading, read_log
from zk.storage.segment import Scan, scan
from zk.storage.writer import LogWriter


def lies_about_fsync(self: LogWriter) -> None:
    self._durable_upto = self._offset
    self._write_mark()


def syncs_no_names(self: Disk) -> None:
    self.begin("sync_names", "")


def forgets_the_last_record(directory: Directory) -> Reading:
    reading = read_log(directory)
    history = reading.history
    if history is None or len(history.records) <= history.begin:
        return reading
    return replace(reading, history=replace(history, records=history.records[:-1]))


def takes_damage_for_a_torn_tail(file: str, data: bytes, limit: int | None = None, marked_upto: int = 0) -> Scan:
    found = scan(file, data, limit, marked_upto)
    return found if found.defect is None else replace(found, defect=None, torn=True, durable_upto=found.end)


def plant(name: str, what: str, invariants: str, seeds: int, mode: Mode, *changes: tuple[object, str, object]) -> Plant:
    """`invariants` are separated by commas."""
    broken = frozenset(invariant.strip() for invariant in invariants.split(","))
    return Plant(name, what, lambda: patched(*changes), broken, seeds, Layer.BROADCAST, mode)


PLANTS = (
    plant(
        "fsync-lies",
        "the log says that it is synced, and has not asked the disk",
        "durability, accepted epoch",
        10,
        Mode.FOCUSED,
        (LogWriter, "_sync", lies_about_fsync),
    ),
    plant(
        "directory-not-synced",
        "a new file's name is never made durable",
        "durability, accepted epoch",
        10,
        Mode.FOCUSED,
        (Disk, "sync_names", syncs_no_names),
    ),
    plant(
        "recovery-drops-the-last-record",
        "a restart loses the last record of the log, synced or not",
        "durability, accepted epoch",
        10,
        Mode.FOCUSED,
        (store, "read_log", forgets_the_last_record),
    ),
    plant(
        "damage-taken-for-a-torn-tail",
        "damage to what was durable is cut off in silence, and the server votes on",
        "leader completeness, agreement, commit truth, halt, log matching, one leader, accepted epoch, durability",
        100,
        Mode.UNIFORM,
        (recovery, "scan", takes_damage_for_a_torn_tail),
    ),
)
