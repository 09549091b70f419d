"""What the differential test does: strategies for steps, most of them sensible, all of them possible."""

from collections.abc import Iterator

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.zookeeper.differential import SLOTS, Ask, AskAll, Attach, Bytes, Raw, Renew, Steal, Step, Vanish
from zk.model import paths
from zk.model.acl import OPEN_ACL, Acl
from zk.model.events import WatcherType, WatchMode
from zk.model.record import Zxid
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Check,
    CheckWatches,
    ClientRequest,
    CloseSession,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetData,
    GetEphemerals,
    Multi,
    MultiRead,
    RemoveWatches,
    SetAcl,
    SetData,
    SetWatches,
    Sync,
    WhoAmI,
)
from zk.tree.acl import digest_identity
from zk.wire.zookeeper.jute import buffer_bytes, int32_bytes, int64_bytes, text_bytes, vector_bytes
from zk.wire.zookeeper.numbers import OpCode

BASE = "/base"
"""The node below which everything happens."""

_NAMES = ("a", "b", "c", "é中")
_PATHS = st.sampled_from(
    (
        BASE,
        *(f"{BASE}/{name}" for name in _NAMES),
        *(f"{BASE}/a/{name}" for name in _NAMES),
        f"{BASE}/b/a",
        f"{BASE}/a/a/a",
    )
)
_UNGUARDED = (BASE, f"{BASE}/b", f"{BASE}/b/a")  # whose ACL stays open: here, who sets watches again is asked for READ
_UNGUARDED_PATHS = st.sampled_from(_UNGUARDED)
_OTHER_PATHS = st.sampled_from(("/zookeeper", "/zookeeper/quota", "/zookeeper/none", "/none/none", f"{BASE}/..."))
_ODD_PATHS = st.sampled_from(  # ZooKeeper looks at the form of a path only where it may become a node, and then last
    (
        "",
        "/",
        "a",
        f"{BASE}/",
        f"{BASE}/.",
        f"{BASE}/..",
        f"{BASE}/...",
        f"{BASE}/a\x00b",
        f"{BASE}/\x01",
        f"{BASE}/\x7f",
        f"{BASE}/\x85",
        f"{BASE}/\ue000",
        f"{BASE}/\ufff0",
        f"{BASE}/ blank ",
        "/zookeeper",
        "/zookeeper/quota",
        "/zookeeper/config",
    )
)
_DATA = st.sampled_from((b"", b"x", b"data", b"\x00\xff" * 50))
_VERSIONS = st.sampled_from((-1, -1, -1, -1, 0, 1, 2, -2))
_MODES = st.sampled_from((*CreateMode, CreateMode.PERSISTENT, CreateMode.EPHEMERAL))
_CREDENTIALS = (b"ann:secret", b"bob:secret", b"ann:other")
_IDS = (
    ("world", "anyone"),
    ("auth", ""),
    ("digest", digest_identity(b"ann:secret").id),
    ("digest", digest_identity(b"bob:secret").id),
    ("ip", "127.0.0.1"),
    ("ip", "10.0.0.0/8"),
    ("ip", "127.0.0.0/8"),
)
_ODD_IDS = (
    ("world", "someone"),
    ("world", ""),
    ("auth", "ann"),
    ("digest", "ann"),
    ("digest", ""),
    ("digest", "ann:secret:more"),
    ("ip", "127.0.0.1/33"),
    ("ip", "127.0.0"),
    ("ip", "localhost"),
    ("super", "super"),
    ("none", "anyone"),
    ("", ""),
)
_ACL_ENTRIES = st.builds(
    lambda perms, who: Acl(perms, *who), st.sampled_from((31, 31, 1, 2, 4, 8, 16, 15, 0)), st.sampled_from(_IDS)
)
_ODD_ACL_ENTRIES = st.builds(
    lambda perms, who: Acl(perms, *who), st.sampled_from((31, 0, 1)), st.sampled_from(_IDS + _ODD_IDS)
)
_ACLS = st.lists(_ACL_ENTRIES, min_size=1, max_size=3).map(tuple)
_ODD_ACLS = st.lists(_ACL_ENTRIES | _ODD_ACL_ENTRIES, max_size=3).map(tuple)
_ANY_ACLS = st.just(OPEN_ACL) | st.just(OPEN_ACL) | _ACLS
_FLAG = st.booleans()


