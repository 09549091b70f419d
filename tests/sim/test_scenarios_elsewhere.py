"""Other systems' bugs, each a scenario of ours: what must hold, and where it once did not.

Not here, since they stand elsewhere: the durable index behind a truncation (ClickHouse Keeper 102629,
tests/broadcast/test_durability.py); what to send by the last zxid alone (ZOOKEEPER-2846, 3526, 4352), stale reads
behind a pause (etcd 20418) and deadlocks of pre-vote (etcd 8243, 8501, 9586: test_scenarios_broadcast.py).
"""

import errno
from collections.abc import Callable
from dataclasses import replace

import pytest

from zk.broadcast.engine import Role
from zk.broadcast.messages import Commit, PingPeer, Proposal, SyncLog, SyncSnapshot
from zk.broadcast.zab.config import COUNTER_ROLLOVER
from zk.model.errors import NodeExistsError, NoNodeError
from zk.model.record import ServerId
from zk.model.requests import CloseSession, Create, CreateMode, SetData
from zk.replica.config import ReplicaConfig
from zk.sim.scenario import Scenario

ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)


def short_memory(config: ReplicaConfig) -> ReplicaConfig:
    """Whoever misses anything needs a snapshot; each server often takes one of its own, too."""
    zab = replace(config.zab, history_entries_max=0, history_bytes_max=0)
    return replace(config, zab=zab, snapshot_every_txns=20)


def write_many(s: Scenario, at: ServerId, prefix: str, count: int) -> None:
    """So many nodes, in one go."""
    client = s.client(at=at)
    calls = [client.ask(Create(f"/{prefix}{number}", b"")) for number in range(count)]
    s.run_until(lambda: all(call.answered for call in calls))


def only_the_leader_has(s: Scenario, change: Callable[[], object]) -> None:
    """Have `change` proposed, which only server 3, the leader, comes to have on its disk."""
    s.block(THREE, ONE, first=Proposal)
    s.block(THREE, TWO, first=Proposal)
    before = s.durable(THREE)
    change()
    s.run_until(lambda: s.durable(THREE) > before)
    s.isolate(THREE)


# ---- what was never committed, and what was


@pytest.mark.parametrize("restarts", [False, True])
def test_an_uncommitted_write_of_the_old_leader_is_in_no_tree(restarts: bool) -> None:
    """ZOOKEEPER-1549, 2845: it survived in memory, or in the snapshot taken at start."""
    with Scenario(tune=short_memory) as s:
        lost, client = s.client(at=THREE), s.client(at=ONE)
        write_many(s, TWO, "before", 50)
        only_the_leader_has(s, lambda: lost.ask(Create("/lost", b"")))
        lost.fall_silent()
        s.run_until_leader(other_than=THREE)
        client.create("/a")
        if restarts:
            s.kill(THREE)
            s.open_all()
            s.start(THREE)
        s.open_all()
        s.run_until_in_step()
        s.run_ms(100)
        assert "/lost" not in s.replica(THREE).tree.znodes


def test_a_follower_keeps_what_it_acknowledged_though_it_never_heard_of_its_commit() -> None:
    """Kafka KIP-101: logs were truncated to the high watermark that the follower knew."""
    with Scenario() as s:
        client = s.client(at=THREE)
        s.block(THREE, TWO)
        s.block(THREE, ONE, first=Proposal)
        call = client.ask(Create("/a", b"1"))
        s.run_until(lambda: s.stalled(THREE, ONE))
        s.open(THREE, ONE)
        s.block(THREE, ONE, first=Commit)
        s.block(THREE, ONE, first=PingPeer)
        s.run_until(lambda: call.answered)
        assert "/a" not in s.replica(ONE).tree.znodes
        s.power_cut(ONE, THREE)
        s.open_all()
        s.start(ONE)
        assert s.run_until_leader() == ONE
        assert "/a" in s.replica(ONE).tree.znodes


@pytest.mark.parametrize("servers", [1, 3])
def test_nothing_is_answered_before_it_is_durable(servers: int) -> None:
    """etcd 14370: a cluster of one answered before its fsync."""
    with Scenario(servers) as s:
        client = s.client()
        for server in s.servers:
            s.stick_disk(server)
        call = client.ask(Create("/a", b"1"))
        s.run_ms(200)
        assert not call.answered
        s.power_cut(*s.servers)
        for server in s.servers:
            s.free_disk(server)
        s.start(*s.servers)
        assert client.get("/a").data == b"1"  # it was sent again


def test_what_has_no_snapshot_is_still_all_there_when_everyone_restarts() -> None:
    """ZOOKEEPER-2325, 3056: a log without a snapshot passed for an empty one."""
    with Scenario() as s:
        client = s.client()
        client.create("/a", b"1")
        assert not any(name.startswith("snapshot") for server in s.servers for name in s.files(server))
        s.kill(*s.servers)
        s.start(*s.servers)
        assert client.get("/a").data == b"1"


def test_a_write_answered_before_the_counter_ran_out_is_there_behind_it() -> None:
    """ZOOKEEPER-1277: the counter ran over into the epoch."""

    def near_the_end(config: ReplicaConfig) -> ReplicaConfig:
        return replace(config, zab=replace(config.zab, initial_counter=COUNTER_ROLLOVER - 10))

    with Scenario(tune=near_the_end) as s:
        write_many(s, ONE, "a", 30)
        s.run_until(lambda: s.role(THREE) is Role.LEADING and s.replica(THREE).engine.epoch == 2)
        write_many(s, TWO, "b", 5)
        assert all({"/a29", "/b4"} <= s.replica(server).tree.znodes.keys() for server in (TWO, THREE))


