"""How recipes make their nodes, below containers that may vanish whenever they are empty, and how they give them up."""

from math import inf
from typing import TYPE_CHECKING

import anyio

from zk.model.paths import parent
from zk.model.replies import Body, Created, MultiReply
from zk.model.requests import Create, CreateMode, Multi
from zkclient.calls import Orphaned, Outcome
from zkclient.driver import Driver
from zkclient.errors import APIError, LockLost, NoNodeError, RuntimeInconsistencyError, at_path
from zkclient.recipes.held import LEAVE_SECONDS_MAX, Held, undo

if TYPE_CHECKING:
    from zkclient.client import AsyncZooKeeper


async def write(
    client: "AsyncZooKeeper", request: Create | Multi, deadline: float, orphaned: Orphaned | None = None
) -> Body:
    """Make one write. Raises its refusal (of a Multi: that of the operation to blame), with the path as the user knows
    it. `orphaned` may undo the write if its answer comes when the caller has gone."""
    try:
        body = (await client.driver.finish_call(client.driver.start_call(request, deadline, orphaned=orphaned))).body
        if isinstance(body, MultiReply):
            for result in body.results:
                if isinstance(result, APIError) and not isinstance(result, RuntimeInconsistencyError):
                    raise result
    except APIError as error:
        raise at_path(error, client.local(error.path))  # noqa: B904 - it is the same error
    assert not isinstance(body, APIError)
    return body


async def create_below_containers(
    client: "AsyncZooKeeper",
    path: str,
    data: bytes,
    mode: CreateMode,
    deadline: float,
    orphaned: Orphaned | None = None,
) -> Created:
    """Create a node, and the containers above it as far as they are missing. `orphaned` as of `write`."""
    request = Create(client.absolute(path), data, mode=mode)
    while True:
        try:
            body = await write(client, request, deadline, orphaned)
        except NoNodeError:
            await client.ensure_path(parent(path), container=True, timeout=deadline - anyio.current_time())
        else:
            assert isinstance(body, Created)
            return body


async def take_place(client: "AsyncZooKeeper", path: str, data: bytes, deadline: float) -> Held:
    """An ephemeral sequential node of this session's, whose loss is noticed."""
    created = await create_below_containers(client, path, data, CreateMode.EPHEMERAL_SEQUENTIAL, deadline, undo)
    return await hold(client, created)


async def hold(client: "AsyncZooKeeper", created: Created) -> Held:
    """Watch over an ephemeral node that was just created; if it is lost already, see that it goes."""
    stat = created.stat
    held = Held(client.driver, client.local(created.path), created.path, stat.czxid, stat.ephemeral_owner)
    try:
        held.watch_over()
        held.check()
    except LockLost:
        await leave_place(client.driver, held)
        raise
    return held


async def leave_place(driver: Driver, held: Held) -> None:
    """Remove the node, whatever happens: what is posted is sent for as long as the session lives. If it turns out that
    it was not there any more, the place had been lost."""
    request = held.leave()
    if held.session_over:
        return
    gone = driver.new_waiter()

    def left(outcome: Outcome) -> None:
        held.left(outcome)
        gone.settle(outcome)

    driver.post(request, left)
    if driver.machine.attached:
        with anyio.move_on_after(LEAVE_SECONDS_MAX, shield=True):
            await gone.wait()


def sequence(name: str) -> float:
    """The number at the end of a sequential node's name, to sort by: as text, names sort wrongly beyond ten digits."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else inf