def _ttl(mode: CreateMode) -> int:
    return 3_600_000 if mode.has_ttl else 0


def _creates(paths: SearchStrategy[str], acls: SearchStrategy[tuple[Acl, ...]]) -> SearchStrategy[Create]:
    return st.builds(
        lambda path, data, acl, mode: Create(path, data, OPEN_ACL if path in _UNGUARDED else acl, mode, _ttl(mode)),
        paths,
        _DATA,
        acls,
        _MODES,
    )


def _may_guard(request: SetAcl) -> bool:
    return request.path not in _UNGUARDED


def _writes(paths: SearchStrategy[str]) -> SearchStrategy[Create | Delete | SetData | Check]:
    """What a Multi takes."""
    return st.one_of(
        _creates(paths, _ANY_ACLS),
        st.builds(Create, paths, _DATA),
        st.builds(Delete, paths, _VERSIONS),
        st.builds(SetData, paths, _DATA, _VERSIONS),
        st.builds(Check, paths, _VERSIONS),
    )


def _reads(paths: SearchStrategy[str]) -> SearchStrategy[GetData | GetChildren]:
    return st.one_of(st.builds(GetData, paths), st.builds(GetChildren, paths))


def _lists(paths: SearchStrategy[str]) -> SearchStrategy[tuple[str, ...]]:
    return st.lists(paths, max_size=3).map(tuple)


def _requests(paths: SearchStrategy[str]) -> SearchStrategy[ClientRequest]:
    single = _writes(paths).filter(lambda write: not isinstance(write, Check))  # ZooKeeper does not answer it
    return st.one_of(
        single,
        single,
        single,
        st.builds(SetAcl, paths, _ANY_ACLS, _VERSIONS).filter(_may_guard),
        st.builds(Multi, st.lists(_writes(paths), max_size=5).map(tuple)),
        st.builds(Multi, st.lists(_writes(paths), min_size=2, max_size=3).map(tuple)),
        st.builds(Exists, paths, _FLAG),
        st.builds(GetData, paths, _FLAG),
        st.builds(GetChildren, paths, _FLAG),
        st.builds(GetAcl, paths),
        st.builds(MultiRead, st.lists(_reads(paths), max_size=4).map(tuple)),
        st.builds(AddWatch, paths, st.sampled_from(WatchMode)),
        st.builds(RemoveWatches, paths, st.sampled_from((WatcherType.CHILDREN, WatcherType.DATA, WatcherType.ANY))),
        st.builds(CheckWatches, paths, st.sampled_from((WatcherType.CHILDREN, WatcherType.DATA, WatcherType.ANY))),
    )


def _set_watches(paths: SearchStrategy[str]) -> SearchStrategy[SetWatches]:
    lists = _lists(paths)
    since = st.sampled_from((Zxid(0), Zxid((1 << 62) - 1)))
    return st.builds(SetWatches, since, lists, lists, lists) | st.builds(
        SetWatches, since, lists, lists, lists, lists, lists
    )


REQUESTS = st.one_of(
    *[_requests(_PATHS)] * 6,
    _requests(_OTHER_PATHS).filter(lambda request: not isinstance(request, SetAcl)),
    _creates(_ODD_PATHS, st.just(OPEN_ACL)),
    st.builds(Delete, _ODD_PATHS.filter(lambda path: path in paths.RESERVED), _VERSIONS),
    _set_watches(_UNGUARDED_PATHS),
    _creates(_PATHS, _ODD_ACLS),
    st.builds(SetAcl, _PATHS, _ODD_ACLS, _VERSIONS).filter(_may_guard),
    st.builds(CountDescendants, _PATHS),
    st.builds(GetEphemerals, _PATHS | st.sampled_from(("", "/", f"{BASE}/"))),
    st.builds(Sync, _PATHS | _OTHER_PATHS),
    st.builds(WhoAmI),
)

# ---- what no client library sends

