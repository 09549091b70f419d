"""What a server has whatever its role: the membership by its log, and how much of its history stays in memory."""

from random import Random

from zk.broadcast.membership import Membership
from zk.broadcast.records import Entry, EntryKind, Recovered
from zk.broadcast.zab.config import ALONE_HISTORY_BYTES_MAX, ZabConfig
from zk.broadcast.zab.node import Node
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import make_zxid

ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)
TWO_VOTERS, THREE_VOTERS = frozenset((ONE, TWO)), frozenset((ONE, TWO, THREE))


def node(voters: frozenset[ServerId]) -> Node:
    return Node(ZabConfig(ONE, voters, "test"), Recovered("disk-1", Epoch(0), None, (), False), Random(1), 0)


def membership(cluster_id: str, voters: frozenset[ServerId]) -> Membership:
    return Membership(cluster_id, (voters,), ((ONE, "disk-1"),))


def config(counter: int, content: Membership) -> Entry:
    return Entry(make_zxid(1, counter), EntryKind.CONFIG, content.encode())


def test_the_membership_in_force_is_the_logs_newest_also_when_the_log_is_cut() -> None:
    server = node(TWO_VOTERS)
    assert (server.membership, server.configs, server.voters) == (None, (TWO_VOTERS,), TWO_VOTERS)

    first, second = membership("first", TWO_VOTERS), membership("second", THREE_VOTERS)
    server.append((config(0, first), config(1, second), Entry(make_zxid(1, 2), EntryKind.TXN, b"a")))
    assert (server.membership, server.cluster_id, server.voters) == (second, "second", THREE_VOTERS)

    server.replace_above(make_zxid(1, 0), ())
    assert (server.membership, server.cluster_id, server.voters) == (first, "first", TWO_VOTERS)

    server.replace_above(Zxid(0), ())
    assert (server.membership, server.cluster_id, server.voters) == (None, "", TWO_VOTERS)


def test_a_server_alone_keeps_little_of_its_history_in_memory() -> None:
    server = node(frozenset((ONE,)))
    for counter in range(5):
        server.append((Entry(make_zxid(1, counter), EntryKind.TXN, bytes(ALONE_HISTORY_BYTES_MAX // 4)),))
    assert server.history_is_long

    server.forget_history(server.history.last)
    assert len(server.history) == 5, "what is not delivered is not forgotten"

    server.durable(5)
    server.commit = server.history.last
    server.deliver([])
    server.forget_history(server.history.last)
    assert not server.history_is_long
    assert server.history.bytes <= ALONE_HISTORY_BYTES_MAX
