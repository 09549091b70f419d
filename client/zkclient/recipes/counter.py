"""Counter: a number that many change at once."""

from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from zk.model.requests import CreateMode
from zkclient.errors import NodeExistsError, NoNodeError
from zkclient.recipes.places import create_below_containers

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Counter:
    """An int, or a float, to which everybody may add.

        counter = zk.Counter("/counters/visits")
        print(await counter.add(1))

    `default` says what it is before anybody added anything, and by its type whether it is an int or a float. Each `add`
    is done exactly once as long as the session lives, by compare-and-set: nobody's addition is ever overwritten. One
    that raises with `maybe_applied` may have been done.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, default: int | float = 0) -> None:
        if type(default) not in (int, float):
            raise TypeError(f"default must be an int or a float, not {default!r}")
        self._client = client
        self._path = path
        self._default = default
        self._pre_value: int | float | None = None
        self._post_value: int | float | None = None

    @property
    def pre_value(self) -> int | float | None:
        """What the counter was before this object's last `add`; None before the first one."""
        return self._pre_value

    @property
    def post_value(self) -> int | float | None:
        """What the counter was after this object's last `add`; None before the first one."""
        return self._post_value

    async def value(self, *, timeout: float | None = None) -> int | float:
        """What it is now."""
        try:
            return self._number((await self._client.get(self._path, timeout=timeout)).data)
        except NoNodeError:
            return self._default

    async def add(self, delta: int | float, *, timeout: float | None = None) -> int | float:
        """Add `delta`, which may be negative. The new value. Raises TypeError if it is not of the counter's type."""
        if type(delta) is not type(self._default):
            raise TypeError(f"this counter counts in {type(self._default).__name__}, to which {delta!r} can't be added")
        deadline = self._client.deadline(timeout)
        before = self._default

        def change(data: bytes) -> str:
            nonlocal before
            before = self._number(data)
            return repr(before + delta)

        while True:
            try:
                await self._client.update(self._path, change, timeout=deadline - anyio.current_time())
            except NoNodeError:
                await self._create(deadline)
            else:
                self._pre_value, self._post_value = before, before + delta
                return before + delta

    async def _create(self, deadline: float) -> None:
        with suppress(NodeExistsError):  # somebody else was faster
            await create_below_containers(self._client, self._path, b"", CreateMode.PERSISTENT, deadline)

    def _number(self, data: bytes) -> int | float:
        return type(self._default)(data) if data else self._default
