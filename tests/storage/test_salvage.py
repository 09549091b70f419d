"""The operator's way out of a damaged log."""

from typing import TYPE_CHECKING

import pytest

from zk.broadcast.membership import Membership
from zk.broadcast.records import Entry, EntryKind, Promise, Recovered
from zk.model.record import Epoch, ServerId
from zk.model.zxids import make_zxid
from zk.storage.errors import StorageError
from zk.storage.salvage import Salvaged, salvage

if TYPE_CHECKING:
    from tests.storage.conftest import Lab

Z = make_zxid
P1 = Promise(Epoch(1))


def config(*servers: int) -> Entry:
    voters = frozenset(ServerId(server) for server in servers)
    return Entry(Z(1, 1), EntryKind.CONFIG, Membership("cluster", (voters,), ((ServerId(1), "disk-1"),)).encode())


def damaged(lab: "Lab", *voters: int) -> str:
    """A log with its last batch but one damaged; the name of the segment."""
    lab.write(lab.open().store, [P1], lab.entries(0, 0), [config(*voters)], lab.entries(2, 4), lab.entries(5, 6))
    name = lab.segments()[0]
    lab.flip(name, lab.disk.read(name).index(b"\x03" * 50))
    return name


def test_a_server_alone_goes_on_with_what_is_good(lab: "Lab") -> None:
    name = damaged(lab, 1)
    with pytest.raises(StorageError, match="zk salvage"):
        lab.open(ensemble=False)
    original = lab.disk.read(name)
    done = salvage(lab.disk, lab.make_uuid, lab.options)
    assert done is not None
    assert done == Salvaged(done.defect, 3, Z(1, 1), False, (f"{name} is set aside as {name}.damaged",))
    assert (done.defect.file, lab.disk.read(f"{name}.damaged")) == (name, original)
    recovered = lab.open(ensemble=False).recovered
    assert recovered == Recovered("disk-1", Epoch(1), None, (P1, *lab.entries(0, 0), config(1)), False)


def test_a_server_alone_of_which_nothing_is_left_stays_alone_and_is_empty(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 0), [config(1)], lab.entries(2, 4))
    lab.open()
    lab.disk.remove(lab.segments()[0])
    with pytest.raises(StorageError, match=r"zk salvage --data .* \(it keeps nothing: the server will be empty"):
        lab.open(ensemble=False)
    done = salvage(lab.disk, lab.make_uuid, lab.options)
    assert done is not None
    assert (done.records_kept, done.last_zxid, done.new_disk) == (0, 0, False)
    assert lab.open(ensemble=False).recovered == Recovered("disk-1", Epoch(1), None, (), False)


def test_one_of_several_gets_a_new_disk_uuid_and_so_has_no_vote(lab: "Lab") -> None:
    damaged(lab, 1, 2, 3)
    done = salvage(lab.disk, lab.make_uuid, lab.options)
    assert done is not None
    assert done.new_disk
    recovered = lab.open().recovered
    assert (recovered.disk_uuid, recovered.damaged) == ("disk-2", False)


def test_a_sound_log_is_left_alone(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 3))
    before = lab.disk.image()
    assert salvage(lab.disk, lab.make_uuid, lab.options) is None
    assert lab.disk.image() == before


def test_without_any_readable_header_there_is_nothing_to_salvage(lab: "Lab") -> None:
    lab.write(lab.open().store, [P1], lab.entries(0, 3))
    lab.flip(lab.segments()[0], 30)
    before = lab.disk.image()
    refusal = r"no log file is left whose header can be read\. Restore the directory from a copy"
    with pytest.raises(StorageError, match=refusal):
        lab.open(ensemble=False)
    with pytest.raises(StorageError, match=refusal):
        salvage(lab.disk, lab.make_uuid, lab.options)
    assert lab.disk.image() == before
