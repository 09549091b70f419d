"""The runtime: one task that waits for whatever is ready, feeds it to the replica as events, and performs the effects.

It works in rounds without an `await`: read what is ready, step, perform, send. Up to ROUNDS_PER_WAKEUP of them follow
each other before other tasks have their turn, for being woken by trio costs as much as a read: in between it waits for
PATIENCE_MS by itself. What an event means is the replica's business; here is only I/O. Read clients.py, peers.py and
logthread.py next, in any order.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import assert_never

import trio

from zk.broadcast.engine import (
    Append,
    Disconnect,
    Durable,
    Halt,
    RoleChanged,
    Send,
    SnapshotStored,
    StoreSnapshot,
)
from zk.model.limits import Limits
from zk.replica.events import Answer, CloseClient, Effect, Event, Flush, Log, SendPeer, Tick, WriteSnapshot
from zk.replica.replica import Replica
from zk.server.clients import Clients
from zk.server.logthread import LogThread, SnapshotThread
from zk.server.peers import Peers
from zk.server.poller import READ, Poller, Source
from zk.server.wakeup import Wakeup
from zk.wire.peer import Hello

logger = logging.getLogger(__name__)

ROUNDS_PER_WAKEUP = 32
POLLS_PER_ROUND = 16  # as long as there are writes that will be synced together, and more comes
PATIENCE_MS = 1
TICK_MS = 20

_FLUSH = Flush()


def monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class ServerHaltedError(Exception):
    """The server can't go on; the text says why, for the operator."""


