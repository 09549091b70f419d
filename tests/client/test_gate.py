"""Threads that send their calls themselves, at once and through one connection."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from errno import EMFILE
from time import sleep
from types import FrameType
from typing import Any, NoReturn

import pytest
from anyio.abc import SocketAttribute
from zkclient import BadArgumentsError, OperationTimeoutError, State, ZooKeeper, threadcalls
from zkclient.gate import ROUNDS_MAX, Gate
from zkclient.quick import QuickStream

from zk.server.testing import ServerProcess

THREADS = 8


@pytest.fixture
def zk(server: ServerProcess, corner: str) -> Iterator[ZooKeeper]:
    with ZooKeeper(f"{server.address}{corner}") as zk:
        zk.ensure_path("/")
        yield zk


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as pool:
        yield pool


class WithoutDuplicate(QuickStream):
    """A connection in a process that may open no more files."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.raw_socket: self._no_socket}

    def _no_socket(self) -> "WithoutDuplicate":
        return self

    def dup(self) -> NoReturn:
        raise OSError(EMFILE, "Too many open files")


def on_sending(act: Callable[[], object], work: Callable[[], object], *, often: bool = False) -> object:
    """What `work` gives, if `act` happens in the same thread just before its first sending (`often`: each): as
    a finaliser may."""

    def profile(frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and frame.f_code is Gate._send_waiting.__code__ and "send of socket" in str(called):
            sys.setprofile(None)
            act()
            if often:
                sys.setprofile(profile)

    sys.setprofile(profile)
    try:
        return work()
    finally:
        sys.setprofile(None)


def wait_for_waiting(zk: ZooKeeper, count: int) -> None:
    """Until so many calls wait to be sent."""
    while len(zk._session.gate.waiting) < count:
        sleep(0.001)


def test_what_the_connection_does_not_take_at_once_follows_in_order(zk: ZooKeeper, pool: ThreadPoolExecutor) -> None:
    def work(number: int) -> bool:
        path, data = f"/n{number}", bytes([number]) * 1_000_000
        zk.create(path)
        return all(zk.set(path, data).version == turn + 1 and zk.get(path).data == data for turn in range(5))

    assert list(pool.map(work, range(THREADS))) == [True] * THREADS
    assert zk.statistics().connects == 1


def test_a_call_that_cannot_be_sent_is_refused_alone(zk: ZooKeeper, pool: ThreadPoolExecutor) -> None:
    def work(number: int) -> object:
        if number % 2:
            return zk.set("/", b"").version > 0
        with pytest.raises(BadArgumentsError):
            zk.set("/", b"", version=2**80)
        return True

    assert list(pool.map(work, range(40))) == [True] * 40
    assert zk.statistics().connects == 1


def test_a_deadline_before_all_others_is_kept(zk: ZooKeeper, pool: ThreadPoolExecutor) -> None:
    def work() -> None:
        with pytest.raises(OperationTimeoutError):
            zk.get("/", at_least=2**50, timeout=0.05)

    pool.submit(work).result(5)  # the others have 10 s


def test_a_thread_that_fails_while_it_sends_for_others_takes_none_with_it(
    zk: ZooKeeper, pool: ThreadPoolExecutor
) -> None:
    begun = threading.Event()

    def fail() -> None:
        begun.set()
        wait_for_waiting(zk, THREADS - 1)
        raise MemoryError

    def first() -> None:
        with pytest.raises(MemoryError):
            on_sending(fail, lambda: zk.create("/first"))

    def other(number: int) -> str:
        begun.wait()
        return zk.create(f"/{number}")

    failed = pool.submit(first)
    others = [pool.submit(other, number) for number in range(THREADS - 1)]
    assert [each.result(10) for each in others] == [f"/{number}" for number in range(THREADS - 1)]
    failed.result()
    assert (zk.statistics().connects, zk.state) == (2, State.CONNECTED)


def test_a_call_in_a_finaliser_that_would_wait_for_what_it_interrupts_is_refused(
    zk: ZooKeeper, pool: ThreadPoolExecutor
) -> None:
    refused = []

    def finalise() -> None:
        for call in (lambda: zk.get("/"), zk.Lock("/lock").acquire, zk.close):
            with pytest.raises(RuntimeError, match="finaliser"):
                call()
            refused.append(call)

    assert pool.submit(on_sending, finalise, lambda: zk.create("/a")).result(10) == "/a"
    assert len(refused) == 3


def test_who_has_sent_often_enough_for_others_leaves_the_rest_to_the_event_loop(
    zk: ZooKeeper, pool: ThreadPoolExecutor
) -> None:
    others: list[Future[str]] = []

    def ask() -> None:
        others.append(more.submit(zk.create, f"/{len(others)}"))
        wait_for_waiting(zk, 1)

    with ThreadPoolExecutor(ROUNDS_MAX + 1) as more:
        assert pool.submit(on_sending, ask, lambda: zk.create("/a"), often=True).result(10) == "/a"
        assert [each.result(10) for each in others] == [f"/{number}" for number in range(ROUNDS_MAX)]


def test_threads_that_are_expected_to_call_together_leave_in_one_send(
    zk: ZooKeeper, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threadcalls, "GATHER_SECONDS_MAX", 10.0)
    zk._session.gate.expected = THREADS
    sendings: list[int] = []

    def work(number: int) -> object:
        return on_sending(lambda: sendings.append(number), lambda: zk.create(f"/{number}"), often=True)

    assert list(pool.map(work, range(THREADS))) == [f"/{number}" for number in range(THREADS)]
    assert len(sendings) == 1


def test_a_call_does_not_wait_for_others_that_do_not_come(zk: ZooKeeper, pool: ThreadPoolExecutor) -> None:
    zk._session.gate.expected = THREADS
    assert pool.submit(zk.create, "/a").result(5) == "/a"
    assert zk._session.gate.expected == 1


def test_where_no_more_files_may_be_opened_the_event_loop_sends(
    server: ServerProcess, corner: str, pool: ThreadPoolExecutor
) -> None:
    async def connect(host: str, port: int) -> QuickStream:
        _, stream = await asyncio.get_running_loop().create_connection(WithoutDuplicate, host, port)
        return stream

    with ZooKeeper(f"{server.address}{corner}", connect=connect) as zk:
        zk.ensure_path("/")
        assert sorted(pool.map(zk.create, map("/{}".format, range(THREADS)))) == [f"/{n}" for n in range(THREADS)]
        assert (zk._session.gate.is_open, zk.statistics().connects) == (False, 1)
