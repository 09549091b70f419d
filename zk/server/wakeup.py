"""Wakes the runtime from another thread or task, through a file descriptor that a poller can wait on."""

import os
import socket


class Wakeup:
    """An eventfd, or a pair of sockets where there is none."""

    def __init__(self) -> None:
        self._event = -1
        self._pair: tuple[socket.socket, socket.socket] | None = None
        if hasattr(os, "eventfd"):
            self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        else:
            self._pair = socket.socketpair()
            for end in self._pair:
                end.setblocking(False)

    def fileno(self) -> int:
        return self._event if self._pair is None else self._pair[0].fileno()

    def set(self) -> None:
        """Safe from every thread; several times before a `clear` counts as once."""
        try:
            if self._pair is None:
                os.eventfd_write(self._event, 1)
            else:
                self._pair[1].send(b"\0")
        except BlockingIOError:
            return  # full: it is set already

    def clear(self) -> None:
        try:
            if self._pair is None:
                os.eventfd_read(self._event)
            else:
                self._pair[0].recv(65_536)
        except BlockingIOError:
            return  # it was not set

    def close(self) -> None:
        if self._pair is None:
            os.close(self._event)
        else:
            for end in self._pair:
                end.close()
