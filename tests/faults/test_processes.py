"""Processes that are killed, paused and restarted while clients are at work."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.disks import quick_directory
from zk.model.errors import SessionExpiredError, SessionMovedError
from zk.model.replies import DONE, ChildrenReply, Created, DataReply, StatReply
from zk.model.requests import Create, CreateMode, GetChildren, GetData, Ping, SetData
from zk.server.testing import Ensemble, ServerProcess, Session, start_ensemble

if TYPE_CHECKING:
    from tests.faults.conftest import UnderLoad

SHORT_TIMEOUTS = ["--session-timeout-ms", "500:40000"]
TIMEOUT_MS = 1_500  # where sessions are so short, disks are in memory
LONGER_S = 2.5  # than that timeout
STORM_S = 18.0


def quiet(ensemble: Ensemble) -> bool:
    """Whether no server found anything wrong."""
    return not any("CRITICAL" in server.log or "ERROR" in server.log for server in ensemble.servers)


# ---- killed


def test_servers_killed_at_random_for_a_while_lose_nothing(tmp_path: Path, under_load: "UnderLoad") -> None:
    chance = random.Random(1)
    with start_ensemble(tmp_path) as ensemble:
        with under_load(ensemble):
            until_s = time.monotonic() + STORM_S
            while time.monotonic() < until_s:
                killed = chance.choice(ensemble.servers)
                assert killed.running, killed.log
                killed.kill()
                killed.start()
                time.sleep(chance.uniform(0.3, 1.0))  # often the next one dies before this one serves
        assert quiet(ensemble)


def test_the_leader_killed_each_time_loses_nothing(tmp_path: Path, under_load: "UnderLoad") -> None:
    with start_ensemble(tmp_path) as ensemble:
        with under_load(ensemble) as recorder:
            for _ in range(6):
                leader = ensemble.wait_until_serving()
                leader.kill()
                ensemble.wait_for_leader(other_than=leader)
                recorder.wait_for_answers(20)
                leader.start()
        assert quiet(ensemble)


def test_all_servers_killed_at_once_lose_nothing(tmp_path: Path, under_load: "UnderLoad") -> None:
    chance = random.Random(3)
    with start_ensemble(tmp_path) as ensemble:
        with under_load(ensemble) as recorder:
            for _ in range(5):
                recorder.wait_for_answers(chance.randrange(10, 60))
                ensemble.kill()
                ensemble.start()
                ensemble.wait_until_serving()
        assert quiet(ensemble)


# ---- paused


def test_servers_paused_at_random_for_a_while_answer_nothing_from_the_past(
    tmp_path: Path, under_load: "UnderLoad"
) -> None:
    """Pauses around the time after which a leader is given up: it wakes as one, or as one that was."""
    chance = random.Random(4)
    with start_ensemble(tmp_path) as ensemble:
        with under_load(ensemble):
            until_s = time.monotonic() + STORM_S
            while time.monotonic() < until_s:
                paused = chance.choice([ensemble.leader(), *ensemble.servers])
                paused.pause()
                time.sleep(chance.uniform(0.05, 0.9))
                paused.resume()
                time.sleep(chance.uniform(0.0, 0.5))
        assert quiet(ensemble)


Open = Callable[..., Session]


@pytest.fixture
def opened() -> Iterator[Open]:
    """Opens sessions as `Session` does, with a short timeout; at the end their connections are closed."""
    with ExitStack() as stack:
        yield lambda server, earlier=None: stack.enter_context(Session(server, TIMEOUT_MS, earlier))


def create_ephemeral(session: Session, path: str, data: bytes = b"") -> None:
    assert isinstance(session.ask(Create(path, data, mode=CreateMode.EPHEMERAL)), Created)


def names(session: Session) -> set[str]:
    """The nodes below the root as they are now."""
    found = session.ask(GetChildren("/"), linearizable=True)
    assert isinstance(found, ChildrenReply)
    return set(found.names) - {"zookeeper"}


def keep_alive(sessions: Sequence[Session], seconds: float) -> None:
    """Let time pass; the sessions ping, and every ping must be answered."""
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        assert [session.ask(Ping()) for session in sessions] == [DONE] * len(sessions)
        time.sleep(0.1)


def told(session: Session, xids: Sequence[int]) -> list[object]:
    """What became of these calls: the data that was read, the answer, "closed" if none will come."""
    answers: list[object] = []
    for xid in xids:
        try:
            answer = session.answer(xid)
        except ConnectionError:
            return [*answers, "closed"]
        answers.append(answer.data if isinstance(answer, DataReply) else answer)
    return answers


def test_a_leader_paused_for_longer_than_the_timeout_wakes_without_a_word_from_the_past(
    opened: Open,
) -> None:
    with quick_directory() as directory, start_ensemble(directory, options=SHORT_TIMEOUTS) as ensemble:
        leader = ensemble.leader()
        one, other = (opened(server) for server in ensemble.others(leader))
        silent, another = opened(leader), opened(leader)
        for number, session in enumerate((one, other, silent)):
            create_ephemeral(session, f"/{number}")
        assert isinstance(one.ask(Create("/value", b"old")), Created)
        leader.pause()
        ensemble.wait_for_leader(other_than=leader)
        assert isinstance(one.ask(SetData("/value", b"new")), StatReply)
        asked = [  # they wait in the sockets of a server that believes that it leads
            (session, [session.send(GetData("/value"), linearizable=True), session.send(Ping())])
            for session in (silent, another)
        ]
        keep_alive([one, other], LONGER_S)
        begin = len(leader.lines)
        leader.resume()
        for session, xids in asked:
            for answer in told(session, xids):
                assert answer in (b"new", DONE, "closed") or isinstance(answer, SessionExpiredError)
        leader.wait_for_line("WARNING this server did not run for", since=begin)
        keep_alive([one, other], LONGER_S)  # nobody else's session pays for the pause
        assert names(one) == {"0", "1", "value"}
        ensemble.wait_until_agreed()
        assert quiet(ensemble)


def test_a_session_that_left_a_paused_follower_is_not_served_by_it_any_more(opened: Open) -> None:
    with quick_directory() as directory, start_ensemble(directory, options=SHORT_TIMEOUTS) as ensemble:
        paused, other = ensemble.others(ensemble.leader())
        left = opened(paused)
        create_ephemeral(left, "/mine", b"old")
        paused.pause()
        session = opened(other, left)
        assert isinstance(session.ask(SetData("/mine", b"new")), StatReply)
        late = [left.send(SetData("/mine", b"late")), left.send(GetData("/mine"), linearizable=True)]
        keep_alive([session], LONGER_S)
        paused.resume()
        for answer in told(left, late):
            assert answer in (b"new", "closed") or isinstance(answer, SessionMovedError)
        data = session.ask(GetData("/mine"), linearizable=True)
        assert isinstance(data, DataReply)
        assert data.data == b"new"
        ensemble.wait_until_agreed()
        assert quiet(ensemble)


def reattached(opened: Open, server: ServerProcess, session: Session) -> Session:
    """Attach it again, as often as the server says that it has just lost its leader."""
    while True:
        try:
            return opened(server, session)
        except ConnectionError:
            server.wait_until_serving()


def kill_a_majority(ensemble: Ensemble) -> None:
    leader = ensemble.leader()
    killed = (leader, ensemble.others(leader)[0])
    for server in killed:
        server.kill()
    time.sleep(LONGER_S)
    for server in killed:
        server.start()


def pause_all(ensemble: Ensemble) -> None:
    for server in ensemble.servers:
        server.pause()
    time.sleep(LONGER_S)
    for server in reversed(ensemble.servers):
        server.resume()


@pytest.mark.parametrize("harm", [pause_all, kill_a_majority])
def test_time_during_which_nobody_could_be_heard_does_not_count(opened: Open, harm: Callable[[Ensemble], None]) -> None:
    with quick_directory() as directory, start_ensemble(directory, options=SHORT_TIMEOUTS) as ensemble:
        before = [opened(server) for server in ensemble.servers]
        for number, session in enumerate(before):
            create_ephemeral(session, f"/{number}")
        harm(ensemble)
        ensemble.wait_until_serving()
        after = [reattached(opened, server, session) for server, session in zip(ensemble.servers, before, strict=True)]
        keep_alive(after, LONGER_S)
        assert names(after[0]) == {"0", "1", "2"}
        assert quiet(ensemble)


# ---- restarted


def test_a_rolling_restart_under_load_costs_no_session_and_leaves_no_outcome_unknown(
    under_load: "UnderLoad",
) -> None:
    with quick_directory() as directory, start_ensemble(directory) as ensemble:
        with under_load(ensemble) as recorder:
            for server in ensemble.servers:
                assert server.terminate() == 0
                server.start()
                server.wait_until_serving()
                recorder.wait_for_answers(20)
        assert (recorder.counts.unknown, recorder.counts.void, recorder.counts.sessions_lost) == (0, 0, 0)
        assert quiet(ensemble)
