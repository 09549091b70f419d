"""Plays: a recipe among a few processes with production clients, and one of them struck at one moment in a calm world.

A play says who takes part and what must hold; it is told again and again, and one fault strikes its first actor when
that is given its first answer, in the next telling its second one, and so on, until the actor comes to its end before
the fault does. Whatever the moment: all come to an end, the play finds that everything is as promised, no node is left
behind in the service, and nothing in the processes.

Faults are functions of the actor that they strike. Read scenario.py for the ground.
"""

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from math import inf
from random import Random

import anyio
from zkclient import AsyncZooKeeper

from zk.model.record import SessionId
from zk.model.replies import Reply
from zk.model.requests import Call, Connect, CreateMode, Delete, Ping
from zk.model.znode import Znode
from zk.sim.eventloop import EventLoop
from zk.sim.scenario import Scenario
from zk.sim.scenario_client import ScenarioClient
from zk.sim.streams import PORT, host_of
from zk.sim.world import MS

TIMEOUT_MS = 500
"""Of the actors' sessions."""
PLAY_MS_MAX = 30_000
REAP_MS = 60
"""How soon the service removes containers that are empty, and what has outlived its time."""

FIRST = "actor 0"
"""The name of the one that is struck."""

Part = Callable[["Actor"], Awaitable[None]]
Fault = Callable[["Actor"], None]


class Stage(Scenario):
    """Servers, and somebody who may delete what others need."""

    vandal: ScenarioClient

    def __init__(self, servers: int) -> None:
        super().__init__(servers, tune=lambda config: replace(config, reap_interval_ms=REAP_MS))
        self.told = 0

    def __enter__(self) -> "Stage":
        super().__enter__()
        self.vandal = self.client()
        return self

    def nodes(self) -> dict[str, Znode]:
        """All there are, by their paths, as the leader has them."""
        return self.replica(self.run_until_leader()).tree.znodes


class Play(ABC):
    """One telling: what is done at `path`, and what was seen of it."""

    path = ""
    finds: list[str]
    """What is not as promised. It is written down, for an error in a body that is cancelled would be lost."""

    @abstractmethod
    def parts(self) -> Sequence[Part]:
        """What each actor does; the first one is struck. An actor that dies begins its part anew in its next life."""

    def spoiled(self) -> None:  # noqa: B027 - most plays need not know
        """Somebody is about to delete the path and all below it."""

    def end(self, stage: Stage) -> None:  # noqa: B027 - for some all is said when all have come to an end
        """Everybody has come to an end, and nothing is left: add to `finds` what is not as promised."""

    def may_stay(self, name: str, node: Znode) -> bool:
        """Whether a node, by its name below the path, may be there at the end. Containers may, and go by themselves."""
        return False


