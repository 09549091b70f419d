"""Many nodes, bit by bit: the children of one in pages, all below one in a walk.

Classes, for generators would have to be closed by their users.
"""

from collections.abc import Awaitable, Callable
from typing import Self

from zk.model.paths import join
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


class Walk:
    """An async iterator of paths; `names` gives a node's children, None if there is no such node."""

    def __init__(self, names: Callable[[str], Awaitable[tuple[str, ...] | None]], path: str) -> None:
        self._names = names
        self._to_visit = [path]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while self._to_visit:
            path = self._to_visit.pop()
            names = await self._names(path)
            if names is not None:
                self._to_visit += [join(path, name) for name in sorted(names, reverse=True)]
                return path
        raise StopAsyncIteration
