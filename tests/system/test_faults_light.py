"""Real faults on real processes: paused, restarted and killed servers, hostile bytes, dead clients; while clients are
at it, and without losing what was promised to them."""

import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import anyio
import pytest
from zkclient import AsyncZooKeeper, EventType, State

from tests.disks import quick_directory
from zk.model.limits import MIB
from zk.model.requests import Call, GetStatus
from zk.server.server import FOLLOWER_TIMEOUT_MS, LEADER_TIMEOUT_MS
from zk.server.testing import Ensemble, ServerProcess, start_ensemble
from zk.wire.native import ClientConnection
from zk.wire.peer import MAGIC as PEER_MAGIC

FAILURE_TIMEOUT_S = (FOLLOWER_TIMEOUT_MS + LEADER_TIMEOUT_MS) / 1_000  # by then a follower has given its leader up


def addresses(servers: Sequence[ServerProcess]) -> str:
    return ",".join(str(server.address) for server in servers)


def others(ensemble: Ensemble, one: ServerProcess) -> list[ServerProcess]:
    return [server for server in ensemble.servers if server is not one]


def traceless(ensemble: Ensemble) -> bool:
    return not any("Traceback" in server.log for server in ensemble.servers)


# ---- paused servers


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_server_that_was_paused_answers_nothing_from_the_past_and_ends_no_session(tmp_path: Path, role: str) -> None:
    async def pause(ensemble: Ensemble, paused: ServerProcess) -> None:
        rest = others(ensemble, paused)
        async with (
            AsyncZooKeeper(str(paused.address), session_timeout_ms=20_000, timeout=15) as here,
            AsyncZooKeeper(addresses(rest), session_timeout_ms=20_000, timeout=15) as there,
        ):
            states: list[State] = []
            here.add_listener(states.append)
            there.add_listener(states.append)
            await there.create("/data", "old")
            await here.create("/here", ephemeral=True)
            await there.create("/there", ephemeral=True)
            paused.signal(signal.SIGSTOP)
            await there.set("/data", "new")
            await anyio.sleep(FAILURE_TIMEOUT_S)
            async with anyio.create_task_group() as tasks:

                async def read() -> None:
                    assert str(await here.get("/data", read="linearizable")) == "new"

                tasks.start_soon(read)  # it waits in the socket of the paused server
                await anyio.sleep(0.05)
                paused.signal(signal.SIGCONT)
            assert set(await here.get_children("/")) >= {"here", "there"}
            assert State.LOST not in states

    with start_ensemble(tmp_path) as ensemble:
        leader = ensemble.leader()
        paused = leader if role == "leader" else others(ensemble, leader)[0]
        anyio.run(pause, ensemble, paused)
        ensemble.wait_until_agreed()


# ---- restarted servers


def test_a_follower_that_missed_fifty_thousand_writes_catches_up_by_its_log(tmp_path: Path) -> None:
    async def write(servers: str) -> None:
        async def work(number: int) -> None:
            for count in range(50):
                await zk.create(f"/{number}-{count}")

        async with AsyncZooKeeper(servers, timeout=100) as zk, anyio.create_task_group() as tasks:
            for number in range(1_000):  # at a time: the disk may be slow
                tasks.start_soon(work, number)

    with start_ensemble(tmp_path) as ensemble:
        leader = ensemble.leader()
        follower = others(ensemble, leader)[0]
        follower.kill()
        anyio.run(write, addresses(others(ensemble, follower)))
        follower.start()
        ensemble.wait_until_agreed(60)  # all that it missed takes a busy machine a while
        assert follower.status().znodes > 50_000
        installed = list(follower.data.glob("snapshot-*-*"))  # named by the stream that they came with
        assert installed == []


