"""Both pollers keep the same contract."""

import socket
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
import trio.testing

from zk.server.poller import READ, WRITE, Poller, Source
from zk.server.polling import open_poller
from zk.server.wakeup import Wakeup

pytestmark = pytest.mark.trio


class End(Source):
    """One end of a pair of sockets, as a source."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end

    def fileno(self) -> int:
        return self.socket.fileno()

    def on_ready(self, ready: int) -> None: ...


@pytest.fixture(params=[True, False], ids=["epoll", "tasks"])
async def poller(request: pytest.FixtureRequest) -> AsyncIterator[Poller]:
    async with open_poller(epoll=request.param) as poller:
        yield poller


@pytest.fixture
def pair() -> Iterator[tuple[End, End]]:
    here, there = socket.socketpair()
    with here, there:
        yield End(here), End(there)


async def ready(poller: Poller) -> list[tuple[object, int]]:
    """What is ready next."""
    with trio.fail_after(5):
        while True:
            await poller.wait()
            found = poller.poll()
            if found:
                return list(found)


async def nothing_is_ready(poller: Poller) -> bool:
    await trio.testing.wait_all_tasks_blocked()
    return poller.poll() == []


async def test_what_arrives_is_told_until_it_is_read(poller: Poller, pair: tuple[End, End]) -> None:
    here, there = pair
    poller.register(here, READ)
    assert await nothing_is_ready(poller)
    there.socket.send(b"x")
    assert await ready(poller) == [(here, READ)]
    assert await ready(poller) == [(here, READ)]
    here.socket.recv(1)
    assert await nothing_is_ready(poller)


async def test_interest_can_change_to_and_fro(poller: Poller, pair: tuple[End, End]) -> None:
    here, there = pair
    there.socket.send(b"x")
    poller.register(here, 0)
    assert await nothing_is_ready(poller)
    poller.modify(here, WRITE)
    assert await ready(poller) == [(here, WRITE)]
    poller.modify(here, 0)
    poller.modify(here, READ)
    assert await ready(poller) == [(here, READ)]
    for _ in range(3):
        poller.modify(here, 0)
        poller.modify(here, READ | WRITE)
    await trio.testing.wait_all_tasks_blocked()
    assert await ready(poller) == [(here, READ | WRITE)]


async def test_a_reader_is_told_that_the_other_end_is_gone(poller: Poller, pair: tuple[End, End]) -> None:
    here, there = pair
    poller.register(here, READ)
    there.socket.close()
    [(source, bits)] = await ready(poller)
    assert source is here
    assert bits & READ


async def test_a_file_descriptor_that_is_used_again_belongs_to_its_new_source(poller: Poller) -> None:
    first, first_peer = socket.socketpair()
    old = End(first)
    poller.register(old, READ)
    first_peer.send(b"x")
    assert await ready(poller) == [(old, READ)]
    fd = old.fileno()
    poller.unregister(old)
    first.close()
    second, second_peer = socket.socketpair()
    new = End(second)
    with first_peer, second, second_peer:
        assert new.fileno() == fd
        poller.register(new, READ)
        assert await nothing_is_ready(poller)
        second_peer.send(b"y")
        assert await ready(poller) == [(new, READ)]
        poller.unregister(new)


@pytest.mark.parametrize("eventfd", [True, False])
async def test_a_wakeup_from_a_thread_is_seen_once(
    poller: Poller, eventfd: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not eventfd:
        monkeypatch.delattr("os.eventfd")
    wakeup = Wakeup()

    class Woken(Source):
        def fileno(self) -> int:
            return wakeup.fileno()

        def on_ready(self, ready: int) -> None: ...

    source = Woken()
    poller.register(source, READ)
    for _ in range(2):
        assert await nothing_is_ready(poller)
        await trio.to_thread.run_sync(wakeup.set)
        wakeup.set()
        assert await ready(poller) == [(source, READ)]
        wakeup.clear()
    poller.unregister(source)
    wakeup.close()


async def test_many_sockets_are_told_apart(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(200)]
    ends = [End(here) for here, _ in pairs]
    for end in ends:
        poller.register(end, READ)
    chosen = ends[::7]
    for here, there in pairs:
        if any(end.socket is here for end in chosen):
            there.send(b"x")
    await trio.testing.wait_all_tasks_blocked()
    found = await ready(poller)
    assert sorted(id(source) for source, _ in found) == sorted(id(end) for end in chosen)
    for end, (here, there) in zip(ends, pairs, strict=True):
        poller.unregister(end)
        here.close()
        there.close()
