"""zkCli, as ZooKeeper has it: what its quota commands write is understood, and they print what they always do."""

import subprocess
from pathlib import Path

import pytest

from zk.server.testing import start_server
from zk.testing.zookeeper import JAR, zookeeper_missing

pytestmark = pytest.mark.skipif(zookeeper_missing() is not None, reason=str(zookeeper_missing()))


def zkcli(hosts: str, *commands: str) -> list[str]:
    """What these commands print, out and err together, without the program's own notes."""
    ran = subprocess.run(
        ["java", "-XX:TieredStopAtLevel=1", "-cp", str(JAR), "org.apache.zookeeper.ZooKeeperMain", "-server", hosts],
        input="\n".join((*commands, "quit")),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,  # it ends with what the last command came to
    )
    notes = ("SLF4J", "Connecting to", "Welcome to", "JLine support", "WATCHER::", "WatchedEvent")
    return [line for line in ran.stdout.splitlines() if line and not line.startswith(notes)]


def test_quotas_are_set_shown_kept_and_removed(tmp_path: Path) -> None:
    limits = "absolute path is /zookeeper/quota/q/zookeeper_limits"
    with start_server(tmp_path) as server:
        assert zkcli(server.hosts, "create /q data", "setquota -n 3 /q", "create /q/a 12345", "listquota /q") == [
            "Created /q",
            "Created /q/a",
            limits,
            "Output quota for /q count=3,bytes=-1=;byteHardLimit=-1;countHardLimit=-1",
            "Output stat for /q count=2,bytes=9",
        ]
        assert zkcli(server.hosts, "setquota -N 3 /q", "setquota -B 20 /q", "create /q/b 1", "listquota /q") == [
            "Created /q/b",
            limits,
            "Output quota for /q count=3,bytes=-1=;byteHardLimit=20;countHardLimit=3",
            "Output stat for /q count=3,bytes=10",
        ]
        assert zkcli(server.hosts, "create /q/c 1", "set /q/a 1234567890123456", "setquota -n 9 /q/a") == [
            "Quota has exceeded : /q/c",
            "Quota has exceeded : /q/a",
            "/q/a has a parent /q which has a quota",
        ]
        assert zkcli(server.hosts, "delquota -N /q", "create /q/c 1", "delquota /q", "listquota /q", "ls /q") == [
            "Created /q/c",
            limits,
            "quota for /q does not exist.",
            "[a, b, c]",
        ]
