"""A tree's state as chunks."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from zk.build import COMPILED
from zk.model.acl import OPEN_ACL, Acl, Identity
from zk.model.record import SessionId, Zxid
from zk.model.replies import DONE
from zk.model.requests import CreateMode
from zk.model.session import Session
from zk.model.znode import Znode
from zk.tree.image import Image
from zk.wire.packing import pack, unpack
from zk.wire.snapshot import CHUNK_BYTES, SnapshotError, chunks, load

OWN_ACL = (Acl(31, "digest", "u:h"),)

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For images, which take long to make up on a machine that is busy."""


def znode(number: int, data: bytes = b"x") -> Znode:
    zxid = Zxid(1 << 32 | number)
    return Znode(
        data, OWN_ACL, zxid, zxid, zxid, 10**12, 10**12, 0, 0, 0, SessionId(1 << 40), 0, CreateMode.EPHEMERAL, 0
    )


def session(number: int) -> Session:
    return Session(
        SessionId(number),
        b"s",
        4_000,
        (Identity("ip", "::1"),),
        Zxid(5),
        2,
        1,
        {1: (Zxid(6), DONE), 2: (Zxid(7), DONE)},
    )


def image(count: int, sessions: int = 2) -> Image:
    znodes = {f"/n{number}": znode(number) for number in range(count)}
    return Image(Zxid(9 << 32), 0, znodes, {SessionId(n): session(n) for n in range(sessions)}, 2**59 + 1)


@patient
@given(st.data(), st.integers(1, 5))
def test_every_state_comes_back_as_it_was(images: SearchStrategy[Image], data: st.DataObject, size: int) -> None:
    state = data.draw(images)
    loaded = load(chunks(state, size))
    assert loaded == state
    assert list(loaded.znodes) == list(state.znodes)


def test_a_chunk_holds_so_many_znodes_that_encoding_it_delays_nobody() -> None:
    made = list(chunks(image(10), 4))
    assert [len(unpack(chunk)[3]) for chunk in made[1:4]] == [4, 4, 2]  # type: ignore[index]  # a chunk is an array
    assert len(made) == 1 + 3 + 1 + 1


def test_chunks_are_encoded_when_they_are_asked_for() -> None:
    state = image(10)
    slices = chunks(state, 5)
    next(slices)
    assert next(slices) == list(chunks(state, 5))[1]


def test_no_chunk_is_much_longer_than_its_limit_whatever_the_znodes_hold() -> None:
    znodes = {f"/n{number}": znode(number, bytes(CHUNK_BYTES // 3)) for number in range(20)}
    state = Image(Zxid(1), 0, znodes, {}, 0)
    made = list(chunks(state))
    assert max(map(len, made)) < 2 * CHUNK_BYTES
    assert load(made) == state


def test_answers_kept_for_resends_are_spread_over_chunks_too() -> None:
    hoarder = session(1)
    hoarder.answers = {xid: (Zxid(xid), DONE) for xid in range(300_000)}
    state = Image(Zxid(1), 0, {}, {SessionId(1): hoarder}, 0)
    made = list(chunks(state))
    assert max(map(len, made)) < 2 * CHUNK_BYTES
    assert len(made) > 3
    assert load(made) == state


def test_equal_acls_share_their_memory_when_loaded() -> None:
    loaded = list(load(chunks(image(3), 2)).znodes.values())
    assert all(node.acl is loaded[0].acl for node in loaded)
    open_node = znode(1)
    open_node.acl = OPEN_ACL
    assert load(chunks(Image(Zxid(1), 0, {"/": open_node}, {}, 0))).znodes["/"].acl is OPEN_ACL


@pytest.mark.skipif(COMPILED, reason="compiled code keeps whole numbers without objects")
def test_equal_figures_share_their_memory_when_loaded() -> None:
    loaded = list(load(chunks(image(3), 2)).znodes.values())
    for node in loaded:
        assert node.czxid is node.mzxid
        assert node.czxid is node.pzxid
        assert node.ctime is node.mtime
        assert node.ctime is loaded[0].ctime
        assert node.owner is loaded[0].owner


def test_the_bytes_of_a_snapshot_stay_what_they_are() -> None:
    small = Image(Zxid(3), 1_000, {"/": znode(0)}, {SessionId(7): session(7)}, 1)
    assert [chunk.hex() for chunk in chunks(small)] == [
        "98010203cd03e801010102",
        "dc0011029100919193"
        "1fa6646967657374a3753a6891a12f91c4017891cf000000010000000091c091c091cf000000e8d4a5100091c0"
        "91009100910091cf0000010000000000910091019100",
        "dd00000002039707c40173cd0fa09192a26970a33a3a31050201",
        "dd000000030494070106009407020700",
    ]


# ---- damage


def test_a_missing_chunk_is_noticed() -> None:
    made = list(chunks(image(10), 4))
    for missing in range(1, len(made)):
        with pytest.raises(SnapshotError):
            load(made[:missing] + made[missing + 1 :])
    with pytest.raises(SnapshotError, match=r"hold \(10, 2, 0\) \(znodes, sessions, answers\) instead of \(10, 2, 4\)"):
        load(made[:-1])


def test_a_repeated_first_chunk_is_noticed() -> None:
    made = list(chunks(image(1)))
    with pytest.raises(
        SnapshotError, match="chunk 2 of the snapshot is malformed: the chunk that says what is to come"
    ):
        load([made[0], *made])


def test_nothing_is_no_snapshot() -> None:
    with pytest.raises(SnapshotError, match="no chunks"):
        load([])


def test_a_snapshot_of_a_later_format_is_refused_by_its_number() -> None:
    with pytest.raises(SnapshotError, match="format 3 is unknown; this version reads format 2"):
        load([pack((1, 3, 3, 0, 0, 0, 0))])


@pytest.mark.parametrize(
    "chunk",
    [b"", b"\xc1", b"\x05", b"\x90", pack((9,)), pack((2,)), pack((2, *[(1,)] * 15)), pack((3, 5)), pack((4, (7,)))],
)
def test_a_damaged_chunk_is_named(chunk: bytes) -> None:
    made = list(chunks(image(1)))
    with pytest.raises(SnapshotError, match="chunk 2 of the snapshot is malformed"):
        load([made[0], chunk])


@patient
@given(st.data())
def test_damage_gives_an_image_or_a_snapshot_error(images: SearchStrategy[Image], data: st.DataObject) -> None:
    made = list(chunks(data.draw(images), 3))
    at = data.draw(st.integers(0, len(made) - 1))
    damaged = bytearray(made[at])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(SnapshotError):
        load([*made[:at], bytes(damaged), *made[at + 1 :]])
