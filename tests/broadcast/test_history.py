"""The log in memory, held against a plain list of entries."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from zk.broadcast.membership import Membership
from zk.broadcast.records import Entry, EntryKind, EpochEnds
from zk.broadcast.zab.history import EPOCHS_KEPT, History, common_point, frames
from zk.model.record import Epoch, ServerId, Zxid
from zk.model.zxids import epoch_of, make_zxid


def txn(epoch: int, counter: int, payload: bytes = b"") -> Entry:
    return Entry(make_zxid(epoch, counter), EntryKind.TXN if counter else EntryKind.MARKER, payload)


def history(*entries: Entry) -> History:
    made = History(Zxid(0), (), b"")
    made.append(entries)
    return made


def epoch(number: int, length: int) -> list[Entry]:
    return [txn(number, counter) for counter in range(length)]


def membership(*disks: str) -> Membership:
    servers = frozenset(ServerId(n) for n in range(1, len(disks) + 1))
    return Membership("test", (servers,), tuple(zip(sorted(servers), disks, strict=True)))


def config(epoch: int, counter: int, content: Membership) -> Entry:
    return Entry(make_zxid(epoch, counter), EntryKind.CONFIG, content.encode())


class HistoryMachine(RuleBasedStateMachine):
    """`model` is everything that was not truncated, forgotten or not; `base` is where memory begins."""

    def __init__(self) -> None:
        super().__init__()
        self.history = History(Zxid(0), (), b"")
        self.model: list[Entry] = []

    @property
    def last(self) -> Zxid:
        return self.model[-1].zxid if self.model else Zxid(0)

    @rule(count=st.integers(1, 5), size=st.integers(0, 9))
    def append(self, count: int, size: int) -> None:
        if not self.model:
            return
        entries = [Entry(Zxid(self.last + 1 + n), EntryKind.TXN, bytes(size)) for n in range(count)]
        self.history.append(entries)
        self.model += entries

    @rule(skip=st.integers(1, 3), length=st.integers(1, 4))
    def append_epochs(self, skip: int, length: int) -> None:
        """Frames of a synchronisation may span epochs."""
        number = epoch_of(self.last) + skip
        entries = [*epoch(number, length), *epoch(number + 1, 1)]
        self.history.append(entries)
        self.model += entries

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        positions = [self.history.base, *(e.zxid for e in self.model if e.zxid > self.history.base)]
        zxid = data.draw(st.sampled_from(positions))
        self.history.truncate(zxid)
        self.model = [entry for entry in self.model if entry.zxid <= zxid]

    @precondition(lambda self: self.model)
    @rule(data=st.data(), keep=st.integers(0, 3))
    def forget(self, data: st.DataObject, keep: int) -> None:
        up_to = data.draw(st.sampled_from([entry.zxid for entry in self.model]))
        base = self.history.base
        self.history.forget(up_to, keep, 0)
        assert base <= self.history.base <= max(base, up_to)

    @invariant()
    def shows_the_model(self) -> None:
        h = self.history
        in_memory = [entry for entry in self.model if entry.zxid > h.base]
        assert h.last == self.last
        assert len(h) == len(in_memory)
        assert h.bytes == sum(len(entry.payload) for entry in in_memory)
        assert h.between(h.base, h.last, 10**6) == in_memory
        ends = {Epoch(0): Zxid(0)} | {epoch_of(entry.zxid): entry.zxid for entry in self.model}
        assert h.shape == tuple(ends.items())
        for entry in in_memory:
            assert h.holds(entry.zxid)
            assert h.frame(entry.zxid, 2, 10) == next(
                frames([other for other in in_memory if other.zxid > entry.zxid], 2, 10), ()
            )
        assert not h.holds(Zxid(h.last + 1))


TestHistory = HistoryMachine.TestCase


# ---- where two histories part


@dataclass
class World:
    """Histories as an ensemble makes them: every epoch is begun, once, on top of some history."""

    histories: list[list[Entry]] = field(default_factory=lambda: [[], []])

    def lead(self, leader: int, number: int, length: int) -> None:
        self.histories[leader] = [*self.histories[leader], *epoch(number, length)]

    def copy(self, leader: int, follower: int, length: int) -> None:
        """The follower takes over a prefix of the leader's history, at least as long as what they share."""
        mine, theirs = self.histories[leader], self.histories[follower]
        shared = len([1 for one, other in zip(mine, theirs, strict=False) if one == other])
        self.histories[follower] = mine[: max(shared, len(mine) - length)]

    def shape(self, server: int) -> EpochEnds:
        return history(*self.histories[server]).shape if self.histories[server] else ((Epoch(0), Zxid(0)),)


