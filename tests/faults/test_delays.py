"""Servers far from each other, and clients far from them: nothing is lost, but everything takes its time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from zkclient.testing import Link

from zk.history import Recorder, check
from zk.model.record import ServerId
from zk.server.config import Address
from zk.server.testing import Ensemble, ServerProcess, free_ports, running

pytestmark = pytest.mark.timeout(90)

UnderLoad = Callable[[Ensemble], AbstractContextManager[Recorder]]

PEER_DELAY_MS, PEER_JITTER_MS = 30, 10
CLIENT_DELAY_MS, CLIENT_JITTER_MS = 60, 20


class Far:
    """Opens links to what is far away."""

    def __init__(self, portal: BlockingPortal, stack: ExitStack) -> None:
        self._portal = portal
        self._stack = stack

    def link(self, address: Address, delay_ms: float, jitter_ms: float) -> Address:
        """An address that leads there, slowly."""

        async def make() -> Link:
            return Link(str(address), delay_ms=delay_ms, jitter_ms=jitter_ms)

        link = self._portal.call(make)
        self._stack.enter_context(self._portal.wrap_async_context_manager(link))
        host, _, port = link.address.rpartition(":")
        return Address(host, int(port))


@pytest.fixture
def far() -> Iterator[Far]:
    with ExitStack() as stack, start_blocking_portal() as portal, stack:
        yield Far(portal, stack)


@contextmanager
def far_ensemble(directory: Path, far: Far) -> Iterator[Ensemble]:
    """Three servers, each of which reaches the others by slow links: of two, the one with the higher id dials."""
    ports = free_ports(6)
    ids = [ServerId(number) for number in (1, 2, 3)]
    listen = {server_id: Address("127.0.0.1", port) for server_id, port in zip(ids, ports, strict=False)}
    own = {server_id: Address("127.0.0.1", port) for server_id, port in zip(ids, ports[3:], strict=True)}
    servers = []
    for server_id in ids:
        peers = [
            (peer, far.link(own[peer], PEER_DELAY_MS, PEER_JITTER_MS) if peer < server_id else own[peer])
            for peer in ids
        ]
        servers.append(ServerProcess(server_id, listen[server_id], directory / f"server-{server_id}", peers))
    with running(servers) as ensemble:
        yield ensemble


def elections(ensemble: Ensemble) -> int:
    """How often a server looked for a leader, by the logs."""
    return sum("is looking" in line for server in ensemble.servers for line in server.lines)


def test_servers_thirty_milliseconds_apart_keep_their_leader_and_find_another_at_once(tmp_path: Path, far: Far) -> None:
    with far_ensemble(tmp_path, far) as ensemble:
        addresses = [str(far.link(each.address, CLIENT_DELAY_MS, CLIENT_JITTER_MS)) for each in ensemble.servers]
        with Recorder(addresses, clients=8) as recorder:
            leader = ensemble.leader()
            calm, epoch = elections(ensemble), leader.status().epoch
            recorder.wait_for_answers(300)
            assert (elections(ensemble), leader.status().epoch) == (calm, epoch)
            leader.kill()
            recorder.wait_for_answers(100)
            successor = ensemble.wait_for_leader(leader)
            ensemble.wait_until_serving()
            assert successor.status().epoch <= epoch + 2, "an election storm"
            leader.start()
            ensemble.wait_until_serving()
            recorder.wait_for_answers(100)
        assert ensemble.wait_until_agreed().leader == successor.id, "the one that came back has disturbed the others"
    check(recorder.history)
    assert recorder.counts.sessions_lost == 0
