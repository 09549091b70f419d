"""Connections between simulated servers: each direction delivers in order or breaks, as TCP does, and nothing more.

It owns connections, delays, blocked directions and reconnecting. The two ends of a connection learn of its beginning
and its end at different times, by serial numbers of their own; what was under way when a connection broke may or may
not arrive. A blocked direction stalls: its messages arrive late when it opens again, unless the connection breaks. One
connection alone may stall too, and what it held back arrive when there is a newer one. Messages travel as values; now
and then one is sent through `codec`, the wire's own encoding.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

from zk.broadcast.engine import PeerConnected, PeerDisconnected
from zk.model.record import ConnectionId, ServerId
from zk.sim.trace import describe
from zk.sim.world import MS, World

M = TypeVar("M")
"""What travels: messages of the engine, or of a whole replica."""
_Received = TypeVar("_Received", contravariant=True)

DELAY_MS_MAX = 8

_SPIKE_SHARE = 1 / 200
_CODEC_SHARE = 1 / 16
_HALF_OPEN_SHARE = 0.2


class Station(Protocol[_Received]):
    """A server as the network sees it."""

    @property
    def disk_uuid(self) -> str:
        """What its HELLO says."""

    def peer_connected(self, event: PeerConnected) -> None: ...
    def peer_disconnected(self, event: PeerDisconnected) -> None: ...
    def peer_received(self, peer: ServerId, connection: ConnectionId, message: _Received) -> None: ...


@dataclass(slots=True, eq=False)
class _End(Generic[M]):
    """One server's end of a connection. `stalled` is what a block in its direction, or a stall of it alone, holds
    back."""

    server: ServerId
    peer: ServerId
    serial: ConnectionId
    open: bool = False  # the server has been told that it stands, and not yet that it is gone
    stalls: bool = False
    clear_us: int = 0  # nothing sent from here arrives before: order within the direction
    stalled: list[M] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class _Connection(Generic[M]):
    ends: dict[ServerId, _End[M]]
    broken: bool = False  # nothing more is taken in for sending; the ends may not know yet

    def ways(self) -> Iterator[tuple[_End[M], _End[M]]]:
        """Each end with the far one that it sends to."""
        for end in self.ends.values():
            yield end, self.ends[end.peer]


class Network(Generic[M]):
    """All connections between `servers`. `spikes` lets a message take up to half a second now and then."""

    def __init__(
        self, world: World, servers: Sequence[ServerId], codec: Callable[[M], M] | None = None, spikes: bool = True
    ) -> None:
        self.world = world
        self.spikes = spikes
        self.delay_ms_max = DELAY_MS_MAX  # of a message without a spike; most take much less
        self._codec = codec
        self._servers = tuple(servers)
        self._stations: dict[ServerId, Station[M]] = {}
        self._serials = dict.fromkeys(servers, 0)
        self._current: dict[frozenset[ServerId], _Connection[M]] = {}
        self._by_end: dict[tuple[ServerId, ConnectionId], _Connection[M]] = {}
        self._blocked: set[tuple[ServerId, ServerId]] = set()
        self._stalls_from: dict[tuple[ServerId, ServerId], type] = {}

    # ---- servers come and go

    def start(self, server: ServerId, station: Station[M]) -> None:
        """`server` runs (again); it is connected to everyone who runs."""
        self._stations[server] = station
        for other in self._servers:
            if other != server:
                self._connect_after(server, other, self.world.random.randrange(1 * MS, 50 * MS))

    def stop(self, server: ServerId) -> None:
        """`server` died. It is told nothing; its peers hear of it sooner or later."""
        del self._stations[server]
        for other in self._servers:
            if other != server:
                self.reset(server, other)
        for key in [key for key in self._by_end if key[0] == server]:
            self._by_end.pop(key).ends[server].open = False

    # ---- what servers do

    def send(self, sender: ServerId, serial: ConnectionId, message: M) -> None:
        """Send on the connection that the sender knows by this number; in vain if that is over."""
        connection = self._by_end.get((sender, serial))
        if connection is None or connection.broken:
            return
        if self._codec is not None and self.world.random.random() < _CODEC_SHARE:
            message = self._codec(message)
        end = connection.ends[sender]
        way = sender, end.peer
        if self._stalls_from:
            from_type = self._stalls_from.get(way)
            if from_type is not None and isinstance(message, from_type):
                self.block(*way)
        if end.stalls or way in self._blocked:
            end.stalled.append(message)
        else:
            self._carry(end, connection.ends[end.peer], message)

    def close(self, server: ServerId, serial: ConnectionId) -> None:
        """`server` itself closes a connection."""
        connection = self._by_end.get((server, serial))
        if connection is not None:
            self._break(connection)

    # ---- faults

    def reset(self, one: ServerId, other: ServerId) -> None:
        """The connection between two servers breaks, if there is one."""
        connection = self._current.get(frozenset((one, other)))
        if connection is not None:
            self._break(connection)

    def stall(self, sender: ServerId, receiver: ServerId) -> Callable[[], None]:
        """What is sent on the connection that stands now does not arrive until the answer is called: then it does,
        or the connection breaks. A newer connection is not concerned."""
        connection = self._current.get(frozenset((sender, receiver)))
        if connection is None:
            return lambda: None
        connection.ends[sender].stalls = True
        return partial(self._flow, connection, sender)

    def block(self, sender: ServerId, receiver: ServerId) -> None:
        """Nothing arrives in this direction until it is opened."""
        self._stalls_from.pop((sender, receiver), None)
        self._blocked.add((sender, receiver))

    def block_from(self, sender: ServerId, receiver: ServerId, first: type[M]) -> None:
        """The same, beginning with the next message of the type `first` in this direction."""
        self._stalls_from[sender, receiver] = first

    def stalled(self, sender: ServerId, receiver: ServerId) -> tuple[M, ...]:
        """What a block in this direction holds back, oldest first."""
        connection = self._current.get(frozenset((sender, receiver)))
        return () if connection is None else tuple(connection.ends[sender].stalled)

    def connection(self, one: ServerId, other: ServerId) -> object:
        """What stands between two servers now, to be compared with later; None if nothing does."""
        return self._current.get(frozenset((one, other)))

    def linked(self, server: ServerId, peer: ServerId) -> bool:
        """Whether `server` believes to be connected to `peer`."""
        return any(
            holder == server and connection.ends[server].peer == peer and connection.ends[server].open
            for (holder, _), connection in self._by_end.items()
        )

    def prompt(self) -> bool:
        """Whether nothing under way arrives later than after the ordinary delay: no spike, no stall goes before it."""
        by_us = self.world.now_us + (self.delay_ms_max + 1) * MS
        ends = [end for connection in self._current.values() for end in connection.ends.values()]
        return all(end.clear_us <= by_us and not end.stalls and not end.stalled for end in ends)

    def isolate(self, group: Sequence[ServerId]) -> None:
        """Partition: nothing passes between `group` and the others."""
        for inside in group:
            for outside in self._servers:
                if outside not in group:
                    self.block(inside, outside)
                    self.block(outside, inside)

    def open_all(self) -> None:
        """Every direction is open again: of each connection, what stalled arrives now, or the connection breaks."""
        self._stalls_from.clear()
        self.heal(sorted(self._blocked))

    def heal(self, directions: Iterable[tuple[ServerId, ServerId]]) -> None:
        """The same for these directions."""
        for sender, receiver in directions:
            if self.stalled(sender, receiver) and self.world.random.random() < 0.5:
                self.reset(sender, receiver)
            self.open(sender, receiver)

    def open(self, sender: ServerId, receiver: ServerId) -> None:
        """This direction is open again, and what stalled arrives."""
        self._stalls_from.pop((sender, receiver), None)
        self._blocked.discard((sender, receiver))
        connection = self._current.get(frozenset((sender, receiver)))
        if connection is not None and not connection.ends[sender].stalls:
            self._deliver_stalled(connection.ends[sender], connection.ends[receiver])

    def calm(self) -> None:
        """No more faults: everything opens, delays are short, and who is not connected soon is."""
        self.spikes = False
        self.delay_ms_max = DELAY_MS_MAX
        for connection in self._current.values():
            for end, _ in connection.ways():
                end.stalls = False
        self.heal([(end.server, end.peer) for connection in self._current.values() for end, _ in connection.ways()])
        self.open_all()

    # ---- inside

    def _delay_us(self) -> int:
        random = self.world.random
        if self.spikes and random.random() < _SPIKE_SHARE:
            return random.randrange(10 * MS, 500 * MS)
        share = random.random()
        return int((0.1 + self.delay_ms_max * share**4) * MS)

    def _carry(self, end: _End[M], far: _End[M], message: M) -> None:
        now_us = self.world.now_us
        clear_us = now_us + self._delay_us()
        if clear_us < end.clear_us:
            clear_us = end.clear_us
        end.clear_us = clear_us
        self.world.after(clear_us - now_us, partial(self._arrive, end.server, far, message))

    def _deliver_stalled(self, end: _End[M], far: _End[M]) -> None:
        stalled, end.stalled = end.stalled, []
        for message in stalled:
            self._carry(end, far, message)

    def _flow(self, connection: _Connection[M], sender: ServerId) -> None:
        """A stall is over."""
        end = connection.ends[sender]
        if connection.broken or not end.stalls:
            return
        end.stalls = False
        if self.world.random.random() < 0.5:
            self._break(connection)
        elif (sender, end.peer) not in self._blocked:
            self._deliver_stalled(end, connection.ends[end.peer])

    def _arrive(self, sender: ServerId, far: _End[M], message: M) -> None:
        if far.open:
            if self.world.trace is not None:
                self.world.log(f"{far.server} <- {sender}", f"#{far.serial} {describe(message)}")
            self._stations[far.server].peer_received(sender, far.serial, message)

    def _connect_after(self, one: ServerId, other: ServerId, delay_us: int) -> None:
        self.world.after(delay_us, lambda: self._connect(one, other))

    def _connect(self, one: ServerId, other: ServerId) -> None:
        pair = frozenset((one, other))
        if pair in self._current or one not in self._stations or other not in self._stations:
            return  # whoever starts asks again
        if (one, other) in self._blocked or (other, one) in self._blocked:
            self._connect_after(one, other, self.world.random.randrange(20 * MS, 200 * MS))
            return
        connection: _Connection[M] = _Connection(
            {server: _End(server, peer, self._next_serial(server)) for server, peer in ((one, other), (other, one))}
        )
        self._current[pair] = connection
        for server, peer in ((one, other), (other, one)):
            self._by_end[server, connection.ends[server].serial] = connection
            delay_us = self.world.random.randrange(1 * MS, 5 * MS)
            connection.ends[peer].clear_us = self.world.now_us + delay_us  # nothing arrives before the connection does
            self.world.after(delay_us, partial(self._opened, connection.ends[server], peer))

    def _next_serial(self, server: ServerId) -> ConnectionId:
        self._serials[server] += 1
        return ConnectionId(self._serials[server])

    def _opened(self, end: _End[M], peer: ServerId) -> None:
        connection = self._by_end.get((end.server, end.serial))
        if connection is None or connection.broken or peer not in self._stations:
            return
        end.open = True
        self.world.log(str(end.server), f"connected to {peer} by #{end.serial}")
        self._stations[end.server].peer_connected(PeerConnected(peer, end.serial, self._stations[peer].disk_uuid))

    def _break(self, connection: _Connection[M]) -> None:
        if connection.broken:
            return
        connection.broken = True
        del self._current[frozenset(connection.ends)]
        random = self.world.random
        for end, far in connection.ways():
            told_us = random.randrange(0, 40 * MS)
            if self.spikes and random.random() < _HALF_OPEN_SHARE:
                # the far end hears the rest, then of the end: long after this one, and behind a newer connection
                end.clear_us = max(end.clear_us, self.world.now_us + random.randrange(10 * MS, 1_500 * MS))
                self._deliver_stalled(end, far)
                told_us += end.clear_us - self.world.now_us
                self.world.counters["half-open connection"] += 1
            end.stalled.clear()
            self.world.after(told_us, partial(self._closed, far))
        one, other = connection.ends
        self._connect_after(one, other, random.randrange(5 * MS, 200 * MS))

    def _closed(self, end: _End[M]) -> None:
        self._by_end.pop((end.server, end.serial), None)
        if end.open:
            end.open = False
            self.world.log(str(end.server), f"disconnected from {end.peer}, #{end.serial}")
            self._stations[end.server].peer_disconnected(PeerDisconnected(end.peer, end.serial))
