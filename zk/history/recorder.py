"""Makes a history: real clients in a thread of their own keep real servers busy, and everything they are told is kept.

The test's own thread is free to do harm meanwhile. What the clients ask is drawn from a seed, when it is answered is
not: a run can't be repeated, so the history is all there is. The clients' sessions end and begin anew as they must.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from threading import Condition, Thread
from time import monotonic_ns
from types import TracebackType
from typing import Self
from uuid import uuid4

import anyio
from zkclient import AsyncZooKeeper, State
from zkclient.calls import Outcome, Pending
from zkclient.errors import SessionExpiredError, ThrottledError, ZKError

from zk.history.history import FOR_EVER_US, Answer, History, Operation, Request, Told, is_refusal
from zk.model.errors import APIError
from zk.model.events import WatchEvent
from zk.model.record import record
from zk.model.replies import Created, DataReply, Reply, StatReply
from zk.model.requests import (
    ANY_VERSION,
    Create,
    Delete,
    Exists,
    GetData,
    Multi,
    SetData,
)

OUTSTANDING_MAX = 3
"""How many calls of one client overlap."""
DRAIN_S = 3.0
"""How long the end waits for what is not answered yet."""
STOP_S = 30.0
"""How long the thread may take to end."""


@record
class Counts:
    """How often what happened. Calls end `answered` (of these some `refused`), or `throttled`, `unknown` (they may have
    been carried out), or `void` (reads without an answer, and writes that were never sent)."""

    asked: int = 0
    answered: int = 0
    refused: int = 0
    throttled: int = 0
    unknown: int = 0
    void: int = 0
    watches_told: int = 0
    sessions_lost: int = 0
    connects: int = 0


class Recorder:
    """Clients at work while the block lasts; `history` is what they saw.

        with Recorder(("127.0.0.1:2181", "127.0.0.1:2182"), clients=6, keys=4) as recorder:
            recorder.wait_for_answers(100)
            ...  # harm the servers
            recorder.wait_for_answers(100)
        check(recorder.history)

    `hosts` are 'host:port'; a client uses all of them, or with `pinned` only one: the first client the first, and so
    on in turn. `pause_ms` is how long a client rests between two calls, on average. `keys` nodes are used, with names
    that nobody used before.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        clients: int = 6,
        keys: int = 4,
        seed: int = 1,
        pinned: bool = False,
        pause_ms: float = 20.0,
        session_timeout_ms: int = 4_000,
        call_timeout_s: float = 10.0,
    ) -> None:
        namesake = uuid4().hex[:8]
        self.paths = tuple(f"/history-{namesake}-{number}" for number in range(keys))
        self.pause_s = pause_ms / 1000
        self.call_timeout_s = call_timeout_s
        self.stopping = False
        self._session_timeout_ms = session_timeout_ms
        self._hosts = [hosts[number % len(hosts)] if pinned else ",".join(hosts) for number in range(clients)]
        self._seed = seed
        self._changed = Condition()  # guards what follows
        self._happenings: list[Operation | Told] = []
        self._counts = dict.fromkeys(Counts.__dataclass_fields__, 0)
        self._under_way: dict[int, Operation] = {}
        self._clients: list[_Client] = []
        self._failure: BaseException | None = None
        self._thread = Thread(target=self._run, name="history recorder", daemon=True)

    # ---- for the test

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stopping = True
        self._thread.join(STOP_S)
        if exc is None:
            if self._thread.is_alive():
                raise TimeoutError(f"the recorder's clients did not end within {STOP_S} s; {self.counts}")
            if self._failure is not None:
                raise self._failure

    def wait_for_answers(self, count: int, within_s: float = 20.0) -> None:
        """Wait until `count` more calls were answered, from now on. Raises TimeoutError."""
        with self._changed:
            goal = self._counts["answered"] + count
            self._changed.wait_for(lambda: self._failure is not None or self._counts["answered"] >= goal, within_s)
            if self._failure is not None:
                raise self._failure
            if self._counts["answered"] < goal:
                missing = goal - self._counts["answered"]
                states = ", ".join(f"{client.name} {client.state.value}" for client in self._clients)
                raise TimeoutError(f"{missing} of {count} answers did not come within {within_s} s; {states}")

    @property
    def counts(self) -> Counts:
        """So far."""
        with self._changed:
            return Counts(**self._counts)

    @property
    def history(self) -> History:
        """So far: calls under way are of unknown outcome."""
        with self._changed:
            return History((*self._happenings, *(asked for asked in self._under_way.values() if asked.is_write)))

    # ---- for the clients, in their thread

    def asked(self, operation: Operation) -> int:
        """A call is made; its number."""
        with self._changed:
            self._counts["asked"] += 1
            number = self._counts["asked"]
            self._under_way[number] = operation
            return number

    def ended(self, number: int, kind: str, kept: Operation | None) -> None:
        """A call is over."""
        with self._changed:
            del self._under_way[number]
            if kept is not None:
                self._happenings.append(kept)
            self._counts[kind] += 1
            self._changed.notify_all()

    def told(self, told: Told) -> None:
        with self._changed:
            self._happenings.append(told)
            self._counts["watches_told"] += 1

    def count(self, kind: str) -> None:
        with self._changed:
            self._counts[kind] += 1

    def _run(self) -> None:
        try:
            anyio.run(self._everybody)
        except BaseException as error:
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    async def _everybody(self) -> None:
        async with anyio.create_task_group() as tasks:
            for number, hosts in enumerate(self._hosts):
                zk = AsyncZooKeeper(hosts, session_timeout_ms=self._session_timeout_ms)
                client = _Client(self, zk, f"client {number}", Random(f"{self._seed}, {number}"))
                self._clients.append(client)
                tasks.start_soon(client.work)


