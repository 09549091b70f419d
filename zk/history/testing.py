"""Histories for tests of the checkers: of an honest service, whose clients overlap, lose answers and read old states.

The service is the production tree, one operation at a time; what is made up is only when each was called and answered.
"""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from zk.history.history import FOR_EVER_US, Answer, History, Operation, Request
from zk.model.errors import APIError
from zk.model.record import Zxid
from zk.model.requests import ANY_VERSION, Check, Create, Delete, Exists, GetData, Multi, SetData
from zk.tree.testing import TreeDriver
from zk.tree.tree import Tree

SLOT_US = 1_000
"""One operation takes effect in each."""


class HonestService:
    """Histories of `clients` on `paths`. A call lasts for up to `spread` slots on either side of its effect, and every
    client has up to two under way. `lost`: the share of the writes whose outcome is never told."""

    def __init__(
        self, random: Random, clients: int = 5, paths: Sequence[str] = ("/a", "/b"), spread: int = 6, lost: float = 0.0
    ) -> None:
        self._random = random
        self._paths = tuple(paths)
        self._spread_us = spread * SLOT_US
        self._lost = lost
        self._leader = TreeDriver()
        self._callers = [self._leader.open(session_id=number) for number in range(1, clients + 1)]
        self._replica = Tree()  # some way behind
        self._replicated = 0
        self._values = 0
        self._called_us = [0] * clients
        self._returned_us = [(0, 0)] * clients  # of the last call, and of the one before
        self._seen = [Zxid(0)] * clients

    def history(self, slots: int) -> History:
        """What happens in so many slots; nothing happens in one in which all are busy."""
        happened = [self._operation(slot * SLOT_US) for slot in range(1, slots + 1)]
        in_order = sorted(filter(None, happened), key=lambda operation: operation.returned_us)
        return History(tuple(in_order))

    def _operation(self, effect_us: int) -> Operation | None:
        random = self._random
        number = random.randrange(len(self._callers))
        last_us, before_us = self._returned_us[number]
        if before_us > effect_us:
            return None
        called_us = random.randint(max(self._called_us[number], before_us, effect_us - self._spread_us), effect_us)
        returned_us = max(last_us, effect_us + random.randrange(self._spread_us))
        self._called_us[number] = called_us
        self._returned_us[number] = returned_us, last_us
        request = self._request()
        linearizable = isinstance(request, GetData | Exists) and random.random() < 0.6
        asked = Operation(f"client {number}", request, called_us, returned_us, None, linearizable)
        if not asked.is_write or random.random() >= self._lost:
            answer = self._answer(number, asked)
            self._seen[number] = answer.zxid
            return replace(asked, answer=answer)
        if random.random() < 0.5:
            self._answer(number, asked)
        return asked if random.random() < 0.5 else replace(asked, returned_us=FOR_EVER_US)

    def _answer(self, number: int, asked: Operation) -> Answer:
        """It takes effect."""
        request, caller = asked.request, self._callers[number]
        if not isinstance(request, GetData | Exists):
            applied = caller.apply(request)
            return Answer(applied.zxid, applied.body)
        tree = self._leader.tree if asked.linearizable else self._caught_up(self._seen[number])
        try:
            return Answer(tree.zxid, tree.read(request, caller.session_id, caller.identities))
        except APIError as error:
            return Answer(tree.zxid, error)

    def _caught_up(self, zxid: Zxid) -> Tree:
        """The replica, at `zxid` or somewhere behind it."""
        log = self._leader.log
        while self._replicated < len(log) and (self._replica.zxid < zxid or self._random.random() < 0.8):
            self._replica.apply(*log[self._replicated])
            self._replicated += 1
        return self._replica

    # ---- what is asked

    def _request(self) -> Request:
        random = self._random
        path = random.choice(self._paths)
        draw = random.random()
        if draw < 0.4:
            return GetData(path) if draw < 0.3 else Exists(path)
        if draw < 0.9:
            return self._part(path)
        return Multi(tuple(self._part(random.choice(self._paths)) for _ in range(2)))

    def _part(self, path: str) -> Create | SetData | Delete | Check:
        random = self._random
        version = random.choice((ANY_VERSION, ANY_VERSION, 0, 1, 2))
        draw = random.random()
        if draw < 0.5:
            return SetData(path, self._value(), version)
        if draw < 0.8:
            return Create(path, self._value())
        return Delete(path, version) if draw < 0.95 else Check(path, version)

    def _value(self) -> bytes:
        self._values += 1
        return b"%d" % self._values
