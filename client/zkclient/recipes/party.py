"""Party: who takes part."""

from contextlib import suppress
from typing import TYPE_CHECKING

from zk.model.paths import join
from zkclient.errors import NoNodeError
from zkclient.recipes.held import Held
from zkclient.recipes.places import leave_place, sequence, take_place

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper

PREFIX = "member-"


class Party:
    """The members of a group, by their identifiers. Whoever loses the session, or ends, is out of it.

        party = zk.Party("/workers", "host-1")
        membership = await party.join()
        print(await party.members())

    A member is an ephemeral node. After the session was lost (`membership.lost` is set) the member is out until it
    joins again.
    """

    def __init__(self, client: "AsyncZooKeeper", path: str, identifier: str = "") -> None:
        self._client = client
        self._path = path
        self._identifier = identifier
        self._held: Held | None = None
        self._joining = False

    async def join(self, *, timeout: float | None = None) -> Held:
        """Be a member, unless this object is one already. `token` of the answer grows with every member that joins."""
        held = self._held
        if held is not None and not held.lost_by_now():
            return held
        if self._joining:
            raise RuntimeError(f"this member of {self._path} joins already: make one object per member")
        self._joining = True
        if held is not None:
            self._client.driver.post(held.leave())  # the session may live yet, although it was given up for lost
        try:
            place, deadline = join(self._path, PREFIX), self._client.deadline(timeout)
            self._held = await take_place(self._client, place, self._identifier.encode(), deadline)
        finally:
            self._joining = False
        return self._held

    async def leave(self) -> bool:
        """Be no member any more. False if this object was none, or its membership had been lost."""
        held, self._held = self._held, None
        if held is None:
            return False
        held.lost_by_now()
        await leave_place(self._client.driver, held)
        return not held.lost.is_set()

    async def members(self, *, timeout: float | None = None) -> tuple[str, ...]:
        """Who takes part now: the identifiers, in the order of joining."""
        found: dict[str, bytes | None] = {}
        with suppress(NoNodeError):
            async for page in self._client.pages(self._path, prefix=PREFIX, with_data=True, timeout=timeout):
                found |= {entry.name: entry.data for entry in page}
        members = [found[name] for name in sorted(found, key=sequence)]
        return tuple(data.decode("utf-8", "replace") for data in members if data is not None)
