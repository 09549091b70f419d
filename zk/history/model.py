"""What a single request means: the smallest model of a few znodes that can tell right answers from wrong ones.

It is written from the documented semantics and shares nothing with the tree that the servers run, so that the two can
disagree. It knows nodes without children, and of a stat what tells one write from another. A state is never changed:
`after` gives the next one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from zk.history.history import Answer, Operation, is_refusal, zxid_text
from zk.model.errors import APIError, BadVersionError, NodeExistsError, NoNodeError, RuntimeInconsistencyError
from zk.model.record import Zxid
from zk.model.replies import Body, Created, DataReply, Done, MultiReply, StatReply
from zk.model.requests import ANY_VERSION, Check, Create, Delete, Exists, GetData, Multi, SetData
from zk.model.requests import Operation as Part
from zk.model.stat import Stat
from zk.model.znode import Znode

UNSEEN = Zxid(0)
"""The zxid of a write that nobody was told of yet: the first answer that shows it tells."""


class Node(NamedTuple):
    """A znode, as far as it matters here. A missing one is None."""

    data: bytes
    version: int
    czxid: Zxid
    mzxid: Zxid


Nodes = Mapping[str, Node | None]


class Wrong(Exception):  # noqa: N818 - a verdict
    """This answer can't come from this state; says why."""


def after(nodes: Nodes, operation: Operation) -> dict[str, Node | None]:
    """The nodes that `operation` touches, as it leaves them, if they were `nodes` and it was carried out just then.

    Raises Wrong if it would not have been answered as it was; one of unknown outcome, if it would have been refused.
    """
    request, answer = operation.request, operation.answer
    zxid = UNSEEN if answer is None else answer.zxid
    if isinstance(request, GetData | Exists):
        assert answer is not None, "a read without an answer is no part of a history"
        return {request.path: _read(nodes[request.path], request, answer.body)}
    parts = request.operations if isinstance(request, Multi) else (request,)
    left = {part.path: nodes[part.path] for part in parts}
    bodies: tuple[Body | APIError, ...] = ()
    if answer is not None:
        bodies = answer.body.results if isinstance(answer.body, MultiReply) else (answer.body,)
    for index, part in enumerate(parts):
        told = bodies[index] if index < len(bodies) else None
        result = _write(left[part.path], part, zxid, told)
        if isinstance(result, type):
            _refused(answer, index, result)
            return {path: nodes[path] for path in left}
        left[part.path] = result
        if answer is not None and not is_refusal(answer.body):
            assert told is not None
            left[part.path] = _told(result, part, told)
    if answer is not None and is_refusal(answer.body):
        raise Wrong("it would not be refused")
    return left


def _write(node: Node | None, part: Part, zxid: Zxid, told: Body | APIError | None) -> Node | type[APIError] | None:
    """What one write makes of `node`, or how it is refused; `told` is what was said of it, for what only that can tell.
    Source: semantics, order of checks."""
    if isinstance(part, Create):
        return NodeExistsError if node is not None else Node(part.data, 0, zxid, zxid)
    if node is None:
        return NoNodeError
    assert isinstance(part, Delete | SetData | Check), "ACLs are no part of a history"
    if part.version not in (ANY_VERSION, node.version):
        return BadVersionError
    if isinstance(part, Delete):
        return None
    if isinstance(part, Check):
        unseen = part.czxid and node.czxid == UNSEEN
        another = isinstance(told, BadVersionError) if unseen else part.czxid not in (0, node.czxid)
        return BadVersionError if another else node
    return Node(part.data, node.version + 1, node.czxid, zxid)


def _refused(answer: Answer | None, index: int, error: type[APIError]) -> None:
    """The write is refused, by its part `index`: is that what was told?"""
    if answer is None:
        raise Wrong(f"it would be refused: {error.__name__}")
    expected: tuple[type[Body | APIError], ...] = (error,)
    told: tuple[Body | APIError, ...] = (answer.body,)
    if isinstance(answer.body, MultiReply):
        told = answer.body.results
        expected = (*(Done,) * index, error, *(RuntimeInconsistencyError,) * (len(told) - index - 1))
    if tuple(map(type, told)) != expected:
        raise Wrong(f"it would be refused: {error.__name__}")


def _told(node: Node | None, part: Part, body: Body | APIError) -> Node | None:
    """The write left `node` behind: does the answer say so?"""
    if isinstance(body, Created if isinstance(part, Create) else StatReply) and node is not None:
        return _seen(node, body.stat)
    if not isinstance(body, Done) or not isinstance(part, Delete | Check):
        raise Wrong(f"{type(body).__name__} is no answer to a {type(part).__name__}")
    return node


def _read(node: Node | None, request: GetData | Exists, body: Body | APIError) -> Node | None:
    """What is known of `node` once a read has shown it so."""
    if isinstance(body, NoNodeError):
        if node is not None:
            raise Wrong("the node would be there")
        return None
    if not isinstance(body, DataReply | Znode if isinstance(request, GetData) else StatReply):
        raise Wrong(f"{type(body).__name__} is no answer to a {type(request).__name__}")
    if node is None:
        raise Wrong("the node would be missing")
    if not isinstance(body, StatReply) and body.data != node.data:
        raise Wrong(f"it would show {node.data!r}")
    return _seen(node, body.stat)


def _seen(node: Node, stat: Stat) -> Node:
    if stat.version != node.version:
        raise Wrong(f"the version would be {node.version}")
    if node.czxid not in (UNSEEN, stat.czxid) or node.mzxid not in (UNSEEN, stat.mzxid):
        raise Wrong(f"it would be the node created at {zxid_text(node.czxid)} and written at {zxid_text(node.mzxid)}")
    return Node(node.data, node.version, stat.czxid, stat.mzxid)
