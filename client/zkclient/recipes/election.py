"""Election: one leader among candidates, and its observers."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING

from zkclient.recipes.contenders import Held

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


class Election:
    """Candidates queue at `path`; the first one leads until it leaves or loses its session.

        async with zk.Election("/leader", "host-1") as leadership:
            ...                                        # this process leads; leadership.token grows with every leader

    The body runs in a cancel scope, as under a Lock: losing the leadership cancels it and raises `LockLost`.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, id: str = "", *, timeout: float | None = None) -> None:  # noqa: A002 - what it is
        raise NotImplementedError

    async def __aenter__(self) -> Held:
        raise NotImplementedError

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        raise NotImplementedError

    async def leader(self) -> str | None:
        """The id of the present leader; None if there is none."""
        raise NotImplementedError

    async def candidates(self) -> tuple[str, ...]:
        """The ids of the leader and of all who wait, in their order."""
        raise NotImplementedError

    def leaders(self) -> AsyncIterator[str | None]:
        """The present leader's id, then each next one as it takes over; None while there is none. No need to be a
        candidate."""
        raise NotImplementedError
