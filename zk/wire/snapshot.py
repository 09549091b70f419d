"""A tree's whole state as chunks of bytes: in a snapshot's file, and on the way to a server that is too far behind.

The first chunk says what is to come: `[1, format, zxid, time_ms, znodes_sum, znodes, sessions, answers]`, the last
three being counts. If a tree was ever brought here, two more follow: of one that is being brought just now, how many
znodes have come, plus 1; and the zxid at which the last one took its place. Then, in any number of chunks:
`[2, acls, column, …]` znodes, one array per attribute (that is what makes loading fast); `[3, session, …]`;
`[4, answer, …]`, the answers that sessions keep for resends, as in native/replies.py; `[5, session_id, last_zxid]` of
the tree that is being brought, and `[6, acls, column, …]` its znodes. That no chunk was damaged is for the storage and
the peer's connection to see; that none is missing is checked here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.data import NO_DATA
from zk.model.errors import ZKError
from zk.model.limits import MIB
from zk.model.record import SessionId, Zxid
from zk.model.requests import CreateMode
from zk.model.session import Session
from zk.model.znode import Znode
from zk.tree.image import Brought, Image
from zk.wire.native.operations import acl_fields, data_field
from zk.wire.native.replies import body_fields, decode_body
from zk.wire.packing import MALFORMED, pack, unpack

FORMAT = 2
ZNODES_PER_CHUNK = 2_000
CHUNK_BYTES = 1 * MIB
"""A chunk ends with the znode, session or answer that reaches this size, so that it fits into a peer's frame."""

_HEAD = 1
_ZNODES = 2
_SESSIONS = 3
_ANSWERS = 4
_RESTORATION = 5
_BROUGHT = 6


class SnapshotError(ZKError):
    """The chunks are no snapshot, or not all of one, or of a format that this version does not know."""


def chunks(image: Image, znodes_per_chunk: int = ZNODES_PER_CHUNK) -> Iterator[bytes]:
    """The state as chunks, each encoded when it is asked for: the caller can do other work in between."""
    sessions = image.sessions.values()
    yield pack(
        (
            _HEAD,
            FORMAT,
            image.zxid,
            image.time_ms,
            image.znodes_sum,
            len(image.znodes),
            len(sessions),
            sum(len(session.answers) for session in sessions),
            *_about_restoring(image),
        )
    )
    for nodes in _slices(image.znodes, znodes_per_chunk):
        yield _encode_znodes(_ZNODES, nodes)
    yield from _gather(_SESSIONS, (_encode_session(session) for session in sessions))
    yield from _gather(_ANSWERS, (answer for session in sessions for answer in _encode_answers(session)))
    if image.brought is not None:
        yield pack((_RESTORATION, image.brought.session_id, image.brought.last_zxid))
        for nodes in _slices(image.brought.znodes, znodes_per_chunk):
            yield _encode_znodes(_BROUGHT, nodes)


def _about_restoring(image: Image) -> tuple[int, ...]:
    if image.brought is None and not image.restored:
        return ()
    return (0 if image.brought is None else len(image.brought.znodes) + 1, image.restored)


def load(chunks: Iterable[bytes]) -> Image:
    """The state that `chunks` hold. Raises SnapshotError, which says which chunk is wrong and how."""
    loader = _Loader()
    number = 0
    for number, chunk in enumerate(chunks, 1):
        try:
            loader.add(unpack(chunk))
        except (TypeError, LookupError, *MALFORMED) as error:
            raise SnapshotError(f"chunk {number} of the snapshot is malformed: {error}") from error
    return loader.finish(number)


# ---- encoding


def _slices(znodes: Mapping[str, Znode], count_max: int) -> Iterator[list[tuple[str, Znode]]]:
    nodes: list[tuple[str, Znode]] = []
    size = 0
    for path, znode in znodes.items():
        nodes.append((path, znode))
        size += len(path) + len(znode.data)
        if len(nodes) == count_max or size >= CHUNK_BYTES:
            yield nodes
            nodes, size = [], 0
    if nodes:
        yield nodes


def _encode_znodes(tag: int, nodes: list[tuple[str, Znode]]) -> bytes:
    znodes = [znode for _, znode in nodes]
    acls: dict[tuple[Acl, ...], int] = {}
    return pack(
        (
            tag,
            [acls.setdefault(z.acl, len(acls)) for z in znodes],
            [acl_fields(acl) for acl in acls],
            [path for path, _ in nodes],
            [data_field(z.data) for z in znodes],
            [z.czxid for z in znodes],
            [None if z.mzxid == z.czxid else z.mzxid for z in znodes],
            [None if z.pzxid == z.czxid else z.pzxid for z in znodes],
            [z.ctime for z in znodes],
            [None if z.mtime == z.ctime else z.mtime for z in znodes],
            [z.version for z in znodes],
            [z.created for z in znodes],
            [z.aversion for z in znodes],
            [z.owner for z in znodes],
            [z.num_children for z in znodes],
            [z.mode for z in znodes],
            [z.ttl_ms for z in znodes],
        )
    )


def _encode_session(session: Session) -> bytes:
    return pack(
        (
            session.id,
            session.secret,
            session.timeout_ms,
            [(identity.scheme, identity.id) for identity in session.identities],
            session.generation,
            session.n,
            session.floor,
        )
    )


