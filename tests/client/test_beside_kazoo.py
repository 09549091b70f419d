"""Locks and elections shared with programs that use kazoo: both stand in one queue, and wait for each other."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from kazoo.client import KazooClient
from zkclient import ZooKeeper

from zk.server.testing import ServerProcess

TIMEOUT_S = 10.0


@pytest.fixture
def zk(server: ServerProcess) -> Iterator[ZooKeeper]:
    with ZooKeeper(str(server.address)) as client:
        yield client


@pytest.fixture
def kazoo(server: ServerProcess) -> Iterator[KazooClient]:
    client = KazooClient(str(server.address))
    client.start(TIMEOUT_S)
    yield client
    client.stop()
    client.close()


def test_a_lock_is_one_lock(zk: ZooKeeper, kazoo: KazooClient, corner: str) -> None:
    ours, theirs = zk.Lock(corner, identifier="ours"), kazoo.Lock(corner, "theirs")
    assert theirs.acquire(timeout=TIMEOUT_S)
    assert ours.try_acquire() is None
    with ThreadPoolExecutor() as threads:
        waiting = threads.submit(ours.acquire, timeout=TIMEOUT_S)
        while len(ours.contenders()) < 2:
            assert not waiting.done()
        assert ours.contenders() == ("theirs", "ours")
        theirs.release()
        held = waiting.result()
        assert not theirs.acquire(blocking=False)
        granted = threads.submit(theirs.acquire, timeout=TIMEOUT_S)
        while len(theirs.contenders()) < 2:
            assert not granted.done()
        assert theirs.contenders() == ["ours", "theirs"]
        held.check()
        ours.release()
        assert granted.result()
    theirs.release()


def test_readers_and_writers_are_of_one_lock(zk: ZooKeeper, kazoo: KazooClient, corner: str) -> None:
    reader, writer = zk.ReadWriteLock(corner).read_lock(), zk.ReadWriteLock(corner).write_lock()
    with reader, kazoo.ReadLock(corner):
        assert writer.try_acquire() is None
        assert not kazoo.WriteLock(corner).acquire(blocking=False)
    with writer:
        assert not kazoo.ReadLock(corner).acquire(blocking=False)
        assert not kazoo.Lock(corner).acquire(blocking=False)
    with kazoo.WriteLock(corner):
        assert reader.try_acquire() is None
        assert writer.try_acquire() is None
        assert zk.Lock(corner).try_acquire() is None


def test_an_election_is_one_election(zk: ZooKeeper, kazoo: KazooClient, corner: str) -> None:
    ours, theirs = zk.Election(corner, "ours"), kazoo.Election(corner, "theirs")
    seen: list[object] = []
    theirs.run(lambda: seen.extend((ours.leader(), ours.try_acquire())))
    assert seen == ["theirs", None]
    with ours:
        assert theirs.contenders() == ["ours"]
