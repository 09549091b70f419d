"""Election: one leader among candidates, and its observers."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from zk.model.errors import NoNodeError
from zk.model.paths import join
from zk.model.record import Zxid
from zkclient.recipes.contenders import Contest, Wake, in_order
from zkclient.watchers import Notified

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Election(Contest):
    """Candidates queue at `path`; the first one leads until it leaves or loses its session.

        async with zk.Election("/leader", "host-1") as leadership:
            ...                                        # this process leads; leadership.token grows with every leader

    The body runs in a cancel scope, as under a Lock: losing the leadership cancels it and raises `LockLost`.
    """

    def __init__(
        self,
        client: "AsyncZooKeeper",
        path: str,
        id: str = "",  # noqa: A002 - what it is
        *,
        timeout: float | None = None,
    ) -> None:
        super().__init__(client, path, id, timeout)

    async def leader(self) -> str | None:
        """The id of the present leader; None if there is none."""
        return (await self._leader(None))[1]

    async def candidates(self) -> tuple[str, ...]:
        """The ids of the leader and of all who wait, in their order."""
        return await self.contenders()

    async def leaders(self) -> AsyncIterator[str | None]:
        """The present leader's id, then each next one as it takes over; None while there is none. No need to be a
        candidate."""
        told: tuple[Zxid, str | None] | None = None
        with Wake(self._driver) as wake:
            while True:
                wake.arm()
                leader = await self._leader(wake.on_event)
                if leader != told:
                    told = leader
                    yield leader[1]
                await wake.wait()

    async def _leader(self, watch: Notified | None) -> tuple[Zxid, str | None]:
        """The leader's token and id, (0, None) if there is none. `watch` is called when that may have changed."""
        client = self._client
        while True:
            try:
                contenders = in_order(await client.get_children(self._path))
                if contenders:
                    path = join(self._path, contenders[0].name)
                    node = await client.get(path, watch=watch)
                    return node.stat.czxid, str(node)
                if watch is None or not in_order(await client.get_children(self._path, watch=watch)):
                    return Zxid(0), None
            except NoNodeError:
                if watch is None or await client.exists(self._path, watch=watch) is None:
                    return Zxid(0), None
