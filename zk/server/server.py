"""One server as a process: opens the data directory, builds the replica, listens, serves, and stops in good order.

Owns start and stop, and what the operator reads of them. Serving itself is runtime.py, which is to be read next.
"""

import gc
import logging
import os
import random
import signal
import ssl
from collections.abc import Callable, Sequence

import trio

import zk
from zk.broadcast.engine import Resign, Role, RoleChanged
from zk.broadcast.membership import Membership
from zk.broadcast.zab import ZabConfig
from zk.model.limits import MIB
from zk.model.record import ServerId
from zk.replica.config import ReplicaConfig
from zk.replica.events import DiskSpace
from zk.replica.replica import Replica
from zk.server.config import Address, ConfigError, ServerConfig
from zk.server.listener import listen
from zk.server.logs import logging_to_stderr
from zk.server.logthread import LogThread, SnapshotThread, writing
from zk.server.poller import Poller
from zk.server.polling import open_poller
from zk.server.runtime import Runtime, ServerHaltedError, monotonic_ms, wall_ms
from zk.server.tls import server_context
from zk.server.wakeup import Wakeup
from zk.server.words import Words
from zk.storage.errors import LogFailure, StorageError
from zk.storage.files import open_directory
from zk.storage.segment import Identity
from zk.storage.store import Opened, Space, open_store
from zk.wire.peer import VERSION, Hello

logger = logging.getLogger(__name__)

LEADERLESS_CHECK_MS = 1_000
LEADERLESS_WARNING_MS = 5_000  # when it is said first
LEADERLESS_AGAIN_MS = 60_000
DISK_SPACE_INTERVAL_MS = 1_000
LEADER_TIMEOUT_MS = 500
"""Among servers; a broken connection is noticed at once. On a machine whose processors are all busy a server may wait
for one for so long that a ping takes a quarter of a second, and to change the leader then makes it only worse."""
FOLLOWER_TIMEOUT_MS = 700
FREEZE_INTERVAL_MS = 100  # the shorter, the less there is to look through, during which a server is silent
GC_THRESHOLDS = (50_000, 20, 1_000)  # a full collection practically never: see _freeze_steadily
# The steps of stopping; with the log's they stay below the two seconds that an operator is promised.
ANSWER_MS = 400  # for calls under way
HAND_OVER_MS = 500  # for another server to take the lead
CLOSE_MS = 200  # for clients to take their last bytes


