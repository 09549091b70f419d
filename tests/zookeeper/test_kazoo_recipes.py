"""kazoo's recipes, unmodified, over three servers whose leader is killed while they are in use.

A recipe is a generator: what it does before its `yield` is done while all servers live, what is behind it after the
leader was killed. All of them are in use at the same moment, so what waits, or is held, over the `yield` does so for as
long as all the others take: without a limit of its own, but pytest's.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

from kazoo.client import KazooClient
from kazoo.recipe.cache import TreeCache
from kazoo.recipe.watchers import PatientChildrenWatch

from zk.server.testing import start_ensemble

TIMEOUT_S = 30.0
T = TypeVar("T")

Use = Generator[None, None, None]
Clients = tuple[KazooClient, KazooClient, KazooClient]


@contextmanager
def kazoo(hosts: str) -> Iterator[KazooClient]:
    client = KazooClient(hosts, timeout=30.0, command_retry={"max_tries": -1, "max_delay": 0.2})
    client.start(TIMEOUT_S)
    try:
        yield client
    finally:
        client.stop()
        client.close()


def in_thread(call: Callable[[], T]) -> "Future[T]":
    """`call`, going on meanwhile."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def until(what: Callable[[], object], wanted: object) -> None:
    """Wait until `what` gives what is wanted: where the recipe has no event for it."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while (found := what()) != wanted:
        assert time.monotonic() < deadline_s, f"waited for {wanted!r}, found {found!r}"
        time.sleep(0.02)


# ---- the recipes


def lock(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    mine, its = a.Lock("/lock", "a"), b.Lock("/lock", "b")
    mine.acquire()
    waiting = in_thread(its.acquire)
    until(lambda: c.Lock("/lock").contenders(), ["a", "b"])
    yield
    until(lambda: c.retry(c.Lock("/lock").contenders), ["a", "b"])
    assert not waiting.done()
    mine.release()
    assert waiting.result(TIMEOUT_S)
    its.release()


def readers_and_writer(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    readers, writer = [a.ReadLock("/rw", "a"), b.ReadLock("/rw", "b")], c.WriteLock("/rw", "c")
    assert all(reader.acquire(timeout=TIMEOUT_S) for reader in readers)
    waiting = in_thread(writer.acquire)
    until(lambda: sorted(writer.contenders()), ["a", "b", "c"])
    yield
    readers[0].release()
    assert not waiting.done()
    readers[1].release()
    assert waiting.result(TIMEOUT_S)
    writer.release()


def semaphore(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    held = [client.Semaphore("/semaphore", str(n), max_leases=2) for n, client in enumerate((a, b))]
    assert all(each.acquire(timeout=TIMEOUT_S) for each in held)
    third = c.Semaphore("/semaphore", "2", max_leases=2)
    assert not third.acquire(blocking=False)
    yield
    waiting = in_thread(lambda: third.acquire(timeout=TIMEOUT_S))
    until(lambda: sorted(a.retry(held[0].lease_holders)), ["0", "1"])
    held[0].release()
    assert waiting.result(TIMEOUT_S)


def election(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    reigns, stop = [], [threading.Event(), threading.Event()]

    def reign(number: int) -> None:
        reigns.append(number)
        stop[number].wait()

    elections = [client.Election("/election", str(n)) for n, client in enumerate((a, b))]
    first = in_thread(lambda: elections[0].run(reign, 0))
    until(lambda: reigns, [0])
    second = in_thread(lambda: elections[1].run(reign, 1))
    until(lambda: c.Election("/election").contenders(), ["0", "1"])
    yield
    assert reigns == [0]
    stop[0].set()
    first.result(TIMEOUT_S)
    until(lambda: reigns, [0, 1])
    stop[1].set()
    second.result(TIMEOUT_S)


def party(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    for client, name in ((a, "a"), (b, "b")):
        client.Party("/party", name).join()
        client.ShallowParty("/shallow", name).join()
    yield
    until(lambda: sorted(c.Party("/party")), ["a", "b"])
    until(lambda: sorted(c.ShallowParty("/shallow")), ["a", "b"])


def barrier(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    """Who waits there when the connection breaks is not told any more: kazoo's barrier does not set its watch again."""
    a.Barrier("/barrier").create()
    b.sync("/barrier")  # each client has a server of its own, which may be behind another's
    assert not b.Barrier("/barrier").wait(0)
    yield
    waiting = [in_thread(partial(client.Barrier("/barrier").wait, TIMEOUT_S)) for client in (b, c)]
    assert a.retry(a.Barrier("/barrier").remove)
    assert [each.result(TIMEOUT_S) for each in waiting] == [True, True]


