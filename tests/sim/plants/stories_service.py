"""Stories of a server and its clients: promises whose breach only a rare turn of events shows.

Each ends well on the production code, and shows the planted bug up that it belongs to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from zk.model.record import ServerId
from zk.model.requests import ANY_VERSION, CreateMode, SetData
from zk.replica.config import ReplicaConfig
from zk.sim.scenario import Scenario

ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)

Story = Callable[[], None]


def short_memory(config: ReplicaConfig) -> ReplicaConfig:
    """Whoever misses anything needs a snapshot."""
    return replace(config, zab=replace(config.zab, history_entries_max=0, history_bytes_max=0))


def a_server_that_installs_a_snapshot_sends_its_clients_away() -> None:
    with Scenario(tune=short_memory) as s:
        watcher, writer = s.client(at=ONE), s.client(at=TWO)
        writer.create("/a")
        watcher.sync()
        watcher.get("/a", watch=True)
        s.reset(ONE, THREE)  # and while they have no connection:
        writer.set("/a", b"2")
        watcher.sync()
        assert watcher.get("/a").data == b"2"
        assert s.replica(ONE).clients.watches.count == 0  # it went with the connection: the client sets it again


def a_server_that_did_not_run_takes_nobody_for_silent() -> None:
    with Scenario(servers=1) as s:
        client = s.client()
        client.fall_silent()
        s.pause(ONE)
        s.run_ms(5_000)
        s.resume(ONE)
        s.run_ms(500)
        assert client.session in s.replica(ONE).tree.sessions
        s.run_ms(2_000)
        assert client.session not in s.replica(ONE).tree.sessions


def a_ping_that_the_leader_never_heard_of_is_not_answered() -> None:
    with Scenario() as s:
        s.client(at=ONE)
        s.block(ONE, THREE)  # 1 hears its leader, and is not heard
        s.run_ms(4_000)


def an_expiry_that_an_arrival_overtakes_ends_nothing() -> None:
    with Scenario() as s:
        client = s.client(at=ONE, timeout_ms=600)
        client.fall_silent()
        s.run_ms(500)
        s.stick_disk(ONE)
        s.stick_disk(TWO)
        client.wake()
        s.run_ms(300)  # the leader has ordered that it comes back, and then that it has expired
        s.free_disk(ONE)
        s.free_disk(TWO)
        s.run_until(lambda: client.connected)


# ---- TTLs


def reaps_soon(config: ReplicaConfig) -> ReplicaConfig:
    return replace(config, reap_interval_ms=20)


def a_ttl_node_that_a_write_renews_in_time_stays() -> None:
    with Scenario(tune=reaps_soon) as s:
        client = s.client()
        client.create("/t", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=500)
        s.run_ms(400)
        s.stick_disk(ONE)
        s.stick_disk(TWO)
        written = client.ask(SetData("/t", b"1", ANY_VERSION))
        s.run_ms(200)  # the leader has ordered the write, and then the node's end
        s.free_disk(ONE)
        s.free_disk(TWO)
        s.run_until(lambda: written.answered)
        assert client.get("/t").data == b"1"


# ---- where there is no quorum


def read_only_mode(config: ReplicaConfig) -> ReplicaConfig:
    return replace(config, read_only_mode=True)


def a_minority_shows_nothing_to_who_has_seen_more() -> None:
    with Scenario(tune=read_only_mode) as s:
        client = s.client(at=THREE, timeout_ms=10_000, may_read_only=True)
        client.create("/n", b"1")
        client.sync()
        s.isolate(ONE)
        client.set("/n", b"2")
        client.move(ONE)
        s.run_ms(4_000)
        assert not client.connected
        client.move(TWO)
        assert client.get("/n").data == b"2"


STORIES: Mapping[str, Sequence[Story]] = {
    "watch-across-a-snapshot": (a_server_that_installs_a_snapshot_sends_its_clients_away,),
    "expired-by-a-pause": (a_server_that_did_not_run_takes_nobody_for_silent,),
    "expiry-ends-a-moved-session": (an_expiry_that_an_arrival_overtakes_ends_nothing,),
    "ttl-from-creation": (a_ttl_node_that_a_write_renews_in_time_stays,),
    "read-only-behind-its-client": (a_minority_shows_nothing_to_who_has_seen_more,),
    "ping-answered-locally": (a_ping_that_the_leader_never_heard_of_is_not_answered,),
}
