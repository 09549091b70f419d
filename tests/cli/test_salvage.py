"""`zk salvage`: what a server that refuses to start tells its operator to run."""

import subprocess
import sys
from pathlib import Path

import anyio
from zkclient import AsyncZooKeeper

from zk.server.testing import ServerProcess, start_server


def zk(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "zk.cli", *arguments], capture_output=True, text=True, timeout=60)


async def write_some(address: str) -> None:
    async with AsyncZooKeeper(address) as client:
        for number in range(100):
            await client.create(f"/n{number}", "x" * 100)


def test_a_damaged_log_is_refused_and_salvaged_up_to_the_damage(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start_server(data) as server:
        anyio.run(write_some, str(server.address))
        server.kill()
    segment = min(data.glob("log-*"))
    content = bytearray(segment.read_bytes())
    position = content.find(b"/n50")
    content[position] ^= 0xFF
    segment.write_bytes(content)

    refused = ServerProcess(server.id, server.address, data)
    refused.start()
    assert refused.wait() == 1
    assert segment.name in refused.log
    assert "zk salvage --data" in refused.log

    done = zk("salvage", "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert f"damage: {segment.name} at offset" in done.stdout
    with start_server(data) as server:
        assert 4 + 50 <= server.status().znodes < 4 + 100


def test_a_log_without_damage_is_left_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with start_server(data) as server:
        server.terminate()
    before = {path.name: path.read_bytes() for path in data.iterdir() if path.name != "lock"}
    done = zk("salvage", "--data", str(data))
    assert done.returncode == 0
    assert "not damaged" in done.stdout
    assert {path.name: path.read_bytes() for path in data.iterdir() if path.name != "lock"} == before


def test_a_directory_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert zk("salvage", "--data", str(tmp_path / "nowhere")).returncode == 2
