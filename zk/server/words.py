"""What a server says of itself when an operator asks it a four-letter word: gathered here, written by the wire.

Everything is looked up when it is asked for, but for counters that connections keep anyway.
"""

import os
import platform
import pwd
import resource
import socket
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import zk
from zk.broadcast.engine import Role
from zk.model import requests
from zk.model.record import SessionId
from zk.replica.replica import Replica
from zk.server.clients import Clients
from zk.server.config import ServerConfig
from zk.server.connection import ClientConnection
from zk.server.peers import Peers
from zk.server.runtime import monotonic_ms, wall_ms
from zk.storage.store import Store
from zk.tree.members import CONFIG
from zk.wire.zookeeper import words
from zk.wire.zookeeper.words import ConnectionFacts, ServerFacts, SessionClock, SessionFacts

_ALWAYS = ("ruok", "envi", "isro")  # words that are answered by a server that has no leader, too
_LEADING = (Role.LEADING, Role.LEAD_SYNC)
_OPERATIONS: dict[type, str] = {
    requests.Connect: "SESS",
    requests.RemoveWatches: "REMW",
    requests.CheckWatches: "CHKW",
    requests.MultiRead: "MLTR",
}  # others are called by the first four letters of their names


class Words:
    """The answers of one server. `answer` is to be called between two waits of the runtime."""

    def __init__(self, config: ServerConfig, replica: Replica, clients: Clients, peers: Peers, store: Store) -> None:
        self._config = config
        self._replica = replica
        self._clients = clients
        self._peers = peers
        self._store = store
        self._started_at_ms = monotonic_ms()
        built = datetime.fromtimestamp(Path(zk.__file__).stat().st_mtime, UTC)
        self._version = f"{words.COMPATIBLE_VERSION}-zk{zk.__version__}, built on {built:%m/%d/%Y %H:%M} UTC"
        self._answers: dict[str, Callable[[], str]] = {
            "ruok": lambda: "imok",
            "srvr": lambda: words.srvr(self._facts()),
            "stat": lambda: words.stat(self._facts(), map(self._connection, clients.connections)),
            "mntr": self._mntr,
            "conf": self._conf,
            "cons": lambda: words.cons(map(self._connection, clients.connections)),
            "crst": self._crst,
            "dump": self._dump,
            "envi": self._envi,
            "srst": self._srst,
            "wchs": self._wchs,
            "wchc": self._wchc,
            "wchp": self._wchp,
            "dirs": lambda: words.dirs(*store.sizes()),
            "isro": self._isro,
            "hash": lambda: words.digests(replica.digests),
        }

    def answer(self, word: str) -> str:
        """The text for one of the words that there are."""
        if word not in self._config.four_letter_words:
            return words.not_listed(word)
        if word not in _ALWAYS and not (self._replica.serving or self._replica.clients.read_only):
            return words.NOT_SERVING
        try:
            return self._answers[word]()
        except OSError as error:
            return f"{word} can't be answered: {error}\n"

    # ---- the server at large

    @property
    def _mode(self) -> str:
        if not self._replica.serving:
            return "read-only"
        if not self._config.peers:
            return "standalone"
        return "leader" if self._replica.engine.role in _LEADING else "follower"

    def _facts(self) -> ServerFacts:
        replica, clients = self._replica, self._clients
        sizes = replica.proposal_sizes
        mode = self._mode
        return ServerFacts(
            version=self._version,
            mode=mode,
            zxid=replica.clients.applied,
            znodes=len(replica.tree.znodes),
            connections=len(clients.connections),
            received=clients.received,
            sent=clients.sent,
            outstanding=clients.outstanding,
            latency=clients.latencies.summary,
            proposal_sizes=(sizes.last, sizes.smallest, sizes.largest) if mode == "leader" else None,
        )

    def _isro(self) -> str:
        if self._replica.serving:
            return "rw"
        return "ro" if self._replica.clients.read_only else "null"

    def _mntr(self) -> str:
        facts = self._facts()
        tree = self._replica.tree
        figures: dict[str, object] = {"version": facts.version, "server_state": facts.mode}
        if facts.mode == "leader":
            figures["peer_state"] = "leading - broadcast"
        elif facts.mode == "follower":
            figures["peer_state"] = "following - broadcast"
        figures |= {
            "ephemerals_count": sum(map(len, tree.ephemerals.values())),
            "num_alive_connections": facts.connections,
            "avg_latency": facts.latency.avg_ms,
            "outstanding_requests": facts.outstanding,
            "znode_count": facts.znodes,
            "global_sessions": len(tree.sessions),
            "packets_sent": facts.sent,
            "packets_received": facts.received,
            "connection_drop_probability": 0.0,
            "watch_count": self._replica.clients.watches.count,
            "min_latency": facts.latency.min_ms,
            "max_file_descriptor_count": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            "approximate_data_size": tree.data_bytes,
            "open_file_descriptor_count": _open_files(),
            "local_sessions": 0,
            "uptime": monotonic_ms() - self._started_at_ms,
            "max_latency": facts.latency.max_ms,
            "connection_request_count": self._clients.accepted,
            "connection_rejected": self._clients.refused,
        }
        if self._config.peers:
            figures["quorum_size"] = len(self._config.voters)
        if facts.proposal_sizes is not None:
            followers = len(self._peers.connected)
            last, smallest, largest = facts.proposal_sizes
            figures |= {
                "learners": followers,
                "synced_followers": followers,
                "synced_observers": 0,
                "pending_syncs": 0,
                "last_proposal_size": last,
                "min_proposal_size": smallest,
                "max_proposal_size": largest,
            }
        return words.mntr(figures)

    def _conf(self) -> str:
        config, limits = self._config, self._config.limits
        snapshots_bytes, log_bytes = self._store.sizes()
        directory = config.data.absolute()
        settings: dict[str, object] = {
            "clientPort": config.listen.port,
            "secureClientPort": -1 if config.tls is None else config.tls.listen.port,
            "dataDir": directory,
            "dataDirSize": snapshots_bytes,
            "dataLogDir": directory,
            "dataLogSize": log_bytes,
            "tickTime": config.tick_ms,
            "maxClientCnxns": limits.connections_per_address_max,
            "minSessionTimeout": limits.session_timeout_ms_min,
            "maxSessionTimeout": limits.session_timeout_ms_max,
            "serverId": config.id,
        }
        own = dict(config.peers).get(config.id)
        if own is not None:
            settings |= {"electionPort": own.port, "quorumPort": own.port, "peerType": 0}
        return words.conf(settings, self._replica.tree.znodes[CONFIG].data.decode(errors="replace"))

    def _envi(self) -> str:
        system = os.uname()
        return words.envi(
            {
                "zookeeper.version": self._version,
                "host.name": socket.gethostname(),
                "python.version": platform.python_version(),
                "python.implementation": platform.python_implementation(),
                "python.executable": sys.executable,
                "os.name": system.sysname,
                "os.arch": system.machine,
                "os.version": system.release,
                "user.name": _user(),
                "user.home": os.path.expanduser("~"),
                "user.dir": os.getcwd(),
            }
        )

    # ---- connections and sessions

    def _connection(self, connection: ClientConnection) -> ConnectionFacts:
        wall_minus_now_ms = wall_ms() - monotonic_ms()
        session = self._replica.clients.session_of(connection.id)
        kept_ms = self._clients.limits.handshake_timeout_ms if session is None else session.timeout_ms
        facts = None
        request = connection.last_request
        if session is not None and request is not None:
            facts = SessionFacts(
                id=session.id,
                operation=_OPERATIONS.get(request) or request.__name__[:4].upper(),
                since_ms=connection.accepted_at_ms + wall_minus_now_ms,
                timeout_ms=session.timeout_ms,
                xid=connection.last_xid,
                zxid=connection.last_zxid,
                response_ms=connection.answered_at_ms,
                latency_ms=connection.latencies.last_ms,
                latency=connection.latencies.summary,
            )
        return ConnectionFacts(
            address=connection.peer,
            interest=connection.interest,
            queued=connection.outstanding + len(connection.pending),
            received=connection.received,
            sent=connection.sent,
            deadline_ms=connection.answered_at_ms + kept_ms + wall_minus_now_ms,
            session=facts,
        )

    def _dump(self) -> str:
        tree = self._replica.tree
        wall_minus_now_ms = wall_ms() - monotonic_ms()
        deadlines = {
            session_id: deadline_ms + wall_minus_now_ms
            for session_id, deadline_ms in self._replica.session_deadlines.items()
        }
        return words.dump(
            [SessionClock(each.id, each.timeout_ms, deadlines.get(each.id)) for each in tree.sessions.values()],
            {session_id: sorted(paths) for session_id, paths in tree.ephemerals.items()},
            [self._connection(connection) for connection in self._clients.connections],
            self._config.tick_ms,
        )

    def _crst(self) -> str:
        self._clients.reset_figures_of_connections()
        return "Connection stats reset.\n"

    def _srst(self) -> str:
        self._clients.reset_figures()
        return "Server stats reset.\n"

    # ---- watches

    def _watched(self) -> dict[SessionId, list[str]]:
        """The paths that each session watches here."""
        watched = {}
        for connection, paths in self._replica.clients.watches.by_connection().items():
            session = self._replica.clients.session_of(connection)
            if session is not None:
                watched[session.id] = paths
        return watched

    def _wchs(self) -> str:
        watched = self._watched()
        paths = len(set().union(*watched.values()))
        return words.wchs(len(watched), paths, self._replica.clients.watches.count)

    def _wchc(self) -> str:
        return words.wchc(self._watched())

    def _wchp(self) -> str:
        by_path = defaultdict(list)
        for session_id, paths in self._watched().items():
            for path in paths:
                by_path[path].append(session_id)
        return words.wchp(by_path)


def _open_files() -> int:
    """How many file descriptors are open; -1 if the system does not tell."""
    with suppress(OSError):
        return len(os.listdir("/dev/fd"))
    return -1


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
