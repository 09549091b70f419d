"""How scenarios are told: each of these is a story of ten lines, and shows a means that others may use."""

import doctest
import errno

import pytest

from zk.broadcast.engine import Role
from zk.broadcast.messages import Ack
from zk.model.errors import NoNodeError
from zk.model.events import EventType
from zk.model.requests import Create, CreateMode, GetData, SetData
from zk.sim import Violation, scenario, scenario_app
from zk.sim.scenario import Scenario


@pytest.mark.parametrize("servers", [3, 5])
def test_a_write_acknowledged_by_a_leader_that_dies_survives(servers: int) -> None:
    with Scenario(servers) as s:
        leader, other, *_ = s.leader(), *s.followers()
        client = s.client(at=other)
        client.create("/a", b"1")
        s.power_cut(leader)
        s.run_until_leader()
        assert client.get("/a").data == b"1"


@pytest.mark.parametrize("servers", [1, 2, 3])
def test_a_power_cut_of_all_servers_at_once_loses_nothing_that_was_acknowledged(servers: int) -> None:
    with Scenario(servers) as s:
        client = s.client()
        client.create("/a", b"1")
        s.power_cut(*s.servers)
        s.start(*s.servers)
        assert client.get("/a").data == b"1"


def test_a_call_may_stay_outstanding_and_its_answer_comes_in_its_own_time() -> None:
    with Scenario() as s:
        leader, one, two = s.leader(), *s.followers()
        client = s.client(at=leader)
        s.block(one, leader, first=Ack)
        s.block(two, leader, first=Ack)
        write, read = client.ask(Create("/a", b"1")), client.ask(GetData("/a"))
        s.run_until(lambda: s.stalled(one, leader) and s.stalled(two, leader))
        s.run_ms(100)
        assert (write.answered, read.answered) == (False, False)
        s.open_all()
        s.run_ms(10)
        assert (write.answered, read.answered) == (True, True)


def test_a_refusal_is_raised_and_a_watch_is_told() -> None:
    with Scenario() as s:
        one, two = s.client(at=s.servers[0]), s.client(at=s.servers[1])
        with pytest.raises(NoNodeError):
            one.get("/a")
        one.create("/a")
        two.sync()
        two.get("/a", watch=True)
        one.set("/a", b"2")
        two.sync()
        assert [(event.type, event.path) for event in two.events] == [(EventType.DATA_CHANGED, "/a")]


def test_a_session_moves_with_its_ephemerals_and_ends_when_its_client_is_silent() -> None:
    with Scenario() as s:
        client, other = s.client(at=s.servers[0]), s.client(at=s.servers[2])
        client.create("/mine", mode=CreateMode.EPHEMERAL)
        client.move(to=s.servers[1])
        other.sync()
        assert other.get("/mine").owner == client.session
        client.fall_silent()
        s.run_ms(2_500)
        with pytest.raises(NoNodeError):
            other.get("/mine", linearizable=True)


def test_a_partitioned_leader_is_replaced_and_follows_when_it_comes_back() -> None:
    with Scenario() as s:
        old = s.leader()
        s.isolate(old)
        new = s.run_until_leader(other_than=old)
        assert s.role(old) is not Role.LEADING
        s.client(at=new).create("/a")
        s.open_all()
        s.run_until_in_step()
        assert (s.leader(), s.role(old)) == (new, Role.FOLLOWING)


def test_a_paused_server_sleeps_through_what_happens() -> None:
    with Scenario() as s:
        sleeper = s.followers()[0]
        s.pause(sleeper)
        s.client(at=s.leader()).create("/a")
        s.run_ms(2_000)
        assert "/a" not in s.replica(sleeper).tree.znodes
        s.resume(sleeper)
        s.run_until_in_step()
        s.run_ms(200)
        assert "/a" in s.replica(sleeper).tree.znodes


def test_a_disk_that_sticks_holds_up_its_own_server_only() -> None:
    with Scenario() as s:
        stuck, other = s.followers()
        s.stick_disk(stuck)
        s.client(at=other).create("/a")
        s.run_ms(200)
        assert ("/a" in s.replica(other).tree.znodes, "/a" in s.replica(stuck).tree.znodes) == (True, False)
        s.free_disk(stuck)
        s.run_ms(20)
        assert "/a" in s.replica(stuck).tree.znodes


def test_a_leader_keeps_the_lead_through_the_stalls_of_a_disk_and_hands_it_over_if_it_stays_stuck() -> None:
    with Scenario() as s:
        leader, client = s.leader(), s.client(at=s.followers()[0])
        client.create("/a")
        for number in range(5):
            s.stick_disk(leader)
            write = client.ask(SetData("/a", str(number).encode()))
            s.run_ms(1_800)
            s.free_disk(leader)
            s.run_ms(20)
            assert (s.leader(), write.answered) == (leader, True)
        s.stick_disk(leader)
        write = client.ask(SetData("/a", b"last"))
        s.run_until_leader(other_than=leader)
        s.run_ms(500)
        assert write.answered
        s.free_disk(leader)


def test_an_error_of_the_log_ends_the_process() -> None:
    with Scenario() as s:
        failing, other = s.followers()
        s.fail_disk(failing, "sync", errno.EIO)
        s.client(at=other).create("/a")
        s.run_ms(50)
        assert s.role(failing) is None


def test_a_wiped_disk_is_taken_in_again_and_an_old_file_can_be_damaged() -> None:
    with Scenario() as s:
        one, two = s.followers()
        s.client(at=s.leader()).create("/a", b"1")
        s.kill(one)
        s.wipe(one)
        s.start(one)
        s.run_until_in_step()
        s.kill(two)
        (log,) = (name for name in s.files(two) if name.startswith("log"))
        s.damage(two, log, 600, b"\xff")
        s.start(two)
        s.run_until_in_step()
        assert s.client(at=two).get("/a").data == b"1"


def test_what_never_comes_about_is_said() -> None:
    with Scenario() as s:
        with pytest.raises(AssertionError, match="did not come about within 100 ms"):
            s.run_until(lambda: False, within_ms=100)
        s.power_cut(*s.servers[:2])
        with pytest.raises(
            Violation, match=r"liveness: after 1000 ms the roles are \{1: None, 2: None, 3: .looking.\}"
        ):
            s.run_until_leader(other_than=s.servers[2], within_ms=1_000)


def test_a_story_that_does_not_end_well_is_a_violation() -> None:
    def story() -> None:
        with Scenario() as s:
            for server in s.servers[:2]:
                s.kill(server)
                s.wipe(server)  # a majority's disks: nothing brings that back

    with pytest.raises(Violation, match="liveness: after 10000 ms the roles are"):
        story()


def test_the_examples_of_the_documentation_run() -> None:
    assert doctest.testmod(scenario) == doctest.TestResults(failed=0, attempted=1)
    assert doctest.testmod(scenario_app) == doctest.TestResults(failed=0, attempted=2)
