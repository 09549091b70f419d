"""Log lines leave through a queue and a thread, so that a stderr that nobody reads never stops a heartbeat."""

import logging
import os
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from logging.handlers import QueueHandler, QueueListener

LINES_WAITING_MAX = 10_000  # beyond them lines are lost, and counted
LAST_LINES_MS = 200  # how long the end waits for stderr to take what was logged

FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _Handler(QueueHandler):
    """Never blocks, and never raises: a line that finds the queue full is dropped."""

    def __init__(self, lines: "queue.Queue[logging.LogRecord]") -> None:
        super().__init__(lines)
        self._lines = lines
        self._lost = 0

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            if self._lost:
                lost = f"{self._lost} lines of the log were lost: stderr was not read"
                self._lines.put_nowait(logging.LogRecord(__name__, logging.WARNING, "", 0, lost, None, None))
                self._lost = 0
            self._lines.put_nowait(record)
        except queue.Full:
            self._lost += 1


class _Stderr(logging.Handler):
    """Writes to the file descriptor itself: a lock or a buffer would be waited for again when the process ends."""

    def createLock(self) -> None:  # noqa: N802 - the name is logging's
        self.lock = None  # only the listener's thread comes here

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        with suppress(OSError):  # stderr is closed: nobody is left to be told
            while line:
                line = line[os.write(2, line) :]


@contextmanager
def logging_to_stderr(level: int = logging.INFO) -> Iterator[None]:
    """Send what the process logs to stderr, as text lines with the time and the level in front."""
    lines: queue.Queue[logging.LogRecord] = queue.Queue(LINES_WAITING_MAX)
    stderr = _Stderr()
    stderr.setFormatter(logging.Formatter(FORMAT))
    listener = QueueListener(lines, stderr)
    handler = _Handler(lines)
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(level)
    listener.start()
    try:
        yield
    finally:
        root.removeHandler(handler)
        # In a thread of its own, since a blocked stderr would keep it for ever.
        stopping = threading.Thread(target=listener.stop, daemon=True)
        stopping.start()
        stopping.join(LAST_LINES_MS / 1_000)
