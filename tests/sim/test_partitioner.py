"""Partitioners beside simulated servers: whatever strikes, who has a partition truly holds its lock."""

from collections.abc import Sequence
from functools import partial

import anyio
import pytest
from zkclient import Partitioner, PartitionState

from zk.model.record import ServerId
from zk.sim import Mode, Plan, run, swarm
from zk.sim.links import Links
from zk.sim.recipes import NOT_NOW, Process, Recipes
from zk.sim.referee import FIRST, Claim, Referee
from zk.sim.swarm import RECIPES_EVERY
from zk.sim.witness import Witness
from zk.sim.world import World

ROOT = "/shards"
PARTITIONS = ("a", "b", "c")
MEMBERS = 3


def lock_of(partition: str) -> str:
    return f"{ROOT}/locks/partition-{partition}"


class Sharing(Recipes):
    """In the place of those who take locks: the members of a partitioner."""

    def __init__(
        self, world: World, links: Links, witness: Witness, servers: Sequence[ServerId], peace_ms: int
    ) -> None:
        super().__init__(world, links, witness, servers, peace_ms)
        self.referee = Referee(world, witness, {lock_of(partition): FIRST for partition in PARTITIONS})

    def begin(self) -> None:
        for number in range(MEMBERS):
            self.add(Member, number, 1)


class Member(Process):
    """Takes part for a while, again and again."""

    async def live(self) -> None:
        while not self.recipes.resting:
            boundary = self.random.choice((0.0, 0.02, 0.1))
            try:
                async with self.zk.Partitioner(ROOT, PARTITIONS, time_boundary=boundary) as shards:
                    while await self._share(shards):
                        pass
            except NOT_NOW as error:
                self.note("memberships lost", str(error))

    async def _share(self, shards: Partitioner) -> bool:
        """Have a set, and whether others want it then; otherwise this member goes."""
        referee, random = self.recipes.referee, self.random
        mine = await shards.wait_for_acquire(timeout=3.0)
        claims = [
            Claim(self.name, lock_of(partition), shards.held(partition), self.zk, self.loop) for partition in mine
        ]
        for claim in claims:
            self.judge(partial(referee.granted, claim))
        self.note("sets acquired", f"has {mine}")
        try:
            with anyio.move_on_after(random.uniform(0, 0.5)):
                await shards.wait_for_release()
                assert shards.state is PartitionState.RELEASE
            for claim in claims:
                claim.held.check()
                self.judge(partial(referee.still, claim))
        finally:
            for claim in claims:
                referee.ended(claim)
        if shards.state is not PartitionState.RELEASE:
            return False
        await shards.release_set()
        self.note("sets released", f"had {mine}")
        return True


@pytest.mark.parametrize(
    ("servers", "mode", "seed"), [(1, Mode.FOCUSED, 1), (3, Mode.FOCUSED, 2), (3, Mode.UNIFORM, 3)]
)
def test_who_has_a_partition_holds_its_lock(
    servers: int, mode: Mode, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swarm, "Recipes", Sharing)
    counters = run(Plan(seed * RECIPES_EVERY, servers, mode)).counters
    assert counters["sets acquired"] > 10
    assert counters["sets released"] > 0
