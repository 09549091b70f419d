"""Reading a subtree through a client, and creating one: nodes as any client may have them, with figures of their own.

Neither is done at one instant: who needs a state that there was reads when nobody writes.
"""

from collections.abc import AsyncIterator, Callable, Sequence

from zkclient import AsyncZooKeeper

from zk.importing.lines import Line, LineError
from zk.model.errors import APIError, NodeExistsError, NoNodeError
from zk.model.paths import RESERVED, join
from zk.model.replies import NodeReply
from zk.model.requests import ClientRequest, Create, CreateMode, Exists, GetNode, SetAcl, SetData

CALLS_AT_ONCE = 200
CALLS_TIMEOUT_S = 60.0
CONFIG = "/zookeeper/config"  # is about the ensemble, and of no use elsewhere


async def nodes_below(zk: AsyncZooKeeper, top: str) -> AsyncIterator[tuple[str, NodeReply]]:
    """The node `top` and all below it, parents first; what is deleted meanwhile may be missing. NoNodeError,
    NoAuthError."""
    waiting = [top]
    while waiting:
        paths, waiting = waiting[:CALLS_AT_ONCE], waiting[CALLS_AT_ONCE:]
        children: list[str] = []
        requests = [GetNode(zk.absolute(path)) for path in paths]
        for path, outcome in zip(paths, await zk.caller.call_all(requests, zk.deadline(CALLS_TIMEOUT_S)), strict=True):
            if isinstance(outcome, NoNodeError) and path != top:
                continue
            if isinstance(outcome, APIError):
                raise outcome
            assert isinstance(outcome.body, NodeReply)
            yield path, outcome.body
            if outcome.body.stat.num_children:
                children += [join(path, name) for name in await _names(zk, path)]
        waiting = [path for path in children if path != CONFIG] + waiting


async def _names(zk: AsyncZooKeeper, path: str) -> list[str]:
    try:
        return [entry.name async for page in zk.pages(path) for entry in page]
    except NoNodeError:
        return []


async def create_all(
    zk: AsyncZooKeeper, lines: Sequence[Line], *, overwrite: bool, progress: Callable[[int], object]
) -> int:
    """Create what the lines say, but for ephemerals; how many nodes that were. What is there already is an error
    (LineError) before anything is done, unless it is to be overwritten. Later errors leave what was created before.
    """
    wanted = [line for line in lines if line.mode is not CreateMode.EPHEMERAL and line.path != CONFIG]
    there = await _existing(zk, wanted)
    taken = [line for line in wanted if line.path in there and line.path not in RESERVED]
    if taken and not overwrite:
        line = taken[0]
        error = NodeExistsError(line.path, "the node is there already: --overwrite replaces its data and its ACL")
        raise LineError(line.number, f"{error}; nothing was imported", error)
    todo = [
        (line, request)
        for line in wanted
        for request in _requests(zk.absolute(line.path), line, line.path in there, overwrite)
    ]
    for begin in range(0, len(todo), CALLS_AT_ONCE):
        batch = todo[begin : begin + CALLS_AT_ONCE]
        requests = [request for _, request in batch]
        outcomes = await zk.caller.call_all(requests, zk.deadline(CALLS_TIMEOUT_S))
        for (line, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, APIError):
                raise LineError(line.number, f"{outcome}; what could be created stays", outcome)
        progress(len({line.path for line, _ in batch}))
    return len(wanted)


def _requests(path: str, line: Line, there: bool, overwrite: bool) -> tuple[ClientRequest, ...]:
    if not there:
        return (Create(path, line.data, line.acl, line.mode, line.ttl_ms),)
    if not overwrite:
        return ()  # a node that every tree has
    return SetData(path, line.data), SetAcl(path, line.acl)


async def _existing(zk: AsyncZooKeeper, lines: Sequence[Line]) -> frozenset[str]:
    found: set[str] = set()
    for begin in range(0, len(lines), CALLS_AT_ONCE):
        batch = lines[begin : begin + CALLS_AT_ONCE]
        requests = [Exists(zk.absolute(line.path)) for line in batch]
        outcomes = await zk.caller.call_all(requests, zk.deadline(CALLS_TIMEOUT_S))
        for line, outcome in zip(batch, outcomes, strict=True):
            if not isinstance(outcome, APIError):
                found.add(line.path)
            elif not isinstance(outcome, NoNodeError):
                raise LineError(line.number, str(outcome), outcome)
    return frozenset(found)
