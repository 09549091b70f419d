"""This service answers as ZooKeeper does: the same steps against both, and what was heard is the same.

    ZK_DIFFERENTIAL_EXAMPLES=5000 python -m pytest tests/zookeeper/test_differential.py    # the long run

What differs on purpose is listed in docs/zookeeper.md, and is not done here: see steps.py and differential.py.
"""

import os
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings

from tests.zookeeper.differential import SESSION_TIMEOUT_MS_MIN, Ask, Attach, Await, Renew, Sides, Step, Vanish
from tests.zookeeper.steps import BASE, ODD, SENSIBLE
from zk.model.requests import ClientRequest, Create, CreateMode, Delete, Exists, GetChildren, GetData, SetData

EXAMPLES = int(os.environ.get("ZK_DIFFERENTIAL_EXAMPLES", "0"))


def compare(sides: Sides, steps: Sequence[Step]) -> None:
    its, ours = (side.run(steps, BASE) for side in sides)
    for step, expected, heard in zip(steps, its, ours, strict=True):
        assert heard == expected, f"at {step}"


def examples(count: int) -> settings:
    """`count` that are always the same; in the long run as many others as it is told to."""
    return settings(
        max_examples=EXAMPLES or count,
        derandomize=not EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@examples(50)
@given(SENSIBLE)
def test_well_written_clients_hear_what_zookeeper_tells_them(sides: Sides, steps: list[Step]) -> None:
    compare(sides, steps)


@examples(30)
@given(ODD)
def test_other_clients_do_too(sides: Sides, steps: list[Step]) -> None:
    compare(sides, steps)


# ---- what hypothesis does not come to


def frame_bytes(data: bytes) -> int:
    """How long the frame of SetData(BASE, data) is."""
    return 8 + 4 + len(BASE) + 4 + len(data) + 4


def test_a_request_may_be_as_large_as_jute_maxbuffer_and_no_larger(sides: Sides) -> None:
    fits = bytes(0xFFFFF - frame_bytes(b""))
    for data in (fits, fits + b"x"):
        compare(sides, [Ask(0, SetData(BASE, data)), Ask(1, GetData(BASE))])


def test_a_quota_is_enforced_alike(sides: Sides) -> None:
    quota = f"/zookeeper/quota{BASE}"
    limits = b"count=2,bytes=2=;byteHardLimit=8;countHardLimit=4"
    set_up: list[ClientRequest] = [
        Create(quota, b""),
        Create(f"{quota}/zookeeper_limits", limits),
        Create(f"{quota}/zookeeper_stats", b""),
    ]
    used: list[ClientRequest] = [
        Create(f"{BASE}/a", b"12345678"),
        Create(f"{BASE}/b", b""),
        Create(f"{BASE}/c", b""),
        SetData(f"{BASE}/a", b"123456789"),
        SetData(f"{BASE}/a", b"1"),
        SetData(f"{BASE}/b", b"1234567"),
        SetData(f"{BASE}/b", b"12345678"),
        Delete(f"{BASE}/b"),
        Create(f"{BASE}/a/c", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL),
        Create(f"{BASE}/d", b"1"),
        SetData(f"{quota}/zookeeper_limits", b"count=1,bytes=-1"),
        Create(f"{BASE}/d", b"123456789"),
        Delete(f"{quota}/zookeeper_limits"),
    ]
    compare(sides, [Ask(0, request) for request in (*set_up, *used, GetChildren(BASE))])


def test_the_ephemerals_of_a_lost_session_go_with_it(sides: Sides) -> None:
    mine = f"{BASE}/mine"
    steps: list[Step] = [
        Renew(0, timeout_ms=SESSION_TIMEOUT_MS_MIN),
        Ask(0, Create(mine, b"", mode=CreateMode.EPHEMERAL)),
        Ask(1, Exists(mine, watch=True)),
        Ask(1, GetChildren(BASE, watch=True)),
        Vanish(0),
        Await(1),
        Ask(1, Exists(mine)),
        Attach(0),
    ]
    compare(sides, steps)
