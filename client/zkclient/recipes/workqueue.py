"""WorkQueue: every item is worked on until somebody says that it is done.

An item stays where it is while it is worked on; beside it there is a claim, an ephemeral node of the worker's session
under the same name. What makes it right:

- To claim is one transaction: the item is the one that was read, its version goes up by one (so versions count the
  deliveries, also those whose worker died), and there was no claim.
- To finish is one transaction too: it deletes the item if the claim is still the one that was granted. So who has lost
  the claim can't finish the item, and what was finished never comes back.
- A claim ends with its session; that is what wakes those who wait.
"""

from contextlib import suppress
from functools import partial
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio

from zk.model.events import EventType
from zk.model.paths import join
from zk.model.record import Zxid
from zk.model.replies import Created, MultiReply, Reply, StatReply
from zk.model.requests import Check, Create, CreateMode, Delete, Multi, SetData
from zkclient.errors import BadVersionError, LockLost, NodeExistsError, NoNodeError, SessionExpiredError
from zkclient.recipes.held import Body, Held, removal
from zkclient.recipes.places import hold, leave_place, write
from zkclient.recipes.queue import PREFIX, Items, Queue, oldest
from zkclient.recipes.waiting import Alarm, in_line
from zkclient.results import NodeData

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

SPARE = 16  # items looked at beyond those that are claimed: others may be faster at the first ones
NOT_THIS_ONE = (NoNodeError, NodeExistsError, BadVersionError, LockLost, SessionExpiredError)
"""What ends an attempt to claim an item: somebody else was faster, or the claim went as soon as it came."""


class Task:
    """An item that this session has claimed.

    Leaving its block without an error acknowledges it, an error gives it back.

    On event loops: the body runs in a cancel scope, and is cancelled when the claim is lost.

    If the claim was lost (with the session, as a rule), the block raises LockLost: another worker may have the item.
    """

    data: bytes
    """The item."""
    deliveries: int
    """How often it was claimed, this time included."""
    held: Held
    """The claim; `zk.transaction(guard=task.held)` makes writes that fail once it is lost."""

    def __init__(self, queue: "WorkQueue", path: str, data: bytes, deliveries: int, held: Held) -> None:
        self.data = data
        self.deliveries = deliveries
        self.held = held
        self._client = queue._client
        self._path = path
        self._ended = False
        self._body: Body | None = None

    @property
    def token(self) -> Zxid:
        """The fencing token: it grows with every delivery of the item."""
        return self.held.token

    @property
    def ended(self) -> bool:
        """Whether it was acknowledged or given back."""
        return self._ended

    async def ack(self, *, timeout: float | None = None) -> None:
        """The item is done: delete it. Raises LockLost if the claim was lost: then the item goes to another worker.

        If it is cancelled, or raises with `maybe_applied`, it will be done all the same, if the session lives on.
        """
        self._end()
        client, held = self._client, self.held
        lost, reason = held.lost_by_now(), held.reason
        unclaim = held.leave()
        if lost:
            client.driver.post(unclaim)
            raise LockLost(held.path, reason)
        finish = Multi((*unclaim.operations, Delete(client.absolute(self._path))))
        try:
            await write(client, finish, client.deadline(timeout))
        except (NoNodeError, BadVersionError) as error:
            client.driver.post(unclaim)
            raise LockLost(held.path, "the claim or the item is gone") from error
        except BaseException:
            client.driver.post(finish)  # refused if it was done already
            raise

    async def nack(self) -> None:
        """Give the item back: it is delivered again, to anybody."""
        self._end()
        await leave_place(self._client.driver, self.held)

    async def __aenter__(self) -> Self:
        self._body = Body(self.held)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._body is not None
        leave = self.ack if exc is None and not self.held.lost_by_now() else self.nack
        return await self._body.end(_nothing if self._ended else leave, exc_type, exc, traceback)

    def _end(self) -> None:
        if self._ended:
            raise RuntimeError(f"{self._path} was acknowledged or given back already")
        self._ended = True


async def _nothing() -> None:
    """The user has ended the task in its block."""


