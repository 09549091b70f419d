from zk.broadcast.messages import AckEpoch, Message
from zk.broadcast.zab.durability import Durability
from zk.model.record import ConnectionId, Epoch, ServerId, Zxid

PEER, CONNECTION = ServerId(2), ConnectionId(7)
PROMISED: Message = AckEpoch(Epoch(1), (), Zxid(0), 1, "")


def test_what_is_held_leaves_only_when_all_before_it_is_durable() -> None:
    durability = Durability(Zxid(0))
    durability.appended(2, Zxid(10), now_ms=0)
    durability.hold(PEER, CONNECTION, PROMISED)
    durability.appended(1, Zxid(11), now_ms=0)
    assert durability.reported(1, now_ms=0) == []
    assert [held.message for held in durability.reported(2, now_ms=0)] == [PROMISED]
    assert not durability.complete
    assert durability.reported(3, now_ms=0) == []
    assert durability.complete


def test_an_append_counts_as_durable_only_as_a_whole() -> None:
    durability = Durability(Zxid(5))
    durability.appended(3, Zxid(8), now_ms=0)
    durability.reported(2, now_ms=0)
    assert durability.zxid == 5
    durability.reported(3, now_ms=0)
    assert durability.zxid == 8


def test_a_truncation_takes_back_what_was_durable() -> None:
    """The report of an append from before the cut must not make durable what was cut off (ClickHouse Keeper 102629)."""
    durability = Durability(Zxid(20))
    durability.appended(1, Zxid(30), now_ms=0)
    durability.truncated(Zxid(15))
    assert durability.zxid == 15
    durability.appended(2, Zxid(16), now_ms=0)
    durability.reported(1, now_ms=0)
    assert durability.zxid == 15
    durability.reported(3, now_ms=0)
    assert durability.zxid == 16


def test_it_tells_since_when_the_disk_owes_a_report() -> None:
    durability = Durability(Zxid(0))
    assert durability.silent_since_ms() is None
    durability.appended(1, Zxid(1), now_ms=100)
    durability.appended(1, Zxid(2), now_ms=200)
    assert durability.silent_since_ms() == 100
    durability.reported(1, now_ms=900)
    assert durability.silent_since_ms() == 900, "a disk that is slow is not silent"
    durability.reported(2, now_ms=1_000)
    assert durability.silent_since_ms() is None
    durability.appended(1, Zxid(3), now_ms=5_000)
    assert durability.silent_since_ms() == 5_000