def _encode_answers(session: Session) -> Iterator[bytes]:
    for xid, (zxid, body) in session.answers.items():
        yield pack((session.id, xid, zxid, *body_fields(body)))


def _gather(tag: int, encoded: Iterable[bytes]) -> Iterator[bytes]:
    """Chunks `[tag, item, …]` of items that are encoded already."""
    items: list[bytes] = []
    size = 0
    for item in encoded:
        items.append(item)
        size += len(item)
        if size >= CHUNK_BYTES:
            yield _chunk(tag, items)
            items, size = [], 0
    if items:
        yield _chunk(tag, items)


def _chunk(tag: int, items: list[bytes]) -> bytes:
    head = b"\xdd" + (1 + len(items)).to_bytes(4, "big")  # an array of so many items
    return head + pack(tag) + b"".join(items)


# ---- loading

_MODES = {int(mode): mode for mode in CreateMode}


class _Loader:
    """The state as far as it has arrived. Equal figures are one object, and so are equal ACLs: most of the memory of a
    tree is in its znodes."""

    def __init__(self) -> None:
        self._head: tuple[Zxid, int, int, tuple[int, ...]] | None = None
        self._znodes: dict[str, Znode] = {}
        self._sessions: dict[SessionId, Session] = {}
        self._answers = 0
        self._brought: Brought | None = None
        self._brought_znodes: dict[str, Znode] = {}
        self._acls: dict[tuple[Acl, ...], tuple[Acl, ...]] = {OPEN_ACL: OPEN_ACL}
        self._numbers: dict[int, int] = {}

    def add(self, chunk: Any) -> None:
        tag, *items = chunk
        if (tag == _HEAD) != (self._head is None):
            raise ValueError("the chunk that says what is to come must be the first, and the only one of its kind")
        if tag == _HEAD:
            self._begin(*items)
        elif tag == _ZNODES:
            self._add_znodes(self._znodes, *items)
        elif tag == _SESSIONS:
            for session in items:
                self._add_session(*session)
        elif tag == _ANSWERS:
            for session_id, xid, zxid, kind, *fields in items:
                self._sessions[session_id].answers[xid] = (zxid, decode_body(kind, fields))
                self._answers += 1
        elif tag == _RESTORATION:
            session_id, last_zxid = items
            self._brought = Brought(session_id, last_zxid, self._brought_znodes)
        elif tag == _BROUGHT:
            self._add_znodes(self._brought_znodes, *items)
        else:
            raise ValueError(f"unknown tag {tag!r}")

    def finish(self, number: int) -> Image:
        if self._head is None:
            raise SnapshotError("the snapshot has no chunks")
        zxid, time_ms, znodes_sum, expected = self._head
        restored = Zxid(expected[4]) if len(expected) == 5 else Zxid(0)
        image = Image(zxid, time_ms, self._znodes, self._sessions, znodes_sum, self._brought, restored)
        found = (len(self._znodes), len(self._sessions), self._answers, *_about_restoring(image))
        if found != expected:
            names = "(znodes, sessions, answers)"
            raise SnapshotError(f"the snapshot's {number} chunks hold {found} {names} instead of {expected}")
        return image

    def _begin(self, version: int, *about: Any) -> None:
        if version != FORMAT:
            raise ValueError(f"format {version} is unknown; this version reads format {FORMAT}")
        zxid, time_ms, znodes_sum, *counts = about
        self._head = (zxid, time_ms, znodes_sum, tuple(counts))

    def _add_znodes(self, into: dict[str, Znode], acl_of: Any, acls: Any, paths: Any, *columns: Any) -> None:
        if {len(acl_of), len(paths)} != {len(column) for column in columns} or len(columns) != 13:
            raise ValueError("its columns are not of one length")
        data, czxid, mzxid, pzxid, ctime, mtime, version, created, aversion, owner, num_children, mode, ttl_ms = columns
        one = self._numbers.setdefault
        known = [self._intern_acl(acl) for acl in acls]
        ctime = [one(figure, figure) for figure in ctime]
        znodes = map(
            Znode,
            [NO_DATA if each is None else each for each in data],
            [known[index] for index in acl_of],
            czxid,
            [created if changed is None else changed for created, changed in zip(czxid, mzxid, strict=True)],
            [created if changed is None else changed for created, changed in zip(czxid, pzxid, strict=True)],
            ctime,
            [created if changed is None else changed for created, changed in zip(ctime, mtime, strict=True)],
            version,
            created,
            aversion,
            [one(figure, figure) for figure in owner],
            num_children,
            [_MODES[number] for number in mode],
            ttl_ms,
        )
        into.update(zip(paths, znodes, strict=True))

    def _intern_acl(self, fields: Any) -> tuple[Acl, ...]:
        acl = OPEN_ACL if fields is None else tuple([Acl(*entry) for entry in fields])
        return self._acls.setdefault(acl, acl)

    def _add_session(
        self, key: SessionId, secret: bytes, timeout_ms: int, identities: Any, generation: Zxid, n: int, floor: int
    ) -> None:
        known = tuple([Identity(*identity) for identity in identities])
        self._sessions[key] = Session(key, secret, timeout_ms, known, generation, n, floor)