steps = st.tuples(st.booleans(), st.integers(1, 4), st.integers(0, 5))


@given(st.lists(steps, max_size=12))
def test_the_common_point_is_the_last_equal_entry(moves: list[tuple[bool, int, int]]) -> None:
    world = World()
    for number, (leader, length, copied) in enumerate(moves, start=1):
        world.lead(leader, number, length)
        if copied:
            world.copy(leader, not leader, copied - 1)
    one, other = world.histories
    equal = [a.zxid for a, b in zip(one, other, strict=False) if a == b]
    common = max(equal, default=Zxid(0))
    assert common_point(world.shape(0), world.shape(1)) == common
    assert common_point(world.shape(1), world.shape(0)) == common


def test_histories_that_parted_too_long_ago_have_no_common_point() -> None:
    long = History(Zxid(0), (), b"")
    long.append([txn(number, 0) for number in range(1, EPOCHS_KEPT + 50)])
    assert common_point(long.shape, ((Epoch(0), Zxid(0)), (Epoch(3), make_zxid(3, 7)))) is None


def test_the_last_zxid_alone_does_not_say_where_histories_part() -> None:
    old_leader = history(*epoch(1, 3), *epoch(2, 9))
    new_leader = history(*epoch(1, 3), *epoch(3, 2))
    assert common_point(new_leader.shape, old_leader.shape) == make_zxid(1, 2)


# ---- memberships


def test_a_truncated_membership_is_no_longer_in_force() -> None:
    first, second = membership("a"), membership("a", "b")
    h = history(txn(1, 0), config(1, 1, first), txn(1, 2), config(1, 3, second))
    assert (h.membership, h.membership_zxid) == (second, make_zxid(1, 3))
    h.truncate(make_zxid(1, 2))
    assert (h.membership, h.membership_zxid) == (first, make_zxid(1, 1))
    assert h.membership_at(make_zxid(1, 0)) == b""


def test_a_snapshot_in_the_past_gets_the_shape_and_membership_of_its_time() -> None:
    first, second = membership("a"), membership("a", "b")
    h = history(txn(1, 0), config(1, 1, first), txn(1, 2), txn(1, 3), txn(2, 0), config(2, 1, second))
    h.forget(h.last, 0, 0)
    assert h.shape_at(make_zxid(1, 2)) == ((Epoch(0), Zxid(0)), (Epoch(1), make_zxid(1, 2)))
    assert h.membership_at(make_zxid(1, 2)) == first.encode()


# ---- limits


def test_the_shape_goes_back_a_bounded_number_of_epochs() -> None:
    h = History(Zxid(0), (), b"")
    for number in range(1, EPOCHS_KEPT + 50):
        h.append([txn(number, 0)])
    assert len(h.shape) == EPOCHS_KEPT
    assert h.shape[-1] == (EPOCHS_KEPT + 49, h.last)


def test_memory_keeps_to_its_limits_by_entries_and_by_bytes() -> None:
    h = history(*epoch(1, 10_000))
    h.forget(h.last, 2_000, 10**9)
    assert len(h) == 2_000
    h = history(*(txn(1, counter, bytes(100)) for counter in range(1_000)))
    h.forget(h.last, 10_000, 20_000)
    assert h.bytes == 20_000


def test_frames_keep_order_and_limits_and_a_large_entry_goes_alone() -> None:
    entries = [txn(1, n, bytes(size)) for n, size in enumerate([5, 5, 50, 1, 1, 1])]
    assert [[len(e.payload) for e in frame] for frame in frames(entries, 2, 10)] == [[5, 5], [50], [1, 1], [1]]
    assert list(frames([], 2, 10)) == []
