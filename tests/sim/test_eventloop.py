"""A simulated process: time that the world counts, turns in order, stalls; and the same run from the same seed."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Coroutine

import anyio
import pytest

from zk.sim import Violation, World
from zk.sim.eventloop import EventLoop
from zk.sim.world import MS

Main = Callable[[], Coroutine[object, object, None]]


def play(main: Main, *, until_ms: int = 1_000, rate: float = 1.0, stall_ms: int = 0) -> World:
    """Run `main` in a process of its own, which stalls at the beginning."""
    world = World(1)
    loop = EventLoop(world, rate)
    loop.stall(stall_ms * MS)
    task = loop.create_task(main())
    try:
        world.run(until_ms * MS)
    finally:
        loop.end(task)
    return world


def test_sleeping_takes_the_worlds_time_and_no_other() -> None:
    woken: list[float] = []

    async def main() -> None:
        for seconds in (0.3, 0.2):
            await anyio.sleep(seconds)
            woken.append(round(anyio.current_time(), 3))

    play(main)
    assert woken == [0.3, 0.5]


def test_a_fast_clock_is_ahead_of_the_world() -> None:
    world_ms: list[int] = []
    world = World(1)
    loop = EventLoop(world, rate=2.0)

    async def main() -> None:
        await anyio.sleep(0.5)
        world_ms.append(world.now_us // MS)

    task = loop.create_task(main())
    world.run(1_000 * MS)
    loop.end(task)
    assert world_ms == [250]


def test_time_passes_while_a_process_comes_to_its_end() -> None:
    tried: list[float] = []

    async def main() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            end = anyio.current_time() + 0.001
            while anyio.current_time() < end:
                tried.append(anyio.current_time())
                await anyio.lowlevel.cancel_shielded_checkpoint()

    play(main)
    assert len(tried) == 100


def test_a_stalled_process_does_late_what_was_due() -> None:
    woken: list[float] = []

    async def main() -> None:
        await anyio.sleep(0.1)
        woken.append(round(anyio.current_time(), 2))

    play(main, stall_ms=400)
    assert woken == [0.5]


def test_a_deadline_cancels_and_an_event_wakes() -> None:
    order: list[str] = []

    async def main() -> None:
        event = anyio.Event()

        async def wait() -> None:
            await event.wait()
            order.append("woken")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            with anyio.move_on_after(0.05) as scope:
                await anyio.sleep_forever()
            order.append(f"cancelled {scope.cancelled_caught}")
            event.set()

    play(main)
    assert order == ["cancelled True", "woken"]


def test_what_nobody_catches_ends_the_run() -> None:
    async def main() -> None:
        async def fail() -> None:
            raise ZeroDivisionError

        task = asyncio.get_running_loop().create_task(fail())
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.wait([task])
        assert isinstance(task.exception(), ZeroDivisionError)

    with pytest.raises(Violation, match="ZeroDivisionError"):
        play(main)


def test_what_still_runs_at_the_end_cleans_up_without_the_world() -> None:
    order: list[str] = []

    async def main() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(100)
            order.append("clean")

    assert play(main).now_us == 1_000 * MS
    assert order == ["clean"]


CANCELLED_TOGETHER = """
import anyio
from zk.sim import World
from zk.sim.eventloop import EventLoop

order = []

async def wait(number):
    with anyio.CancelScope():
        try:
            await anyio.sleep_forever()
        finally:
            order.append(number)

async def main():
    async with anyio.create_task_group() as tasks:
        for number in range(200):
            tasks.start_soon(wait, number)
        await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()

rubbish = [object() for _ in range(int(__import__("os").environ["PYTHONHASHSEED"]) * 1000)]
world = World(1)
loop = EventLoop(world)
task = loop.create_task(main())
world.run(1_000_000)
loop.end(task)
print(order == list(range(200)))
"""


def test_tasks_cancelled_together_wake_in_the_order_of_their_birth_whatever_their_addresses() -> None:
    for hash_seed in ("1", "7"):
        run = subprocess.run(
            [sys.executable, "-c", CANCELLED_TOGETHER],
            check=True,
            capture_output=True,
            text=True,
            env={"PYTHONHASHSEED": hash_seed},
        )
        assert run.stdout == "True\n"
