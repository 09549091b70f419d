"""What simulated clients are judged by must itself be right: it agrees with the production code, and notices a lie."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import NoReturn

import pytest

from zk.model.acl import CREATOR_ALL_ACL, OPEN_ACL
from zk.model.errors import APIError, NoNodeError, NoWatcherError
from zk.model.events import EventType, WatcherType, WatchEvent, WatchMode
from zk.model.record import ServerId, SessionId, Zxid
from zk.model.replies import DONE, Body, ChildrenPageReply, PageEntry
from zk.model.requests import (
    AddAuth,
    AddWatch,
    Authenticate,
    CloseSession,
    Create,
    CreateMode,
    Delete,
    Exists,
    ExpireSession,
    GetChildrenPage,
    OpenSession,
    Reap,
    RemoveWatches,
    SetData,
    SetWatches,
    TreeRead,
    Txn,
    Write,
)
from zk.sim.answers import Answers, agrees
from zk.sim.ledger import Ledger
from zk.sim.timelines import SetTimeline, Timeline
from zk.sim.walk import Walk
from zk.sim.watching import Watching
from zk.sim.wishes import Wishes
from zk.sim.witness import Witness
from zk.sim.world import Violation, World
from zk.tree.acl import digest_identity
from zk.tree.tree import Tree
from zk.wire import txn as txn_codec

SESSION = SessionId(7)
OTHER = SessionId(8)


class Told(Exception):  # noqa: N818 - what a check says when it finds something
    """What `fail` was called with."""


def fail(detail: str) -> NoReturn:
    raise Told(detail)


class History:
    """Transactions of two sessions, entered one after the other; zxid 1 and 2 open these."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.zxid = Zxid(0)
        self._writes = {SESSION: 0, OTHER: 0}
        for session in (SESSION, OTHER):
            self.enter(SessionId(0), OpenSession(session, b"secret", 4_000, (), ServerId(1), session))

    def enter(self, session: SessionId, request: Write) -> None:
        self.zxid = Zxid(self.zxid + 1)
        txn = Txn(self.zxid, SessionId(0), Zxid(0), 0, 0, 0, request)
        if session:
            self._writes[session] += 1
            number = self._writes[session]
            txn = Txn(self.zxid, session, self.ledger.sessions[session].generation, number, number, number, request)
        self.ledger.post(self.zxid, txn)

    def write(self, *requests: Write) -> "History":
        for request in requests:
            self.enter(SESSION, request)
        return self


# ---- the ledger


@pytest.mark.parametrize("seed", range(4))
def test_the_ledger_and_the_tree_agree_on_whatever_is_asked(seed: int) -> None:
    """By way of the witness, which holds one against the other."""
    random = Random(seed)
    world = World(seed)
    witness = Witness(world)
    wishes = {session: Wishes(random, session) for session in (SESSION, OTHER)}
    generation: dict[SessionId, tuple[Zxid, int]] = {}
    reads = 0
    for number in range(1, 1_500):
        zxid = Zxid(number)
        session = random.choice((SESSION, OTHER))
        if session not in witness.ledger.sessions:
            opened = OpenSession(session, b"secret", 4_000, (), ServerId(1), 1)
            witness.committed(zxid, payload(number, SessionId(0), Zxid(0), 0, opened))
            generation[session] = (zxid, 0)
            continue
        request = wishes[session].next().request
        if isinstance(request, TreeRead):
            reads += 1
            witness.read_answered(session, request, witness.ledger.zxid, answer(witness.tree, session, request))
        write: Write | None = None
        if isinstance(request, AddAuth):
            write = Authenticate((digest_identity(request.credential),))
        elif isinstance(request, Write):
            write = request
        if write is None:
            due = witness.tree.reapable(number + random.randrange(100), 1)
            witness.committed(zxid, payload(number, SessionId(0), Zxid(0), 0, Reap(due[0] if due else "/key-0")))
        else:
            began, n = generation[session]
            generation[session] = (began, n + 1)
            witness.committed(zxid, payload(number, session, began, n + 1, write))
    witness.equal_states(1, witness.tree)
    assert reads > 200
    assert world.counters["failed multis"] > 20


def payload(time_ms: int, session: SessionId, generation: Zxid, n: int, request: Write) -> bytes:
    xid = 1_000 * generation + n if session else 0
    return txn_codec.stamp(time_ms, txn_codec.encode_body(Txn(0, session, generation, n, xid, xid, request)))


def answer(tree: Tree, session: SessionId, request: TreeRead) -> Body | APIError:
    try:
        return tree.read(request, session, tree.sessions[session].identities)
    except APIError as error:
        return error


