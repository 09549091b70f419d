"""The store: a data directory opened, its log appended to and synced, its snapshots kept and dropped.

`open_store` reads what is there (`zk.storage.recovery`), refuses or repairs, and begins a new segment; old ones are
never appended to. Everything that is not certain to be durable is rewritten into the new segment, so nothing rests on
pages of which the kernel may have lost the error.

Threads: a Store belongs to the thread of the log, but for `snapshot_writer` and `space`, which share nothing with it.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from zk.broadcast.records import Record, Recovered, SnapshotRef
from zk.model.limits import MIB
from zk.model.record import record
from zk.storage.directory import Directory
from zk.storage.errors import Defect, LogFailure, StorageError
from zk.storage.names import BALLAST, DAMAGED, TMP, segment_name, segment_number
from zk.storage.position import Position
from zk.storage.recovery import History, Reading, read_log
from zk.storage.segment import Identity, SegmentHeader
from zk.storage.snapshot import SnapshotDefectError, SnapshotWriter
from zk.storage.writer import LogWriter

SNAPSHOTS_KEPT = 2


@record
class Options:
    """Sizes, in bytes."""

    segment_bytes: int = 64 * MIB  # set aside for each segment of the log
    ballast_bytes: int = 16 * MIB  # given up when the log finds the disk full
    space_low_bytes: int = 128 * MIB  # with less free than this a server should refuse writes; above a segment and more


DEFAULT_OPTIONS = Options()


@record
class Space:
    """`low`: refuse writes and new sessions, so that what the log itself must still write finds room."""

    low: bool
    free_bytes: int


@record
class Opened:
    """`state`: the chunks of the snapshot `recovered.snapshot`. `notes` are for the operator's log."""

    store: "Store"
    recovered: Recovered
    state: tuple[bytes, ...] | None
    notes: tuple[str, ...]


class Store:
    """A data directory in use, its owner. Made by `open_store`."""

    def __init__(
        self,
        directory: Directory,
        identity: Identity,
        options: Options,
        writer: LogWriter,
        verified: tuple[SnapshotRef, int] | None,
        files: Iterable[str],
    ) -> None:
        self._directory = directory
        self._identity = identity
        self._options = options
        self._writer = writer
        self._files = set(files)  # all snapshot files that records have named
        # Snapshots that are named durably and verified, each with the number of the first segment needed behind it.
        self._verified = [] if verified is None else [verified]
        self._unsynced: list[tuple[SnapshotRef, int]] = []  # likewise, but their records are not durable yet

    def append(self, records: Sequence[Record]) -> None:
        """Write `records` to the log, in this order, behind everything before; durable after the next `sync`.

        The file that a SnapshotRef among them names must be finished. Raises LogFailure.
        """
        newest = self._writer.position.snapshot
        self._writer.append(records)
        if self._writer.position.snapshot is not newest:
            for item in records:
                if type(item) is SnapshotRef:
                    self._named(item)

    def sync(self) -> None:
        """Return once all that was appended survives a power cut. Raises LogFailure."""
        self._writer.sync()
        if self._unsynced:
            self._verified += self._unsynced
            self._unsynced.clear()

    def store_snapshot(self, ref: SnapshotRef, chunks: Iterable[bytes]) -> None:
        """Write a received snapshot: whole, durable and verified on return. Raises LogFailure."""
        try:
            writer = self.snapshot_writer(ref)
            for chunk in chunks:
                writer.write(chunk)
            writer.finish()
        except (OSError, SnapshotDefectError) as error:
            raise LogFailure(f"{self._directory.path}/{ref.file}: the snapshot can't be stored: {error}") from error

    def snapshot_writer(self, ref: SnapshotRef) -> SnapshotWriter:
        """Begin a snapshot of this server's own; after its `finish` a record may name it. From any thread."""
        return SnapshotWriter(self._directory, self._identity.cluster, ref)

    def retire(self) -> None:
        """Drop what nobody needs: all but two verified snapshots, and the log before the older one.

        Unlinking may take long: call it between group commits, some time after the sync of a SnapshotRef. Raises
        OSError, which does no harm to the log.
        """
        if len(self._verified) < SNAPSHOTS_KEPT:
            return
        del self._verified[:-SNAPSHOTS_KEPT]
        needed = min(number for _, number in self._verified)
        segments = self._writer.segments
        while segments[0][0] < needed:
            self._directory.remove(segment_name(segments[0][0]))
            self._directory.sync_names()  # one by one: a crash never leaves a hole
            del segments[0]
        for file in self._files - {ref.file for ref, _ in self._verified + self._unsynced}:
            with suppress(FileNotFoundError):
                self._directory.remove(file)
            self._files.remove(file)

    def space(self) -> Space:
        """How much room is left. From any thread."""
        free_bytes = self._directory.free_bytes()
        return Space(free_bytes < self._options.space_low_bytes, free_bytes)

    def sizes(self) -> tuple[int, int]:
        """The bytes that the files of snapshots and those of the log take. From any thread."""
        snapshots_bytes = log_bytes = 0
        for name in self._directory.names():
            with suppress(FileNotFoundError):
                size = self._directory.size(name)
                if segment_number(name) is not None:
                    log_bytes += size
                elif name in self._files:
                    snapshots_bytes += size
        return snapshots_bytes, log_bytes

    def close(self) -> None:
        """Let go of the directory. What was not synced may be lost."""
        self._writer.close()
        self._directory.close()

    def _named(self, ref: SnapshotRef) -> None:
        segments = self._writer.segments
        self._files.add(ref.file)
        known = self._verified + self._unsynced
        if ref.installed:
            self._unsynced.append((ref, self._writer.number))
        elif not known or ref.zxid >= known[-1][0].zxid:
            reaching = [number for number, base_zxid in segments if base_zxid <= ref.zxid]
            self._unsynced.append((ref, reaching[-1] if reaching else segments[0][0]))