class WorkQueue(Items):
    """Items that are worked on until somebody acknowledges them: at least once, and by one worker at a time.

        queue = zk.WorkQueue("/queues/orders")
        await queue.put("order 17")
        async for task in queue:                       # or: task = await queue.claim(timeout=5)
            async with task:
                deliver(task.data)

    A worker claims an item, works on it, and acknowledges it. If it gives the item back, or its session ends, the item
    is delivered again; so work must be repeatable, or guarded by `task.token`. After `deliveries_max` deliveries that
    were not acknowledged an item goes to `dead_letters`; all users of a queue should say the same number. What is
    acknowledged never comes back. The oldest items come first, but one that is given back comes before newer ones, and
    workers that were in each other's way claim one of the first 16.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, *, deliveries_max: int = 10) -> None:
        super().__init__(client, path)
        self._claims = join(path, "claims")
        self._deliveries_max = deliveries_max

    async def claim(self, *, timeout: float | None = None) -> Task:
        """Claim the oldest item that nobody has claimed; wait for one, without `timeout` (seconds) for as long as it
        takes. Raises OperationTimeoutError."""
        deadline = anyio.current_time() + (inf if timeout is None else timeout)
        what = f"{self._path}: no item came in time"
        return await in_line(self._client, self._path, partial(self._claim, deadline), self._watch, deadline, what)

    async def claimed(self, *, timeout: float | None = None) -> int:
        """How many of the items are being worked on."""
        stat = await self._client.exists(self._claims, timeout=timeout)
        return 0 if stat is None else stat.num_children

    def dead_letters(self) -> Queue:
        """The items that were delivered too often."""
        return Queue(self._client, join(self._path, "dead"))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Task:
        return await self.claim()

    def _watch(self, alarm: Alarm) -> None:
        alarm.watch(self._items, EventType.CREATED, below=True)
        alarm.watch(self._claims, EventType.DELETED, below=True)

    async def _claim(self, deadline: float) -> Task | None:
        """The oldest item that can be claimed; None if all are claimed."""
        while True:
            claimed = await self._claimed_names(deadline)
            items = await oldest(self._client, self._items, len(claimed) + SPARE, deadline)
            free = [item.name for item in items if item.name not in claimed]
            if not free:
                return None
            while free:
                name = self._choice.one_of(free)
                task = await self._claim_item(name, deadline)
                if task is not None:
                    self._choice.took()
                    return task
                self._choice.missed()
                free.remove(name)

    async def _claimed_names(self, deadline: float) -> frozenset[str]:
        """Of the claims, which are where claims are: that may vanish whenever there are none."""
        try:
            return frozenset(await self._client.get_children(self._claims, timeout=deadline - anyio.current_time()))
        except NoNodeError:
            with suppress(SessionExpiredError):  # it goes on in the next session, and finds out whether it was done
                await self._client.ensure_path(self._claims, container=True, timeout=deadline - anyio.current_time())
            return frozenset()

    async def _claim_item(self, name: str, deadline: float) -> Task | None:
        """None if it can't be claimed any more."""
        path = join(self._items, name)
        with suppress(*NOT_THIS_ONE):
            item = await self._client.get(path, timeout=deadline - anyio.current_time())
            if item.stat.version >= self._deliveries_max:
                await self._bury(name, item, deadline)
                return None
            full = self._client.absolute(path)
            request = Multi(
                (
                    Check(full, czxid=item.stat.czxid),
                    SetData(full, item.data, item.stat.version),
                    Create(self._client.absolute(join(self._claims, name)), b"", mode=CreateMode.EPHEMERAL),
                )
            )
            body = await write(self._client, request, deadline, _unclaim)
            assert isinstance(body, MultiReply)
            _, counted, created = body.results
            assert isinstance(counted, StatReply)
            assert isinstance(created, Created)
            held = await hold(self._client, created)
            return Task(self, path, item.data, counted.stat.version, held)
        return None

    async def _bury(self, name: str, item: NodeData, deadline: float) -> None:
        """Move an item to the dead letters, if nobody has claimed it."""
        client = self._client
        dead = join(self._path, "dead/items")
        await client.ensure_path(dead, container=True, timeout=deadline - anyio.current_time())
        full, claim = client.absolute(join(self._items, name)), client.absolute(join(self._claims, name))
        free = (Create(claim, b"", mode=CreateMode.EPHEMERAL), Delete(claim))  # refused if it is claimed
        letter = Create(client.absolute(join(dead, PREFIX)), item.data, mode=CreateMode.PERSISTENT_SEQUENTIAL)
        moved = (Check(full, czxid=item.stat.czxid), Delete(full, item.stat.version), letter)
        await write(client, Multi((*free, *moved)), deadline)


def _unclaim(reply: Reply) -> Multi | None:
    """What undoes a claim that was answered with `reply`."""
    body = reply.body
    created = body.results[-1] if isinstance(body, MultiReply) else None
    return removal(created.path, created.stat.czxid) if isinstance(created, Created) else None
