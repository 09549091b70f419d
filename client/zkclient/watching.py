"""WatchStream: the consumer's end of a watch, with its bounded buffer."""

from types import TracebackType
from typing import Self

from zk.model.events import WatchEvent


class WatchStream:
    """`async for event in stream`. It ends when it is closed: by `close`, by leaving its `with` block, when the last
    reference goes, or with the client."""

    def __aiter__(self) -> Self:
        raise NotImplementedError

    async def __anext__(self) -> WatchEvent:
        raise NotImplementedError

    def close(self) -> None:
        """Stop watching."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        raise NotImplementedError

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError
