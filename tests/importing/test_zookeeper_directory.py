"""ZooKeeper's data directories: all is read that a client could read; what is damaged is told with its place."""

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest

from tests.importing.conftest import Expected, as_read, expected, unpack, without_ephemerals
from zk.importing.directory import NoDirectoryError, _Reading, follows, read_directory
from zk.importing.log import LogFile
from zk.importing.source import DamagedSourceError
from zk.importing.tree import ZooKeeperTree, ttl_owner
from zk.model.acl import OPEN_ACL
from zk.model.record import Zxid
from zk.model.requests import CreateMode
from zk.model.zxids import make_zxid

SNAPSHOT, LOG = "snapshot.eae", "log.eb0"  # the newest; before them there are snapshot.0 and log.1
LAST = 0x190C


def flip(file: Path, offset: int, bit: int = 0) -> None:
    content = bytearray(file.read_bytes())
    content[offset] ^= 1 << bit
    file.write_bytes(content)


def cut(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])


def offsets(log: Path) -> list[int]:
    """Where the records of a good log begin."""
    return [txn.offset for txn in LogFile(log)]


def damage(directory: Path, *, salvage: bool = False) -> tuple[str, int | None, Zxid | None]:
    """Where the directory is found to be damaged: the file's name, the offset, the zxid."""
    with pytest.raises(DamagedSourceError) as caught:
        read_directory(directory, salvage=salvage)
    return Path(caught.value.file).name, caught.value.offset, caught.value.zxid


def text(value: str) -> bytes:
    return pack(">i", len(value.encode())) + value.encode()


# ---- what is good


def test_everything_is_as_a_client_read_it(real: Path, real_read: Expected) -> None:
    source = read_directory(real)
    assert as_read(source) == real_read
    assert (source.last_zxid, source.ephemerals, source.sessions) == (LAST, 11, 2)
    assert (source.notes, source.lost) == ((), ())


def test_the_kinds_of_nodes_are_kept(real: Path) -> None:
    znodes = read_directory(real).znodes
    special = {path: (znode.mode, znode.ttl_ms) for path, znode in znodes.items() if znode.mode}
    assert special == {
        "/container": (CreateMode.CONTAINER, 0),
        "/ttl": (CreateMode.PERSISTENT_WITH_TTL, 3_600_000),
        "/ttlseq-0000000011": (CreateMode.PERSISTENT_WITH_TTL, 86_400_000),
    }


def test_parents_come_before_their_children(real: Path) -> None:
    seen = set()
    for path in read_directory(real).znodes:
        assert path == "/" or (path.rpartition("/")[0] or "/") in seen
        seen.add(path)


def test_blocks_of_zeros_at_the_ends_of_logs_are_no_records(tmp_path: Path, real_read: Expected) -> None:
    assert as_read(read_directory(unpack("zookeeper-3.8", tmp_path) / "data")) == real_read


@pytest.mark.parametrize(
    "name",
    [
        "zookeeper-3.8-snappy",  # alone; snapshots compressed with snappy
        "zookeeper-3.8-ensemble",  # one of three, several epochs; snapshots compressed with gzip
    ],
)
def test_other_directories_of_real_servers(tmp_path: Path, name: str) -> None:
    source = read_directory(unpack(name, tmp_path))
    found, wanted = as_read(source), without_ephemerals(expected(name))
    for read in (found, wanted):
        del read["/zookeeper/config"]["stat"]["mtime"]  # there each server of an ensemble has its own
    assert found == wanted
    assert (source.notes, source.lost) == ((), ())


def test_logs_may_be_in_a_directory_of_their_own(copy: Path, tmp_path: Path, real_read: Expected) -> None:
    logs = tmp_path / "logs" / "version-2"
    logs.mkdir(parents=True)
    for log in copy.glob("log.*"):
        log.rename(logs / log.name)
    assert as_read(read_directory(copy, tmp_path / "logs")) == real_read