# ---- opening


def open_store(
    directory: Directory,
    identity: Identity,
    make_uuid: Callable[[], str],
    *,
    ensemble: bool,
    options: Options = DEFAULT_OPTIONS,
) -> Opened:
    """Recover what `directory` holds, and begin this incarnation's log.

    `make_uuid` gives the directory a name of its own, at first and whenever it has lost something. `ensemble`: there
    are other voters, so a damaged server can be taken in again by them; alone, it refuses. Raises StorageError.
    """
    with refusals(directory):
        remove_unfinished(directory)
        reading = read_log(directory)
        newest, history, defect = reading.newest, reading.history, reading.defect
        if newest is not None:
            _check_identity(directory, identity, newest)
        if defect is not None and not ensemble:
            raise nothing_to_salvage(directory, defect) if newest is None else _unsalvaged(directory, defect, history)
        disk_uuid = make_uuid() if newest is None or defect is not None else newest.disk_uuid
        store, notes = begin(directory, identity, disk_uuid, options, reading)
    if defect is not None:
        notes = (f"the log is damaged: {defect}; what is lost with it has to come from the other servers", *notes)
    recovered = Recovered(
        disk_uuid=disk_uuid,
        accepted_epoch=reading.accepted_epoch,
        snapshot=None if history is None else history.snapshot,
        records=() if history is None else history.records[history.begin :],
        damaged=defect is not None,
    )
    return Opened(store, recovered, None if history is None else history.state, notes)


