"""Queue and PriorityQueue: each item is taken by one consumer.

What makes them right, and cheap:

- To take an item is to delete it, in a transaction that names the very node that was read: of many who try, one
  succeeds. A taker that goes before it has heard the answer puts the item back, in its old place.
- A taker reads the first item, never the whole list. Sequence numbers are compared as numbers. Takers that have come in
  each other's way choose among the first few.
- Who finds nothing stands in line, and the first of the line alone watches: one item wakes one consumer.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Self, TypeVar

import anyio

from zk.model.chance import Chance
from zk.model.events import EventType
from zk.model.paths import join
from zk.model.replies import MultiReply, PageEntry, Reply
from zk.model.requests import CreateMode
from zkclient.errors import BadVersionError, NoAuthError, NoNodeError, ThrottledError, ZKError
from zkclient.machine import INSIST_MS
from zkclient.operations import Consistency
from zkclient.recipes.held import removal, undo
from zkclient.recipes.places import create_below_containers, sequence, write
from zkclient.recipes.waiting import Alarm, in_line
from zkclient.transaction import to_bytes

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

PREFIX = "item-"
DIGITS = 10  # of a sequence number, unless it needs more
BEHIND_ONE = "1:"  # sorts behind all numbers that begin with 1, before all others that don't begin with 0
PRIORITY_MAX = 999
AMONG_MAX = 16  # first items among which to choose, at the most

T = TypeVar("T")


async def oldest(
    client: "AsyncZooKeeper",
    directory: str,
    count: int,
    deadline: float,
    *,
    with_data: bool = False,
    read: Consistency = "session",
) -> list[PageEntry]:
    """The first `count` items in `directory`, oldest first.

    The service tells names in the order of text. When numbers have come to need one digit more, the new ones begin with
    1 and come before the old ones, which then begin with 9: so it is looked behind the ones too.
    """

    async def page(prefix: str, start_after: str) -> tuple[PageEntry, ...]:
        pages = client.pages(
            directory,
            prefix=prefix,
            start_after=start_after,
            page_size=count,
            with_data=with_data,
            read=read,
            timeout=deadline - anyio.current_time(),
        )
        with suppress(NoNodeError):
            async for entries in pages:
                return entries
        return ()

    entries = await page(PREFIX, "")
    if entries:
        prefix = entries[0].name[: entries[0].name.rindex("-") + 1]
        if any(len(entry.name) > len(prefix) + DIGITS for entry in entries):
            older = await page(prefix, prefix + BEHIND_ONE)
            return sorted({entry.name: entry for entry in (*entries, *older)}.values(), key=_age)[:count]
    return list(entries)


def _age(entry: PageEntry) -> tuple[str, float]:
    return _kind(entry), sequence(entry.name)


def _kind(entry: PageEntry) -> str:
    return entry.name[: entry.name.rindex("-")]


class Choice:
    """Which of the first items to try: the first one; one of several, by chance, where others have been faster lately.

    Otherwise all consumers try the same item, and all but one in vain.
    """

    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self.among: int = 1

    def one_of(self, items: Sequence[T]) -> T:
        return items[self._chance.randrange(0, min(self.among, len(items)))]

    def missed(self) -> None:
        """Somebody else was faster."""
        self.among = min(2 * self.among, AMONG_MAX)

    def took(self) -> None:
        self.among = max(self.among - 1, 1)


class Items:
    """What is put, one behind the other. How it is taken makes the difference: see Queue and WorkQueue."""

    def __init__(self, client: "AsyncZooKeeper", path: str) -> None:
        self._client = client
        self._path = path
        self._items = join(path, "items")
        self._choice = Choice(client.chance)

    async def put(self, value: str | bytes, *, timeout: float | None = None) -> None:
        """Add an item; text is stored as UTF-8. If it times out, or is cancelled, the item is withdrawn as soon as
        there is a connection, unless somebody took it before. If the session ends before it is answered, it raises
        SessionExpiredError; with `maybe_applied` the item may be there."""
        await self._put(PREFIX, value, timeout)

    async def size(self, *, timeout: float | None = None) -> int:
        """How many items there are."""
        stat = await self._client.exists(self._items, timeout=timeout)
        return 0 if stat is None else stat.num_children

    async def _put(self, prefix: str, value: str | bytes, timeout: float | None) -> None:
        deadline, path = self._client.deadline(timeout), join(self._items, prefix)
        await create_below_containers(
            self._client, path, to_bytes(value), CreateMode.PERSISTENT_SEQUENTIAL, deadline, undo
        )


class Queue(Items):
    """First in, first out: every item is taken by one consumer.

        queue = zk.Queue("/queues/mail")
        await queue.put("hello")
        async for item in queue:                       # or: item = await queue.get(timeout=5)
            send(item)

    A `put` is done exactly once as long as the session lives. An item is delivered at most once: it is deleted when it
    is taken, so one whose consumer dies while it works is not seen again. See WorkQueue for at least once. A `get` that
    is cancelled, or times out, takes nothing: if the service had given it an item already, the item goes back to its
    place. Only if the session ends in that very moment may the item be lost; `get` then raises SessionExpiredError with
    `maybe_applied`.

    Consumers that wait are served in the order in which they came, as a rule: one that comes just when there is an item
    may be faster. Where several consumers take items at the same time, and were in each other's way, each takes one of
    the first 16; so a later item may come out a little before an earlier one.
    """

    async def get(self, *, timeout: float | None = None) -> bytes:
        """Take the first item; wait for one, without `timeout` (seconds) for as long as it takes. Raises
        OperationTimeoutError."""
        deadline = anyio.current_time() + (inf if timeout is None else timeout)
        what = f"{self._path}: no item came in time"
        return await in_line(self._client, self._path, partial(self._take, deadline), self._watch, deadline, what)

    async def poll(self, *, timeout: float | None = None) -> bytes | None:
        """Take the first item, if there is one now; None otherwise. Every item whose `put` was answered before is
        seen."""
        return await self._take(self._client.deadline(timeout), "linearizable")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await self.get()

    def _watch(self, alarm: Alarm) -> None:
        alarm.watch(self._items, EventType.CREATED, below=True)

    async def _take(self, deadline: float, read: Consistency = "session") -> bytes | None:
        """The first item, which is deleted; None if there is none."""
        choice = self._choice
        while found := await oldest(self._client, self._items, choice.among, deadline, with_data=True, read=read):
            kind = _kind(found[0])
            item = choice.one_of([entry for entry in found if _kind(entry) == kind])  # as urgent as the first one
            path = join(self._items, item.name)
            if item.data is None or item.stat is None:
                raise NoAuthError(path, "the item may not be read, and so can't be taken")
            taking = removal(self._client.absolute(path), item.stat.czxid)
            try:
                await write(self._client, taking, deadline, partial(self._taken_in_vain, path, item.data))
            except (NoNodeError, BadVersionError):  # somebody else was faster
                choice.missed()
            else:
                choice.took()
                return item.data
        return None

    def _taken_in_vain(self, path: str, data: bytes, reply: Reply) -> None:
        """Nobody waited any more when the taking was answered."""
        if isinstance(reply.body, MultiReply) and not reply.body.failed:
            self._client.driver.start_task(self._put_back, path, data)

    async def _put_back(self, path: str, data: bytes) -> None:
        """Put an item back in its place, unless that might be the second time."""
        with suppress(ZKError):
            while True:
                with suppress(ThrottledError):  # a refusal for the moment
                    await create_below_containers(self._client, path, data, CreateMode.PERSISTENT, inf)
                    return
                await anyio.sleep(INSIST_MS / 1_000)


class PriorityQueue(Queue):
    """A Queue of which the item with the lowest `priority` is taken first; of those with equal ones, the oldest, as of
    Queue.

    queue = zk.PriorityQueue("/queues/mail")
    await queue.put("later", 500)
    await queue.put("now", 1)
    """

    async def put(self, value: str | bytes, priority: int = 100, *, timeout: float | None = None) -> None:
        """Add an item; `priority` is within 0 (the most urgent) and 999. Otherwise as of Queue."""
        if not 0 <= priority <= PRIORITY_MAX:
            raise ValueError(f"priority must be within 0..{PRIORITY_MAX}, not {priority}")
        await self._put(f"{PREFIX}{priority:03d}-", value, timeout)
