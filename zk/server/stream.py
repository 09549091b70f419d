"""A connected socket that never blocks, and the bytes that it did not take yet. Knows nothing of what they mean."""

import socket
from collections import deque
from contextlib import suppress

RECEIVE_BYTES = 64 * 1024
SEND_BYTES = 128 * 1024  # what is gathered into one send


class Stream:
    """Bytes in, bytes out. A broken connection reads as ended; what is still to be sent on it is silently lost."""

    failure = ""  # what an operator should know of the end; TLS has more to say here

    __slots__ = ("_parts", "_socket", "broken", "unsent_bytes")

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        with suppress(OSError):  # some systems refuse if it is broken already
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connected
        self._parts: deque[bytes | memoryview] = deque()
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
        """What has arrived; None if nothing has; b"" if nothing ever will."""
        try:
            return self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            self.broken = True
            return b""

    def queue(self, data: bytes) -> None:
        """Send `data` with the next flush."""
        self._parts.append(data)
        self.unsent_bytes += len(data)

    def flush(self) -> None:
        """Send what the socket takes: usually everything, in one call."""
        parts = self._parts
        while parts and not self.broken:
            data = parts.popleft()
            if parts and len(data) < SEND_BYTES:
                data = self._gather(data)
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.broken = True
                return
            self.unsent_bytes -= sent
            if sent < len(data):
                parts.appendleft(memoryview(data)[sent:])
                return

    def _gather(self, first: bytes | memoryview) -> bytes:
        gathered, size = [first], len(first)
        while self._parts and size < SEND_BYTES:
            part = self._parts.popleft()
            gathered.append(part)
            size += len(part)
        return b"".join(gathered)

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
        self._parts.clear()
        self.unsent_bytes = 0
        self._socket.close()
