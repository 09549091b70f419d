"""A whole server inside the process of a test: no files, no other process, and every fault at a method's call.

It is the production replica, log and runtime, with real sockets, in a thread. What differs is handed in from outside:
a data directory in memory, a clock that can be put forward, and a replica that can be told to lose replies.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from types import TracebackType
from typing import Final, Self

import trio

import zk
from zk.broadcast.zab import ZabConfig
from zk.model.limits import DEFAULT_LIMITS, MIB
from zk.model.record import ServerId
from zk.replica.config import ReplicaConfig
from zk.replica.events import Tick
from zk.server.config import Address
from zk.server.listener import listen
from zk.server.logthread import writing
from zk.server.polling import open_poller
from zk.server.runtime import Runtime, monotonic_ms, wall_ms
from zk.server.testing import free_ports
from zk.storage.segment import Identity
from zk.storage.store import Options, open_store
from zk.testing.memory import MemoryDirectory
from zk.testing.replica import EmbeddedReplica
from zk.wire.peer import VERSION, Hello

SERVER: Final = ServerId(1)
IDENTITY: Final = Identity("zk", SERVER)
LIMITS: Final = replace(DEFAULT_LIMITS, session_timeout_ms_min=100)  # so that a test need not wait for seconds
CONFIG: Final = ReplicaConfig(
    zab=ZabConfig(SERVER, frozenset({SERVER}), IDENTITY.cluster),
    limits=LIMITS,
    version=zk.__version__,
    pause_ms_max=1 << 62,  # its clock jumps because it is told to, and stands still in a pause
)
STORAGE: Final = Options(segment_bytes=MIB, ballast_bytes=0, space_low_bytes=0)


class EmbeddedServer:
    """A server in this process, for unit tests: it starts in milliseconds, and fails when told to.

        with EmbeddedServer() as server, ZooKeeper(server.hosts) as zk:
            zk.create("/config", "config.json")
            server.drop_replies()
            zk.set("/config", "other.json")  # done once, though its reply is lost

    It is a real server alone, on a free port of the loopback, whose data is in memory. Sessions may be as short as
    100 ms. Its methods return when what they say has happened; that takes milliseconds, so they may be called from
    coroutines too. They raise RuntimeError while the server is stopped, and all but `resume`, `restart` and `stop`
    while it is paused.
    """

    def __init__(self) -> None:
        [port] = free_ports(1)
        self._address = Address("127.0.0.1", port)
        self._directory = MemoryDirectory()
        self._clock = Clock()
        self._life: Life | None = None

    @property
    def hosts(self) -> str:
        """Where it listens, as a client takes it. The same for all its lives."""
        return str(self._address)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._life is not None:
            self.stop()

    # ---- life and death

    def start(self) -> None:
        """Begin to serve, with the data that there was at the last `stop`. OSError if the port is taken."""
        if self._life is not None:
            raise RuntimeError("the server runs already")
        self._life = Life(self._address, self._directory, self._clock)

    def stop(self) -> None:
        """End as with kill -9: connections break, new ones are refused. `start` finds data and sessions again."""
        life, self._life = self._running, None
        life.end()

    def restart(self, *, keep_data: bool = True) -> None:
        """Stop and start again. Without its data it knows no node and no session."""
        self.stop()
        if not keep_data:
            self._directory = MemoryDirectory()
        self.start()

    # ---- faults

    def drop_replies(self, count: int = 1) -> None:
        """Lose the replies to the next `count` calls: each is carried out, but then its connection is cut in place of
        the reply. Pings, and what else clients ask on their own account, don't count."""
        self._running.ask(lambda life: life.drop_replies(count))

    @property
    def replies_to_drop(self) -> int:
        """How many replies are still to be lost."""
        return self._running.replica.replies_to_drop

    def expire(self, session_id: int) -> None:
        """End a session, as if its client had been silent for too long. LookupError if there is none with this id."""
        self._running.ask(lambda life: life.replica.expire(session_id))

    def refuse(self) -> None:
        """Break all connections, and refuse new ones until `allow`. Sessions run out meanwhile, as always."""
        self._running.ask(lambda life: life.refuse())

    def allow(self) -> None:
        """Take connections again after `refuse`."""
        self._running.ask(lambda life: life.allow())

    def pause(self) -> None:
        """Stand still, as after SIGSTOP: connections stay, nothing is answered. Its time stands still too, so sessions
        don't run out on this side."""
        self._running.pause()

    def resume(self) -> None:
        """Go on after `pause`."""
        self._running.resume()

    def advance(self, seconds: float) -> None:
        """Put the server's clock forward, and let it do what is due then: delete TTL nodes and empty containers, and
        end the sessions of clients that are not connected. Those of connected clients live on: in that time they
        would have been heard of. The clients' own clocks stay as they are."""
        if seconds < 0:
            raise ValueError("time goes forward only")
        self._running.ask(lambda life: life.advance(round(seconds * 1_000)))

    @property
    def _running(self) -> "Life":
        if self._life is None:
            raise RuntimeError("the server is stopped: start() it, or use it inside `with`")
        return self._life