def run(config: ServerConfig) -> int:
    """Serve until SIGTERM or SIGINT. Give the exit code of the process: 1, with the reason on stderr, if there was no
    serving (any more)."""
    with logging_to_stderr():
        try:
            trio.run(_serve_until_signalled, config)
        except BaseExceptionGroup as group:
            expected, others = group.split((ConfigError, StorageError, LogFailure, ServerHaltedError, OSError))
            if others is not None:
                raise others from None
            assert expected is not None
            for error in _leaves(expected):
                logger.critical("server %d ends: %s", config.id, error)
            return 1
        return 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> Sequence[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


async def _serve_until_signalled(config: ServerConfig) -> None:
    stop = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def wait_for_signal() -> None:
                async for number in signals:
                    logger.info("server %d stops: %s", config.id, signal.Signals(number).name)
                    stop.set()

            nursery.start_soon(wait_for_signal)
            await serve(config, stop=stop)
            nursery.cancel_scope.cancel()


async def serve(
    config: ServerConfig, *, started: Callable[[Address], None] = lambda _: None, stop: trio.Event | None = None
) -> None:
    """Serve until `stop` is set (then the lead is handed over and what is under way is answered), or until cancelled.

    `started` hears the address that is listened at, its port filled in. Raises StorageError, OSError (an address can't
    be used), ConfigError (a certificate can't), LogFailure or ServerHaltedError.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    for caution in config.cautions():
        logger.warning("%s", caution)
    tls = None if config.tls is None else server_context(config.tls)
    opened = _open(config)
    async with open_poller() as poller:
        with writing(opened.store, alone=len(config.voters) == 1) as (log, snapshots, wakeup):
            server = _Server(config, tls, opened, log, snapshots, poller, wakeup)
            del opened  # and with it what was read from disk
            gc.freeze()
            started(server.listen())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.run)
                if stop is not None:
                    await stop.wait()
                    await server.stop()
                    nursery.cancel_scope.cancel()


class _Server:
    """The runtime of one server, with what it needs beside it."""

    def __init__(
        self,
        config: ServerConfig,
        tls: ssl.SSLContext | None,
        opened: Opened,
        log: LogThread,
        snapshots: SnapshotThread,
        poller: Poller,
        wakeup: Wakeup,
    ) -> None:
        self._config = config
        self._tls = tls
        self._role = Role.LOOKING
        self._store = opened.store
        self._disk_uuid = opened.recovered.disk_uuid
        replica = self._replica = Replica(
            ReplicaConfig(
                zab=ZabConfig(
                    config.id,
                    frozenset(config.voters),
                    config.cluster,
                    leader_timeout_ms=LEADER_TIMEOUT_MS,
                    follower_timeout_ms=FOLLOWER_TIMEOUT_MS,
                ),
                limits=config.limits,
                version=zk.__version__,
                super_digest=config.super_digest,
                sasl_users=config.sasl_users,
                members=config.members,
                read_only_mode=config.read_only_mode,
                reap_interval_ms=config.container_check_ms,
            ),
            opened.recovered,
            opened.state,
            random.SystemRandom(),
            monotonic_ms(),
            wall_ms(),
        )
        _check_membership(config, replica.engine.membership)
        hello = Hello(config.cluster, config.id, opened.recovered.disk_uuid, VERSION, config.voters)
        self._runtime = Runtime(replica, log, snapshots, poller, wakeup, config.limits, hello, self._role_changed)
        words = Words(config, replica, self._runtime.clients, self._runtime.peers, self._store)
        self._runtime.clients.answer_word = words.answer

    def listen(self) -> Address:
        config = self._config
        listening = listen(config.listen)
        secured = None if config.tls is None else listen(config.tls.listen)
        for server, address in config.peers:
            if server == config.id:
                self._runtime.peers.listen(listen(address))
        self._runtime.clients.listen(listening)
        address = Address(config.listen.host, listening.getsockname()[1])
        logger.info("server %d listens on %s, data in %s", config.id, address, config.data.absolute())
        if config.tls is not None and secured is not None:
            self._runtime.clients.listen(secured, self._tls)
            secured_at = Address(config.tls.listen.host, secured.getsockname()[1])
            wanted = "" if config.tls.ca is None else ", with certificates of clients"
            logger.info("server %d listens on %s for TLS%s", config.id, secured_at, wanted)
        return address

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for peer, address in self._config.peers:
                if peer < self._config.id:
                    nursery.start_soon(self._runtime.peers.keep_connected, peer, address)
            nursery.start_soon(self._watch_disk_space)
            nursery.start_soon(self._watch_for_a_leader)
            nursery.start_soon(_freeze_steadily)
            nursery.start_soon(self._runtime.run)

    async def stop(self) -> None:
        """Answer what is under way, hand the lead over, say goodbye to the clients; each as far as its time allows."""
        runtime = self._runtime
        runtime.clients.drain()
        await self._within(ANSWER_MS, lambda: runtime.clients.outstanding == 0)
        if self._config.peers and self._role is Role.LEADING:
            runtime.post(Resign())
            await self._within(HAND_OVER_MS, lambda: self._role is not Role.LEADING)
        runtime.clients.close_all("the server stops")
        await self._within(CLOSE_MS, lambda: runtime.clients.empty)

    async def _within(self, timeout_ms: int, condition: Callable[[], bool]) -> None:
        with trio.move_on_after(timeout_ms / 1_000):
            await self._runtime.until(condition)

    def _role_changed(self, change: RoleChanged) -> None:
        self._role = change.role
        name = f"server {self._config.id}"
        match change.role:
            case Role.LEADING:
                logger.info("%s leads epoch %d: serving", name, change.epoch)
            case Role.FOLLOWING:
                logger.info("%s follows server %d in epoch %d: serving", name, change.leader, change.epoch)
            case Role.LEARNING if change.leader:
                logger.info(
                    "%s learns from server %d in epoch %d: serving, without a vote until its disk is admitted",
                    name,
                    change.leader,
                    change.epoch,
                )
            case _:
                why = f": {change.why}" if change.why else ""
                logger.info("%s is %s (epoch %d)%s", name, change.role.value, change.epoch, why)

    async def _watch_disk_space(self) -> None:
        low = False
        while True:
            try:
                space = await trio.to_thread.run_sync(self._store.space, abandon_on_cancel=True)
            except OSError as error:
                logger.warning("the room on the disk can't be told: %s", error)
                space = Space(low, 0)
            if space.low != low:
                low = space.low
                free_mib = space.free_bytes // MIB
                if low:
                    logger.error("the disk is nearly full (%d MiB left): writes are refused from now on", free_mib)
                else:
                    logger.info("the disk has room again (%d MiB): writes are taken", free_mib)
                self._runtime.post(DiskSpace(low))
            await trio.sleep(DISK_SPACE_INTERVAL_MS / 1_000)

    async def _watch_for_a_leader(self) -> None:
        """Say so when there is none for a while, and what is missing: an operator looks here first."""
        leaderless_ms = 0
        while True:
            await trio.sleep(LEADERLESS_CHECK_MS / 1_000)
            leaderless_ms = 0 if self._runtime.serving else leaderless_ms + LEADERLESS_CHECK_MS
            if leaderless_ms == LEADERLESS_WARNING_MS or (leaderless_ms and leaderless_ms % LEADERLESS_AGAIN_MS == 0):
                logger.warning("no leader for %d s: %s", leaderless_ms // 1_000, self._why_leaderless())

    def _why_leaderless(self) -> str:
        connected = self._runtime.peers.connected
        missing = [peer for peer in self._config.voters if peer != self._config.id and peer not in connected]
        found = f"not connected to {_names(missing)}; connected to {_names(sorted(connected))}. "
        membership = self._replica.engine.membership
        if membership is None:
            return found + (
                "This server's directory is empty, or was: it can't vote for what others have. An ensemble that starts "
                "for the first time needs all its servers, any other more than half of those that have their data"
            )
        disks = {**connected, self._config.id: self._disk_uuid}
        changed = sorted(server for server, uuid in disks.items() if uuid != membership.disk(server))
        if changed:
            found += f"The data directory of {_names(changed)} was emptied, replaced or damaged: that costs the vote. "
        return found + "More than half of the servers must be there, with a vote"


def _check_membership(config: ServerConfig, membership: Membership | None) -> None:
    """The log says who belongs to the ensemble. An operator who configures something else must not be left to believe
    it: a server that is alone by its log would serve alone, whatever peers it was given."""
    voters = frozenset(config.voters)
    if membership is not None and membership.configs != (voters,):
        recorded = ", ".join(str(server) for server in sorted(frozenset().union(*membership.configs)))
        configured = ", ".join(str(server) for server in sorted(voters))
        raise StorageError(
            str(config.data),
            0,
            f"the log belongs to an ensemble of the servers {recorded}, but this one is configured for {configured}",
            "Start it with --peer for exactly those servers (none, for a server alone), or with another directory.",
        )


def _names(servers: Sequence[ServerId]) -> str:
    return ", ".join(f"server {server}" for server in servers) or "none"


async def _freeze_steadily() -> None:
    """Keep what has grown old out of the garbage collector's way: a full collection of a large tree takes too long.

    Nothing that lives long here forms cycles, so counting references frees all that is dropped.
    """
    while True:
        await trio.sleep(FREEZE_INTERVAL_MS / 1_000)
        gc.collect(1)
        gc.freeze()


def _open(config: ServerConfig) -> Opened:
    opened = open_store(
        open_directory(str(config.data)),
        Identity(config.cluster, config.id),
        lambda: os.urandom(16).hex(),
        ensemble=len(config.voters) > 1,
    )
    for note in opened.notes:
        logger.warning("%s", note)
    return opened
