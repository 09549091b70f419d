"""A second opinion on what simulated clients are told: their history, without anything that only a simulation knows.

The witness knows the order in which everything was committed. This here knows calls and answers with their times, like
anybody outside, and looks for an order of its own. It follows plain nodes, which have no children, owners or limits;
of a multi, the part that concerns them.
"""

from collections.abc import Collection
from dataclasses import replace

from zk.history.history import Answer, History, HistoryError, Operation
from zk.history.linearizability import Undecided, check_linearizability
from zk.model.errors import APIError, NotReadOnlyError, SessionExpiredError, SessionMovedError, ThrottledError
from zk.model.replies import MultiReply, Reply
from zk.model.requests import Call, Check, Create, Delete, Exists, GetData, Multi, SetData
from zk.sim.clients import SimClient
from zk.sim.links import Caller
from zk.sim.world import World

STATES_MAX = 100_000
"""So that no search takes longer than the run. What is given up is counted."""


class SecondOpinion:
    """Hears every call and every answer of simulated clients."""

    def __init__(self, world: World, paths: Collection[str]) -> None:
        self.world = world
        self._paths = frozenset(paths)
        self._asked: dict[tuple[Caller, int], Operation] = {}
        self._told: list[Operation] = []

    def sent(self, caller: Caller, call: Call) -> None:
        """A call is on its way, perhaps again."""
        request, key = call.request, (caller, call.xid)
        if key in self._asked or not isinstance(caller, SimClient):
            return
        if isinstance(request, Create | Delete | SetData | Check | Multi | GetData | Exists):
            asked = Operation(caller.name, request, self.world.now_us, linearizable=call.linearizable)
            if (asked.is_write or asked.linearizable) and not self._paths.isdisjoint(asked.paths):
                self._asked[key] = asked

    def answered(self, caller: Caller, reply: Reply) -> None:
        """An answer has arrived."""
        if not isinstance(caller, SimClient) or isinstance(reply.body, SessionExpiredError | SessionMovedError):
            return
        asked = self._asked.pop((caller, reply.xid), None)
        if asked is not None and not isinstance(reply.body, ThrottledError | NotReadOnlyError):
            self._told.append(replace(asked, returned_us=self.world.now_us, answer=Answer(reply.zxid, reply.body)))

    def check(self) -> None:
        """There is an order that explains all answers. Source: Herlihy and Wing, linearizability."""
        operations = [self._of_interest(operation) for operation in (*self._told, *self._asked.values())]
        try:
            check_linearizability(History(tuple(filter(None, operations))), STATES_MAX)
        except HistoryError as error:
            self.world.fail("linearizability", str(error))
        except Undecided:
            self.world.counters["histories undecided"] += 1
        else:
            self.world.counters["histories"] += 1

    def _of_interest(self, operation: Operation) -> Operation | None:
        """The same, without those parts of a multi that are about other nodes."""
        request, answer = operation.request, operation.answer
        if not isinstance(request, Multi):
            return operation if operation.is_write or answer is not None else None
        parts = request.operations
        mine = [index for index, part in enumerate(parts) if part.path in self._paths]
        request = Multi(tuple(parts[index] for index in mine))
        if answer is not None and isinstance(answer.body, MultiReply):
            results = answer.body.results
            culprits = [n for n, result in enumerate(results) if isinstance(result, APIError)]
            if culprits and culprits[0] not in mine:
                return None  # refused for what was not about these nodes
            answer = replace(answer, body=MultiReply(tuple(results[index] for index in mine)))
        return replace(operation, request=request, answer=answer)
