"""Digests: a contradiction is noticed, ignorance is not one."""

from zk.model.record import Zxid
from zk.replica.digests import KEPT_MAX, Digests


def test_another_digest_at_the_same_zxid_differs() -> None:
    digests = Digests()
    digests.mine(Zxid(2_048), "aa")
    assert digests.differs(Zxid(2_048), "bb")
    assert not digests.differs(Zxid(2_048), "aa")


def test_a_zxid_without_a_digest_here_contradicts_nothing() -> None:
    digests = Digests()
    assert not digests.differs(Zxid(2_048), "bb")


def test_only_the_newest_digests_are_kept() -> None:
    digests = Digests()
    for number in range(KEPT_MAX + 1):
        digests.mine(Zxid(number), "aa")
    assert not digests.differs(Zxid(0), "bb")
    assert digests.differs(Zxid(1), "bb")
    assert digests.latest == (KEPT_MAX, "aa")
