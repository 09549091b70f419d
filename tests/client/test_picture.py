"""Picture: held against a tree of which every state is remembered, over all orders of changes, events and answers."""

from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zkclient.errors import TooManyNodesError
from zkclient.picture import EVENTS_MAX, ROUNDS_IN_VAIN_MAX, CacheChange, Picture
from zkclient.results import NodeData

from zk.model.events import EventType
from zk.model.record import SessionId, Zxid
from zk.model.stat import Stat

PATHS = ("/r", "/r/a", "/r/a/x", "/r/b", "/r/c")

START = Zxid(10)


def node(czxid: int, mzxid: int) -> NodeData:
    stat = Stat(Zxid(czxid), Zxid(mzxid), 0, 0, 0, 0, 0, SessionId(0), 0, 0, Zxid(0))
    return NodeData(b"", stat, Zxid(mzxid))


@dataclass
class Server:
    """A flat one: whether a parent is there does not matter to a picture. Events and answers go out in one line."""

    zxid: Zxid = START
    nodes: dict[str, NodeData] = field(default_factory=dict)
    states: dict[Zxid, dict[str, NodeData]] = field(default_factory=dict)
    line: deque[tuple[EventType, str, Zxid] | tuple[Zxid, dict[str, NodeData | None]]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.states[self.zxid] = {}

    def change(self, operations: list[tuple[str, bool]]) -> None:
        """One transaction: each operation deletes its node, or else creates or sets it."""
        self.zxid = zxid = Zxid(self.zxid + 1)
        for path, delete in operations:
            old = self.nodes.pop(path, None)
            if delete:
                if old is not None:
                    self.line.append((EventType.DELETED, path, zxid))
                continue
            kind = EventType.CREATED if old is None else EventType.DATA_CHANGED
            self.nodes[path] = node(zxid if old is None else old.stat.czxid, zxid)
            self.line.append((kind, path, zxid))
        self.states[zxid] = dict(self.nodes)

    def read(self, paths: tuple[str, ...]) -> None:
        self.line.append((self.zxid, {path: self.nodes.get(path) for path in paths}))


class Client:
    """Feeds a picture from the line. Several reads may be under way, as the first fill has it."""

    def __init__(self, server: Server, rounds_in_vain_max: int = ROUNDS_IN_VAIN_MAX) -> None:
        self.server = server
        self.picture = Picture(100, rounds_in_vain_max)
        self.told: dict[str, NodeData] = {}
        self.under_way = 0
        self.generation = -1

    def receive(self) -> None:
        if not self.server.line:
            return
        item = self.server.line.popleft()
        picture = self.picture
        if len(item) == 3:
            picture.on_event(*item)
            return
        zxid, found = item
        self.under_way -= 1
        for path, value in found.items():
            picture.learn(path, zxid, value)
        if not self.under_way:
            if picture.to_fill:
                picture.filled()
            self.tell(picture.advance(zxid))

    def tell(self, changes: tuple[CacheChange, ...]) -> None:
        for change in changes:
            assert change.old == self.told.pop(change.path, None)
            if change.new is not None:
                self.told[change.path] = change.new
        assert self.told == self.picture.nodes
        if self.picture.exact:
            assert self.picture.nodes == self.server.states[self.picture.zxid]

    def ask(self) -> None:
        if not self.under_way and not self.picture.to_fill:
            self.under_way = 1
            self.server.read(self.picture.unread)

    def settle(self) -> None:
        for _ in range(3):
            while self.server.line:
                self.receive()
            self.ask()
        while self.server.line:
            self.receive()


operation = st.tuples(st.sampled_from(PATHS), st.booleans())
step = st.one_of(
    st.lists(operation, min_size=1, max_size=3),
    st.just("receive"),
    st.just("receive"),
    st.just("ask"),
    st.just("read"),
    st.just("resync"),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.lists(operation, min_size=1, max_size=3), max_size=5), st.lists(step, max_size=60), st.integers(1, 3)
)
def test_what_is_shown_as_exact_is_the_state_at_its_zxid_and_in_the_end_all_is_shown(
    before: list[list[tuple[str, bool]]], steps: list[list[tuple[str, bool]] | str], rounds_in_vain_max: int
) -> None:
    server = Server()
    for operations in before:
        server.change(operations)
    server.line.clear()
    client = Client(server, rounds_in_vain_max)
    to_read: deque[str] = deque(PATHS)
    client.under_way = len(PATHS)
    for step in steps:
        if isinstance(step, list):
            server.change(step)
        elif step == "receive":
            client.receive()
        elif step == "ask":
            client.ask()
        elif step == "read" and to_read:
            server.read((to_read.popleft(),))
        elif step == "resync":  # the line breaks, and the server does not remember what it had not told
            server.line.clear()
            client.picture.start_over()
            to_read, client.under_way = deque(PATHS), len(PATHS)
    while to_read:
        server.read((to_read.popleft(),))
    client.settle()
    assert client.picture.exact
    assert client.picture.zxid == server.zxid
    assert client.picture.nodes == server.nodes


def filled(*paths: str) -> tuple[Server, Client]:
    server = Server()
    for path in paths:
        server.change([(path, False)])
    server.line.clear()
    client = Client(server)
    client.under_way = 1
    server.read(paths)
    client.receive()
    return server, client


def test_a_state_that_is_not_known_as_a_whole_is_not_shown() -> None:
    server, client = filled("/r/a", "/r/b")
    server.change([("/r/a", False)])
    client.receive()
    known = dict(server.nodes)
    server.change([("/r/b", False)])
    server.read(("/r/a",))
    client.under_way = 1
    client.receive()
    client.receive()
    assert client.picture.nodes == known
    assert client.picture.zxid == server.zxid - 1


def test_where_no_state_is_ever_known_the_newest_nodes_are_shown_as_not_exact() -> None:
    server, client = filled("/r")
    picture = client.picture
    server.change([("/r/0", False)])
    client.receive()
    for number in range(1, ROUNDS_IN_VAIN_MAX + 1):
        asked = picture.unread
        server.change([(f"/r/{number}", False)])  # what is asked for becomes known only behind it
        for path in asked:
            server.change([(path, False)])
        assert (list(picture.nodes), picture.exact) == (["/r"], True)
        server.read(asked)
        client.under_way = 1
        while server.line:
            client.receive()
    newest = dict(server.nodes)
    del newest[f"/r/{ROUNDS_IN_VAIN_MAX}"]
    assert (picture.nodes, picture.exact) == (newest, False)
    client.settle()
    assert (picture.nodes, picture.exact, picture.zxid) == (server.nodes, True, server.zxid)


def test_too_many_events_make_it_start_over() -> None:
    _, client = filled("/r")
    picture = client.picture
    for number in range(EVENTS_MAX + 1):
        picture.on_event(EventType.DATA_CHANGED, "/r", Zxid(100 + number))
    assert (picture.to_fill, picture.generation, list(picture.nodes)) == (True, 1, ["/r"])


def test_more_nodes_than_allowed_are_an_error() -> None:
    picture = Picture(1)
    picture.learn("/r", Zxid(1), node(1, 1))
    with pytest.raises(TooManyNodesError):
        picture.learn("/r/a", Zxid(1), node(1, 1))
