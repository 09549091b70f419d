"""The simulated network keeps the promises of TCP: order within a connection, or its end."""

from zk.broadcast.engine import PeerConnected, PeerDisconnected
from zk.model.record import ConnectionId, ServerId
from zk.sim.network import Network
from zk.sim.world import MS, World

ONE, TWO = ServerId(1), ServerId(2)


class Recorder:
    """A station that writes down what it is told."""

    def __init__(self, server: ServerId) -> None:
        self.disk_uuid = f"disk of {server}"
        self.connections: list[PeerConnected] = []
        self.lost: list[PeerDisconnected] = []
        self.messages: list[tuple[ConnectionId, int]] = []
        self.heard: list[str] = []  # in this order

    def peer_connected(self, event: PeerConnected) -> None:
        self.connections.append(event)
        self.heard.append("connected")

    def peer_disconnected(self, event: PeerDisconnected) -> None:
        self.lost.append(event)
        self.heard.append("lost")

    def peer_received(self, peer: ServerId, connection: ConnectionId, message: int) -> None:
        self.messages.append((connection, message))
        self.heard.append("received")


def connected(seed: int) -> tuple[World, Network[int], Recorder, Recorder]:
    world = World(seed)
    network: Network[int] = Network(world, (ONE, TWO))
    one, two = Recorder(ONE), Recorder(TWO)
    network.start(ONE, one)
    network.start(TWO, two)
    world.run(100 * MS)
    return world, network, one, two


def test_both_ends_learn_of_a_connection_once_with_the_peers_disk() -> None:
    _, _, one, two = connected(seed=1)
    assert one.connections == [PeerConnected(TWO, ConnectionId(1), "disk of 2")]
    assert two.connections == [PeerConnected(ONE, ConnectionId(1), "disk of 1")]


def test_messages_of_a_connection_arrive_in_order_whatever_the_delays() -> None:
    for seed in range(20):
        world, network, _, two = connected(seed)
        for number in range(1_000):
            network.send(ONE, ConnectionId(1), number)
        world.run(world.now_us + 2_000 * MS)
        assert two.messages == [(ConnectionId(1), number) for number in range(1_000)]


def test_a_blocked_direction_delivers_late_or_breaks() -> None:
    outcomes = set()
    for seed in range(60):
        world, network, one, two = connected(seed)
        network.block(ONE, TWO)
        for number in range(3):
            network.send(ONE, ConnectionId(1), number)
        network.send(TWO, ConnectionId(1), 7)
        world.run(world.now_us + 1_000 * MS)
        assert (one.messages, two.messages) == ([(ConnectionId(1), 7)], [])
        network.open_all()
        network.send(ONE, ConnectionId(1), 3)
        world.run(world.now_us + 3_000 * MS)
        outcomes.add((tuple(number for _, number in two.messages), len(two.lost)))
    assert outcomes == {((0, 1, 2, 3), 0), ((), 1), ((0, 1, 2), 1)}


def test_what_stalled_on_a_connection_may_arrive_behind_a_newer_one() -> None:
    arrived = set()
    for seed in range(100):
        world, network, one, two = connected(seed)
        flow = network.stall(ONE, TWO)
        network.send(ONE, ConnectionId(1), 1)
        network.send(TWO, ConnectionId(1), 2)
        world.run(world.now_us + 1_000 * MS)
        assert (one.messages, two.messages) == ([(ConnectionId(1), 2)], [])
        flow()
        world.run(world.now_us + 3_000 * MS)
        behind_a_newer_one = two.heard[:3] == ["connected", "connected", "received"]
        arrived.add((len(two.messages), len(two.lost), behind_a_newer_one))
    assert arrived == {(1, 0, False), (0, 1, False), (1, 1, True)}


def test_a_stall_concerns_no_newer_connection() -> None:
    world, network, one, two = connected(seed=1)
    network.stall(ONE, TWO)
    network.reset(ONE, TWO)
    world.run(world.now_us + 3_000 * MS)
    network.send(ONE, one.connections[-1].connection, 1)
    world.run(world.now_us + 1_000 * MS)
    assert two.messages == [(two.connections[-1].connection, 1)]


def test_messages_are_prompt_unless_a_stall_or_a_spike_holds_them_up() -> None:
    _, network, _, _ = connected(seed=1)
    assert network.prompt()
    network.stall(ONE, TWO)
    assert not network.prompt()

    world, network, _, two = connected(seed=1)
    number = 0
    while network.prompt():
        network.send(ONE, ConnectionId(1), number)
        number += 1
    network.spikes = False
    world.run(world.now_us + 10 * MS)
    assert len(two.messages) < number
    assert not network.prompt()  # what the spike holds up is still under way
    world.run(world.now_us + 500 * MS)
    assert len(two.messages) == number
    assert network.prompt()


def test_after_a_reset_both_ends_hear_of_it_and_get_a_new_connection() -> None:
    world, network, one, two = connected(seed=3)
    network.reset(ONE, TWO)
    network.send(ONE, ConnectionId(1), 1)
    world.run(world.now_us + 3_000 * MS)
    assert one.lost == [PeerDisconnected(TWO, ConnectionId(1))]
    assert two.lost == [PeerDisconnected(ONE, ConnectionId(1))]
    assert [event.connection for event in one.connections] == [1, 2]
    assert [event.connection for event in two.connections] == [1, 2]
    assert two.messages == []


def test_a_dead_server_hears_nothing_and_its_peer_hears_of_its_death() -> None:
    world, network, one, two = connected(seed=4)
    network.send(TWO, ConnectionId(1), 1)
    network.stop(ONE)
    world.run(world.now_us + 3_000 * MS)
    assert (one.messages, one.lost) == ([], [])
    assert two.lost == [PeerDisconnected(ONE, ConnectionId(1))]
    again = Recorder(ONE)
    network.start(ONE, again)
    world.run(world.now_us + 100 * MS)
    assert again.connections == [PeerConnected(TWO, ConnectionId(2), "disk of 2")]


def test_now_and_then_a_message_goes_through_the_codec() -> None:
    world = World(5)
    network: Network[int] = Network(world, (ONE, TWO), codec=lambda number: -number)
    one, two = Recorder(ONE), Recorder(TWO)
    network.start(ONE, one)
    network.start(TWO, two)
    world.run(100 * MS)
    for number in range(1, 1_000):
        network.send(ONE, ConnectionId(1), number)
    world.run(3_000 * MS)
    recoded = [number for _, number in two.messages if number < 0]
    assert [abs(number) for _, number in two.messages] == list(range(1, 1_000))
    assert 30 < len(recoded) < 120
