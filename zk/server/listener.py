"""Listening sockets, and how they hand over what they accept."""

import errno
import ipaddress
import logging
import socket
from collections.abc import Callable

from zk.server.config import Address
from zk.server.poller import READ, Poller, Source

logger = logging.getLogger(__name__)

BACKLOG = 1_024  # connections that the kernel keeps until they are accepted
ACCEPTS_PER_ROUND = 64
ACCEPT_PAUSE_MS = 250  # when the process has run out of file descriptors or memory

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def listen(address: Address) -> socket.socket:
    """A listening socket. OSError names the address."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"can't listen on {address}: {error.strerror}") from error
    return listening


class Listener(Source):
    """Hands every accepted connection, with the numeric address it came from, to `accepted`."""

    def __init__(
        self, poller: Poller, listening: socket.socket, accepted: Callable[[socket.socket, str], None]
    ) -> None:
        listening.setblocking(False)
        self._poller = poller
        self._listening = listening
        self._accepted = accepted
        self._now_ms = 0
        self._resume_at_ms: int | None = None
        poller.register(self, READ)

    def fileno(self) -> int:
        return self._listening.fileno()

    def on_ready(self, ready: int) -> None:
        for _ in range(ACCEPTS_PER_ROUND):
            try:
                accepted, address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    logger.warning("no new connections for %d ms: %s", ACCEPT_PAUSE_MS, error.strerror)
                    self._resume_at_ms = self._now_ms + ACCEPT_PAUSE_MS
                    self._poller.modify(self, 0)
                    return
                continue  # that one was gone before it was accepted
            self._accepted(accepted, _host(address[0]))

    def tick(self, now_ms: int) -> None:
        self._now_ms = now_ms
        if self._resume_at_ms is not None and now_ms >= self._resume_at_ms:
            self._resume_at_ms = None
            self._poller.modify(self, READ)

    def close(self) -> None:
        if self._listening.fileno() >= 0:
            self._poller.unregister(self)
            self._listening.close()


def _host(address: str) -> str:
    """The address as identities spell it: an IPv4 client of an IPv6 socket is an IPv4 client."""
    if ":" not in address:
        return address
    parsed = ipaddress.IPv6Address(address)
    return str(parsed.ipv4_mapped or parsed.compressed.partition("%")[0])
