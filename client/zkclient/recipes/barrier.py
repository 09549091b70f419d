"""Barrier: everybody waits until somebody lifts it."""

from math import inf
from typing import TYPE_CHECKING

import anyio

from zk.model.events import EventType
from zk.model.requests import CreateMode
from zkclient.errors import NodeExistsError, NoNodeError
from zkclient.recipes.places import create_below_containers
from zkclient.recipes.waiting import Alarm

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Barrier:
    """While it stands, `wait` blocks; when it is removed, all go on.

        barrier = zk.Barrier("/barriers/migration")
        await barrier.create()
        ...                                            # meanwhile, elsewhere: await barrier.wait()
        await barrier.remove()

    The barrier is a persistent node: it outlives the session that created it, until somebody removes it. Whoever calls
    `wait` after a `create` was answered, anywhere, waits; where there is no barrier, nobody waits.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str) -> None:
        self._client = client
        self._path = path

    async def create(self, *, timeout: float | None = None) -> bool:
        """Put the barrier up. Whether it is new: False if it stood already."""
        try:
            deadline = self._client.deadline(timeout)
            await create_below_containers(self._client, self._path, b"", CreateMode.PERSISTENT, deadline)
        except NodeExistsError:
            return False
        return True

    async def remove(self, *, timeout: float | None = None) -> bool:
        """Lift the barrier. False if there was none."""
        try:
            await self._client.delete(self._path, timeout=timeout)
        except NoNodeError:
            return False
        return True

    async def wait(self, *, timeout: float | None = None) -> None:
        """Wait until there is no barrier; without `timeout` (seconds) for as long as it takes. Raises
        OperationTimeoutError."""
        deadline = anyio.current_time() + (inf if timeout is None else timeout)
        with Alarm(self._client) as alarm:
            alarm.watch(self._path, EventType.DELETED)
            while await self._stands(deadline):
                await alarm.wait(deadline, f"{self._path}: the barrier was not removed in time")

    async def _stands(self, deadline: float) -> bool:
        left = deadline - anyio.current_time()
        return await self._client.exists(self._path, read="linearizable", timeout=left) is not None
