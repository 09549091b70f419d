"""Sessions as the log orders them, and writes that are done exactly once."""

import pytest

from zk.model.acl import Acl, Identity
from zk.model.errors import (
    BadArgumentsError,
    NoNodeError,
    RuntimeInconsistencyError,
    SessionExpiredError,
    SessionMovedError,
)
from zk.model.events import EventType
from zk.model.limits import IDENTITIES_PER_SESSION_MAX, STORED_ANSWERS_PER_SESSION_MAX
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import DONE, ConnectReply, Created, IdentitiesReply
from zk.model.requests import (
    Authenticate,
    CloseSession,
    Create,
    CreateMode,
    Delete,
    ExpireSession,
    OpenSession,
    SetAcl,
    SetData,
    WhoAmI,
)
from zk.model.session import Session
from zk.tree.testing import Caller, TreeDriver
from zk.tree.tree import Applied

ME = Identity("digest", "me:x")


# ---- open, attach, close, expire


def test_opening_creates_the_session_as_the_server_drew_it(driver: TreeDriver) -> None:
    applied = driver.serve(OpenSession(SessionId(7), b"s" * 16, 9_000, (ME,), ServerId(2), 5))
    assert applied == Applied(Zxid(1), ConnectReply(SessionId(7), b"s" * 16, 9_000), [])
    assert driver.tree.sessions == {7: Session(SessionId(7), b"s" * 16, 9_000, (ME,), Zxid(1))}


def test_an_id_in_use_is_refused(driver: TreeDriver, client: Caller) -> None:
    before = driver.tree.sessions[client.session_id].copy()
    applied = driver.serve(OpenSession(client.session_id, b"t" * 16, 9_000, (), ServerId(2), 5))
    assert isinstance(applied.body, BadArgumentsError)
    assert driver.tree.sessions == {client.session_id: before}


