"""Stories of clients: locks and sessions, whose bugs only an unlucky moment shows.

Each ends well on the production code, and shows the planted bug up that it belongs to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import anyio
from zkclient import LockLost, OperationTimeoutError, SessionExpiredError, State
from zkclient.recipes.contenders import PREFIX

from zk.model.record import ServerId
from zk.model.requests import (
    ClientRequest,
    Create,
    CreateMode,
    Delete,
    GetChildren,
    Multi,
    MultiRead,
    Ping,
    SetData,
)
from zk.sim.referee import FIRST, Leases, ReadersAndWriters
from zk.sim.scenario import Scenario
from zk.sim.scenario_app import ScenarioApp

ONE, TWO, THREE = ServerId(1), ServerId(2), ServerId(3)
PATH = "/contest"
LOCK = {PATH: FIRST}
LONG_MS = 3_000  # longer than any session lasts here

Story = Callable[[], None]


def contenders(s: Scenario) -> list[str]:
    return [path for path in s.replica(s.leader()).tree.znodes if path.startswith(f"{PATH}/")]


def at_the_answer(app: ScenarioApp, kind: type[ClientRequest], act: Callable[[], object]) -> None:
    """`act` once, just before the next answer to such a call."""

    def on_answer(*answered: object) -> None:
        call = answered[0]
        if isinstance(getattr(call, "request", None), kind):
            app.on_answer = lambda call, reply: None
            act()

    app.on_answer = on_answer


# ---- a holder and its session


def a_holder_that_is_cut_off_knows_of_its_loss_before_the_next_one_holds() -> None:
    with Scenario(contests=LOCK) as s:
        one, other = s.app(), s.app()
        one.take(one.zk.Lock(PATH))
        next_one = other.begin(other.taking(other.zk.Lock(PATH)))
        one.darken_ms(LONG_MS)
        s.run_until(next_one.done)


def a_session_counts_from_its_last_question_not_from_the_answer() -> None:
    with Scenario(contests=LOCK) as s:
        one, other = s.app(), s.app()
        one.take(one.zk.Lock(PATH))
        next_one = other.begin(other.taking(other.zk.Lock(PATH)))

        def hear_of_it_late_and_of_nothing_more() -> None:
            one.stall_ms(1_200)
            s.world.after(1, lambda: one.darken_ms(LONG_MS))

        at_the_answer(one, Ping, hear_of_it_late_and_of_nothing_more)
        s.run_until(next_one.done)


def answers_that_the_leader_does_not_know_of_keep_no_session_alive() -> None:
    with Scenario(contests=LOCK) as s:
        one, other = s.app(at=ONE), s.app(at=TWO)
        one.take(one.zk.Lock(PATH))
        next_one = other.begin(other.taking(other.zk.Lock(PATH)))

        async def read_all_the_time() -> None:
            while True:
                await one.zk.exists(PATH)
                await anyio.sleep(0.01)

        one.begin(read_all_the_time())
        s.block(ONE, THREE)  # 1 hears its leader, and is not heard
        s.run_until(next_one.done)


def a_holder_that_reads_on_without_a_quorum_knows_of_its_loss() -> None:
    with Scenario(tune=lambda config: replace(config, read_only_mode=True), contests=LOCK) as s:
        one, other = s.app(at=ONE, timeout_ms=6_000, read_only=True), s.app(at=TWO)
        one.take(one.zk.Lock(PATH))
        next_one = other.begin(other.taking(other.zk.Lock(PATH)))
        s.isolate(ONE)
        s.run_until(lambda: one.zk.state is State.CONNECTED_READ_ONLY)
        s.run_until(next_one.done)


def a_process_that_stood_still_does_not_hold_on() -> None:
    with Scenario(contests=LOCK) as s:
        one, other = s.app(), s.app()

        async def hold_and_stand_still() -> None:
            held = await one.zk.Lock(PATH).acquire()
            other.begin(other.taking(other.zk.Lock(PATH)))
            one.stall_ms(LONG_MS)
            await anyio.sleep(0)
            held.check()

        holding = one.begin(hold_and_stand_still())
        s.run_until(holding.done)
        assert isinstance(holding.exception(), LockLost)


# ---- a holder and its node


def a_holder_whose_node_is_deleted_is_told_so() -> None:
    with Scenario(contests=LOCK) as s:
        one = s.app()
        held = one.do(one.zk.Lock(PATH).acquire())
        s.client().multi(*map(Delete, contenders(s)))
        s.run_ms(10)
        assert held.lost.is_set()


def a_holder_hears_of_its_loss_before_it_hears_of_anything_later() -> None:
    with Scenario(contests=LOCK) as s:
        one, other = s.app(), s.client()
        other.create("/box")
        heard: list[bool] = []  # of what came later: whether the holder knew by then

        def told(event: object) -> None:
            if acquiring.done() and acquiring.exception() is None:
                heard.append(acquiring.result().lost.is_set())

        def meanwhile() -> None:
            other.ask(Multi((*map(Delete, contenders(s)), SetData("/box", b"later"))))
            one.stall_ms(100)

        one.do(one.zk.get("/box", watch=told))
        at_the_answer(one, MultiRead, meanwhile)
        acquiring = one.begin(one.zk.Lock(PATH).acquire())
        s.run_ms(200)
        assert acquiring.done()
        assert False not in heard


def a_body_whose_lock_is_lost_does_not_run_on() -> None:
    with Scenario(contests=LOCK) as s:
        one = s.app()

        async def work() -> None:
            async with one.zk.Lock(PATH):
                await anyio.sleep_forever()

        working = one.begin(work())
        s.run_until(lambda: contenders(s))
        s.run_ms(10)
        s.client().multi(*map(Delete, contenders(s)))
        s.run_ms(10)
        assert working.done()
        assert isinstance(working.exception(), LockLost)


def a_process_that_begins_anew_does_not_hold_by_the_node_that_it_had_before() -> None:
    with Scenario(contests=LOCK) as s:
        before, after = s.app(), s.app()
        before.take(before.zk.Lock(PATH, identifier="host-1"))
        before.stall_ms(LONG_MS)
        after.take(after.zk.Lock(PATH, identifier="host-1"))


def a_release_removes_nobody_elses_node_of_the_same_name() -> None:
    with Scenario(contests=LOCK) as s:
        one, other, vandal = s.app(), s.app(), s.client()
        lock = one.zk.Lock(PATH)
        one.do(lock.acquire())
        (first,) = contenders(s)
        one.stall_ms(100)
        vandal.multi(Delete(first), Delete(PATH))
        claim = other.take(other.zk.Lock(PATH))
        assert contenders(s) == [first]  # the numbers begin anew
        releasing = one.begin(lock.release())
        s.run_until(releasing.done)
        assert isinstance(releasing.exception(), LockLost)
        assert not claim.held.lost.is_set()


def a_release_that_is_refused_for_the_moment_is_done_later() -> None:
    with Scenario(servers=1, contests=LOCK) as s:
        one = s.app()
        lock = one.zk.Lock(PATH)
        one.do(lock.acquire())
        s.fill_disk(ONE)
        s.run_ms(1_000)
        one.do(lock.release())
        assert contenders(s)
        s.make_room(ONE)
        s.run_ms(2_000)
        assert contenders(s) == []


def a_guarded_write_of_a_holder_that_does_not_know_of_its_loss_is_refused() -> None:
    with Scenario(contests=LOCK) as s:
        one = s.app()
        held = one.do(one.zk.Lock(PATH).acquire())
        one.do(one.zk.create("/guarded", b""))
        one.darken_ms(200)
        s.client().multi(*map(Delete, contenders(s)))
        writing = one.begin(one.zk.transaction(guard=held).set("/guarded", b"1").commit())
        s.run_until(writing.done)
        assert isinstance(writing.exception(), LockLost)


# ---- those who wait


def a_waiter_whose_path_is_deleted_hears_that_its_node_was() -> None:
    with Scenario(contests=LOCK) as s:
        one, other = s.app(), s.app()
        one.do(one.zk.Lock(PATH).acquire())
        waiting = other.begin(other.zk.Lock(PATH).acquire())
        s.run_ms(100)
        s.client().multi(*map(Delete, contenders(s)), Delete(PATH))
        s.run_until(waiting.done)
        assert isinstance(waiting.exception(), LockLost)


def a_waiter_whose_session_ended_does_not_wait_on_as_somebody_else() -> None:
    with Scenario(contests=LOCK) as s:
        waiter, others = s.app(), s.client()
        others.create(PATH)
        others.create(f"{PATH}/{PREFIX}")  # no number: nobody's contender
        before = others.create(f"{PATH}/{PREFIX}", mode=CreateMode.EPHEMERAL_SEQUENTIAL).path
        waiting = waiter.begin(waiter.zk.Lock(PATH).acquire())
        s.run_ms(20)
        own = contenders(s)[-1]
        waiter.darken_ms(LONG_MS)
        s.run_ms(LONG_MS - 100)
        assert contenders(s)[-1] == before
        others.create(own)
        s.run_ms(500)
        assert waiting.done()
        assert isinstance(waiting.exception(), SessionExpiredError)


def a_waiter_gives_up_in_time_and_leaves_nothing() -> None:
    with Scenario(contests=LOCK) as s:
        one, other = s.app(), s.app()
        one.take(one.zk.Lock(PATH))
        waiting = other.begin(other.zk.Lock(PATH, timeout=0.5).acquire())
        s.run_ms(600)
        assert waiting.done()
        assert isinstance(waiting.exception(), OperationTimeoutError)
        assert len(contenders(s)) == 1


def each_waits_for_the_one_just_before_it() -> None:
    with Scenario(contests=LOCK) as s:
        apps = [s.app() for _ in range(3)]
        locks = [app.zk.Lock(PATH) for app in apps]
        for app, lock in zip(apps, locks, strict=True):
            app.begin(lock.acquire())
            s.run_ms(20)


def an_observer_is_not_told_of_a_candidate_who_has_the_name_of_an_earlier_leader() -> None:
    with Scenario(contests=LOCK) as s:
        observer, vandal = s.app(), s.client()
        vandal.create(PATH)
        vandal.create(f"{PATH}/{PREFIX}1", b"first")
        at_the_answer(observer, GetChildren, lambda: s.world.after(1, lambda: observer.darken_ms(500)))
        asking = observer.begin(observer.zk.Election(PATH).leader())
        s.run_ms(50)  # it has seen the name, and not yet the node
        vandal.multi(Delete(f"{PATH}/{PREFIX}1"), Delete(PATH))
        vandal.multi(*(Create(path, path.encode()) for path in (PATH, f"{PATH}/{PREFIX}0", f"{PATH}/{PREFIX}1")))
        s.run_until(asking.done)
        assert asking.result() == f"{PATH}/{PREFIX}0"


# ---- places that several have


def a_reader_waits_for_every_writer_before_it() -> None:
    with Scenario(contests={PATH: ReadersAndWriters()}) as s:
        writer, one, other = s.app(), s.app(), s.app()
        writer.take(writer.zk.ReadWriteLock(PATH).write_lock())
        for reader in (one, other):
            reading = reader.begin(reader.taking(reader.zk.ReadWriteLock(PATH).read_lock()))
            s.run_ms(20)
            assert not reading.done()


def a_writer_waits_for_every_reader_before_it() -> None:
    with Scenario(contests={PATH: ReadersAndWriters()}) as s:
        one, other, writer = s.app(), s.app(), s.app()
        for reader in (one, other):
            reader.take(reader.zk.ReadWriteLock(PATH).read_lock())
        writing = writer.begin(writer.taking(writer.zk.ReadWriteLock(PATH).write_lock()))
        s.run_ms(20)
        assert not writing.done()


def a_leaseholder_hears_of_its_loss_before_it_hears_of_anything_later() -> None:
    with Scenario(contests={PATH: Leases(1)}) as s:
        before, one, behind, other = s.app(), s.app(), s.app(), s.client()
        other.create("/box")
        heard: list[bool] = []  # of what came later: whether the holder knew by then
        first = before.zk.Semaphore(PATH, max_leases=1)
        before.do(first.acquire())
        acquiring = one.begin(one.zk.Semaphore(PATH, max_leases=1).acquire())
        s.run_ms(20)
        own = contenders(s)[-1]
        behind.begin(behind.zk.Semaphore(PATH, max_leases=1).acquire())
        s.run_ms(20)

        def told(event: object) -> None:
            if acquiring.done() and acquiring.exception() is None:
                heard.append(acquiring.result().lost.is_set())

        def meanwhile() -> None:
            other.ask(Multi((Delete(own), SetData("/box", b"later"))))
            one.stall_ms(100)

        one.do(one.zk.get("/box", watch=told))
        at_the_answer(one, Multi, meanwhile)  # by which it says to the one behind that it has got its lease
        before.do(first.release())
        s.run_ms(200)
        assert acquiring.done()
        assert False not in heard


def no_more_hold_a_lease_than_there_are() -> None:
    with Scenario(contests={PATH: Leases(2)}) as s:
        apps = [s.app() for _ in range(3)]
        for app in apps[:2]:
            app.take(app.zk.Semaphore(PATH, max_leases=2))
        last = apps[2].begin(apps[2].taking(apps[2].zk.Semaphore(PATH, max_leases=2)))
        s.run_ms(20)
        assert not last.done()


STORIES: Mapping[str, Sequence[Story]] = {
    "no-clock-of-its-own": (a_holder_that_is_cut_off_knows_of_its_loss_before_the_next_one_holds,),
    "session-counted-from-the-answer": (a_session_counts_from_its_last_question_not_from_the_answer,),
    "any-answer-proves-the-session": (answers_that_the_leader_does_not_know_of_keep_no_session_alive,),
    "read-only-proves-the-session": (a_holder_that_reads_on_without_a_quorum_knows_of_its_loss,),
    "unchecked-check": (a_process_that_stood_still_does_not_hold_on,),
    "grant-not-confirmed": (a_holder_whose_node_is_deleted_is_told_so,),
    "body-runs-on": (a_body_whose_lock_is_lost_does_not_run_on,),
    "node-of-an-earlier-session": (a_process_that_begins_anew_does_not_hold_by_the_node_that_it_had_before,),
    "removal-by-name": (a_release_removes_nobody_elses_node_of_the_same_name,),
    "guard-proves-nothing": (a_guarded_write_of_a_holder_that_does_not_know_of_its_loss_is_refused,),
    "release-asked-once": (a_release_that_is_refused_for_the_moment_is_done_later,),
    "vanished-path": (a_waiter_whose_path_is_deleted_hears_that_its_node_was,),
    "waits-as-somebody-else": (a_waiter_whose_session_ended_does_not_wait_on_as_somebody_else,),
    "granted-and-then-watched": (a_holder_hears_of_its_loss_before_it_hears_of_anything_later,),
    "deadline-ignored": (a_waiter_gives_up_in_time_and_leaves_nothing,),
    "wrong-predecessor": (each_waits_for_the_one_just_before_it,),
    "leader-known-by-name": (an_observer_is_not_told_of_a_candidate_who_has_the_name_of_an_earlier_leader,),
    "reader-behind-a-reader": (a_reader_waits_for_every_writer_before_it,),
    "writer-beside-readers": (a_writer_waits_for_every_reader_before_it,),
    "told-and-granted": (a_leaseholder_hears_of_its_loss_before_it_hears_of_anything_later,),
    "one-lease-too-many": (no_more_hold_a_lease_than_there_are,),
}
