"""Planted bugs of locks and elections: what kazoo's and Curator's have had, and what these recipes had themselves.

(21) … (26) are the invariants of zk/sim/referee.py. Seeds that are a multiple of RECIPES_EVERY have recipes in them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from itertools import count
from math import inf

import anyio
from zkclient.calls import ANYTHING, Orphaned, Pending, Settle
from zkclient.driver import Driver
from zkclient.machine import Machine
from zkclient.recipes import contenders, held
from zkclient.recipes.contenders import Contender, Contest, Found, Wake
from zkclient.recipes.held import Held
from zkclient.watchers import Notified

from zk.model.errors import NoNodeError
from zk.model.paths import basename, join
from zk.model.record import SessionId, Zxid
from zk.model.replies import Reply
from zk.model.requests import ClientRequest, Delete, GetData, Multi
from zk.sim import Plant
from zk.sim.plant import patched

is_first = Contest._is_first
acquire = Contest._acquire
leave = Contest._leave
look = Contest._look
call = Machine.call
numbers = count(1)
giving_up = ContextVar("giving_up", default=False)


async def watches_the_first(self: Contest, held: Held, wake: Wake, deadline: float) -> bool:
    while True:
        wake.arm()
        names = [contender.name for contender in await self._list()]
        own = basename(held.path)
        if own not in names or names.index(own) == 0:
            return await is_first(self, held, wake, deadline)
        try:
            await self._client.get(join(self._path, names[0]), watch=wake)
        except NoNodeError:
            continue
        return False


async def is_first_once_woken(self: Contest, held: Held, wake: Wake, deadline: float) -> bool:
    """What was waited for has happened: no need to look again."""
    woken = getattr(wake, "was_armed", False)
    wake.was_armed = True  # type: ignore[attr-defined]  # the defect's own memory
    return woken or await is_first(self, held, wake, deadline)


def believes_the_list(self: Held, found: object) -> None:
    """That the own contender was first is enough to hold."""


def counts_tokens_itself(
    self: Held, driver: Driver, path: str, absolute_path: str, token: Zxid, session_id: SessionId
) -> None:
    held_init(self, driver, path, absolute_path, Zxid(next(numbers)), session_id)


held_init = Held.__init__


def any_node_there(path: str, token: Zxid) -> Multi:
    return Multi((Delete(path),))


async def leaves_by_search(self: Contest, held: Held) -> None:
    """Remove the contender of this session: there will be one only."""
    held.leave()
    for path in await self._client.get_ephemerals(self._path):
        self._driver.post(Delete(path))
        return


def forgets_what_was_created(reply: Reply) -> None:
    return None


async def leaves_nothing_to_do(self: Contest, deadline: float, *, wait: bool = True) -> Held:
    """Given up: the contender is forgotten, and not removed."""
    token = giving_up.set(True)  # seen by this task alone: other tasks release in the meantime
    try:
        return await acquire(self, deadline, wait=wait)
    finally:
        giving_up.reset(token)


async def leaves_unless_giving_up(self: Contest, held: Held) -> None:
    if giving_up.get():
        held.leave()
    else:
        await leave(self, held)


def asks_once(
    self: Machine,
    now_ms: float,
    request: ClientRequest,
    settle: Settle | None = None,
    *,
    deadline_ms: float = inf,
    at_least: Zxid = ANYTHING,
    linearizable: bool = False,
    watch: Notified | None = None,
    orphaned: Orphaned | None = None,
    insistent: bool = False,
) -> Pending:
    return call(
        self,
        now_ms,
        request,
        settle,
        deadline_ms=deadline_ms,
        at_least=at_least,
        linearizable=linearizable,
        watch=watch,
        orphaned=orphaned,
    )


async def lists_what_must_be_there(
    self: Contest, held: Held, deadline: float, *others: GetData
) -> tuple[list[Contender], Sequence[Found]]:
    await self._client.get_children(self._path, timeout=deadline - anyio.current_time())
    return await look(self, held, deadline, *others)


def tells_nobody(self: Held, told: Callable[[], object] | None) -> None:
    """The body of a lost lock runs on."""


def trusts_the_timer(self: Driver) -> None:
    """The timer will have noticed."""


def plant(name: str, what: str, seeds: int, invariants: str, *changes: tuple[object, str, object]) -> Plant:
    def planted() -> AbstractContextManager[object]:
        return patched(*changes)

    return Plant(name, what, planted, frozenset(invariants.split(", ")), seeds)


PLANTS = (
    plant(
        "herd",
        "who waits for a lock watches the first contender, not the one before it (24)",
        10,
        "no herd",
        (Contest, "_is_first", watches_the_first),
    ),
    plant(
        "woken-is-first",
        "who was woken takes the lock without looking again: the one before it may have given up (22)",
        10,
        "mutual exclusion",
        (Contest, "_is_first", is_first_once_woken),
    ),
    plant(
        "local-tokens",
        "the fencing token is counted by the process that holds (22)",
        10,
        "mutual exclusion, fencing",
        (Held, "__init__", counts_tokens_itself),
        (Held, "seen", believes_the_list),
        (held, "removal", any_node_there),
    ),
    plant(
        "release-by-search",
        "a release removes whichever contender of its session it finds (21)",
        10,
        "locks lost in time, mutual exclusion, liveness, no leaked contender",
        (Contest, "_leave", leaves_by_search),
    ),
    plant(
        "leaked-create",
        "an acquire that is cancelled while its create is under way leaves the node (26)",
        30,
        "liveness, no leaked contender",
        (contenders, "undo", forgets_what_was_created),
    ),
    plant(
        "leaked-acquire",
        "an acquire that is given up leaves its node (26)",
        10,
        "liveness, no leaked contender",
        (Contest, "_acquire", leaves_nothing_to_do),
        (Contest, "_leave", leaves_unless_giving_up),
    ),
    plant(
        "release-asked-once",
        "a release that a server refuses for the moment is not asked for again (26)",
        400,
        "liveness, no leaked contender",
        (Machine, "call", asks_once),
    ),
    plant(
        "vanished-path",
        "a waiter whose path was reaped is told that there is no node",
        60,
        "assertions",
        (Contest, "_look", lists_what_must_be_there),
    ),
    plant(
        "body-runs-on",
        "losing a lock does not cancel its body (22)",
        400,
        "mutual exclusion",
        (Held, "on_lost", tells_nobody),
    ),
    plant(
        "unchecked-check",
        "a check trusts that the timer has run: a process that stood still holds on (22)",
        30,
        "mutual exclusion",
        (Driver, "check_clock", trusts_the_timer),
    ),
)
