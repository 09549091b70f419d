"""What the load generator speaks: a class for each protocol, as cheap as can be. etcd's is in `grpc_wire`."""

from abc import ABC, abstractmethod
from struct import Struct

import msgpack  # type: ignore[import-untyped]  # it ships no types

from zk.model.record import SessionId
from zk.model.requests import Call, ClientRequest, Connect, Create, GetData, SetData
from zk.wire.native import MAGIC, ClientConnection
from zk.wire.zookeeper.jute import buffer_bytes, flag_bytes, int32_bytes, int64_bytes, text_bytes, vector_bytes
from zk.wire.zookeeper.numbers import OpCode

SESSION_TIMEOUT_MS = 30_000


class Wire(ABC):
    """The client's end of one connection. Calls are encoded in the order in which they are sent; the first is 1."""

    opening: bytes
    """What asks for a session."""

    @abstractmethod
    def get(self, xid: int, path: str) -> bytes: ...

    @abstractmethod
    def get_linearizable(self, xid: int, path: str) -> bytes: ...

    @abstractmethod
    def set(self, xid: int, floor: int, path: str, data: bytes) -> bytes: ...

    @abstractmethod
    def create(self, xid: int, floor: int, path: str, data: bytes) -> bytes: ...

    @abstractmethod
    def answers(self, data: bytes) -> list[int]:
        """For each answer that `data` completes, the code of its refusal, or 0. The session's comes first."""

    def before(self, calls: int) -> bytes:
        """What the protocol itself wants sent ahead of the next so many calls."""
        return b""


class Native(Wire):
    """This service's own protocol."""

    def __init__(self) -> None:
        self._wire = ClientConnection("zk bench")
        self.opening = self._wire.hello() + self._call(0, Connect(SessionId(0), b"", SESSION_TIMEOUT_MS))
        self._unpacker = msgpack.Unpacker(max_buffer_size=64 * 1024 * 1024)
        self._preface = len(MAGIC)  # bytes before the first frame, which is a greeting

    def get(self, xid: int, path: str) -> bytes:
        return self._call(xid, GetData(path))

    def get_linearizable(self, xid: int, path: str) -> bytes:
        return self._wire.call(Call(xid, GetData(path), linearizable=True))

    def set(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self._call(xid, SetData(path, data), floor)

    def create(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self._call(xid, Create(path, data), floor)

    def answers(self, data: bytes) -> list[int]:
        if self._preface:
            self._unpacker.feed(data[self._preface :])
            self._preface = 0
            next(self._unpacker)
        else:
            self._unpacker.feed(data)
        return [kind if kind < 0 else 0 for _, _, kind, *_ in self._unpacker]

    def _call(self, xid: int, request: ClientRequest, floor: int = 0) -> bytes:
        return self._wire.call(Call(xid, request, floor))


_LENGTH = Struct(">i")
_HEAD = Struct(">iiqi")  # length, xid, zxid, error
_WORLD = int32_bytes(31) + text_bytes("world") + text_bytes("anyone")


class ZooKeeper(Wire):
    """ZooKeeper's."""

    def __init__(self) -> None:
        nothing_seen = int32_bytes(0) + int64_bytes(0)
        session = int32_bytes(SESSION_TIMEOUT_MS) + int64_bytes(0) + buffer_bytes(bytes(16)) + flag_bytes(False)
        self.opening = buffer_bytes(nothing_seen + session)
        self._attached = False
        self._unfinished = b""

    def get(self, xid: int, path: str) -> bytes:
        return self._call(xid, OpCode.GET_DATA, text_bytes(path) + flag_bytes(False))

    def get_linearizable(self, xid: int, path: str) -> bytes:
        raise ValueError("ZooKeeper's protocol has no linearizable read")

    def set(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self._call(xid, OpCode.SET_DATA, text_bytes(path) + buffer_bytes(data) + int32_bytes(-1))

    def create(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        persistent = vector_bytes([_WORLD]) + int32_bytes(0)
        return self._call(xid, OpCode.CREATE, text_bytes(path) + buffer_bytes(data) + persistent)

    def answers(self, data: bytes) -> list[int]:
        data = self._unfinished + data
        at, codes = 0, []
        if not self._attached:
            if len(data) < _LENGTH.size or len(data) < (at := _LENGTH.size + _LENGTH.unpack_from(data)[0]):
                self._unfinished = data
                return []
            self._attached = True
            codes.append(0)
        end = len(data) - _HEAD.size
        while at <= end:
            length, _, _, error = _HEAD.unpack_from(data, at)
            if at + _LENGTH.size + length > len(data):
                break
            at += _LENGTH.size + length
            codes.append(error)
        self._unfinished = data[at:]
        return codes

    def _call(self, xid: int, opcode: int, fields: bytes) -> bytes:
        return buffer_bytes(int32_bytes(xid) + int32_bytes(opcode) + fields)
