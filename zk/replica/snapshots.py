"""Snapshots in the making: the tree is captured at one instant, and encoded slice by slice between the rounds of
requests."""

from collections.abc import Iterator

from zk.broadcast.records import SnapshotRef
from zk.model.record import ServerId, Zxid, record
from zk.tree.image import Image
from zk.wire import snapshot


def file_name(zxid: Zxid) -> str:
    """Snapshots sort by name as they do by zxid."""
    return f"snapshot-{zxid:016x}"


@record
class Slice:
    """A piece of this server's own snapshot."""

    ref: SnapshotRef
    chunk: bytes
    last: bool


@record
class Whole:
    """A complete snapshot for a peer that is too far behind."""

    peer: ServerId
    stream: int
    zxid: Zxid
    digest: str
    chunks: tuple[bytes, ...]


class SnapshotJobs:
    """At most one snapshot of this server's own, and one for each peer that asked, each a slice at a time."""

    def __init__(self, nodes_per_slice: int) -> None:
        self._nodes_per_slice = nodes_per_slice
        self._own: tuple[SnapshotRef, Iterator[bytes], bytes] | None = None
        self._peers: dict[ServerId, tuple[Whole, Iterator[bytes], list[bytes]]] = {}

    @property
    def own_under_way(self) -> bool:
        return self._own is not None

    def start_own(self, zxid: Zxid, digest: str, image: Image) -> None:
        """The reference's epochs and membership are the engine's to fill in."""
        ref = SnapshotRef(zxid, file_name(zxid), digest, (), b"", False)
        chunks = snapshot.chunks(image, self._nodes_per_slice)
        self._own = (ref, chunks, next(chunks))

    def start_for_peer(self, peer: ServerId, stream: int, zxid: Zxid, digest: str, image: Image) -> None:
        """A newer request of the same peer replaces the older one."""
        chunks = snapshot.chunks(image, self._nodes_per_slice)
        self._peers[peer] = (Whole(peer, stream, zxid, digest, ()), chunks, [])

    def drop(self) -> None:
        """The tree was replaced, or the role that needed these is over."""
        self._own = None
        self._peers.clear()

    def step(self) -> list[Slice | Whole]:
        """Encode one slice of each snapshot under way."""
        ready: list[Slice | Whole] = []
        if self._own is not None:
            ref, chunks, chunk = self._own
            following = next(chunks, None)
            ready.append(Slice(ref, chunk, following is None))
            self._own = None if following is None else (ref, chunks, following)
        for peer, (whole, chunks, done) in list(self._peers.items()):
            chunk_for_peer = next(chunks, None)
            if chunk_for_peer is not None:
                done.append(chunk_for_peer)
                continue
            del self._peers[peer]
            ready.append(Whole(whole.peer, whole.stream, whole.zxid, whole.digest, tuple(done)))
        return ready
