"""Whether the writes and linearizable reads of a history can be put in one order that explains every answer.

The order has to respect time: an operation that was over before another was called stands before it. Nothing else is
trusted, least of all the zxids: they only say which order to try first. A write of unknown outcome may stand anywhere
behind its call, or nowhere.

It is a depth-first search for that order that never tries the same state behind the same operations twice. Nodes that
no multi joins are searched each on its own.

Sources: Herlihy and Wing, "Linearizability" (TOPLAS 1990); Wing and Gong, "Testing and verifying concurrent objects"
(JPDC 1993), the search; Lowe, "Testing for linearizability" (CCPE 2017), remembering what was tried; Horn and Kroening,
"Faster linearizability checking via P-compositionality" (FORTE 2015), the split.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from zk.history.history import FOR_EVER_US, History, HistoryError, Operation, is_refusal, zxid_text
from zk.history.model import Node, Wrong, after
from zk.model.record import Zxid, record
from zk.model.replies import DataReply
from zk.model.requests import ANY_VERSION, Check, Create, Delete, Multi, SetData
from zk.model.znode import Znode

STATES_MAX = 2_000_000
"""How many states a search may visit; about 1 GB and half a minute."""
SHOWN = 8
"""How much of the longest order a failure shows."""

NEVER_SHOWN = b"(a value that no read shows)"

_State = tuple[Node | None, ...]
_Owed = frozenset[frozenset[str]]
_Shown = Mapping[tuple[str, bytes], Zxid]
"""The values that reads show, by path, with the zxids of their writes as the reads have it."""


class Undecided(Exception):  # noqa: N818 - a verdict
    """The search was given up: too many operations overlap, or are of unknown outcome."""


@record
class Effort:
    """What a check took: how many nodes, or groups of them, were searched, and how many states were visited."""

    groups: int
    states: int


def check_linearizability(history: History, states_max: int = STATES_MAX) -> Effort:
    """Raises HistoryError if no order explains the history, Undecided after `states_max` states."""
    operations = [
        operation
        for operation in history.operations
        if operation.is_write or (operation.linearizable and operation.answer is not None)
    ]
    shown = _shown(history)
    states = 0
    groups = _split(operations)
    for paths, group in groups:
        search = _Search(paths, group, shown, states_max - states)
        search.run()
        states += search.states
    return Effort(len(groups), states)


def _split(operations: Sequence[Operation]) -> list[tuple[tuple[str, ...], list[Operation]]]:
    """The paths that have to be looked at together, with the operations that touch them."""
    joined: dict[str, str] = {}  # towards the path that names the group

    def name(path: str) -> str:
        while joined.setdefault(path, path) != path:
            path = joined[path]
        return path

    for operation in operations:
        for path in operation.paths:
            joined[name(path)] = name(operation.paths[0])
    paths: dict[str, list[str]] = {}
    for path in joined:
        paths.setdefault(name(path), []).append(path)
    groups: dict[str, list[Operation]] = {path: [] for path in paths}
    for operation in operations:
        groups[name(operation.paths[0])].append(operation)
    return [(tuple(sorted(paths[path])), group) for path, group in groups.items()]


def _shown(history: History) -> _Shown:
    bodies = [(operation.paths[0], operation.answer.body) for operation in history.operations if operation.answer]
    return {(path, body.data): body.stat.mzxid for path, body in bodies if isinstance(body, DataReply | Znode)}


class _Place:
    """Where the search stands: every answered operation before number `low` is ordered, and those whose bits are set
    in `ahead`, counted from there; of the unknown ones, those whose bits are set in `taken`. `nodes`: what came of it.
    `owed`: the paths of writes of unknown outcome that must matter to what comes next. `newest_us`: the latest call so
    far.
    """

    __slots__ = ("ahead", "low", "newest_us", "nodes", "operation", "owed", "taken", "tried", "untried")

    def __init__(
        self,
        low: int,
        ahead: int,
        taken: int,
        nodes: _State,
        owed: _Owed,
        newest_us: int,
        operation: Operation | None,
    ) -> None:
        self.low = low
        self.ahead = ahead
        self.newest_us = newest_us
        self.taken = taken
        self.nodes = nodes
        self.owed = owed
        self.operation = operation  # the last one ordered
        self.untried: Iterator[int] | None = None
        self.tried: set[_State] = set()  # what writes of unknown outcome made of it

    @property
    def count(self) -> int:
        """How many answered operations are ordered."""
        return self.low + self.ahead.bit_count()


class _Search:
    """The search among operations on `paths`. Answered operations have numbers from 0 on in the order of their calls,
    and those of unknown outcome the numbers behind them."""

    def __init__(
        self,
        paths: tuple[str, ...],
        operations: Sequence[Operation],
        shown: _Shown,
        states_max: int,
    ) -> None:
        self.states = 0
        self._been: dict[tuple[int, int, _State, _Owed], list[int]] = {}
        self._paths = paths
        self._states_max = states_max
        in_order = sorted(operations, key=lambda operation: operation.called_us)
        self._answered = [operation for operation in in_order if operation.answer is not None]
        self._unknown, self._behind = _interchangeable([op for op in in_order if op.answer is None], shown)
        self._bounded = [n for n, operation in enumerate(self._unknown) if operation.returned_us != FOR_EVER_US]
        self._operations = (*self._answered, *self._unknown)
        self._hope = [_hope(operation, shown) for operation in self._operations]

    def run(self) -> None:
        """Raises HistoryError or Undecided unless there is an order."""
        stack = [_Place(0, 0, 0, (None,) * len(self._paths), frozenset(), -FOR_EVER_US, None)]
        longest: list[_Place] = []
        while stack[-1].low < len(self._answered):
            further = self._further(stack[-1])
            if further is not None:
                stack.append(further)
                continue
            if not longest or stack[-1].count > longest[-1].count:
                longest = list(stack)
            stack.pop()
            if not stack:
                raise HistoryError(self._account(longest))

    def _further(self, place: _Place) -> _Place | None:
        """The next place behind `place` where nobody has been yet."""
        if place.untried is None:
            place.untried = iter(self._candidates(place))
        nodes = dict(zip(self._paths, place.nodes, strict=True))
        for number in place.untried:
            try:
                changed = after(nodes, self._operations[number])
            except Wrong:
                continue
            further = self._behind_operation(place, number, tuple({**nodes, **changed}.values()))
            if number >= len(self._answered):
                if further.nodes in place.tried:
                    continue
                place.tried.add(further.nodes)
            elif further.nodes == place.nodes and self._shuts_out_nothing(place, number):
                place.untried = iter(())  # if there is any order from here, there is one that begins with it
            if self._is_new(further):
                return further
        return None

    def _is_new(self, place: _Place) -> bool:
        """Whether nobody has been there, nor had more writes of unknown outcome left there."""
        been = self._been.setdefault((place.low, place.ahead, place.nodes, place.owed), [])
        if any(taken & place.taken == taken for taken in been):
            return False
        if self.states >= self._states_max:
            raise Undecided(self._effort())
        been.append(place.taken)
        self.states += 1
        return True

    def _candidates(self, place: _Place) -> list[int]:
        """What may come next: no other operation that is still to come was over before it was called. In the order in
        which to try."""
        answered, unknown = self._answered, self._unknown
        found: list[int] = []
        horizon_us = FOR_EVER_US
        number, ahead = place.low, place.ahead
        while number < len(answered) and answered[number].called_us <= horizon_us:
            if not ahead & 1:
                found.append(number)
                horizon_us = min(horizon_us, answered[number].returned_us)
            ahead >>= 1
            number += 1
        for index, operation in enumerate(unknown):
            if operation.called_us > horizon_us:
                break
            first = self._behind[index]
            if first is not None and not place.taken >> first & 1:
                continue
            if self._may_come(place, index):
                found.append(len(answered) + index)
        if place.owed:
            found = [number for number in found if self._pays(place.owed, number, found)]
        found.sort(key=self._hope.__getitem__)
        return found

    def _pays(self, owed: _Owed, number: int, found: Sequence[int]) -> bool:
        """Whether operation `number` concerns what the writes before it did; or is another such write, and something
        that may come next concerns both."""
        paths = self._operations[number].paths
        if number < len(self._answered):
            return not any(one.isdisjoint(paths) for one in owed)
        near = frozenset().union(*owed)
        if not near.isdisjoint(paths):
            return True
        others = [self._operations[other].paths for other in found if other != number]
        return any(not near.isdisjoint(other) and not set(paths).isdisjoint(other) for other in others)

    def _may_come(self, place: _Place, index: int) -> bool:
        """Whether a write of unknown outcome is still to come, perhaps."""
        if place.taken >> index & 1:
            return False
        returned_us = self._unknown[index].returned_us
        return returned_us == FOR_EVER_US or returned_us >= place.newest_us

    def _shuts_out_nothing(self, place: _Place, number: int) -> bool:
        """Whether all that may still come may also come behind this operation."""
        called_us = self._operations[number].called_us
        return not any(
            self._unknown[index].returned_us < called_us and self._may_come(place, index) for index in self._bounded
        )

    def _behind_operation(self, place: _Place, number: int, nodes: _State) -> _Place:
        operation = self._operations[number]
        newest_us = max(place.newest_us, operation.called_us)
        if number >= len(self._answered):
            taken = place.taken | 1 << number - len(self._answered)
            # Where it makes no difference, it comes later: so what it does concern comes right behind it, or behind
            # other such writes.
            owed = {one for one in place.owed if one.isdisjoint(operation.paths)}
            if operation.returned_us == FOR_EVER_US:
                owed.add(frozenset(operation.paths))
            return _Place(place.low, place.ahead, taken, nodes, frozenset(owed), newest_us, operation)
        low, ahead = place.low, place.ahead | 1 << number - place.low
        while ahead & 1:
            low += 1
            ahead >>= 1
        return _Place(low, ahead, place.taken, nodes, frozenset(), newest_us, operation)

    # ---- what to say

    def _effort(self) -> str:
        return (
            f"no verdict on {', '.join(self._paths)} after {self.states:,} states: {len(self._answered):,} "
            f"operations were answered, {len(self._unknown):,} may have been carried out or not. Shorter histories, "
            "fewer clients, or fewer operations of unknown outcome can be decided"
        )

    def _account(self, longest: Sequence[_Place]) -> str:
        """Why there is no order: the longest that there is, and what can't follow it."""
        place = longest[-1]
        ordered = [one.operation for one in longest if one.operation is not None]
        nodes = dict(zip(self._paths, place.nodes, strict=True))
        lines = [
            f"no order explains the operations on {', '.join(self._paths)}.",
            f"The longest attempt orders {place.count:,} of {len(self._answered):,}; it ends with:",
            *(f"  {operation}" for operation in ordered[-SHOWN:]),
            "Behind that there would be:",
            *(f"  {path}: {_node_text(node)}" for path, node in nodes.items()),
            "and none of these can be next:",
        ]
        for number in self._candidates(place):
            try:
                after(nodes, self._operations[number])
                why = "what follows has no order"
            except Wrong as wrong:
                why = str(wrong)
            lines.append(f"  {self._operations[number]}  ({why})")
        return "\n".join(lines)