_TEXT = (_PATHS | _OTHER_PATHS).map(text_bytes)
_GUARDED_TEXT = _PATHS.filter(lambda path: path not in _UNGUARDED).map(text_bytes)
_NEW_TEXT = (_PATHS | _ODD_PATHS).map(text_bytes)
_MAYBE_TEXT = (_PATHS | st.none()).map(text_bytes)
_MAYBE_DATA = st.one_of(_DATA, st.none()).map(buffer_bytes)
_NUMBERS = st.sampled_from((-(1 << 31), -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 100, (1 << 31) - 1)).map(int32_bytes)
_NO_VERSIONS = st.sampled_from((-2, 100)).map(int32_bytes)  # a check that holds is not answered by ZooKeeper
_WATCHER_TYPES = st.sampled_from((-1, 0, 1, 2, 3, 6, 100)).map(int32_bytes)  # ZooKeeper 3.8 does not know 4 and 5
_LONG_NUMBERS = st.sampled_from((-(1 << 63), -1, 0, 1, 3_600_000, (1 << 40) - 1, 1 << 40, (1 << 63) - 1)).map(
    int64_bytes
)
_FLAGS = st.sampled_from((b"\x00", b"\x01", b"\x02"))
_OPEN_ACL = st.just(vector_bytes([int32_bytes(31) + text_bytes("world") + text_bytes("anyone")]))
_MAYBE_ACL = st.one_of(
    _OPEN_ACL,
    st.just(vector_bytes(None)),
    st.just(vector_bytes([])),
    st.just(vector_bytes([int32_bytes(31) + text_bytes(None) + text_bytes(None)])),
)
_HEADS = st.sampled_from(
    [int32_bytes(op) + flag + int32_bytes(-1) for op in (-1, 1, 2, 5, 13) for flag in (b"\0", b"\1")]
)
_SINCE = st.sampled_from((0, (1 << 62) - 1)).map(int64_bytes)
_PATH_LISTS = st.lists(_UNGUARDED_PATHS, max_size=2).map(lambda found: vector_bytes(map(text_bytes, found)))


