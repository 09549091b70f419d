from collections.abc import Sequence
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zk.broadcast.quorum import committed_zxid, has_quorum
from zk.model.record import ServerId

SERVERS = [ServerId(n) for n in range(1, 8)]
Config = frozenset[ServerId]
configs = st.lists(st.frozensets(st.sampled_from(SERVERS), min_size=1), min_size=1, max_size=2)
acked = st.dictionaries(st.sampled_from(SERVERS), st.integers(0, 5))


def majorities(config: Config) -> list[Config]:
    return [
        frozenset(group)
        for size in range(len(config) // 2 + 1, len(config) + 1)
        for group in combinations(sorted(config), size)
    ]


@given(st.frozensets(st.sampled_from(SERVERS)), configs)
def test_a_quorum_holds_a_majority_of_every_config(servers: Config, in_force: Sequence[Config]) -> None:
    assert has_quorum(servers, in_force) == all(
        any(majority <= servers for majority in majorities(config)) for config in in_force
    )


@given(acked, configs)
def test_committed_is_the_highest_that_a_majority_of_every_config_holds(
    zxids: dict[ServerId, int], in_force: Sequence[Config]
) -> None:
    held = [z for z in range(6) if has_quorum({s for s in SERVERS if zxids.get(s, 0) >= z}, in_force)]
    assert committed_zxid(zxids, in_force) == max(held)


@pytest.mark.parametrize(("voters", "needed"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)])
def test_how_many_make_a_quorum(voters: int, needed: int) -> None:
    config = frozenset(SERVERS[:voters])
    assert [has_quorum(SERVERS[:n], [config]) for n in range(voters + 1)] == [n >= needed for n in range(voters + 1)]


def test_whoever_is_no_voter_never_counts() -> None:
    config = frozenset(SERVERS[:3])
    assert not has_quorum([SERVERS[0], *SERVERS[3:]], [config])
    assert committed_zxid({SERVERS[0]: 9, SERVERS[3]: 9, SERVERS[4]: 9}, [config]) == 0


def test_any_two_quorums_of_a_config_share_a_server() -> None:
    for size in range(1, 8):
        quorums = majorities(frozenset(SERVERS[:size]))
        assert all(one & other for one in quorums for other in quorums)
