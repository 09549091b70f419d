"""AsyncZooKeeper: the client for coroutines, on asyncio and trio. Keeping a session alive is the machine's matter."""

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from random import SystemRandom
from ssl import SSLContext
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import TaskGroup

from zk.model.chance import Chance
from zk.model.events import WatchMode
from zk.model.record import SessionId, Zxid
from zk.model.requests import AddAuth, CloseSession, CreateMode
from zkclient.caches import NODES_MAX, ChildrenCache, NodeCache, TreeCache
from zkclient.connecting import Connect, over_tcp, over_tls
from zkclient.datawatch import ChildrenFunction, ChildrenWatch, DataFunction, DataWatch
from zkclient.driver import Driver
from zkclient.errors import BadArgumentsError, ZKError
from zkclient.hosts import parse_hosts
from zkclient.machine import Machine
from zkclient.operations import Operations
from zkclient.recipes.barrier import Barrier
from zkclient.recipes.counter import Counter
from zkclient.recipes.discovery import Discovery
from zkclient.recipes.doublebarrier import DoubleBarrier
from zkclient.recipes.election import Election
from zkclient.recipes.leaderlatch import LeaderLatch
from zkclient.recipes.lease import Lease
from zkclient.recipes.lock import Lock, RLock
from zkclient.recipes.partitioner import TIME_BOUNDARY_S, Partitioner
from zkclient.recipes.party import Party
from zkclient.recipes.queue import PriorityQueue, Queue
from zkclient.recipes.readwritelock import ReadWriteLock
from zkclient.recipes.semaphore import Semaphore
from zkclient.recipes.workqueue import WorkQueue
from zkclient.results import ClientStatistics, State
from zkclient.transaction import to_bytes
from zkclient.watching import WatchStream

DEFAULT_HOSTS = "127.0.0.1:2181"
SESSION_TIMEOUT_MS_MAX = 2**31 - 1
CHANCE = SystemRandom()
CLOSE_SECONDS_MAX = 2.0  # how long leaving the block waits for the session to be closed


