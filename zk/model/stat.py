"""Stat: what is known of a znode besides its data."""

from zk.model.record import SessionId, Zxid, record


@record
class Stat:
    """The eleven figures of a znode, in ZooKeeper's order. Times are milliseconds since the epoch, stamped by the
    leader."""

    czxid: Zxid
    """The transaction that created the node."""
    mzxid: Zxid
    """The transaction that last set its data."""
    ctime: int
    mtime: int
    version: int
    """How often the data was set."""
    cversion: int
    """How often a child came or went."""
    aversion: int
    """How often the ACL was set."""
    ephemeral_owner: SessionId
    """The owning session; 0 unless the node is ephemeral."""
    data_length: int
    num_children: int
    pzxid: Zxid
    """The transaction that last created or deleted a child."""

    @property
    def figures(self) -> tuple[int, ...]:
        """All eleven, in their order."""
        return (
            self.czxid,
            self.mzxid,
            self.ctime,
            self.mtime,
            self.version,
            self.cversion,
            self.aversion,
            self.ephemeral_owner,
            self.data_length,
            self.num_children,
            self.pzxid,
        )
