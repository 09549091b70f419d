"""Wall clocks that jump, and machines that were started at other times. Only durations matter to the service, and those
are measured by clocks that nobody can set: no session ends, no time in the tree runs backwards."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from zk.faults.clocks import WallClock, uptime_prefix, why_no_uptime
from zk.history import History, Recorder
from zk.model.errors import NoNodeError
from zk.model.record import ServerId
from zk.model.replies import Created, DataReply, StatReply
from zk.model.requests import Create, CreateMode, Exists
from zk.server.config import Address
from zk.server.testing import Ensemble, ServerProcess, Session, free_ports, running

pytestmark = pytest.mark.timeout(90)

UnderLoad = Callable[[Ensemble], AbstractContextManager[Recorder]]

DAY_S = 86_400
HOUR_MS = 3_600_000
YEAR_S = 365 * DAY_S


@contextmanager
def ensemble_of(directory: Path, prefixes: Sequence[Sequence[str]]) -> Iterator[Ensemble]:
    """One server for each prefix, in their order; serving."""
    ports = free_ports(2 * len(prefixes))
    peers = [(ServerId(n), Address("127.0.0.1", port)) for n, port in enumerate(ports[len(prefixes) :], 1)]
    servers = [
        ServerProcess(server_id, Address("127.0.0.1", port), directory / f"server-{server_id}", peers, prefix=prefix)
        for (server_id, _), port, prefix in zip(peers, ports, prefixes, strict=False)
    ]
    with running(servers) as ensemble:
        yield ensemble


@pytest.fixture
def clocks(tmp_path: Path) -> tuple[WallClock, ...]:
    return tuple(WallClock(tmp_path / f"clock-{number}") for number in (1, 2, 3))


def stamps(history: History) -> list[int]:
    """All mtimes that the clients saw, in the order of the transactions that stamped them."""
    bodies = [each.answer.body for each in history.operations if each.answer is not None]
    stats = {body.stat.mzxid: body.stat.mtime for body in bodies if isinstance(body, Created | DataReply | StatReply)}
    return [stats[zxid] for zxid in sorted(stats)]


def exists(session: Session, path: str) -> bool:
    return not isinstance(session.ask(Exists(path), linearizable=True), NoNodeError)


def create_ttl(session: Session, path: str, ttl_ms: int) -> None:
    created = session.ask(Create(path, b"", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=ttl_ms))
    assert isinstance(created, Created)


def test_wall_clocks_that_jump_end_no_session_and_turn_no_time_back(
    tmp_path: Path, clocks: tuple[WallClock, ...], under_load: UnderLoad
) -> None:
    """The leader's and a follower's clock jump by a day, forwards and backwards, before and after a change of leader;
    a node that has an hour to live sees it all, one that had a second goes when a new leader looks."""
    clock = dict(zip((1, 2, 3), clocks, strict=True))
    with ensemble_of(tmp_path, [each.prefix for each in clocks]) as ensemble, under_load(ensemble) as recorder:
        leader = ensemble.leader()
        follower = next(server for server in ensemble.servers if server is not leader)
        with Session(follower) as session:
            create_ttl(session, "/hour", HOUR_MS)
            create_ttl(session, "/second", 1_000)
            for jumping, seconds in ((follower, DAY_S), (follower, -DAY_S), (leader, -DAY_S), (leader, DAY_S)):
                clock[jumping.id].set_ahead(seconds)
                recorder.wait_for_answers(100)
            clock[follower.id].set_ahead(0)
            leader.kill()  # a day ahead; whoever comes next is not
            successor = ensemble.wait_for_leader(leader)
            leader.start()
            ensemble.wait_until_serving()
        with Session(leader) as session:
            recorder.wait_for_answers(100)
            assert exists(session, "/hour")
            assert not exists(session, "/second")
            for seconds in (-DAY_S, DAY_S, 0):
                clock[successor.id].set_ahead(seconds)
                recorder.wait_for_answers(100)
            assert exists(session, "/hour")
    seen = stamps(recorder.history)
    assert seen == sorted(seen)
    assert seen[-1] - seen[0] >= DAY_S * 1_000, "no clock has jumped"
    assert recorder.counts.sessions_lost == 0


def test_servers_that_wake_in_1970_serve_and_find_the_present_without_losing_a_session(
    tmp_path: Path, clocks: tuple[WallClock, ...], under_load: UnderLoad
) -> None:
    """As of a machine whose battery is dead, until it hears of the time."""
    for clock in clocks:
        clock.set_to(10)
    with ensemble_of(tmp_path, [clock.prefix for clock in clocks]) as ensemble, under_load(ensemble) as recorder:
        recorder.wait_for_answers(100)
        for clock in clocks:
            clock.set_ahead(0)
            recorder.wait_for_answers(100)
    seen = stamps(recorder.history)
    assert seen == sorted(seen)
    assert seen[0] < 1_000 * DAY_S < 40 * YEAR_S * 1_000 < seen[-1]
    assert recorder.counts.sessions_lost == 0


def test_servers_on_machines_started_years_apart_keep_one_time(tmp_path: Path, under_load: UnderLoad) -> None:
    """Monotonic clocks begin with the machine: a change of leader is a jump by years, for every session."""
    reason = why_no_uptime()
    if reason:
        pytest.skip(f"no uptime can be chosen here: {reason}")
    uptimes_s = (1, 30 * DAY_S, 5 * YEAR_S)
    with ensemble_of(tmp_path, [uptime_prefix(each) for each in uptimes_s]) as ensemble:
        with under_load(ensemble) as recorder:
            for _ in range(3):
                leader = ensemble.leader()
                leader.kill()
                recorder.wait_for_answers(100)
                leader.start()
                ensemble.wait_until_serving()
        with Session(ensemble.servers[0], timeout_ms=4_000) as session:
            session.ask(Create("/short", b"", mode=CreateMode.EPHEMERAL))
        with Session(ensemble.servers[1]) as witness:
            assert exists(witness, "/short")
            deadline_s = time.monotonic() + 8
            while exists(witness, "/short"):
                assert time.monotonic() < deadline_s, "a session outlives its timeout"
    assert recorder.counts.sessions_lost == 0
