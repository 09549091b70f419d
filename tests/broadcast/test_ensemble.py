"""Whole ensembles in one process: a perfect network, disks that need a millisecond. Faults are the simulator's work."""

from collections.abc import Callable, Iterable
from random import Random
from typing import assert_never

import pytest

from zk.broadcast.engine import (
    Append,
    Deliver,
    Disconnect,
    Durable,
    Effect,
    Event,
    Halt,
    Install,
    PeerConnected,
    PeerDisconnected,
    PeerReceived,
    Propose,
    ReadIndex,
    ReadReady,
    Rejected,
    Resign,
    Role,
    RoleChanged,
    Send,
    SnapshotStored,
    SnapshotTaken,
    StoreSnapshot,
    TakeSnapshot,
    Tick,
    Token,
)
from zk.broadcast.records import Entry, Promise, Record, Recovered, SnapshotRef
from zk.broadcast.zab import Zab, ZabConfig
from zk.broadcast.zab.config import DELIVERED_PER_STEP_MAX
from zk.model.record import ConnectionId, Epoch, ServerId, Zxid
from zk.model.zxids import make_zxid

NETWORK_MS = 1
DISK_MS = 1
TICK_MS = 10

Adjust = Callable[[ZabConfig], ZabConfig]


class Server:
    """One engine with its disk and its state, which is the list of delivered payloads."""

    def __init__(self, server_id: ServerId) -> None:
        self.id = server_id
        self.disk_uuid = f"disk {server_id}"
        self.records: list[Record] = []  # a crash keeps all: what else it may do is the simulator's matter
        self.recovered_records = 0  # how many of them were there when this incarnation began
        self.files: dict[str, tuple[bytes, ...]] = {}
        self.state: list[bytes] = []
        self.engine: Zab | None = None
        self.incarnation = 0
        self.log: list[Effect] = []

    def wipe(self) -> None:
        self.disk_uuid = f"new {self.disk_uuid}"
        self.records.clear()
        self.files.clear()

    def recovered(self) -> Recovered:
        """What the log says, from its newest snapshot on."""
        self.recovered_records = len(self.records)
        snapshot, start = None, 0
        for index, record in enumerate(self.records):
            if isinstance(record, SnapshotRef):
                snapshot, start = record, index + 1 if record.installed else start
        epochs = [record.epoch for record in self.records if isinstance(record, Promise)]
        return Recovered(self.disk_uuid, max(epochs, default=Epoch(0)), snapshot, tuple(self.records[start:]), False)


def image(state: list[bytes]) -> tuple[bytes, ...]:
    """A snapshot, in three chunks."""
    whole = b" ".join(state)
    return whole[:5], whole[5:10], whole[10:]


