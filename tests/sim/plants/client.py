"""Planted bugs of the client's session, and of the locks that several may hold.

(21) … (26) are the invariants of zk/sim/referee.py. Seeds that are a multiple of RECIPES_EVERY have recipes in them.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager

from zkclient import AsyncZooKeeper
from zkclient.machine import Machine
from zkclient.recipes import held
from zkclient.recipes.contenders import Contender, Contest, Wake, in_order
from zkclient.recipes.election import Election
from zkclient.recipes.held import Held
from zkclient.recipes.readwritelock import READER, WRITER, ReadLock
from zkclient.recipes.semaphore import Semaphore
from zkclient.results import NodeData

from zk.model.errors import NoNodeError
from zk.model.paths import join
from zk.model.record import Zxid
from zk.model.replies import Created, Reply
from zk.model.requests import Check, Delete, Multi
from zk.sim import Plant
from zk.sim.plant import patched

answered = Machine._answered
create = Contest._create
queue = Contest._queue
watch_over = Held.watch_over
seen = Held.seen
ping_answered = Machine._ping_answered
term = Election._term
waits_for = Contest._waits_for
semaphore_init = Semaphore.__init__
tell_the_next = Semaphore._tell_the_next
has_a_lease = Semaphore._is_first


# ---- when a session is lost


def counts_from_the_answer(self: Machine, reply: Reply) -> None:
    """The session lives on from when its client heard of it."""
    ping_answered(self, reply)
    self._proof_ms = self._heard_ms


def takes_any_answer_for_proof(self: Machine, now_ms: float, reply: Reply) -> None:
    """Whatever a server answers, the session lives."""
    answered(self, now_ms, reply)
    self._proof_ms = now_ms


def takes_a_minoritys_word(self: Machine, reply: Reply) -> None:
    """A ping that a server without a quorum has answered."""
    read_only, self._read_only = self._read_only, False
    ping_answered(self, reply)
    self._read_only = read_only


# ---- whose a place is


def hears_of_its_session_only(self: Held) -> None:
    """That the own contender was first is enough to hold on."""
    self._driver.add_listener(self._state_changed)


async def comes_back_to_its_node(self: Contest, deadline: float) -> Created:
    """A contender with the own identifier is the own one, whichever session made it."""
    try:
        for name in await self._client.get_children(self._path):
            path = join(self._path, name)
            node = await self._client.get(path)
            if str(node) == self._identifier:
                return Created(self._client.absolute(path), node.stat)
    except NoNodeError:
        pass
    return await create(self, deadline)


def whatever_has_the_name(path: str, token: Zxid) -> Multi:
    return Multi((Delete(path),))


def known_by_its_name(self: Held, found: object) -> None:
    """Whichever session it is of."""
    if not isinstance(found, NodeData):
        seen(self, found)


never_over = property(lambda self: False)


def not_yet(self: Held) -> None:
    """It is not watched over."""


async def then_watches_over(self: Contest, held: Held, deadline: float, *, wait: bool) -> None:
    await queue(self, held, deadline, wait=wait)
    watch_over(held)


async def waits_for_ever(self: Contest, wake: Wake, deadline: float) -> None:
    await wake.wait()


def the_one_before_that(self: Contest, before: Sequence[Contender]) -> Contender | None:
    """The own predecessor's predecessor, if there is one."""
    return before[-2:][0] if before else None


# ---- what others see of it


async def takes_the_last_for_the_leader(self: Election, wake: Wake | None) -> tuple[Zxid, str | None]:
    try:
        contenders = in_order(await self._client.get_children(self._path))
        if not contenders:
            return await term(self, wake)
        path = join(self._path, contenders[-1].name)
        node = await self._client.get(path, watch=wake and wake.at(path))
    except NoNodeError:
        return await term(self, wake)
    return node.stat.czxid, str(node)


async def goes_by_names(self: Election, wake: Wake | None) -> tuple[Zxid, str | None]:
    contenders = in_order(await self._client.get_children(self._path))
    if not contenders:
        return await term(self, wake)
    path = join(self._path, contenders[0].name)
    node = await self._client.get(path, watch=wake and wake.at(path))
    return node.stat.czxid, str(node)


def proves_nothing(self: Held) -> Check:
    return Check("/")


# ---- places that several have


class _Told(Exception):  # noqa: N818 - no error: it ends an acquire that has said what it had to
    """The one behind knows."""


async def tells_the_next_and_no_more(self: Semaphore, held: Held, deadline: float) -> None:
    await tell_the_next(self, held, deadline)
    raise _Told


async def holds_once_that_is_told(self: Semaphore, held: Held, wake: Wake, deadline: float) -> bool:
    try:
        return await has_a_lease(self, held, wake, deadline)
    except _Told:
        return True


def looks_at_its_predecessor_only(self: ReadLock, before: Sequence[Contender]) -> Contender | None:
    """Behind a reader a reader may go in."""
    return before[-1] if before and before[-1].name.startswith(WRITER) else None


def waits_for_writers_only(self: Contest, before: Sequence[Contender]) -> Contender | None:
    """Also a writer."""
    return waits_for(self, [contender for contender in before if not contender.name.startswith(READER)])


