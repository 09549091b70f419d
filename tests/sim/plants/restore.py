"""Planted bugs of a tree that is brought from elsewhere, with their stories."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

from zk.broadcast.engine import RaiseEpoch
from zk.broadcast.zab.leading import Leading
from zk.broadcast.zab.stance import Move
from zk.model.acl import OPEN_ACL
from zk.model.record import Epoch, SessionId, Zxid
from zk.model.requests import BeginRestore, CreateMode, FinishRestore, Restore, SetWatches
from zk.model.session import Session
from zk.model.znode import Znode
from zk.model.zxids import make_zxid
from zk.replica.config import ReplicaConfig
from zk.sim import Plant
from zk.sim.plant import patched
from zk.sim.scenario import Scenario
from zk.sim.scenario_client import ScenarioClient
from zk.tree import restoring, sessions
from zk.tree.image import Image
from zk.tree.store import Store
from zk.tree.tree import Tree

end = sessions._end
image = Tree.image

SOURCE = make_zxid(Epoch(500), 77)  # far above what an ensemble begins with
NODE = Znode(b"", OPEN_ACL, SOURCE, SOURCE, SOURCE, 1_000, 2_000, 3, 0, 2, SessionId(0), 0, CreateMode.PERSISTENT, 0)
TREE = {"/": replace(NODE, num_children=1, czxid=Zxid(0)), "/app": replace(NODE, num_children=1), "/app/a": NODE}


def is_taken_for_empty(store: Store) -> None:
    """Whatever is there."""


def forgets_what_is_brought(self: Tree) -> Image:
    return replace(image(self), brought=None)


def lives_on(store: Store, session: Session) -> None:
    brought, store.restoration = store.restoration, None
    end(store, session)
    store.restoration = brought


def begins_it_alone(self: Leading, event: RaiseEpoch) -> Move | None:
    """Nobody is asked, nobody promises anything, and no disk knows of it."""
    if event.epoch >= self.epoch and not self._tokens:
        self.epoch = Epoch(event.epoch + 1)
        self._next_counter = 1
    return None


def looks_at_zxids_alone(self: Tree, since: Zxid) -> Mapping[str, Znode]:
    """Though the root has those of where it was brought from."""
    return self.znodes


# ---- stories


def bring(s: Scenario, client: ScenarioClient) -> None:
    asked = [client.ask(BeginRestore(SOURCE)), client.ask(Restore(tuple(TREE.items())))]
    s.run_until(lambda: all(each.answered for each in asked))


def finish(s: Scenario, client: ScenarioClient) -> None:
    s.run_until(lambda: s.replica(client.server).clients.applied > SOURCE)
    asked = client.ask(FinishRestore(len(TREE)))
    s.run_until(lambda: asked.answered)


def a_tree_is_not_brought_to_where_there_is_one() -> None:
    with Scenario() as s:
        client = s.client()
        bring(s, client)
        s.client().create("/mine")
        finish(s, client)


def short_memory(config: ReplicaConfig) -> ReplicaConfig:
    """Whoever misses anything needs a snapshot."""
    return replace(config, zab=replace(config.zab, history_entries_max=0, history_bytes_max=0))


def what_has_been_brought_is_in_every_snapshot() -> None:
    with Scenario(tune=short_memory) as s:
        client = s.client(at=s.leader())
        bring(s, client)
        away = s.followers()[0]
        s.kill(away)
        s.wipe(away)
        s.start(away)
        s.run_until_in_step()
        finish(s, client)


def what_has_been_brought_goes_with_its_session() -> None:
    with Scenario() as s:
        client = s.client()
        bring(s, client)
        client.close()
        bring(s, s.client())


def the_epoch_is_raised_by_all_and_stays_so() -> None:
    with Scenario() as s:
        client = s.client()
        bring(s, client)
        finish(s, client)
        s.power_cut(*s.servers)
        s.start(*s.servers)
        s.run_until_leader()


def who_was_away_meanwhile_and_watches_the_root_again_is_told() -> None:
    with Scenario() as s:
        client, away = s.client(), s.client(at=s.servers[-1])
        bring(s, client)
        s.run_until(lambda: s.replica(away.server).clients.applied > SOURCE)
        seen = s.replica(away.server).clients.applied
        finish(s, client)
        away.sync()
        asked = away.ask(SetWatches(seen, child=("/",)))
        away.sync()
        if not asked.answered or [event.path for event in away.events] != ["/"]:
            s.world.fail("watches", f"{away.events} is what was told of the root")


STORIES: Mapping[str, Sequence[Callable[[], None]]] = {
    "brought-to-a-tree": (a_tree_is_not_brought_to_where_there_is_one,),
    "snapshot-without-what-is-brought": (what_has_been_brought_is_in_every_snapshot,),
    "brought-outlives-its-session": (what_has_been_brought_goes_with_its_session,),
    "epoch-raised-alone": (the_epoch_is_raised_by_all_and_stays_so,),
    "restored-root-looks-old": (who_was_away_meanwhile_and_watches_the_root_again_is_told,),
}


def plant(name: str, what: str, invariants: str, *changes: tuple[object, str, object]) -> Plant:
    """One seed in eight brings a tree: each has a story."""

    def planted() -> AbstractContextManager[object]:
        return patched(*changes)

    return Plant(name, what, planted, frozenset(invariants.split(", ")), 0)


PLANTS = (
    plant(
        "brought-to-a-tree",
        "a tree is brought to where there is one already",
        "effects",
        (restoring, "_check_empty", is_taken_for_empty),
    ),
    plant(
        "snapshot-without-what-is-brought",
        "a snapshot leaves out what has been brought and is not seen yet",
        "effects, equal digests, equal states, halt, acknowledged writes",
        (Tree, "image", forgets_what_is_brought),
    ),
    plant(
        "brought-outlives-its-session",
        "what a session has brought is still there when it has ended",
        "effects, equal digests, equal states",
        (sessions, "_end", lives_on),
    ),
    plant(
        "epoch-raised-alone",
        "a leader goes on in a higher epoch that nobody has promised, and no disk knows of (R6)",
        "one leader, log matching, accepted epoch, leader completeness, halt, liveness, assertions",
        (Leading, "on_raise_epoch", begins_it_alone),
    ),
    plant(
        "restored-root-looks-old",
        "who watched the root, and was away when a tree was brought, is told what its zxids say",
        "effects, watches",
        (Tree, "znodes_since", looks_at_zxids_alone),
    ),
)
