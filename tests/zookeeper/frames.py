"""ZooKeeper's frames, put together and taken apart by hand: nothing here knows how the service does it."""

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from zk.model.record import SessionId
from zk.server.config import Address

TIMEOUT_S = 10.0


def int32(value: int) -> bytes:
    return struct.pack(">i", value)


def int64(value: int) -> bytes:
    return struct.pack(">q", value)


def flag(value: bool) -> bytes:
    return bytes([value])


def buffer(value: bytes | None) -> bytes:
    return int32(-1) if value is None else int32(len(value)) + value


def text(value: str | None) -> bytes:
    return buffer(None if value is None else value.encode())


def vector(items: Sequence[bytes] | None) -> bytes:
    return int32(-1) if items is None else int32(len(items)) + b"".join(items)


def acl(*entries: tuple[int, str, str]) -> bytes:
    return vector([int32(perms) + text(scheme) + text(name) for perms, scheme, name in entries])


OPEN = acl((31, "world", "anyone"))


def frame(*parts: bytes) -> bytes:
    return buffer(b"".join(parts))


def request(xid: int, op: int, *fields: bytes) -> bytes:
    return frame(int32(xid), int32(op), *fields)


def connect(
    session_id: int = 0,
    secret: bytes | None = bytes(16),
    timeout_ms: int = 10_000,
    last_zxid: int = 0,
    read_only: bool | None = False,
) -> bytes:
    """A connect request; `read_only` None: as old clients send it, without that byte."""
    asked = b"" if read_only is None else flag(read_only)
    return frame(int32(0), int64(last_zxid), int32(timeout_ms), int64(session_id), buffer(secret), asked)


def head(op: int, done: bool = False, error: int = -1) -> bytes:
    """What stands before each operation of a multi, before each of its results, and at the end of both."""
    return int32(op) + flag(done) + int32(error)


END = head(-1, done=True)


@dataclass
class Heard:
    """A frame from the server: an answer, or (xid -1) an event."""

    xid: int
    zxid: int
    error: int
    record: bytes


class RawClient:
    """A connection on which frames are sent and read, one by one."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection((address.host, address.port), TIMEOUT_S)
        self._xid = 0

    def __enter__(self) -> "RawClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self) -> bytes | None:
        """The next frame; None if the server closed the connection instead."""
        length = self._exactly(4)
        return None if length is None else self._exactly(int.from_bytes(length))

    def _exactly(self, count: int) -> bytes | None:
        data = b""
        while len(data) < count:
            received = self._socket.recv(count - len(data))
            if not received:
                assert not data, f"the connection ended within a frame, after {data!r}"
                return None
            data += received
        return data

    def connect(self, session: "Held | None" = None, *, last_zxid: int = 0, timeout_ms: int = 10_000) -> "Held | None":
        """The session that the server gives, or None if it closes the connection instead."""
        known = session or Held(SessionId(0), bytes(16), timeout_ms)
        self.send(connect(known.session_id, known.secret, timeout_ms, last_zxid))
        answer = self.read()
        if answer is None:
            return None
        _, granted_ms, session_id, length = struct.unpack_from(">iiqi", answer)
        assert len(answer) == 20 + length + 1
        return Held(SessionId(session_id), answer[20 : 20 + length], granted_ms)

    def ask(self, op: int, *fields: bytes) -> Heard | None:
        self._xid += 1
        self.send(request(self._xid, op, *fields))
        return self.hear()

    def hear(self) -> Heard | None:
        """The next answer or event; None if the server closed the connection instead."""
        data = self.read()
        if data is None:
            return None
        xid, zxid, error = struct.unpack_from(">iqi", data)
        return Heard(xid, zxid, error, data[16:])


@dataclass
class Held:
    """A session, as the client holds it."""

    session_id: SessionId
    secret: bytes
    timeout_ms: int


EXPIRED = Held(SessionId(0), bytes(16), 0)
