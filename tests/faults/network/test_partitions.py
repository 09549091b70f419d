"""Ways between servers, and between clients and servers, that lose everything: for a while, in both directions or in
one, in silence or with a reset.

Who can reach a majority is served on; who can't says nothing that is not true; and when the ways are healed there is
one history.
"""

import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from zkclient import EventType

from zk.faults.namespaces import CLIENTS, Loss, Way, between, host_name, one_way
from zk.model.errors import APIError
from zk.model.replies import Body
from zk.model.requests import Create, GetData
from zk.server.testing import ServerProcess, Session

if TYPE_CHECKING:
    from tests.faults.network.conftest import Guest, Trial

pytestmark = pytest.mark.timeout(60)

GUEST = "guest"
STEPPED_DOWN_S = 2.0  # usually 0.25 for a leader, 0.4 for a follower
SERVED_AGAIN_S = 5.0  # usually 0.5
SESSION_S = 4.0
SILENT_S = 1.0
# What the operator of a server that loses its majority, or its leader, reads.
NO_MAJORITY = "no majority answered its pings within 500 ms"
NO_LEADER = r"server \d was silent for \d+ ms|the connection to server \d is gone"


def answers(session: Session, xids: Sequence[int]) -> list[Body | APIError]:
    """What a server answers to these calls within a while; that it closes the connection is no answer."""
    session.socket.settimeout(SILENT_S)
    found = []
    for xid in xids:
        with suppress(OSError):
            found.append(session.answer(xid))
    return found


def write_within(guest: "Guest", path: str, seconds: float) -> None:
    """The guest's write is done in time, whatever server it has to go to."""
    begun_s = time.monotonic()
    guest.do(guest.zk.create, path)
    assert time.monotonic() - begun_s < seconds


def reason(server: ServerProcess, since: int) -> str:
    """Why it gave its role up, as its log says, since that line."""
    return server.wait_for_line("is looking", since, STEPPED_DOWN_S).partition("): ")[2]


def epochs(trial: "Trial") -> set[int]:
    return {server.status().epoch for server in trial.ensemble.servers}


def changed_roles(trial: "Trial", since: Mapping[ServerProcess, int]) -> list[str]:
    """What the logs say of servers that look for a leader."""
    return [line for server, mark in since.items() for line in server.lines[mark:] if "is looking" in line]


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_server_alone_falls_silent_and_the_majority_serves_on(
    open_trial: "Callable[[], Trial]", role: str, loss: Loss
) -> None:
    """The clients can reach all servers: those of the lonely one move, with their sessions and watches."""
    trial = open_trial()
    alone = trial.leader if role == "leader" else trial.followers[0]
    rest = trial.site.others(alone)
    writer, mover = trial.guest(rest[0], rest[1:]), trial.guest(alone, rest)
    mover.do(mover.zk.create, "/mover", ephemeral=True)
    mover.watch("/")
    with Session(alone) as pinned, trial.load() as recorder:
        recorder.wait_for_answers(50)
        marks = trial.marks()
        trial.site.part([alone], rest, loss)
        calls = [pinned.send(GetData("/mover"), linearizable=True), pinned.send(Create("/unheard", b""))]
        write_within(writer, "/news", SERVED_AGAIN_S)
        assert re.fullmatch(NO_MAJORITY if role == "leader" else NO_LEADER, reason(alone, marks[alone]))
        trial.until(lambda: mover.told_s(EventType.CREATED, "/news") is not None, SERVED_AGAIN_S, "its watch moved")
        assert answers(pinned, calls) == []
        assert alone.status().leader not in {server.id for server in rest}
        recorder.wait_for_answers(100)
        session_id = mover.zk.session_id
        trial.network.heal()
        recorder.wait_for_answers(50)
    trial.check(recorder)
    assert recorder.counts.sessions_lost == 0
    assert mover.lost_s is None
    assert mover.do(mover.zk.get, "/mover").stat.ephemeral_owner == session_id


