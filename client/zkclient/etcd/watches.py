"""The changes of keys, as iterators."""

import logging
from collections.abc import Callable
from types import TracebackType
from typing import Self

from zk.model.events import EventType, WatchEvent
from zk.model.record import Zxid
from zkclient.blocking import ZooKeeper
from zkclient.twins import WatchStream

log: logging.Logger = logging.getLogger(__name__)


class Events:
    """`for event in events`. It ends when it is closed: by `close`, by leaving its `with` block, or with the client."""

    def __init__(self, zk: ZooKeeper, key: str, prefix: bool, from_zxid: Zxid | int | None) -> None:
        self._key = key
        self._prefix = prefix
        since = None if from_zxid is None else max(from_zxid - 1, 0)
        self._stream: WatchStream = zk.watch(directory_of(key) if prefix else key, recursive=prefix, since=since)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        while True:
            event = next(self._stream)
            if event.type is EventType.RESYNC or (event.type is not EventType.CHILDREN_CHANGED and self._is_of(event)):
                return event

    def close(self) -> None:
        """Stop watching."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def tell_all(self, callback: Callable[[WatchEvent], object]) -> None:
        """Call it with every event, until the end."""
        for event in self:
            try:
                callback(event)
            except Exception:
                log.exception("a callback failed on %s", event)

    def _is_of(self, event: WatchEvent) -> bool:
        return event.path.startswith(self._key) if self._prefix else event.path == self._key


def directory_of(prefix: str) -> str:
    """The node below which all paths with this prefix are."""
    return prefix[: prefix.rfind("/")] or "/"
