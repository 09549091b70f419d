"""The smallest server: an engine, and an application that does nothing but fold what is delivered into a digest.

With it the broadcast is simulated alone; `node` runs it just as it runs a whole replica.
"""

import hashlib
from collections.abc import Sequence

from zk.broadcast import engine
from zk.broadcast.engine import Engine, Role
from zk.broadcast.messages import Message
from zk.broadcast.records import Entry, Recovered, SnapshotRef
from zk.model.peering import ReplicaMessage
from zk.model.record import ConnectionId, ServerId, Zxid
from zk.replica.events import DiskSpace, Effect, WriteSnapshot
from zk.sim.checkers import BroadcastChecks

_PADDING = bytes(2_000)  # a snapshot has several chunks, so that its transfer can be interrupted


class LogServer:
    """`state` is the content of the snapshot that `recovered` names, None without one."""

    def __init__(
        self,
        server: ServerId,
        broadcast: Engine,
        recovered: Recovered,
        state: Sequence[bytes] | None,
        checks: BroadcastChecks,
    ) -> None:
        self.server = server
        self.engine = broadcast
        self.applied = Zxid(0)
        self._digest = bytes(16)
        self._checks = checks
        self._wanted: list[engine.SnapshotTaken] = []
        if recovered.snapshot is not None and state is not None:
            self._load(recovered.snapshot, state)

    @property
    def role(self) -> Role:
        return self.engine.role

    def tick(self, now_ms: int, wall_ms: int) -> list[Effect]:
        """Time passes: the engine ticks, and gets the snapshots that it wanted."""
        effects = self.step(now_ms, engine.Tick())
        wanted, self._wanted = self._wanted, []
        for taken in wanted:
            effects += self.step(now_ms, taken)
        return effects

    def received(
        self, now_ms: int, peer: ServerId, connection: ConnectionId, message: Message | ReplicaMessage
    ) -> list[Effect]:
        assert not isinstance(message, ReplicaMessage)
        return self.step(now_ms, engine.PeerReceived(peer, connection, message))

    def step(self, now_ms: int, event: engine.Event | DiskSpace) -> list[Effect]:
        """One step of the engine; what concerns the application is done here."""
        if isinstance(event, DiskSpace):
            return self.step(now_ms, engine.Resign()) if event.low else []
        effects: list[Effect] = []
        for effect in self.engine.step(now_ms, event):
            match effect:
                case engine.Deliver():
                    self._apply(effect.entries)
                case engine.Install():
                    self._load(effect.ref, effect.chunks)
                case engine.TakeSnapshot():
                    ref = self._snapshot_ref()
                    self._wanted.append(
                        engine.SnapshotTaken(effect.peer, effect.stream, ref.zxid, ref.digest, self._image())
                    )
                case engine.ReadReady() | engine.Rejected():
                    pass
                case _:
                    effects.append(effect)
        return effects

    def snapshot(self) -> list[Effect]:
        """Write a snapshot of the present state, if there is any."""
        if not self.applied:
            return []
        ref, image = self._snapshot_ref(), self._image()
        return [WriteSnapshot(ref, chunk, last=index == len(image) - 1) for index, chunk in enumerate(image)]

    def _apply(self, entries: Sequence[Entry]) -> None:
        digest = self._digest
        for entry in entries:
            digest = hashlib.blake2b(b"%b%d" % (digest, entry.zxid) + entry.payload, digest_size=16).digest()
            self.applied = entry.zxid
        self._digest = digest
        self._checks.digest(self.server, self.applied, digest.hex())

    def _snapshot_ref(self) -> SnapshotRef:
        name = f"snapshot-{self.applied:016x}"
        return SnapshotRef(self.applied, name, self._digest.hex(), epochs=(), membership=b"", installed=False)

    def _image(self) -> tuple[bytes, ...]:
        return (b"%d" % self.applied, self._digest, _PADDING)

    def _load(self, ref: SnapshotRef, chunks: Sequence[bytes]) -> None:
        whole = b"".join(chunks)
        self.applied = ref.zxid
        self._digest = whole[-len(_PADDING) - 16 : -len(_PADDING)]
        self._checks.digest(self.server, self.applied, self._digest.hex())