def test_a_minority_with_the_leader_in_it_yields_to_three_of_five(open_trial: "Callable[[int], Trial]") -> None:
    trial = open_trial(5)
    minority = (trial.leader, trial.followers[0])
    majority = trial.site.others(*minority)
    writer = trial.guest(majority[0], majority[1:])
    with Session(minority[0]) as pinned, Session(minority[1]) as other, trial.load() as recorder:
        recorder.wait_for_answers(50)
        marks = trial.marks()
        trial.site.part(minority, majority)
        calls = {session: [session.send(GetData("/"), linearizable=True)] for session in (pinned, other)}
        write_within(writer, "/news", SERVED_AGAIN_S)
        assert reason(trial.leader, marks[trial.leader]) == NO_MAJORITY
        assert re.fullmatch(NO_LEADER, reason(minority[1], marks[minority[1]]))
        assert [answers(session, xids) for session, xids in calls.items()] == [[], []]
        recorder.wait_for_answers(100)
        trial.network.heal()
        recorder.wait_for_answers(50)
    trial.check(recorder)
    assert recorder.counts.sessions_lost == 0


@pytest.mark.parametrize("mute", [True, False], ids=["mute", "deaf"])
def test_a_leader_that_is_mute_or_deaf_yields(open_trial: "Callable[[], Trial]", mute: bool) -> None:
    """Mute: what it says to the others is lost. Deaf: what they say to it is."""
    trial = open_trial()
    leader, followers = host_name(trial.leader), [host_name(server) for server in trial.followers]
    writer = trial.guest(trial.followers[0], trial.followers[1:])
    with Session(trial.leader) as pinned, trial.load() as recorder:
        recorder.wait_for_answers(50)
        marks = trial.marks()
        trial.network.cut(one_way([leader], followers) if mute else one_way(followers, [leader]))
        calls = [pinned.send(GetData("/"), linearizable=True), pinned.send(Create("/unheard", b""))]
        write_within(writer, "/news", SERVED_AGAIN_S)
        assert reason(trial.leader, marks[trial.leader]) == NO_MAJORITY
        assert answers(pinned, calls) == []
        recorder.wait_for_answers(100)
        trial.network.heal()
        recorder.wait_for_answers(50)
    trial.check(recorder)


@pytest.mark.parametrize("way", ["mute", "deaf", "both"])
def test_a_follower_that_only_its_leader_misses_disturbs_nobody(open_trial: "Callable[[], Trial]", way: str) -> None:
    """It can talk to the other follower, who hears the leader well: the leader stays, and so does its epoch."""
    trial = open_trial()
    missed, helper = trial.followers
    leader = host_name(trial.leader)
    mover = trial.guest(missed, [trial.leader, helper])
    ways: dict[str, tuple[Way, ...]] = {
        "mute": one_way([host_name(missed)], [leader]),
        "deaf": one_way([leader], [host_name(missed)]),
        "both": between([host_name(missed)], [leader]),
    }
    before, marks = epochs(trial), trial.marks()
    trial.network.cut(ways[way])
    assert re.fullmatch(NO_LEADER, reason(missed, marks[missed]))
    # Nothing is written until the guest has moved: by its log, the one that is missed might lead.
    trial.until(lambda: mover.attached_to not in ("", str(missed.address)), SERVED_AGAIN_S, "its client moved")
    with trial.load() as recorder:
        recorder.wait_for_answers(100)
        mark = len(missed.lines)
        trial.network.heal()
        missed.wait_for_line("serving", mark)
        recorder.wait_for_answers(50)
    trial.check(recorder)
    assert epochs(trial) == before
    assert recorder.counts.sessions_lost == 0
    assert mover.lost_s is None


def test_a_client_that_is_cut_off_from_its_server_only_moves_with_its_session_and_watches(
    open_trial: "Callable[[], Trial]",
) -> None:
    trial = open_trial()
    mover = trial.guest(trial.leader, trial.followers)
    mover.do(mover.zk.create, "/mover", ephemeral=True)
    mover.watch("/")
    with trial.load() as recorder, Session(trial.leader) as writer:
        recorder.wait_for_answers(50)
        marks, session_id = trial.marks(), mover.zk.session_id
        trial.network.cut(between([GUEST], [host_name(trial.leader)]))
        writer.ask(Create("/news", b""))
        told = SESSION_S * 2 / 3 + 1  # so long it waits for its server, before it looks for another
        trial.until(lambda: mover.told_s(EventType.CREATED, "/news") is not None, told, "its watch moved")
        assert mover.attached_to in {str(server.address) for server in trial.followers}
        recorder.wait_for_answers(50)
        assert changed_roles(trial, marks) == []
        trial.network.heal()
    trial.check(recorder)
    assert mover.lost_s is None
    assert mover.do(mover.zk.get, "/mover").stat.ephemeral_owner == session_id


