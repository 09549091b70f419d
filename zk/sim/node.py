"""One simulated server: a disk and a clock that last, and a process that comes and goes.

The process is the production code: a machine (a whole replica, or a bare engine) over the real store on the simulated
disk. The node stands in for the edge: it brings events, performs effects in their order, and syncs the log as the log
thread does: one fsync at a time, and whatever gathers meanwhile goes with the next.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Generic, Protocol, TypeVar, assert_never

from zk.broadcast.engine import (
    Append,
    Disconnect,
    Durable,
    Halt,
    PeerConnected,
    PeerDisconnected,
    Resign,
    Role,
    RoleChanged,
    Send,
    SnapshotStored,
    StoreSnapshot,
)
from zk.broadcast.messages import Message
from zk.broadcast.records import Record, Recovered
from zk.model.peering import ReplicaMessage
from zk.model.record import ConnectionId, ServerId, Zxid
from zk.replica.events import Answer, CloseClient, DiskSpace, Effect, Log, SendPeer, WriteSnapshot
from zk.sim.checkers import BroadcastChecks
from zk.sim.disk import Disk, PowerCut
from zk.sim.network import Network
from zk.sim.trace import describe
from zk.sim.world import MS, World
from zk.storage.errors import LogFailure, StorageError
from zk.storage.segment import Identity
from zk.storage.snapshot import SnapshotDefectError, SnapshotWriter
from zk.storage.store import Opened, Options, Store, open_store

EPOCH_MS = 1_700_000_000_000
"""Wall clock time when a world begins, in milliseconds since 1970."""
SYNC_MS_MAX = 6
"""How long an fsync takes at most on a good disk."""
SPACE_EVERY_TICKS = 50
"""How often the room on the disk is looked at: once a second, as a server does."""

MachineEvent = PeerConnected | PeerDisconnected | Durable | SnapshotStored | Resign | DiskSpace


class Machine(Protocol):
    """What runs on a node: pure, and told everything."""

    @property
    def role(self) -> Role: ...
    @property
    def applied(self) -> Zxid:
        """The last transaction that its state holds."""

    def tick(self, now_ms: int, wall_ms: int) -> list[Effect]: ...
    def received(
        self, now_ms: int, peer: ServerId, connection: ConnectionId, message: Message | ReplicaMessage
    ) -> list[Effect]: ...
    def step(self, now_ms: int, event: MachineEvent) -> list[Effect]: ...


M = TypeVar("M", bound=Machine)


class Node(Generic[M]):
    """`build` makes a machine of what was recovered, told every `tick_ms` what time it is. The `on_…` may be set by
    whoever wants to know."""

    def __init__(
        self,
        world: World,
        network: Network[Message | ReplicaMessage],
        checks: BroadcastChecks,
        server: ServerId,
        build: "Callable[[Node[M], Recovered, Sequence[bytes] | None], M]",
        tick_ms: int,
        options: Options,
    ) -> None:
        self.world = world
        self.server = server
        self.disk = Disk(world.random, f"disk of {server}")
        self.disk_uuid = ""
        self.machine: M | None = None
        self.incarnation = 0
        self.standing: RoleChanged | None = None  # its newest role in this life
        self.wall_ahead_ms = 0  # by how much its wall clock was set forwards, or backwards
        self.sync_ms_max = SYNC_MS_MAX
        self.slow_until_us = 0  # until then an fsync takes much longer
        self.tampered = False  # something durable was taken from the disk: the next start may find less
        self.on_failure: Callable[[Node[M]], None] = lambda node: None  # its disk or its power failed: it is down
        self.on_role: Callable[[Node[M], RoleChanged], None] = lambda node, effect: None
        self.on_client: Callable[[Node[M], Answer | CloseClient], None] = lambda node, effect: None
        self._network = network
        self.checks = checks
        self._build = build
        self._tick_us = tick_ms * MS
        self._options = options
        self._rate = 1 + world.random.uniform(-0.02, 0.02)
        self._offset_ms = world.random.randrange(10_000)
        self._paused: list[Callable[[], None]] | None = None
        self._store: Store | None = None
        self._lsn = 0
        self._gathered: list[Append | StoreSnapshot] = []
        self._syncing = False
        self._disk_stuck = False
        self._space_low = False
        self._ticks = 0
        self._snapshot_file = ""  # the snapshot that is being written, or was given up
        self._snapshot_writer: SnapshotWriter | None = None
        self._slices: list[WriteSnapshot] = []

    # ---- time

    @property
    def now_ms(self) -> int:
        """The node's own monotonic clock: a little fast or slow, and begun at any time."""
        return self._offset_ms + int(self.world.now_us * self._rate / MS)

    @property
    def wall_ms(self) -> int:
        return EPOCH_MS + self.now_ms + self.wall_ahead_ms

    # ---- the process

    @property
    def up(self) -> bool:
        return self.machine is not None

    @property
    def paused(self) -> bool:
        return self._paused is not None

    def start(self) -> None:
        """Run the server on what its disk holds. If power fails meanwhile, or the disk does, it stays down."""
        assert self.machine is None
        self.incarnation += 1
        errors = self.disk.errors_raised
        try:
            opened = open_store(
                self.disk,
                Identity("simulated", self.server),
                lambda: f"{self.world.random.getrandbits(64):016x}",
                ensemble=len(self.checks.voters) > 1,
                options=self._options,
            )
        except PowerCut:
            self.world.log(str(self.server), "power cut while starting")
            self.world.counters["fault: crash while starting"] += 1
            self.disk.power_cut()
            self.on_failure(self)
        except (StorageError, LogFailure) as failure:
            self.world.log(str(self.server), f"does not start: {failure}")
            if self.disk.errors_raised == errors and not self.tampered:
                self.world.fail("durability", f"server {self.server} does not start from a sound disk: {failure}")
            if self.tampered:
                self.disk.wipe()  # what an operator has to do then
            self.disk.kill()
            self.on_failure(self)
        else:
            self._run(opened)

    def _run(self, opened: Opened) -> None:
        recovered = opened.recovered
        if self.world.trace is not None:
            self.world.log(str(self.server), f"starts ({self.incarnation}): {describe(recovered)}")
        if recovered.damaged:
            self.world.counters["started from a damaged disk"] += 1
        self.checks.started(self.server, self.incarnation, recovered, self.tampered)
        self.tampered = False
        self.disk_uuid = recovered.disk_uuid
        self._store, self._lsn = opened.store, 0
        self.machine = self._build(self, recovered, opened.state)
        self._network.start(self.server, self)
        self._tick_later()

    def stop(self, power_cut: bool) -> None:
        """End the process without a word: kill -9, or the whole machine with what its disk has not synced."""
        if self.machine is None:
            return
        self.world.log(str(self.server), "power cut" if power_cut else "killed")
        self._network.stop(self.server)
        if self._syncing and self.world.random.random() < 0.5:
            self._die_writing()
        self.machine = self._paused = self._store = self._snapshot_writer = self.standing = None
        self._gathered, self._slices, self._syncing = [], [], False
        self._space_low, self._snapshot_file = False, ""
        if power_cut:
            self.disk.power_cut()
        else:
            self.disk.kill()

    def _die_writing(self) -> None:
        """The log thread was at work when the end came: it got a little further."""
        assert self._store is not None
        self.disk.cut_power_after(self.world.random.randrange(8))
        with suppress(PowerCut, LogFailure):
            self._store.sync()
            self._write(self._store, self._gathered)

    def pause(self) -> None:
        """SIGSTOP: everything that arrives waits."""
        if self.machine is not None and self._paused is None:
            self.world.log(str(self.server), "paused")
            self._paused = []

    def resume(self) -> None:
        waiting, self._paused = self._paused, None
        if waiting is not None:
            self.world.log(str(self.server), f"resumed with {len(waiting)} events waiting")
            for event in waiting:
                event()

    def stick_disk(self) -> None:
        """No fsync comes back until `free_disk`."""
        self._disk_stuck = True

    def free_disk(self) -> None:
        """The fsync that was stuck, if there was one, soon comes back."""
        self._disk_stuck = False

    # ---- events

    def act(self, action: Callable[[M, int], list[Effect]]) -> None:
        """Let the machine do something at its local time, now or when it runs again; perform what it says."""
        if self.machine is None:
            return
        if self._paused is not None:
            self._paused.append(partial(self._act_in, self.incarnation, action))
            return
        self._perform(action(self.machine, self.now_ms))

    def peer_connected(self, event: PeerConnected) -> None:
        self.act(lambda machine, now_ms: machine.step(now_ms, event))

    def peer_disconnected(self, event: PeerDisconnected) -> None:
        self.act(lambda machine, now_ms: machine.step(now_ms, event))

    def peer_received(self, peer: ServerId, connection: ConnectionId, message: Message | ReplicaMessage) -> None:
        self.act(lambda machine, now_ms: machine.received(now_ms, peer, connection, message))

    def _act_in(self, incarnation: int, action: Callable[[M, int], list[Effect]]) -> None:
        if incarnation == self.incarnation:
            self.act(action)

    def _tick_later(self) -> None:
        self.world.after(self._tick_us, partial(self._tick, self.incarnation))

    def _tick(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self.machine is None:
            return
        self._tick_later()
        if self._paused is not None:
            return  # a process that does not run misses its ticks
        self._ticks += 1
        if self._ticks % SPACE_EVERY_TICKS == 0:
            self._watch_space()
        self._perform(self.machine.tick(self.now_ms, self.wall_ms))

    def _watch_space(self) -> None:
        assert self._store is not None
        low = self._store.space().low
        if low is not self._space_low:
            self._space_low = low
            self.world.counters["low on space" if low else "space again"] += 1
            self.world.log(str(self.server), "is low on space" if low else "has space again")
            self.act(lambda machine, now_ms: machine.step(now_ms, DiskSpace(low)))

    # ---- effects

    def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send() | SendPeer():
                    self._network.send(self.server, effect.connection, effect.message)
                case Append() | StoreSnapshot():
                    self._gathered.append(effect)
                case WriteSnapshot():
                    self._slices.append(effect)
                    if len(self._slices) == 1:
                        self._slice_later()
                case RoleChanged():
                    if self.world.trace is not None:
                        self.world.log(str(self.server), describe(effect))
                    self.standing = effect
                    self.on_role(self, effect)
                case Disconnect():
                    self.world.log(str(self.server), f"closes #{effect.connection} to {effect.peer}: {effect.reason}")
                    self._network.close(self.server, effect.connection)
                case Answer() | CloseClient():
                    self.on_client(self, effect)
                case Log():
                    self.world.log(str(self.server), effect.text)
                case Halt():  # nothing in this world, lost disks and old ones included, is a reason
                    self.world.fail("halt", f"server {self.server} halts: {effect.reason}")
                case _:
                    assert_never(effect)
        if self._gathered and not self._syncing:
            self._write_gathered()

    # ---- the log thread

    def _write_gathered(self) -> None:
        """Write what has gathered; a sync later it is durable."""
        assert self._store is not None
        gathered, self._gathered = self._gathered, []
        self._syncing = True
        try:
            self._lsn += self._write(self._store, gathered)
        except (LogFailure, PowerCut) as failure:
            self._fail(failure)
        else:
            self.world.after(self._latency_us(), partial(self._sync, self.incarnation))

    def _write(self, store: Store, gathered: Sequence[Append | StoreSnapshot]) -> int:
        """Write in order; how many records it were."""
        count = 0
        records: list[Record] = []
        for effect in gathered:
            if isinstance(effect, Append):
                records.extend(effect.records)
                count += len(effect.records)
            else:
                if records:
                    store.append(records)
                    records = []
                store.store_snapshot(effect.ref, effect.chunks)
        if records:
            store.append(records)
        return count

    def _sync(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self._store is None:
            return
        if self._disk_stuck:
            self.world.after(self._latency_us(), partial(self._sync, incarnation))
            return
        try:
            self._store.sync()
            if self.world.random.randrange(16) == 0:
                with suppress(OSError):
                    self._store.retire()
        except (LogFailure, PowerCut) as failure:
            self._fail(failure)
            return
        self._syncing = False
        self.checks.synced(self.server, self._lsn)
        durable = Durable(self._lsn)
        if self._gathered:
            self._write_gathered()
        self.act(lambda machine, now_ms: machine.step(now_ms, durable))

    def _latency_us(self) -> int:
        random = self.world.random
        if self.world.now_us < self.slow_until_us:
            return random.randrange(50 * MS, 1_200 * MS)
        return MS + int(random.random() * (self.sync_ms_max - 1) * MS)

    def _fail(self, failure: BaseException) -> None:
        """Any error of the log ends the process (R9); and so does a power cut, in the midst of an operation."""
        self.world.log(str(self.server), f"ends: {failure!r}")
        self._syncing = False
        self.stop(power_cut=isinstance(failure, PowerCut) or self.world.random.random() < 0.5)
        self.on_failure(self)

    # ---- the thread that writes the server's own snapshots

    def _slice_later(self) -> None:
        self.world.after(self._latency_us(), partial(self._write_slice, self.incarnation))

    def _write_slice(self, incarnation: int) -> None:
        if incarnation != self.incarnation or self._store is None:
            return
        piece = self._slices.pop(0)
        try:
            self._write_piece(self._store, piece)
        except PowerCut as failure:
            self._fail(failure)
            return
        if self._slices:
            self._slice_later()

    def _write_piece(self, store: Store, piece: WriteSnapshot) -> None:
        """The next piece. After an error the server goes on without this snapshot: no record names it yet."""
        try:
            if piece.ref.file != self._snapshot_file:
                self._abandon_snapshot()  # the machine began another one
                self._snapshot_file = piece.ref.file
                self._snapshot_writer = store.snapshot_writer(piece.ref)
            if self._snapshot_writer is None:
                return
            self._snapshot_writer.write(piece.chunk)
            if piece.last:
                self._snapshot_writer.finish()
                self._snapshot_writer = None
                stored = SnapshotStored(piece.ref)
                self.act(lambda machine, now_ms: machine.step(now_ms, stored))
        except (OSError, SnapshotDefectError) as failure:
            self.world.counters["snapshot given up"] += 1
            self.world.log(str(self.server), f"gives up {piece.ref.file}: {failure!r}")
            self._abandon_snapshot()

    def _abandon_snapshot(self) -> None:
        writer, self._snapshot_writer = self._snapshot_writer, None
        if writer is not None:
            with suppress(OSError):
                writer.abandon()