def double_barrier(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    """Nobody waits in it when the connection breaks: as `barrier`."""

    def pass_through() -> None:
        barriers = [client.DoubleBarrier("/double", 3, str(n)) for n, client in enumerate((a, b, c))]
        entered = [in_thread(each.enter) for each in barriers]
        for each in entered:
            each.result(TIMEOUT_S)
        left = [in_thread(each.leave) for each in barriers]
        for each in left:
            each.result(TIMEOUT_S)

    pass_through()
    yield
    pass_through()


def queues(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    plain, locking = a.Queue("/queue"), a.LockingQueue("/locking")
    for value in (b"1", b"2"):
        plain.put(value)
        locking.put(value)
    taken = locking.get(TIMEOUT_S)
    assert (plain.get(), taken) == (b"1", b"1")
    yield
    assert locking.holds_lock()
    assert locking.consume()
    assert b.retry(b.Queue("/queue").get) == b"2"
    other = c.LockingQueue("/locking")
    assert other.get(TIMEOUT_S) == b"2"
    assert other.consume()


def counter(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    counters = [client.Counter("/counter") for client in (a, b, c)]
    for each in counters:
        each += 1
    yield
    until(lambda: counters[0].value, 3)
    counters[1] -= 5
    until(lambda: counters[2].value, -2)


def lease(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    assert a.NonBlockingLease("/lease", timedelta(hours=1), identifier="a")
    yield
    assert not b.NonBlockingLease("/lease", timedelta(hours=1), identifier="b")
    assert a.NonBlockingLease("/lease", timedelta(hours=1), identifier="a")


def partitioner(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    parts = [
        client.SetPartitioner("/parts", set=range(4), identifier=str(n), time_boundary=0.5)
        for n, client in enumerate((a, b))
    ]

    def settled() -> list[int]:
        for part in parts:
            if part.release:
                part.release_set()
        return sorted(n for part in parts if part.acquired for n in part)

    until(settled, [0, 1, 2, 3])
    yield
    until(settled, [0, 1, 2, 3])
    parts.pop().finish()
    until(settled, [0, 1, 2, 3])


def watchers(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    data: list[bytes | None] = []
    children: list[list[str]] = []
    a.ensure_path("/watched")
    for other in (b, c):
        other.sync("/watched")  # its server may be behind, and kazoo's ChildrenWatch ends where there is no node yet
    a.DataWatch("/watched", lambda value, stat: data.append(value))
    b.ChildrenWatch("/watched", lambda names: children.append(sorted(names)))
    c.set("/watched", b"1")
    c.create("/watched/one")
    patient = PatientChildrenWatch(c, "/watched", time_boundary=0.5).start()  # no longer than any write may take
    until(lambda: data[-1:] + children[-1:], [b"1", ["one"]])
    yield
    assert patient.get(True, TIMEOUT_S)[0] == ["one"]
    c.retry(c.set, "/watched", b"2")
    c.retry(c.create, "/watched/two")
    until(lambda: data[-1:] + children[-1:], [b"2", ["one", "two"]])


def tree_cache(a: KazooClient, b: KazooClient, c: KazooClient) -> Use:
    a.create("/tree/x/y", b"1", makepath=True)
    cache = TreeCache(b, "/tree")
    cache.start()
    until(lambda: cache.get_data("/tree/x/y") and cache.get_data("/tree/x/y").data, b"1")
    yield
    a.retry(a.set, "/tree/x/y", b"2")
    a.retry(a.create, "/tree/z", b"3")
    until(lambda: cache.get_data("/tree/x/y").data, b"2")
    until(lambda: cache.get_children("/tree"), frozenset({"x", "z"}))
    cache.close()


RECIPES = (
    lock,
    readers_and_writer,
    semaphore,
    election,
    party,
    barrier,
    double_barrier,
    queues,
    counter,
    lease,
    partitioner,
    watchers,
    tree_cache,
)


def test_all_recipes_go_on_when_the_leader_is_killed(tmp_path: Path) -> None:
    with start_ensemble(tmp_path) as ensemble, ExitStack() as stack:
        clients = [stack.enter_context(kazoo(ensemble.hosts)) for _ in range(3)]
        sessions = [client.client_id for client in clients]
        in_use = [(recipe.__name__, recipe(*clients)) for recipe in RECIPES]
        for _, use in in_use:
            next(use)
        leader = ensemble.leader()
        leader.kill()
        for name, use in in_use:
            assert next(use, None) is None, name
        assert [client.client_id for client in clients] == sessions
        leader.start()
        ensemble.wait_until_agreed()
