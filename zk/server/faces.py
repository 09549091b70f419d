"""Which protocol a client speaks, told from its first bytes; so that one port serves them all.

A face translates between bytes and calls, and knows nothing else. The table is the place for more of them. Read
zk/wire/native/connection.py and zk/wire/zookeeper/connection.py next.
"""

from collections.abc import Callable

from zk.model.limits import Limits
from zk.model.record import record
from zk.wire import native, zookeeper
from zk.wire.face import Face
from zk.wire.framing import ProtocolError
from zk.wire.zookeeper import words


@record
class FaceKind:
    """`begins` says of a connection's first bytes (at least one) whether they are this protocol's; None: too few to
    tell."""

    begins: Callable[[bytes], bool | None]
    open: Callable[[Limits], Face]


FACES: tuple[FaceKind, ...] = (
    FaceKind(lambda head: head[0] == native.MAGIC[0], native.ServerConnection),
    FaceKind(zookeeper.begins, zookeeper.ServerConnection),
)


def open_face(head: bytes, limits: Limits) -> Face | str | None:
    """A face for the connection that begins with `head`, or the four-letter word that it asks; None if there must be
    more of it. ProtocolError if neither fits."""
    is_word = words.begins(head)
    if is_word:
        return words.asked(head)
    verdicts = [kind.begins(head) for kind in FACES]
    if True in verdicts:
        return FACES[verdicts.index(True)].open(limits)
    if None in (is_word, *verdicts):
        return None
    raise ProtocolError(f"no protocol of this port begins with {head[:8]!r}")