def test_a_client_alone_with_a_lonely_server_knows_that_its_session_is_lost_before_anybody_else_does(
    open_trial: "Callable[[], Trial]",
) -> None:
    trial = open_trial()
    alone, other = trial.followers
    stayer = trial.guest(other, [trial.leader], host=CLIENTS)
    lonely = trial.guest(alone, [trial.leader, other])
    stayer.do(stayer.zk.create, "/stayer", ephemeral=True)
    lonely.do(lonely.zk.create, "/lonely", ephemeral=True)
    stayer.watch("/")
    session_id, majority = lonely.zk.session_id, [host_name(trial.leader), host_name(other)]
    with trial.load() as recorder:
        recorder.wait_for_answers(50)
        trial.network.cut(between([GUEST, host_name(alone)], majority))
        expired = 2 * SESSION_S  # its last ping was some time before, or the leader has changed
        trial.until(lambda: stayer.told_s(EventType.DELETED, "/lonely") is not None, expired, "its session expired")
        assert lonely.lost_s is not None
        assert lonely.lost_s < (stayer.told_s(EventType.DELETED, "/lonely") or 0)
        trial.network.heal()
        recorder.wait_for_answers(50)
        assert lonely.do(lonely.zk.exists, "/lonely", read="linearizable") is None
        assert lonely.zk.session_id not in (0, session_id)
    trial.check(recorder)
    assert stayer.lost_s is None
    assert lonely.do(lonely.zk.get, "/stayer").stat.ephemeral_owner == stayer.zk.session_id


def test_servers_that_are_all_alone_serve_nobody_and_lose_no_session(open_trial: "Callable[[], Trial]") -> None:
    trial = open_trial()
    stayer = trial.guest(trial.leader, trial.followers, session_timeout_ms=10_000)
    stayer.do(stayer.zk.create, "/stayer", ephemeral=True)
    with Session(trial.leader) as pinned, Session(trial.followers[0]) as other, trial.load() as recorder:
        recorder.wait_for_answers(50)
        marks, names = trial.marks(), [host_name(server) for server in trial.ensemble.servers]
        trial.network.cut(between(names, names))
        calls = {session: [session.send(GetData("/"), linearizable=True)] for session in (pinned, other)}
        assert all(reason(server, mark) for server, mark in marks.items())
        assert [answers(session, xids) for session, xids in calls.items()] == [[], []]
        assert not {server.status().role for server in trial.ensemble.servers} & {"leader", "follower"}
        trial.network.heal()
        write_within(stayer, "/news", SERVED_AGAIN_S)
        recorder.wait_for_answers(50)
    trial.check(recorder)
    assert stayer.lost_s is None
    assert stayer.do(stayer.zk.get, "/stayer").stat.ephemeral_owner == stayer.zk.session_id


@pytest.mark.parametrize("seed", [1, 2])
def test_flapping_ways_harm_nothing_for_good(open_trial: "Callable[[], Trial]", seed: int) -> None:
    """Cuts of some random ways, one after the other, most of them too short for anybody to settle."""
    chance = random.Random(seed)
    trial = open_trial()
    names = [host_name(server) for server in trial.ensemble.servers]
    ways = [way for way in between(names, [*names, CLIENTS]) if way[0] != way[1]]
    with trial.load() as recorder:
        recorder.wait_for_answers(50)
        for _ in range(12):
            trial.network.cut(chance.sample(ways, chance.randrange(1, 6)), chance.choice(list(Loss)))
            time.sleep(chance.uniform(0.02, 0.6))  # so long the cut lasts: nothing is waited for
        trial.network.heal()
        recorder.wait_for_answers(100)
    trial.check(recorder)
