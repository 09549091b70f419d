"""The faults of zk.sim.plays do what they say; and what is left behind, or waits for ever, is told."""

from collections.abc import Sequence

import anyio
import pytest
from zkclient import State

from zk.sim.plays import FAULT_NAMES, FAULTS, Actor, Part, Play, Stage, Troupe

NOTHING = {"lost": False, "node": True}
EXPECTED = {
    "loses_the_answer": NOTHING,
    "loses_its_session": {"lost": True, "node": False},
    "loses_its_session_afterwards": {"lost": True, "node": False},
    "gives_its_session_up": {"lost": True, "node": True},
    "dies": NOTHING,
    "is_cancelled_while_cut_off": {},
    "loses_the_path": {"lost": False, "node": False},
    "loses_the_server": NOTHING,
    "sees_the_leader_resign": NOTHING,
}
"""What the actor has seen in the end: whether its session was lost, as far as it knew, and a node of that session."""


class Single(Play):
    """One actor does this."""

    def __init__(self, part: Part) -> None:
        self._part = part

    def parts(self) -> Sequence[Part]:
        return [self._part]


def tell(part: Part) -> None:
    with Stage(1) as stage:
        Troupe(stage, Single(part)).perform()


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=FAULT_NAMES)
def test_each_fault_does_what_it_says(number: int) -> None:
    servers, fault = FAULTS[number]
    seen: dict[str, bool] = {}

    async def have_a_node(actor: Actor) -> None:
        states: list[State] = []
        actor.zk.add_listener(states.append)
        path = f"{play.path}/node"
        if actor.life == 1:
            await actor.zk.create(path, ephemeral=True, makepath=True)
            actor.on_answer = strike
            await actor.zk.sync()
            await anyio.sleep(1.5)
        seen["node"] = await actor.zk.exists(path) is not None
        seen["lost"] = State.LOST in states
        actor.zk.remove_listener(states.append)
        await actor.zk.put(path, "gone", makepath=True)
        await actor.zk.delete(path)

    def strike(number: int) -> None:
        victim.on_answer = lambda number: None
        fault(victim)

    play = Single(have_a_node)
    with Stage(servers) as stage:
        troupe = Troupe(stage, play)
        victim = troupe.actors[0]
        if EXPECTED[fault.__name__]:
            troupe.perform()
            assert seen == EXPECTED[fault.__name__]
        else:
            with pytest.raises(AssertionError, match="left behind"):
                troupe.perform()


async def leaves_a_node(actor: Actor) -> None:
    await actor.zk.create(f"{actor.troupe.play.path}/node", makepath=True)


async def leaves_a_watch(actor: Actor) -> None:
    await actor.zk.exists("/", watch=lambda event: None)


async def leaves_a_listener(actor: Actor) -> None:
    actor.zk.add_listener(lambda state: None)


async def finds_something(actor: Actor) -> None:
    actor.troupe.play.finds.append("a promise that is not kept")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (leaves_a_node, r"left behind.*service.*node"),
        (leaves_a_watch, r"left behind.*watches"),
        (leaves_a_listener, r"left behind.*listeners"),
        (finds_something, r"a promise that is not kept"),
        (lambda actor: anyio.sleep_forever(), r"actor 0.* wait for ever"),
    ],
)
def test_what_is_not_as_it_should_be_is_told(part: Part, told: str) -> None:
    with pytest.raises(AssertionError, match=told):
        tell(part)
