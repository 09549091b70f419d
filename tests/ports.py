"""Ports for ensembles that count theirs on from a first one."""

import socket
from contextlib import ExitStack
from pathlib import Path

from zk.cli.ensemble import plan
from zk.server.testing import free_ports


def free_base_port(size: int = 3) -> int:
    """Where `zk ensemble up --base-port` finds all the ports free that it takes for so many servers."""
    while True:
        [base] = free_ports(1)
        ports = [port for member in plan(size, base, Path()) for port in (member.port, member.peer_port)]
        with ExitStack() as stack:
            try:
                for port in ports:
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return base