class Cluster:
    """Servers 1 to `size`, in virtual time."""

    def __init__(self, size: int, adjust: Adjust = lambda config: config, absent: Iterable[int] = ()) -> None:
        self.now_ms = 0
        self.random = Random(size)
        self.voters = frozenset(ServerId(n) for n in range(1, size + 1))
        self.adjust = adjust
        self.servers = {server: Server(server) for server in self.voters}
        self.connections: dict[tuple[ServerId, ServerId], ConnectionId] = {}
        self.queue: list[tuple[int, int, ServerId, int, Event]] = []
        self.serial = 0
        self.answered: list[Token] = []
        self.unknown: list[Token] = []
        self.refused: list[Token] = []
        self.reads: dict[Token, Zxid] = {}
        for server in self.voters:
            if server not in absent:
                self.start(server)

    # ---- servers and connections

    def start(self, server_id: int) -> None:
        server = self.servers[ServerId(server_id)]
        recovered = server.recovered()
        server.state = []
        if recovered.snapshot is not None:
            server.state = b"".join(server.files[recovered.snapshot.file]).split()
        config = ZabConfig(server.id, self.voters, "test", history_entries_max=100)
        server.incarnation += 1
        server.engine = Zab(self.adjust(config), recovered, Random(self.random.random()), self.now_ms)
        self.later(0, server, Tick())
        for other in self.servers.values():
            if other is not server and other.engine is not None:
                self.serial += 1
                connection = ConnectionId(self.serial)
                for one, peer in ((server, other), (other, server)):
                    self.connections[one.id, peer.id] = connection
                    self.later(NETWORK_MS, one, PeerConnected(peer.id, connection, peer.disk_uuid))

    def kill(self, server_id: int) -> None:
        server = self.servers[ServerId(server_id)]
        server.engine = None
        for other in self.servers.values():
            connection = self.connections.pop((server.id, other.id), None)
            if connection is not None:
                del self.connections[other.id, server.id]
                self.later(NETWORK_MS, other, PeerDisconnected(server.id, connection))

    # ---- time

    def later(self, delay_ms: int, server: Server, event: Event) -> None:
        self.serial += 1
        self.queue.append((self.now_ms + delay_ms, self.serial, server.id, server.incarnation, event))

    def run(self, duration_ms: int) -> None:
        """Let time pass."""
        end_ms = self.now_ms + duration_ms
        while self.now_ms < end_ms:
            self.now_ms += 1
            while due := sorted((item for item in self.queue if item[0] <= self.now_ms), key=lambda item: item[:2]):
                for item in due:
                    self.queue.remove(item)
                    _, _, server_id, incarnation, event = item
                    if self.servers[server_id].incarnation == incarnation:
                        self.step(server_id, event)
            if self.now_ms % TICK_MS == 0:
                for server in self.servers.values():
                    self.step(server.id, Tick())

    def step(self, server_id: int, event: Event) -> None:
        server = self.servers[ServerId(server_id)]
        if server.engine is not None:
            for effect in server.engine.step(self.now_ms, event):
                self.perform(server, effect)
            assert server.engine.delivered <= server.engine.commit <= server.engine.last

    def perform(self, server: Server, effect: Effect) -> None:
        server.log.append(effect)
        match effect:
            case Send(peer, connection, message):
                if self.connections.get((server.id, peer)) == connection:
                    event = PeerReceived(server.id, connection, message)
                    self.later(NETWORK_MS, self.servers[peer], event)
            case Append(records):
                server.records += records
                self.later(DISK_MS, server, Durable(len(server.records) - server.recovered_records))
            case StoreSnapshot(ref, chunks):
                server.files[ref.file] = chunks
            case Install(ref, chunks):
                server.state = b"".join(chunks).split()
            case TakeSnapshot(peer, stream):
                engine = server.engine
                assert engine is not None
                taken = SnapshotTaken(peer, stream, engine.delivered, "digest", image(server.state))
                self.later(5, server, taken)
            case Deliver(entries, tokens):
                server.state += [entry.payload for entry in entries]
                self.answered += tokens
            case ReadReady(token, zxid):
                self.reads[token] = zxid
            case Rejected(tokens, maybe_applied):
                (self.unknown if maybe_applied else self.refused).extend(tokens)
            case Disconnect(peer, connection):
                if self.connections.get((server.id, peer)) == connection:
                    for one, other in ((server.id, peer), (peer, server.id)):
                        del self.connections[one, other]
                        self.later(NETWORK_MS, self.servers[one], PeerDisconnected(other, connection))
            case RoleChanged():
                pass
            case Halt(reason):
                pytest.fail(reason)
            case _:
                assert_never(effect)

    # ---- what tests ask and do

    def engine(self, server_id: int) -> Zab:
        engine = self.servers[ServerId(server_id)].engine
        assert engine is not None
        return engine

    def roles(self) -> list[Role | None]:
        return [server.engine.role if server.engine else None for _, server in sorted(self.servers.items())]

    @property
    def leader(self) -> ServerId:
        (leader,) = [s.id for s in self.servers.values() if s.engine and s.engine.role is Role.LEADING]
        return leader

    def until_leader(self, limit_ms: int = 5_000) -> int:
        """Run until somebody leads; how long it took."""
        start_ms = self.now_ms
        while Role.LEADING not in self.roles():
            assert self.now_ms - start_ms < limit_ms, self.roles()
            self.run(1)
        return self.now_ms - start_ms

    def propose(self, *payloads: bytes) -> None:
        self.step(self.leader, Propose(list(payloads), payloads))

    def states(self) -> list[list[bytes]]:
        return [server.state for server in self.servers.values() if server.engine]

    def log_of(self, server_id: int) -> list[Effect]:
        return self.servers[ServerId(server_id)].log


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7])
def test_an_ensemble_elects_one_leader_and_replicates(size: int) -> None:
    cluster = Cluster(size)
    cluster.until_leader()
    cluster.propose(b"a", b"b")
    cluster.propose(b"c")
    cluster.run(200)
    assert cluster.states() == [[b"a", b"b", b"c"]] * size
    assert cluster.answered == [b"a", b"b", b"c"]
    assert sorted(role.value for role in cluster.roles() if role) == ["follower"] * (size - 1) + ["leader"]


def test_a_single_voter_leads_at_once() -> None:
    cluster = Cluster(1)
    assert cluster.until_leader() < 10


def test_three_fresh_servers_that_are_connected_elect_soon() -> None:
    assert Cluster(3).until_leader() < 300


def test_fresh_servers_found_no_ensemble_without_all_of_them() -> None:
    cluster = Cluster(3, absent=[3])
    cluster.run(5_000)
    assert cluster.roles() == [Role.LOOKING, Role.LOOKING, None]
    cluster.start(3)
    assert cluster.until_leader() < 400


