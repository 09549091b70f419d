"""A tree is brought to an ensemble while its servers come and go."""

from dataclasses import replace

import pytest

from zk.broadcast.messages import NewEpoch
from zk.model.acl import OPEN_ACL
from zk.model.errors import APIError, NoNodeError
from zk.model.events import EventType
from zk.model.record import SessionId, Zxid
from zk.model.requests import (
    BeginRestore,
    ClientRequest,
    CreateMode,
    FinishRestore,
    GetChildren,
    Restore,
    SetWatches,
)
from zk.model.znode import Znode
from zk.model.zxids import epoch_of, make_zxid
from zk.sim.scenario import Scenario
from zk.sim.scenario_client import ScenarioClient

SOURCE = make_zxid(500, 77)  # far above what an ensemble begins with
NODE = Znode(b"v", OPEN_ACL, SOURCE, SOURCE, SOURCE, 1_000, 2_000, 3, 0, 2, SessionId(0), 0, CreateMode.PERSISTENT, 0)
TREE = {
    "/": replace(NODE, data=b"", num_children=2, created=9, czxid=Zxid(0)),
    "/zookeeper": replace(NODE, data=b"", num_children=0, czxid=Zxid(0)),
    "/app": replace(NODE, num_children=20, created=40),
    **{f"/app/{number:02}": NODE for number in range(20)},
}


def result(s: Scenario, client: ScenarioClient, request: ClientRequest) -> object:
    asked = client.ask(request)
    s.run_until(lambda: asked.answered)
    return asked.result


def begin(s: Scenario, client: ScenarioClient) -> None:
    result(s, client, BeginRestore(SOURCE))
    nodes = tuple(TREE.items())
    result(s, client, Restore(nodes[:10]))
    result(s, client, Restore(nodes[10:]))


def finish(s: Scenario, client: ScenarioClient) -> None:
    s.run_until(lambda: s.replica(client.server).clients.applied > SOURCE)
    result(s, client, FinishRestore(len(TREE)))


@pytest.mark.parametrize("servers", [1, 3])
def test_the_epoch_goes_above_the_source_s_and_all_is_seen_at_once(servers: int) -> None:
    with Scenario(servers) as s:
        client, other = s.client(), s.client(at=s.servers[-1])
        other.sync()
        result(s, other, GetChildren("/", watch=True))
        begin(s, client)
        with pytest.raises(NoNodeError):
            other.get("/app", linearizable=True)
        finish(s, client)
        assert other.get("/app/07", linearizable=True) == NODE
        assert [(event.type, event.path) for event in other.events] == [(EventType.CHILDREN_CHANGED, "/")]
        assert client.create("/next-", mode=CreateMode.PERSISTENT_SEQUENTIAL).path == "/next-0000000009"
        assert epoch_of(s.replica(s.leader()).engine.last) > epoch_of(SOURCE)


def test_leaders_that_die_meanwhile_change_nothing() -> None:
    with Scenario(3) as s:
        client = s.client(at=s.followers()[0])
        leader = s.leader()
        for follower in s.followers():
            s.block(leader, follower, first=NewEpoch)  # it promises the higher epoch to itself, and dies
        begin_asked = client.ask(BeginRestore(SOURCE))
        s.run_until(lambda: begin_asked.answered)
        s.run_until(lambda: s.replica(leader).engine.epoch > epoch_of(SOURCE))
        s.power_cut(leader)
        s.open_all()
        s.run_until_leader(other_than=leader)
        nodes = tuple(TREE.items())
        result(s, client, Restore(nodes[:10]))
        s.start(leader)
        s.run_until_in_step()
        second = s.leader()
        s.kill(second)
        s.run_until_leader(other_than=second)
        result(s, client, Restore(nodes[10:]))
        s.start(second)
        finish(s, client)
        assert client.get("/app/19", linearizable=True) == NODE


def test_a_server_that_was_away_takes_it_from_a_snapshot_half_way_and_from_the_log() -> None:
    def small(config: object) -> object:
        return replace(config, snapshot_every_txns=3)  # type: ignore[type-var]  # a ReplicaConfig

    with Scenario(3, tune=small) as s:  # type: ignore[arg-type]  # as above
        client = s.client(at=s.leader())
        begin(s, client)
        away = s.followers()[0]
        s.kill(away)
        s.wipe(away)
        s.start(away)
        s.run_until_in_step()
        finish(s, client)
        s.run_until(lambda: "/app/19" in s.replica(away).tree.znodes)
        digests = {s.replica(server).tree.digest() for server in s.servers}
        assert len(digests) == 1


def test_when_its_client_is_gone_nothing_is_left_of_it() -> None:
    with Scenario(3) as s:
        client, other = s.client(at=s.servers[0]), s.client(at=s.servers[1])
        begin(s, client)
        client.fall_silent()
        s.run_until(lambda: all(s.replica(server).tree.to_exceed == 0 for server in s.servers))
        with pytest.raises(APIError):
            result(s, other, FinishRestore(len(TREE)))
        begin(s, other)
        finish(s, other)
        assert other.get("/app/07").stat.version == 3


def test_who_was_away_meanwhile_and_watches_the_root_again_is_told() -> None:
    with Scenario(3) as s:
        client, away = s.client(), s.client(at=s.servers[-1])
        begin(s, client)
        s.run_until(lambda: s.replica(away.server).clients.applied > SOURCE)
        result(
            s,
            away,
            GetChildren(
                "/",
                watch=True,
            ),
        )
        seen = s.replica(away.server).clients.applied  # above all that is brought
        away.move(s.servers[0])  # the watch goes with the connection
        finish(s, client)
        result(s, away, SetWatches(seen, child=("/",)))
        assert [(event.type, event.path) for event in away.events] == [(EventType.CHILDREN_CHANGED, "/")]