def test_a_compressed_snapshot_is_read_as_a_plain_one(copy: Path, real_read: Expected) -> None:
    snapshot = copy / SNAPSHOT
    (copy / f"{SNAPSHOT}.gz").write_bytes(gzip.compress(snapshot.read_bytes()))
    snapshot.unlink()
    assert as_read(read_directory(copy)) == real_read


def sealed(content: bytes) -> bytes:
    return content + pack(">q", zlib.adler32(content)) + text("/")


def test_snapshots_of_all_versions_are_read(copy: Path, real_read: Expected) -> None:
    """3.4 and 3.5 end with the seal of the nodes, 3.6 to 3.8 with a digest; 3.9 puts a zxid behind that, or alone."""
    snapshot = copy / SNAPSHOT
    with_digest = snapshot.read_bytes()
    plain = with_digest[: -20 - 13]
    for content in (plain, sealed(plain + pack(">q", 0xEB1)), sealed(with_digest + pack(">q", 0xEB1))):
        snapshot.write_bytes(content)
        source = read_directory(copy)
        assert (as_read(source), source.notes) == (real_read, ())
    for content in (plain[:-1], plain + b"more", with_digest + pack(">q", 0xEB1), sealed(with_digest + b"odd")):
        snapshot.write_bytes(content)
        assert len(read_directory(copy).notes) == 1  # not this one: an older one and the logs


def test_what_was_before_the_newest_snapshot_is_not_needed(copy: Path, real_read: Expected) -> None:
    (copy / "snapshot.0").unlink()
    assert as_read(read_directory(copy)) == real_read


def test_without_the_newest_snapshot_the_logs_tell_the_same(copy: Path, real_read: Expected) -> None:
    (copy / SNAPSHOT).unlink()
    assert as_read(read_directory(copy)) == real_read


def test_a_directory_without_files_of_zookeepers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoDirectoryError, match="here are neither snapshots nor transaction logs"):
        read_directory(tmp_path)
    with pytest.raises(NoDirectoryError, match="No such file or directory"):
        read_directory(tmp_path / "nowhere")


# ---- what a killed server leaves


@pytest.mark.parametrize("missing", [1, 2, 10, 30])
def test_a_last_record_that_was_never_finished_is_dropped(copy: Path, missing: int) -> None:
    log = copy / LOG
    last = offsets(log)[-1]
    cut(log, len(log.read_bytes().rstrip(b"\0")) - missing)
    source = read_directory(copy)
    assert source.last_zxid == LAST - 1
    assert source.notes == (
        f"{log} at offset {last}: the last record was never finished, as it happens when a server is killed",
    )
    log.write_bytes(log.read_bytes() + bytes(10_000))  # it was preallocated
    assert read_directory(copy).last_zxid == LAST - 1


def test_an_unfinished_record_in_an_older_log_was_dropped_by_zookeeper_itself(copy: Path, real_read: Expected) -> None:
    (copy / SNAPSHOT).unlink()
    log = copy / "log.1"
    log.write_bytes(log.read_bytes().rstrip(b"\0") + pack(">qi", 1, 1000) + b"begun")
    assert as_read(read_directory(copy)) == real_read


@pytest.mark.parametrize("length", [0, 10, 300_000])
def test_a_snapshot_that_was_never_finished_is_no_loss_if_the_logs_tell_it(
    copy: Path, real_read: Expected, length: int
) -> None:
    cut(copy / SNAPSHOT, length)
    source = read_directory(copy)
    assert as_read(source) == real_read
    [note] = source.notes
    assert note.startswith(f"{copy / SNAPSHOT} at offset ")
    assert note.endswith("; an older snapshot and the logs tell what it told")


# ---- damage


@pytest.mark.parametrize("offset", [0, 7, 20, 1_000, 200_000, -40, -30, -18, -5, -1])
def test_a_flipped_bit_in_a_snapshot_is_found(copy: Path, real_read: Expected, offset: int) -> None:
    flip(copy / SNAPSHOT, offset)
    assert as_read(read_directory(copy)) == real_read  # from the older one
    (copy / "log.1").unlink()
    name, at, _ = damage(copy)
    assert name in (SNAPSHOT, LOG)
    assert at is not None


