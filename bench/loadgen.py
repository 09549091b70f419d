"""A load generator: N connections with W requests outstanding each.

Frames are encoded before the clock starts, so that it is cheap. It speaks this service's own protocol, or ZooKeeper's.

Run by the benchmarks as a process of its own; prints one JSON object. How to see that it is not the bottleneck:
`cpu_seconds` (its own) stays well below `seconds`.
"""

import argparse
import json
import select
import socket
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from struct import Struct

import msgpack  # type: ignore[import-untyped]  # it ships no types

from zk.model.record import SessionId
from zk.model.requests import Call, ClientRequest, Connect, Create, GetData, SetData
from zk.wire.native import MAGIC, ClientConnection
from zk.wire.zookeeper.jute import buffer_bytes, flag_bytes, int32_bytes, int64_bytes, text_bytes, vector_bytes
from zk.wire.zookeeper.numbers import OpCode

SESSION_TIMEOUT_MS = 30_000
OPERATIONS = ("get", "set", "create", "mix")
READS_PER_WRITE = 9  # of a mix


@dataclass
class Outcome:
    """What one run measured. Latencies are milliseconds, from the send of a window to each of its replies."""

    operations: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float
    errors: int


class Wire(ABC):
    """The client's end of one connection, as cheap as can be."""

    opening: bytes
    """What asks for a session."""

    @abstractmethod
    def get(self, xid: int, path: str) -> bytes: ...

    @abstractmethod
    def set(self, xid: int, floor: int, path: str, data: bytes) -> bytes: ...

    @abstractmethod
    def create(self, xid: int, floor: int, path: str, data: bytes) -> bytes: ...

    @abstractmethod
    def answers(self, data: bytes) -> list[bool]:
        """For each answer that `data` completes, whether it is a refusal. The session's is the first."""


