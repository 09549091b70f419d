"""Writes that wait for the end of the round, or for a leader, before they are proposed or forwarded."""

from itertools import compress

from zk.model.requests import Txn
from zk.replica.client import Client


class Outbox:
    """In order of arrival, which is the order in which each client's writes are applied."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []
        self._txns: list[Txn | None] = []  # of each body; None: another server's client wrote it
        self._clients: list[Client | None] = []  # and its client; None: it is not a client's of this server

    def __len__(self) -> int:
        return len(self._bodies)

    def add(self, body: bytes, txn: Txn | None, client: Client | None) -> None:
        self._bodies.append(body)
        self._txns.append(txn)
        self._clients.append(client)

    def take(self) -> tuple[list[bytes], list[Txn | None]]:
        """The bodies of all writes that are still wanted, and their transactions; and an empty outbox."""
        unwanted = False
        for client in self._clients:
            if client is not None:
                client.unsent -= 1
                if client.session_id == 0 and not client.awaits_session:
                    unwanted = True
        if unwanted:
            self._keep([client is None or client.session_id != 0 or client.awaits_session for client in self._clients])
        bodies, self._bodies = self._bodies, []
        txns, self._txns = self._txns, []
        self._clients = []
        return bodies, txns

    def keep_own_clients(self) -> None:
        """The leader's role is over: what others forwarded, and what it proposed as leader, is theirs and void."""
        self._keep([client is not None for client in self._clients])

    def _keep(self, wanted: list[bool]) -> None:
        self._bodies = list(compress(self._bodies, wanted))
        self._txns = list(compress(self._txns, wanted))
        self._clients = list(compress(self._clients, wanted))
