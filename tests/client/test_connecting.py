"""Reaching a server: an attempt that is given up leaves nothing open."""

import gc

import anyio
import pytest
from anyio.lowlevel import checkpoint
from zkclient.connecting import over_tcp
from zkclient.hosts import split_host

from zk.server.testing import ServerProcess

STEPS_MAX = 40


@pytest.mark.anyio
async def test_an_attempt_that_is_cancelled_at_any_step_leaves_no_socket_open(server: ServerProcess) -> None:
    host, port = split_host(str(server.address))
    made = 0

    async def cancel_behind(steps: int, scope: anyio.CancelScope) -> None:
        for _ in range(steps):
            await checkpoint()
        scope.cancel()

    for steps in range(STEPS_MAX):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_behind, steps, scope)
                stream = await over_tcp(host, port)
                made += 1
                await anyio.aclose_forcefully(stream)
    gc.collect()  # a socket that was left open is an error of the test, by then
    assert made < STEPS_MAX
