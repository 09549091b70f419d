"""A walk through the children of a node, page by page, while they come and go."""

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from zk.model.errors import APIError
from zk.model.record import Zxid
from zk.model.replies import Body, ChildrenPageReply
from zk.model.requests import GetChildrenPage
from zk.sim.ledger import Ledger
from zk.sim.trace import zxid_text


class Walk:
    """One walk. `request` asks for its next page; None: it is over. A page that was not answered is asked for again,
    perhaps of another server."""

    def __init__(self, ledger: Ledger, first: GetChildrenPage, fail: Callable[[str], NoReturn]) -> None:
        self.request: GetChildrenPage | None = first
        self.pages = 0
        self._ledger = ledger
        self._fail = fail
        self._begun: Zxid | None = None
        self._shown: list[str] = []

    def answered(self, zxid: Zxid, body: Body | APIError) -> None:
        """Its page has come, with the state of `zxid`."""
        assert self.request is not None
        if not isinstance(body, ChildrenPageReply):
            self.request = None
            return
        if self._begun is None:
            self._begun = zxid
        self.pages += 1
        self._shown += [entry.name for entry in body.entries]
        if body.more:
            self.request = replace(self.request, start_after=self._shown[-1])
        else:
            self._nothing_lost_or_shown_twice(self.request, self._begun, zxid)
            self.request = None

    def _nothing_lost_or_shown_twice(self, request: GetChildrenPage, begun: Zxid, ended: Zxid) -> None:
        """(15) Who was there from the first page to the last is shown once, in order, whoever else comes and goes.
        Source: semantics of pages."""
        there = self._ledger.children(request.path).throughout(begun, ended)
        lost = {name for name in there if name.startswith(request.prefix)} - set(self._shown)
        if lost or self._shown != sorted(set(self._shown)):
            self._fail(
                f"walked {request.path} from {zxid_text(begun)} to {zxid_text(ended)}, was not shown {sorted(lost)}, "
                f"but {self._shown}"
            )
