"""Scenarios of the broadcast that the simulator has found."""

from zk.broadcast.engine import Role
from zk.broadcast.messages import Proposal
from zk.model.record import ServerId
from zk.sim.scenario import Scenario

ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)


def test_a_server_that_does_not_know_yet_that_it_was_admitted_gives_the_vote_that_is_needed() -> None:
    """Found in a simulated run, seed 21: an ensemble without a leader, for good."""
    with Scenario() as s:
        s.kill(ONE)
        s.wipe(ONE)
        s.start(ONE)
        s.run_until(lambda: disk_of_one(s, THREE) == "")
        s.block(THREE, ONE, first=Proposal)  # the next one names its new disk
        s.run_until(lambda: disk_of_one(s, TWO) == disk_of_one(s, THREE) != "")
        s.kill(ONE, TWO)
        s.wipe(TWO)
        s.run_until(lambda: s.role(THREE) is Role.LOOKING)
        s.open_all()
        s.start(ONE)
        assert disk_of_one(s, ONE) == ""
        assert s.run_until_leader() == THREE


def disk_of_one(s: Scenario, server: ServerId) -> str:
    """By which disk this server knows server 1."""
    membership = s.replica(server).engine.membership
    return membership.disk(ONE) if membership else ""