def test_a_client_moves_with_id_and_secret(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/e", b"", mode=CreateMode.EPHEMERAL))
    applied = client.attach(ME, timeout_ms=20_000)
    assert applied.body == ConnectReply(client.session_id, client.secret, 20_000)
    assert driver.tree.sessions[client.session_id] == Session(
        client.session_id, client.secret, 20_000, (ME,), generation=driver.tree.zxid
    )
    client.do(Create("/f", b"", mode=CreateMode.EPHEMERAL))
    assert set(driver.tree.znodes) >= {"/e", "/f"}


@pytest.mark.parametrize("secret", [b"", b"wrong", b"\0" * 16])
def test_a_wrong_secret_looks_like_an_expired_session(driver: TreeDriver, client: Caller, secret: bytes) -> None:
    before = driver.tree.sessions[client.session_id].copy()
    assert client.attach(secret=secret).body == SessionExpiredError()
    assert driver.tree.sessions[client.session_id] == before


def test_a_client_that_knows_another_history_is_refused_and_its_session_lives_on(
    driver: TreeDriver, client: Caller
) -> None:
    before = driver.tree.sessions[client.session_id].copy()
    here = driver.tree.zxid
    body = client.attach(last_zxid=Zxid(here + 2)).body
    assert isinstance(body, BadArgumentsError)
    assert f"the client has seen zxid 0x{here + 2:x}, and the service has only come to 0x{here + 1:x}" in body.hint
    assert driver.tree.sessions == {client.session_id: before}
    assert isinstance(client.attach(last_zxid=driver.tree.zxid).body, ConnectReply)


def test_a_new_session_is_for_clients_of_this_history_too(driver: TreeDriver) -> None:
    seen = Zxid(driver.tree.zxid + 2)
    request = OpenSession(SessionId(7), b"s" * 16, 10_000, (), ServerId(1), 0, seen)
    assert isinstance(driver.serve(request).body, BadArgumentsError)
    assert driver.tree.sessions == {}


def test_an_unknown_session_is_expired_never_a_fresh_one(driver: TreeDriver) -> None:
    client = Caller(driver, SessionId(99), b"s" * 16, Zxid(1))
    assert client.attach().body == SessionExpiredError()
    assert driver.tree.sessions == {}


def test_writes_through_the_old_connection_are_refused_after_a_move(driver: TreeDriver, client: Caller) -> None:
    old = Caller(driver, client.session_id, client.secret, client.generation)
    client.attach()
    assert old.apply(Create("/a", b"")).body == SessionMovedError()
    assert "/a" not in driver.tree.znodes
    client.do(Create("/a", b""))


def test_closing_deletes_the_ephemerals_in_the_same_transaction(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/p", b""))
    client.do(Create("/p/z", b"", mode=CreateMode.EPHEMERAL))
    client.do(Create("/p/a", b"", mode=CreateMode.EPHEMERAL_SEQUENTIAL))
    client.do(Create("/p/keep", b""))
    applied = client.apply(CloseSession())
    assert (applied.body, applied.closed) == (DONE, (client.session_id,))
    assert [(change.type, change.path, change.zxid) for change in applied.changes] == [
        (EventType.DELETED, "/p/a0000000001", driver.tree.zxid),
        (EventType.DELETED, "/p/z", driver.tree.zxid),
    ]
    assert driver.tree.sessions == {}
    assert {path for path in driver.tree.znodes if path.startswith("/p")} == {"/p", "/p/keep"}
    parent = driver.tree.znodes["/p"]
    assert (parent.pzxid, parent.num_children, parent.stat.cversion) == (driver.tree.zxid, 1, 5)


def test_expiring_deletes_the_ephemerals_and_only_the_own_ones(driver: TreeDriver, client: Caller) -> None:
    other = driver.open(session_id=2)
    client.do(Create("/mine", b"", mode=CreateMode.EPHEMERAL))
    other.do(Create("/theirs", b"", mode=CreateMode.EPHEMERAL))
    applied = driver.expire(client)
    assert (applied.body, applied.closed) == (DONE, (client.session_id,))
    assert "/mine" not in driver.tree.znodes
    assert "/theirs" in driver.tree.znodes
    assert set(driver.tree.sessions) == {2}


def test_closing_asks_for_no_permission(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/p", b""))
    client.do(Create("/p/e", b"", mode=CreateMode.EPHEMERAL))
    client.do(SetAcl("/p", (Acl(0, "world", "anyone"),)))
    client.do(CloseSession())
    assert "/p/e" not in driver.tree.znodes


def test_ending_a_session_twice_is_harmless(driver: TreeDriver, client: Caller) -> None:
    client.do(CloseSession())
    digest = driver.tree.digest()
    assert driver.expire(client) == Applied(driver.tree.zxid, SessionExpiredError(), [])
    assert client.apply(CloseSession()).body == SessionExpiredError()
    assert driver.tree.digest() == digest


def test_a_create_that_comes_behind_the_close_leaves_no_ephemeral(driver: TreeDriver, client: Caller) -> None:
    client.do(CloseSession())
    applied = client.apply(Create("/late", b"", mode=CreateMode.EPHEMERAL))
    assert applied.body == SessionExpiredError()
    assert "/late" not in driver.tree.znodes


def test_expiry_is_void_if_the_session_was_attached_again(driver: TreeDriver, client: Caller) -> None:
    stale = ExpireSession(client.session_id, client.generation)
    client.attach()
    assert driver.serve(stale) == Applied(driver.tree.zxid, SessionMovedError(), [])
    client.do(Create("/a", b""))


def test_an_ephemeral_deleted_by_hand_is_forgotten(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/e", b"", mode=CreateMode.EPHEMERAL))
    client.do(Delete("/e"))
    client.do(Create("/e", b""))
    assert client.apply(CloseSession()).changes == []
    assert "/e" in driver.tree.znodes


# ---- identities


def test_authenticate_adds_an_identity_once(client: Caller) -> None:
    assert client.do(Authenticate((ME,))) == DONE
    assert client.do(Authenticate((ME,))) == DONE
    assert client.read(WhoAmI()) == IdentitiesReply((ME,))


def test_an_added_identity_stays_with_the_session_and_the_connections_own_go_with_it(driver: TreeDriver) -> None:
    here, there = Identity("ip", "10.0.0.1"), Identity("ip", "10.0.0.2")
    client = driver.open(here)
    client.do(Authenticate((ME,)))
    client.attach(there)
    assert client.read(WhoAmI()) == IdentitiesReply((there, ME))


def test_identities_per_session_are_bounded(client: Caller) -> None:
    for i in range(IDENTITIES_PER_SESSION_MAX):
        client.do(Authenticate((Identity("digest", f"user{i}:x"),)))
    assert isinstance(client.apply(Authenticate((ME,))).body, BadArgumentsError)
    client.do(Authenticate((Identity("digest", "user0:x"),)))


# ---- order within a session


def test_a_gap_in_the_numbers_is_refused_and_says_so(driver: TreeDriver, client: Caller) -> None:
    applied = driver.apply_txn(client.session_id, client.generation, 2, 0, 0, Create("/a", b""))
    assert applied.body == SessionMovedError(hint="gap: write 2 came after write 0")
    assert driver.tree.sessions[client.session_id].n == 0
    client.do(Create("/a", b""))


def test_a_number_that_was_used_is_refused(driver: TreeDriver, client: Caller) -> None:
    client.do(Create("/a", b""))
    applied = driver.apply_txn(client.session_id, client.generation, 1, 0, 0, Create("/b", b""))
    assert isinstance(applied.body, SessionMovedError)


def test_a_refused_operation_uses_its_number_up(driver: TreeDriver, client: Caller) -> None:
    assert isinstance(client.apply(Delete("/none")).body, NoNodeError)
    assert driver.tree.sessions[client.session_id].n == 1
    client.do(Create("/a", b""))


# ---- exactly once


def test_a_resend_gets_the_stored_answer_and_changes_nothing(driver: TreeDriver, client: Caller) -> None:
    first = client.apply(Create("/s", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL), xid=5)
    client.attach()
    again = client.apply(Create("/s", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL), xid=5)
    assert again == Applied(first.zxid, first.body, [])
    assert isinstance(again.body, Created)
    assert [path for path in driver.tree.znodes if path.startswith("/s")] == [again.body.path]
    after = client.apply(Create("/s", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL), xid=6)
    assert isinstance(after.body, Created)
    assert after.body.path == "/s0000000001"


def test_a_refusal_is_stored_as_well(client: Caller) -> None:
    first = client.apply(SetData("/a", b""), xid=1)
    client.do(Create("/a", b""))
    assert client.apply(SetData("/a", b""), xid=1) == Applied(first.zxid, NoNodeError("/a"), [])


def test_without_a_sequence_number_no_answer_is_stored(driver: TreeDriver, client: Caller) -> None:
    client.apply(Create("/a", b""), xid=0)
    assert driver.tree.sessions[client.session_id].answers == {}


def test_answers_below_the_floor_are_dropped(driver: TreeDriver, client: Caller) -> None:
    for xid in (3, 5, 8, 9):
        client.apply(Create(f"/n{xid}", b""), xid=xid)
    client.apply(Create("/n12", b""), xid=12, floor=8)
    session = driver.tree.sessions[client.session_id]
    assert (session.floor, list(session.answers)) == (8, [8, 9, 12])
    client.apply(Create("/n13", b""), xid=13, floor=4)
    assert (session.floor, list(session.answers)) == (8, [8, 9, 12, 13])


def test_a_write_below_the_floor_is_never_done_again(driver: TreeDriver, client: Caller) -> None:
    client.apply(Create("/s", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL), xid=1)
    client.apply(Create("/t", b""), xid=2, floor=2)
    applied = client.apply(Create("/s", b"", mode=CreateMode.PERSISTENT_SEQUENTIAL), xid=1, floor=2)
    assert isinstance(applied.body, RuntimeInconsistencyError)
    assert "/s0000000001" not in driver.tree.znodes


def test_stored_answers_are_bounded_and_what_fell_out_is_not_done_again(driver: TreeDriver, client: Caller) -> None:
    limit = STORED_ANSWERS_PER_SESSION_MAX
    client.do(Create("/a", b""))
    for xid in range(1, limit + 3):
        client.apply(SetData("/a", b""), xid=xid)
    session = driver.tree.sessions[client.session_id]
    assert (len(session.answers), next(iter(session.answers)), session.floor) == (limit, 3, 3)
    version = driver.tree.znodes["/a"].version
    assert isinstance(client.apply(SetData("/a", b""), xid=2).body, RuntimeInconsistencyError)
    assert driver.tree.znodes["/a"].version == version


def test_stored_answers_survive_a_move_and_a_snapshot(driver: TreeDriver, client: Caller) -> None:
    first = client.apply(Create("/a", b""), xid=1)
    driver.tree = type(driver.tree)(driver.tree.image())
    client.attach()
    assert client.apply(Create("/a", b""), xid=1) == Applied(first.zxid, first.body, [])


def test_a_stored_refusal_holds_on_to_nothing_else(driver: TreeDriver, client: Caller) -> None:
    client.apply(Delete("/none"), xid=1)
    _, error = driver.tree.sessions[client.session_id].answers[1]
    assert isinstance(error, NoNodeError)
    assert error.__traceback__ is None
