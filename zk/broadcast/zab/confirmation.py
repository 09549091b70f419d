"""Read-index (R13): a linearizable read may be answered once a quorum round that *started after* the request has
confirmed that this server still leads, and all that was committed at the request is delivered.
"""

from collections import deque
from collections.abc import Mapping

from zk.broadcast.engine import ReadReady, Token
from zk.broadcast.quorum import reached_by_quorum
from zk.broadcast.zab.node import Node
from zk.model.record import ServerId, Zxid, record


@record
class _Read:
    token: Token
    round: int  # the first round that counts for it
    commit: Zxid


class Confirmation:
    """`round` is the number of the newest round of pings, `confirmed` that of the newest that a quorum answered."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.round = 0
        self.confirmed = 0
        self._reads: deque[_Read] = deque()

    @property
    def wants_round(self) -> bool:
        """Whether a read waits for a round that has not started, and none is under way."""
        return self.confirmed == self.round and bool(self._reads) and self._reads[-1].round > self.round

    def ask(self, token: Token) -> None:
        self._reads.append(_Read(token, self.round + 1, self._node.commit))

    def start_round(self) -> int:
        self.round += 1
        return self.round

    def answered(self, rounds: Mapping[ServerId, int]) -> None:
        """`rounds` is the newest round that each voter has answered."""
        node = self._node
        confirmed = reached_by_quorum({**rounds, node.server_id: self.round}, node.configs)
        self.confirmed = max(self.confirmed, confirmed)
        self.release()

    def release(self) -> None:
        """Let go the reads whose conditions hold."""
        node, reads = self._node, self._reads
        while reads and reads[0].round <= self.confirmed and reads[0].commit <= node.delivered:
            node.effects.append(ReadReady(reads.popleft().token, node.delivered_txn))

    def abandon(self) -> tuple[Token, ...]:
        """The tokens of all reads that still wait, in order; they are forgotten."""
        tokens = tuple(read.token for read in self._reads)
        self._reads.clear()
        return tokens