class Actor:
    """One process: it does its part, and stays until all have done theirs, so that its session's end hides nothing."""

    def __init__(self, troupe: "Troupe", part: Part, name: str, life: int = 1) -> None:
        self.troupe = troupe
        self.stage = troupe.stage
        self.world = troupe.stage.world
        self.name = name
        self.life = life
        self.done = False
        self.dead = False
        self.answers = 0
        self.turns = 0
        self.on_answer: Callable[[int], None] = lambda number: None  # told as it comes
        self.on_turn: Callable[[int], None] = lambda number: None
        self.loop = EventLoop(self.world)
        self.line = self.stage.line(self.loop, self)
        self.zk = AsyncZooKeeper(
            ",".join(f"{host_of(server)}:{PORT}" for server in self.stage.servers),
            session_timeout_ms=TIMEOUT_MS,
            connect=self.line.connect,
            chance=Random(0),
        )
        self._part = part
        self._scope: anyio.CancelScope | None = None
        self._clean: dict[str, int] = {}
        self.main = self.loop.create_task(self._run())

    def answered(self, session: SessionId, call: Call, reply: Reply) -> None:
        """Told by the line."""
        if not isinstance(call.request, Ping | Connect) and not self.done:
            self.answers += 1
            self.on_answer(self.answers)

    async def _run(self) -> None:
        try:
            async with self.zk:
                await self.zk.sync()
                self._clean = left_of(self.zk, self.loop) | {"calls": 0}  # but for a ping, perhaps
                self.loop.on_turn = self._count
                with anyio.CancelScope() as self._scope:
                    await self._part(self)
                self.done = True
                self._finish = anyio.Event()
                await self._finish.wait()
        except Exception as error:
            self.loop.abort(error)
            raise

    def _count(self) -> None:
        if not self.done:
            self.turns += 1
            self.on_turn(self.turns)

    def left(self) -> dict[str, int]:
        """What its part has left behind in its process."""
        left = {} if self.dead else left_of(self.zk, self.loop)
        return {what: count for what, count in left.items() if count != self._clean[what]}

    def cancel(self) -> None:
        """Cancel its part from outside."""
        if self._scope is not None:
            self.loop.call_soon(self._scope.cancel)

    def finish(self) -> None:
        """The session may end."""
        if not self.dead:
            self.loop.call_soon(self._finish.set)

    def die(self) -> None:
        """At once, and soon its next life begins; its session is there until its time is over."""
        self.dead = True
        self.loop.stall(inf)
        self.line.cut()
        self.world.after(20 * MS, self._begin_anew)

    def _begin_anew(self) -> None:
        self.done = True
        self.troupe.enter(self._part, self.name, self.life + 1)


def left_of(zk: AsyncZooKeeper, loop: EventLoop) -> dict[str, int]:
    """What there is in a process that may be left behind."""
    driver = zk.driver
    driver.kick()  # lets it forget the streams that were collected
    statistics = zk.statistics()
    return {
        "calls": statistics.calls_pending,
        "watches": statistics.watches,
        "listeners": len(driver._listeners),
        "tasks": len(asyncio.all_tasks(loop)),
    }


class Troupe:
    """All who take part in one telling."""

    def __init__(self, stage: Stage, play: Play) -> None:
        self.stage = stage
        self.play = play
        self.actors: list[Actor] = []
        play.path = f"/plays/{stage.told}"
        play.finds = []
        stage.told += 1
        for number, part in enumerate(play.parts()):
            self.enter(part, f"actor {number}")

    def enter(self, part: Part, name: str, life: int = 1) -> None:
        self.actors.append(Actor(self, part, name, life))

    def perform(self) -> None:
        """From beginning to end."""
        try:
            if not self._comes_about(lambda: all(actor.done for actor in self.actors)):
                waiting = [actor.name for actor in self.actors if not actor.done]
                self.play.finds.append(f"{waiting} wait for ever, beside {self._left_in_service()}")
            elif not self._comes_about(lambda: not self._left()):
                self.play.finds.append(f"left behind: {self._left()}")
            else:
                self.play.end(self.stage)
            assert not self.play.finds, "; ".join(self.play.finds)
            for actor in self.actors:
                actor.finish()
            assert self._comes_about(lambda: all(actor.dead or actor.main.done() for actor in self.actors))
        finally:
            for actor in self.actors:
                actor.loop.end(actor.main)

    def _left(self) -> dict[str, object]:
        left = {"service": self._left_in_service(), **{actor.name: actor.left() for actor in self.actors}}
        return {where: what for where, what in left.items() if what}

    def _left_in_service(self) -> list[str]:
        """The nodes that should not be there any more."""
        nodes, below = self.stage.nodes(), f"{self.play.path}/"
        found = {path.removeprefix(below): node for path, node in nodes.items() if path.startswith(below)}
        return [
            name
            for name, node in found.items()
            if not (node.mode is CreateMode.CONTAINER or self.play.may_stay(name, node))
        ]

    def _comes_about(self, condition: Callable[[], bool]) -> bool:
        until_us = self.stage.world.now_us + PLAY_MS_MAX * MS
        while not condition() and self.stage.world.now_us < until_us:
            self.stage.run_ms(50)
        return condition()


