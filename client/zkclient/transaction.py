"""Transactions: several writes as one."""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from zk.model.acl import OPEN_ACL, Acl
from zk.model.requests import ANY_VERSION
from zk.model.stat import Stat

OperationResult = str | Stat | None


class Transaction:
    """Collects operations; `commit`, or leaving the `async with` block without an error, does them all or none."""

    results: tuple[OperationResult, ...]
    """After the commit, per operation: the path of a create, the stat of a set or set_acls, None otherwise."""

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
        raise NotImplementedError

    def set(self, path: str, data: str | bytes, *, version: int = ANY_VERSION) -> Self:
        raise NotImplementedError

    def delete(self, path: str, *, version: int = ANY_VERSION) -> Self:
        raise NotImplementedError

    def set_acls(self, path: str, acl: Sequence[Acl], *, version: int = ANY_VERSION) -> Self:
        raise NotImplementedError

    def check(self, path: str, *, version: int = ANY_VERSION) -> Self:
        """Refuse the whole transaction unless the node exists, with this version."""
        raise NotImplementedError

    async def commit(self) -> tuple[OperationResult, ...]:
        """Do it. Raises TransactionFailed(index, op, cause), or LockLost if its guard is gone."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        raise NotImplementedError
