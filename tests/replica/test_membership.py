"""Who votes is said by the log; an operator who started a server with something else is told."""

import logging
import random

from zk.broadcast.engine import Append, Durable
from zk.broadcast.membership import Membership
from zk.broadcast.records import Entry, EntryKind, Recovered
from zk.broadcast.zab import ZabConfig
from zk.model.record import Epoch, ServerId, make_zxid
from zk.replica.config import ReplicaConfig
from zk.replica.events import Log, Tick
from zk.replica.replica import Replica

ONE = ServerId(1)


def logged(flags: set[int], log: set[int]) -> list[Log]:
    """What server 1, started with `flags` as voters on a log that names `log`, says until it has led for a while."""
    membership = Membership("test", (frozenset(map(ServerId, log)),), ((ONE, "disk-1"),))
    config = ReplicaConfig(ZabConfig(ONE, frozenset(map(ServerId, flags)), "test"))
    entry = Entry(make_zxid(1, 1), EntryKind.CONFIG, membership.encode())
    recovered = Recovered("disk-1", Epoch(1), None, (Entry(make_zxid(1, 0), EntryKind.MARKER, b""), entry), False)
    replica = Replica(config, recovered, None, random.Random(1), 0, 0)
    said: list[Log] = []
    lsn = 0
    for now_ms in range(0, 5_000, 20):
        effects = replica.step(now_ms, Tick(now_ms))
        while effects:
            said += [effect for effect in effects if isinstance(effect, Log)]
            written = sum(len(effect.records) for effect in effects if isinstance(effect, Append))
            lsn += written
            effects = replica.step(now_ms, Durable(lsn)) if written else []
    assert replica.serving
    return said


def test_voters_that_differ_from_the_flags_are_said_once_with_both_sets_and_what_to_do() -> None:
    warnings = logged(flags={1, 2, 3}, log={1})
    assert [warning.level for warning in warnings] == [logging.WARNING]
    assert "are the servers [1], as its log says" in warnings[0].text
    assert "started with [1, 2, 3]" in warnings[0].text
    assert "start every server with exactly those" in warnings[0].text


def test_voters_that_agree_with_the_flags_are_not_worth_a_word() -> None:
    assert logged(flags={1}, log={1}) == []
