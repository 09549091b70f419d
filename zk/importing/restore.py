"""Bringing a source's tree to an ensemble, through a client: begun, brought in pieces, and seen at once.

What is under way belongs to the client's session: if it ends before the end, nothing is left of it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import anyio
from zkclient import AsyncZooKeeper, SessionExpiredError
from zkclient.calling import Waiter

from zk.model.errors import BadArgumentsError, ZKError
from zk.model.limits import KIB
from zk.model.record import Zxid
from zk.model.requests import BeginRestore, FinishRestore, Restore
from zk.model.znode import Znode

NODES_PER_PIECE = 500
BYTES_PER_PIECE = 256 * KIB
PIECES_IN_FLIGHT = 4
CALL_TIMEOUT_S = 60.0
EPOCH_TIMEOUT_S = 60.0
"""How long the ensemble may take to begin an epoch above the source's: it takes an election or two."""
_AGAIN_S = 0.05

Node = tuple[str, Znode]


class ImportEndedError(ZKError):
    """The import ended before its end: nothing of it is left."""


class Restoring:
    """One import by the client `zk`."""

    def __init__(self, zk: AsyncZooKeeper) -> None:
        self._zk = zk
        self._last_zxid = Zxid(0)

    async def begin(self, last_zxid: Zxid) -> None:
        """Make ready; no node may have a zxid above `last_zxid`. NotEmptyError if there is a tree already."""
        self._last_zxid = last_zxid
        await self._finish(self._start(BeginRestore(last_zxid)))

    async def bring(
        self, nodes: Iterable[Node], gone: Sequence[str] = (), progress: Callable[[int], object] = lambda count: None
    ) -> None:
        """Take back what is at `gone`, children first; then bring `nodes`, parents first. `progress` is told how many
        more have arrived."""
        under_way: deque[tuple[int, Waiter]] = deque()
        for begin in range(0, len(gone), NODES_PER_PIECE):
            await self._finish(self._start(Restore((), tuple(gone[begin : begin + NODES_PER_PIECE]))))
        for piece in pieces(nodes):
            under_way.append((len(piece), self._start(Restore(piece))))
            if len(under_way) >= PIECES_IN_FLIGHT:
                await self._oldest(under_way, progress)
        while under_way:
            await self._oldest(under_way, progress)

    async def finish(self, count: int) -> None:
        """Let all be seen; `count` is how many nodes that must be."""
        with anyio.fail_after(EPOCH_TIMEOUT_S):
            while (await self._zk.status()).zxid <= self._last_zxid:
                await anyio.sleep(_AGAIN_S)
        await self._finish(self._start(FinishRestore(count)))

    async def _oldest(self, under_way: deque[tuple[int, Waiter]], progress: Callable[[int], object]) -> None:
        count, waiter = under_way.popleft()
        await self._finish(waiter)
        progress(count)

    def _start(self, request: BeginRestore | Restore | FinishRestore) -> Waiter:
        return self._zk.caller.start_call(request, self._zk.deadline(CALL_TIMEOUT_S))

    async def _finish(self, waiter: Waiter) -> None:
        try:
            await self._zk.caller.finish_call(waiter)
        except SessionExpiredError as error:
            raise ImportEndedError("the session was lost, and what it had brought with it: import again") from error
        except BadArgumentsError as error:
            if not error.path and "BeginRestore" in error.hint:  # another session has taken the place of the first
                raise ImportEndedError("the session was lost, and what it had brought: import again") from error
            raise


def pieces(nodes: Iterable[Node]) -> Iterator[tuple[Node, ...]]:
    """The same nodes in the same order, in pieces that delay nobody; a large node is a piece of its own."""
    piece: list[Node] = []
    size = 0
    for path, znode in nodes:
        if piece and (size + len(znode.data) > BYTES_PER_PIECE or len(piece) == NODES_PER_PIECE):
            yield tuple(piece)
            piece, size = [], 0
        piece.append((path, znode))
        size += len(path) + len(znode.data)
    if piece:
        yield tuple(piece)
