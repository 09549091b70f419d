"""Barriers, queues, counters and parties from plain threads: what they have there alone, and that the rest works."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from zkclient import LockLost, OperationTimeoutError, ZooKeeper

from zk.server.testing import ServerProcess


@pytest.fixture
def open_client(server: ServerProcess, corner: str) -> Iterator[Callable[[], ZooKeeper]]:
    """Makes clients that live in the test's corner, and closes them."""
    clients: list[ZooKeeper] = []

    def open_client() -> ZooKeeper:
        clients.append(ZooKeeper(f"{server.address}{corner}", session_timeout_ms=2_000))
        return clients[-1]

    open_client().ensure_path("/")
    yield open_client
    for client in clients:
        client.close()


@pytest.fixture
def zk(open_client: Callable[[], ZooKeeper]) -> ZooKeeper:
    return open_client()


def test_a_counter_is_used_like_a_number(zk: ZooKeeper) -> None:
    counter = zk.Counter("/counter")
    counter += 5
    counter -= 2
    assert (counter.value, counter.pre_value, counter.post_value, counter.add(1)) == (3, 5, 3, 4)


def test_a_queue_is_a_sized_iterable(zk: ZooKeeper) -> None:
    queue = zk.Queue("/queue")
    for value in ("a", "b", "c"):
        queue.put(value)
    items = iter(queue)
    assert (len(queue), next(items), next(items), queue.get(), queue.poll()) == (3, b"a", b"b", b"c", None)
    with pytest.raises(OperationTimeoutError, match="no item"):
        queue.get(timeout=0.5)
    urgent = zk.PriorityQueue("/urgent")
    urgent.put("later")
    urgent.put("now", 1)
    assert [urgent.get(), urgent.get()] == [b"now", b"later"]


def test_threads_share_a_queue(zk: ZooKeeper, open_client: Callable[[], ZooKeeper]) -> None:
    other = open_client()
    with ThreadPoolExecutor(4) as threads:
        found = [threads.submit(client.Queue("/queue").get, timeout=10) for client in (zk, other) * 2]
        for n in range(4):
            zk.Queue("/queue").put(str(n))
        assert sorted(future.result() for future in found) == [b"0", b"1", b"2", b"3"]


def test_the_block_of_a_task_acknowledges_or_gives_back(zk: ZooKeeper) -> None:
    queue = zk.WorkQueue("/work", deliveries_max=2)
    queue.put("a")
    with pytest.raises(ZeroDivisionError), queue.claim() as task:
        raise ZeroDivisionError
    assert (task.ended, len(queue), queue.claimed()) == (True, 1, 0)
    for task in queue:
        with task:
            assert (task.data, task.deliveries, queue.claimed()) == (b"a", 2, 1)
            with zk.transaction(guard=task.held) as txn:
                txn.create("/result")
        break
    assert (len(queue), queue.claimed()) == (0, 0)
    queue.put("b")
    for _ in range(2):
        queue.claim().nack()
    with pytest.raises(OperationTimeoutError):
        queue.claim(timeout=0.5)
    assert queue.dead_letters().get() == b"b"


def test_a_task_whose_claim_was_lost_says_so(zk: ZooKeeper, open_client: Callable[[], ZooKeeper]) -> None:
    queue = zk.WorkQueue("/work")
    queue.put("a")
    with pytest.raises(LockLost), queue.claim() as task:  # noqa: PT012 - leaving the block is what is tested
        open_client().delete(task.held.path)
        assert task.held.lost.wait(10)
    with pytest.raises(LockLost) as caught, queue.claim() as task:  # noqa: PT012 - leaving the block is what is tested
        open_client().delete(task.held.path)
        assert task.held.lost.wait(10)
        raise ZeroDivisionError
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(LockLost), queue.claim() as task:  # noqa: PT012 - leaving the block is what is tested
        open_client().delete(task.held.path)
        task.ack()
    assert (len(queue), queue.claimed()) == (1, 0)


def test_barriers_block_threads(zk: ZooKeeper, open_client: Callable[[], ZooKeeper]) -> None:
    barrier = zk.Barrier("/barrier")
    assert barrier.create() is True
    passed = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(open_client().Barrier("/barrier").wait).add_done_callback(lambda _: passed.set())
        with pytest.raises(OperationTimeoutError, match="not removed"):
            barrier.wait(timeout=0.5)
        assert not passed.is_set()
        assert barrier.remove() is True
        assert passed.wait(10)


def test_double_barriers_begin_and_end_together(zk: ZooKeeper, open_client: Callable[[], ZooKeeper]) -> None:
    clients = (zk, open_client(), open_client())
    barriers = [client.DoubleBarrier("/double", 3, str(n)) for n, client in enumerate(clients)]
    with ThreadPoolExecutor(3) as threads:
        memberships = list(threads.map(lambda barrier: barrier.enter(timeout=10), barriers))
        assert len({membership.token for membership in memberships}) == 3
        for membership in memberships:
            membership.check()
        list(threads.map(lambda barrier: barrier.leave(timeout=10), barriers))
    assert zk.get_children("/double") == ()


def test_a_party_tells_its_members(zk: ZooKeeper, open_client: Callable[[], ZooKeeper]) -> None:
    party = zk.Party("/party", "one")
    membership = party.join()
    other = open_client()
    other.Party("/party", "two").join()
    assert party.members() == ("one", "two")
    other.close()
    assert party.members() == ("one",)
    assert party.join().token == membership.token
    assert [party.leave(), party.leave(), party.members()] == [True, False, ()]
