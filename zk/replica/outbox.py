"""Writes that wait for the end of the round, or for a leader, before they are proposed or forwarded."""

from zk.model.requests import Txn
from zk.replica.client import Client

Outgoing = tuple[bytes, Txn | None, Client | None]
"""One write: its body; the transaction, None if it is another server's client's; the client, None if it is not a
client's of this server."""


class Outbox:
    """In order of arrival, which is the order in which each client's writes are applied."""

    def __init__(self) -> None:
        self.writes: list[Outgoing] = []  # to be looked at and appended to, and always this very list

    def take(self) -> list[Outgoing]:
        """All writes that are still wanted, and an empty outbox."""
        wanted: list[Outgoing] = []
        for write in self.writes:
            client = write[2]
            if client is not None:
                client.unsent -= 1
                if client.session_id == 0 and not client.awaits_session:
                    continue  # nobody waits for the session any more that this would open
            wanted.append(write)
        self.writes.clear()
        return wanted

    def keep_own_clients(self) -> None:
        """The leader's role is over: what others forwarded, and what it proposed as leader, is theirs and void."""
        self.writes[:] = [write for write in self.writes if write[2] is not None]
