"""Who watches what: the client's registry of one-shot watchers and watch streams, and how they survive a connection.

Pure. It decides which watcher hears of an event, and what to ask of the next connection so that nobody misses one.
Streams miss nothing: each knows its position in the log, to the single event. One-shot watchers learn of a change, but
not of a create and delete that both fell between two connections (ZooKeeper's rule).
"""

from collections.abc import Callable, Iterator

from zk.model.errors import ZKError
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import Zxid
from zk.model.requests import AddWatch, SetWatches

Notified = Callable[[WatchEvent | ZKError], object]
"""Who is told of an event. A stream is told an error, once, if it can't be had or the client closes."""

ZXID_MAX = 2**64 - 1
SET_WATCHES_CHARACTERS_MAX = 128 * 1024  # of paths in one SetWatches; more watches take several


class Stream:
    """One watch stream and its position: it has been given every event before `zxid`, and `taken` events of `zxid`.

    A transaction may have several events, and a connection may break between two of them; and what is told again for
    one stream reaches all others too that match. Hence the counting.
    """

    __slots__ = ("_run", "_run_events", "activated", "active", "mode", "path", "since", "taken", "token", "zxid")

    def __init__(self, path: str, mode: WatchMode, since: Zxid | None, token: Notified) -> None:
        self.path: str = path
        self.mode: WatchMode = mode
        self.token: Notified = token
        self.since = since  # what to ask the next connection for
        self.zxid: Zxid = Zxid(0)
        self.taken: int = 0
        self.active: bool = False  # the present connection has confirmed the watch
        self.activated: int = 0  # the number of the reply that did
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


class OneShots:
    """Watchers of one kind that are told once: by path, each with the zxid up to which it knows its node.

    Changes up to that zxid are no news: they come when another watcher's stream is told the past.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, list[tuple[Zxid, Notified]]] = {}

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._waiting.values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._waiting)

    def add(self, path: str, zxid: Zxid, token: Notified) -> None:
        self._waiting.setdefault(path, []).append((zxid, token))

    def forget(self, path: str, token: Notified) -> None:
        """One watcher has gone, if it is there."""
        waiting = self._waiting.get(path, [])
        for entry in waiting:
            if entry[1] == token:
                waiting.remove(entry)
                break
        if not waiting:
            self._waiting.pop(path, None)

    def take(self, path: str, zxid: int) -> list[Notified]:
        """Those at `path` to whom a change at `zxid` is news; they are forgotten."""
        waiting = self._waiting.pop(path, None)
        if waiting is None:
            return []
        left = [(known, token) for known, token in waiting if known >= zxid]
        if left:
            self._waiting[path] = left
        return [token for known, token in waiting if known < zxid]


class Watchers:
    """The registry. One-shot watchers of a node's data, of a missing node, of a node's children; and the streams."""

    def __init__(self) -> None:
        self.data: OneShots = OneShots()
        self.exist: OneShots = OneShots()
        self.child: OneShots = OneShots()
        self._streams: dict[WatchMode, dict[str, list[Stream]]] = {WatchMode.PERSISTENT: {}, WatchMode.RECURSIVE: {}}
        self._run = 0
        self._last_zxid = Zxid(0)  # of the last event on this connection

    def __len__(self) -> int:
        return len(self.data) + len(self.exist) + len(self.child) + sum(1 for _ in self.streams())

    # ---- coming and going

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
            tokens += self.exist.take(path, event.zxid)
        elif kind is EventType.DELETED:
            for one_shots in (self.data, self.exist, self.child):
                tokens += one_shots.take(path, event.zxid)
        elif kind is EventType.DATA_CHANGED:
            tokens += self.data.take(path, event.zxid)
            tokens += self.exist.take(path, event.zxid)
        elif kind is EventType.CHILDREN_CHANGED:
            tokens += self.child.take(path, event.zxid)
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

    def forget(self, path: str, token: Notified) -> None:
        """A one-shot watcher has gone, if it is there."""
        for one_shots in (self.data, self.exist, self.child):
            one_shots.forget(path, token)

    def remove_one_shots(self, path: str) -> list[tuple[WatcherType, Notified]]:
        """Forget all one-shot watchers at `path`. Who they were, and of which type the server has their watch."""
        kinds = ((WatcherType.DATA, self.data), (WatcherType.DATA, self.exist), (WatcherType.CHILDREN, self.child))
        return [(kind, token) for kind, one_shots in kinds for token in one_shots.take(path, ZXID_MAX)]

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
        for paths, one_shots in ((data, self.data), (exist, self.exist), (child, self.child)):
            for path in one_shots:
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
        return [
            (path, token)
            for paths, one_shots in (
                (request.data, self.data),
                (request.exist, self.exist),
                (request.child, self.child),
            )
            for path in paths
            for token in one_shots.take(path, ZXID_MAX)
        ]


def add_watch(stream: Stream) -> AddWatch:
    """The request that begins, or resumes, a stream."""
    return AddWatch(stream.path, stream.mode, stream.since)
