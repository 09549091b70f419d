"""Real clients of one real server are recorded, and what they saw holds, also when the server dies meanwhile."""

import pytest

from tests.disks import quick_directory
from zk.history import Recorder, check
from zk.history.linearizability import check_linearizability
from zk.server.testing import start_server

OPTIONS = ("--session-timeout-ms", "1000:40000")


def test_what_real_clients_see_of_a_server_that_dies_holds() -> None:
    with quick_directory() as data, start_server(data, options=OPTIONS) as server:
        with Recorder((str(server.address),), pause_ms=5, session_timeout_ms=2_000) as recorder:
            recorder.wait_for_answers(300)
            server.kill()
            server.start()
            recorder.wait_for_answers(300)
        counts, history = recorder.counts, recorder.history
    check(history)
    assert counts.answered > 600
    assert counts.refused > 100
    assert counts.watches_told > 20
    assert counts.connects > 6
    assert counts.asked == counts.answered + counts.throttled + counts.unknown + counts.void
    assert len([operation for operation in history.operations if operation.answer]) == counts.answered
    assert check_linearizability(history).groups == 2  # of four nodes: multis join pairs


def test_it_says_when_answers_fail_to_come() -> None:
    with quick_directory() as data, start_server(data) as server:
        with Recorder((str(server.address),), clients=1, pause_ms=5, call_timeout_s=0.2) as recorder:
            recorder.wait_for_answers(5)
            server.kill()
            with pytest.raises(
                TimeoutError, match=r"\d+ of 1000 answers did not come within 0.5 s; client 0 suspended"
            ):
                recorder.wait_for_answers(1_000, within_s=0.5)
        assert recorder.counts.unknown + recorder.counts.void > 0
    check(recorder.history)


def test_a_history_may_be_looked_at_while_it_is_made() -> None:
    with (
        quick_directory() as data,
        start_server(data) as server,
        Recorder((str(server.address),), pause_ms=3) as recorder,
    ):
        for _ in range(5):
            recorder.wait_for_answers(50)
            check(recorder.history)
