"""Semaphore: a lock that several hold at once."""

from typing import TYPE_CHECKING

from zk.model.paths import join
from zk.model.record import Zxid
from zk.model.requests import GetData, Multi, SetData
from zkclient.errors import APIError, BadArgumentsError, BadVersionError, NoNodeError
from zkclient.recipes.contenders import Contender, Contest, Wake, in_order
from zkclient.recipes.held import Held
from zkclient.results import NodeData

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Semaphore(Contest):
    """At most `max_leases` holders at a time, in the order in which they asked.

        async with zk.Semaphore("/downloads", max_leases=5) as held:
            ...

    Each holds, loses and releases its lease as one does a `Lock`; `identifier` and `timeout` mean what they mean there,
    and `held.token` grows with every lease that is granted.

    The first user writes `max_leases` into the node at `path`. Who comes with another number meanwhile is told so by
    BadArgumentsError. (The node is a container: when nobody has used it for a while, it goes, and the number with it.)

    Among those who wait, the first one alone watches who comes and goes. Every other one watches the one before it,
    which says by a write to its own node that it has got its lease.
    """

    def __init__(
        self,
        client: "AsyncZooKeeper",
        path: str,
        *,
        max_leases: int,
        identifier: str = "",
        timeout: float | None = None,
    ) -> None:
        super().__init__(client, path, identifier, timeout)
        if max_leases < 1:
            raise BadArgumentsError(path, f"max_leases is at least 1, not {max_leases}")
        self._max_leases = max_leases

    async def lease_holders(self) -> tuple[str, ...]:
        """The identifiers of those who hold a lease, in the order in which they asked."""
        return await self._identifiers((await self._list())[: self._max_leases])

    async def _is_first(self, held: Held, wake: Wake, deadline: float) -> bool:
        told = False
        while True:
            wake.arm()
            queue, zxid = await self._look_around(held, deadline)
            place = self._place(held, queue)
            if place < self._max_leases:
                if told or not queue[place + 1 :]:
                    return True
                await self._tell_the_next(held, deadline)
                told = True
                continue  # that write used up the watch of the own node, and it is set again: only a later look counts
            try:
                if place == self._max_leases:
                    waits = await self._watch_all(held, wake, deadline) == place
                else:
                    path = join(self._path, queue[place - 1].name)
                    before = await self._client.get(path, watch=wake.at(path), timeout=self._left(deadline))
                    waits = before.stat.mzxid <= zxid  # otherwise it has got its lease after the look, it seems
            except NoNodeError:
                continue  # it went in between: look again
            if waits:
                return False

    async def _watch_all(self, held: Held, wake: Wake, deadline: float) -> int:
        """The own place; `wake` hears of the next change of the queue."""
        path = self._path
        names = await self._client.get_children(path, watch=wake.at(path), timeout=self._left(deadline))
        self._session_must_live(held)
        return self._place(held, in_order(names))

    async def _look_around(self, held: Held, deadline: float) -> tuple[list[Contender], Zxid]:
        """The queue and the zxid at which it is seen. Raises BadArgumentsError if another limit is written there."""
        limit = b"%d" % self._max_leases
        while True:
            queue, (node,) = await self._look(held, deadline, GetData(self._path))
            if isinstance(node, APIError):
                raise node
            assert isinstance(node, NodeData)
            if node.data == limit:
                return queue, node.zxid
            if node.data:
                raise BadArgumentsError(self._path, f"its users have max_leases={node}, not {self._max_leases}")
            try:
                await self._client.set(self._path, limit, version=node.stat.version, timeout=self._left(deadline))
            except (BadVersionError, NoNodeError):
                continue  # somebody else was faster

    async def _tell_the_next(self, held: Held, deadline: float) -> None:
        """Let the one behind know that it is this one no more that it waits for."""
        same = SetData(self._client.absolute(held.path), self._identifier.encode())
        request = Multi((held.proof(), same))  # refused if the node is gone, which the next look shows
        await self._driver.finish_call(self._driver.start_call(request, deadline))