def _record(*parts: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    return st.tuples(*parts).map(b"".join)


_CONTAINER_FLAGS = st.sampled_from((4, 4, 100, -1)).map(int32_bytes)
_TTL_FLAGS = st.sampled_from((5, 6, 7, 100, -1)).map(int32_bytes)


def _raw_creates(*parts: SearchStrategy[bytes]) -> SearchStrategy[bytes]:
    return _record(_NEW_TEXT, _MAYBE_DATA, _OPEN_ACL, *parts) | _record(_TEXT, _MAYBE_DATA, _MAYBE_ACL, *parts)


_RECORDS: dict[int, SearchStrategy[bytes]] = {
    OpCode.CREATE: _raw_creates(_NUMBERS),
    OpCode.CREATE2: _raw_creates(_NUMBERS),
    OpCode.CREATE_CONTAINER: _raw_creates(_CONTAINER_FLAGS),
    OpCode.CREATE_TTL: _raw_creates(_TTL_FLAGS, _LONG_NUMBERS),
    OpCode.DELETE: _record(_TEXT, _NUMBERS),
    OpCode.DELETE_CONTAINER: _record(_TEXT),
    OpCode.EXISTS: _record(_TEXT, _FLAGS),
    OpCode.GET_DATA: _record(_TEXT, _FLAGS),
    OpCode.SET_DATA: _record(_TEXT, _MAYBE_DATA, _NUMBERS),
    OpCode.GET_ACL: _record(_TEXT),
    OpCode.SET_ACL: _record(_GUARDED_TEXT, _MAYBE_ACL, _NUMBERS),
    OpCode.GET_CHILDREN2: _record(_TEXT, _FLAGS),
    OpCode.SYNC: _record(_TEXT),
    OpCode.CHECK: _record(_TEXT, _NO_VERSIONS),
    OpCode.MULTI: _record(_HEADS, _MAYBE_TEXT, _MAYBE_DATA, _NUMBERS, _HEADS),
    OpCode.CHECK_WATCHES: _record(_TEXT, _WATCHER_TYPES),
    OpCode.REMOVE_WATCHES: _record(_TEXT, _WATCHER_TYPES),
    OpCode.ADD_WATCH: _record(_TEXT, _NUMBERS),
    OpCode.GET_EPHEMERALS: _record(_TEXT),
    OpCode.GET_ALL_CHILDREN_NUMBER: _record(_TEXT),
    OpCode.SET_WATCHES: _record(_SINCE, _PATH_LISTS, _PATH_LISTS, _PATH_LISTS),
    OpCode.AUTH: _record(_NUMBERS, _MAYBE_TEXT, _MAYBE_DATA),
    OpCode.RECONFIG: _record(_MAYBE_TEXT, _MAYBE_TEXT, _MAYBE_TEXT, _LONG_NUMBERS),
}
_WHOLE = st.sampled_from(list(_RECORDS)).flatmap(lambda op: st.tuples(st.just(op), _RECORDS[op]))
_CUT = st.builds(lambda whole, share: (whole[0], whole[1][: int(len(whole[1]) * share)]), _WHOLE, st.floats(0, 0.99))
_LONGER = st.builds(lambda whole, more: (whole[0], whole[1] + more), _WHOLE, st.binary(min_size=1, max_size=9))
_OPCODES = (-12, -5, -1, 0, 7, 10, 16, 20, 22, 23, 99, 100, 102, 108, 200, 1 << 20)
_STRANGE = st.tuples(st.sampled_from(_OPCODES), st.binary(max_size=20))
RECORDS = st.one_of(_WHOLE, _WHOLE, _WHOLE, _CUT, _LONGER, _STRANGE)
FRAMES = st.sampled_from((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x04abcd"))

# ---- steps

_SLOT = st.integers(0, SLOTS - 1)
_TIMEOUTS = st.sampled_from((-1, 0, 1_000, 4_000, 10_000, 40_000, 1 << 30))
_SEEN = st.sampled_from((1.0, 1.0, 0.0, 0.5))
_SENSIBLE: SearchStrategy[Step] = st.one_of(
    *[st.builds(Ask, _SLOT, REQUESTS)] * 8,
    st.builds(Ask, _SLOT, st.builds(AddAuth, st.just("digest"), st.sampled_from(_CREDENTIALS))),
    st.builds(AskAll, _SLOT, st.lists(REQUESTS, min_size=2, max_size=6).map(tuple)),
    st.builds(Vanish, _SLOT) | st.builds(Ask, _SLOT, st.just(CloseSession())),
    st.builds(Attach, _SLOT, _TIMEOUTS, _SEEN, st.sampled_from((True, True, True, False))),
    st.builds(Renew, _SLOT, _TIMEOUTS),
    st.builds(Steal, _SLOT),
)
_RAW: SearchStrategy[Step] = st.builds(lambda slot, record: Raw(slot, *record), _SLOT, RECORDS)
_ODD: SearchStrategy[Step] = st.one_of(
    _SENSIBLE, _RAW, _RAW, _RAW, st.builds(Renew, _SLOT), st.builds(Bytes, _SLOT, FRAMES)
)


def _watched(request: ClientRequest) -> Iterator[tuple[str, str]]:
    """The paths that a request watches or says something of watches on, and the kind of these."""
    match request:
        case Exists(path, True) | GetData(path, True) | GetChildren(path, True):
            yield path, "once"
        case AddWatch(path, mode):
            yield path, mode.name
        case CheckWatches(path, type) | RemoveWatches(path, type) if type != WatcherType.ANY:
            yield path, "once"
        case SetWatches(_, data, exist, child, persistent, recursive):
            yield from ((path, "once") for path in (*data, *exist, *child))
            yield from ((path, WatchMode.PERSISTENT.name) for path in persistent)
            yield from ((path, WatchMode.RECURSIVE.name) for path in recursive)


def _one_kind_of_watch(steps: list[Step]) -> list[Step]:
    """Without those steps by which a client would have two kinds of watches on one path: ZooKeeper 3.8 takes them for
    one."""
    kinds: dict[tuple[int, str], str] = {}
    sorted_out: list[Step] = []
    for step in steps:
        requests = step.requests if isinstance(step, AskAll) else (step.request,) if isinstance(step, Ask) else ()
        watched = [((step.slot, path), kind) for request in requests for path, kind in _watched(request)]
        before = dict(kinds)
        if all(kinds.setdefault(place, kind) == kind for place, kind in watched):
            sorted_out.append(step)
        else:
            kinds = before
    return sorted_out


def _sequences(steps: SearchStrategy[Step]) -> SearchStrategy[list[Step]]:
    return st.lists(steps, min_size=12, max_size=50).map(_one_kind_of_watch)


SENSIBLE = _sequences(_SENSIBLE)
"""What well-written clients do."""

ODD = _sequences(_ODD)
"""And others."""