def _interchangeable(unknown: Sequence[Operation], shown: _Shown) -> tuple[list[Operation], list[int | None]]:
    """Of unknown writes that nobody could tell apart, only the one called first need be tried: with each, the number
    of the one that has to be taken before it. Values that no read shows are all the same."""
    result: list[Operation] = []
    behind: list[int | None] = []
    last: dict[object, int] = {}
    for number, operation in enumerate(unknown):
        request = operation.request
        if isinstance(request, Multi):
            parts = request.operations
            request = Multi(tuple(_unless_shown(p, shown) if isinstance(p, Create | SetData) else p for p in parts))
        elif isinstance(request, Create | SetData):
            request = _unless_shown(request, shown)
        key = request, operation.returned_us
        behind.append(last.get(key))
        last[key] = number
        result.append(replace(operation, request=request))
    return result, behind


def _unless_shown(part: Create | SetData, shown: _Shown) -> Create | SetData:
    """The same with no value of its own, if no read shows it."""
    return part if (part.path, part.data) in shown else replace(part, data=NEVER_SHOWN)


def _hope(operation: Operation, shown: _Shown) -> tuple[bool, int, bool, int, int]:
    """In which order to try: what changes nothing, then as the service has it; at the end what nobody has seen, and of
    that first what fits least elsewhere."""
    request, answer = operation.request, operation.answer
    parts = request.operations if isinstance(request, Multi) else (request,)
    changes = operation.is_write and not (answer is not None and is_refusal(answer.body))
    zxid = FOR_EVER_US
    if answer is not None:
        zxid = answer.zxid
    else:
        zxids = [shown.get((part.path, part.data)) for part in parts if isinstance(part, Create | SetData)]
        zxid = min((zxid for zxid in zxids if zxid is not None), default=FOR_EVER_US)
    conditions = sum(isinstance(part, Delete | SetData | Check) and part.version != ANY_VERSION for part in parts)
    fits_elsewhere = operation.returned_us - conditions
    return changes, zxid, not operation.is_write, fits_elsewhere, operation.called_us


def _node_text(node: Node | None) -> str:
    if node is None:
        return "nothing"
    return f"{node.data!r}, version {node.version}, written at {zxid_text(node.mzxid)}"
