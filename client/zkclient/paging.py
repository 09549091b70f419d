"""Pages: the children of a node, page by page. A class, for a generator would have to be closed by its user."""

from collections.abc import Awaitable, Callable
from typing import Self

from zk.model.replies import ChildrenPageReply, PageEntry


class Pages:
    """An async iterator of pages; `read` gives the one behind a name."""

    def __init__(self, read: Callable[[str], Awaitable[ChildrenPageReply]], start_after: str) -> None:
        self._read = read
        self._start_after = start_after
        self._more = True

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[PageEntry, ...]:
        while self._more:
            page = await self._read(self._start_after)
            self._more = page.more
            if page.entries:
                self._start_after = page.entries[-1].name
                return page.entries
        raise StopAsyncIteration
