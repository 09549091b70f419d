"""Transactions: several writes as one. And what create's arguments mean, in a transaction and outside."""

from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Self

from zk.model.acl import OPEN_ACL, Acl
from zk.model.errors import BadArgumentsError
from zk.model.record import Zxid
from zk.model.replies import Body, Created, MultiReply, StatReply
from zk.model.requests import ANY_VERSION, Check, Create, CreateMode, Delete, Multi, Operation, SetAcl, SetData
from zk.model.stat import Stat
from zkclient.errors import APIError, LockLost, RuntimeInconsistencyError, TransactionFailed, at_path
from zkclient.recipes.held import Held

OperationResult = str | Stat | None


def create_request(
    path: str,
    data: str | bytes,
    acl: Sequence[Acl],
    flags: int,
    *,
    ephemeral: bool,
    sequence: bool,
    container: bool,
    ttl_ms: int,
) -> Create:
    """The request for a node of the kind that all these say together. Raises BadArgumentsError if there is none."""
    mode = flags | (CreateMode.EPHEMERAL if ephemeral else 0) | (CreateMode.PERSISTENT_SEQUENTIAL if sequence else 0)
    if container:
        mode |= CreateMode.CONTAINER
    if ttl_ms and mode in (CreateMode.PERSISTENT, CreateMode.PERSISTENT_SEQUENTIAL):
        mode = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL if mode else CreateMode.PERSISTENT_WITH_TTL
    allowed = mode in _KINDS and (mode in (5, 6)) == (ttl_ms > 0) and not (container and mode != CreateMode.CONTAINER)
    if not allowed:
        raise BadArgumentsError(
            path,
            "there is no such kind of node: ephemeral and sequence go together; a container is neither; ttl_ms (> 0) "
            "goes with plain and sequential nodes",
        )
    return Create(path, to_bytes(data), _acl(acl), CreateMode(mode), ttl_ms)


_KINDS = frozenset(int(mode) for mode in CreateMode)


def _acl(acl: Sequence[Acl]) -> tuple[Acl, ...]:
    return OPEN_ACL if acl is OPEN_ACL else tuple(acl)


def to_bytes(data: str | bytes) -> bytes:
    """Text is stored as UTF-8. Raises BadArgumentsError where it is something else, or not to be encoded."""
    if isinstance(data, bytes):
        return data
    if not isinstance(data, str):
        raise BadArgumentsError(hint=f"data is bytes or text, not {type(data).__name__}")
    try:
        return data.encode()
    except UnicodeEncodeError as error:
        raise BadArgumentsError(hint=f"data is stored as UTF-8: {error}") from None


class Transaction:
    """Collects operations; `commit`, or leaving the `async with` block without an error, does them all or none."""

    results: tuple[OperationResult, ...]
    """After the commit, per operation: the path of a create, the stat of a set or set_acls, None otherwise."""

    def __init__(
        self,
        call: Callable[[Multi], Awaitable[MultiReply]],
        absolute: Callable[[str], str],
        local: Callable[[str], str],
        guard: Held | None,
    ) -> None:
        self._call = call
        self._absolute = absolute
        self._local = local
        self._guard = guard
        self._operations: list[Operation] = []
        self.results = ()

    def create(
        self,
        path: str,
        data: str | bytes = b"",
        *,
        acl: Sequence[Acl] = OPEN_ACL,
        flags: int = 0,
        ephemeral: bool = False,
        sequence: bool = False,
        container: bool = False,
        ttl_ms: int = 0,
    ) -> Self:
        return self._add(
            create_request(
                self._absolute(path),
                data,
                acl,
                flags,
                ephemeral=ephemeral,
                sequence=sequence,
                container=container,
                ttl_ms=ttl_ms,
            )
        )

    def set(self, path: str, data: str | bytes, *, version: int = ANY_VERSION) -> Self:
        return self._add(SetData(self._absolute(path), to_bytes(data), version))

    def delete(self, path: str, *, version: int = ANY_VERSION) -> Self:
        return self._add(Delete(self._absolute(path), version))

    def set_acls(self, path: str, acl: Sequence[Acl], *, version: int = ANY_VERSION) -> Self:
        return self._add(SetAcl(self._absolute(path), tuple(acl), version))

    def check(self, path: str, *, version: int = ANY_VERSION, czxid: Zxid | int = 0) -> Self:
        """Refuse the whole transaction unless the node exists, with this version and (if not 0) this czxid: versions
        begin anew with every node of the name."""
        return self._add(Check(self._absolute(path), version, Zxid(czxid)))

    async def commit(self) -> tuple[OperationResult, ...]:
        """Do it. Raises TransactionFailed(index, op, cause), or LockLost if its guard is gone."""
        guard: tuple[Operation, ...] = ()
        if self._guard is not None:
            self._guard.check()
            guard = (self._guard.proof(),)
        body = await self._call(Multi((*guard, *self._operations)))
        if body.failed:
            self._raise(body, len(guard))
        self.results = tuple(self._result(result) for result in body.results[len(guard) :])
        return self.results

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if exc_type is None:
            await self.commit()

    def _add(self, operation: Operation) -> Self:
        self._operations.append(operation)
        return self

    def _result(self, result: Body | APIError) -> OperationResult:
        if isinstance(result, Created):
            return self._local(result.path)
        return result.stat if isinstance(result, StatReply) else None

    def _raise(self, body: MultiReply, guards: int) -> None:
        for index, result in enumerate(body.results):
            if isinstance(result, APIError) and not isinstance(result, RuntimeInconsistencyError):
                if index < guards:
                    assert self._guard is not None
                    raise LockLost(self._guard.path, "the transaction was refused, for its guard is gone") from result
                cause = at_path(result, self._local(result.path))
                raise TransactionFailed(index - guards, self._operations[index - guards], cause) from cause
