"""The checkers agree with a service that is honest, with each other, and with trying everything."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk.history import History, HistoryError, Operation, check
from zk.history.history import FOR_EVER_US
from zk.history.linearizability import check_linearizability
from zk.history.model import Wrong, after
from zk.history.replay import check_replay
from zk.history.testing import SLOT_US, HonestService
from zk.model.errors import NoNodeError
from zk.model.replies import DataReply, StatReply
from zk.model.znode import Znode

SEEDS = st.integers(0, 2**32)


@settings(deadline=None)
@given(seed=SEEDS, clients=st.integers(1, 10), keys=st.integers(1, 4), lost=st.sampled_from((0.0, 0.05, 0.3)))
def test_what_an_honest_service_does_is_accepted(seed: int, clients: int, keys: int, lost: float) -> None:
    paths = [f"/{key}" for key in range(keys)]
    check(HonestService(Random(seed), clients, paths, lost=lost).history(150))


@settings(max_examples=300, deadline=None)
@given(seed=SEEDS, lost=st.sampled_from((0.0, 0.4)))
def test_the_search_agrees_with_trying_every_order(seed: int, lost: float) -> None:
    random = Random(seed)
    history = HonestService(random, 3, random.choice((("/a",), ("/a", "/b"))), spread=4, lost=lost).history(7)
    for _ in range(3):
        assert _is_linearizable(history) == any(map(_explains, _orders(history))), "\n".join(
            map(str, history.happenings)
        )
        history = _harmed(random, history)


@settings(deadline=None)
@given(seed=SEEDS)
def test_what_the_replay_accepts_has_an_order(seed: int) -> None:
    """If every outcome is known: then the order of the zxids is one."""
    random = Random(seed)
    history = _harmed(random, HonestService(random).history(40))
    try:
        check_replay(history)
    except HistoryError:
        return
    check_linearizability(history)


@pytest.mark.parametrize("check_one", [check_linearizability, check_replay])
def test_harm_is_found_where_it_does_harm(check_one: Callable[[History], object]) -> None:
    found = 0
    for seed in range(200):
        history = _harmed(Random(seed), HonestService(Random(seed), paths=("/a",), lost=0.02).history(60))
        try:
            check_one(history)
        except HistoryError:
            found += 1
    assert found > 40


def test_five_thousand_operations_of_ten_clients_take_few_states() -> None:
    history = HonestService(Random(1), clients=10, paths=("/a",), spread=10, lost=0.02).history(5_000)
    effort = check_linearizability(history)
    assert len(history.operations) > 4_500
    assert effort.states < 5_000


def _is_linearizable(history: History) -> bool:
    try:
        check_linearizability(history)
    except HistoryError:
        return False
    return True


def _orders(history: History) -> Iterator[Sequence[Operation]]:
    """All that time allows, with any of the unknown outcomes."""
    answered = [o for o in history.operations if o.answer is not None and (o.is_write or o.linearizable)]
    unknown = [o for o in history.operations if o.answer is None]
    for count in range(len(unknown) + 1):
        for done in combinations(unknown, count):
            for order in permutations((*answered, *done)):
                if all(second.returned_us >= first.called_us for first, second in combinations(order, 2)):
                    yield order


def _explains(order: Sequence[Operation]) -> bool:
    nodes = dict.fromkeys(("/a", "/b"))
    try:
        for operation in order:
            nodes.update(after(nodes, operation))
    except Wrong:
        return False
    return True


def _harmed(random: Random, history: History) -> History:
    """The same with something wrong, perhaps: an answer of another, another time, a write that was lost."""
    operations = list(history.operations)
    index, other = random.randrange(len(operations)), random.randrange(len(operations))
    harmed = operations[index]
    draw = random.random()
    if draw < 0.4:
        if type(harmed.request) is type(operations[other].request):
            operations[index] = replace(harmed, answer=operations[other].answer)
    elif draw < 0.6 and harmed.answer is not None:
        body = harmed.answer.body
        if isinstance(body, DataReply | StatReply):
            body = replace(body, stat=replace(body.stat, version=body.stat.version + 1))
        elif isinstance(body, Znode):
            body = DataReply(b"1", body.stat)
        else:
            body = NoNodeError("/a")
        operations[index] = replace(harmed, answer=replace(harmed.answer, body=body))
    elif draw < 0.8:
        by_us = random.randrange(-10, 10) * SLOT_US
        returned_us = min(harmed.returned_us + by_us, FOR_EVER_US)
        operations[index] = replace(harmed, called_us=harmed.called_us + by_us, returned_us=returned_us)
    else:
        del operations[index]
    return History(tuple(operations))
