"""(20) What a campaign must have seen: one that never met a truncation has proved nothing about truncations.

The names are those of `World.counters`; whoever adds a thing that can happen adds its name here.
"""

from collections.abc import Mapping

SEEDS_MIN = 100
"""So many runs, varied as a campaign varies them, must have seen everything."""

BROADCAST = (
    "deliver",
    "install",
    "truncate",
    "step-down",
    "maybe applied",
    "read",
    "Poll",
    "NewEpoch",
    "AckEpoch",
    "Join",
    "SyncLog",
    "SyncSnapshot",
    "Proposal",
    "Ack",
    "PingPeer",
    "HandOver",
    "leader",
    "diff",
    "snapshot",
    "TakeSnapshot",
    "StoreSnapshot",
    "refused",
)
"""The ordered log, and the disks and connections below it."""

SERVICE = (
    "answers",
    "sessions opened",
    "sessions resumed",
    "sessions expired",
    "writes resent",
    "session moves",
    "expiries",
    "stale session refused",
    "ghosts refused",
    "dedup hits",
    "failed multis",
    "refused by acl",
    "reads refused by acl",
    "quota exceeded",
    "trees brought",
    "restore refused",
    "container reaped",
    "ttl node reaped",
    "reap void",
    "members named",
    "watches set again",
    "watch events",
    "streams continued",
    "resyncs",
    "walks",
    "read-only connections",
    "reads without a quorum",
    "writes refused read-only",
    "locks held",
    "read locks held",
    "write locks held",
    "leases held",
    "leaders elected by the recipe",
    "locks lost",
    "acquires cancelled",
    "acquires timed out",
    "guarded writes",
    "leaders observed",
    "histories",
)
"""Where whole servers run with their clients."""

FAULTS = (
    "fault: crash",
    "fault: power cut",
    "fault: crash while starting",
    "fault: pause",
    "fault: hand over",
    "fault: set clock",
    "fault: partition",
    "fault: cut link",
    "fault: one-way loss",
    "fault: reset",
    "fault: stall",
    "half-open connection",
    "fault: slow disk",
    "fault: stuck disk",
    "fault: disk error",
    "fault: little space",
    "low on space",
    "space again",
    "snapshot given up",
    "fault: wiped disk",
    "fault: flipped bit",
    "fault: zeroed page",
    "fault: overwritten bytes",
    "fault: truncated file",
    "started from a damaged disk",
    "fault: old image",
    "fault: leader out of sight",
    "fault: process stalls",
    "fault: process dies",
    "fault: line dark",
    "fault: connections reset",
    "fault: contenders deleted",
)
"""Where three servers or more run: with fewer there is no minority to take a disk from."""


def unseen(counters: Mapping[str, int]) -> tuple[str, ...]:
    """What a campaign with these counters has never met."""
    return tuple(name for name in BROADCAST + SERVICE + FAULTS if not counters.get(name))
