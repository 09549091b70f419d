"""Image: the state of a tree at one moment, as a value."""

from collections.abc import Mapping

from zk.model.record import SessionId, Zxid, record
from zk.model.session import Session
from zk.model.znode import Znode


@record
class Brought:
    """A tree that `session_id` is bringing here, as far as it has come; see restoration.py."""

    session_id: SessionId
    last_zxid: Zxid
    znodes: Mapping[str, Znode]


@record
class Image:
    """The whole replicated state at `zxid`, frozen: all that a snapshot must hold. `time_ms` is the newest stamp up to
    there, which no znode need show: the transaction may have deleted one.

    `znodes_sum` is the znodes' part of the digest; who reads an image from a disk can hold it against
    `digest.znodes_sum(image.znodes)`.
    """

    zxid: Zxid
    time_ms: int
    znodes: Mapping[str, Znode]
    sessions: Mapping[SessionId, Session]
    znodes_sum: int
    brought: Brought | None = None
    restored: Zxid = Zxid(0)
