"""ZooKeeper's four-letter words: what operators and their monitoring ask a server, and the text it answers.

A connection that begins with a word is answered with a text, then it ends. The forms are those of ZooKeeper 3.8, since
they are taken apart by programs; what a server has to say in them stands in the records below, which know nothing of
connections, sessions or trees. Who gathers it is zk/server/words.py.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain

from zk.model.record import SessionId, Zxid, record

WORDS = (
    "ruok",
    "srvr",
    "stat",
    "mntr",
    "conf",
    "cons",
    "crst",
    "dump",
    "envi",
    "srst",
    "wchs",
    "wchc",
    "wchp",
    "dirs",
    "isro",
    "hash",
)
_WORD_BYTES = 4
_HEADS = frozenset(word[:size].encode() for word in WORDS for size in range(1, _WORD_BYTES + 1))

COMPATIBLE_VERSION = "3.8.0"  # what programs that look at the version are told to expect
NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"


def begins(head: bytes) -> bool | None:
    """Whether a connection that begins with `head` (not empty) asks a word; None: too little to tell.

    What follows the word, a line's end or anything, does not matter.
    """
    if head[:_WORD_BYTES] not in _HEADS:
        return False
    return True if len(head) >= _WORD_BYTES else None


def asked(head: bytes) -> str:
    """The word that `head` begins with."""
    return head[:_WORD_BYTES].decode()


# ---- what there is to say


@record
class Latency:
    """Of requests, in milliseconds."""

    min_ms: int
    avg_ms: float
    max_ms: int


@record
class ServerFacts:
    """A server at large. `mode` is standalone, leader, follower or read-only."""

    version: str
    mode: str
    zxid: Zxid
    znodes: int
    connections: int
    received: int
    sent: int
    outstanding: int
    latency: Latency
    proposal_sizes: tuple[int, int, int] | None = None  # of a leader, in bytes: last, smallest, largest; -1: none yet


@record
class SessionFacts:
    """The session of a connection, and what it did last. `since_ms` is milliseconds since 1970, `response_ms` those of
    some clock that only goes forward."""

    id: SessionId
    operation: str
    since_ms: int
    timeout_ms: int
    xid: int
    zxid: Zxid
    response_ms: int
    latency_ms: int
    latency: Latency


@record
class ConnectionFacts:
    """One connection. `interest` has Java's bits: 1 it is being read, 4 it is slow to take what is sent.
    `deadline_ms`: when it is given up if nothing is heard until then, in milliseconds since 1970."""

    address: str
    interest: int
    queued: int
    received: int
    sent: int
    deadline_ms: int
    session: SessionFacts | None


@record
class SessionClock:
    """A session of the ensemble. `deadline_ms` is known to the leader only."""

    id: SessionId
    timeout_ms: int
    deadline_ms: int | None


# ---- refusals


def not_listed(word: str) -> str:
    return f"{word} is not executed because it is not in the whitelist.\n"


# ---- the server at large


def srvr(facts: ServerFacts) -> str:
    return f"Zookeeper version: {facts.version}\n" + _figures(facts)


def stat(facts: ServerFacts, connections: Iterable[ConnectionFacts]) -> str:
    clients = "".join(f" {_brief(connection)})\n" for connection in connections)
    return f"Zookeeper version: {facts.version}\nClients:\n{clients}\n{_figures(facts)}"


def _figures(facts: ServerFacts) -> str:
    latency = facts.latency
    lines = [
        f"Latency min/avg/max: {latency.min_ms}/{_average(latency.avg_ms)}/{latency.max_ms}",
        f"Received: {facts.received}",
        f"Sent: {facts.sent}",
        f"Connections: {facts.connections}",
        f"Outstanding: {facts.outstanding}",
        f"Zxid: 0x{facts.zxid:x}",
        f"Mode: {facts.mode}",
        f"Node count: {facts.znodes}",
    ]
    if facts.mode == "read-only":
        lines.insert(0, "READ-ONLY mode; serving only read-only clients")
    if facts.proposal_sizes is not None:
        lines.append("Proposal sizes last/min/max: {}/{}/{}".format(*facts.proposal_sizes))
    return _lines(lines)


def mntr(figures: Mapping[str, object]) -> str:
    """`figures` without the prefix that ZooKeeper puts before each."""
    return _lines(f"zk_{name}\t{_average(v) if isinstance(v, float) else v}" for name, v in figures.items())


def conf(settings: Mapping[str, object], membership: str) -> str:
    """`membership` is what /zookeeper/config has to say; nothing, for a server alone."""
    text = _lines(f"{name}={value}" for name, value in settings.items())
    return f"{text}membership: \n{membership}" if membership else text


def envi(environment: Mapping[str, str]) -> str:
    return "Environment:\n" + _lines(f"{name}={value}" for name, value in environment.items())


def dirs(snapshots_bytes: int, log_bytes: int) -> str:
    return f"datadir_size: {snapshots_bytes}\nlogdir_size: {log_bytes}\n"


def digests(by_zxid: Mapping[Zxid, str]) -> str:
    """The answer to `hash`."""
    return _lines(f"{zxid:x}: {digest}" for zxid, digest in by_zxid.items())


# ---- connections and sessions


def cons(connections: Iterable[ConnectionFacts]) -> str:
    return "".join(f" {_brief(connection)}{_session(connection.session)})\n" for connection in connections) + "\n"


def _brief(connection: ConnectionFacts) -> str:
    """Without the closing parenthesis: `cons` has more to say within."""
    c = connection
    return f"/{c.address}[{c.interest}](queued={c.queued},recved={c.received},sent={c.sent}"


def _session(session: SessionFacts | None) -> str:
    if session is None:
        return ""
    s = session
    return (
        f",sid=0x{s.id:x},lop={s.operation},est={s.since_ms},to={s.timeout_ms},lcxid=0x{s.xid & _U64:x},"
        f"lzxid=0x{s.zxid & _U64:x},lresp={s.response_ms},llat={s.latency_ms},minlat={s.latency.min_ms},"
        f"avglat={round(s.latency.avg_ms)},maxlat={s.latency.max_ms}"
    )


_U64 = (1 << 64) - 1  # ZooKeeper shows negative numbers as what they are without their sign


def dump(
    sessions: Iterable[SessionClock],
    ephemerals: Mapping[SessionId, Collection[str]],
    connections: Sequence[ConnectionFacts],
    tick_ms: int,
) -> str:
    """`ephemerals` by session. Deadlines are shown in steps of `tick_ms`, as far as they are known."""
    lines = ["SessionTracker dump:"]
    by_deadline = defaultdict(list)
    unknown = []
    for session in sessions:
        if session.deadline_ms is None:
            unknown.append(f"0x{session.id:x}\t{session.timeout_ms}ms")
        else:
            by_deadline[_step(session.deadline_ms, tick_ms)].append(f"\t0x{session.id:x}")
    if unknown:
        lines += [f"Global Sessions({len(unknown)}):", *unknown]
    else:
        lines += [f"Session Sets ({len(by_deadline)})/({sum(map(len, by_deadline.values()))}):", *_due(by_deadline)]
    lines += ["ephemeral nodes dump:", f"Sessions with Ephemerals ({len(ephemerals)}):"]
    for session_id, paths in ephemerals.items():
        lines += [f"0x{session_id:x}:", *(f"\t{path}" for path in paths)]
    kept = defaultdict(list)
    for connection in connections:
        session_id = SessionId(0) if connection.session is None else connection.session.id
        kept[_step(connection.deadline_ms, tick_ms)].append(f"\tip: /{connection.address} sessionId: 0x{session_id:x}")
    lines += ["Connections dump:", f"Connections Sets ({len(kept)})/({len(connections)}):", *_due(kept)]
    return _lines(lines)


def _step(deadline_ms: int, tick_ms: int) -> int:
    return (deadline_ms // tick_ms + 1) * tick_ms


def _due(by_deadline: Mapping[int, Sequence[str]]) -> Iterable[str]:
    for deadline_ms, lines in sorted(by_deadline.items()):
        at = datetime.fromtimestamp(deadline_ms / 1_000, UTC)
        yield f"{len(lines)} expire at {at:%a %b %d %H:%M:%S} UTC {at.year}:"
        yield from lines


# ---- watches


def wchs(connections: int, paths: int, watches: int) -> str:
    return f"{connections} connections watching {paths} paths\nTotal watches:{watches}\n"


def wchc(by_session: Mapping[SessionId, Iterable[str]]) -> str:
    """The paths that each session watches."""
    return (
        _lines(chain.from_iterable((f"0x{i:x}", *(f"\t{p}" for p in paths)) for i, paths in by_session.items())) + "\n"
    )


def wchp(by_path: Mapping[str, Iterable[SessionId]]) -> str:
    """The sessions that watch each path."""
    return _lines(chain.from_iterable((p, *(f"\t0x{i:x}" for i in ids)) for p, ids in by_path.items())) + "\n"


def _average(value: float) -> str:
    """As Java writes it, with four decimals at most."""
    return repr(round(value, 4))


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
