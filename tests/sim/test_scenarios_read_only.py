"""A minority that serves reads: what it may tell, what it must not, and how its clients come back."""

from dataclasses import replace

import pytest
from zkclient import State

from zk.broadcast.engine import Role
from zk.model.errors import NotReadOnlyError
from zk.model.record import ServerId
from zk.model.requests import SetData
from zk.replica.config import ReplicaConfig
from zk.sim.referee import FIRST
from zk.sim.scenario import Scenario

ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)  # of servers that are equal, 3 leads


def read_only_mode(config: ReplicaConfig) -> ReplicaConfig:
    return replace(config, read_only_mode=True)


def test_a_minority_is_read_and_its_clients_come_back_when_it_is_one_no_more() -> None:
    with Scenario(tune=read_only_mode) as s:
        writer, reader = s.client(at=THREE), s.client(at=ONE, timeout_ms=10_000, may_read_only=True)
        session = reader.session
        writer.create("/n", b"before")
        reader.sync()
        s.isolate(ONE)
        s.run_until(lambda: reader.read_only)
        writer.set("/n", b"after")
        newcomer = s.client(at=ONE, may_read_only=True)
        assert [client.get("/n").data for client in (reader, newcomer)] == [b"before", b"before"]
        for client in (reader, newcomer):
            with pytest.raises(NotReadOnlyError):
                client.set("/n", b"by a minority")
            with pytest.raises(NotReadOnlyError):
                client.get("/n", linearizable=True)
            with pytest.raises(NotReadOnlyError):
                client.sync()
        s.open_all()
        s.run_until(lambda: all(client.connected and not client.read_only for client in (reader, newcomer)))
        assert (reader.session, newcomer.session != 0) == (session, True)
        assert [client.get("/n").data for client in (reader, newcomer)] == [b"after", b"after"]
        reader.set("/n", b"by all")
        assert s.replica(ONE).tree.znodes["/n"].data == b"by all"


def test_a_write_under_way_when_the_quorum_was_lost_is_not_said_to_be_refused() -> None:
    with Scenario(tune=read_only_mode) as s:
        client = s.client(at=THREE, timeout_ms=10_000, may_read_only=True)
        client.create("/n", b"1")
        s.stick_disk(ONE)
        s.stick_disk(TWO)
        write = client.ask(SetData("/n", b"2"))  # reaches the others, and is acknowledged by nobody yet
        s.run_ms(20)
        s.isolate(THREE)
        s.free_disk(ONE)
        s.free_disk(TWO)
        s.run_until(lambda: client.read_only)
        assert client.get("/n").data == b"1"
        assert not write.answered
        s.run_until_leader(other_than=THREE)
        s.open_all()
        s.run_until(lambda: write.answered)
        assert client.get("/n").data == b"2"
        assert client.get("/n").version == 1


def test_a_leader_that_lost_its_quorum_reads_on_for_its_clients() -> None:
    with Scenario(tune=read_only_mode) as s:
        client = s.client(at=THREE, timeout_ms=10_000, may_read_only=True)
        client.create("/n", b"1")
        s.isolate(THREE)
        s.run_until(lambda: client.read_only)
        assert client.get("/n").data == b"1"


def test_a_session_that_only_a_minority_hears_of_expires() -> None:
    with Scenario(tune=read_only_mode) as s:
        client = s.client(at=ONE, may_read_only=True)
        client.create("/n", b"1")
        s.isolate(ONE)
        s.run_until(lambda: client.read_only)
        session = client.session
        s.run_until(lambda: session not in s.replica(THREE).tree.sessions)
        assert client.get("/n").data == b"1"
        s.open_all()
        s.run_until(lambda: client.expired)


# ---- the production client


def test_the_client_does_a_write_once_that_was_under_way_when_it_was_left_with_a_minority() -> None:
    with Scenario(tune=read_only_mode) as s:
        app = s.app(at=THREE, timeout_ms=10_000, read_only=True)
        app.do(app.zk.create("/n", b"1"))
        s.stick_disk(ONE)
        s.stick_disk(TWO)
        write = app.begin(app.zk.set("/n", b"2", timeout=60))
        s.run_ms(20)
        s.isolate(THREE)
        s.free_disk(ONE)
        s.free_disk(TWO)
        s.run_until(lambda: app.zk.state is State.CONNECTED_READ_ONLY)
        assert app.do(app.zk.get("/n")).data == b"1"
        with pytest.raises(NotReadOnlyError):
            app.do(app.zk.set("/n", b"by a minority"))
        s.run_until_leader(other_than=THREE)
        assert not write.done()
        s.open_all()
        s.run_until(write.done)
        assert write.result().version == 1
        assert app.do(app.zk.get("/n")).data == b"2"


def test_a_lock_is_lost_in_time_though_its_holder_reads_on() -> None:
    with Scenario(tune=read_only_mode, contests={"/lock": FIRST}) as s:
        holder, other = s.app(at=ONE, timeout_ms=8_000, read_only=True), s.app(at=THREE)
        claim = holder.take(holder.zk.Lock("/lock"))
        states: list[State] = []
        holder.zk.add_listener(states.append)
        waiting = other.begin(other.taking(other.zk.Lock("/lock")))
        s.isolate(ONE)
        s.run_until(waiting.done, within_ms=20_000)  # held against the rules: the holder was told before
        assert claim.held.lost.is_set()
        assert states == [State.SUSPENDED, State.CONNECTED_READ_ONLY, State.LOST, State.CONNECTED_READ_ONLY]
        assert len(holder.do(holder.zk.get_children("/lock"))) == 1  # its own, as it was


def test_the_client_leaves_a_server_that_can_only_be_read_for_one_with_a_quorum() -> None:
    with Scenario(tune=read_only_mode) as s:
        app = s.app(read_only=True)
        app.do(app.zk.create("/n", b"1"))
        s.isolate(ONE)
        s.kill(TWO, THREE)
        s.run_until(lambda: app.zk.state is State.CONNECTED_READ_ONLY)
        s.start(TWO, THREE)
        s.run_until(lambda: app.zk.state is State.CONNECTED, within_ms=20_000)
        assert s.role(ONE) not in (Role.LEADING, Role.FOLLOWING)
        assert app.do(app.zk.set("/n", b"2")).version == 1
