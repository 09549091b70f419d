"""A history: what clients asked of the service, when, and what they were told. Values only.

It says nothing about servers, so it can come from anywhere: real clients of real processes (`recorder`), or simulated
ones. What must hold for it is checked by `linearizability`, `replay` and `session_order`. Read `model` next.
"""

from typing import assert_never

from zk.model.errors import APIError
from zk.model.events import WatchEvent
from zk.model.record import Zxid, record
from zk.model.replies import Body, Created, DataReply, MultiReply, StatReply
from zk.model.requests import ANY_VERSION, Check, Create, Delete, Exists, GetData, Multi, SetAcl, SetData
from zk.model.requests import Operation as Part
from zk.model.stat import Stat
from zk.model.znode import Znode
from zk.model.zxids import counter_of, epoch_of

Write = Create | Delete | SetData | Check | Multi
Read = GetData | Exists
Request = Write | Read

FOR_EVER_US = 1 << 62


@record
class Answer:
    """What was told: the result or the refusal, and the zxid that came with it (of a write: its own)."""

    zxid: Zxid
    body: Body | APIError


@record
class Operation:
    """One call of one client. Times are of one monotonic clock for the whole history.

    `client` names who asked: someone whose calls are carried out in the order in which they are made, and who is never
    shown less than before. Its calls may overlap.

    `answer` None: the outcome is unknown. It may have been carried out, once, at any time between `called_us` and
    `returned_us`, or never. Calls that certainly had no effect and no answer are no part of a history.

    `resent`: the connection broke meanwhile, and the call was made again on another one. A write may have been done
    before that all the same, with the first one's answer.
    """

    client: str
    request: Request
    called_us: int
    returned_us: int = FOR_EVER_US
    answer: Answer | None = None
    linearizable: bool = False
    at_least: Zxid = Zxid(0)
    resent: bool = False

    @property
    def is_write(self) -> bool:
        return not isinstance(self.request, GetData | Exists)

    @property
    def paths(self) -> tuple[str, ...]:
        """What it is about."""
        if isinstance(self.request, Multi):
            return tuple(dict.fromkeys(operation.path for operation in self.request.operations))
        return (self.request.path,)

    def __str__(self) -> str:
        end = "…" if self.returned_us == FOR_EVER_US else f"{self.returned_us / 1000:.3f}"
        how = "linearizable " if self.linearizable and not self.is_write else ""
        outcome = "unknown outcome" if self.answer is None else _answer_text(self.answer)
        return f"[{self.called_us / 1000:.3f}, {end}] {self.client}: {how}{_request_text(self.request)} -> {outcome}"


@record
class Told:
    """A one-shot watch of `client`, set by its last read of that path with `watch`, was told of a change."""

    client: str
    event: WatchEvent

    def __str__(self) -> str:
        return f"{self.client} is told {self.event.type.name} {self.event.path} at {zxid_text(self.event.zxid)}"


@record
class History:
    """Everything that happened to some paths, none of which existed before. Nobody else wrote to them.

    `happenings` are in the order in which each client learned them; an operation of unknown outcome stands where it
    was given up.
    """

    happenings: tuple[Operation | Told, ...]

    @property
    def operations(self) -> tuple[Operation, ...]:
        return tuple(happening for happening in self.happenings if isinstance(happening, Operation))


class HistoryError(AssertionError):
    """A history that the service must not produce; says why, in terms of what clients asked and were told."""


def is_refusal(body: Body | APIError) -> bool:
    """Whether a request that was answered so had no effect."""
    return isinstance(body, APIError) or (isinstance(body, MultiReply) and body.failed)


def zxid_text(zxid: int) -> str:
    """epoch.counter"""
    return f"{epoch_of(zxid)}.{counter_of(zxid)}"


def _request_text(request: Request | Part) -> str:
    match request:
        case Multi():
            return f"multi({', '.join(_request_text(part) for part in request.operations)})"
        case Create():
            return f"create {request.path} {request.data!r}"
        case SetData():
            return f"set {request.path} {request.data!r}{_if_version(request.version)}"
        case Delete():
            return f"delete {request.path}{_if_version(request.version)}"
        case Check():
            return f"check {request.path}{_if_version(request.version)}"
        case SetAcl():
            return f"set the ACL of {request.path}"
        case GetData():
            return f"get {request.path}"
        case Exists():
            return f"exists {request.path}"
        case _:
            assert_never(request)


def _if_version(version: int) -> str:
    return "" if version == ANY_VERSION else f" if version {version}"


def _answer_text(answer: Answer) -> str:
    return f"{_body_text(answer.body)} at {zxid_text(answer.zxid)}"


def _body_text(body: Body | APIError) -> str:
    match body:
        case APIError():
            return type(body).__name__
        case Created():
            return f"created ({_stat_text(body.stat)})"
        case StatReply():
            return f"({_stat_text(body.stat)})"
        case DataReply() | Znode():
            return f"{body.data!r} ({_stat_text(body.stat)})"
        case MultiReply():
            return f"[{', '.join(_body_text(result) for result in body.results)}]"
        case _:
            return type(body).__name__


def _stat_text(stat: Stat) -> str:
    return f"version {stat.version}, czxid {zxid_text(stat.czxid)}, mzxid {zxid_text(stat.mzxid)}"
