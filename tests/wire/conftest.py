"""Strategies for every value that goes over a wire, within the limits that the decoders keep."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from zk.broadcast.messages import Ack, Commit, Message, Proposal
from zk.broadcast.records import Entry, EntryKind, EpochEnds
from zk.model import replies, requests
from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.data import NO_DATA
from zk.model.errors import ERRORS, APIError, error_from_code
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.peering import Forward, ReplicaMessage
from zk.model.record import Epoch, ServerId, SessionId, Zxid
from zk.model.replies import Body, Reply
from zk.model.requests import Call, ClientRequest, CreateMode, Txn, Write
from zk.model.session import Session
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.tree.image import Brought, Image
from zk.wire.native.operations import CREDENTIAL_BYTES_MAX, SECRET_BYTES_MAX, WRITES, operation_fields
from zk.wire.peer import Hello

INT63 = st.integers(0, 2**63 - 1)
ZXID = st.integers(0, 2**64 - 1).map(Zxid)
ZXID63 = INT63.map(Zxid)  # what a client can name
SESSION_ID = INT63.map(SessionId)
INT31 = st.integers(0, 2**31 - 1)
VERSION = st.integers(-1, 2**31 - 1)
TEXT = st.text(max_size=40)
DATA = st.binary(max_size=200)
FLAG = st.booleans()
ACL_ENTRY = st.builds(Acl, st.integers(0, 31), TEXT, TEXT)
ACL = st.just(OPEN_ACL) | st.lists(ACL_ENTRY, max_size=4).map(tuple)
IDENTITIES = st.lists(st.builds(Identity, TEXT, TEXT), max_size=3).map(tuple)


def several(one: SearchStrategy[Any], at_most: int = 4) -> SearchStrategy[tuple[Any, ...]]:
    return st.lists(one, max_size=at_most).map(tuple)


# ---- requests

CREATE = st.builds(requests.Create, TEXT, DATA, ACL, st.sampled_from(CreateMode), INT63)
OPERATION = (
    CREATE
    | st.builds(requests.Delete, TEXT, VERSION)
    | st.builds(requests.SetData, TEXT, DATA, VERSION)
    | st.builds(requests.SetAcl, TEXT, ACL, VERSION)
    | st.builds(requests.Check, TEXT, VERSION, ZXID63)
)
MULTI = st.builds(requests.Multi, several(OPERATION))
_COUNT = st.integers(-(2**31), 2**31 - 1)
_MS = (INT63, INT63)
_BROUGHT = st.builds(
    Znode,
    DATA,
    ACL,
    *(ZXID63,) * 3,
    *_MS,
    _COUNT,
    INT63,
    _COUNT,
    st.just(SessionId(0)),
    INT63,
    st.sampled_from(CreateMode),
    st.integers(0, 2**40 - 1),
)
RESTORE = (
    st.builds(requests.BeginRestore, ZXID63)
    | st.builds(requests.Restore, several(st.tuples(TEXT, _BROUGHT)), several(TEXT))
    | st.builds(requests.FinishRestore, INT63)
)
GET_DATA = st.builds(requests.GetData, TEXT, FLAG)
GET_CHILDREN = st.builds(requests.GetChildren, TEXT, FLAG)
PATHS = several(TEXT)
CLIENT_REQUEST: SearchStrategy[ClientRequest] = (
    OPERATION
    | MULTI
    | RESTORE
    | GET_DATA
    | GET_CHILDREN
    | st.builds(requests.AddAuth, TEXT, st.binary(max_size=CREDENTIAL_BYTES_MAX))
    | st.just(requests.CloseSession())
    | st.builds(requests.Exists, TEXT, FLAG)
    | st.builds(requests.GetAcl, TEXT)
    | st.builds(requests.GetNode, TEXT)
    | st.builds(requests.GetChildrenPage, TEXT, TEXT, TEXT, st.integers(1, 10_000), FLAG)
    | st.builds(requests.CountDescendants, TEXT)
    | st.builds(requests.GetEphemerals, TEXT)
    | st.just(requests.WhoAmI())
    | st.builds(requests.MultiRead, several(GET_DATA | GET_CHILDREN))
    | st.builds(requests.Connect, SESSION_ID, st.binary(max_size=SECRET_BYTES_MAX), INT31, ZXID63, FLAG)
    | st.just(requests.Ping())
    | st.builds(requests.Sync, TEXT)
    | st.builds(requests.AddWatch, TEXT, st.sampled_from(WatchMode), st.none() | ZXID63)
    | st.builds(requests.RemoveWatches, TEXT, st.sampled_from(WatcherType))
    | st.builds(requests.CheckWatches, TEXT, st.sampled_from(WatcherType))
    | st.builds(requests.SetWatches, ZXID63, PATHS, PATHS, PATHS, PATHS, PATHS)
    | st.just(requests.GetStatus())
)


def _call(xid: int, request: ClientRequest, level: int) -> Call:
    if operation_fields(request)[0] in WRITES:
        return Call(xid, request, floor=abs(level))
    return Call(xid, request, linearizable=True) if level < 0 else Call(xid, request, at_least=Zxid(level))


CALL = st.builds(_call, INT63, CLIENT_REQUEST, st.sampled_from([-1, 0]) | INT63)

SESSION_WRITE = (SESSION_ID, st.binary(max_size=16), INT31, IDENTITIES, st.integers(1, 255).map(ServerId), INT63, ZXID)
WRITE: SearchStrategy[Write] = (
    OPERATION
    | MULTI
    | RESTORE
    | st.just(requests.CloseSession())
    | st.builds(requests.Authenticate, IDENTITIES)
    | st.builds(requests.OpenSession, *SESSION_WRITE)
    | st.builds(requests.AttachSession, *SESSION_WRITE)
    | st.builds(requests.ExpireSession, SESSION_ID, ZXID)
    | st.builds(requests.Reap, TEXT)
    | st.builds(requests.NameMembers, st.lists(TEXT).map(tuple))
)
TXN = st.builds(Txn, INT63, SESSION_ID, ZXID, INT63, INT63, INT63, WRITE)
_DATA_OR_NONE = DATA | st.just(NO_DATA)
FREQUENT_TXN = st.builds(
    Txn,
    *(INT63, SESSION_ID, ZXID, INT63, INT63, INT63),
    st.builds(requests.SetData, TEXT, _DATA_OR_NONE, VERSION)
    | st.builds(requests.Create, TEXT, _DATA_OR_NONE, ACL, st.sampled_from(CreateMode), INT63),
)

# ---- replies

STAT = st.builds(Stat, ZXID, ZXID, INT63, INT63, INT63, INT63, INT63, SESSION_ID, INT31, INT31, ZXID)
ERROR: SearchStrategy[APIError] = st.builds(
    error_from_code, st.sampled_from(sorted(ERRORS)), TEXT, st.text(min_size=1, max_size=40)
)
RESULT: SearchStrategy[Body | APIError] = (
    st.just(replies.DONE)
    | st.builds(replies.Created, TEXT, STAT)
    | st.builds(replies.StatReply, STAT)
    | st.builds(replies.DataReply, DATA, STAT)
    | st.builds(replies.ChildrenReply, several(TEXT), STAT)
    | ERROR
)
WRITE_RESULT: SearchStrategy[Body | APIError] = (
    st.just(replies.DONE)
    | st.builds(replies.Created, TEXT, STAT)
    | st.builds(replies.StatReply, STAT)
    | st.builds(replies.MultiReply, several(RESULT))
    | ERROR
)
PAGE_ENTRY = st.builds(replies.PageEntry, TEXT, st.none() | STAT, st.none() | DATA)
BODY: SearchStrategy[Body | APIError] = (
    RESULT
    | WRITE_RESULT
    | st.builds(replies.AclReply, ACL, STAT)
    | st.builds(replies.NodeReply, DATA, ACL, st.sampled_from(CreateMode), INT63, STAT)
    | st.builds(replies.ChildrenPageReply, several(PAGE_ENTRY), FLAG, STAT)
    | st.builds(replies.CountReply, INT63)
    | st.builds(replies.PathsReply, PATHS)
    | st.builds(replies.IdentitiesReply, IDENTITIES)
    | st.builds(replies.ConnectReply, SESSION_ID, st.binary(max_size=16), INT31, FLAG)
    | st.builds(
        replies.StatusReply,
        st.integers(1, 255).map(ServerId),
        TEXT,
        INT31.map(Epoch),
        ZXID,
        st.integers(0, 255).map(ServerId),
        INT31,
        INT31,
        INT31,
        INT31,
        TEXT,
        TEXT,
    )
)
REPLY = st.builds(Reply, INT63, ZXID, BODY)
EVENT = st.builds(WatchEvent, st.sampled_from(EventType), TEXT, ZXID)

# ---- snapshots

ZNODE = st.builds(
    Znode, DATA, ACL, ZXID, ZXID, ZXID, INT63, INT63, INT31, INT31, INT31, SESSION_ID, INT31,
    st.sampled_from([CreateMode.PERSISTENT, CreateMode.EPHEMERAL, CreateMode.CONTAINER]), INT63,
)  # fmt: skip
ANSWERS = st.dictionaries(INT63, st.tuples(ZXID, WRITE_RESULT), max_size=4)


def _sessions(values: Sequence[Session]) -> dict[SessionId, Session]:
    return {session.id: session for session in values}


SESSIONS = several(
    st.builds(Session, SESSION_ID, st.binary(max_size=16), INT31, IDENTITIES, ZXID, INT63, INT63, ANSWERS)
).map(_sessions)
ZNODES = st.dictionaries(TEXT, ZNODE, max_size=12)
BROUGHT = st.none() | st.builds(Brought, SESSION_ID, ZXID, ZNODES)
IMAGE = st.builds(Image, ZXID, INT63, ZNODES, SESSIONS, st.integers(0, 2**60 - 1), BROUGHT, ZXID)

# ---- messages between servers: as their records declare them

FIELDS: dict[object, SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    bool: FLAG,
    str: TEXT,
    bytes: DATA,
    Epoch: st.integers(0, 2**32 - 1),
    ServerId: st.integers(0, 255),
    Zxid: ZXID,
    Zxid | None: st.none() | ZXID,
    tuple[bytes, ...]: several(DATA),
    tuple[ServerId, ...]: several(st.integers(1, 255)),
    tuple[SessionId, ...]: several(SESSION_ID),
    tuple[Entry, ...]: several(st.builds(Entry, ZXID, st.sampled_from(EntryKind), DATA), 6),
    EpochEnds: several(st.tuples(st.integers(0, 2**32 - 1), ZXID)),
}


def _message(kind: type) -> SearchStrategy[Any]:
    hints = get_type_hints(kind)
    return st.builds(kind, *[FIELDS[hints[field.name]] for field in fields(kind)])


MESSAGE = st.one_of([_message(kind) for kind in (*Message.__args__, *ReplicaMessage.__args__)])
TXN_ENTRIES = several(st.builds(Entry, ZXID63, st.just(EntryKind.TXN), DATA), 8)
FREQUENT_MESSAGE = st.one_of(
    st.builds(Proposal, FIELDS[Epoch], INT63, ZXID63, TXN_ENTRIES, ZXID63),
    *(_message(kind) for kind in (Proposal, Ack, Commit, Forward)),
)


@pytest.fixture(scope="session")
def calls() -> SearchStrategy[Call]:
    return CALL


@pytest.fixture(scope="session")
def txns() -> SearchStrategy[Txn]:
    return TXN


@pytest.fixture(scope="session")
def frequent_txns() -> SearchStrategy[Txn]:
    return FREQUENT_TXN


@pytest.fixture(scope="session")
def replies_and_events() -> SearchStrategy[Reply | WatchEvent]:
    return REPLY | EVENT


@pytest.fixture(scope="session")
def stats() -> SearchStrategy[Stat]:
    return STAT


@pytest.fixture(scope="session")
def images() -> SearchStrategy[Image]:
    return IMAGE


@pytest.fixture(scope="session")
def hellos() -> SearchStrategy[Hello]:
    strategy: SearchStrategy[Hello] = _message(Hello)
    return strategy


@pytest.fixture(scope="session")
def messages() -> SearchStrategy[Message | ReplicaMessage]:
    strategy: SearchStrategy[Message | ReplicaMessage] = MESSAGE
    return strategy


@pytest.fixture(scope="session")
def frequent_messages() -> SearchStrategy[Proposal | Ack | Commit | Forward]:
    return FREQUENT_MESSAGE