class _Client:
    """One client and what it wants. Answers are kept in the very order in which the session machine gives them out."""

    def __init__(self, recorder: Recorder, zk: AsyncZooKeeper, name: str, random: Random) -> None:
        self.name = name
        self._recorder = recorder
        self._zk = zk
        self._random = random
        self._outstanding = 0
        self._values = 0
        self._versions = dict.fromkeys(recorder.paths, 0)  # as last seen
        self._watched: set[str] = set()

    @property
    def state(self) -> State:
        return self._zk.state

    async def work(self) -> None:
        recorder = self._recorder
        async with self._zk as zk:
            zk.add_listener(self._heard)
            while not recorder.stopping:
                await anyio.sleep(self._random.uniform(0, 2 * recorder.pause_s))
                if self._outstanding < OUTSTANDING_MAX:
                    self._ask(self._wish())
            with anyio.move_on_after(DRAIN_S):
                while self._outstanding:
                    await anyio.sleep(0.01)

    def _heard(self, state: State) -> None:
        if state is State.LOST:
            self._recorder.count("sessions_lost")
        elif state is State.CONNECTED:
            self._recorder.count("connects")

    # ---- asking

    def _ask(self, request: Request) -> None:
        """Call the session machine itself: what it gives out is in order, and has its zxid."""
        reading = isinstance(request, GetData | Exists)
        linearizable = reading and self._random.random() < 0.5
        now_s = anyio.current_time()
        asked = Operation(self.name, request, _now_us(), linearizable=linearizable)
        number = self._recorder.asked(asked)
        self._outstanding += 1
        machine = self._zk.driver.machine
        connects = machine.connects

        def settle(outcome: Outcome) -> None:
            self._outstanding -= 1
            self._settled(number, replace(asked, resent=machine.connects > connects), pending, outcome)

        pending = machine.call(
            now_s * 1000,
            request,
            settle,
            deadline_ms=(now_s + self._recorder.call_timeout_s) * 1000,
            linearizable=linearizable,
            watch=self._told if isinstance(request, GetData | Exists) and request.watch else None,
        )
        self._zk.driver.check_clock()  # the driver looks what there is to send

    def _wish(self) -> Request:
        random = self._random
        index = random.randrange(len(self._recorder.paths))
        path = self._recorder.paths[index]
        draw = random.random()
        if draw < 0.35:
            watch = path not in self._watched and random.random() < 0.3
            if watch:
                self._watched.add(path)
            return GetData(path, watch) if draw < 0.25 else Exists(path, watch)
        if draw < 0.9:
            return self._part(path)
        partner = self._recorder.paths[min(index ^ 1, len(self._recorder.paths) - 1)]  # pairs stay among themselves
        return Multi((self._part(path), self._part(partner)))

    def _part(self, path: str) -> Create | SetData | Delete:
        random = self._random
        version = self._versions[path] if random.random() < 0.4 else ANY_VERSION
        draw = random.random()
        if draw < 0.55:
            return SetData(path, self._value(), version)
        if draw < 0.85:
            return Create(path, self._value())
        return Delete(path, version)

    def _value(self) -> bytes:
        self._values += 1
        return b"%d of %s" % (self._values, self.name.encode())

    # ---- being told

    def _settled(self, number: int, asked: Operation, pending: Pending, outcome: Outcome) -> None:
        recorder, now_us = self._recorder, _now_us()
        if isinstance(outcome, Reply):
            body = outcome.body
            if isinstance(body, DataReply | StatReply | Created):
                self._versions[asked.paths[0]] = body.stat.version
            if isinstance(body, APIError) and isinstance(asked.request, GetData):
                self._watched.discard(asked.request.path)  # if it was to be watched, it is not
            if isinstance(body, ThrottledError):
                recorder.ended(number, "throttled", None)
            else:
                if is_refusal(body):
                    recorder.count("refused")
                recorder.ended(number, "answered", _ended(asked, now_us, Answer(outcome.zxid, body)))
        elif asked.is_write and pending.sent:
            # What a session has not done by its end, it never does.
            until_us = now_us if isinstance(outcome, SessionExpiredError) else FOR_EVER_US
            recorder.ended(number, "unknown", _ended(asked, until_us, None))
        else:
            recorder.ended(number, "void", None)

    def _told(self, event: WatchEvent | ZKError) -> None:
        if isinstance(event, WatchEvent):
            self._watched.discard(event.path)
            self._recorder.told(Told(self.name, event))


def _ended(asked: Operation, returned_us: int, answer: Answer | None) -> Operation:
    return replace(asked, returned_us=returned_us, answer=answer)


def _now_us() -> int:
    return monotonic_ns() // 1_000
