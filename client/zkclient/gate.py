"""Lets threads send their calls themselves while the event loop has nothing to send: that saves waking it up.

While the gate is open, encoding calls and sending them belongs to whoever holds its lock; while it is closed, to the
event loop, as all else does at any time. The loop closes it before it sends anything; when a thread asks it to send a
call, it does, and opens it.
Threads don't queue for the lock: who finds somebody sending leaves its call to that one. And threads that were answered
together are about to call together: the last one sends for all.

The main thread never sends, it wakes up the loop: signals may interrupt it anywhere, and their handlers may call the
client. Read `machine` and `quick` before, and `threadcalls` next.
"""

from collections import deque
from contextlib import suppress
from socket import SHUT_RDWR, socket
from threading import Lock, get_ident

from anyio.abc import SocketAttribute

from zkclient.calls import Pending
from zkclient.errors import BadArgumentsError
from zkclient.machine import Machine
from zkclient.quick import QuickStream

ROUNDS_MAX = 8  # of sending what others ask for meanwhile; then a thread leaves that to the event loop


class Gate:
    """To the connection of `machine`."""

    def __init__(self, machine: Machine) -> None:
        self.waiting: deque[Pending] = deque()  # calls that nobody has begun to send
        self.is_open: bool = False
        self.expected: int = 0  # how many calls are about to come: as many as were answered together
        self.socket: socket | None = None  # a duplicate of the connection's: closed when no thread uses it
        self._machine = machine
        self._stream: QuickStream | None = None
        self._lock = Lock()
        self._sender = 0  # the thread that sends, and will look at `waiting` afterwards
        self._rest = b""  # what the connection did not take at once

    # ---- in any thread but the main one

    @property
    def expects_more(self) -> bool:
        """Whether others are about to call, and will send what waits."""
        return len(self.waiting) < self.expected and not self._sender

    def begins_with(self, pending: Pending) -> bool:
        """Whether it is the first one that waits."""
        try:
            return self.waiting[0] is pending
        except IndexError:  # it has just been sent
            return False

    def send(self) -> bool:
        """Send what waits, or leave it to who is sending. False: the event loop must take it."""
        for _ in range(ROUNDS_MAX):
            if self._sender or not self.waiting:
                return True
            with self._lock:
                socket = self.socket
                if not self.is_open or socket is None:
                    return False
                self._sender = get_ident()
                try:
                    self._send_waiting(socket)
                except BaseException as error:  # how much was sent is not known: it all has to be sent again
                    self.is_open = False
                    with suppress(OSError):
                        socket.shutdown(SHUT_RDWR)
                    if not isinstance(error, OSError):
                        raise
                finally:
                    self._sender = 0
        return not self.waiting

    def must_not_be_current(self) -> None:
        """Raise RuntimeError in the thread that sends: in a finaliser, which would wait for what it interrupts."""
        if self._sender == get_ident():
            raise RuntimeError("a blocking call in a finaliser that interrupts another one")

    def _send_waiting(self, socket: socket) -> None:
        pieces = []
        while self.waiting and self._machine.may_encode_new:
            pending = self.waiting[0]
            try:
                pieces.append(self._machine.encode_new(pending))
            except BadArgumentsError as error:
                pending.refuse(error)
            self.waiting.popleft()
        data = b"".join(pieces)
        try:
            sent = socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._rest = data[sent:]
            self.is_open = False

    # ---- in the event loop

    def begin(self, stream: QuickStream) -> None:
        """There is a connection."""
        self.end()
        with suppress(OSError):  # too many open files: then the event loop sends all
            self.socket = stream.extra(SocketAttribute.raw_socket).dup()
            self._stream = stream

    def end(self) -> None:
        """The connection is gone."""
        self.close()
        socket, self.socket, self._stream = self.socket, None, None
        if socket is not None:
            socket.close()

    def open(self) -> None:
        """All has left that was to be sent: threads may send, if nothing has to wait."""
        if self._stream is not None and not self._stream.is_sending and not self._rest and self._machine.may_encode_new:
            self.is_open = True

    def close(self) -> None:
        """No thread sends any more from here on. What is sent next goes behind what they sent."""
        if self.is_open:
            with self._lock:
                self.is_open = False
        if self._rest:
            rest, self._rest = self._rest, b""
            if self._stream is not None:
                self._stream.write(rest)