def test_a_wiped_majority_founds_nothing_while_the_one_with_the_history_is_away() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    cluster.propose(b"a")
    cluster.run(200)
    for server in (1, 2, 3):
        cluster.kill(server)
    for server in (1, 2):
        cluster.servers[ServerId(server)].wipe()
        cluster.start(server)
    cluster.run(5_000)
    assert cluster.roles() == [Role.LOOKING, Role.LOOKING, None]
    cluster.start(3)
    cluster.run(5_000)
    assert Role.LEADING not in cluster.roles()  # the disks that it knows are no quorum any more
    assert [r.payload for r in cluster.servers[ServerId(3)].records if isinstance(r, Entry)][-1] == b"a"


@pytest.mark.parametrize("seed", range(20))
def test_a_killed_leader_is_replaced_well_within_half_a_second(seed: int) -> None:
    cluster = Cluster(3)
    cluster.random.seed(seed)
    cluster.until_leader()
    cluster.run(100 + seed * 7)
    cluster.kill(cluster.leader)
    assert cluster.until_leader() < 200


def test_a_restarted_follower_comes_back_by_diff() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    follower = cluster.leader % 3 + 1
    cluster.propose(b"a")
    cluster.run(100)
    cluster.kill(follower)
    for n in range(50):
        cluster.propose(b"%d" % n)
    cluster.run(100)
    cluster.start(follower)
    cluster.run(1_000)
    assert cluster.states() == [[b"a", *(b"%d" % n for n in range(50))]] * 3
    assert not any(isinstance(effect, Install) for effect in cluster.log_of(follower))


def test_a_follower_that_is_too_far_behind_gets_a_snapshot() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    follower = cluster.leader % 3 + 1
    cluster.kill(follower)
    for n in range(3_000):
        cluster.propose(b"%d" % n)
        if n % 100 == 0:
            cluster.run(10)
    cluster.run(100)
    cluster.start(follower)
    cluster.run(1_000)
    assert cluster.states() == [[b"%d" % n for n in range(3_000)]] * 3
    assert sum(isinstance(effect, Install) for effect in cluster.log_of(follower)) == 1


def test_all_restart_and_remember() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    cluster.propose(b"a", b"b")
    cluster.run(100)
    for server in cluster.voters:
        cluster.kill(server)
    for server in cluster.voters:
        cluster.start(server)
    cluster.until_leader()
    cluster.run(200)
    assert cluster.states() == [[b"a", b"b"]] * 3


def test_a_wiped_server_is_taken_in_again_and_then_counts() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    cluster.propose(b"a")
    cluster.run(100)
    wiped = cluster.leader % 3 + 1
    cluster.kill(wiped)
    cluster.servers[ServerId(wiped)].wipe()
    cluster.start(wiped)
    cluster.run(1_000)
    roles = [effect.role for effect in cluster.log_of(wiped) if isinstance(effect, RoleChanged)]
    assert roles[-2:] == [Role.LEARNING, Role.FOLLOWING]
    membership = cluster.engine(wiped).membership
    assert membership is not None
    assert membership.disk(ServerId(wiped)) == cluster.servers[ServerId(wiped)].disk_uuid

    cluster.kill(next(s for s in cluster.voters if s not in (wiped, cluster.leader)))
    cluster.propose(b"b")  # needs the acknowledgement of the one that was wiped
    cluster.run(100)
    assert cluster.states() == [[b"a", b"b"]] * 2


def test_wiped_servers_never_form_a_quorum() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    cluster.propose(b"a")
    cluster.run(100)
    leader = cluster.leader
    for server in cluster.voters:
        cluster.kill(server)
        if server != leader:
            cluster.servers[server].wipe()
    for server in cluster.voters:
        cluster.start(server)
    cluster.run(5_000)
    assert Role.LEADING not in cluster.roles()


def test_a_server_of_another_founding_is_refused_until_its_directory_is_emptied() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    cluster.propose(b"old a", b"old b")
    cluster.run(100)
    third = cluster.servers[ServerId(3)]
    old_uuid, old_records = third.disk_uuid, list(third.records)
    for server in cluster.voters:
        cluster.kill(server)
        cluster.servers[server].wipe()
    for server in cluster.voters:
        cluster.start(server)
    cluster.until_leader()
    cluster.propose(b"a")
    cluster.run(100)

    cluster.kill(3)
    third.disk_uuid, third.records = old_uuid, list(old_records)
    cluster.start(3)
    cluster.until_leader()
    cluster.run(2_000)
    assert third.records == old_records
    assert cluster.roles().count(Role.LEADING) == 1
    assert cluster.engine(3).role is Role.LOOKING
    cluster.propose(b"b")
    cluster.run(100)
    reasons = [effect.reason for s in cluster.servers.values() for effect in s.log if isinstance(effect, Disconnect)]
    assert reasons != []
    assert all("another founding of the ensemble 'test'" in reason for reason in reasons)

    cluster.kill(3)
    third.wipe()
    cluster.start(3)
    cluster.run(1_000)
    assert cluster.states() == [[b"a", b"b"]] * 3


