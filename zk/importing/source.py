"""What a source amounts to, whatever it is: the nodes to take over, and what must be said about them."""

from collections.abc import Mapping

from zk.model.errors import ZKError
from zk.model.record import Zxid, record
from zk.model.znode import Znode


class DamagedSourceError(ZKError):
    """The source can't be read as it is: `file`, the `offset` (bytes) in it, and the last good `zxid` before it, where
    they are known."""

    def __init__(self, file: str, why: str, *, offset: int | None = None, zxid: Zxid | None = None) -> None:
        self.file = file
        self.why = why
        self.offset = offset
        self.zxid = zxid
        where = file if offset is None else f"{file} at offset {offset}"
        behind = "" if zxid is None else f" (behind zxid 0x{zxid:x})"
        super().__init__(f"{where}{behind}: {why}")


@record
class Source:
    """A tree as it is to be taken over, parents before their children; without ephemerals, of which `ephemerals` were
    left out. `last_zxid` is the newest transaction that it holds, `sessions` were open then.

    `notes` are for the operator: what was passed over without harm. `lost` says what could not be saved, if that was
    asked for.
    """

    znodes: Mapping[str, Znode]
    last_zxid: Zxid
    ephemerals: int
    sessions: int
    notes: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    @property
    def data_bytes(self) -> int:
        return sum(len(znode.data) for znode in self.znodes.values())
