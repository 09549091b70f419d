"""TLS between a connection's bytes and its socket, without waiting for either.

Owns the certificates' files and what is said about them; whoever listens makes a TlsStream of each accepted socket
and then uses it as any other Stream. Read stream.py first.
"""

import socket
import ssl
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from zk.model.acl import Identity
from zk.server.config import ConfigError, TlsConfig
from zk.server.stream import RECEIVE_BYTES, SEND_BYTES, Stream
from zk.server.x509 import subject

_NOT_TLS = "it does not speak TLS: clients without TLS belong to the address of `listen`"
_WHY = {
    "HTTP_REQUEST": _NOT_TLS,
    "HTTPS_PROXY_REQUEST": _NOT_TLS,
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "RECORD_LAYER_FAILURE": _NOT_TLS,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presents no certificate, and tls_ca asks for one",
    "UNSUPPORTED_PROTOCOL": "it speaks only versions of TLS before 1.2",
    "NO_SHARED_CIPHER": "it has no cipher in common with this server",
}


def server_context(config: TlsConfig) -> ssl.SSLContext:
    """What all TLS connections have in common. ConfigError if a file can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    for file in (config.cert, config.key, config.ca):
        if file is not None:
            _check_readable(file)
    try:
        context.load_cert_chain(config.cert, config.key, lambda: _encrypted(config.key))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise ConfigError(f"{config.key}: is not the key of the certificate in {config.cert}") from error
        raise ConfigError(f"{config.cert} and {config.key}: not a certificate and its key, as PEM ({error})") from error
    if config.ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(config.ca)
        except ssl.SSLError as error:
            raise ConfigError(f"{config.ca}: has no certificates of authorities, as PEM ({error})") from error
    return context


def _check_readable(file: Path) -> None:
    try:
        file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: can't be read ({error.strerror})") from error


def _encrypted(key: Path) -> NoReturn:
    raise ConfigError(f"{key}: is encrypted; a server that starts by itself needs it without a password")


class TlsStream:
    """A Stream whose bytes are encrypted on their way. It is of use at once: what is received first comes when the
    handshake is done.

    `identities` are what the client's certificate proves, known with the first bytes that are received. `failure` says
    why TLS could not go on, in words for the operator.
    """

    __slots__ = (
        "_ended",
        "_incoming",
        "_opened",
        "_outgoing",
        "_parts",
        "_stream",
        "_tls",
        "_unsent_bytes",
        "failure",
        "identities",
    )

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        self._stream = Stream(connected)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._parts: deque[bytes] = deque()  # not encrypted yet
        self._unsent_bytes = 0  # of those
        self._opened = False  # the handshake is done
        self._ended = False
        self.identities: tuple[Identity, ...] = ()
        self.failure = ""

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def peer(self) -> str:
        return self._stream.peer

    @property
    def broken(self) -> bool:
        return self._stream.broken or self.failure != ""

    @property
    def unsent_bytes(self) -> int:
        return self._unsent_bytes + self._stream.unsent_bytes

    def receive(self) -> bytes | None:
        """What has arrived; None if nothing has, or nothing but a part; b"" if nothing ever will."""
        if self._ended:
            return b""
        arrived = self._stream.receive()
        if arrived == b"":
            return b""
        if arrived:
            self._incoming.write(arrived)
        received = self._decrypt()
        self._pass_on()  # what TLS itself has to say
        self._stream.flush()
        return received or (b"" if self.failure or self._ended else None)

    def _decrypt(self) -> bytes:
        """All that can be understood by now: the socket won't be ready again for what has left it."""
        parts = []
        try:
            if not self._opened:
                self._open()
            while part := self._tls.read(RECEIVE_BYTES):
                parts.append(part)
            self._end_soon()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._end_soon()
        except ssl.SSLError as error:
            self.failure = _why(error)
        return b"".join(parts)

    def _open(self) -> None:
        """Do what can be done of the handshake; an ssl.SSLError says that it is not all, or why it never will be."""
        self._tls.do_handshake()
        self._opened = True
        certificate = self._tls.getpeercert(binary_form=True)
        if certificate:
            self.identities = (Identity("x509", subject(certificate)),)

    def _end_soon(self) -> None:
        """The client has said goodbye within TLS. If something came before, that is received first; the socket stays
        ready to be read."""
        self._ended = True
        self._stream.end_receiving()

    def queue(self, data: bytes) -> None:
        """Send `data` with the next flush."""
        self._parts.append(data)
        self._unsent_bytes += len(data)

    def flush(self) -> None:
        """Send what the socket takes. No more is encrypted before than a send can carry."""
        stream = self._stream
        stream.flush()
        while self._parts and not stream.unsent_bytes and not self.broken:
            gathered, size = [], 0
            while self._parts and size < SEND_BYTES:
                gathered.append(self._parts.popleft())
                size += len(gathered[-1])
            self._unsent_bytes -= size
            self._encrypt(b"".join(gathered))
            stream.flush()

    def _encrypt(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[self._tls.write(view) :]
        except ssl.SSLError as error:
            self.failure = _why(error)
        self._pass_on()

    def _pass_on(self) -> None:
        if self._outgoing.pending:
            self._stream.queue(self._outgoing.read())

    def end(self) -> None:
        """Tell the other side that nothing more comes."""
        self._say_goodbye()
        self._stream.end()

    def _say_goodbye(self) -> None:
        with suppress(ssl.SSLError, ValueError):  # not before the handshake is done, nor after a failure
            self._tls.unwrap()
        self._pass_on()
        self._stream.flush()

    def close(self) -> None:
        self._say_goodbye()
        self._parts.clear()
        self._unsent_bytes = 0
        self._stream.close()


def _why(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    reason = error.reason or str(error)
    if "ALERT" in reason and ("CA" in reason.split("_") or "CERTIFICATE" in reason):
        return f"it does not accept this server's certificate ({_readable(reason)})"
    return _WHY.get(reason, _readable(reason))


def _readable(reason: str) -> str:
    return reason.lower().replace("_", " ")
