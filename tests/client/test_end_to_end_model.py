"""The session machine and a whole server without I/O, byte by byte, under faults that hypothesis chooses.

What must hold at the end, however connections broke and whatever was cut off in the middle: every write was done once
if it was answered, at most once if its outcome is unknown, and never if it was withdrawn; streams were told every event
once and in order; a one-shot watch was told if, and only if, its node has changed.
"""

import random
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from zkclient.actions import Close, Notify, Open, Settled
from zkclient.calls import Outcome
from zkclient.errors import SessionExpiredError
from zkclient.machine import Machine

from zk.broadcast import engine
from zk.broadcast.records import Recovered
from zk.broadcast.zab import ZabConfig
from zk.model.errors import ZKError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import ConnectionId, Epoch, ServerId, Zxid
from zk.model.replies import Created, DataReply, Reply
from zk.model.requests import Create, CreateMode, GetData, Multi, SetData
from zk.replica import events
from zk.replica.config import ReplicaConfig
from zk.replica.replica import Replica
from zk.wire.native import ServerConnection

WALL_MS = 1_700_000_000_000
TIMEOUT_MS = 4_000
PATHS = ("/a", "/a/b", "/c")
WATCHED = ("/", *PATHS)


class Server:
    """One replica, its disk and its clock."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        config = ReplicaConfig(ZabConfig(ServerId(1), frozenset({ServerId(1)}), "test"))
        recovered = Recovered("disk", Epoch(0), None, (), False)
        self.replica = Replica(config, recovered, None, random.Random(1), self.now_ms, WALL_MS)
        self.links: dict[ConnectionId, Link] = {}
        self._durable = 0
        self._serial = 0
        while not self.replica.serving:
            self.advance(20)

    def next_connection(self) -> ConnectionId:
        self._serial += 1
        return ConnectionId(self._serial)

    def step(self, event: events.Event) -> None:
        todo = self.replica.step(self.now_ms, event)
        while todo:
            effect = todo.pop(0)
            if isinstance(effect, engine.Append):
                self._durable += len(effect.records)
                todo += self.replica.step(self.now_ms, engine.Durable(self._durable))
            elif isinstance(effect, events.Answer):
                link = self.links.get(effect.connection)
                if link is not None:
                    link.down += link.wire.send(effect.items)
            elif isinstance(effect, events.CloseClient):
                link = self.links.pop(effect.connection, None)
                if link is not None:
                    link.closed = True

    def advance(self, ms: int) -> None:
        for _ in range(0, ms, 20):
            self.now_ms += 20
            self.step(events.Tick(WALL_MS + self.now_ms))


class Link:
    """A client machine, its connection, and the bytes on their way in both directions."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.machine = Machine(("s:1",), TIMEOUT_MS, random.Random(seed))
        self.wanted = self.connected = self.closed = False
        self.connection = ConnectionId(0)
        self.wire = ServerConnection()
        self.up = b""
        self.down = b""

    def perform(self) -> None:
        for action in self.machine.take_actions():
            if isinstance(action, Settled):
                action.settle(action.outcome)
            elif isinstance(action, Notify):
                action.notified(action.event)
            elif isinstance(action, Open):
                self.wanted = True
            elif isinstance(action, Close):
                self._forget()

    def open(self) -> None:
        if self.wanted:
            self.wanted, self.connected = False, True
            self.connection = self.server.next_connection()
            self.wire = ServerConnection()
            self.up = self.down = b""
            self.closed = False
            self.server.links[self.connection] = self
            self.server.step(events.ClientConnected(self.connection, ()))
            self.machine.connected(self.server.now_ms)

    def send(self, size: int | None = None) -> None:
        """Let up to `size` bytes arrive at the server."""
        self.up += self.machine.take_outgoing()
        data, self.up = self.up[:size], self.up[len(self.up[:size]) :]
        if data and self.connected and not self.closed:
            calls = self.wire.receive(data)
            self.down += self.wire.greeting()
            self.server.step(events.ClientReceived(self.connection, calls))
            self.server.step(events.Flush())

    def receive(self, size: int | None = None) -> None:
        """Let up to `size` bytes arrive at the client."""
        data, self.down = self.down[:size], self.down[len(self.down[:size]) :]
        if data and self.connected:
            self.machine.received(self.server.now_ms, data)
            self.perform()
        if self.closed and not self.down:
            self.cut()

    def cut(self) -> None:
        if self.connected:
            self._forget()
            self.machine.disconnected(self.server.now_ms, "cut")
            self.perform()

    def _forget(self) -> None:
        if self.connected and self.server.links.pop(self.connection, None) is not None:
            self.server.step(events.ClientDisconnected(self.connection))
        self.connected = self.wanted = False

    def tick(self) -> None:
        self.machine.tick(self.server.now_ms)
        self.perform()

    def settle(self) -> None:
        """Let everything arrive, until nothing is pending."""
        for _ in range(2_000):
            self.open()
            self.send()
            self.receive()
            if not self.machine.pending_calls and self.machine.attached and not self.down:
                return
            if not self.down and not self.machine.has_outgoing:
                self.server.advance(20)
                self.tick()
        raise AssertionError("it does not come to rest")


