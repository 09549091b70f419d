"""The tree held against a naive model: dicts of dicts, copied whole for a multi, searched whole for every question.

The model shares no code with the tree but the values that go in and come out, and the arithmetic of paths.
"""

import copy
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from zk.model.acl import OPEN_ACL, READ_ACL, Acl, Identity
from zk.model.errors import APIError, Code, NoWatcherError
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import ConnectionId, ServerId, SessionId, Zxid
from zk.model.replies import (
    AclReply,
    ChildrenPageReply,
    ChildrenReply,
    ConnectReply,
    CountReply,
    Created,
    Done,
    IdentitiesReply,
    MultiReply,
    NodeReply,
    PathsReply,
    StatReply,
)
from zk.model.requests import (
    AttachSession,
    Authenticate,
    BeginRestore,
    Check,
    ClientWrite,
    CloseSession,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    ExpireSession,
    FinishRestore,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    GetNode,
    Multi,
    MultiRead,
    NameMembers,
    OpenSession,
    Operation,
    Reap,
    Restore,
    SetAcl,
    SetData,
    SetWatches,
    TreeRead,
    Txn,
    WhoAmI,
    Write,
)
from zk.model.session import Session
from zk.model.znode import Znode
from zk.tree.digest import combined, znodes_sum
from zk.tree.history import ChangeHistory
from zk.tree.tree import Applied, Tree
from zk.tree.watches import Kind, WatchTable

ME, YOU = Identity("digest", "me:x"), Identity("digest", "you:y")
IP = Identity("ip", "10.0.0.7")
QUOTA = "/zookeeper/quota"

# ---- the model

Outcome = tuple[object, ...]  # ('error', code), ('done',), ('created', path, stat) …
DONE: Outcome = ("done",)


class Refused(Exception):  # noqa: N818  # not an error of anything: the model's way to say no
    def __init__(self, code: Code) -> None:
        self.code = code


@dataclass
class Node:
    data: bytes
    acl: tuple[Acl, ...]
    czxid: int
    mzxid: int
    pzxid: int
    ctime: int
    mtime: int
    mode: int
    owner: int = 0
    ttl: int = 0
    version: int = 0
    aversion: int = 0
    creates: int = 0


@dataclass
class Member:
    secret: bytes
    timeout: int
    identities: list[Identity]
    generation: int
    n: int = 0
    floor: int = 0
    answers: dict[int, tuple[int, Outcome]] = field(default_factory=dict)