class Runtime(Source):
    """Joins a replica with its clients, its peers and its disk.

    `on_role_changed` is called when the replica says so. `monotonic_ms` and `wall_ms` are its clocks: the one that the
    sessions live by, and the one that stamps transactions.
    """

    def __init__(
        self,
        replica: Replica,
        log: LogThread,
        snapshots: SnapshotThread,
        poller: Poller,
        wakeup: Wakeup,
        limits: Limits,
        hello: Hello,
        on_role_changed: Callable[[RoleChanged], None],
        monotonic_ms: Callable[[], int] = monotonic_ms,
        wall_ms: Callable[[], int] = wall_ms,
    ) -> None:
        self._monotonic_ms = monotonic_ms
        self._wall_ms = wall_ms
        self.now_ms = monotonic_ms()
        self.clients = Clients(poller, limits, self.step, self.post, lambda: replica.backlogged)
        self.peers = Peers(poller, hello, self.step, self.post)
        self.clients.now_ms = self.peers.now_ms = self.now_ms
        self._replica = replica
        self._log = log
        self._snapshots = snapshots
        self._poller = poller
        self._wakeup = wakeup
        self._on_role_changed = on_role_changed
        self._posted: deque[Event] = deque()
        self._durable_lsn = 0
        self._next_tick_ms = self.now_ms
        self._conditions: list[tuple[Callable[[], bool], trio.Event]] = []

    @property
    def serving(self) -> bool:
        """Whether there is a leader that this server is in step with."""
        return self._replica.serving

    async def run(self) -> None:
        """Serve until cancelled. Raise ServerHaltedError, or what made the log fail, if there is no going on."""
        self._poller.register(self, READ)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._tick_steadily)
                while True:
                    patience_ms = 0  # at first: trio has waited
                    for _ in range(ROUNDS_PER_WAKEUP):
                        if not self.round(patience_ms):
                            break
                        patience_ms = PATIENCE_MS
                    if self._busy:
                        await trio.lowlevel.checkpoint()
                    else:
                        await self._poller.wait()
        finally:
            self.clients.drop_all()
            self.peers.drop_all()
            self._poller.unregister(self)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that a round may bring about."""
        event = trio.Event()
        self._conditions.append((condition, event))
        self._wakeup.set()
        await event.wait()

    def post(self, event: Event) -> None:
        """Let the replica take in `event` in this round, but not while effects are being performed; or in the next."""
        self._posted.append(event)

    # ---- a source of the poller: the wake-up of threads and tasks

    def fileno(self) -> int:
        return self._wakeup.fileno()

    def on_ready(self, ready: int) -> None:
        self._wakeup.clear()

    # ---- rounds

    @property
    def _busy(self) -> bool:
        return bool(self._posted) or self.clients.busy or self.peers.busy or self._log.durable_lsn != self._durable_lsn

    def round(self, patience_ms: int) -> bool:
        """Do what can be done now, or from when on something can be; False if that is not within `patience_ms`."""
        busy = self._busy
        if busy:
            self._read_clock()
            if self._took_durable():
                self._send()  # at once: those who wait for it go on, while this server reads
        ready = self._poller.poll(0 if busy else patience_ms)
        if not (ready or busy):
            return False
        self._read_clock()
        self.clients.begin_round()
        self._serve(ready)
        for _ in range(POLLS_PER_ROUND - 1):
            if not (ready and self._replica.gathering):
                break
            self._send()  # what is answered waits for no sync: who only reads goes on meanwhile
            ready = self._poller.poll()  # a sync costs as much as many writes: the more of them it is for, the better
            self._serve(ready)
        if self.now_ms >= self._next_tick_ms:
            self._tick()  # after what was heard: whoever spoke while this process did not run was not silent
        self._took_durable()
        while self._snapshots.stored:
            self.step(SnapshotStored(self._snapshots.stored.popleft()))
        while self._posted:
            self.step(self._posted.popleft())
        self.step(_FLUSH)
        self._send()
        self._log.flush()  # last: the other servers write meanwhile
        if self._conditions:
            self._check_conditions()
        return True

    def _read_clock(self) -> None:
        self.now_ms = self.clients.now_ms = self.peers.now_ms = self._monotonic_ms()

    def _serve(self, ready: list[tuple[Source, int]]) -> None:
        for source, bits in ready:
            source.on_ready(bits)

    def _took_durable(self) -> bool:
        """Tell the replica what has become durable, if anything has."""
        durable_lsn = self._log.durable_lsn
        if durable_lsn == self._durable_lsn:
            return False
        self._durable_lsn = durable_lsn
        self.step(Durable(durable_lsn))
        return True

    def _send(self) -> None:
        self._check_disk()
        self.peers.flush()
        self.clients.flush()

    def step(self, event: Event) -> None:
        """Feed `event` to the replica and perform what it says, in order. What is to be sent is only gathered here."""
        for effect in self._replica.step(self.now_ms, event):
            if type(effect) is Answer:  # by far the most frequent
                self.clients.answer(effect.connection, effect.items)
            else:
                self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Answer():
                self.clients.answer(effect.connection, effect.items)
            case Append():
                self._log.perform(effect)
            case Send() | SendPeer():
                self.peers.send(effect.connection, effect.message)
            case StoreSnapshot():
                total_bytes = sum(map(len, effect.chunks))
                logger.info(
                    "a snapshot of the leader's replaces the log: zxid 0x%x, %d bytes", effect.ref.zxid, total_bytes
                )
                self._log.perform(effect)
            case CloseClient():
                self.clients.close(effect.connection, effect.reason)
            case WriteSnapshot():
                self._snapshots.perform(effect)
            case Disconnect():
                self.peers.disconnect(effect.connection, effect.reason)
            case RoleChanged():
                self._on_role_changed(effect)
            case Log():
                logger.log(effect.level, "%s", effect.text)
            case Halt():
                raise ServerHaltedError(effect.reason)
            case _:
                assert_never(effect)

    def _check_disk(self) -> None:
        """After a failed write or sync nothing may be said any more: what is on disk is unknown."""
        failure = self._log.worker.failure or self._snapshots.worker.failure
        if failure is not None:
            raise failure

    # ---- time

    async def _tick_steadily(self) -> None:
        while True:
            await trio.sleep(TICK_MS / 1_000)
            self._wakeup.set()

    def _tick(self) -> None:
        """If the process was paused, this is one long tick; the replica can tell."""
        self._next_tick_ms = self.now_ms + TICK_MS
        self.step(Tick(self._wall_ms()))
        self.clients.tick()
        self.peers.tick()

    def _check_conditions(self) -> None:
        waiting = []
        for condition, event in self._conditions:
            if condition():
                event.set()
            else:
                waiting.append((condition, event))
        self._conditions = waiting
