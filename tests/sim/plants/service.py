"""Planted bugs of the layers above the engine: sessions, watches, reads."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from zk.model.acl import Acl
from zk.model.events import WatchEvent
from zk.model.record import ConnectionId
from zk.model.requests import Call
from zk.replica.client import Client, Pending
from zk.replica.clients import Clients
from zk.replica.reads import LinearizableReads
from zk.sim import Plant
from zk.sim.plant import patched
from zk.tree.changes import Change
from zk.tree.watches import WatchTable

received = Clients.received
fire = WatchTable.fire


def needs_no_confirmation(self: LinearizableReads, client: Client, pending: Pending) -> None:
    pending.at_least = pending.call.at_least


def forgets_answers_at_once(self: Clients, connection: ConnectionId, calls: Sequence[Call]) -> None:
    received(self, connection, [replace(call, floor=call.xid) for call in calls])


def fires_not_always(
    self: WatchTable, change: Change, may_read: Callable[[ConnectionId, tuple[Acl, ...]], bool]
) -> Sequence[tuple[ConnectionId, WatchEvent]]:
    return fire(self, change, may_read) if change.zxid % 20 else ()


def plant(name: str, what: str, invariants: str, seeds: int, *changes: tuple[object, str, object]) -> Plant:
    """`invariants` are separated by commas."""
    broken = frozenset(invariant.strip() for invariant in invariants.split(","))
    return Plant(name, what, lambda: patched(*changes), broken, seeds)


PLANTS = (
    plant(
        "read-by-deposed-leader",
        "a linearizable read is answered without the leader's word",
        "linearizable reads",
        10,
        (LinearizableReads, "add", needs_no_confirmation),
    ),
    plant(
        "answers-forgotten-at-once",
        "the answers kept for a resend are dropped before they have arrived",
        "exactly once, effects, all or nothing, sequence numbers",
        10,
        (Clients, "received", forgets_answers_at_once),
    ),
    plant(
        "watch-lost",
        "now and then a change fires no watch",
        "watches",
        10,
        (WatchTable, "fire", fires_not_always),
    ),
)
