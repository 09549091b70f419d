"""Arithmetic of majorities. Always over a list of voter sets: while the membership changes, two of them are in force
and a decision needs a majority of each.
"""

from collections.abc import Collection, Mapping, Sequence

from zk.model.record import ServerId, Zxid


def has_quorum(servers: Collection[ServerId], configs: Sequence[frozenset[ServerId]]) -> bool:
    """Whether `servers` hold a majority of every voter set. Servers that are no voters do not count."""
    return all(2 * len(config.intersection(servers)) > len(config) for config in configs)


def reached_by_quorum(values: Mapping[ServerId, int], configs: Sequence[frozenset[ServerId]]) -> int:
    """The highest value that a majority of every voter set has reached; 0 if there is none. A missing voter stands
    at 0."""
    reached = []
    for config in configs:
        ascending = sorted([values.get(server, 0) for server in config])
        reached.append(ascending[(len(config) - 1) // 2])  # those from here on are a majority
    return min(reached)


def committed_zxid(acked: Mapping[ServerId, Zxid], configs: Sequence[frozenset[ServerId]]) -> Zxid:
    """The highest zxid that a majority of every voter set has made durable; 0 if there is none.

    `acked` holds what each voter has made durable of the leader's history, the leader's own included; a missing voter
    has nothing. Source: Junqueira, Reed, Serafini, "Zab" (DSN 2011), phase 3.
    """
    return Zxid(reached_by_quorum(acked, configs))
