"""A load generator: N connections with W requests outstanding each.

Frames are encoded before the clock starts, so that it is cheap. It speaks this service's own protocol, ZooKeeper's
or etcd's.

Run by the benchmarks as a process of its own; prints one JSON object. How to see that it is not the bottleneck:
`cpu_seconds` (its own) stays well below `seconds`.
"""

import argparse
import json
import select
import socket
import time
from collections import Counter
from dataclasses import asdict, dataclass

from wires import Native, Wire, ZooKeeper

WIRES = ("native", "zookeeper", "etcd")
OPERATIONS = ("get", "linearizable", "set", "create", "mix")
READS_PER_WRITE = 9  # of a mix
RECEIVE_BYTES = 1 << 16  # more, and the allocator may ask the kernel for each: twice the cost, by chance
ANSWER_TIMEOUT_S = 30.0  # more than any disk of a benchmark stalls


@dataclass
class Outcome:
    """What one run measured. Latencies are milliseconds, from the send of a window to each of its replies; answers are
    taken to come in the order of the calls, which over HTTP/2 they need not."""

    operations: int
    seconds: float
    cpu_seconds: float
    p50_ms: float
    p99_ms: float
    refused: dict[int, int]
    """How many answers were refusals, by their codes."""


def wire_named(name: str) -> type[Wire]:
    """One of `WIRES`. ImportError if it is etcd's, and hpack is not installed."""
    if name == "etcd":
        from grpc_wire import Etcd

        return Etcd
    return {"native": Native, "zookeeper": ZooKeeper}[name]


class Connection:
    """One session, its frames still to send, and what it waits for."""

    def __init__(self, number: int, wire: Wire, root: str, host: str, port: int) -> None:
        self.number = number
        self.node = f"{root}/{number}"
        self.wire = wire
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.xid = 0
        self.ask(wire.opening, 0)
        self.frames: list[bytes] = []
        self.sent = 0
        self.answered = 0
        self.sent_at: list[float] = []

    def ask(self, frame: bytes, calls: int = 1) -> None:
        """One call, or the opening, blocking: for the preparations."""
        self.socket.sendall(self.wire.before(calls) + frame)
        while not (codes := self.wire.answers(self.receive())):
            pass
        if any(codes):
            raise RuntimeError(f"the server refused what prepares {self.node}: {codes}")

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
            elif operation == "linearizable":
                frame = wire.get_linearizable(self.xid, node)
            else:
                frame = wire.get(self.xid, node)
            self.frames.append(frame)

    def send(self, count: int) -> None:
        sent = self.sent
        batch = self.frames[sent : sent + count]
        if not batch:
            return
        self.sent = sent + len(batch)
        data = b"".join((self.wire.before(len(batch)), *batch))
        self.sent_at += [time.perf_counter()] * len(batch)
        written = self.socket.send(data)
        if written < len(data):
            self.socket.setblocking(True)
            self.socket.sendall(data[written:])
            self.socket.setblocking(False)

    def receive(self) -> bytes:
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError(f"the server closed the connection of {self.node}")
        return data

    def take(self, latencies: list[float]) -> list[int]:
        """For each answer that has arrived, the code of the refusal; 0 if it is none."""
        codes = self.wire.answers(self.receive())
        now = time.perf_counter()
        first = self.answered
        self.answered = last = first + len(codes)
        latencies += [now - sent_at for sent_at in self.sent_at[first:last]]
        return codes


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
    refused: Counter[int] = Counter()
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
            events = epoll.poll(ANSWER_TIMEOUT_S)
            if not events:
                raise TimeoutError(f"no answer for {ANSWER_TIMEOUT_S} s; {remaining} of {operations} are missing")
            for fd, _ in events:
                client = by_fd[fd]
                codes = client.take(latencies)
                if any(codes):
                    refused.update(filter(None, codes))
                remaining -= len(codes)
                client.send(len(codes))
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
        dict(refused),
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
    outcome = run(servers, wire_named(options.wire), options.root, *shape)
    print(json.dumps(asdict(outcome)))


if __name__ == "__main__":
    main()
