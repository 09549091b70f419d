"""Writes that wait for the end of the round, or for a leader, before they are proposed or forwarded."""

import sys
from bisect import bisect_right
from itertools import accumulate, compress

from zk.model.requests import Txn
from zk.replica.client import Client


class Outbox:
    """In order of arrival, which is the order in which each client's writes are applied."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []
        self._txns: list[Txn | None] = []  # of each body; None: another server's client wrote it
        self._clients: list[Client | None] = []  # and its client; None: it is not a client's of this server
        self._bytes = 0  # of all bodies

    def __len__(self) -> int:
        return len(self._bodies)

    def add(self, body: bytes, txn: Txn | None, client: Client | None) -> None:
        self._bodies.append(body)
        self._txns.append(txn)
        self._clients.append(client)
        self._bytes += len(body)

    def take(self, bytes_max: int = sys.maxsize) -> tuple[list[bytes], list[Txn | None]]:
        """The bodies of the first writes, with no more than `bytes_max` together unless the first alone has more, and
        their transactions. They leave the outbox; what nobody wants any more is left out."""
        bodies, txns, clients = self._bodies, self._txns, self._clients
        count = len(bodies)
        if self._bytes > bytes_max:
            count = max(1, bisect_right(list(accumulate(map(len, bodies))), bytes_max))
        self._bodies, self._txns, self._clients = bodies[count:], txns[count:], clients[count:]
        self._bytes = sum(map(len, self._bodies))
        del bodies[count:], txns[count:], clients[count:]
        unwanted = False
        for client in clients:
            if client is not None:
                client.unsent -= 1
                if client.session_id == 0 and not client.awaits_session:
                    unwanted = True
        if unwanted:
            wanted = [client is None or client.session_id != 0 or client.awaits_session for client in clients]
            return list(compress(bodies, wanted)), list(compress(txns, wanted))
        return bodies, txns

    def keep_own_clients(self) -> None:
        """The leader's role is over: what others forwarded, and what it proposed as leader, is theirs and void."""
        wanted = [client is not None for client in self._clients]
        self._bodies = list(compress(self._bodies, wanted))
        self._txns = list(compress(self._txns, wanted))
        self._clients = list(compress(self._clients, wanted))
        self._bytes = sum(map(len, self._bodies))