class Native(Wire):
    """This service's own protocol."""

    def __init__(self) -> None:
        self._wire = ClientConnection("zk bench")
        self.opening = self._wire.hello() + self._call(0, Connect(SessionId(0), b"", SESSION_TIMEOUT_MS))
        self._unpacker = msgpack.Unpacker(max_buffer_size=64 * 1024 * 1024)
        self._preface = len(MAGIC)  # bytes before the first frame, which is a greeting

    def get(self, xid: int, path: str) -> bytes:
        return self._call(xid, GetData(path))

    def set(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self._call(xid, SetData(path, data), floor)

    def create(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self._call(xid, Create(path, data), floor)

    def answers(self, data: bytes) -> list[bool]:
        if self._preface:
            self._unpacker.feed(data[self._preface :])
            self._preface = 0
            next(self._unpacker)
        else:
            self._unpacker.feed(data)
        return [kind < 0 for _, _, kind, *_ in self._unpacker]

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

    def set(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        return self._call(xid, OpCode.SET_DATA, text_bytes(path) + buffer_bytes(data) + int32_bytes(-1))

    def create(self, xid: int, floor: int, path: str, data: bytes) -> bytes:
        persistent = vector_bytes([_WORLD]) + int32_bytes(0)
        return self._call(xid, OpCode.CREATE, text_bytes(path) + buffer_bytes(data) + persistent)

    def answers(self, data: bytes) -> list[bool]:
        data = self._unfinished + data
        at, refused = 0, []
        if not self._attached:
            if len(data) < _LENGTH.size or len(data) < (at := _LENGTH.size + _LENGTH.unpack_from(data)[0]):
                self._unfinished = data
                return []
            self._attached = True
            refused.append(False)
        end = len(data) - _HEAD.size
        while at <= end:
            length, _, _, error = _HEAD.unpack_from(data, at)
            if at + _LENGTH.size + length > len(data):
                break
            at += _LENGTH.size + length
            refused.append(error != 0)
        self._unfinished = data[at:]
        return refused

    def _call(self, xid: int, opcode: int, fields: bytes) -> bytes:
        return buffer_bytes(int32_bytes(xid) + int32_bytes(opcode) + fields)


WIRES: dict[str, type[Wire]] = {"native": Native, "zookeeper": ZooKeeper}


class Connection:
    """One session, its frames still to send, and what it waits for."""

    def __init__(self, number: int, wire: Wire, root: str, host: str, port: int) -> None:
        self.number = number
        self.node = f"{root}/{number}"
        self.wire = wire
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.xid = 0
        self.ask(wire.opening)
        self.frames: list[bytes] = []
        self.sent = 0
        self.answered = 0
        self.sent_at: list[float] = []

    def ask(self, frame: bytes) -> None:
        """One call, blocking: for the preparations."""
        self.socket.sendall(frame)
        while not (refused := self.wire.answers(self.receive())):
            pass
        if any(refused):
            raise RuntimeError(f"the server refused what prepares {self.node}")

    def create(self, path: str, data: bytes) -> None:
        self.xid += 1
        self.ask(self.wire.create(self.xid, self.xid, path, data))

    def prepare(self, operation: str, count: int, window: int, size: int) -> None:
        data = b"x" * size
        wire, node = self.wire, self.node
        for index in range(count):
            self.xid += 1
            floor = max(0, self.xid - window)
            if operation == "create":
                frame = wire.create(self.xid, floor, f"{node}/n{index:07d}", data)
            elif operation == "set" or (operation == "mix" and index % (READS_PER_WRITE + 1) == READS_PER_WRITE):
                frame = wire.set(self.xid, floor, node, data)
            else:
                frame = wire.get(self.xid, node)
            self.frames.append(frame)

    def send(self, count: int) -> None:
        sent = self.sent
        batch = self.frames[sent : sent + count]
        if not batch:
            return
        self.sent = sent + len(batch)
        data = b"".join(batch) if len(batch) > 1 else batch[0]
        self.sent_at += [time.perf_counter()] * len(batch)
        written = self.socket.send(data)
        if written < len(data):
            self.socket.setblocking(True)
            self.socket.sendall(data[written:])
            self.socket.setblocking(False)

    def receive(self) -> bytes:
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError(f"the server closed the connection of {self.node}")
        return data

    def take(self, latencies: list[float]) -> tuple[int, int]:
        """How many answers have arrived, and how many of them are refusals."""
        refused = self.wire.answers(self.receive())
        now = time.perf_counter()
        first = self.answered
        self.answered = last = first + len(refused)
        latencies += [now - sent_at for sent_at in self.sent_at[first:last]]
        return len(refused), sum(refused)


def run(
    servers: list[tuple[str, int]],
    wire: type[Wire],
    root: str,
    connections: int,
    window: int,
    operation: str,
    total: int,
    size: int,
) -> Outcome:
    """Spread `connections` evenly over the servers and send `total` requests."""
    clients = [Connection(number, wire(), root, *servers[number % len(servers)]) for number in range(connections)]
    clients[0].create(root, b"")
    for client in clients:
        client.create(client.node, b"x" * size)
        client.prepare(operation, total // connections, window, size)
    latencies: list[float] = []
    errors = 0
    with select.epoll() as epoll:  # not `selectors`: its bookkeeping costs as much as a request
        by_fd = {client.socket.fileno(): client for client in clients}
        for fd, client in by_fd.items():
            client.socket.setblocking(False)
            epoll.register(fd, select.EPOLLIN)
        remaining = operations = sum(len(client.frames) for client in clients)
        cpu = time.process_time()
        started = time.perf_counter()
        for client in clients:
            client.send(window)
        while remaining:
            for fd, _ in epoll.poll(10):
                client = by_fd[fd]
                arrived, failed = client.take(latencies)
                errors += failed
                remaining -= arrived
                client.send(arrived)
        seconds = time.perf_counter() - started
        cpu = time.process_time() - cpu
    for client in clients:
        client.socket.close()
    latencies.sort()
    return Outcome(
        operations,
        seconds,
        cpu,
        latencies[len(latencies) // 2] * 1000,
        latencies[len(latencies) * 99 // 100] * 1000,
        errors,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--servers", required=True, help="HOST:PORT[,HOST:PORT…]")
    parser.add_argument("--wire", choices=WIRES, default="native")
    parser.add_argument("--root", default="/bench", help="the node to make, and to work below")
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--window", type=int, default=1, help="requests outstanding per connection")
    parser.add_argument("--operation", choices=OPERATIONS, default="get")
    parser.add_argument("--total", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=100, help="bytes of data")
    options = parser.parse_args()
    servers = [(host, int(port)) for host, _, port in (item.rpartition(":") for item in options.servers.split(","))]
    shape = (options.connections, options.window, options.operation, options.total, options.size)
    outcome = run(servers, WIRES[options.wire], options.root, *shape)
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