class AsyncZooKeeper(Operations):
    """A client of the service, and one session with it.

        async with AsyncZooKeeper("host1:2181,host2:2181") as zk:
            await zk.create("/config", "config.json", ephemeral=True)
            print(await zk.get("/config"))

    It connects at the first call, moves to another server by itself, and keeps its session there. A write is done
    exactly once as long as the session lives: don't wrap calls in retries.

    `hosts` is 'host:port,host:port' with an optional '/chroot' behind it, below which all paths then are.
    `session_timeout_ms` is what the service is asked for (it has limits of its own). `timeout` (seconds) is the default
    deadline of a call; each call takes its own `timeout`. `auth` are identities that each session has from its
    beginning: `[("digest", "user:password")]`. With `tls` servers are reached over TLS, and must prove their names as
    it says. With `read_only`, where no server has a quorum, one that allows it is read: its state is old, and all else
    raises NotReadOnlyError (the state is CONNECTED_READ_ONLY meanwhile). `connect` reaches a server by host and port,
    where that takes more than TCP: a tunnel, a proxy. `chance` decides in which order servers are tried, and when
    again.

    On event loops: it runs on asyncio and on trio; `anyio.fail_after` and cancelling work on every call.

    Every call may raise ConnectionLossError (it never left this process: nothing happened), OperationTimeoutError,
    SessionExpiredError (both with `maybe_applied`), or what the service refuses: an APIError.
    """

    PERSISTENT = CreateMode.PERSISTENT
    EPHEMERAL = CreateMode.EPHEMERAL
    SEQUENCE = CreateMode.PERSISTENT_SEQUENTIAL
    CONTAINER = CreateMode.CONTAINER

    def __init__(
        self,
        hosts: str = DEFAULT_HOSTS,
        *,
        session_timeout_ms: int = 10_000,
        timeout: float = 10.0,
        auth: Sequence[tuple[str, str | bytes]] = (),
        tls: SSLContext | None = None,
        read_only: bool = False,
        connect: Connect = over_tcp,
        chance: Chance = CHANCE,
    ) -> None:
        found = parse_hosts(hosts)
        if not isinstance(session_timeout_ms, int) or not 0 < session_timeout_ms <= SESSION_TIMEOUT_MS_MAX:
            allowed = f"a whole number from 1 to {SESSION_TIMEOUT_MS_MAX}"
            raise BadArgumentsError(hint=f"session_timeout_ms is {allowed}, not {session_timeout_ms!r}")
        if not isinstance(timeout, int | float) or not timeout >= 0:
            raise BadArgumentsError(hint=f"timeout is a number of seconds, math.inf for no deadline; not {timeout!r}")
        if not isinstance(tls, SSLContext | None):
            raise BadArgumentsError(
                hint=f"tls is an ssl.SSLContext (ssl.create_default_context() gives one), not {tls!r}"
            )
        credentials = tuple(_credential(each) for each in auth)
        machine = Machine(found.servers, session_timeout_ms, chance, credentials, bool(read_only))
        self._tasks: TaskGroup | None = None
        self.chance: Chance = chance
        self.driver: Driver = Driver(machine, connect if tls is None else over_tls(connect, tls))
        super().__init__(self.driver, found.chroot, timeout)

    async def __aenter__(self) -> Self:
        if self._tasks is not None:
            raise RuntimeError("a client can be entered once: make another one")
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self.driver.start(self._tasks)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the session, which deletes its ephemeral nodes, and close the connection."""
        assert self._tasks is not None
        if self.driver.machine.attached:
            with anyio.move_on_after(CLOSE_SECONDS_MAX, shield=True), suppress(ZKError):
                await self._call(CloseSession(), CLOSE_SECONDS_MAX)
        self.driver.stop()
        await self._tasks.__aexit__(None, None, None)  # without the block's own error, which goes on as it is

    # ---- the session

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self.driver.machine.state

    @property
    def session_id(self) -> SessionId:
        """0 before the first connect."""
        return self.driver.machine.session_id

    @property
    def last_zxid(self) -> Zxid:
        """The newest transaction that this client has seen: pass it to another process as `at_least`."""
        return self.driver.machine.last_zxid

    def add_listener(self, listener: Callable[[State], object]) -> None:
        """Call `listener` at every change of the state. It must not block."""
        self.driver.add_listener(listener)

    def remove_listener(self, listener: Callable[[State], object]) -> None:
        self.driver.remove_listener(listener)

    def statistics(self) -> ClientStatistics:
        machine = self.driver.machine
        return ClientStatistics(
            machine.state,
            machine.server if machine.attached else "",
            machine.session_id,
            machine.session_timeout_ms,
            machine.last_zxid,
            machine.pending_calls,
            len(machine.watchers),
            machine.calls,
            machine.connects,
            machine.bytes_sent,
            machine.bytes_received,
        )

    def watch(
        self, path: str, *, recursive: bool = False, since: Zxid | int | None = None, buffer_size: int = 1_000
    ) -> WatchStream:
        """Every change of the node and its children (`recursive`: of the node and all below it), as a stream.

            async for event in zk.watch("/config", recursive=True):
                print(event.type.name, event.path, event.zxid)

        Watching begins with this call: a later read of the same client shows nothing that the stream will not tell.
        With `since`, changes after that zxid come first. It goes on over reconnects and new sessions without a gap.
        If the consumer falls behind by more than `buffer_size` events, equal ones are merged to the latest; if that is
        not enough, or the service does not remember that far back, one RESYNC event says: read everything again.
        """
        mode = WatchMode.RECURSIVE if recursive else WatchMode.PERSISTENT
        position = None if since is None else Zxid(since)
        return WatchStream(self.driver, self._chroot, self.absolute(path), mode, position, buffer_size)

    def DataWatch(self, path: str, func: DataFunction | None = None) -> DataWatch:  # noqa: N802 - kazoo's name
        """See `zkclient.DataWatch`."""
        return DataWatch(self, path, func)

    def ChildrenWatch(self, path: str, func: ChildrenFunction | None = None) -> ChildrenWatch:  # noqa: N802 - kazoo's name
        """See `zkclient.ChildrenWatch`."""
        return ChildrenWatch(self, path, func)

    def NodeCache(self, path: str, *, timeout: float | None = None) -> NodeCache:  # noqa: N802 - as the class
        """See `zkclient.NodeCache`."""
        return NodeCache(self, path, timeout=timeout)

    def ChildrenCache(  # noqa: N802 - as the class
        self, path: str, *, nodes_max: int = NODES_MAX, timeout: float | None = None
    ) -> ChildrenCache:
        """See `zkclient.ChildrenCache`."""
        return ChildrenCache(self, path, nodes_max=nodes_max, timeout=timeout)

    def TreeCache(  # noqa: N802 - as the class
        self, path: str, *, nodes_max: int = NODES_MAX, timeout: float | None = None
    ) -> TreeCache:
        """See `zkclient.TreeCache`."""
        return TreeCache(self, path, nodes_max=nodes_max, timeout=timeout)

    # ---- recipes

    def Lock(self, path: str, *, identifier: str = "", timeout: float | None = None) -> Lock:  # noqa: N802 - kazoo's name
        """See `zkclient.Lock`."""
        return Lock(self, path, identifier=identifier, timeout=timeout)

    def RLock(  # noqa: N802 - as the class
        self, path: str, *, identifier: str = "", timeout: float | None = None
    ) -> RLock:
        """See `zkclient.RLock`."""
        return RLock(self, path, identifier=identifier, timeout=timeout)

    def ReadWriteLock(  # noqa: N802 - as the class
        self, path: str, *, identifier: str = "", timeout: float | None = None
    ) -> ReadWriteLock:
        """See `zkclient.ReadWriteLock`."""
        return ReadWriteLock(self, path, identifier=identifier, timeout=timeout)

    def Semaphore(  # noqa: N802 - kazoo's name
        self, path: str, *, max_leases: int, identifier: str = "", timeout: float | None = None
    ) -> Semaphore:
        """See `zkclient.Semaphore`."""
        return Semaphore(self, path, max_leases=max_leases, identifier=identifier, timeout=timeout)

    def Election(self, path: str, id: str = "", *, timeout: float | None = None) -> Election:  # noqa: A002, N802 - kazoo's name
        """See `zkclient.Election`."""
        return Election(self, path, id, timeout=timeout)

    def LeaderLatch(self, path: str, id: str = "") -> LeaderLatch:  # noqa: A002, N802 - Curator's name
        """See `zkclient.LeaderLatch`."""
        return LeaderLatch(self, path, id)

    def Lease(self, path: str, *, duration: float, identifier: str = "") -> Lease:  # noqa: N802 - as the class
        """See `zkclient.Lease`."""
        return Lease(self, path, duration=duration, identifier=identifier)

    def Barrier(self, path: str) -> Barrier:  # noqa: N802 - kazoo's name
        """See `zkclient.Barrier`."""
        return Barrier(self, path)

    def DoubleBarrier(self, path: str, num_clients: int, identifier: str = "") -> DoubleBarrier:  # noqa: N802 - kazoo's name
        """See `zkclient.DoubleBarrier`."""
        return DoubleBarrier(self, path, num_clients, identifier)

    def Queue(self, path: str) -> Queue:  # noqa: N802 - kazoo's name
        """See `zkclient.Queue`."""
        return Queue(self, path)

    def PriorityQueue(self, path: str) -> PriorityQueue:  # noqa: N802 - as the class
        """See `zkclient.PriorityQueue`."""
        return PriorityQueue(self, path)

    def WorkQueue(self, path: str, *, deliveries_max: int = 10) -> WorkQueue:  # noqa: N802 - as the class
        """See `zkclient.WorkQueue`."""
        return WorkQueue(self, path, deliveries_max=deliveries_max)

    def Counter(self, path: str, default: int | float = 0) -> Counter:  # noqa: N802 - kazoo's name
        """See `zkclient.Counter`."""
        return Counter(self, path, default)

    def Party(self, path: str, identifier: str = "") -> Party:  # noqa: N802 - kazoo's name
        """See `zkclient.Party`."""
        return Party(self, path, identifier)

    def Discovery(self, path: str) -> Discovery:  # noqa: N802 - as the class
        """See `zkclient.Discovery`."""
        return Discovery(self, path)

    def Partitioner(  # noqa: N802 - as the class
        self,
        path: str,
        partitions: Collection[str],
        *,
        identifier: str = "",
        time_boundary: float = TIME_BOUNDARY_S,
    ) -> Partitioner:
        """See `zkclient.Partitioner`."""
        return Partitioner(self, path, partitions, identifier=identifier, time_boundary=time_boundary)


def _credential(identity: tuple[str, str | bytes]) -> AddAuth:
    """What the service would refuse is refused before there is a session."""
    if isinstance(identity, tuple | list) and len(identity) == 2:
        scheme, credential = identity
        secret = to_bytes(credential)
        if scheme == "digest" and b":" in secret:
            return AddAuth(scheme, secret)
    raise BadArgumentsError(hint="auth is a list of ('digest', 'user:password')")
