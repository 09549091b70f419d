"""Digests of the tree at agreed zxids, so that servers whose trees drifted apart are noticed."""

from zk.model.record import Zxid

KEPT_MAX = 64


class Digests:
    """This server's digests at the last zxids where one was taken, to hold others' against."""

    def __init__(self) -> None:
        self._mine: dict[Zxid, str] = {}
        self.latest: tuple[Zxid, str] = (Zxid(0), "")

    def mine(self, zxid: Zxid, digest: str) -> None:
        self.latest = (zxid, digest)
        self._mine[zxid] = digest
        if len(self._mine) > KEPT_MAX:
            del self._mine[next(iter(self._mine))]

    def differs(self, zxid: Zxid, digest: str) -> bool:
        """Whether another server's digest contradicts this server's; what is not known here contradicts nothing."""
        return self._mine.get(zxid, digest) != digest
