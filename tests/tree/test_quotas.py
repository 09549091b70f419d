"""Quotas: limits and usage in ZooKeeper's text, enforced by default, updated inside the transaction."""

from dataclasses import replace

import pytest

from zk.model.errors import QuotaExceededError
from zk.model.requests import Create, CreateMode, Delete, Multi, SetData
from zk.tree.quotas import QuotaLimits, format_limits, limits_path, parse_limits, stats_path
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Tree


def _set_quota(client: Caller, path: str, limits: QuotaLimits) -> None:
    """As ZooKeeper's setquota does it: the nodes on the way, the limits, the stats."""
    way = "/zookeeper/quota"
    for name in path[1:].split("/"):
        way += "/" + name
        if way not in client.driver.tree.znodes:
            client.do(Create(way, b""))
    client.do(Create(limits_path(path), format_limits(limits)))
    client.do(Create(stats_path(path), b"count=0,bytes=0"))


def _usage(driver: TreeDriver, path: str) -> bytes:
    """What the stats node says; a tree loaded from an image goes on from the same figures."""
    shown = driver.tree.znodes[stats_path(path)].data
    again = Tree(driver.tree.image())
    assert again._store.quotas.stats(path) == driver.tree._store.quotas.stats(path) == shown
    return shown


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        (b"count=5,bytes=100", QuotaLimits(5, 100)),
        (b"count=5,bytes=-1=;byteHardLimit=10;countHardLimit=7", QuotaLimits(5, -1, 7, 10)),
        (b"count=-1,bytes=-1=;countHardLimit=7", QuotaLimits(hard_count=7)),
        (b"", QuotaLimits()),
        (b"rubbish", QuotaLimits()),
        (b"count=,bytes=x", QuotaLimits()),
        (b"\xff\xfe", QuotaLimits()),
        (b"count=" + b"9" * 10_000, QuotaLimits()),
    ],
)
def test_limits_are_read_from_zookeepers_text(text: bytes, limits: QuotaLimits) -> None:
    assert parse_limits(text) == limits


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (QuotaLimits(5, 100), b"count=5,bytes=100"),
        (QuotaLimits(5, -1, 7, 10), b"count=5,bytes=-1=;byteHardLimit=10;countHardLimit=7"),
    ],
)
def test_limits_are_written_in_zookeepers_text(limits: QuotaLimits, text: bytes) -> None:
    assert format_limits(limits) == text
    assert parse_limits(text) == limits


def test_the_usage_counts_the_node_itself_and_bytes_are_data(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b"12"))
    client.do(Create("/q/a", b"345"))
    client.do(Create("/qq", b"not inside"))
    _set_quota(client, "/q", QuotaLimits())
    assert _usage(driver, "/q") == b"count=2,bytes=5"


def test_the_usage_is_updated_inside_the_transaction(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits())
    seen = []
    for request in (
        Create("/q/a", b"123"),
        SetData("/q/a", b"12345"),
        SetData("/q", b"1"),
        Create("/q/a/b", b"", mode=CreateMode.EPHEMERAL),
        Multi((Create("/q/c", b"1"), Delete("/q/a/b"), Create("/q/d", b"1"))),
        Delete("/q/d"),
    ):
        client.do(request)
        seen.append(_usage(driver, "/q"))
    assert seen == [
        b"count=2,bytes=3",
        b"count=2,bytes=5",
        b"count=2,bytes=6",
        b"count=3,bytes=6",
        b"count=4,bytes=8",
        b"count=3,bytes=7",
    ]


def test_the_end_of_a_session_gives_quota_back(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits())
    client.do(Create("/q/e", b"123", mode=CreateMode.EPHEMERAL))
    assert _usage(driver, "/q") == b"count=2,bytes=3"
    driver.expire(client)
    assert _usage(driver, "/q") == b"count=1,bytes=0"