def test_a_rolling_restart_under_load_fails_no_write() -> None:
    async def write(servers: str, path: str, done: anyio.Event, gaps_s: list[float]) -> None:
        async with AsyncZooKeeper(servers, session_timeout_ms=10_000, timeout=15) as zk:
            await zk.create(path)
            session_id, count = zk.session_id, 0
            written_s = time.monotonic()
            while not done.is_set():
                await zk.create(f"{path}/n-", sequence=True)
                count += 1
                assert (await zk.set(path, str(count))).version == count, "a write was lost or done twice"
                before_s, written_s = written_s, time.monotonic()
                gaps_s.append(written_s - before_s)
            assert len(await zk.get_children(path)) == count
            assert zk.session_id == session_id

    async def restart_all(ensemble: Ensemble) -> list[float]:
        gaps_s: list[float] = []
        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(write, ensemble.hosts, f"/writer-{number}", done, gaps_s)
            for server in ensemble.servers:
                assert await anyio.to_thread.run_sync(server.terminate) == 0
                server.start()
                await anyio.to_thread.run_sync(server.wait_until_serving)
            done.set()
        return gaps_s

    with quick_directory() as directory, start_ensemble(directory) as ensemble:
        gaps_s = anyio.run(restart_all, ensemble)
        assert max(gaps_s) < 2  # usually 0.1, but for what a disk may take
        ensemble.wait_until_agreed()


def test_a_watch_stream_misses_nothing_while_its_servers_are_killed(tmp_path: Path) -> None:
    wanted = [f"/watched/{number}" for number in range(300)]

    async def watch(ensemble: Ensemble) -> list[tuple[EventType, str]]:
        seen = []
        servers = ensemble.hosts
        async with AsyncZooKeeper(servers, timeout=15) as watcher, AsyncZooKeeper(servers, timeout=15) as writer:
            await writer.create("/watched")
            await watcher.sync()
            stream = watcher.watch("/watched", recursive=True)
            async with anyio.create_task_group() as tasks:

                async def write() -> None:
                    for number, path in enumerate(wanted):
                        await writer.create(path)
                        if number in (100, 200):
                            attached = watcher.statistics().server
                            killed = next(server for server in ensemble.servers if str(server.address) == attached)
                            await anyio.to_thread.run_sync(killed.kill)
                            killed.start()
                            await anyio.to_thread.run_sync(killed.wait_until_serving)

                tasks.start_soon(write)
                async for event in stream:
                    seen.append((event.type, event.path))
                    if event.path == wanted[-1]:
                        break
        return seen

    with start_ensemble(tmp_path) as ensemble:
        assert anyio.run(watch, ensemble) == [(EventType.CREATED, path) for path in wanted]


# ---- dead clients

