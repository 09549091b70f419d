"""Where a log stands: held against a naive replay."""

from zk.broadcast.records import Entry, EntryKind, Promise, SnapshotRef, Truncate
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import make_zxid
from zk.storage.position import Position
from zk.storage.segment import Identity, SegmentHeader

Z = make_zxid


def txn(epoch: int, counter: int) -> Entry:
    return Entry(Z(epoch, counter), EntryKind.TXN if counter else EntryKind.MARKER, b"")


def test_epochs_end_where_the_next_marker_begins() -> None:
    position = Position()
    position.advance([txn(1, 0), txn(1, 1), txn(4, 0), txn(4, 1), txn(4, 2)])
    assert position.last_zxid == Z(4, 2)
    assert position.epochs == ((Epoch(1), Z(1, 1)), (Epoch(4), Z(4, 2)))


def test_a_truncation_takes_back_epochs_and_memberships() -> None:
    position = Position()
    position.advance([txn(1, 0), Entry(Z(1, 1), EntryKind.CONFIG, b"old"), txn(1, 2), txn(2, 0)])
    position.advance([Entry(Z(2, 1), EntryKind.CONFIG, b"new")])
    assert position.membership == b"new"
    position.advance([Truncate(Z(1, 2))])
    assert (position.last_zxid, position.epochs, position.membership) == (Z(1, 2), ((Epoch(1), Z(1, 2)),), b"old")


def test_an_installed_snapshot_replaces_everything_but_the_promise() -> None:
    ref = SnapshotRef(Z(3, 8), "file", "digest", ((Epoch(1), Z(1, 5)), (Epoch(3), Z(3, 8))), b"m", True)
    position = Position()
    position.advance([Promise(Epoch(5)), txn(1, 0), txn(1, 1), txn(1, 2), ref, txn(5, 0)])
    assert position.accepted_epoch == 5
    assert position.epochs == ((Epoch(1), Z(1, 5)), (Epoch(3), Z(3, 8)), (Epoch(5), Z(5, 0)))
    assert (position.membership, position.snapshot) == (b"m", ref)


def test_a_segment_header_restores_it() -> None:
    position = Position()
    position.advance([Promise(Epoch(2)), txn(1, 0), txn(1, 1), txn(2, 0), Entry(Z(2, 1), EntryKind.CONFIG, b"m")])
    header = SegmentHeader(
        1,
        None,
        Identity("test", ServerId(1)),
        "disk",
        position.accepted_epoch,
        position.last_zxid,
        position.epochs,
        position.membership,
        None,
        0,
    )
    restored = Position.at(header)
    for each in (position, restored):
        each.advance([txn(3, 0), Truncate(Z(2, 0))])
    assert restored.epochs == position.epochs == ((Epoch(1), Z(1, 1)), (Epoch(2), Z(2, 0)))
    assert (restored.accepted_epoch, restored.last_zxid) == (Epoch(2), Zxid(Z(2, 0)))
