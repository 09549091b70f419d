"""What the log says about who belongs to the ensemble."""

import pytest

from zk.broadcast.membership import Membership
from zk.model.record import ServerId

ONE, TWO = ServerId(1), ServerId(2)
VOTERS = frozenset({ONE, TWO})


def test_a_membership_survives_being_encoded() -> None:
    membership = Membership("zk-1f", (VOTERS,), ((ONE, "d1"), (TWO, "d2")))
    assert Membership.decode(membership.encode()) == membership


def test_the_same_disks_are_the_same_founding_and_one_other_disk_makes_another() -> None:
    founding = Membership.founding("zk", VOTERS, {ONE: "d1", TWO: "d2"})
    assert founding == Membership.founding("zk", VOTERS, {TWO: "d2", ONE: "d1"})
    assert founding.cluster_id.startswith("zk-")
    assert founding.cluster_id != Membership.founding("zk", VOTERS, {ONE: "d1", TWO: "new2"}).cluster_id


def test_a_disk_that_is_taken_in_later_belongs_to_the_same_founding() -> None:
    founding = Membership.founding("zk", VOTERS, {ONE: "d1", TWO: "d2"})
    changed = founding.with_disk(TWO, "").with_disk(TWO, "new2")
    assert changed == Membership(founding.cluster_id, (VOTERS,), ((ONE, "d1"), (TWO, "new2")))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"cluster_id": "zk", "configs": [], "disks": {}}'])
def test_what_is_no_membership_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # json's own, or ours
        Membership.decode(data)
