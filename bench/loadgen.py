"""A load generator: N connections with W requests outstanding each.

Frames are encoded before the clock starts, so that it is cheap.

Run by the benchmarks as a process of its own; prints one JSON object. How to see that it is not the bottleneck:
`cpu_seconds` (its own)
stays well below `seconds`.
"""

import argparse
import json
import select
import socket
import time
from dataclasses import asdict, dataclass

import msgpack  # type: ignore[import-untyped]  # it ships no types

from zk.model.errors import APIError
from zk.model.record import SessionId
from zk.model.replies import Reply
from zk.model.requests import Call, Connect, Create, GetData, SetData
from zk.wire.native import ClientConnection

ROOT = "/bench"


@dataclass
class Outcome:
    """What one run measured. Latencies are milliseconds, from the send of a window to each of its replies."""

    operations: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float
    errors: int


class Connection:
    """One session, its frames still to send, and what it waits for."""

    def __init__(self, number: int, host: str, port: int) -> None:
        self.number = number
        self.wire = ClientConnection("zk bench")
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.xid = 0
        self.socket.sendall(self.wire.hello())
        self.ask(Connect(SessionId(0), b"", 30_000))
        self.frames: list[bytes] = []
        self.sent = 0
        self.answered = 0
        self.sent_at: list[float] = []
        self.unpacker = msgpack.Unpacker(max_buffer_size=64 * 1024 * 1024)

    def ask(self, request: Connect | Create) -> Reply:
        """One call, blocking: for the preparations."""
        self.xid += 1
        self.socket.sendall(self.wire.call(Call(self.xid, request)))
        while True:
            for item in self.wire.receive(self.socket.recv(65536)):
                if isinstance(item, Reply):
                    if isinstance(item.body, APIError):
                        raise item.body
                    return item

    def prepare(self, operation: str, count: int, window: int, size: int) -> None:
        data = b"x" * size
        own = f"{ROOT}/{self.number}"
        for index in range(count):
            self.xid += 1
            floor = max(0, self.xid - window)
            if operation == "get":
                call = Call(self.xid, GetData(own))
            elif operation == "set":
                call = Call(self.xid, SetData(own, data), floor)
            else:
                call = Call(self.xid, Create(f"{own}/n{index:07d}", data), floor)
            self.frames.append(self.wire.call(call))

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

    def receive(self, latencies: list[float]) -> tuple[int, int]:
        """How many answers have arrived, and how many of them are refusals."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionError(f"the server closed connection {self.number} after {self.answered} answers")
        self.unpacker.feed(data)
        now = time.perf_counter()
        kinds = [kind for _, _, kind, *_ in self.unpacker]
        first = self.answered
        self.answered = last = first + len(kinds)
        latencies += [now - sent_at for sent_at in self.sent_at[first:last]]
        return len(kinds), sum(kind < 0 for kind in kinds)


def run(
    servers: list[tuple[str, int]], connections: int, window: int, operation: str, total: int, size: int
) -> Outcome:
    """Spread `connections` evenly over the servers and send `total` requests."""
    clients = [Connection(number, *servers[number % len(servers)]) for number in range(connections)]
    clients[0].ask(Create(ROOT, b""))
    for client in clients:
        client.ask(Create(f"{ROOT}/{client.number}", b"x" * size))
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
                arrived, failed = client.receive(latencies)
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
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--window", type=int, default=1, help="requests outstanding per connection")
    parser.add_argument("--operation", choices=["get", "set", "create"], default="get")
    parser.add_argument("--total", type=int, default=50_000)
    parser.add_argument("--size", type=int, default=100, help="bytes of data")
    options = parser.parse_args()
    servers = [(host, int(port)) for host, _, port in (item.rpartition(":") for item in options.servers.split(","))]
    outcome = run(servers, options.connections, options.window, options.operation, options.total, options.size)
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
