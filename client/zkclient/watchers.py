"""Who watches what: the client's registry of one-shot watchers and watch streams, and how they survive a connection.

Pure. It decides which watcher hears of an event, and what to ask of the next connection so that nobody misses one.
Streams miss nothing: each knows its position in the log, to the single event. One-shot watchers learn of a change, but
not of a create and delete that both fell between two connections (ZooKeeper's rule).
"""

from collections.abc import Callable, Iterator

from zk.model.errors import ZKError
from zk.model.events import EventType, WatchEvent, WatchMode
from zk.model.record import Zxid
from zk.model.requests import AddWatch, SetWatches

Notified = Callable[[WatchEvent | ZKError], object]
"""Who is told of an event. A stream is told an error, once, if it can't be had or the client closes."""

SET_WATCHES_CHARACTERS_MAX = 128 * 1024  # of paths in one SetWatches; more watches take several


class Stream:
    """One watch stream and its position: it has been given every event before `zxid`, and `taken` events of `zxid`.

    A transaction may have several events, and a connection may break between two of them; and what is told again for
    one stream reaches all others too that match. Hence the counting.
    """

    __slots__ = ("_run", "_run_events", "activated", "active", "mode", "path", "since", "taken", "token", "zxid")

    def __init__(self, path: str, mode: WatchMode, since: Zxid | None, token: Notified) -> None:
        self.path = path
        self.mode = mode
        self.token = token
        self.since = since  # what to ask the next connection for
        self.zxid = Zxid(0)
        self.taken = 0
        self.active = False  # the present connection has confirmed the watch
        self.activated = 0  # the number of the reply that did
        self._run = -1
        self._run_events = 0

    def activate(self, replies: int, zxid: Zxid) -> None:
        """The server has confirmed the watch, by reply number `replies`, at `zxid`."""
        self.active = True
        self.activated = replies
        self._run = -1
        if self.since is None:
            self.since = zxid

    def takes(self, event: WatchEvent, run: int) -> bool:
        """Whether the event is new to this stream. `run` numbers the unbroken sequences of events with one zxid."""
        if not self.active:
            return False
        if event.type is EventType.RESYNC:
            return True
        if run != self._run:
            self._run = run
            self._run_events = 0
        self._run_events += 1
        if event.zxid > self.zxid:
            if self.since is not None and event.zxid <= self.since:
                return False
            self.zxid = event.zxid
            self.taken = 1
            return True
        if event.zxid == self.zxid and self._run_events > self.taken:
            self.taken = self._run_events
            return True
        return False

    def suspend(self, replies: int, seen: Zxid) -> None:
        """The connection is gone; the last reply on it was number `replies`, made at `seen`."""
        if not self.active:
            return
        self.active = False
        # A reply says that every event up to its zxid had been told before it.
        complete = seen if replies > self.activated else Zxid(0)
        self.since = Zxid(max(self.since or 0, complete, self.zxid - 1))


