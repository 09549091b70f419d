"""DoubleBarrier: begin together, end together.

Everybody who enters has an ephemeral node. When there are enough of them, one writes down who takes part in this round,
in a node named `ready`, by a transaction that is refused unless all of them are there at that moment. So a round is a
list of nodes, each of which goes with its session: nobody passes on the word of one who has gone, nobody who came too
late passes along, and nobody waits for the dead. Who comes while a round is on waits for the next one.
"""

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

import anyio

from zk.model.events import EventType
from zk.model.paths import basename, join
from zk.model.record import Zxid, record
from zk.model.requests import Check, Create, GetChildren, GetData, Multi
from zkclient.errors import APIError, BadVersionError, NodeExistsError, NoNodeError
from zkclient.recipes.held import Held, removal
from zkclient.recipes.places import leave_place, sequence, take_place, write
from zkclient.recipes.waiting import Alarm
from zkclient.results import NodeData

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

PREFIX = "member-"
READY = "ready"


@record
class Round:
    """Who takes part: the names of nodes. `token` is the czxid of the node that says so; 0 if there is none."""

    token: Zxid
    names: tuple[str, ...]


class DoubleBarrier:
    """`num_clients` members begin together and end together.

        barrier = zk.DoubleBarrier("/jobs/17", 3)
        membership = await barrier.enter()             # goes on when three have entered
        ...
        await barrier.leave()                          # goes on when all three have left

    A member whose session ends has left: the others don't wait for it. It learns of that by `membership.lost`, or by
    LockLost when it leaves. The barrier can be used again and again: who enters while others have not left yet waits
    for the next round. `identifier` is for people who look at the nodes.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, num_clients: int, identifier: str = "") -> None:
        if num_clients < 1:
            raise ValueError(f"num_clients must be at least 1, not {num_clients}")
        self._client = client
        self._path = path
        self._num_clients = num_clients
        self._identifier = identifier
        self._held: Held | None = None
        self._round = Round(Zxid(0), ())
        self._busy = False

    async def enter(self, *, timeout: float | None = None) -> Held:
        """Wait until enough have entered; without `timeout` (seconds) for as long as it takes.

        Raises OperationTimeoutError, and LockLost or SessionExpiredError if the session ends meanwhile. Who does not
        get in leaves nothing behind.
        """
        if self._held is not None or self._busy:
            raise RuntimeError(f"{self._path} was entered already: make one object per member")
        deadline = anyio.current_time() + (inf if timeout is None else timeout)
        self._busy = True
        try:
            place = join(self._path, PREFIX)
            held = await take_place(self._client, place, self._identifier.encode(), deadline)
            try:
                self._round = await self._meet(held, deadline)
            except BaseException:
                await leave_place(self._client.driver, held)
                raise
            self._held = held
        finally:
            self._busy = False
        return held

    async def leave(self, *, timeout: float | None = None) -> None:
        """Leave, and wait until all others of this round have left; without `timeout` (seconds) for as long as it
        takes. Raises OperationTimeoutError; LockLost at once if the others may have gone on without this member."""
        held, self._held = self._held, None
        if held is None:
            raise RuntimeError(f"{self._path} was not entered")
        deadline = anyio.current_time() + (inf if timeout is None else timeout)
        try:
            held.check()
        finally:
            await leave_place(self._client.driver, held)
        own = self._round.names.index(basename(held.path))
        others = self._round.names[own + 1 :] + self._round.names[:own]
        with Alarm(self._client) as alarm:
            await self._see_off(others, alarm, deadline)
        ready = self._client.absolute(join(self._path, READY))
        self._client.driver.post(removal(ready, self._round.token))  # whoever comes first

    async def _meet(self, held: Held, deadline: float) -> Round:
        """Wait for a round in which `held` takes part."""
        own = basename(held.path)
        with Alarm(self._client) as alarm:
            held.on_lost(alarm.ring)
            alarm.watch(join(self._path, READY), EventType.CREATED, EventType.DELETED)
            while True:
                held.check()
                members, last = await self._look(deadline)
                if own in last.names:
                    held.off_lost(alarm.ring)
                    return last
                if any(name in members for name in last.names):
                    await self._see_off(last.names, alarm, deadline, held)
                elif own in members and len(members) >= self._num_clients:
                    await self._begin(members[: self._num_clients], last, deadline)
                else:
                    await alarm.wait(deadline, f"{self._path}: not enough have entered in time")

    async def _look(self, deadline: float) -> tuple[list[str], Round]:
        """Who is there, in the order of coming, and the last round; at one instant."""
        reads = (GetChildren(self._path), GetData(join(self._path, READY)))
        names, ready = await self._client.multi_read(reads, timeout=deadline - anyio.current_time())
        if isinstance(names, APIError | NodeData):
            return [], Round(Zxid(0), ())
        members = sorted((name for name in names if name.startswith(PREFIX)), key=sequence)
        if not isinstance(ready, NodeData):
            return members, Round(Zxid(0), ())
        return members, Round(ready.stat.czxid, tuple(str(ready).split("\n")))

    async def _begin(self, members: list[str], last: Round, deadline: float) -> None:
        """Begin a round, if all of them are there yet, and nobody else began one."""
        ready = self._client.absolute(join(self._path, READY))
        present = tuple(Check(self._client.absolute(join(self._path, name))) for name in members)
        cleared = removal(ready, last.token).operations if last.token else ()
        request = Multi((*present, *cleared, Create(ready, "\n".join(members).encode())))
        with suppress(NoNodeError, NodeExistsError, BadVersionError):
            await write(self._client, request, deadline)

    async def _see_off(self, names: tuple[str, ...], alarm: Alarm, deadline: float, held: Held | None = None) -> None:
        """Wait until all of them have gone; watches one at a time, the first that is there. Raises LockLost as soon as
        `held` is lost."""
        watched = ""
        while True:
            if held is not None:
                held.check()
            members, _ = await self._look(deadline)
            present = [name for name in names if name in members]
            if not present:
                return
            if watched not in present:
                watched = present[0]
                alarm.watch(join(self._path, watched), EventType.DELETED)  # and look again: it may have gone just now
            else:
                await alarm.wait(deadline, f"{self._path}: {len(present)} have not left in time")