def test_reaping_gives_quota_back(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    client.do(Create("/q/t", b"12", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=1))
    _set_quota(client, "/q", QuotaLimits())
    driver.time_ms += 1
    driver.reap("/q/t")
    assert _usage(driver, "/q") == b"count=1,bytes=0"


def test_a_hard_count_refuses_one_node_too_many(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits(hard_count=2))
    client.do(Create("/q/a", b""))
    assert client.apply(Create("/q/b", b"")).body == QuotaExceededError(
        "/q/b", "the quota of /q is 2 nodes: 2 are in use, and this needs 1 more"
    )
    client.do(SetData("/q/a", b"data is not counted"))
    client.do(Delete("/q/a"))
    client.do(Create("/q/b", b""))


def test_hard_bytes_refuse_growth_only(client: Caller) -> None:
    client.do(Create("/q", b"123"))
    _set_quota(client, "/q", QuotaLimits(hard_bytes=4))
    assert isinstance(client.apply(Create("/q/a", b"12")).body, QuotaExceededError)
    assert isinstance(client.apply(SetData("/q", b"12345")).body, QuotaExceededError)
    client.do(Create("/q/a", b"1"))
    client.do(SetData(limits_path("/q"), format_limits(QuotaLimits(hard_bytes=1))))
    client.do(SetData("/q", b"321"))
    client.do(SetData("/q", b"32"))
    client.do(Create("/q/empty", b""))
    assert isinstance(client.apply(SetData("/q", b"321")).body, QuotaExceededError)


def test_a_soft_limit_only_warns(client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits(count=2, bytes=3))
    assert client.apply(Create("/q/a", b"123")).over_quota == ()
    warned = client.apply(Create("/q/b", b""))
    assert (warned.over_quota, "/q/b" in client.driver.tree.znodes) == (("/q",), True)
    assert client.apply(SetData("/q/a", b"1234")).over_quota == ("/q",)
    assert client.apply(Delete("/q/b")).over_quota == ()


def test_where_there_is_a_hard_limit_the_soft_one_is_not_looked_at(client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits(count=1, hard_count=3))
    assert client.apply(Create("/q/a", b"")).over_quota == ()


def test_the_deepest_limit_applies(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    client.do(Create("/q/deep", b""))
    _set_quota(client, "/q", QuotaLimits(hard_count=3))
    _set_quota(client, "/q/deep", QuotaLimits(hard_count=10))
    for i in range(4):
        client.do(Create(f"/q/deep/{i}", b""))
    assert isinstance(client.apply(Create("/q/x", b"")).body, QuotaExceededError)
    assert (_usage(driver, "/q"), _usage(driver, "/q/deep")) == (b"count=6,bytes=0", b"count=5,bytes=0")


def test_a_quota_may_come_before_its_node(driver: TreeDriver, client: Caller) -> None:
    _set_quota(client, "/q", QuotaLimits(hard_count=1))
    assert _usage(driver, "/q") == b"count=0,bytes=0"
    client.do(Create("/q", b"1"))
    assert _usage(driver, "/q") == b"count=1,bytes=1"
    assert isinstance(client.apply(Create("/q/a", b"")).body, QuotaExceededError)


def test_a_limit_holds_also_without_a_stats_node(client: Caller) -> None:
    client.do(Create("/q", b""))
    client.do(Create("/zookeeper/quota/q", b""))
    client.do(Create(limits_path("/q"), format_limits(QuotaLimits(hard_count=1))))
    assert isinstance(client.apply(Create("/q/a", b"")).body, QuotaExceededError)


def test_a_quota_that_is_removed_limits_nothing(client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits(hard_count=1))
    client.do(Delete(limits_path("/q")))
    client.do(Create("/q/a", b""))
    assert client.driver.tree.znodes[stats_path("/q")].data == b"count=1,bytes=0"


def test_what_a_client_writes_into_the_stats_does_not_count(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits(hard_count=1))
    client.do(SetData(stats_path("/q"), b"count=-100,bytes=0"))
    assert _usage(driver, "/q") == b"count=1,bytes=0"
    assert isinstance(client.apply(Create("/q/a", b"")).body, QuotaExceededError)


def test_the_upkeep_of_the_stats_shows_in_no_version_and_no_change(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits())
    before = driver.tree.znodes[stats_path("/q")]
    applied = client.apply(Create("/q/a", b"1"))
    after = driver.tree.znodes[stats_path("/q")]
    assert [change.path for change in applied.changes] == ["/q/a"]
    assert (after.data, replace(after.stat, data_length=0)) == (
        b"count=2,bytes=1",
        replace(before.stat, data_length=0),
    )


@pytest.mark.parametrize("root", ["", "/zookeeper", "/zookeeper/quota"])
def test_the_root_and_the_service_itself_have_no_quota(client: Caller, root: str) -> None:
    way = "/zookeeper/quota"
    for name in root[1:].split("/") if root else []:
        way += "/" + name
        client.do(Create(way, b""))
    client.do(Create(limits_path(root), format_limits(QuotaLimits(hard_count=0, hard_bytes=0))))
    client.do(Create("/a", b"data"))
    client.do(Create("/zookeeper/quota/a", b"data"))


def test_replicas_agree_on_quotas(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/q", b""))
    _set_quota(client, "/q", QuotaLimits(hard_count=3))
    for i in range(4):
        client.apply(Create(f"/q/{i}", b"x"))
    other = Tree()
    for zxid, txn in driver.log:
        other.apply(zxid, txn)
    assert other.digest() == driver.tree.digest()