def strike_at_answers(play: Callable[[], Play], number: int, every: int) -> int:
    """Tell the play with that one of the FAULTS at the first actor's answers in turn, and at last without. Of `every`
    so many answers one is struck, another one by each fault; all of them if ZK_STRIKES=all is in the environment.
    How many answers there were at last."""
    servers, fault = FAULTS[number]
    every = 1 if os.environ.get("ZK_STRIKES") == "all" else every
    at = 1 + number % every
    with Stage(servers) as stage:
        while (answers := _strike(stage, fault, play(), at)) >= at:
            at += every
    return answers


def _strike(stage: Stage, fault: Fault, play: Play, at: int) -> int:
    """Tell the play with the fault at this answer; how many there were."""
    troupe = Troupe(stage, play)
    victim = troupe.actors[0]
    victim.on_answer = lambda number: fault(victim) if number == at else None
    try:
        troupe.perform()
    except Exception as error:
        error.add_note(f"struck at answer {at}")
        raise
    return victim.answers


# ---- faults


def loses_the_answer(victim: Actor) -> None:
    """The connection breaks, and this answer with it."""
    victim.line.darken(1 * MS)
    victim.line.reset()


def loses_its_session(victim: Actor) -> None:
    """This answer does not come, nor anything more for longer than the session lasts."""
    victim.line.darken(2 * TIMEOUT_MS * MS)


def loses_its_session_afterwards(victim: Actor) -> None:
    """This answer comes, and nothing more for longer than the session lasts."""
    victim.world.after(1, lambda: loses_its_session(victim))


def gives_its_session_up(victim: Actor) -> None:
    """Nothing comes for so long that the client takes its session for lost; but a server that began anew meanwhile has
    given it more time, with all nodes that it has."""
    stage, server = victim.stage, victim.stage.leader()
    victim.line.darken(1.3 * TIMEOUT_MS * MS)
    victim.world.after(int(0.9 * TIMEOUT_MS) * MS, lambda: stage.kill(server))
    victim.world.after(int(0.9 * TIMEOUT_MS + 20) * MS, lambda: stage.start(server))


def dies(victim: Actor) -> None:
    """Its process ends with this answer; the next one does the same beside the nodes of the session before."""
    victim.die()


def is_cancelled_while_cut_off(victim: Actor) -> None:
    """This answer does not come, and the victim does not wait any longer for it."""
    victim.line.darken(300 * MS)
    victim.line.reset()
    victim.world.after(50 * MS, victim.cancel)


def loses_the_path(victim: Actor) -> None:
    """Somebody deletes the path with all that is below it."""
    play, stage = victim.troupe.play, victim.stage
    play.spoiled()
    doomed = [path for path in stage.nodes() if path == play.path or path.startswith(f"{play.path}/")]
    for path in sorted(doomed, reverse=True):
        stage.vandal.ask(Delete(path))


def loses_the_server(victim: Actor) -> None:
    """The server, the leader if there are several, is killed, and comes back soon."""
    stage, leader = victim.stage, victim.stage.leader()
    victim.world.after(1, lambda: stage.kill(leader))
    victim.world.after(200 * MS, lambda: stage.start(leader))


def sees_the_leader_resign(victim: Actor) -> None:
    """Another server leads."""
    stage, leader = victim.stage, victim.stage.leader()
    victim.world.after(1, lambda: stage.resign(leader))


ONE_SERVER: Sequence[Fault] = (
    loses_the_answer,
    loses_its_session,
    loses_its_session_afterwards,
    gives_its_session_up,
    dies,
    is_cancelled_while_cut_off,
    loses_the_path,
    loses_the_server,
)
THREE_SERVERS: Sequence[Fault] = (loses_the_server, sees_the_leader_resign)
FAULTS: Sequence[tuple[int, Fault]] = [(1, fault) for fault in ONE_SERVER] + [(3, fault) for fault in THREE_SERVERS]
"""Each with the number of servers."""
FAULT_NAMES = [f"{fault.__name__}, {servers}" for servers, fault in FAULTS]
