"""What servers tell each other besides the broadcast's own messages: clients' writes on their way to the leader, read-
index, signs of life, and that a tree has drifted away from the others'."""

from zk.model.record import SessionId, Zxid, record


@record
class Forward:
    """Follower to leader: clients' writes, encoded as transactions without their time stamp, in the order in which
    they arrived."""

    bodies: tuple[bytes, ...]


@record
class ReadIndexAsk:
    """Follower to leader: at which zxid is a read linearizable that was called before now? `token` comes back."""

    token: int


@record
class ReadIndexAnswer:
    """Leader to follower. `zxid` None: the asked server does not lead (any more); ask again."""

    token: int
    zxid: Zxid | None


@record
class Heard:
    """Follower to leader: these of its clients' sessions gave a sign of life since the last Heard; its tree's digest
    at `digest_zxid`."""

    sessions: tuple[SessionId, ...]
    digest_zxid: Zxid
    digest: str


@record
class Drifted:
    """Leader to follower: at `zxid` a quorum holds a tree with this digest, and yours is another. Halt."""

    zxid: Zxid
    digest: str


ReplicaMessage = Forward | ReadIndexAsk | ReadIndexAnswer | Heard | Drifted
