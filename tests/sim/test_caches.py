"""Caches beside simulated servers: whatever strikes, each state that one shows is the tree's at that zxid."""

from bisect import bisect_right
from collections.abc import Sequence

import anyio
import pytest
from zkclient import CacheChange, NodeData, NodeExistsError, NoNodeError, NotEmptyError, TransactionFailed, TreeCache
from zkclient.picture import is_same

from zk.model.paths import is_inside
from zk.model.record import ServerId, Zxid
from zk.sim import Mode, Plan, run, swarm
from zk.sim.links import Links
from zk.sim.recipes import NOT_NOW, Process, Recipes
from zk.sim.referee import Referee
from zk.sim.swarm import RECIPES_EVERY
from zk.sim.trace import zxid_text
from zk.sim.witness import Witness
from zk.sim.world import World

ROOT = "/cached"
PATHS = tuple(f"{ROOT}{below}" for below in ("", "/a", "/a/x", "/a/y", "/a/x/deep", "/b", "/c", "/c/z"))
REFUSED = (NoNodeError, NodeExistsError, NotEmptyError, TransactionFailed)

Nodes = dict[str, tuple[bytes, Zxid, Zxid]]


def shown(nodes: dict[str, NodeData]) -> Nodes:
    return {path: (node.data, node.stat.czxid, node.stat.mzxid) for path, node in nodes.items()}


class States(Referee):
    """Also remembers every state of the tree below ROOT."""

    def __init__(self, world: World, witness: Witness) -> None:
        super().__init__(world, witness, {})
        self.zxids = [Zxid(0)]
        self.states: list[Nodes] = [{}]
        self._tree = witness.tree

    def committed(self, zxid: Zxid, payload: bytes) -> None:
        super().committed(zxid, payload)
        nodes = {
            path: (node.data, node.czxid, node.mzxid)
            for path, node in self._tree.znodes.items()
            if is_inside(path, ROOT)
        }
        if nodes != self.states[-1]:
            self.zxids.append(zxid)
            self.states.append(nodes)

    def at(self, zxid: Zxid) -> Nodes:
        return self.states[bisect_right(self.zxids, zxid) - 1]


class Caching(Recipes):
    """In the place of those who take locks: some who write below ROOT, and some who keep caches of it."""

    def __init__(
        self, world: World, links: Links, witness: Witness, servers: Sequence[ServerId], peace_ms: int
    ) -> None:
        super().__init__(world, links, witness, servers, peace_ms)
        self.referee = self.states = States(world, witness)

    def begin(self) -> None:
        for number in range(2):
            self.add(Writer, number, 1)
            self.add(Keeper, 2 + number, 1)


class Writer(Process):
    async def live(self) -> None:
        random = self.random
        while not self.recipes.resting:
            await anyio.sleep(random.choice((0.0, 0.001, 0.01, 0.2)))
            try:
                async with self.zk.transaction(timeout=1.0) as txn:
                    for path in random.sample(PATHS, random.choice((1, 1, 1, 2))):
                        match random.randrange(3):
                            case 0:
                                txn.create(path, str(random.random()))
                            case 1:
                                txn.set(path, str(random.random()))
                            case _:
                                txn.delete(path)
            except (*NOT_NOW, *REFUSED):
                pass


class Keeper(Process):
    """Compares each state of its cache with the tree."""

    async def live(self) -> None:
        while True:
            try:
                async with self.zk.TreeCache(ROOT, timeout=2.0) as cache:
                    await self._keep(cache)
                    return
            except NOT_NOW as error:
                self.note("caches not begun", str(error))

    async def _keep(self, cache: TreeCache) -> None:
        copy = dict(cache)
        zxid = Zxid(0)

        def changed(change: CacheChange) -> None:
            nonlocal zxid
            if not is_same(copy.pop(change.path, None), change.old):
                self._wrong(f"{change} is told, but that is not what was there")
            if change.new is not None:
                copy[change.path] = change.new
            if cache.zxid < zxid:
                self._wrong(f"from {zxid_text(zxid)} back to {zxid_text(cache.zxid)}")
            zxid = cache.zxid
            self._judge(cache)

        self._judge(cache)
        cache.add_listener(changed)
        while not self.recipes.resting:
            await anyio.sleep(0.1)
        assert isinstance(self.recipes, Caching)
        end = self.recipes.states.zxids[-1]
        await cache.wait_until(end, timeout=5.0)
        self._judge(cache)
        if (shown(copy), cache.exact) != (self.recipes.states.at(end), True):
            self._wrong(f"at the end it was told of {shown(copy)}")

    def _judge(self, cache: TreeCache) -> None:
        assert isinstance(self.recipes, Caching)
        if not cache.exact:
            self.note("caches not exact", zxid_text(cache.zxid))
            return
        self.note("exact states", zxid_text(cache.zxid))
        expected = self.recipes.states.at(cache.zxid)
        if shown(dict(cache)) != expected:
            self._wrong(f"at {zxid_text(cache.zxid)} it shows {shown(dict(cache))}, there was {expected}")

    def _wrong(self, what: str) -> None:
        self.judge(lambda: self.world.fail("cache", f"{self.name}: {what}"))


@pytest.mark.parametrize(
    ("servers", "mode", "seed"), [(1, Mode.FOCUSED, 1), (3, Mode.FOCUSED, 5), (3, Mode.UNIFORM, 3)]
)
def test_each_state_of_a_cache_is_the_trees_at_its_zxid(
    servers: int, mode: Mode, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm, "Recipes", Caching)
    counters = run(Plan(seed * RECIPES_EVERY, servers, mode)).counters
    assert counters["exact states"] > 50
