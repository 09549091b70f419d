"""Arithmetic of majorities. Always over a list of voter sets: while the membership changes, two of them are in force
and a decision needs a majority of each.
"""

from collections.abc import Collection, Sequence

from zk.model.record import ServerId, Zxid


def has_quorum(servers: Collection[ServerId], configs: Sequence[frozenset[ServerId]]) -> bool:
    """Whether `servers` hold a majority of every voter set. Servers that are no voters do not count."""
    return all(2 * len(config.intersection(servers)) > len(config) for config in configs)


def reached_by_quorum(values: dict[ServerId, int], configs: Sequence[frozenset[ServerId]]) -> int:
    """The highest value that a majority of every voter set has reached; 0 if there is none. A missing voter stands
    at 0."""
    reached = -1
    for config in configs:
        ascending = [values.get(server, 0) for server in config]
        ascending.sort()
        middle = ascending[(len(ascending) - 1) // 2]  # those from here on are a majority
        if middle < reached or reached < 0:
            reached = middle
    return reached


def committed_zxid(acked: dict[ServerId, int], configs: Sequence[frozenset[ServerId]]) -> Zxid:
    """The highest zxid that a majority of every voter set has made durable; 0 if there is none.

    `acked` holds what each voter has made durable of the leader's history, the leader's own included; a missing voter
    has nothing. Source: Junqueira, Reed, Serafini, "Zab" (DSN 2011), phase 3.
    """
    return reached_by_quorum(acked, configs)  # type: ignore[return-value]  # Zxid(…) is a call, for each batch
