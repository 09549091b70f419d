"""The threads that write: one for the log, one for this server's own snapshots. Neither ever touches the replica.

The log thread takes whatever has gathered while it was syncing, writes it, and syncs once for all of it (group
commit). What is durable then is told by one number. A server that is alone does without the thread while its disk is
quick. A failure is final: it is kept where the runtime looks before it sends anything, and the process ends. Read
zk/storage/store.py next.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from time import perf_counter
from typing import Generic, TypeVar

from zk.broadcast.engine import Append, StoreSnapshot
from zk.broadcast.records import Record, SnapshotRef
from zk.replica.events import WriteSnapshot
from zk.server.wakeup import Wakeup
from zk.storage.snapshot import SnapshotDefectError, SnapshotWriter
from zk.storage.store import Store

logger = logging.getLogger(__name__)

QUICK_SECONDS_MAX = 0.001  # usually, for writing and syncing in the caller's own thread
USUAL_FLUSHES = 16  # so many of the last ones say what is usual: one that was slow says nothing of the next
THREAD_TURNS = 50  # so many flushes are the thread's when they usually are not quick
CLOSE_MS = 200  # for what is being written at the end, by either thread

Job = TypeVar("Job")


class Worker(Generic[Job]):
    """A thread that does its jobs in order, all that have gathered at a time, until it is closed or one fails.

    `failure` says why nothing will be done any more. Nothing may be sent once it is set.
    """

    def __init__(self, name: str, work: Callable[[list[Job]], None], wakeup: Wakeup) -> None:
        self.failure: Exception | None = None
        self._work = work
        self._wakeup = wakeup
        self._submitted = self._done = 0
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._own_thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._own_thread.start()

    @property
    def idle(self) -> bool:
        """Whether all that was submitted is done."""
        return self._done == self._submitted

    def work_here(self, jobs: list[Job]) -> None:
        """Do them in the caller's thread: only while the worker is idle."""
        if self.failure is None:
            try:
                self._work(jobs)
            except Exception as error:  # as below
                self.failure = error
                self._wakeup.set()

    def submit(self, job: Job) -> None:
        self._submitted += 1
        self._jobs.put(job)

    def close(self, timeout_ms: int) -> bool:
        """Do what was submitted, then end. False if it takes longer than `timeout_ms`."""
        self._jobs.put(None)
        self._own_thread.join(timeout_ms / 1_000)
        return not self._own_thread.is_alive()

    def _run(self) -> None:
        jobs = self._jobs
        while True:
            gathered = [jobs.get()]
            while not jobs.empty():  # nobody else takes from it
                gathered.append(jobs.get())
            wanted = [job for job in gathered if job is not None]
            try:
                if wanted:
                    self._work(wanted)
            except Exception as error:  # whatever it is, the log can't be trusted after it
                self.failure = error
            self._done += len(wanted)
            self._wakeup.set()
            if self.failure is not None or len(wanted) < len(gathered):
                return


class LogThread:
    """Performs Append and StoreSnapshot, in their order. `durable_lsn` says how far it is.

    With `alone`, `flush` itself writes and syncs, as long as the disk usually is quicker than the way to another thread
    and back, which is most of what a single write costs. A slow disk then holds up the caller once in THREAD_TURNS
    times. That is nobody's matter but the own clients'; in an ensemble the others would take this server for dead.
    """

    def __init__(
        self, store: Store, wakeup: Wakeup, *, alone: bool = False, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.durable_lsn = 0
        self._store = store
        self._wakeup = wakeup
        self._alone = alone
        self._clock = clock
        self._due: list[Append | StoreSnapshot] = []
        self._usual_s = 0.0
        self._thread_turns = 0
        self.worker: Worker[Append | StoreSnapshot] = Worker("zk-log", self._write, wakeup)

    def perform(self, effect: Append | StoreSnapshot) -> None:
        """Do this with the next `flush`."""
        self._due.append(effect)

    def flush(self) -> None:
        """Begin with what is due, or do it at once."""
        due = self._due
        if not due:
            return
        self._due = []
        if self._alone and self.worker.idle:
            if self._thread_turns == 0:
                began_s = self._clock()
                self.worker.work_here(due)
                self._usual_s += (self._clock() - began_s - self._usual_s) / USUAL_FLUSHES
                if self._usual_s > QUICK_SECONDS_MAX:
                    self._thread_turns = THREAD_TURNS
                return
            self._thread_turns -= 1
        for effect in due:
            self.worker.submit(effect)

    def close(self, timeout_ms: int) -> bool:
        """Do what is to be done, then end. False if it takes longer than `timeout_ms`."""
        self.flush()
        return self.worker.close(timeout_ms)

    def _write(self, effects: list[Append | StoreSnapshot]) -> None:
        store = self._store
        lsn = self.durable_lsn
        records: list[Record] = []
        for effect in effects:
            if isinstance(effect, Append):
                records.extend(effect.records)
            else:
                if records:
                    store.append(records)
                    lsn += len(records)
                    records = []
                store.store_snapshot(effect.ref, effect.chunks)
        if records:
            store.append(records)
            lsn += len(records)
        store.sync()
        self.durable_lsn = lsn
        if SnapshotRef in map(type, records):
            self._wakeup.set()  # first the news, then the tidying up
            try:
                store.retire()
            except OSError as error:
                logger.warning("old files could not be removed: %s", error)


class SnapshotThread:
    """Performs WriteSnapshot beside the log, without delaying it. `stored` holds what has become durable since."""

    def __init__(self, store: Store, wakeup: Wakeup) -> None:
        self.stored: deque[SnapshotRef] = deque()
        self._store = store
        self._file = ""  # the snapshot that is being written, or was given up
        self._writer: SnapshotWriter | None = None
        self.worker: Worker[WriteSnapshot] = Worker("zk-snapshot", self._write, wakeup)
        self.close = self.worker.close

    def perform(self, effect: WriteSnapshot) -> None:
        self.worker.submit(effect)

    def _write(self, effects: list[WriteSnapshot]) -> None:
        for effect in effects:
            try:
                if effect.ref.file != self._file:
                    self._abandon()  # the replica began another one
                    self._file = effect.ref.file
                    self._writer = self._store.snapshot_writer(effect.ref)
                if self._writer is not None:
                    self._writer.write(effect.chunk)
                    if effect.last:
                        self._writer.finish()
                        self._writer = None
                        self.stored.append(effect.ref)
            except (OSError, SnapshotDefectError) as error:
                # No record names it yet, so nothing rests on it; the next one may have better luck.
                logger.warning("the snapshot %s was given up: %s", effect.ref.file, error)
                self._abandon()

    def _abandon(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(OSError):
                writer.abandon()


@contextmanager
def writing(store: Store, *, alone: bool) -> Iterator[tuple[LogThread, SnapshotThread, Wakeup]]:
    """The threads that write to the store; at the end they finish what they have, and the store is closed."""
    wakeup = Wakeup()
    log = LogThread(store, wakeup, alone=alone)
    snapshots = SnapshotThread(store, wakeup)
    try:
        yield log, snapshots, wakeup
    finally:
        if log.close(CLOSE_MS) and snapshots.close(CLOSE_MS):
            store.close()
            wakeup.close()