class Watchers:
    """The registry. A one-shot watcher is given out once and forgotten."""

    def __init__(self) -> None:
        self._data: dict[str, list[Notified]] = {}
        self._exist: dict[str, list[Notified]] = {}
        self._child: dict[str, list[Notified]] = {}
        self._streams: dict[WatchMode, dict[str, list[Stream]]] = {WatchMode.PERSISTENT: {}, WatchMode.RECURSIVE: {}}
        self._run = 0
        self._last_zxid = Zxid(0)  # of the last event on this connection

    def __len__(self) -> int:
        one_shot = sum(len(tokens) for table in (self._data, self._exist, self._child) for tokens in table.values())
        return one_shot + sum(1 for _ in self.streams())

    # ---- coming and going

    def add_data(self, path: str, token: Notified) -> None:
        self._data.setdefault(path, []).append(token)

    def add_exist(self, path: str, token: Notified) -> None:
        self._exist.setdefault(path, []).append(token)

    def add_child(self, path: str, token: Notified) -> None:
        self._child.setdefault(path, []).append(token)

    def add_stream(self, stream: Stream) -> None:
        self._streams[stream.mode].setdefault(stream.path, []).append(stream)

    def remove_stream(self, stream: Stream) -> bool:
        """Forget a stream. Whether it was the last one of its path and mode, so that the server can forget it too."""
        table = self._streams[stream.mode]
        streams = table.get(stream.path, [])
        if stream not in streams:
            return False
        streams.remove(stream)
        if streams:
            return False
        del table[stream.path]
        return True

    def streams(self) -> Iterator[Stream]:
        for table in self._streams.values():
            for streams in table.values():
                yield from streams

    # ---- events

    def take(self, event: WatchEvent) -> list[Notified]:
        """The tokens of all that are to hear of `event`."""
        if event.zxid != self._last_zxid:
            self._last_zxid = event.zxid
            self._run += 1
        tokens: list[Notified] = []
        kind = event.type
        path = event.path
        if kind is EventType.CREATED:
            tokens += self._exist.pop(path, ())
        elif kind is EventType.DELETED:
            for table in (self._data, self._exist, self._child):
                tokens += table.pop(path, ())
        elif kind is EventType.DATA_CHANGED:
            tokens += self._data.pop(path, ())
            tokens += self._exist.pop(path, ())
        elif kind is EventType.CHILDREN_CHANGED:
            tokens += self._child.pop(path, ())
        for stream in self._matching(event):
            if stream.takes(event, self._run):
                tokens.append(stream.token)
        return tokens

    def _matching(self, event: WatchEvent) -> Iterator[Stream]:
        yield from self._streams[WatchMode.PERSISTENT].get(event.path, ())
        recursive = self._streams[WatchMode.RECURSIVE]
        if not recursive or event.type is EventType.CHILDREN_CHANGED:
            return
        path = event.path
        yield from recursive.get(path, ())
        if event.type is EventType.RESYNC:
            return  # it names the watch's own path
        while path != "/":
            path = path[: path.rfind("/")] or "/"
            yield from recursive.get(path, ())

    # ---- connections

    def activate(self, stream: Stream, replies: int, zxid: Zxid) -> None:
        """The reply to a stream's AddWatch has come, as number `replies`. What is told again for it begins now."""
        self._run += 1
        self._last_zxid = Zxid(0)
        stream.activate(replies, zxid)

    def suspend(self, replies: int, seen: Zxid) -> None:
        """The connection is gone; the last reply on it was number `replies`, made at `seen`."""
        for stream in self.streams():
            stream.suspend(replies, seen)
        self._run += 1
        self._last_zxid = Zxid(0)

    def set_again(self, seen: Zxid, paths_max: int) -> list[SetWatches]:
        """Requests that set all one-shot watches again, with at most `paths_max` paths in a list; what changed after
        `seen` is told at once."""
        requests: list[SetWatches] = []
        data: list[str] = []
        exist: list[str] = []
        child: list[str] = []
        characters = 0
        for paths, table in ((data, self._data), (exist, self._exist), (child, self._child)):
            for path in table:
                paths.append(path)
                characters += len(path)
                if characters > SET_WATCHES_CHARACTERS_MAX or len(paths) == paths_max:
                    requests.append(SetWatches(seen, tuple(data), tuple(exist), tuple(child)))
                    data.clear()
                    exist.clear()
                    child.clear()
                    characters = 0
        if characters:
            requests.append(SetWatches(seen, tuple(data), tuple(exist), tuple(child)))
        return requests

    def give_up(self, request: SetWatches) -> list[tuple[str, Notified]]:
        """Forget the watchers that `request` was to set again: it was refused. They are to read again."""
        found: list[tuple[str, Notified]] = []
        for paths, table in (
            (request.data, self._data),
            (request.exist, self._exist),
            (request.child, self._child),
        ):
            for path in paths:
                found += [(path, token) for token in table.pop(path, ())]
        return found


def add_watch(stream: Stream) -> AddWatch:
    """The request that begins, or resumes, a stream."""
    return AddWatch(stream.path, stream.mode, stream.since)
