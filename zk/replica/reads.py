"""Linearizable reads on their way: gathered per round, confirmed by the leader together, asked for again when the
leader is lost."""

from zk.model.record import Zxid
from zk.replica.client import Client, Pending


class LinearizableReads:
    """Batches of calls that wait for a read-index. A batch is confirmed by a quorum round that starts after its last
    call came in."""

    def __init__(self) -> None:
        self._gathered: list[tuple[Client, Pending]] = []
        self._asked: dict[int, list[tuple[Client, Pending]]] = {}
        self._tokens = 0

    def add(self, client: Client, pending: Pending) -> None:
        self._gathered.append((client, pending))

    def ask(self) -> int | None:
        """Close the gathered batch and name it, if there is one."""
        if not self._gathered:
            return None
        self._tokens += 1
        self._asked[self._tokens] = self._gathered
        self._gathered = []
        return self._tokens

    def askers(self, token: int) -> list[Client]:
        """Whose calls are in the batch."""
        return [client for client, _ in self._asked[token]]

    def confirmed(self, token: int, zxid: Zxid) -> list[Client]:
        """The batch may be answered from `zxid` on. The clients whose queues may move."""
        batch = self._asked.pop(token, [])
        for _, pending in batch:
            pending.at_least = zxid
        return [client for client, _ in batch]

    def refused(self, token: int) -> None:
        """Whoever was asked does not lead: the batch is asked for again with the next one."""
        self._gathered = self._asked.pop(token, []) + self._gathered

    def ask_all_again(self) -> None:
        """The leader is lost, and with it what it was asked."""
        for token in list(self._asked):
            self.refused(token)