@contextmanager
def refusals(directory: Directory) -> Iterator[None]:
    """Say what an OSError within means for the operator."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            str(error.filename or directory.path),
            0,
            f"the operating system refuses: {error.strerror or error}",
            "Check that the disk is not full, and that this user may read and write every file of the data directory.",
        ) from error


def remove_unfinished(directory: Directory) -> None:
    """Remove what a crash left half written: nothing names it."""
    for name in directory.names():
        if name.endswith(TMP):
            directory.remove(name)


def begin(
    directory: Directory, identity: Identity, disk_uuid: str, options: Options, reading: Reading
) -> tuple[Store, tuple[str, ...]]:
    """Begin a segment behind what was read, and tidy up; what was found harmful or harmless, for the operator.

    The new segment continues the log up to where it is certain to be durable, and holds a copy of the rest. Behind
    damage it holds a copy of everything good, continues nothing, and the damaged files are set aside.
    """
    history, damaged = reading.history, reading.defect is not None
    segments = () if history is None else history.segments
    records = () if history is None else history.records
    position = Position.at(segments[0].header) if segments else Position()
    previous, certain = None, 0  # certain: how many of the records need no copy
    if segments and not damaged:
        newest = segments[-1].scan
        uncertain = [batch for batch in newest.batches if batch.end > newest.durable_upto]
        certain = len(records) - sum(len(batch.records) for batch in uncertain)
        previous = (segments[-1].header.number, uncertain[0].offset if uncertain else newest.end)
        position.advance(records[:certain])
    position.accepted_epoch = reading.accepted_epoch
    directory.sync_names()  # the newest segment's name may be no more certain than its newest batches
    writer = LogWriter(directory, identity, disk_uuid, options.segment_bytes, position)
    if not damaged:
        writer.segments = [(segment.header.number, segment.header.base_zxid) for segment in segments]
    writer.start(reading.next_number, previous, records[certain:])

    named = {item.file for item in records if type(item) is SnapshotRef}
    verified = None
    if history is not None and history.snapshot is not None:
        verified = (history.snapshot, writer.number if damaged else history.needs)
        named.add(history.snapshot.file)
    named.difference_update(reading.bad_snapshots)
    notes = _tidy(directory, reading, named)
    if previous is not None:
        directory.truncate(segment_name(previous[0]), previous[1])
    _make_ballast(directory, options)
    return Store(directory, identity, options, writer, verified, named), reading.notes + notes


def _tidy(directory: Directory, reading: Reading, named: set[str]) -> tuple[str, ...]:
    """Set aside what is damaged or behind damage; remove snapshots that no record came to name."""
    aside = [*reading.unused, *reading.bad_snapshots]
    unnamed = [file for file in reading.snapshot_files if file not in named and file not in aside]
    if reading.defect is not None:
        aside += unnamed
        if reading.history is not None:
            aside += [segment_name(segment.header.number) for segment in reading.history.segments]
    else:
        for file in unnamed:
            directory.remove(file)
    return tuple(f"{name} is set aside as {_set_aside(directory, name)}" for name in aside)


def _set_aside(directory: Directory, name: str) -> str:
    """Give the file a name under which nothing will ever read or remove it."""
    names = directory.names()
    new, copies = name + DAMAGED, 1
    while new in names:
        copies += 1
        new = f"{name}-{copies}{DAMAGED}"
    directory.rename(name, new)
    directory.sync_names()
    return new


def _make_ballast(directory: Directory, options: Options) -> None:
    """Set some space aside that the log may have when the disk is full. Not on a disk that is nearly so."""
    if (
        options.ballast_bytes
        and BALLAST not in directory.names()
        and directory.free_bytes() > options.space_low_bytes + options.ballast_bytes
    ):
        directory.create(BALLAST, options.ballast_bytes).close()


def _check_identity(directory: Directory, identity: Identity, newest: SegmentHeader) -> None:
    found = newest.identity
    if found != identity:
        raise StorageError(
            f"{directory.path}/{segment_name(newest.number)}",
            0,
            f"the log belongs to server {found.server_id} of '{found.cluster}', but this is server"
            f" {identity.server_id} of '{identity.cluster}': the directory was copied, or the configuration is wrong",
            "Give this server its own directory with --data (an empty one, if it has none), or correct its --id.",
        )


def nothing_to_salvage(directory: Directory, defect: Defect) -> StorageError:
    return StorageError(
        f"{directory.path}/{defect.file}",
        defect.offset,
        f"the log is damaged: {defect.why}; no log file is left whose header can be read",
        "Restore the directory from a copy, or move its files away and start with an empty one.",
    )


def _unsalvaged(directory: Directory, defect: Defect, history: History | None) -> StorageError:
    left = "nothing: the server will be empty" if history is None else f"{len(history.records)} records"
    return StorageError(
        f"{directory.path}/{defect.file}",
        defect.offset,
        f"the log is damaged: {defect.why}",
        "Best restore the directory from a copy. To go on without what is lost, run:"
        f" zk salvage --data {directory.path} (it keeps {left}, and sets the damaged files aside)",
    )
