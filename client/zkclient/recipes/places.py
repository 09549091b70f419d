"""How recipes make their nodes, below containers that may vanish whenever they are empty, and how they give them up."""

from math import inf
from typing import TYPE_CHECKING

import anyio

from zk.model.errors import NoNodeError
from zk.model.paths import parent
from zk.model.replies import Created, Reply
from zk.model.requests import Create, CreateMode, Multi
from zkclient.calls import Orphaned
from zkclient.driver import Driver
from zkclient.recipes.contenders import LEAVE_SECONDS_MAX, Held, removal

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


async def create_below_containers(
    client: "AsyncZooKeeper",
    path: str,
    data: bytes,
    mode: CreateMode,
    deadline: float,
    orphaned: Orphaned | None = None,
) -> Created:
    """Create a node, and the containers above it as far as they are missing. `orphaned`, such as `undo`, is for the
    answer that comes when the caller has gone."""
    request = Create(client.absolute(path), data, mode=mode)
    while True:
        try:
            waiter = client.driver.start_call(request, deadline, orphaned=orphaned)
            body = (await client.driver.finish_call(waiter)).body
        except NoNodeError:
            await client.ensure_path(parent(path), container=True, timeout=deadline - anyio.current_time())
        else:
            assert isinstance(body, Created)
            return body


async def take_place(client: "AsyncZooKeeper", path: str, data: bytes, deadline: float) -> Held:
    """An ephemeral sequential node of this session's, whose loss is noticed."""
    created = await create_below_containers(client, path, data, CreateMode.EPHEMERAL_SEQUENTIAL, deadline, undo)
    held = Held(
        client.driver, client.local(created.path), created.path, created.stat.czxid, created.stat.ephemeral_owner
    )
    try:
        await held.confirm(deadline)
    except BaseException:
        await leave_place(client.driver, held)
        raise
    return held


async def leave_place(driver: Driver, held: Held) -> None:
    """Remove the node, whatever happens: what is posted is sent for as long as the session lives."""
    request = held.leave()
    if held.session_over:
        return
    gone = anyio.Event()
    driver.post(request, lambda _: gone.set())
    if driver.machine.attached:
        with anyio.move_on_after(LEAVE_SECONDS_MAX, shield=True):
            await gone.wait()


def undo(reply: Reply) -> Multi | None:
    """Remove the node again that was created."""
    body = reply.body
    return removal(body.path, body.stat.czxid) if isinstance(body, Created) else None


def sequence(name: str) -> float:
    """The number at the end of a sequential node's name, to sort by: as text, names sort wrongly beyond ten digits."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else inf
