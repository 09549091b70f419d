"""Stories of the broadcast: rules whose breach only a rare turn of events shows.

Each ends well on the production code, and shows the planted bugs up that it names.
"""

from collections.abc import Callable
from dataclasses import replace

from zk.broadcast.engine import Role
from zk.broadcast.messages import NewEpoch, Proposal, SyncLog
from zk.model.record import ServerId
from zk.model.requests import Create, GetData
from zk.model.zxids import epoch_of
from zk.replica.config import ReplicaConfig
from zk.sim.scenario import Scenario

ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)

Story = Callable[[], None]
STORIES: dict[str, list[Story]] = {}


def shows_up(*plants: str) -> Callable[[Story], Story]:
    """The story ends well, but not with any of these plants."""

    def note(story: Story) -> Story:
        for plant in plants:
            STORIES.setdefault(plant, []).append(story)
        return story

    return note


def small_frames(config: ReplicaConfig) -> ReplicaConfig:
    """One entry in each frame of a synchronisation."""
    return replace(config, zab=replace(config.zab, proposal_txns_max=1))


# ---- promises


@shows_up("promise-not-durable")
def an_epoch_is_promised_once_though_power_fails_right_behind_the_promise() -> None:
    with Scenario() as s:
        s.kill(ONE, TWO, THREE)
        s.start(ONE, THREE)
        s.stick_disk(ONE)
        s.run_ms(400)  # 3 campaigns; what 1 promises it can't make durable
        s.power_cut(ONE)
        s.free_disk(ONE)
        s.isolate(THREE)
        s.start(ONE, TWO)
        assert s.run_until_leader(other_than=THREE) == TWO


@shows_up("candidate-not-durable")
def a_candidate_keeps_to_the_epoch_that_it_campaigned_for_though_power_fails() -> None:
    with Scenario() as s:
        s.kill(ONE, TWO, THREE)
        s.start(ONE, THREE)
        s.stick_disk(THREE)
        s.run_ms(400)  # 3 wants to campaign, and can't make that durable
        s.power_cut(THREE)
        s.free_disk(THREE)
        s.kill(ONE)
        s.start(TWO, THREE)
        s.run_until_leader()


@shows_up("promise-given-twice")
def an_epoch_that_one_candidate_has_led_is_not_promised_to_another() -> None:
    with Scenario() as s:
        s.kill(ONE, TWO, THREE)
        s.block(TWO, THREE)
        s.block(THREE, TWO)
        s.start(ONE, TWO, THREE)  # 1 is asked by both, who know nothing of each other
        s.run_until(lambda: s.role(TWO) is Role.LEAD_SYNC)
        assert s.role(THREE) is Role.CANDIDATE
        s.kill(TWO)
        s.run_until_leader()


@shows_up("vote-for-any-log")
def a_server_that_lacks_an_acknowledged_write_does_not_lead() -> None:
    with Scenario() as s:
        s.isolate(THREE)
        s.run_until_leader(other_than=THREE)
        s.client(at=TWO).create("/a")
        s.run_ms(10)
        s.kill(TWO)
        s.open_all()
        assert s.run_until_leader() == ONE
        assert "/a" in s.replica(ONE).tree.znodes


@shows_up("wiped-disk-votes")
def a_wiped_disk_has_no_vote() -> None:
    with Scenario() as s:
        s.isolate(TWO)
        s.client(at=THREE).create("/a")
        s.run_ms(10)
        s.kill(ONE, THREE)
        s.wipe(ONE)
        s.open_all()
        s.start(ONE)  # all that it and 2 know together lacks the write
        s.run_ms(5_000)
        assert Role.LEADING not in (s.role(ONE), s.role(TWO))


@shows_up("no-epoch-bump")
def a_server_whose_epoch_nobody_else_wanted_is_taken_in_again() -> None:
    """etcd 8243, 8501, 9586: pre-vote, and terms that ran ahead, made ensembles that no longer came together."""
    with Scenario() as s:
        s.kill(THREE)
        for _ in range(2):  # 2 has 1's wish, and campaigns; nobody hears of it
            s.block(TWO, ONE, first=NewEpoch)
            s.run_until(lambda: s.role(TWO) is Role.CANDIDATE)
            s.pause(ONE)
            s.run_until(lambda: s.role(TWO) is Role.LOOKING)
            s.reset(ONE, TWO)
            s.open_all()
            s.resume(ONE)
        s.kill(TWO)
        s.start(THREE)
        s.run_until_leader()
        assert s.replica(THREE).engine.epoch == 2
        s.start(TWO)  # it has promised itself epoch 3
        s.run_until_in_step()
        assert s.replica(THREE).engine.epoch == 4


# ---- leadership in time


@shows_up("no-sticky-leader")
def one_server_with_a_bad_connection_brings_no_leader_down() -> None:
    with Scenario() as s:
        s.block(THREE, ONE)
        s.run_ms(5_000)
        assert (s.leader(), s.replica(THREE).engine.epoch) == (THREE, 1)


