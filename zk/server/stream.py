"""A connected socket that never blocks, and the bytes that it did not take yet. Knows nothing of what they mean."""

import socket
from contextlib import suppress

RECEIVE_BYTES = 64 * 1024
FEW_BYTES = 448  # more than most requests have, and few enough for Python's own allocator
SEND_BYTES = 128 * 1024  # what is gathered into one send


class Stream:
    """Bytes in, bytes out. A broken connection reads as ended; what is still to be sent on it is silently lost."""

    failure = ""  # what an operator should know of the end; TLS has more to say here

    __slots__ = ("_more", "_next", "_receive", "_receive_bytes", "_send", "_socket", "broken", "unsent_bytes")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        with suppress(OSError):  # some systems refuse if it is broken already
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._receive = connected.recv  # looked up once
        self._send = connected.send
        self._receive_bytes = FEW_BYTES
        self._next: bytes | memoryview = b""  # what is sent first: nearly always, all there is
        self._more: list[bytes] = []  # what is sent after it
        self.unsent_bytes = 0
        self.broken = False

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def peer(self) -> str:
        """The address and port of the other side."""
        try:
            host, port, *_ = self._socket.getpeername()
        except OSError:
            return "?:0"
        return f"{host}:{port}"

    def receive(self) -> bytes | None:
        """What has arrived, or the beginning of it; None if nothing has; b"" if nothing ever will."""
        try:
            data = self._receive(self._receive_bytes)
        except BlockingIOError:
            return None
        except OSError:
            self.broken = True
            return b""
        if len(data) == FEW_BYTES:
            self._receive_bytes = RECEIVE_BYTES  # who sent much once will do so again
        return data

    def queue(self, data: bytes) -> None:
        """Send `data` with the next flush."""
        if self.unsent_bytes == 0:
            self._next = data
        else:
            self._more.append(data)
        self.unsent_bytes += len(data)

    def flush(self) -> None:
        """Send what the socket takes: usually everything, in one call."""
        while self.unsent_bytes and not self.broken:
            if self._more and len(self._next) < SEND_BYTES:
                self._gather()
            data = self._next
            try:
                sent = self._send(data)
            except BlockingIOError:
                return
            except OSError:
                self.broken = True
                return
            self.unsent_bytes -= sent
            if sent < len(data):
                self._next = memoryview(data)[sent:]
                return
            self._next = self._more.pop(0) if self._more else b""

    def _gather(self) -> None:
        """Let what is sent next be of some size."""
        size, count = len(self._next), 0
        while count < len(self._more) and size < SEND_BYTES:
            size += len(self._more[count])
            count += 1
        self._next = b"".join((self._next, *self._more[:count]))
        del self._more[:count]

    def end(self) -> None:
        """Tell the other side that nothing more comes."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.broken = True

    def end_receiving(self) -> None:
        """Take nothing more from the other side: from here on the stream is ready to be read, and reads as ended."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self._next = b""
        self._more.clear()
        self.unsent_bytes = 0
        self._socket.close()
