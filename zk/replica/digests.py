"""Digests of the tree at agreed zxids, so that servers whose trees drifted apart are noticed."""

from collections.abc import Sequence

from zk.broadcast.quorum import has_quorum
from zk.model.record import ServerId, Zxid

KEPT_MAX = 64


class Digests:
    """This server's digests at the last zxids where one was taken, and what other servers said of theirs there."""

    def __init__(self, server_id: ServerId) -> None:
        self._server_id = server_id
        self._at: dict[Zxid, dict[ServerId, str]] = {}
        self.latest: tuple[Zxid, str] = (Zxid(0), "")

    def mine(self, zxid: Zxid, digest: str) -> None:
        self.latest = (zxid, digest)
        self._at[zxid] = {self._server_id: digest}
        if len(self._at) > KEPT_MAX:
            del self._at[next(iter(self._at))]

    def theirs(self, server: ServerId, zxid: Zxid, digest: str) -> bool:
        """Note another server's digest. Whether it contradicts this server's; what is not known here contradicts
        nothing."""
        at = self._at.get(zxid)
        if at is None:
            return False
        at[server] = digest
        return at[self._server_id] != digest

    def own(self, zxid: Zxid) -> str:
        """This server's digest at `zxid`; "" if it is not known."""
        return self._at.get(zxid, {}).get(self._server_id, "")

    @property
    def kept(self) -> dict[Zxid, str]:
        """All of this server's that it still knows, oldest first."""
        return {zxid: at[self._server_id] for zxid, at in self._at.items()}

    def minority(self, zxid: Zxid, configs: Sequence[frozenset[ServerId]]) -> list[ServerId]:
        """The servers whose digest at `zxid` is another than that of a quorum; none while no quorum agrees."""
        at = self._at.get(zxid, {})
        for agreed in set(at.values()):
            if has_quorum([server for server, digest in at.items() if digest == agreed], configs):
                return [server for server, digest in at.items() if digest != agreed]
        return []