@pytest.mark.parametrize("ending", ["gz", "snappy"])
@pytest.mark.parametrize("change", ["flipped", "cut"])
def test_a_damaged_compressed_snapshot_is_told_and_salvaged(tmp_path: Path, ending: str, change: str) -> None:
    name = {"gz": "zookeeper-3.8-ensemble", "snappy": "zookeeper-3.8-snappy"}[ending]
    directory = unpack(name, tmp_path) / "version-2"
    newest = max(directory.glob("snapshot.*"), key=lambda file: int(file.name.split(".")[1], 16))
    size = newest.stat().st_size
    if change == "cut":
        cut(newest, size * 3 // 4)
    else:
        flip(newest, size // 2, 4)
    assert read_directory(directory).notes != ()  # older snapshots and the logs tell the same
    for file in [*directory.glob("log.*"), *directory.glob("snapshot.*")]:
        if file != newest:
            file.unlink()
    assert damage(directory)[0] == newest.name


def test_without_logs_that_tell_the_same_a_damaged_snapshot_is_an_error(copy: Path) -> None:
    flip(copy / SNAPSHOT, 200_000)
    for log in (copy / "log.1", copy / LOG):
        log.unlink()
    name, at, _ = damage(copy)
    assert (name, at) == (SNAPSHOT, (copy / SNAPSHOT).stat().st_size - 46 + 13)
    source = read_directory(copy, salvage=True)
    assert source.last_zxid == 0
    assert [each.rpartition("; ")[2] for each in source.lost] == ["lost is what happened from 0x1 to 0xeae, and later"]


def test_the_only_snapshot_is_salvaged_as_far_as_it_can_be_read(copy: Path) -> None:
    (copy / "snapshot.0").unlink()
    cut(copy / SNAPSHOT, 100_000)
    assert damage(copy)[0] == SNAPSHOT
    source = read_directory(copy, salvage=True)
    assert source.last_zxid == LAST
    assert "nodes could be read, what stood behind them is lost unless the logs hold it" in source.lost[0]
    assert 100 < len(source.znodes) < 2446


@pytest.mark.parametrize(("place", "bit"), [(3, 0), (9, 0), (11, 4), (40, 3), (-1, 1)])
def test_damage_in_the_middle_of_a_log_is_told_with_its_place(copy: Path, place: int, bit: int) -> None:
    log = copy / LOG
    starts = offsets(log)
    number = 1000
    begin, end = starts[number], starts[number + 1]
    flip(log, (begin if place >= 0 else end) + place, bit)
    before = Zxid(0xEB0 + number - 1)
    assert damage(copy) == (LOG, begin, before)
    source = read_directory(copy, salvage=True)
    assert source.last_zxid == before
    [lost] = source.lost
    assert "all that came behind it is lost: at least " in lost
    assert lost.endswith(f"transactions, up to 0x{LAST:x}")


@pytest.mark.parametrize(("place", "bit"), [(3, 0), (10, 7), (11, 0), (11, 4), (40, 3), (-1, 1)])
def test_damage_in_the_last_record_is_not_taken_for_an_unfinished_one(copy: Path, place: int, bit: int) -> None:
    log = copy / LOG
    last = offsets(log)[-1]
    flip(log, last + place if place >= 0 else len(log.read_bytes().rstrip(b"\0")) + place, bit)
    assert damage(copy) == (LOG, last, Zxid(LAST - 1))
    assert read_directory(copy, salvage=True).last_zxid == LAST - 1


def test_a_length_that_reaches_beyond_the_log_is_damage_if_good_records_are_within(copy: Path) -> None:
    log = copy / LOG
    begin = offsets(log)[100]
    flip(log, begin + 8, 6)  # a gigabyte more
    assert damage(copy) == (LOG, begin, Zxid(0xEB0 + 99))


def test_missing_transactions_are_told(copy: Path) -> None:
    log = copy / LOG
    starts = offsets(log)
    content = log.read_bytes()
    log.write_bytes(content[: starts[500]] + content[starts[503] :])
    with pytest.raises(
        DamagedSourceError, match="the transactions from 0x10a4 to 0x10a6 are missing before it"
    ) as caught:
        read_directory(copy)
    assert (Path(caught.value.file).name, caught.value.offset, caught.value.zxid) == (LOG, starts[500], 0x10A3)
    assert read_directory(copy, salvage=True).last_zxid == 0x10A3


def test_a_missing_log_is_told(copy: Path) -> None:
    (copy / SNAPSHOT).unlink()
    (copy / "log.1").unlink()
    assert damage(copy) == (LOG, 16, Zxid(0))


def test_a_snapshot_that_is_ahead_of_the_logs_is_told(copy: Path) -> None:
    """It was written while transactions went on: without them, it is a state that there never was."""
    (copy / LOG).unlink()
    name, _, zxid = damage(copy)
    assert (name, zxid) == ("the transaction logs", 0xEAF)
    assert read_directory(copy, salvage=True).lost != ()


def test_a_snapshot_without_logs_is_taken_and_noted(tmp_path: Path) -> None:
    directory = unpack("zookeeper-3.8-snappy", tmp_path) / "version-2"
    for log in directory.glob("log.*"):
        log.unlink()
    source = read_directory(directory)
    assert source.last_zxid == 0x36
    assert [note.partition(":")[0] for note in source.notes] == ["there are no transaction logs here"]


def test_logs_without_a_snapshot_are_refused(copy: Path) -> None:
    for snapshot in copy.glob("snapshot.*"):
        snapshot.unlink()
    with pytest.raises(DamagedSourceError, match="there is no snapshot"):
        read_directory(copy)
    assert read_directory(copy, salvage=True).last_zxid == LAST


def test_a_tree_with_another_digest_than_zookeeper_noted_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(log_with((1, 1, created("/a", pack(">i", 1)) + pack(">iq", 2, 12345))))
    reading = _Reading([], [(Zxid(1), tmp_path / "log.1")], salvage=False)
    tree = ZooKeeperTree.empty()
    reading._replay(tree)
    with pytest.raises(DamagedSourceError, match="its digest is not the one that ZooKeeper noted"):
        reading._check_digest(tree)


def test_a_file_of_another_kind_is_told(copy: Path) -> None:
    (copy / LOG).write_bytes((copy / SNAPSHOT).read_bytes())
    with pytest.raises(DamagedSourceError, match="this is no transaction log of ZooKeeper's: it begins with b'ZKSN'"):
        read_directory(copy)


# ---- records that the real directories do not have


def log_with(*transactions: tuple[int, int, bytes]) -> bytes:
    """A log of (type, zxid, body)."""
    content = pack(">4siq", b"ZKLG", 2, -1)
    for kind, zxid, body in transactions:
        record = pack(">qiqqi", 77, 1, zxid, 1_000 + zxid, kind) + body
        content += pack(">qi", zlib.adler32(record), len(record)) + record + b"B"
    return content


ACL = pack(">ii", 1, 31) + text("world") + text("anyone")


def created(path: str, count: bytes, *, ephemeral: bool = False) -> bytes:
    return text(path) + text("data") + ACL + bytes([ephemeral]) + count


def test_transactions_of_old_and_new_versions(tmp_path: Path) -> None:
    digest = pack(">iq", 1, 5)  # of a version that is not known here
    (tmp_path / "log.1").write_bytes(
        log_with(
            (-10, 1, pack(">i", 10_000)),
            (1, 2, created("/v33", b"")),  # 3.3 did not log the parent's count
            (1, 3, created("/e1", pack(">i", 2), ephemeral=True) + digest),
            (15, 4, created("/e2", pack(">i", 3), ephemeral=True)),
            (-11, 5, pack(">i", 2) + text("/e1") + text("/e2") + digest),
            (-10, 6, pack(">i", 10_000)),
            (1, 7, created("/e3", pack(">i", 4), ephemeral=True)),
            (-11, 8, pack(">iq", 2, 5)[:12]),  # a digest, and no paths
            (16, make_zxid(3, 1), text("/zookeeper/config") + text("server.1=…") + pack(">i", 0)),
        )
    )
    source = read_directory(tmp_path, salvage=True)  # without a snapshot
    root = source.znodes["/"]
    assert sorted(source.znodes) == ["/", "/v33", "/zookeeper", "/zookeeper/config", "/zookeeper/quota"]
    assert (root.created, root.num_children, root.pzxid) == (4, 2, 8)
    assert source.znodes["/zookeeper/config"].data == "server.1=…".encode()
    assert (source.last_zxid, source.sessions) == (make_zxid(3, 1), 0)


def test_an_unknown_transaction_is_damage(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(log_with((999, 1, b"")))
    source = read_directory(tmp_path, salvage=True)
    assert "a transaction of type 999 is not known here" in source.lost[1]


@pytest.mark.parametrize(
    ("zxid", "before", "right"),
    [(2, 1, True), (3, 1, False), (1, 1, False), (make_zxid(2, 1), 9, True), (make_zxid(2, 2), 9, False)],
)
def test_zxids_go_on_by_one_or_begin_a_new_epoch(zxid: int, before: int, right: bool) -> None:
    assert follows(zxid, before) is right


# ---- a fuzzy snapshot


def fuzzy(*steps: Callable[[ZooKeeperTree], None]) -> ZooKeeperTree:
    """The tree after these steps, done twice: as if a snapshot had them all, and was named as of before them."""
    tree = ZooKeeperTree.empty()
    for _ in range(2):
        for zxid, step in enumerate(steps, 1):
            tree.zxid = Zxid(zxid)
            step(tree)
    return tree


def test_what_a_snapshot_holds_already_is_applied_without_a_difference() -> None:
    steps: tuple[Callable[[ZooKeeperTree], None], ...] = (
        lambda tree: tree.create("/a", b"1", OPEN_ACL, 0, 1, 1),
        lambda tree: tree.set_data("/a", b"2", 1, 2),
        lambda tree: tree.create("/a/b", b"", OPEN_ACL, 0, 1, 3),
        lambda tree: tree.set_acl("/a", (), 1),
    )
    once = ZooKeeperTree.empty()
    for zxid, step in enumerate(steps, 1):
        once.zxid = Zxid(zxid)
        step(once)
    assert fuzzy(*steps).znodes() == once.znodes()


def test_an_acl_that_the_snapshot_names_but_does_not_hold_comes_from_the_log() -> None:
    tree = ZooKeeperTree.empty()
    tree.zxid = Zxid(1)
    tree.create("/a", b"", (), 0, 1, 1)
    tree.nodes["/a"].acl = None
    tree.create("/a", b"", OPEN_ACL, 0, 1, 1)
    assert tree.nodes["/a"].acl == OPEN_ACL


@pytest.mark.parametrize(
    ("owner", "kind"),
    [
        (0, (CreateMode.PERSISTENT, 0)),
        (-(1 << 63), (CreateMode.CONTAINER, 0)),
        (ttl_owner(5_000), (CreateMode.PERSISTENT_WITH_TTL, 5_000)),
        (-(1 << 63) | 7_000, (CreateMode.PERSISTENT_WITH_TTL, 7_000)),  # version 3.5.3
        (0x100000000001, (CreateMode.EPHEMERAL, 0)),
        (ttl_owner(42), (CreateMode.EPHEMERAL, 0)),  # of server 255: its session is open
    ],
)
def test_the_kind_of_a_node_is_in_its_owner(owner: int, kind: tuple[CreateMode, int]) -> None:
    tree = ZooKeeperTree.empty()
    tree.sessions[ttl_owner(42)] = 10_000
    assert tree._kind(owner) == kind
