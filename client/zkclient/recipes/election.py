"""Election: one leader among candidates, and its observers."""

from typing import TYPE_CHECKING, Self

from zk.model.errors import NoNodeError
from zk.model.paths import join
from zk.model.record import Zxid
from zkclient.recipes.contenders import Contest, Wake, in_order

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Election(Contest):
    """Candidates queue at `path`; the first one leads until it leaves or loses its session.

        async with zk.Election("/leader", "host-1") as leadership:
            ...                                        # this process leads; leadership.token grows with every leader

    On event loops: losing the leadership cancels the body.

    Leadership is lost as a `Lock` is: `leadership.lost` is set, and the end of the block raises `LockLost`.
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
        return (await self._term(None))[1]

    async def candidates(self) -> tuple[str, ...]:
        """The ids of the leader and of all who wait, in their order."""
        return await self.contenders()

    def leaders(self) -> "Leaders":
        """The present leader's id, then each next one as it takes over; None while there is none. No need to be a
        candidate."""
        return Leaders(self)

    async def _term(self, wake: Wake | None) -> tuple[Zxid, str | None]:
        """The leader's token and id, (0, None) if there is none. `wake` goes off when that may have changed."""
        client = self._client
        while True:
            try:
                names, stat = await client.get_children(self._path, include_stat=True)
                contenders = in_order(names)
                if contenders:
                    path = join(self._path, contenders[0].name)
                    node = await client.get(path, watch=wake and wake.at(path))
                    if node.stat.czxid > stat.pzxid:
                        continue  # another one of the same name, in a queue that began anew meanwhile
                    return node.stat.czxid, str(node)
                if wake is None or not in_order(await client.get_children(self._path, watch=wake.at(self._path))):
                    return Zxid(0), None
            except NoNodeError:
                if wake is None or await client.exists(self._path, watch=wake.at(self._path)) is None:
                    return Zxid(0), None


class Leaders:
    """An async iterator of leaders' ids. A class, for a generator would have to be closed by its user."""

    def __init__(self, election: Election) -> None:
        self._election = election
        self._told: tuple[Zxid, str | None] | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | None:
        while True:
            with Wake(self._election._client) as wake:
                term = await self._election._term(wake)
                if term != self._told:
                    self._told = term
                    return term[1]
                await wake.wait()
