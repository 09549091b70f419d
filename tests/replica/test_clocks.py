"""Session clocks: who expires when."""

from zk.model.record import SessionId, Zxid
from zk.model.session import Session
from zk.replica.clocks import SessionClocks


def session(number: int, timeout_ms: int = 4_000) -> Session:
    return Session(SessionId(number), b"secret", timeout_ms, (), Zxid(1))


def test_a_silent_session_is_due_after_its_timeout_and_not_before() -> None:
    clocks = SessionClocks(1_000, [session(1)])
    assert clocks.due(4_999) == []
    assert clocks.due(5_000) == [1]


def test_a_sign_of_life_starts_the_timeout_anew() -> None:
    clocks = SessionClocks(0, [session(1)])
    clocks.heard(SessionId(1), 3_000)
    assert clocks.due(6_999) == []
    assert clocks.due(7_000) == [1]


def test_a_new_leader_gives_every_session_its_whole_timeout() -> None:
    clocks = SessionClocks(100_000, [session(1, 4_000), session(2, 9_000)])
    assert clocks.due(103_999) == []
    assert clocks.due(104_000) == [1]
    assert clocks.due(109_000) == [1, 2]


def test_a_pause_of_the_leader_is_given_back_to_every_session() -> None:
    clocks = SessionClocks(0, [session(1), session(2)])
    clocks.heard(SessionId(2), 1_000)
    clocks.extend(60_000)
    assert clocks.due(63_999) == []
    assert clocks.due(64_000) == [1]
    assert clocks.due(65_000) == [2]


def test_an_expiry_that_did_not_become_committed_is_tried_again_after_another_timeout() -> None:
    clocks = SessionClocks(0, [session(1)])
    assert clocks.due(4_000) == [1]
    assert clocks.due(7_999) == []
    assert clocks.due(8_000) == [1]


def test_a_closed_session_is_never_due() -> None:
    clocks = SessionClocks(0, [session(1)])
    clocks.stop(SessionId(1))
    clocks.heard(SessionId(1), 10)
    assert clocks.due(1_000_000) == []


def test_a_shorter_timeout_after_an_attach_is_kept() -> None:
    clocks = SessionClocks(0, [session(1, 40_000)])
    clocks.start(session(1, 4_000), 1_000)
    assert clocks.due(4_999) == []
    assert clocks.due(5_000) == [1]


def test_a_longer_timeout_after_an_attach_is_granted() -> None:
    clocks = SessionClocks(0, [session(1, 4_000)])
    clocks.start(session(1, 40_000), 1_000)
    assert clocks.due(40_999) == []
    assert clocks.due(41_000) == [1]