class Clock:
    """Real time, and what was added to it. It belongs to the thread of the server."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def monotonic_ms(self) -> int:
        return monotonic_ms() + self.ahead_ms

    def wall_ms(self) -> int:
        return wall_ms() + self.ahead_ms


class Life:
    """The server from a start to the next stop: a thread, which is asked to do things between its rounds."""

    runtime: Runtime
    replica: EmbeddedReplica
    _token: trio.lowlevel.TrioToken
    _tasks: trio.Nursery

    def __init__(self, address: Address, directory: MemoryDirectory, clock: Clock) -> None:
        self._address = address
        self._directory = directory
        self._clock = clock
        self._refusing = True
        self._running = threading.Event()
        self._running.set()
        serving: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(serving,), name="zk embedded server", daemon=True)
        self._thread.start()
        serving.result()

    # ---- from any thread

    def ask(self, work: "Callable[[Life], object]") -> None:
        """Do `work` in the server's thread, and wait until all that came of it is done."""
        if not self._running.is_set():
            raise RuntimeError("the server is paused: resume() it first")
        done: Future[None] = Future()
        self._token.run_sync_soon(self._tasks.start_soon, self._do, work, done)
        done.result()

    def pause(self) -> None:
        if not self._running.is_set():
            raise RuntimeError("the server is paused already")
        self._running.clear()
        standing = threading.Event()
        self._token.run_sync_soon(self._stand_still, standing)
        standing.wait()

    def resume(self) -> None:
        self._running.set()

    def end(self) -> None:
        self.resume()
        self._token.run_sync_soon(self._tasks.cancel_scope.cancel)
        self._thread.join()

    # ---- in the server's thread

    def drop_replies(self, count: int) -> None:
        self.replica.replies_to_drop += count

    def refuse(self) -> None:
        self.runtime.clients.drop_all()
        self._refusing = True

    def allow(self) -> None:
        if self._refusing:
            self.runtime.clients.listen(listen(self._address))
            self._refusing = False

    def advance(self, ms: int) -> None:
        self.replica.prepare_to_jump()
        self._clock.ahead_ms += ms
        self.runtime.post(Tick(self._clock.wall_ms()))

    def _stand_still(self, standing: threading.Event) -> None:
        began_ms = monotonic_ms()
        standing.set()
        self._running.wait()
        self._clock.ahead_ms -= monotonic_ms() - began_ms

    async def _do(self, work: "Callable[[Life], object]", done: Future[None]) -> None:
        replica, runtime = self.replica, self.runtime
        try:
            work(self)
            await runtime.until(lambda: not replica.has_unproposed)
            newest = replica.engine.last
            await runtime.until(lambda: replica.engine.delivered >= newest)
        except Exception as error:
            done.set_exception(error)
        except trio.Cancelled:
            done.set_exception(RuntimeError("the server was stopped meanwhile"))
            raise
        else:
            done.set_result(None)

    def _run(self, serving: Future[None]) -> None:
        try:
            trio.run(self._serve, serving)
        except BaseException as error:
            if serving.done():
                raise
            serving.set_exception(error)

    async def _serve(self, serving: Future[None]) -> None:
        clock = self._clock
        opened = open_store(self._directory, IDENTITY, lambda: os.urandom(16).hex(), ensemble=False, options=STORAGE)
        self.replica = replica = EmbeddedReplica(CONFIG, opened, clock.monotonic_ms(), clock.wall_ms())
        hello = Hello(IDENTITY.cluster, SERVER, opened.recovered.disk_uuid, VERSION, (SERVER,))
        times = clock.monotonic_ms, clock.wall_ms
        async with open_poller() as poller:
            with writing(opened.store, alone=True) as (log, snapshots, wakeup):
                self.runtime = runtime = Runtime(
                    replica, log, snapshots, poller, wakeup, LIMITS, hello, lambda _: None, *times
                )
                self.allow()
                self._token = trio.lowlevel.current_trio_token()
                async with trio.open_nursery() as self._tasks:
                    self._tasks.start_soon(runtime.run)
                    await runtime.until(lambda: runtime.serving)
                    serving.set_result(None)
