"""Containers and TTL nodes: found by the leader, deleted through the log, the condition checked when applied."""

from zk.model.errors import BadArgumentsError, NoNodeError
from zk.model.replies import DONE
from zk.model.requests import Create, CreateMode, Delete, SetData
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Tree


def _container(client: Caller, path: str) -> None:
    client.do(Create(path, b"", mode=CreateMode.CONTAINER))


def _ttl(client: Caller, path: str, ttl_ms: int) -> None:
    client.do(Create(path, b"", mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=ttl_ms))


def _reapable(driver: TreeDriver, now_ms: int | None = None) -> list[str]:
    """Asked twice: a candidate stays one until it is gone; and a tree loaded from an image finds the same."""
    now_ms = driver.time_ms if now_ms is None else now_ms
    found = driver.tree.reapable(now_ms)
    assert driver.tree.reapable(now_ms) == found
    assert sorted(Tree(driver.tree.image()).reapable(now_ms)) == sorted(found)
    return found


def test_a_container_that_had_children_and_has_none_is_reaped(driver: TreeDriver, client: Caller) -> None:
    _container(client, "/c")
    assert _reapable(driver) == []
    client.do(Create("/c/a", b""))
    assert _reapable(driver) == []
    client.do(Delete("/c/a"))
    assert _reapable(driver) == ["/c"]
    assert driver.reap("/c").body == DONE
    assert "/c" not in driver.tree.znodes
    assert _reapable(driver) == []


def test_a_container_in_use_again_is_spared_by_the_check_at_apply(driver: TreeDriver, client: Caller) -> None:
    _container(client, "/c")
    assert isinstance(driver.reap("/c").body, BadArgumentsError)
    client.do(Create("/c/a", b""))
    client.do(Delete("/c/a"))
    assert _reapable(driver) == ["/c"]
    client.do(Create("/c/b", b""))
    assert isinstance(driver.reap("/c").body, BadArgumentsError)
    assert _reapable(driver) == []
    assert "/c/b" in driver.tree.znodes


def test_a_ttl_node_is_reaped_when_it_was_not_modified_for_its_ttl(driver: TreeDriver, client: Caller) -> None:
    _ttl(client, "/t", 100)
    start = driver.time_ms
    assert _reapable(driver, start + 99) == []
    assert _reapable(driver, start + 100) == ["/t"]
    driver.time_ms = start + 99
    assert isinstance(driver.reap("/t").body, BadArgumentsError)
    driver.time_ms = start + 100
    assert driver.reap("/t").body == DONE
    assert "/t" not in driver.tree.znodes


def test_a_modification_starts_the_ttl_anew(driver: TreeDriver, client: Caller) -> None:
    _ttl(client, "/t", 100)
    start = driver.time_ms
    driver.time_ms = start + 60
    client.do(SetData("/t", b"x"))
    assert _reapable(driver, start + 100) == []
    assert _reapable(driver, start + 160) == ["/t"]
    driver.time_ms = start + 100
    assert isinstance(driver.reap("/t").body, BadArgumentsError)


def test_a_ttl_node_with_children_stays(driver: TreeDriver, client: Caller) -> None:
    _ttl(client, "/t", 100)
    client.do(Create("/t/a", b""))
    driver.time_ms += 500
    assert _reapable(driver) == []
    assert isinstance(driver.reap("/t").body, BadArgumentsError)
    client.do(Delete("/t/a"))
    assert _reapable(driver) == ["/t"]


def test_a_node_of_another_kind_is_never_reaped(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/a", b""))
    client.do(Create("/a/b", b""))
    client.do(Delete("/a/b"))
    assert isinstance(driver.reap("/a").body, BadArgumentsError)
    assert isinstance(driver.reap("/none").body, NoNodeError)
    assert _reapable(driver, driver.time_ms + 10**9) == []


def test_a_name_that_is_used_again_has_its_new_ttl(driver: TreeDriver, client: Caller) -> None:
    start = driver.time_ms
    _ttl(client, "/t", 1_000)
    client.do(Delete("/t"))
    _ttl(client, "/t", 10)
    assert _reapable(driver, start + 10) == ["/t"]
    client.do(Delete("/t"))
    _ttl(client, "/t", 5_000)
    assert _reapable(driver, start + 1_000) == []
    client.do(Delete("/t"))
    client.do(Create("/t", b""))
    assert _reapable(driver, start + 10_000) == []


def test_candidates_are_handed_out_in_bounded_portions(driver: TreeDriver, client: Caller) -> None:
    for i in range(4):
        _ttl(client, f"/t{i}", 10 + i)
    for i in range(3):
        _container(client, f"/c{i}")
        client.do(Create(f"/c{i}/a", b""))
        client.do(Delete(f"/c{i}/a"))
    now_ms = driver.time_ms + 50
    assert driver.tree.reapable(now_ms, 2) == ["/c0", "/c1"]
    assert driver.tree.reapable(now_ms, 5) == ["/c0", "/c1", "/c2", "/t0", "/t1"]
    assert driver.tree.reapable(now_ms, 50) == ["/c0", "/c1", "/c2", "/t0", "/t1", "/t2", "/t3"]


def test_the_index_stays_small_when_ttl_nodes_come_and_go(driver: TreeDriver, client: Caller) -> None:
    for i in range(1_000):
        _ttl(client, f"/t{i}", 1_000_000)
        client.do(Delete(f"/t{i}"))
    _ttl(client, "/t", 1_000_000)
    for _ in range(1_000):
        driver.time_ms += 1
        client.do(SetData("/t", b""))
    assert len(driver.tree._store.reap_index._heap) <= 66
    assert _reapable(driver, driver.time_ms + 999_999) == []
    assert _reapable(driver, driver.time_ms + 1_000_000) == ["/t"]