def up(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def under(path: str, root: str) -> bool:
    return (path + "/").startswith(root if root == "/" else root + "/")


def allowed(acl: Sequence[Acl], bit: int, identities: Sequence[Identity]) -> bool:
    """Only the schemes that the machine uses."""
    return any(
        entry.perms & bit
        and (
            entry.scheme == "world"
            or Identity(entry.scheme, entry.id) in identities
            or (entry.scheme == "ip" and entry.id == "10.0.0.0/8" and IP in identities)
        )
        for entry in acl
    )


def expanded(acl: Sequence[Acl], identities: Sequence[Identity]) -> tuple[Acl, ...]:
    result: list[Acl] = []
    for entry in acl:
        new = [entry]
        if entry.scheme == "auth":
            new = [Acl(entry.perms, who.scheme, who.id) for who in identities if who.scheme == "digest"]
        if not new or entry.scheme == "nonsense":
            raise Refused(Code.INVALID_ACL)
        result += [each for each in new if each not in result]
    if not result:
        raise Refused(Code.INVALID_ACL)
    return tuple(result)


class Model:
    def __init__(self) -> None:
        def first(acl: tuple[Acl, ...]) -> Node:
            return Node(b"", acl, 0, 0, 0, 0, 0, 0)

        self.nodes = {
            "/": first(OPEN_ACL),
            "/zookeeper": first(OPEN_ACL),
            QUOTA: first(OPEN_ACL),
            "/zookeeper/config": first(READ_ACL),
        }
        self.sessions: dict[int, Member] = {}
        self.changes: list[tuple[EventType, str]] = []
        self.closed: list[int] = []
        self.zxid = 0
        self.time = 0

    def kids(self, path: str) -> list[str]:
        return sorted(each for each in self.nodes if each != "/" and up(each) == path)

    def stat(self, path: str) -> tuple[int, ...]:
        node, kids = self.nodes[path], len(self.kids(path))
        return (
            *(node.czxid, node.mzxid, node.ctime, node.mtime, node.version, 2 * node.creates - kids, node.aversion),
            *(node.owner, len(node.data), kids, node.pzxid),
        )

    # ---- quotas: everything is counted anew for every question

    def quota_roots(self) -> list[str]:
        ends = "/zookeeper_limits"
        return [p[len(QUOTA) : -len(ends)] for p in self.nodes if p.startswith(QUOTA + "/") and p.endswith(ends)]

    def usage(self, root: str) -> tuple[int, int]:
        inside = [node for path, node in self.nodes.items() if under(path, root)]
        return len(inside), sum(len(node.data) for node in inside)

    def check_quota(self, path: str, count: int, size: int) -> None:
        roots = [root for root in self.quota_roots() if root and under(path, root)]
        if not roots:
            return
        root = max(roots, key=len)
        text = self.nodes[f"{QUOTA}{root}/zookeeper_limits"].data.decode()  # only what LIMITS below can write
        hard = dict(pair.split("=") for pair in text.split("=;")[1].split(";")) if "=;" in text else {}
        used_count, used_bytes = self.usage(root)
        hard_count, hard_bytes = int(hard.get("countHardLimit", -1)), int(hard.get("byteHardLimit", -1))
        if (count > 0 and 0 <= hard_count < used_count + count) or (size > 0 and 0 <= hard_bytes < used_bytes + size):
            raise Refused(Code.QUOTA_EXCEEDED)

    def write_stats(self) -> None:
        for root in self.quota_roots():
            stats = self.nodes.get(f"{QUOTA}{root}/zookeeper_stats")
            if stats is not None:
                stats.data = "count={},bytes={}".format(*self.usage(root)).encode()

    # ---- writes

    def apply(self, zxid: int, txn: Txn) -> tuple[int, Outcome]:
        self.zxid, self.time, self.changes, self.closed = zxid, txn.time_ms, [], []
        try:
            zxid, outcome = self.dispatch(txn)
        except Refused as refused:
            outcome = ("error", refused.code)
        self.write_stats()
        return zxid, outcome

    def dispatch(self, txn: Txn) -> tuple[int, Outcome]:
        request = txn.request
        if isinstance(request, OpenSession | AttachSession | ExpireSession | Reap | NameMembers):
            return self.zxid, self.serve(request)
        member = self.sessions.get(txn.session_id)
        if member is None:
            wrong_kind = isinstance(request, Create) and (request.ttl_ms > 0) != (request.mode in (5, 6))
            raise Refused(Code.BAD_ARGUMENTS if wrong_kind else Code.SESSION_EXPIRED)
        if txn.generation != member.generation or txn.n != member.n + 1:
            raise Refused(Code.SESSION_MOVED)
        member.n += 1
        if txn.xid:
            known = member.answers.get(txn.xid)
            member.floor = max(member.floor, txn.floor)
            member.answers = {xid: answer for xid, answer in member.answers.items() if xid >= member.floor}
            if known is not None:
                return known
            if txn.xid < member.floor:
                raise Refused(Code.RUNTIME_INCONSISTENCY)
        outcome = self.attempt(request, txn.session_id, member)
        if txn.xid:
            member.answers[txn.xid] = (self.zxid, outcome)
        return self.zxid, outcome

    def attempt(self, request: ClientWrite, session: int, member: Member) -> Outcome:
        try:
            match request:
                case Multi(operations):
                    return self.multi(operations, session, member)
                case Authenticate(identities):
                    member.identities += [identity for identity in identities if identity not in member.identities]
                    return DONE
                case CloseSession():
                    self.end(session)
                    return DONE
                case BeginRestore() | Restore() | FinishRestore():
                    raise AssertionError("these have a test of their own: test_restore.py")
                case _:
                    return self.operate(request, session, member)
        except Refused as refused:
            return ("error", refused.code)

    def serve(self, request: OpenSession | AttachSession | ExpireSession | Reap | NameMembers) -> Outcome:
        if isinstance(request, NameMembers):
            config = self.nodes["/zookeeper/config"]
            config.data = "\n".join([*request.members, f"version={self.zxid:x}"]).encode()
            config.version, config.mzxid, config.mtime = config.version + 1, self.zxid, self.time
            self.changes.append((EventType.DATA_CHANGED, "/zookeeper/config"))
            return DONE
        if isinstance(request, Reap):
            node = self.nodes.get(request.path)
            if node is None:
                raise Refused(Code.NO_NODE)
            container = node.mode == 4 and node.creates
            over = node.mode == 5 and node.mtime + node.ttl <= self.time
            if self.kids(request.path) or not (container or over):
                raise Refused(Code.BAD_ARGUMENTS)
            self.remove(request.path)
            return DONE
        member = self.sessions.get(request.session_id)
        if isinstance(request, OpenSession):
            if member is not None:
                raise Refused(Code.BAD_ARGUMENTS)
            fresh = Member(request.secret, request.timeout_ms, list(request.identities), self.zxid)
            self.sessions[request.session_id] = fresh
            return ("connected", request.session_id, request.secret, request.timeout_ms)
        if member is None:
            raise Refused(Code.SESSION_EXPIRED)
        if isinstance(request, AttachSession):
            if member.secret != request.secret:
                raise Refused(Code.SESSION_EXPIRED)
            added = [who for who in member.identities if who.scheme == "digest" and who not in request.identities]
            member.timeout, member.identities = request.timeout_ms, [*request.identities, *added]
            member.generation, member.n = self.zxid, 0
            return ("connected", request.session_id, request.secret, request.timeout_ms)
        if member.generation != request.generation:
            raise Refused(Code.SESSION_MOVED)
        self.end(request.session_id)
        return DONE

    def end(self, session: int) -> None:
        for path in sorted(path for path, node in self.nodes.items() if node.owner == session):
            self.remove(path)
        del self.sessions[session]
        self.closed = [session]

    def multi(self, operations: Sequence[Operation], session: int, member: Member) -> Outcome:
        before = copy.deepcopy(self.nodes)
        results: list[Outcome] = []
        for operation in operations:
            try:
                results.append(self.operate(operation, session, member))
            except Refused as refused:
                self.nodes, self.changes = before, []
                behind = len(operations) - len(results) - 1
                skipped: Outcome = ("error", Code.RUNTIME_INCONSISTENCY)
                return ("multi", *[DONE] * len(results), ("error", refused.code), *[skipped] * behind)
        return ("multi", *results)

    def operate(self, request: Operation, session: int, member: Member) -> Outcome:
        match request:
            case Create():
                return self.create(request, session, member)
            case Delete(path, version):
                if path in ("/", "/zookeeper", QUOTA, "/zookeeper/config"):
                    raise Refused(Code.BAD_ARGUMENTS)
                self.find(up(path), 8, member)
                self.check_version(version, self.find(path, 0, member).version)
                if self.kids(path):
                    raise Refused(Code.NOT_EMPTY)
                self.remove(path)
                return DONE
            case SetData(path, data, version):
                node = self.find(path, 2, member)
                self.check_quota(path, 0, len(data) - len(node.data))
                self.check_version(version, node.version)
                node.data, node.version, node.mzxid, node.mtime = data, node.version + 1, self.zxid, self.time
                self.changes.append((EventType.DATA_CHANGED, path))
                return ("stat", self.stat(path))
            case SetAcl(path, acl, version):
                acl = expanded(acl, member.identities)
                node = self.find(path, 16, member)
                self.check_version(version, node.aversion)
                node.acl, node.aversion = acl, node.aversion + 1
                return ("stat", self.stat(path))
            case Check(path, version, czxid):
                node = self.find(path, 1, member)
                self.check_version(version, node.version)
                if czxid and czxid != node.czxid:
                    raise Refused(Code.BAD_VERSION)
                return DONE
            case _:
                assert_never(request)

    def find(self, path: str, bit: int, member: Member) -> Node:
        node = self.nodes.get(path)
        if node is None:
            raise Refused(Code.NO_NODE)
        if bit and not allowed(node.acl, bit, member.identities):
            raise Refused(Code.NO_AUTH)
        return node

    def check_version(self, wanted: int, actual: int) -> None:
        if wanted not in (-1, actual):
            raise Refused(Code.BAD_VERSION)

    def create(self, request: Create, session: int, member: Member) -> Outcome:
        mode, path = int(request.mode), request.path
        if (request.ttl_ms > 0) != (mode in (5, 6)) or "//" in path:
            raise Refused(Code.BAD_ARGUMENTS)
        acl = expanded(request.acl, member.identities)
        parent = self.find(up(path), 4, member)
        if mode in (2, 3, 6):
            path += f"{parent.creates:010d}"
        if path in self.nodes:
            raise Refused(Code.NODE_EXISTS)
        if parent.owner:
            raise Refused(Code.NO_CHILDREN_FOR_EPHEMERALS)
        self.check_quota(path, 1, len(request.data))
        owner = session if mode in (1, 3) else 0
        stored = {2: 0, 3: 1, 6: 5}.get(mode, mode)
        zxid, time = self.zxid, self.time
        self.nodes[path] = Node(request.data, acl, zxid, zxid, zxid, time, time, stored, owner, request.ttl_ms)
        parent.creates += 1
        parent.pzxid = self.zxid
        self.changes.append((EventType.CREATED, path))
        return ("created", path, self.stat(path))

    def remove(self, path: str) -> None:
        del self.nodes[path]
        self.nodes[up(path)].pzxid = self.zxid
        self.changes.append((EventType.DELETED, path))


# ---- what the tree says, in the model's words


def outcome_of(body: object) -> Outcome:
    match body:
        case APIError():
            return ("error", body.code)
        case Done():
            return DONE
        case Created(path, stat):
            return ("created", path, stat.figures)
        case StatReply(stat):
            return ("stat", stat.figures)
        case MultiReply(results):
            return ("multi", *map(outcome_of, results))
        case ConnectReply(session_id, secret, timeout_ms):
            return ("connected", session_id, secret, timeout_ms)
        case Znode():
            return ("data", body.data, body.stat.figures)
        case AclReply(acl, stat):
            return ("acl", acl, stat.figures)
        case NodeReply(data, acl, mode, ttl_ms, stat):
            return ("node", data, acl, mode, ttl_ms, stat.figures)
        case ChildrenReply(names, stat):
            return ("children", sorted(names), stat.figures)
        case ChildrenPageReply(entries, more, stat):
            found = [(each.name, each.stat and each.stat.figures, each.data) for each in entries]
            return ("page", found, more, stat.figures)
        case CountReply(count):
            return ("count", count)
        case PathsReply(paths):
            return ("paths", list(paths))
        case IdentitiesReply(identities):
            return ("identities", list(identities))
        case _:
            raise AssertionError(body)


def expected_read(model: Model, request: TreeRead, session: int) -> Outcome:
    member = model.sessions.get(session, Member(b"", 0, [], 0))
    if isinstance(request, GetEphemerals):
        mine = (path for path, node in model.nodes.items() if node.owner == session)
        return ("paths", sorted(path for path in mine if path.startswith(request.prefix)))
    if isinstance(request, WhoAmI):
        return ("identities", member.identities)
    if isinstance(request, MultiRead):
        return ("multi", *(expected_read(model, operation, session) for operation in request.operations))
    path = request.path
    node = model.nodes.get(path)
    if node is None:
        return ("error", Code.NO_NODE)
    may_read, stat = allowed(node.acl, 1, member.identities), model.stat(path)
    if isinstance(request, Exists):
        return ("stat", stat)
    may_administer = allowed(node.acl, 16, member.identities)
    acl = tuple(
        Acl(each.perms, each.scheme, each.id.split(":")[0] + ":x")
        if each.scheme == "digest" and not may_administer
        else each
        for each in node.acl
    )
    if isinstance(request, GetAcl):
        return ("acl", acl, stat) if may_read or may_administer else ("error", Code.NO_AUTH)
    if not may_read:
        return ("error", Code.NO_AUTH)
    names = [each.rsplit("/", 1)[1] for each in model.kids(path)]
    match request:
        case GetData():
            return ("data", node.data, stat)
        case GetNode():
            return ("node", node.data, acl, node.mode, node.ttl, stat)
        case GetChildren():
            return ("children", names, stat)
        case CountDescendants():
            return ("count", sum(under(each, path) for each in model.nodes) - 1)
        case GetChildrenPage(_, prefix, start_after, limit, with_data):
            wanted = [name for name in names if name.startswith(prefix) and name > start_after]
            entries: list[object] = []
            for name in wanted[:limit]:
                child = path.rstrip("/") + "/" + name
                shown = with_data and allowed(model.nodes[child].acl, 1, member.identities)
                entries.append((name, *((model.stat(child), model.nodes[child].data) if shown else (None, None))))
            return ("page", entries, len(wanted) > limit, stat)
        case _:
            assert_never(request)


# ---- what the machine does

NAMES = st.sampled_from("ab")
PATHS = st.lists(NAMES, max_size=3).map(lambda names: "/" + "/".join(names))
NODES = st.lists(NAMES, min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
ACLS = st.sampled_from(
    [
        *[OPEN_ACL] * 12,
        READ_ACL,
        (Acl(31, "auth", ""),),
        (Acl(1, "world", "anyone"), Acl(31, "digest", "me:x")),
        (Acl(30, "ip", "10.0.0.0/8"), Acl(1, "digest", "you:y"), Acl(1, "digest", "you:y")),
        (),
        (Acl(31, "nonsense", "x"),),
    ]
)
DATA = st.sampled_from([b"", b"1", b"123", b"12345"])
LIMITS = st.sampled_from(
    [
        b"count=1,bytes=1",
        b"count=-1,bytes=-1=;byteHardLimit=6;countHardLimit=-1",
        b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3",
        b"count=1,bytes=1=;byteHardLimit=4;countHardLimit=2",
    ]
)
VERSIONS = st.sampled_from([-1, -1, -1, 0, 1, 2])
KINDS = st.sampled_from(
    [(0, 0)] * 5 + [(1, 0), (1, 0), (2, 0), (3, 0), (4, 0), (5, 30), (6, 30), (0, 5), (5, 0)],
)
CREATES = st.builds(
    lambda path, data, acl, kind: Create(path, data, acl, CreateMode(kind[0]), kind[1]), NODES, DATA, ACLS, KINDS
)
OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    CREATES,
    CREATES,
    CREATES,
    st.builds(Delete, PATHS, VERSIONS),
    st.builds(SetData, PATHS, DATA, VERSIONS),
    st.builds(SetAcl, PATHS, ACLS, VERSIONS),
    st.builds(Check, PATHS, VERSIONS, st.integers(0, 12).map(Zxid)),
)
READS: st.SearchStrategy[TreeRead] = st.one_of(
    st.builds(GetData, PATHS, st.booleans()),
    st.builds(Exists, PATHS, st.booleans()),
    st.builds(GetChildren, PATHS, st.booleans()),
    st.builds(GetAcl, PATHS),
    st.builds(GetNode, PATHS),
    st.builds(CountDescendants, PATHS),
    st.builds(GetEphemerals, PATHS),
    st.builds(WhoAmI),
    st.builds(
        GetChildrenPage, PATHS, st.sampled_from(["", "a", "b0"]), st.sampled_from(["", "a", "b"]),
        st.integers(1, 3), st.booleans(),
    ),
    st.builds(MultiRead, st.lists(st.builds(GetData, PATHS) | st.builds(GetChildren, PATHS), max_size=3).map(tuple)),
)  # fmt: skip
HISTORY_MAX = 4
AIMS = st.none() | st.integers(0, 20)  # most operations are to hit something: the index of a node that there is
SESSIONS = st.sampled_from([1, 1, 1, 2, 2, 3])
CONNECTIONS = st.integers(1, 3).map(ConnectionId)  # connection i belongs to session i
IDENTITIES = st.lists(st.sampled_from([ME, YOU, IP]), unique=True, max_size=2).map(tuple)


class TreeAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree = Tree()
        self.model = Model()
        self.log: list[tuple[Zxid, Txn]] = []
        self.time_ms = 1_000
        self.sent: dict[int, list[tuple[int, ClientWrite]]] = {session: [] for session in (1, 2, 3)}
        self.watches = WatchTable(1_000)
        self.watching: set[tuple[ConnectionId, Kind, str]] = set()
        self.history = ChangeHistory(HISTORY_MAX, Zxid(0))
        self.all_changes: list[tuple[int, EventType, str]] = []

    # ---- writes

    def apply(self, session: int, generation: int, n: int, xid: int, floor: int, request: Write) -> Applied:
        zxid = Zxid(self.tree.zxid + 1)
        txn = Txn(self.time_ms, SessionId(session), Zxid(generation), n, xid, floor, request)
        self.log.append((zxid, txn))
        readers = {each: list(member.identities) for each, member in self.model.sessions.items()}
        acls = {path: node.acl for path, node in self.model.nodes.items()}
        applied = self.tree.apply(zxid, txn)
        expected_zxid, expected = self.model.apply(zxid, txn)
        assert (applied.zxid, outcome_of(applied.body)) == (expected_zxid, expected)
        assert [(change.type, change.path) for change in applied.changes] == self.model.changes
        assert all(change.zxid == zxid for change in applied.changes)
        assert list(applied.closed) == self.model.closed
        self.history.append(applied.changes)
        self.all_changes += [(zxid, *change) for change in self.model.changes]
        acls |= {path: node.acl for path, node in self.model.nodes.items()}
        self.fire(applied, lambda connection, path: allowed(acls[path], 1, readers.get(connection, [])))
        return applied

    def fire(self, applied: Applied, may_read: Callable[[ConnectionId, str], bool]) -> None:
        for change in applied.changes:
            path = change.path
            told = {
                (connection, event.type, event.path)
                for connection, event in self.watches.fire(
                    change,
                    lambda connection, acl, own=path: (
                        may_read(connection, own)  # type: ignore[misc]  # bound early
                        if acl is change.acl  # noqa: B023  # called before the next change
                        else may_read(connection, up(own))
                    ),
                )
            }
            expected = set()
            for connection, kind, watched in tuple(self.watching):
                own = (
                    (kind in (Kind.DATA, Kind.PERSISTENT) and watched == path)
                    or (kind == Kind.CHILD and watched == path and change.type == EventType.DELETED)
                    or (kind == Kind.RECURSIVE and under(path, watched))
                )
                of_parent = (
                    kind in (Kind.CHILD, Kind.PERSISTENT)
                    and change.type != EventType.DATA_CHANGED
                    and watched == up(path)
                    and not own
                )
                if own and may_read(connection, path):
                    expected.add((connection, change.type, path))
                if of_parent and may_read(connection, watched):
                    expected.add((connection, EventType.CHILDREN_CHANGED, watched))
                if (own or of_parent) and kind in (Kind.DATA, Kind.CHILD):
                    self.watching.remove((connection, kind, watched))
            assert told == expected

    def aimed(self, operation: Operation, aim: int | None) -> Operation:
        """The same operation, on a node that there is; a creation, below one."""
        if aim is None:
            return operation
        targets = [path for path in sorted(self.model.nodes) if not under(path, "/zookeeper")]
        target = targets[aim % len(targets)]
        if isinstance(operation, Create):
            target = target.rstrip("/") + "/" + operation.path.rsplit("/", 1)[1]
        return dataclasses.replace(operation, path=target)

    def write(self, session: int, request: ClientWrite, resendable: bool = False, floor_lag: int = 0) -> None:
        if session not in self.model.sessions:
            self.open(session, ())
        member = self.model.sessions[session]
        xid = floor = 0
        if resendable:
            xid = len(self.sent[session]) + 1
            floor = max(0, xid - floor_lag)
            self.sent[session].append((xid, request))
        self.apply(session, member.generation, member.n + 1, xid, floor, request)

    @initialize()
    def open_some(self) -> None:
        self.open(1, ())
        self.open(2, (ME, IP))

    @rule(session=SESSIONS, identities=IDENTITIES)
    def open(self, session: int, identities: tuple[Identity, ...]) -> None:
        request = OpenSession(SessionId(session), bytes([session]) * 16, 5_000, identities, ServerId(1), 0)
        if session not in self.model.sessions:
            self.sent[session] = []
        self.apply(0, 0, 0, 0, 0, request)

    @rule(session=SESSIONS, identities=IDENTITIES, right=st.integers(0, 5))
    def attach(self, session: int, identities: tuple[Identity, ...], right: int) -> None:
        secret = bytes([session if right else 0]) * 16
        self.apply(0, 0, 0, 0, 0, AttachSession(SessionId(session), secret, 6_000, identities, ServerId(1), 0))

    @rule(session=SESSIONS, operation=OPERATIONS, aim=AIMS, resendable=st.booleans(), floor_lag=st.integers(0, 4))
    def operate(self, session: int, operation: Operation, aim: int | None, resendable: bool, floor_lag: int) -> None:
        self.write(session, self.aimed(operation, aim), resendable, floor_lag)

    @rule(session=SESSIONS, create=CREATES, aim=AIMS)
    def create(self, session: int, create: Create, aim: int | None) -> None:
        self.write(session, self.aimed(create, aim))

    @rule(session=SESSIONS, aim=st.integers(0, 20))
    def delete(self, session: int, aim: int) -> None:
        self.write(session, self.aimed(Delete("/"), aim))

    @rule(
        session=SESSIONS,
        operations=st.lists(st.tuples(OPERATIONS, AIMS), max_size=5),
        fails=st.booleans(),
        resendable=st.booleans(),
    )
    def multi(
        self, session: int, operations: list[tuple[Operation, int | None]], fails: bool, resendable: bool
    ) -> None:
        aimed = [self.aimed(*each) for each in operations]
        culprit = [Check("/none")] if fails else []
        self.write(session, Multi((*aimed, *culprit)), resendable, 2)

    @rule(session=SESSIONS, name=st.sampled_from(["/a", "/b", "/a/b"]), limits=LIMITS, wrapped=st.booleans())
    def set_quota(self, session: int, name: str, limits: bytes, wrapped: bool) -> None:
        way = [QUOTA + "/" + "/".join(name[1:].split("/")[: i + 1]) for i in range(name.count("/"))]
        operations: list[Operation] = [Create(path, b"") for path in way if path not in self.model.nodes]
        for leaf, data in (("zookeeper_limits", limits), ("zookeeper_stats", b"rubbish")):
            path = f"{QUOTA}{name}/{leaf}"
            operations.append(SetData(path, data) if path in self.model.nodes else Create(path, data))
        if wrapped:
            self.write(session, Multi(tuple(operations)))
        else:
            for operation in operations:
                self.write(session, operation)

    @rule(session=SESSIONS, name=st.sampled_from(["/a", "/b", "/a/b"]), leaf=st.sampled_from(["limits", "stats"]))
    def remove_quota(self, session: int, name: str, leaf: str) -> None:
        self.write(session, Delete(f"{QUOTA}{name}/zookeeper_{leaf}"))

    @rule(session=SESSIONS, back=st.integers(1, 6), floor_lag=st.integers(0, 8))
    def resend(self, session: int, back: int, floor_lag: int) -> None:
        member = self.model.sessions.get(session)
        sent = self.sent[session][-back:]
        if member is not None and sent:
            xid, request = sent[0]
            self.apply(session, member.generation, member.n + 1, xid, max(0, xid - floor_lag), request)

    @rule(session=SESSIONS, operation=OPERATIONS, stale=st.booleans())
    def out_of_turn(self, session: int, operation: Operation, stale: bool) -> None:
        member = self.model.sessions.get(session, Member(b"", 0, [], 1))
        if stale:
            self.apply(session, member.generation - 1, member.n + 1, 0, 0, operation)
        else:
            self.apply(session, member.generation, member.n + 2, 0, 0, operation)
        self.apply(9, 1, 1, 0, 0, operation)  # a session that there never was

    @rule(session=SESSIONS, identities=st.sampled_from([(ME,), (YOU,), (YOU, ME)]))
    def authenticate(self, session: int, identities: tuple[Identity, ...]) -> None:
        self.write(session, Authenticate(identities))

    @rule(session=SESSIONS)
    def close(self, session: int) -> None:
        self.write(session, CloseSession())

    @rule(session=SESSIONS, stale=st.integers(0, 3))
    def expire(self, session: int, stale: int) -> None:
        member = self.model.sessions.get(session, Member(b"", 0, [], 1))
        generation = Zxid(member.generation - (0 if stale else 1))
        self.apply(0, 0, 0, 0, 0, ExpireSession(SessionId(session), generation))

    @rule(forward_ms=st.integers(0, 40))
    def time_passes(self, forward_ms: int) -> None:
        self.time_ms += forward_ms

    @rule()
    def reap_what_is_found(self) -> None:
        nodes = self.model.nodes
        expected = {
            path
            for path, node in nodes.items()
            if not self.model.kids(path)
            and ((node.mode == 4 and node.creates) or (node.mode == 5 and node.mtime + node.ttl <= self.time_ms))
        }
        found = self.tree.reapable(self.time_ms)
        assert (set(found), len(found)) == (expected, len(expected))
        for path in (*found[:1], "/a", "/a/b"):
            self.apply(0, 0, 0, 0, 0, Reap(path))

    @rule(count=st.integers(1, 3))
    def members_are_named(self, count: int) -> None:
        members = tuple(f"server.{number}=host:1:1:participant" for number in range(count))
        self.apply(0, 0, 0, 0, 0, NameMembers(members))

    # ---- reads and watches

    @rule(session=SESSIONS, request=READS, aim=AIMS)
    def read(self, session: int, request: TreeRead, aim: int | None) -> None:
        if aim is not None and not isinstance(request, GetEphemerals | WhoAmI | MultiRead):
            request = dataclasses.replace(request, path=self.aimed(Check(""), aim).path)
        member = self.model.sessions.get(session)
        body: object
        try:
            body = self.tree.read(request, SessionId(session), member.identities if member is not None else ())
        except APIError as error:
            body = error
        outcome = outcome_of(body)
        assert outcome == expected_read(self.model, request, session)
        if isinstance(body, APIError) or not isinstance(request, MultiRead):
            self.watches.add_for_read(ConnectionId(session), request, body)
        refused = outcome[0] == "error"
        if isinstance(request, Exists | GetData | GetChildren) and request.watch:
            kind = Kind.CHILD if isinstance(request, GetChildren) else Kind.DATA
            if not refused or (isinstance(request, Exists) and outcome == ("error", Code.NO_NODE)):
                self.watching.add((ConnectionId(session), kind, request.path))

    @rule(connection=CONNECTIONS, path=PATHS, mode=st.sampled_from(WatchMode))
    def add_watch(self, connection: ConnectionId, path: str, mode: WatchMode) -> None:
        self.watches.add_watch(connection, path, mode)
        self.watching.add((connection, Kind.RECURSIVE if mode else Kind.PERSISTENT, path))

    @rule(connection=CONNECTIONS, path=PATHS, watcher_type=st.sampled_from(WatcherType))
    def remove_watches(self, connection: ConnectionId, path: str, watcher_type: WatcherType) -> None:
        kinds = {1: [Kind.CHILD], 2: [Kind.DATA], 3: list(Kind), 4: [Kind.PERSISTENT], 5: [Kind.RECURSIVE]}[
            watcher_type
        ]
        doomed = {(connection, kind, path) for kind in kinds} & self.watching
        if doomed:
            self.watches.remove(connection, path, watcher_type)
        else:
            with pytest.raises(NoWatcherError):
                self.watches.remove(connection, path, watcher_type)
        self.watching -= doomed

    @rule(connection=CONNECTIONS)
    def disconnect(self, connection: ConnectionId) -> None:
        self.watches.drop(connection)
        self.watching = {each for each in self.watching if each[0] != connection}

    @rule(connection=CONNECTIONS, path=PATHS, back=st.integers(0, 10))
    def set_watches_again(self, connection: ConnectionId, path: str, back: int) -> None:
        since = max(0, self.tree.zxid - back)
        request = SetWatches(Zxid(since), (path,), (path,), (path,), (path,), (path,))
        events = self.watches.set_again(connection, request, self.tree.znodes, self.tree.zxid, lambda *_: True)
        node = self.model.nodes.get(path)
        data = EventType.DELETED if node is None else EventType.DATA_CHANGED if node.mzxid > since else None
        exist = EventType.CREATED if node is not None else None
        child = EventType.DELETED if node is None else EventType.CHILDREN_CHANGED if node.pzxid > since else None
        told = [event for event in (data, exist, child) if event is not None]
        assert [event.type for event in events] == told
        self.watching |= {(connection, Kind.PERSISTENT, path), (connection, Kind.RECURSIVE, path)}
        if data is None or exist is None:
            self.watching.add((connection, Kind.DATA, path))
        if child is None:
            self.watching.add((connection, Kind.CHILD, path))

    @rule(path=PATHS, mode=st.sampled_from(WatchMode), back=st.integers(0, 20))
    def stream_since(self, path: str, mode: WatchMode, back: int) -> None:
        since = Zxid(max(0, self.tree.zxid - back))
        events = self.history.since(since, path, mode, lambda acl: True)
        newer = [change for change in self.all_changes if change[0] > since]
        if events is None:
            # too old: something at or after `since` has fallen out
            assert sum(change[0] >= since for change in self.all_changes) > HISTORY_MAX
            return
        expected: list[WatchEvent] = []
        for zxid, event_type, changed in newer:
            if changed == path or (mode and under(changed, path)):
                expected.append(WatchEvent(event_type, changed, Zxid(zxid)))
            elif not mode and event_type != EventType.DATA_CHANGED and up(changed) == path:
                expected.append(WatchEvent(EventType.CHILDREN_CHANGED, path, Zxid(zxid)))
        assert events == expected

    # ---- the state as a whole

    @rule()
    def restart_from_an_image(self) -> None:
        image = self.tree.image()
        digest = self.tree.digest()
        restored = Tree(image)
        assert restored.image() == image
        assert restored.digest() == digest
        self.tree = restored

    @rule()
    def digest_equals_one_from_scratch(self) -> None:
        assert self.tree.digest() == combined(znodes_sum(self.tree.znodes), self.tree.sessions.values())

    @invariant()
    def the_tree_is_the_models(self) -> None:
        assert {
            path: (znode.data, znode.acl, znode.stat.figures, int(znode.mode), znode.ttl_ms)
            for path, znode in self.tree.znodes.items()
        } == {
            path: (node.data, node.acl, self.model.stat(path), node.mode, node.ttl)
            for path, node in self.model.nodes.items()
        }
        assert {key: self.member_of(session) for key, session in self.tree.sessions.items()} == self.model.sessions

    def member_of(self, session: Session) -> Member:
        answers = {xid: (int(zxid), outcome_of(body)) for xid, (zxid, body) in session.answers.items()}
        return Member(
            session.secret,
            session.timeout_ms,
            list(session.identities),
            session.generation,
            session.n,
            session.floor,
            answers,
        )

    @invariant()
    def the_watches_are_the_models(self) -> None:
        assert self.watches.count == len(self.watching)

    def teardown(self) -> None:
        replayed = Tree()
        for zxid, txn in self.log:
            replayed.apply(zxid, txn)
        assert replayed.digest() == self.tree.digest()
        assert replayed.image() == self.tree.image()


TestTreeAgainstModel = TreeAgainstModel.TestCase
TestTreeAgainstModel.settings = settings(max_examples=400, stateful_step_count=50, deadline=None)
