"""What simulated clients ask for: every kind of call, on few nodes, so that they get into each other's way.

The wishes of a client follow from its chance and from what it has seen; it asks for much that must be refused.
"""

from collections.abc import Callable
from itertools import accumulate
from random import Random

from zk.model.acl import ANYONE, CREATOR_ALL_ACL, OPEN_ACL, Acl, Perms
from zk.model.events import WatcherType, WatchMode
from zk.model.record import Zxid, record
from zk.model.replies import Body, StatReply
from zk.model.requests import (
    ANY_VERSION,
    AddAuth,
    AddWatch,
    Check,
    CheckWatches,
    ClientRequest,
    CloseSession,
    CountDescendants,
    Create,
    CreateMode,
    Delete,
    Exists,
    GetAcl,
    GetChildren,
    GetChildrenPage,
    GetData,
    GetEphemerals,
    Multi,
    MultiRead,
    Operation,
    RemoveWatches,
    SetAcl,
    SetData,
    Sync,
    WhoAmI,
)
from zk.model.znode import Znode
from zk.sim.draft import LIMITS, QUOTA, STATS

KEYS = tuple(f"/key-{number}" for number in range(5))
_TREE = ("/tree", "/tree/a", "/tree/b", "/tree/a/a", "/tree/a/b")
_BOXES = ("/box-0", "/box-1")
_IN_BOXES = tuple(f"{box}/{name}" for box in _BOXES for name in ("x", "y"))
_MORTAL = ("/ttl-0", "/ttl-1", "/tree/ttl")
_SECRETS = ("/secret-0", "/secret-1")
_LIMITED = "/limited"
_IN_LIMITED = tuple(f"{_LIMITED}/{name}" for name in ("a", "b", "c", "d"))
_QUEUE = "/queue"
_WATCHED_TREES = ("/tree", "/box-0", _QUEUE, _LIMITED, "/")
_ALL = (*KEYS, *_TREE, *_BOXES, *_IN_BOXES, *_MORTAL, *_SECRETS, _LIMITED, *_IN_LIMITED, _QUEUE)
_PLAIN = (*KEYS, *_TREE, *_IN_BOXES, *_IN_LIMITED, _QUEUE, _LIMITED)
_SET = (*KEYS, *_ALL)
_DELETED = (*KEYS, *_IN_BOXES, *_IN_BOXES, *_IN_LIMITED, *_TREE, *_MORTAL, *_SECRETS)
_PARENTS = ("/", "/tree", "/tree/a", *_BOXES, _QUEUE, _LIMITED, _SECRETS[0])
_USERS = (b"ann:secret", b"ben:secret")
_OTHERS_MAY_SEE = (Acl(int(Perms.ALL), "auth", ""), Acl(int(Perms.READ), ANYONE.scheme, ANYONE.id))
_MOOD_LASTS = 50  # wishes


@record
class Wish:
    """What to ask. Of a read: whether it is to be linearizable, or to show all that any client knows to be written."""

    request: ClientRequest
    linearizable: bool
    causal: bool


