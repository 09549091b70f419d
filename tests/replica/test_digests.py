"""Digests: a contradiction is noticed, ignorance is not one; who stands against a majority halts."""

import logging
from typing import TYPE_CHECKING

from zk.broadcast.engine import Role
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import Created
from zk.model.requests import Create, OpenSession, Txn
from zk.replica.digests import KEPT_MAX, Digests

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.replica.conftest import Cluster

ME, OTHER, THIRD = ServerId(1), ServerId(2), ServerId(3)
THREE = (frozenset({ME, OTHER, THIRD}),)
AT = Zxid(2_048)


def digests_with(mine: str) -> Digests:
    digests = Digests(ME)
    digests.mine(AT, mine)
    return digests


def test_another_digest_at_the_same_zxid_contradicts() -> None:
    digests = digests_with("aa")
    assert digests.theirs(OTHER, AT, "bb")
    assert not digests.theirs(OTHER, AT, "aa")


def test_a_zxid_without_a_digest_here_contradicts_nothing() -> None:
    digests = Digests(ME)
    assert not digests.theirs(OTHER, AT, "bb")
    assert digests.own(AT) == ""
    assert digests.minority(AT, THREE) == []


def test_only_the_newest_digests_are_kept() -> None:
    digests = Digests(ME)
    for number in range(KEPT_MAX + 1):
        digests.mine(Zxid(number), "aa")
    assert (digests.own(Zxid(0)), digests.own(Zxid(1))) == ("", "aa")
    assert digests.latest == (KEPT_MAX, "aa")


def test_nobody_is_a_minority_until_a_quorum_agrees() -> None:
    digests = digests_with("aa")
    digests.theirs(OTHER, AT, "bb")
    assert digests.minority(AT, THREE) == []
    digests.theirs(THIRD, AT, "cc")
    assert digests.minority(AT, THREE) == []


def test_the_minority_is_whoever_differs_from_a_quorum_be_it_another_or_this_server() -> None:
    digests = digests_with("aa")
    digests.theirs(OTHER, AT, "bb")
    digests.theirs(THIRD, AT, "aa")
    assert digests.minority(AT, THREE) == [OTHER]
    digests.theirs(THIRD, AT, "bb")
    assert digests.minority(AT, THREE) == [ME]


def test_a_server_that_does_not_vote_makes_no_majority() -> None:
    digests = digests_with("aa")
    digests.theirs(ServerId(9), AT, "bb")
    digests.theirs(ServerId(8), AT, "bb")
    assert digests.minority(AT, THREE) == []


def spoil(cluster: "Cluster", server_id: ServerId) -> None:
    """Let a server's tree drift away, as a defect would."""
    tree = cluster.servers[server_id].tree
    request = OpenSession(SessionId(99), b"", 4_000, (), server_id, 1)
    tree.apply(tree.zxid, Txn(0, SessionId(0), Zxid(0), 0, 0, 0, request))


def test_a_follower_whose_tree_drifted_away_halts_and_the_others_go_on(new_cluster: "Callable[..., Cluster]") -> None:
    cluster = new_cluster(3, digest_every_txns=1)
    cluster.may_halt = True
    leader, odd = cluster.leader_id, cluster.follower_id
    client = cluster.connect(leader).open()
    spoil(cluster, odd)
    client.ask(Create("/a", b""))
    cluster.advance(500)
    assert list(cluster.halted) == [odd]
    assert "Move the data directory aside" in cluster.halted[odd]
    assert cluster.leader_id == leader
    assert isinstance(client.ask(Create("/b", b"")), Created)
    critical = [log.text for log in cluster.logs[leader] if log.level == logging.CRITICAL]
    assert len(critical) == 1
    assert f"server {odd} and this one hold different trees" in critical[0]


def test_a_leader_whose_tree_drifted_away_hands_over_and_halts(new_cluster: "Callable[..., Cluster]") -> None:
    cluster = new_cluster(3, digest_every_txns=1)
    cluster.may_halt = True
    odd, other = cluster.leader_id, cluster.follower_id
    client = cluster.connect(other).open()
    spoil(cluster, odd)
    client.ask(Create("/a", b""))
    cluster.run_until(lambda: odd in cluster.halted and cluster.leader is not None)
    assert list(cluster.halted) == [odd]
    assert cluster.leader_id != odd
    assert isinstance(cluster.connect(other).open().ask(Create("/b", b"")), Created)


def test_without_a_majority_nobody_halts_and_the_operator_is_told_once(new_cluster: "Callable[..., Cluster]") -> None:
    cluster = new_cluster(3, digest_every_txns=1)
    leader, odd = cluster.leader_id, cluster.follower_id
    client = cluster.connect(leader).open()
    cluster.cut_off(next(server for server in cluster.servers if server not in (leader, odd)))
    spoil(cluster, odd)
    client.ask(Create("/a", b""))
    cluster.advance(2_000)
    assert cluster.servers[leader].engine.role is Role.LEADING
    critical = [log.text for log in cluster.logs[leader] if log.level == logging.CRITICAL]
    assert len(critical) == 1
    assert "if there is no majority" in critical[0]