def test_the_ledger_remembers_what_was() -> None:
    history = History().write(Create("/a", b"1"), SetData("/a", b"2"), Create("/a/b", b""), Delete("/a/b"))
    ledger = history.ledger
    node = ledger.node_at("/a", Zxid(4))
    assert node is not None
    assert node.data == b"2"
    assert [ledger.node_at("/a", Zxid(zxid)) is None for zxid in (2, 3)] == [True, False]
    assert [ledger.children("/a").at(Zxid(zxid)) for zxid in (4, 5, 6)] == [set(), {"b"}, set()]
    assert ledger.below_at("/", Zxid(5)) == 5


def test_a_session_that_ends_takes_its_ephemerals_along() -> None:
    history = History().write(Create("/mine", b"", mode=CreateMode.EPHEMERAL), CloseSession())
    assert history.ledger.znodes.get("/mine") is None
    assert history.ledger.owned(SESSION).at(Zxid(3)) == {"/mine"}


def test_a_ghost_of_a_session_does_nothing() -> None:
    history = History()
    history.enter(SessionId(0), ExpireSession(SESSION, Zxid(1)))
    stale = Txn(9, SESSION, Zxid(1), 1, 1, 1, Create("/a", b""))
    assert history.ledger.post(Zxid(9), stale).changes == ()


def test_a_timeline_tells_what_was_when() -> None:
    value = Timeline("first")
    value.note(Zxid(5), "second")
    assert [value.at(Zxid(zxid)) for zxid in (0, 4, 5, 9)] == ["first", "first", "second", "second"]


def test_a_set_remembers_who_was_there_and_who_stayed() -> None:
    who = SetTimeline(("a",))
    who.add(Zxid(2), "b")
    who.remove(Zxid(3), "a")
    who.add(Zxid(4), "a")
    assert [who.at(Zxid(zxid)) for zxid in (1, 2, 3, 4)] == [{"a"}, {"a", "b"}, {"b"}, {"a", "b"}]
    assert who.throughout(Zxid(2), Zxid(4)) == {"b"}


# ---- answers


def test_who_may_not_read_a_node_is_refused() -> None:
    history = History().write(Authenticate((digest_identity(b"ann:secret"),)), Create("/secret", b"1", CREATOR_ALL_ACL))
    exists, page = Exists("/secret"), GetChildrenPage("/", prefix="secret", with_data=True)
    mine, others = (Answers(history.ledger, session, history.zxid) for session in (SESSION, OTHER))
    assert mine.to(exists) == others.to(exists)
    shown, hidden = mine.to(page), others.to(page)
    assert isinstance(shown, ChildrenPageReply)
    assert isinstance(hidden, ChildrenPageReply)
    assert (shown.entries[0].data, hidden.entries[0].data) == (b"1", None)


def test_a_refusal_must_be_the_right_one() -> None:
    assert agrees(NoNodeError, NoNodeError("/a"))
    assert not agrees(NoNodeError, NoWatcherError("/a"))
    assert not agrees(NoNodeError, DONE)


# ---- watches


def watching(history: History, *kinds: WatcherType) -> Watching:
    """SESSION, come back with these watches on /a."""
    lists = {WatcherType.DATA: "data", WatcherType.PERSISTENT: "persistent", WatcherType.RECURSIVE: "recursive"}
    made = Watching(history.ledger, SESSION, fail)
    made.connected(history.zxid, SESSION)
    made.set_again(SetWatches(history.zxid, **{lists[kind]: ("/a",) for kind in kinds}), history.zxid)
    return made


CHANGED = WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(4))
CHANGED_AGAIN = WatchEvent(EventType.DATA_CHANGED, "/a", Zxid(5))
TWO_CHANGES = (SetData("/a", b"2"), SetData("/a", b"3"))


def one_shot(tell: Watching) -> None:
    tell.told(CHANGED)
    tell.answered(Zxid(5))


def answer_first(tell: Watching) -> None:
    tell.answered(Zxid(4))


def skip_one(tell: Watching) -> None:
    tell.told(CHANGED_AGAIN)


def tell_twice(tell: Watching) -> None:
    tell.told(CHANGED)
    tell.told(CHANGED)


def make_one_up(tell: Watching) -> None:
    tell.told(WatchEvent(EventType.DELETED, "/a", Zxid(4)))


def resync_for_no_reason(tell: Watching) -> None:
    tell.told(WatchEvent(EventType.RESYNC, "/a", Zxid(4)))


def test_a_one_shot_watch_tells_the_first_change_only() -> None:
    history = History().write(Create("/a", b"1"))
    made = watching(history, WatcherType.DATA)
    history.write(*TWO_CHANGES)
    one_shot(made)
    assert made.watches == {}


@pytest.mark.parametrize("lie", [answer_first, skip_one, tell_twice, make_one_up, resync_for_no_reason])
@pytest.mark.parametrize("kind", [WatcherType.DATA, WatcherType.PERSISTENT, WatcherType.RECURSIVE])
def test_a_watch_that_lies_is_found_out(kind: WatcherType, lie: Callable[[Watching], None]) -> None:
    history = History().write(Create("/a", b"1"))
    made = watching(history, kind)
    history.write(*TWO_CHANGES)
    with pytest.raises(Told):
        lie(made)


