"""What something was at each zxid: the memory that answers about the past are held against."""

from bisect import bisect_right
from typing import Generic, TypeVar

from zk.model.record import Zxid

T = TypeVar("T")


class Timeline(Generic[T]):
    """A value that changes. It was `first` before anything happened."""

    __slots__ = ("_values", "_zxids")

    def __init__(self, first: T) -> None:
        self._zxids = [Zxid(0)]
        self._values = [first]

    @property
    def now(self) -> T:
        return self._values[-1]

    def note(self, zxid: Zxid, value: T) -> None:
        """From `zxid` on it is `value`."""
        self._zxids.append(zxid)
        self._values.append(value)

    def at(self, zxid: Zxid) -> T:
        return self._values[bisect_right(self._zxids, zxid) - 1]


class SetTimeline:
    """A set of strings that come and go. `now` is for reading."""

    __slots__ = ("_steps", "now")

    def __init__(self, first: tuple[str, ...] = ()) -> None:
        self.now = set(first)
        self._steps: list[tuple[Zxid, str, bool]] = []  # when, who, and whether it came

    def add(self, zxid: Zxid, item: str) -> None:
        self.now.add(item)
        self._steps.append((zxid, item, True))

    def remove(self, zxid: Zxid, item: str) -> None:
        self.now.remove(item)
        self._steps.append((zxid, item, False))

    def at(self, zxid: Zxid) -> set[str]:
        """Who was there at `zxid`."""
        found = set(self.now)
        for when, item, came in reversed(self._steps):
            if when <= zxid:
                break
            if came:
                found.discard(item)
            else:
                found.add(item)
        return found

    def throughout(self, first: Zxid, last: Zxid) -> set[str]:
        """Who was there all the while from `first` to `last`."""
        return self.at(first) - {item for when, item, came in self._steps if first < when <= last and not came}
