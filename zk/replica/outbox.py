"""Writes that wait for the end of the round, or for a leader, before they are proposed or forwarded."""

from zk.model.record import record
from zk.model.requests import Txn
from zk.replica.client import Client


@record
class Outgoing:
    """One write. `txn` is None for another server's client, `client` None for whatever is not a client's of this
    server."""

    body: bytes
    txn: Txn | None
    client: Client | None


class Outbox:
    """In order of arrival, which is the order in which each client's writes are applied."""

    def __init__(self) -> None:
        self._writes: list[Outgoing] = []

    def __len__(self) -> int:
        return len(self._writes)

    def add(self, body: bytes, txn: Txn | None, client: Client | None) -> None:
        self._writes.append(Outgoing(body, txn, client))

    def take(self) -> list[Outgoing]:
        """All writes that are still wanted, and an empty outbox."""
        writes, self._writes = self._writes, []
        wanted: list[Outgoing] = []
        for write in writes:
            client = write.client
            if client is not None:
                client.unsent -= 1
                if client.session_id == 0 and not client.awaits_session:
                    continue  # nobody waits for the session any more that this would open
            wanted.append(write)
        return wanted

    def keep_own_clients(self) -> None:
        """The leader's role is over: what others forwarded, and what it proposed as leader, is theirs and void."""
        self._writes = [write for write in self._writes if write.client is not None]