def test_a_resigning_leader_hands_over_without_losing_anything() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    cluster.run(100)
    old = cluster.leader
    cluster.propose(b"a")
    cluster.step(old, Resign())
    cluster.run(200)
    assert cluster.leader != old
    assert (cluster.answered, cluster.unknown) == ([b"a"], [])
    assert cluster.states() == [[b"a"]] * 3


@pytest.mark.parametrize("size", [1, 3])
def test_a_linearizable_read_is_confirmed(size: int) -> None:
    cluster = Cluster(size)
    cluster.until_leader()
    cluster.propose(b"a")
    cluster.run(50)
    cluster.step(cluster.leader, ReadIndex("read"))
    cluster.run(5)
    assert cluster.reads == {"read": cluster.engine(cluster.leader).delivered}


@pytest.mark.parametrize("size", [1, 3])
def test_the_counter_rolls_over_into_a_new_epoch(size: int) -> None:
    def near_the_end(config: ZabConfig) -> ZabConfig:
        return ZabConfig(config.server_id, config.voters, "test", initial_counter=0xF000_0000 - 2)

    cluster = Cluster(size, near_the_end)
    cluster.until_leader()
    epoch = cluster.engine(cluster.leader).epoch
    cluster.propose(b"a", b"b", b"c")
    cluster.run(300)
    assert cluster.engine(cluster.leader).epoch == epoch + 1
    assert (cluster.answered, cluster.unknown) == ([b"a", b"b", b"c"], [])
    assert cluster.engine(cluster.leader).last == make_zxid(epoch + 1, 0)


def test_own_snapshots_carry_the_shape_of_the_history() -> None:
    cluster = Cluster(1)
    cluster.until_leader()
    cluster.propose(b"a")
    cluster.run(10)
    zxid = cluster.engine(1).delivered
    server = cluster.servers[ServerId(1)]
    server.files["mine"] = image(server.state)
    cluster.step(1, SnapshotStored(SnapshotRef(zxid, "mine", "digest", (), b"", installed=False)))
    membership = cluster.engine(1).membership
    assert membership is not None
    assert server.records[-1] == SnapshotRef(
        zxid, "mine", "digest", ((Epoch(0), Zxid(0)), (Epoch(1), zxid)), membership.encode(), installed=False
    )
    cluster.kill(1)
    cluster.start(1)
    cluster.until_leader()
    cluster.propose(b"b")
    cluster.run(10)
    assert server.state == [b"a", b"b"]
    assert [r for r in server.records if isinstance(r, Entry)][-2].zxid == make_zxid(2, 0)


def test_a_long_history_is_handed_up_in_parts_with_heartbeats_in_between() -> None:
    cluster = Cluster(3)
    cluster.until_leader()
    for n in range(10):
        cluster.propose(*(b"%d" % (n * 2_000 + m) for m in range(2_000)))
        cluster.run(10)
    for server in cluster.voters:
        cluster.kill(server)
        cluster.servers[server].log.clear()
    for server in cluster.voters:
        cluster.start(server)
    cluster.until_leader()
    assert cluster.engine(cluster.leader).delivered >= make_zxid(cluster.engine(cluster.leader).epoch, 0)
    cluster.run(300)
    assert cluster.states() == [[b"%d" % n for n in range(20_000)]] * 3
    for server in cluster.voters:
        parts = [len(effect.entries) for effect in cluster.log_of(server) if isinstance(effect, Deliver)]
        assert sum(parts) == 20_000
        assert max(parts) == DELIVERED_PER_STEP_MAX


@pytest.mark.parametrize("size", [3, 5])
def test_rolling_restart_under_load_loses_nothing_that_was_answered(size: int) -> None:
    cluster = Cluster(size)
    cluster.until_leader()
    number = 0
    for server in sorted(cluster.voters):
        for _ in range(30):
            if Role.LEADING in cluster.roles():
                cluster.propose(b"%d" % number)
                number += 1
            cluster.run(3)
        cluster.kill(server)
        cluster.until_leader()
        cluster.run(100)
        cluster.start(server)
        cluster.run(500)
    state, *others = cluster.states()
    assert others == [state] * (size - 1)
    assert set(cluster.answered) <= set(state)
    assert not set(cluster.refused) & set(state)
    assert len(state) == len(set(state))