@shows_up("no-check-quorum")
def a_leader_that_nobody_answers_stops_before_there_is_another() -> None:
    with Scenario() as s:
        s.isolate(THREE)
        s.run_until(lambda: Role.LEAD_SYNC in (s.role(ONE), s.role(TWO)))
        assert s.role(THREE) is not Role.LEADING


@shows_up("no-read-quorum")
def a_leader_that_slept_answers_no_read_from_the_past() -> None:
    """etcd 20418."""
    with Scenario() as s:
        reader, writer = s.client(at=THREE), s.client(at=ONE)
        writer.create("/a", b"old")
        s.pause(THREE)
        s.run_until_leader(other_than=THREE)
        writer.set("/a", b"new")
        read = reader.ask(GetData("/a"), linearizable=True)
        s.run_ms(5)
        s.resume(THREE)
        s.run_until(lambda: read.answered)


# ---- the epoch's marker


@shows_up("marker-not-awaited")
def an_entry_of_an_earlier_epoch_is_committed_only_by_the_marker_behind_it() -> None:
    """Raft, figure 8: a majority has the entry, and yet a later epoch's leader may lack it."""
    with Scenario(tune=small_frames) as s:
        client = s.client(at=THREE)
        s.block(THREE, ONE, first=Proposal)
        s.block(THREE, TWO, first=Proposal)
        client.ask(Create("/a", b""))
        before = s.durable(THREE)
        s.run_until(lambda: s.durable(THREE) > before)
        s.kill(THREE)  # only 3 has it
        s.open_all()
        s.block(TWO, ONE, first=SyncLog)
        s.run_until(lambda: epoch_of(s.durable(TWO)) == 2)
        s.kill(TWO)  # only 2 has the marker of epoch 2
        s.open_all()
        s.start(THREE)
        s.run_until(lambda: s.durable(ONE) > before)  # 3 gives it to 1, the marker of epoch 3 just behind it
        s.stick_disk(ONE)
        s.run_ms(30)
        s.power_cut(ONE, THREE)
        s.free_disk(ONE)
        s.start(ONE, TWO)
        s.run_until_leader()


# ---- synchronisation


def leave_one_entry_behind(s: Scenario) -> None:
    """Server 3 has an entry of epoch 1 that nobody else has, and is down; the others are in epoch 2, with others."""
    client = s.client(at=ONE)
    client.create("/a", b"1")
    lost = s.client(at=THREE)
    s.block(THREE, ONE, first=Proposal)
    s.block(THREE, TWO, first=Proposal)
    lost.ask(Create("/x", b""))
    before = s.durable(THREE)
    s.run_until(lambda: s.durable(THREE) > before)
    s.kill(THREE)
    s.open_all()
    s.run_until_leader()
    client.set("/a", b"2")


@shows_up("sync-by-last-zxid", "diff-without-truncation")
def what_only_the_old_leader_had_is_gone_when_it_comes_back() -> None:
    """ZOOKEEPER-2846, 3526, 4352: what to send was chosen by the last zxid alone."""
    with Scenario() as s:
        leave_one_entry_behind(s)
        s.start(THREE)
        s.run_until_in_step()


@shows_up("recovery-ignores-truncations")
def what_was_truncated_stays_away_after_a_restart() -> None:
    with Scenario() as s:
        leave_one_entry_behind(s)
        s.start(THREE)
        s.run_until_in_step()
        s.kill(THREE)
        s.start(THREE)
        s.run_until_in_step()
        s.power_cut(ONE)
        s.start(ONE)
        s.kill(TWO)
        s.run_until_leader()


@shows_up("no-stream-nonce")
def a_synchronisation_that_arrives_late_takes_nothing_back() -> None:
    with Scenario() as s:
        client = s.client(at=TWO)
        s.kill(ONE)
        client.create("/a")
        s.block(THREE, ONE, first=SyncLog)
        s.start(ONE)
        s.run_until(lambda: s.stalled(THREE, ONE))
        s.reset(THREE, ONE, half_open=True)  # the first synchronisation is still to come
        s.open(THREE, ONE)
        s.run_until_in_step()
        client.create("/b")
        s.run_ms(400)
        s.block(THREE, ONE, first=SyncLog)
        s.reset(THREE, ONE)
        s.run_until(lambda: s.stalled(THREE, ONE))  # 1 waits for its second synchronisation, when the first comes
        s.run_ms(300)


@shows_up("no-implicit-connection-end")
def a_synchronisation_that_was_lost_with_its_connection_is_begun_again() -> None:
    with Scenario(tune=small_frames) as s:
        client = s.client(at=TWO)
        s.kill(ONE)
        for number in range(12):
            client.create(f"/{number}")
        s.block(THREE, ONE, first=SyncLog)
        s.start(ONE)
        s.run_until(lambda: s.stalled(THREE, ONE))
        s.reset(THREE, ONE, half_open=True)  # nobody hears of the end before there is a new connection
        s.open_all()
