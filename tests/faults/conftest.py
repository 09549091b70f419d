"""Real faults on real processes, disks, networks and clocks: kill -9, SIGSTOP, full and damaged disks, partitions.

    python3 -m pytest tests/faults

is a run of its own, for some minutes: `python3 -m pytest` leaves this directory out. What needs root, or a command that
is not there, is skipped and says so. Faults of these kinds in virtual time, by the million, are zk/sim's; here it is
shown that real processes keep the same promises, and that what they log helps the operator.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from zk.history import Recorder, check
from zk.server.testing import Ensemble

UnderLoad = Callable[[Ensemble], AbstractContextManager[Recorder]]


@pytest.fixture
def under_load() -> UnderLoad:
    """Keep clients at work on an ensemble while the block does harm to it: `with under_load(ensemble) as recorder`.

    Behind the block the service must go on, all servers must hold the same tree, and what the clients saw must be
    linearizable, and in order for each session.
    """
    return _under_load


@contextmanager
def _under_load(ensemble: Ensemble) -> Iterator[Recorder]:
    with Recorder([str(server.address) for server in ensemble.servers]) as recorder:
        recorder.wait_for_answers(50)
        yield recorder
        recorder.wait_for_answers(50)
    ensemble.wait_until_agreed()
    check(recorder.history)
    for server in ensemble.servers:
        assert "Traceback" not in server.log
