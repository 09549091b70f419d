"""The fixtures, as the tests of somebody else's program use them."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

pytest_plugins = ("pytester",)


def run(pytester: pytest.Pytester, source: str) -> pytest.RunResult:
    pytester.makepyfile(source)
    return pytester.runpytest_subprocess("-q", "-W", "error", "-p", "no:cacheprovider")


def test_every_test_has_a_corner_of_one_server(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        from zkclient import ZooKeeper

        pids = set()

        def test_first(zk_client, zk_server):
            zk_client.create("/a", "first")
            assert zk_client.get_children("/") == ("a",)
            pids.add(zk_server.pid)

        def test_second(zk_client, zk_server, zk_hosts):
            assert zk_client.get_children("/") == ()
            with ZooKeeper(zk_hosts) as other:
                other.create("/a", "second")
            assert str(zk_client.get("/a")) == "second"
            assert pids == {zk_server.pid}
        """,
    )
    done.assert_outcomes(passed=2)


def test_the_client_for_coroutines_runs_under_every_plugin_that_runs_them(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        import asyncio

        import pytest

        @pytest.mark.trio
        async def test_pytest_trio(azk, zk_client):
            async with azk:
                await azk.create("/a")
            assert zk_client.get_children("/") == ("a",)

        @pytest.mark.anyio
        @pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
        async def test_anyio(azk, zk_client):
            async with azk as zk:
                await zk.create("/a")
            assert zk_client.get_children("/") == ("a",)

        def test_none(azk):
            async def create():
                async with azk:
                    return await azk.create("/a")

            assert asyncio.run(create()) == "/a"
        """,
    )
    done.assert_outcomes(passed=4)


def test_an_ensemble_belongs_to_one_test_which_may_harm_it(pytester: pytest.Pytester) -> None:
    done = run(
        pytester,
        """
        from zkclient import ZooKeeper

        def test_a_leader_dies_and_comes_back(zk_ensemble):
            with ZooKeeper(zk_ensemble.hosts, timeout=30) as zk:
                zk.create("/a")
                leader = zk_ensemble.leader()
                leader.kill()
                assert zk_ensemble.wait_for_leader(leader) is not leader
                assert zk.set("/a", "x").version == 1
                leader.start()
                assert zk_ensemble.wait_until_agreed().znodes > 1
            follower = zk_ensemble.others(zk_ensemble.leader())[0]
            follower.pause()
            follower.resume()
            follower.wait_until_serving()
        """,
    )
    done.assert_outcomes(passed=1)


def test_the_plugin_is_found_by_its_entry_point_and_brings_nothing_along() -> None:
    [found] = [point for point in entry_points(group="pytest11") if point.name == "zk"]
    assert found.value == "zk.testing.plugin"
    script = f"import pytest, sys; before = set(sys.modules); import {found.value}; print(*set(sys.modules) - before)"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert sorted(ran.stdout.split()) == ["zk", "zk.testing", "zk.testing.plugin"]