def test_nobody_is_told_of_what_it_may_not_read() -> None:
    history = History()
    made = watching(history, WatcherType.RECURSIVE)
    history.enter(OTHER, Authenticate((digest_identity(b"ann:secret"),)))
    history.enter(OTHER, Create("/a", b"1", CREATOR_ALL_ACL))
    made.answered(history.zxid)
    with pytest.raises(Told):
        made.told(WatchEvent(EventType.CREATED, "/a", history.zxid))


@pytest.mark.parametrize("resync", [False, True])
def test_a_stream_catches_up_or_says_that_it_can_not(resync: bool) -> None:
    history = History().write(Create("/a", b"1"), *TWO_CHANGES)
    made = watching(history)
    made.added(AddWatch("/a", WatchMode.RECURSIVE, Zxid(3)), history.zxid)
    told = [WatchEvent(EventType.RESYNC, "/a", history.zxid)] if resync else [CHANGED, CHANGED_AGAIN]
    for event in told:
        made.told(event)
    made.answered(history.zxid)


def test_a_stream_must_not_give_up_in_its_midst() -> None:
    history = History().write(Create("/a", b"1"), *TWO_CHANGES)
    made = watching(history)
    made.added(AddWatch("/a", WatchMode.RECURSIVE, Zxid(3)), history.zxid)
    made.told(CHANGED)
    with pytest.raises(Told):
        made.told(WatchEvent(EventType.RESYNC, "/a", history.zxid))


def test_what_happened_while_a_client_was_away_is_due_when_it_is_back() -> None:
    history = History().write(Create("/a", b"1"), *TWO_CHANGES)
    made = watching(history)
    made.set_again(SetWatches(Zxid(3), data=("/a",), exist=("/b",)), history.zxid)
    made.told(CHANGED_AGAIN)
    history.write(Create("/b", b""))
    made.told(WatchEvent(EventType.CREATED, "/b", history.zxid))
    made.answered(history.zxid)


def test_a_watch_that_is_removed_is_silent() -> None:
    history = History().write(Create("/a", b"1"))
    made = watching(history, WatcherType.PERSISTENT)
    made.removed(RemoveWatches("/a", WatcherType.ANY), DONE)
    history.write(*TWO_CHANGES)
    made.answered(history.zxid)
    with pytest.raises(Told):
        made.removed(RemoveWatches("/a", WatcherType.ANY), DONE)


# ---- pages


def walked(pages: Sequence[tuple[str, ...]]) -> None:
    """Show these pages of /, where x, y and z are all the while."""
    history = History().write(Create("/x", b""), Create("/y", b""), Create("/z", b""))
    walk = Walk(history.ledger, GetChildrenPage("/", limit=2), fail)
    root = history.ledger.znodes["/"]
    for number, names in enumerate(pages, 1):
        entries = tuple(PageEntry(name, None, None) for name in names)
        walk.answered(history.zxid, ChildrenPageReply(entries, number < len(pages), root.stat))
    assert walk.request is None


def test_a_walk_sees_every_child_once() -> None:
    walked([("x", "y"), ("z", "zookeeper")])


@pytest.mark.parametrize("pages", [[("x",), ("z", "zookeeper")], [("x", "y"), ("y", "z"), ("zookeeper",)]])
def test_a_page_that_loses_or_repeats_a_child_is_found_out(pages: Sequence[tuple[str, ...]]) -> None:
    with pytest.raises(Told):
        walked(pages)


# ---- the witness


def test_a_session_that_was_heard_of_must_not_expire() -> None:
    world = World(0)
    witness = Witness(world)
    opened = OpenSession(SESSION, b"secret", 4_000, (), ServerId(1), 1)
    witness.committed(Zxid(1), payload(1, SessionId(0), Zxid(0), 0, opened))
    world.run(until_us=5_000_000)
    witness.heard(SESSION, 4_000, sent_us=3_000_000)
    with pytest.raises(Violation, match="expiry"):
        witness.committed(Zxid(2), payload(2, SessionId(0), Zxid(0), 0, ExpireSession(SESSION, Zxid(1))))


def test_two_states_that_differ_are_told_apart() -> None:
    witness = Witness(World(0))
    witness.committed(
        Zxid(1), payload(1, SessionId(0), Zxid(0), 0, OpenSession(SESSION, b"secret", 4_000, (), ServerId(1), 1))
    )
    witness.committed(Zxid(2), payload(2, SESSION, Zxid(1), 1, Create("/a", b"1", OPEN_ACL)))
    other = Tree(witness.tree.image())
    witness.equal_states(1, other)
    other.znodes["/a"] = replace(other.znodes["/a"], data=b"2")
    with pytest.raises(Violation, match="equal states"):
        witness.equal_states(1, other)
