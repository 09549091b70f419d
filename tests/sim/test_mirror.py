"""The mirror knows what a disk must give back."""

from zk.broadcast.records import Entry, EntryKind, Promise, Record, Recovered, Truncate
from zk.model.record import Epoch
from zk.model.zxids import make_zxid
from zk.sim.mirror import LogShape, Mirror


def entry(epoch: int, counter: int) -> Entry:
    return Entry(make_zxid(epoch, counter), EntryKind.TXN if counter else EntryKind.MARKER, b"")


def recovered(*records: Record) -> Recovered:
    return Recovered("uuid", Epoch(0), None, records, damaged=False)


WRITTEN = (Promise(Epoch(1)), entry(1, 0), entry(1, 1), entry(1, 2), Truncate(make_zxid(1, 1)), entry(2, 0))


def mirror(durable: int) -> Mirror:
    made = Mirror()
    made.append(WRITTEN)
    made.synced(durable)
    return made


def test_a_restart_may_find_any_beginning_of_what_was_under_way() -> None:
    for found in range(3, len(WRITTEN) + 1):
        assert mirror(durable=3).restart(recovered(*WRITTEN[:found])) == ""


def test_a_restart_that_lost_something_durable_is_told() -> None:
    assert mirror(durable=6).restart(recovered(*WRITTEN[:5])) == (
        "recovered accepted epoch 1, base 0x0, last 0x100000001, 2 entries, "
        "but accepted epoch 1, base 0x0, last 0x200000000, 3 entries was durable"
    )


def test_what_was_truncated_is_not_held() -> None:
    made = mirror(durable=len(WRITTEN))
    assert made.durable == LogShape(Epoch(1), zxids=[make_zxid(1, 0), make_zxid(1, 1), make_zxid(2, 0)])
    assert not made.durable.holds(make_zxid(1, 2))
    assert made.durable.holds(make_zxid(1, 1))