class Wishes:
    """One client's. `number` makes what it writes its own.

    At times it only reads: a write in front of the reads would find out for them a server that should answer nobody.
    """

    def __init__(self, random: Random, number: int) -> None:
        self._random = random
        self._number = number
        self._values = 0
        self._answers = 0
        self._versions: dict[str, int] = {}  # as last seen
        self._czxids: dict[str, Zxid] = {}
        self._zxids: list[Zxid] = [Zxid(0)]  # some that the session has seen
        self._in_queue: list[str] = []  # names seen there
        self._reads = (self._get, self._exists, self._get_children, self._look_around)
        self._wishes: tuple[tuple[float, Callable[[], ClientRequest]], ...] = (
            (14, self._get),
            (6, self._exists),
            (6, self._get_children),
            (6, self._look_around),
            (22, self._set),
            (12, self._create_plain),
            (7, self._create_special),
            (8, self._create_sequential),
            (8, self._delete),
            (9, self._multi),
            (5, self._fill_or_empty_queue),
            (5, self._fill_or_empty_box),
            (4, self._limit),
            (2, self._protect),
            (3, self._watch),
            (2, lambda: Sync()),
            (0.2, lambda: CloseSession()),
        )
        self._weights_up_to = tuple(accumulate(weight for weight, _ in self._wishes))
        self._made = 0
        self._only_reads = False

    def next(self) -> Wish:
        """The next wish. It draws the same chance whatever the client has seen."""
        random = self._random
        if self._made % _MOOD_LASTS == 0:
            self._only_reads = random.random() < 0.3
        self._made += 1
        if self._only_reads:
            return Wish(random.choice(self._reads)(), random.random() < 0.8, random.random() < 0.1)
        (chosen,) = random.choices(self._wishes, cum_weights=self._weights_up_to)
        return Wish(chosen[1](), random.random() < 0.3, random.random() < 0.1)

    def seen(self, path: str, body: Body, zxid: Zxid) -> None:
        """A read was answered."""
        if isinstance(body, Znode | StatReply):
            self._versions[path] = body.stat.version
            self._czxids[path] = body.stat.czxid
        self._answers += 1
        if self._answers % 8 == 0:
            self._zxids = [*self._zxids[-3:], zxid]

    def begin_session(self) -> None:
        """What the session before has seen says nothing about this one."""
        self._zxids = [Zxid(0)]

    # ---- reads

    def _get(self) -> ClientRequest:
        return GetData(self._random.choice(_ALL), watch=self._random.random() < 0.3)

    def _exists(self) -> ClientRequest:
        return Exists(self._random.choice(_ALL), watch=self._random.random() < 0.4)

    def _get_children(self) -> ClientRequest:
        return GetChildren(self._random.choice(_PARENTS), watch=self._random.random() < 0.4)

    def _look_around(self) -> ClientRequest:
        random = self._random
        draw = random.randrange(12)
        if draw < 5:
            return GetChildrenPage(
                random.choice(_PARENTS),
                prefix=random.choice(("", "", "of-", "x")),
                limit=random.choice((1, 3, 1_000)),
                with_data=random.random() < 0.5,
            )
        if draw < 7:
            return MultiRead(
                (GetData(random.choice(_ALL)), GetChildren(random.choice(_PARENTS)), GetData(random.choice(_ALL)))
            )
        if draw < 9:
            return GetEphemerals(random.choice(("/", "/owned", "/tree")))
        return random.choice((CountDescendants(random.choice(_PARENTS)), GetAcl(random.choice(_ALL)), WhoAmI()))

    # ---- writes

    def _set(self) -> ClientRequest:
        return self._set_one(self._random.choice(_SET))

    def _set_one(self, path: str) -> SetData:
        version = ANY_VERSION
        if self._random.random() < 0.3:
            version = self._versions.get(path, 0) + self._random.choice((0, 0, 0, 1))
        return SetData(path, self._value(), version)

    def _create_plain(self) -> ClientRequest:
        return Create(self._random.choice(_PLAIN), self._value())

    def _create_special(self) -> ClientRequest:
        random = self._random
        draw = random.randrange(7)
        if draw < 2:
            return Create(random.choice(_BOXES), self._value(), mode=CreateMode.CONTAINER)
        if draw < 4:
            ttl_ms = random.choice((20, 150, 600))
            return Create(random.choice(_MORTAL), self._value(), mode=CreateMode.PERSISTENT_WITH_TTL, ttl_ms=ttl_ms)
        if draw < 6:
            acl = random.choice((CREATOR_ALL_ACL, _OTHERS_MAY_SEE))
            return Create(random.choice((*_SECRETS, f"{_SECRETS[0]}/x")), self._value(), acl)
        return Create(
            random.choice((f"/owned-{self._number}", "/tree/owned", "/box-0/owned")),
            self._value(),
            mode=CreateMode.EPHEMERAL,
        )

    def _create_sequential(self) -> Create:
        random = self._random
        draw = random.randrange(8)
        if draw < 3:
            return Create(f"/of-{self._number}-", self._value(), mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        if draw < 4:
            return Create(f"/of-{self._number}-", self._value(), mode=CreateMode.PERSISTENT_SEQUENTIAL)
        parent = random.choice(_PARENTS[1:])
        if draw < 6:
            return Create(f"{parent}/", self._value(), mode=CreateMode.EPHEMERAL_SEQUENTIAL)
        if draw < 7:
            return Create(f"{parent}/s-", self._value(), mode=CreateMode.PERSISTENT_SEQUENTIAL)
        mode = CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL
        return Create(f"{parent}/t-", self._value(), mode=mode, ttl_ms=random.choice((20, 150)))

    def _delete(self) -> ClientRequest:
        return self._delete_one()

    def _delete_one(self) -> Delete:
        path = self._random.choice(_DELETED)
        version = self._versions.get(path, 0) if self._random.random() < 0.2 else ANY_VERSION
        return Delete(path, version)

    def _multi(self) -> ClientRequest:
        """One in two has a good chance to fail, at its end or in its midst."""
        random = self._random
        operations: list[Operation] = [self._one_of_multi() for _ in range(random.randrange(1, 4))]
        if random.random() < 0.5:
            path = random.choice(KEYS)
            culprit = random.choice(
                (
                    Check(path, version=self._versions.get(path, 0)),
                    Check(path, czxid=self._czxids.get(path, Zxid(1))),
                    Delete("/no-such-node"),
                )
            )
            operations.insert(random.randrange(len(operations) + 1), culprit)
        return Multi(tuple(operations))

    def _one_of_multi(self) -> Operation:
        draw = self._random.randrange(5)
        if draw < 3:
            return self._set_one(self._random.choice(KEYS))
        return self._create_sequential() if draw == 3 else self._delete_one()

    def _fill_or_empty_queue(self) -> ClientRequest:
        random = self._random
        name = f"job-{random.randrange(30):02}"
        if random.random() < 0.6:
            return Create(f"{_QUEUE}/{name}", self._value())
        return Delete(f"{_QUEUE}/{name}")

    def _fill_or_empty_box(self) -> ClientRequest:
        """Containers get their last child taken, and another one while they are about to go."""
        random = self._random
        draw = random.randrange(5)
        if draw < 1:
            return Create(random.choice(_BOXES), self._value(), mode=CreateMode.CONTAINER)
        path = random.choice(_IN_BOXES)
        return Create(path, self._value()) if draw < 3 else Delete(path)

    def _limit(self) -> ClientRequest:
        """A quota comes, changes, goes; its figures are read."""
        random = self._random
        limits, stats = f"{QUOTA}{_LIMITED}{LIMITS}", f"{QUOTA}{_LIMITED}{STATS}"
        text = b"count=2,bytes=-1=;byteHardLimit=%d;countHardLimit=%d" % (
            random.choice((-1, 60, 200)),
            random.choice((-1, 3, 5)),
        )
        draw = random.randrange(12)
        if draw < 4:
            return Multi((Create(f"{QUOTA}{_LIMITED}", b""), Create(limits, text), Create(stats, b"")))
        if draw < 6:
            return SetData(limits, text)
        if draw < 10:
            return GetData(stats, watch=draw == 9)
        return Delete(limits) if draw == 10 else Create(limits, text)

    def _protect(self) -> ClientRequest:
        """An identity is added; an ACL changes."""
        random = self._random
        if random.random() < 0.4:
            return AddAuth("digest", random.choice(_USERS))
        return SetAcl(
            random.choice((*_SECRETS, *_SECRETS, "/tree/b", "/box-1")),
            random.choice((CREATOR_ALL_ACL, _OTHERS_MAY_SEE, OPEN_ACL)),
        )

    def _value(self) -> bytes:
        self._values += 1
        return b"%d of client %d" % (self._values, self._number)

    # ---- watches

    def _watch(self) -> ClientRequest:
        random = self._random
        path = random.choice((*_WATCHED_TREES, *KEYS[:2], _SECRETS[0]))
        draw = random.randrange(10)
        if draw < 6:
            since = random.choice((None, None, *self._zxids))
            return AddWatch(path, random.choice((WatchMode.PERSISTENT, WatchMode.RECURSIVE)), since)
        kind = random.choice(tuple(WatcherType))
        return RemoveWatches(path, kind) if draw < 9 else CheckWatches(path, kind)