class ClientAndServer(RuleBasedStateMachine):
    @initialize()
    def start(self) -> None:
        self.server = Server()
        self.other = Link(self.server, 1)
        self.link = Link(self.server, 2)
        self.outcomes: dict[str, Outcome | None] = {}
        self.streams: list[tuple[str, WatchMode, Zxid, list[WatchEvent]]] = []
        self.one_shots: list[tuple[str, list[int], list[EventType]]] = []
        for path in (*PATHS, "/q"):
            self.other_does(Create(path, b""))
        self._watch_all()

    def _watch_all(self) -> None:
        """The other client's streams, on a perfect connection, are the truth about what happened."""
        self.truth: dict[tuple[str, WatchMode], list[WatchEvent]] = {}
        for path in WATCHED:
            for mode in WatchMode:
                told: list[WatchEvent] = []
                self.truth[path, mode] = told
                self.other.machine.watch(self.server.now_ms, path, mode, None, partial(self._hear, told))
        self.other.settle()

    @staticmethod
    def _hear(told: list[WatchEvent], event: WatchEvent | ZKError) -> None:
        assert isinstance(event, WatchEvent)
        told.append(event)

    def other_does(self, *operations: Create | SetData) -> None:
        self.other.machine.call(self.server.now_ms, Multi(operations))
        self.other.settle()

    # ---- what clients do

    @rule()
    def create(self) -> None:
        name = str(len(self.outcomes))
        self.outcomes[name] = None

        def settle(outcome: Outcome) -> None:
            assert self.outcomes[name] is None
            self.outcomes[name] = outcome

        request = Create("/q/n-", name.encode(), mode=CreateMode.PERSISTENT_SEQUENTIAL)
        self.link.machine.call(self.server.now_ms, request, settle)
        self.link.perform()

    @rule(paths=st.lists(st.sampled_from(PATHS), min_size=1, max_size=4))
    def change_by_another(self, paths: list[str]) -> None:
        create = Create("/a/s-", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL)
        self.other_does(*[create if path == "/a/b" else SetData(path, b"x") for path in paths])

    @precondition(lambda self: len(self.streams) < 4)
    @rule(path=st.sampled_from(WATCHED), mode=st.sampled_from(WatchMode), back=st.integers(0, 3))
    def stream(self, path: str, mode: WatchMode, back: int) -> None:
        told: list[WatchEvent] = []
        since = Zxid(max(self.other.machine.last_zxid - back, self.first_zxid))
        self.streams.append((path, mode, since, told))
        self.link.machine.watch(self.server.now_ms, path, mode, since, partial(self._hear, told))
        self.link.perform()

    @rule(path=st.sampled_from(PATHS))
    def watch_once(self, path: str) -> None:
        versions: list[int] = []
        told: list[EventType] = []

        def settle(outcome: Outcome) -> None:
            if isinstance(outcome, Reply) and isinstance(outcome.body, DataReply):
                versions.append(outcome.body.stat.version)

        def hear(event: WatchEvent | ZKError) -> None:
            assert isinstance(event, WatchEvent)
            told.append(event.type)

        self.one_shots.append((path, versions, told))
        self.link.machine.call(self.server.now_ms, GetData(path, watch=True), settle, watch=hear)
        self.link.perform()

    @property
    def first_zxid(self) -> Zxid:
        """Before this one nothing is compared."""
        return min((told[0].zxid for told in self.truth.values() if told), default=self.other.machine.last_zxid)

    # ---- what happens to the connection

    @rule(size=st.integers(1, 120))
    def some_bytes_up(self, size: int) -> None:
        self.link.open()
        self.link.send(size)

    @rule(size=st.integers(1, 120))
    def some_bytes_down(self, size: int) -> None:
        self.link.receive(size)

    @rule()
    def everything_up(self) -> None:
        self.link.open()
        self.link.send()

    @rule()
    def everything_down(self) -> None:
        self.link.receive()

    @rule()
    def cut(self) -> None:
        self.link.cut()

    @rule(ms=st.sampled_from([20, 500, 2_000, 5_000]))
    def time_passes(self, ms: int) -> None:
        for _ in range(0, ms, 500):
            self.server.advance(min(ms, 500))
            self.link.tick()
            self.other.tick()
            self.other.settle()

    # ---- what must hold

    def teardown(self) -> None:
        if not hasattr(self, "server"):
            return
        self.link.machine.call(self.server.now_ms, GetData("/a"), lambda _: None)
        self.link.perform()
        self.link.settle()
        self.other.settle()
        self._check_writes()
        for path, mode, since, told in self.streams:
            assert told == [event for event in self.truth[path, mode] if event.zxid > since]
        for path, versions, kinds in self.one_shots:
            [version] = versions
            now = self.server.replica.tree.znodes[path].version
            assert kinds == ([EventType.DATA_CHANGED] if now > version else [])

    def _check_writes(self) -> None:
        znodes = self.server.replica.tree.znodes
        done: dict[str, list[str]] = {}
        for path, znode in znodes.items():
            if path.startswith("/q/"):
                done.setdefault(znode.data.decode(), []).append(path)
        answered = []
        for name, outcome in self.outcomes.items():
            if isinstance(outcome, Reply):
                assert isinstance(outcome.body, Created)
                assert done[name] == [outcome.body.path]
                answered.append(outcome.body.path)
            else:
                assert isinstance(outcome, SessionExpiredError)
                assert len(done.get(name, [])) <= (1 if outcome.maybe_applied else 0)
        assert answered == sorted(answered), "a session's writes are done in their order"


TestClientAndServer = ClientAndServer.TestCase
TestClientAndServer.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