def lends_one_more(
    self: Semaphore,
    client: AsyncZooKeeper,
    path: str,
    *,
    max_leases: int,
    identifier: str = "",
    timeout: float | None = None,
) -> None:
    semaphore_init(self, client, path, max_leases=max_leases + 1, identifier=identifier, timeout=timeout)


def plant(name: str, what: str, seeds: int, invariants: str, *changes: tuple[object, str, object]) -> Plant:
    def planted() -> AbstractContextManager[object]:
        return patched(*changes)

    return Plant(name, what, planted, frozenset(invariants.split(", ")), seeds)


PLANTS = (
    plant(
        "no-clock-of-its-own",
        "a client takes its session for lost when a server says so, and not before (21)",
        30,
        "locks lost in time, mutual exclusion",
        (Machine, "_may_be_lost", property(lambda self: False)),
    ),
    plant(
        "session-counted-from-the-answer",
        "a client counts its session from when a ping's answer came, not from when the ping was sent (21)",
        0,
        "locks lost in time, mutual exclusion",
        (Machine, "_ping_answered", counts_from_the_answer),
    ),
    plant(
        "any-answer-proves-the-session",
        "a client takes any answer for a sign that its session lives, also one that no leader heard of (21)",
        100,
        "locks lost in time, mutual exclusion",
        (Machine, "_answered", takes_any_answer_for_proof),
    ),
    plant(
        "read-only-proves-the-session",
        "a client takes the answer of a server without a quorum for a sign that its session lives (21)",
        0,  # the production clients of seeds do not ask for it
        "locks lost in time, mutual exclusion",
        (Machine, "_ping_answered", takes_a_minoritys_word),
    ),
    plant(
        "grant-not-confirmed",
        "who is first in the list holds, and is not told when its node is deleted (22)",
        40,
        "mutual exclusion",
        (Held, "watch_over", hears_of_its_session_only),
    ),
    plant(
        "granted-and-then-watched",
        "a contender is watched over only once it holds: another watch may tell of something later than its end (22)",
        0,  # the seeds show it: number 126
        "mutual exclusion",
        (Held, "watch_over", not_yet),
        (Contest, "_queue", then_watches_over),
    ),
    plant(
        "node-of-an-earlier-session",
        "a contender is known by its identifier: that of an earlier session is taken for the own one; that a session"
        " has ended is not looked at first, which would show it, too (22)",
        10,
        "mutual exclusion, locks lost in time, fencing",
        (Contest, "_create", comes_back_to_its_node),
        (Held, "session_over", never_over),
    ),
    plant(
        "removal-by-name",
        "a release deletes whichever node has the contender's name by then (21)",
        0,
        "locks lost in time, mutual exclusion, no herd",
        (held, "removal", whatever_has_the_name),
    ),
    plant(
        "wrong-predecessor",
        "who waits for a lock watches the one before the one before it (24)",
        30,
        "no herd, liveness",
        (Contest, "_waits_for", the_one_before_that),
    ),
    plant(
        "waits-as-somebody-else",
        "who waits for a lock finds its place by its node's name, though that went with its session (24)",
        0,
        "no herd, liveness",
        (Held, "session_over", never_over),
        (Held, "seen", known_by_its_name),
    ),
    plant(
        "deadline-ignored",
        "an acquire waits on behind its timeout",
        0,  # no invariant speaks of timeouts
        "liveness",
        (Contest, "_wait", waits_for_ever),
    ),
    plant(
        "last-candidate-taken-for-the-leader",
        "who observes an election is told of candidates (25)",
        30,
        "observed leaders",
        (Election, "_term", takes_the_last_for_the_leader),
    ),
    plant(
        "leader-known-by-name",
        "who observes an election takes a node for the leader's that has its name only: numbers begin anew (25)",
        0,
        "observed leaders, assertions",
        (Election, "_term", goes_by_names),
    ),
    plant(
        "guard-proves-nothing",
        "a transaction goes through though the lock that guards it is lost (23)",
        0,
        "guarded writes",
        (Held, "proof", proves_nothing),
    ),
    plant(
        "reader-behind-a-reader",
        "a reader goes in behind another reader, who still waits for a writer (22)",
        60,
        "mutual exclusion",
        (ReadLock, "_waits_for", looks_at_its_predecessor_only),
    ),
    plant(
        "writer-beside-readers",
        "a writer waits for writers only (22)",
        60,
        "mutual exclusion",
        (Contest, "_waits_for", waits_for_writers_only),
    ),
    plant(
        "told-and-granted",
        "who has told the one behind of its lease holds it, though that write has used up the watch of its node (22)",
        0,  # the seeds show it: number 7000389
        "mutual exclusion",
        (Semaphore, "_tell_the_next", tells_the_next_and_no_more),
        (Semaphore, "_is_first", holds_once_that_is_told),
    ),
    plant(
        "one-lease-too-many",
        "a semaphore lends one lease more than there are (22)",
        30,
        "mutual exclusion",
        (Semaphore, "__init__", lends_one_more),
    ),
)
