"""Lease: a thing held for a time, whatever becomes of the session, or of the process."""

import json
from typing import TYPE_CHECKING

import anyio

from zk.model.paths import parent
from zk.model.record import SessionId, Zxid
from zk.model.replies import Created, MultiReply, Reply
from zk.model.requests import Check, Create, CreateMode, Delete, Multi, SetData
from zkclient.driver import Driver
from zkclient.errors import BadArgumentsError, BadVersionError, LockLost, NodeExistsError, NoNodeError
from zkclient.recipes.held import Held, removal
from zkclient.recipes.places import write
from zkclient.results import NodeData

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

MS = 1_000
GRACE_MS = 1_000
"""How much later than the holder the service takes a lease for over: the leader marks nodes by a time that it looks at
now and then, and another leader's clock differs a little."""
GONE = (NoNodeError, BadVersionError)  # how the service says that the node is not the one that it was


class LeaseHeld(Held):
    """A lease that was taken, until its time is over."""

    def __init__(self, driver: Driver, path: str, absolute_path: str, token: Zxid) -> None:
        super().__init__(driver, path, absolute_path, token, SessionId(0))  # its node is no session's
        self._until = 0.0
        self._timer = anyio.CancelScope()

    def lost_by_now(self) -> bool:
        if anyio.current_time() >= self._until:
            self._lose("its time is over")
        return self.lost.is_set()

    def extend(self, until: float) -> None:
        """It is held until then, by the clock of the event loop."""
        self._until = until

    async def keep_time(self) -> None:
        """Notice when the time is over, or the node goes before."""
        self.ask()
        with self._timer:
            while not self.lost_by_now():
                with anyio.move_on_at(self._until):
                    await self.lost.wait()

    def leave(self) -> Multi:
        self._timer.cancel()
        return super().leave()


class Lease:
    """Held for `duration` seconds by one at a time, and by nobody longer without `renew`. Nobody waits for it.

        if await zk.Lease("/leases/cleanup", duration=3600, identifier="host-1").acquire():
            ...                                        # once an hour, by whoever comes first

    What lives as long as its session is an ephemeral node, a `Lock` or an `Election`: take those where the work should
    pass to another soon after its process has died. A lease is for what should happen once in a while, like the jobs of
    cron on many hosts: it outlives the session and the process, and nobody else has it before its time is over. (It is
    kazoo's NonBlockingLease; but time is told by the service alone, not by the hosts' clocks.)

    The holder's own clock starts when it asks, and nobody else gets the lease until a second after its time is over: so
    the holder takes it for lost before. That rests on clocks, as any lease does (the servers' should agree to less than
    a second); what must not go wrong checks `held.token`, or is a write of `zk.transaction(guard=held)`.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, *, duration: float, identifier: str = "") -> None:
        if duration <= 0:
            raise BadArgumentsError(path, f"a duration is more than 0 s, not {duration:g}")
        self._client = client
        self._driver = client.driver
        self._path = path
        self._full_path = client.absolute(path)
        self._duration_ms = max(1, round(duration * MS))
        self._data = json.dumps({"holder": identifier, "duration_ms": self._duration_ms}).encode()
        self._held: LeaseHeld | None = None

    async def acquire(self, *, timeout: float | None = None) -> Held | None:
        """Take the lease if nobody has it; None if somebody has, be it by this object.

        What it gives has the fencing `token`, is `lost` when the time is over, and guards transactions. After an error
        with `maybe_applied` the lease may be nobody's until its time is over.
        """
        deadline = self._client.deadline(timeout)
        while True:
            try:
                return await self._take(deadline, self._creation())
            except NoNodeError:
                await self._client.ensure_path(parent(self._path), container=True, timeout=self._left(deadline))
            except NodeExistsError:
                try:
                    return await self._take_over(deadline)
                except NoNodeError:
                    continue  # it has just been given up

    async def renew(self, *, timeout: float | None = None) -> None:
        """Let the time begin anew. Raises LockLost if the lease is not held any more."""
        held, asked_at = self._mine(), anyio.current_time()
        held.check()
        request = Multi((held.proof(), SetData(self._full_path, self._data)))
        try:
            await write(self._client, request, self._client.deadline(timeout))
        except GONE:
            raise LockLost(self._path, "it was taken, or its node deleted") from None
        held.check()
        held.extend(asked_at + self._duration_ms / MS)

    async def release(self, *, timeout: float | None = None) -> None:
        """Give the lease up before its time. Raises LockLost if it was lost before."""
        held = self._mine()
        held.check()
        self._held = None
        try:
            await write(self._client, held.leave(), self._client.deadline(timeout))
        except GONE:
            raise LockLost(self._path, "it was taken, or its node deleted") from None

    async def holder(self) -> str | None:
        """The identifier of the one that has the lease; None if nobody has. (Of one whose time is over, too, until the
        lease is taken again or the service removes its node.)"""
        try:
            return _terms(await self._client.get(self._path), self._path)[0]
        except NoNodeError:
            return None

    # ---- taking it

    def _creation(self) -> Create:
        return Create(
            self._full_path, self._data, mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=self._duration_ms + GRACE_MS
        )

    async def _take(self, deadline: float, request: Create | Multi) -> Held:
        """Make the write that creates the node."""
        asked_at = anyio.current_time()
        body = await write(self._client, request, deadline, _undo)
        [created] = _created(body)
        held = LeaseHeld(self._driver, self._path, self._full_path, created.stat.czxid)
        held.extend(asked_at + self._duration_ms / MS)
        self._driver.start_task(held.keep_time)
        self._held = held
        return held

    async def _take_over(self, deadline: float) -> Held | None:
        """Take the lease from a holder whose time is over, if the service has not come to removing its node."""
        node = await self._client.get(self._path, timeout=self._left(deadline))
        over_ms = node.stat.mtime + _terms(node, self._path)[1] + GRACE_MS
        if await self._service_ms(deadline) < over_ms:
            return None
        as_it_was = Check(self._full_path, node.stat.version, node.stat.czxid)
        try:
            return await self._take(deadline, Multi((as_it_was, Delete(self._full_path), self._creation())))
        except BadVersionError:
            return None  # renewed, or taken by somebody else

    async def _service_ms(self, deadline: float) -> int:
        """The time by which the service marks nodes: that of one which nobody sees."""
        path = f"{self._full_path}-now"
        [created] = _created(await write(self._client, Multi((Create(path, b""), Delete(path))), deadline))
        return created.stat.ctime

    @staticmethod
    def _left(deadline: float) -> float:
        return deadline - anyio.current_time()

    def _mine(self) -> LeaseHeld:
        if self._held is None:
            raise RuntimeError(f"the lease {self._path} was not taken by this object")
        return self._held


def _created(body: object) -> list[Created]:
    results = body.results if isinstance(body, MultiReply) else (body,)
    return [result for result in results if isinstance(result, Created)]


def _undo(reply: Reply) -> Multi | None:
    """Remove what was created for somebody who does not wait for it any more."""
    return next((removal(created.path, created.stat.czxid) for created in _created(reply.body)), None)


def _terms(node: NodeData, path: str) -> tuple[str, int]:
    """Who has the lease, and for how many milliseconds."""
    try:
        terms = json.loads(node.data)
        return str(terms["holder"]), int(terms["duration_ms"])
    except (ValueError, KeyError, TypeError):
        raise BadArgumentsError(path, "there is a node that is no lease") from None