# ---- synchronisation, interrupted


@pytest.mark.parametrize("after_ms", range(12))
@pytest.mark.parametrize("first", [SyncLog, SyncSnapshot])
def test_a_synchronisation_may_be_cut_short_at_any_moment(
    first: type[SyncLog] | type[SyncSnapshot], after_ms: int
) -> None:
    """ZOOKEEPER-2872, 3642, 5094 (interrupted SNAP and TRUNC), 3023, 3104, 4394, 4685 (the order of history, marker
    and acknowledgement)."""
    with Scenario(tune=short_memory if first is SyncSnapshot else lambda config: config) as s:
        lost = s.client(at=THREE)
        write_many(s, TWO, "before", 50)
        only_the_leader_has(s, lambda: lost.ask(Create("/lost", b"")))
        new = s.run_until_leader(other_than=THREE)
        write_many(s, ONE, "after", 50)
        s.run_ms(100)
        s.power_cut(THREE)
        s.open_all()
        s.block(new, THREE, first=first)
        s.start(THREE)
        s.run_until(lambda: s.stalled(new, THREE))
        s.open(new, THREE)
        s.run_ms(after_ms)
        s.power_cut(THREE)
        s.start(THREE)
        s.run_until_in_step()
        s.power_cut(new)  # what it has by now, it has to keep
        s.run_until_leader()


@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_disk_error_that_passes_leaves_no_hole_in_the_log(operation: str) -> None:
    """ZOOKEEPER-4882, 4925: the server went on behind what it could not write."""
    with Scenario() as s:
        write_many(s, TWO, "a", 10)
        s.fail_disk(ONE, "write" if operation == "write" else "sync", errno.EIO)
        write_many(s, TWO, "b", 10)
        s.run_ms(100)
        assert s.role(ONE) is None
        s.start(ONE)
        s.run_until_in_step()
        s.kill(TWO)
        write_many(s, ONE, "c", 10)


# ---- sessions


def test_an_ephemeral_dies_with_its_session_though_the_leader_dies_with_the_close() -> None:
    """ZOOKEEPER-1367, 2355, 2926, 3144, 3145, 4837: ephemerals that outlived their sessions."""
    with Scenario() as s:
        owner, watcher = s.client(at=THREE), s.client(at=ONE)
        owner.create("/mine", mode=CreateMode.EPHEMERAL)
        only_the_leader_has(s, lambda: owner.ask(CloseSession()))  # it is lost, and asked again
        s.kill(THREE)
        s.run_until_leader()
        s.run_until(lambda: owner.closed)
        watcher.sync()
        with pytest.raises(NoNodeError):
            watcher.get("/mine")
        s.open_all()
        s.start(THREE)


def test_a_session_with_very_many_ephemerals_can_be_closed_and_read_again() -> None:
    """ZOOKEEPER-4306: the transaction that closed it was too large to be read back."""
    with Scenario() as s:
        owner = s.client(at=ONE)
        for start in range(0, 3_000, 500):
            owner.multi(*(Create(f"/{number}", b"", mode=CreateMode.EPHEMERAL) for number in range(start, start + 500)))
        owner.close()
        s.kill(*s.servers)
        s.start(*s.servers)
        s.run_until_in_step()
        assert len(s.replica(ONE).tree.znodes) < 10


def test_a_leader_stuck_in_its_fsync_ends_no_session() -> None:
    """etcd 15247: when it came back to life, deposed, it still revoked leases."""
    with Scenario() as s:
        client = s.client(at=ONE)
        client.create("/mine", mode=CreateMode.EPHEMERAL)
        s.stick_disk(THREE)
        write = client.ask(SetData("/mine", b"2"))
        s.run_until_leader(other_than=THREE)
        s.run_ms(5_000)
        s.free_disk(THREE)
        s.run_ms(5_000)
        assert (write.answered, client.expired, client.get("/mine").data) == (True, False, b"2")


def test_a_session_that_was_silent_from_its_first_moment_expires_in_its_time() -> None:
    """ClickHouse Keeper 116690: nothing had ever been heard of it, so it was for ever."""
    with Scenario() as s:
        client, watcher = s.client(at=ONE), s.client(at=TWO)
        client.fall_silent()
        s.kill(THREE)
        s.run_until_leader()
        sessions = s.replica(TWO).tree.sessions
        s.run_ms(1_500)
        assert client.session in sessions
        s.run_ms(1_500)
        assert client.session not in sessions
        assert not watcher.expired


def test_a_refused_multi_fires_no_watch() -> None:
    """ClickHouse Keeper 79247."""
    with Scenario() as s:
        watcher, writer = s.client(at=ONE), s.client(at=TWO)
        writer.create("/a", b"1")
        watcher.sync()
        watcher.get("/a", watch=True)
        assert writer.multi(SetData("/a", b"2"), Create("/a", b"")).failed
        with pytest.raises(NodeExistsError):
            writer.create("/a")
        watcher.sync()
        assert (watcher.events, watcher.get("/a").data) == ([], b"1")
