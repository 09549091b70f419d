"""Connections between simulated clients and servers: in order both ways, until they break."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Protocol

from zk.model.events import WatchEvent
from zk.model.record import ConnectionId, ServerId
from zk.model.replies import Reply
from zk.model.requests import Call
from zk.replica.events import Answer, ClientConnected, ClientDisconnected, ClientReceived, CloseClient
from zk.sim.node import Node
from zk.sim.service import ClientEvent, ReplicaServer
from zk.sim.world import MS, World


class Caller(Protocol):
    """The client's side of a link."""

    def told(self, link: "Link", items: list[Reply | WatchEvent]) -> None: ...
    def lost(self, link: "Link") -> None: ...


class Observer(Protocol):
    """Hears what is said on all links, on the clients' side."""

    def sent(self, caller: Caller, call: Call) -> None: ...
    def answered(self, caller: Caller, reply: Reply) -> None: ...


class Links:
    """All connections of clients; they end with the server's process, and at random while `losses` holds."""

    def __init__(self, world: World, nodes: Sequence[Node[ReplicaServer]]) -> None:
        self.world = world
        self.losses = world.random.random() < 0.7
        self.observer: Observer | None = None
        self._nodes = tuple(nodes)
        self._links: dict[tuple[ServerId, ConnectionId], Link] = {}
        self._serials = count(1)
        for node in nodes:
            node.on_client = self._from_server

    def calm(self) -> None:
        """No more losses."""
        self.losses = False

    def connect(self, caller: Caller, at: ServerId | None = None) -> "Link | None":
        """A connection to the server `at`, or to some server, that runs; None if none does."""
        up = [node for node in self._nodes if node.up and at in (None, node.server)]
        if not up:
            return None
        node = self.world.random.choice(up)
        link = Link(self, caller, node, ConnectionId(next(self._serials)))
        self._links[node.server, link.connection] = link
        return link

    def _from_server(self, node: Node[ReplicaServer], effect: Answer | CloseClient) -> None:
        link = self._links.get((node.server, effect.connection))
        if link is None:
            return
        if isinstance(effect, CloseClient):
            del self._links[node.server, effect.connection]
            link.closed(effect.reason)
        elif self.losses and self.world.random.randrange(200) == 0:
            link.closed("a lost reply")  # the server has done what was asked, and the client never hears of it
        else:
            link.answer(effect.items)


class Link:
    """One connection of one client to one life of one server."""

    def __init__(self, links: Links, caller: Caller, node: Node[ReplicaServer], connection: ConnectionId) -> None:
        self.world = links.world
        self.links = links
        self.caller = caller
        self.node = node
        self.connection = connection
        self._life = node.incarnation
        self._open = True  # as the client sees it
        self._clear_us = {True: 0, False: 0}  # by direction: nothing sent later arrives before
        self._there(ClientConnected(connection, ()))

    def send(self, calls: Sequence[Call]) -> None:
        if not self._open:
            return
        if self.links.observer is not None:
            for call in calls:
                self.links.observer.sent(self.caller, call)
        self._there(ClientReceived(self.connection, calls))

    def break_off(self) -> None:
        """The client hears nothing more; the server learns of it behind what is under way."""
        if self._open:
            self._open = False
            self._there(ClientDisconnected(self.connection))

    def answer(self, items: list[Reply | WatchEvent]) -> None:
        self._after_delay(False, partial(self._told, items))

    def closed(self, reason: str) -> None:
        self.world.log(f"{self.node.server}", f"client connection #{self.connection} is over: {reason}")
        self._after_delay(False, self._lost)

    def _there(self, event: ClientEvent) -> None:
        self._after_delay(True, partial(self._arrive, event))

    def _arrive(self, event: ClientEvent) -> None:
        if self.node.up and self.node.incarnation == self._life:
            self.node.act(lambda server, now_ms: server.client(now_ms, event))
        else:
            self._after_delay(False, self._lost)

    def _told(self, items: list[Reply | WatchEvent]) -> None:
        if not self._open:
            return
        if self.links.observer is not None:
            for item in items:
                if isinstance(item, Reply):
                    self.links.observer.answered(self.caller, item)
        self.caller.told(self, items)

    def _lost(self) -> None:
        if self._open:
            self.break_off()
            self.caller.lost(self)

    def _after_delay(self, to_server: bool, action: Callable[[], None]) -> None:
        share = self.world.random.random()
        delay_us = int((0.1 + 4 * share**4) * MS)
        self._clear_us[to_server] = max(self._clear_us[to_server], self.world.now_us + delay_us)
        self.world.after(self._clear_us[to_server] - self.world.now_us, action)