CLIENT = """
import anyio, sys
from zkclient import AsyncZooKeeper

async def main():
    async with AsyncZooKeeper("{servers}", session_timeout_ms=1_500) as zk:
        await zk.create("/ephemeral", ephemeral=True)
        print("created", flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        await zk.sync()
        print("synced", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


def test_an_ephemeral_goes_when_its_killed_client_has_been_silent_for_the_timeout_and_not_before() -> None:
    async def gone_after_s(servers: str, client: "subprocess.Popen[bytes]") -> float:
        """Counted from before its last words."""
        async with AsyncZooKeeper(servers, timeout=15) as zk:
            await anyio.sleep(2)  # longer than the timeout: a client that lives keeps it
            assert await zk.exists("/ephemeral") is not None
            asked_s = time.monotonic()
            assert await anyio.to_thread.run_sync(last_word, client) == b"synced\n"
            while await zk.exists("/ephemeral") is not None:
                await anyio.sleep(0.01)
            return time.monotonic() - asked_s

    def last_word(client: "subprocess.Popen[bytes]") -> bytes:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"\n")
        client.stdin.flush()
        said = client.stdout.readline()
        client.kill()
        return said

    options = ["--session-timeout-ms", "500:40000"]
    with quick_directory() as directory, start_ensemble(directory, options=options) as ensemble:
        command = [sys.executable, "-c", CLIENT.format(servers=ensemble.hosts)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdout is not None
            assert client.stdout.readline() == b"created\n"
            assert 1.5 <= anyio.run(gone_after_s, ensemble.hosts, client) < 5


# ---- hostile bytes

needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it looks up memory and ports in /proc")


def resident_mib(server: ServerProcess) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def peer_port(server: ServerProcess) -> int:
    """Where it listens for the other servers, as its command line says."""
    arguments = Path(f"/proc/{server.pid}/cmdline").read_text().split("\0")
    return int(next(text for text in arguments if text.startswith(f"{server.id}=")).rpartition(":")[2])


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 5)


def blast(port: int, data: bytes) -> None:
    """Send `data`, and wait until the server has closed the connection."""
    with connect(port) as hostile:
        try:
            hostile.sendall(data)
            hostile.shutdown(socket.SHUT_WR)
            while hostile.recv(65_536):
                pass
        except OSError:
            pass  # closed while it was still sent to: as good


def answer_s(server: ServerProcess) -> float:
    """How long an honest client waits, at best: a busy machine may stall at any moment."""

    def once() -> float:
        asked_s = time.monotonic()
        server.status()
        return time.monotonic() - asked_s

    return min(once() for _ in range(5))


HUGE = [  # headers that promise gigabytes, nesting without end
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff\x01",
    b"\xc6\xff\xff\xff\xff" + bytes(100_000),
    b"\x94\x01\x02\xdb\x7f\xff\xff\xff" + bytes(100_000),
    b"\x91" * 50_000,
]


@needs_proc
def test_hostile_bytes_harm_nobody_else(tmp_path: Path) -> None:
    chance = random.Random(5)
    hello = ClientConnection("hostile").hello()
    call = ClientConnection("hostile").call(Call(1, GetStatus()))
    with start_ensemble(tmp_path) as ensemble:
        leader = ensemble.leader()
        epoch, before_mib = leader.status().epoch, resident_mib(leader)
        for port, greeting in ((leader.address.port, hello), (peer_port(leader), PEER_MAGIC)):
            for _ in range(100):
                blast(port, chance.randbytes(chance.randrange(1, 3_000)))
                blast(port, greeting + chance.randbytes(chance.randrange(1, 3_000)))
                blast(port, greeting[: chance.randrange(1, len(greeting))])
                blast(port, hello + call[: chance.randrange(1, len(call))])
            for data in HUGE:
                blast(port, greeting + data)
            assert answer_s(leader) < 0.5
        assert resident_mib(leader) < before_mib + 40
        assert {server.status().epoch for server in ensemble.servers} == {epoch}
        assert traceless(ensemble)


@needs_proc
def test_a_stranger_at_the_port_for_servers_can_not_fill_the_memory(tmp_path: Path) -> None:
    """An unfinished message of 60 MB on each of several connections that never said a Hello."""
    with start_ensemble(tmp_path) as ensemble, ExitStack() as stack:
        leader = ensemble.leader()
        before_mib = resident_mib(leader)
        for _ in range(5):
            stranger = stack.enter_context(connect(peer_port(leader)))
            try:
                stranger.sendall(PEER_MAGIC + b"\x96\x01\xc6" + (60 * MIB).to_bytes(4, "big"))
                for _ in range(50):
                    stranger.sendall(bytes(MIB))
            except OSError:
                pass  # it was cut off
        assert resident_mib(leader) < before_mib + 40


@needs_proc
def test_hundreds_of_idle_connections_cost_little_and_are_closed(tmp_path: Path) -> None:
    config = tmp_path / "zk.toml"
    config.write_text("[limits]\nhandshake_timeout_ms = 1500\n")
    with start_ensemble(tmp_path, options=["--config", str(config)]) as ensemble, ExitStack() as stack:
        leader = ensemble.leader()
        before_mib = resident_mib(leader)
        begun = ClientConnection("slow").hello()[:-1]
        idle = [stack.enter_context(connect(leader.address.port)) for _ in range(400)]
        for number, connection in enumerate(idle):
            connection.sendall(begun[: number % len(begun)])  # nothing, or a beginning
        idle += [stack.enter_context(connect(peer_port(leader))) for _ in range(200)]
        assert answer_s(leader) < 0.5
        assert resident_mib(leader) < before_mib + 60
        for connection in idle:
            while connection.recv(65_536):
                pass
        assert len(leader.lines) < 40
        assert traceless(ensemble)
