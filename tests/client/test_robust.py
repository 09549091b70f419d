"""The client for threads in real programs: interrupted, forked, called from everywhere, and at the end of the process.

Programs run as such, with every warning an error: what they print on stderr is what they complain about.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from types import FrameType

import anyio
import pytest
from anyio.abc import ByteStream
from zkclient import AsyncZooKeeper, ClientClosedError, ConnectionLossError, State, ZooKeeper
from zkclient.threads import EXIT_SECONDS_MAX, LoopThread

from tests.disks import quick_directory
from zk.server.testing import ServerProcess, free_ports, start_server

STRICT = (sys.executable, "-X", "dev", "-W", "error")
TO_SPARE_S = 3.0  # for the end of a Python that has nothing to wait for, on a busy machine
SLOW = re.compile("Executing .* took [0-9.]+ seconds")  # what asyncio says in this mode when the machine is busy


@pytest.fixture
def hosts(server: ServerProcess, corner: str) -> str:
    return f"{server.address}{corner}"


@pytest.fixture
def zk(hosts: str) -> Iterator[ZooKeeper]:
    with ZooKeeper(hosts) as zk:
        zk.ensure_path("/")
        yield zk


def run(program: str | Path, *arguments: str) -> str:
    """The output of a program that ends well, and without a word on stderr."""
    what = (str(program),) if isinstance(program, Path) else ("-c", textwrap.dedent(program))
    ended = subprocess.run([*STRICT, *what, *arguments], capture_output=True, text=True, check=False, timeout=60)
    complaints = [line for line in ended.stderr.splitlines() if not SLOW.fullmatch(line)]
    assert (ended.returncode, complaints) == (0, [])
    return ended.stdout


def seconds_to_end(program: str, *arguments: str) -> float:
    """How long a program takes to end behind its last statement."""
    program = f"{textwrap.dedent(program)}\nimport time; print(time.monotonic(), flush=True)"
    said = run(program, *arguments)
    return monotonic() - float(said.splitlines()[0])


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Do `work` in so many threads at once; what one raises is raised."""
    errors: SimpleQueue[BaseException | None] = SimpleQueue()

    def one(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.put(error)
        else:
            errors.put(None)

    for number in range(count):
        threading.Thread(target=one, args=(number,), daemon=True).start()
    for _ in range(count):
        error = errors.get(timeout=60)
        if error is not None:
            raise error


# ---- threads


def test_sixteen_threads_call_one_client(zk: ZooKeeper) -> None:
    def work(number: int) -> None:
        path = f"/n{number}"
        for turn in range(25):
            zk.put(path, str(turn))
            assert str(zk.get(path)) == str(turn)
            zk.update("/", lambda data: str(int(data or b"0") + 1))
            if turn % 5 == 0:
                with zk.transaction() as txn:
                    txn.create(f"{path}/x").delete(f"{path}/x")
                with zk.Lock("/lock"):
                    assert zk.exists(path) is not None
        assert path[1:] in zk.get_children("/")

    in_threads(16, work)
    assert int(str(zk.get("/"))) == 16 * 25


def test_two_hundred_clients_live_in_one_process(hosts: str, zk: ZooKeeper) -> None:
    began = threading.active_count()
    clients = [ZooKeeper(hosts) for _ in range(200)]
    in_threads(
        10, lambda number: [client.create("/c-", ephemeral=True, sequence=True) for client in clients[number::10]]
    )
    assert len({client.session_id for client in clients}) == 200
    assert zk.exists("/").num_children == 200  # type: ignore[union-attr]  # it is there
    assert threading.active_count() <= began + 1, "no thread per client, unless it has callbacks"
    for client in clients:
        client.close()
    assert zk.get_children("/", read="linearizable") == ()


def test_callbacks_and_listeners_may_call_the_client(zk: ZooKeeper, hosts: str) -> None:
    seen: SimpleQueue[object] = SimpleQueue()
    with ZooKeeper(hosts) as other:
        other.add_listener(lambda state: seen.put((state, other.exists("/") is not None)))
        other.start()
        assert seen.get(timeout=10) == (State.CONNECTED, True)
        other.exists("/a", watch=lambda event: seen.put((event.path, other.create("/b"))))
        zk.create("/a", "1")
        assert seen.get(timeout=10) == ("/a", "/b")
    assert zk.exists("/b") is not None


def test_a_callback_that_fails_takes_no_other_with_it(zk: ZooKeeper, caplog: pytest.LogCaptureFixture) -> None:
    seen: SimpleQueue[str] = SimpleQueue()
    zk.exists("/a", watch=lambda _: sys.exit("what a callback should not do"))
    zk.exists("/a", watch=lambda event: seen.put(event.path))
    zk.create("/a")
    assert seen.get(timeout=10) == "/a"
    assert "a callback failed" in caplog.text


def test_a_listener_that_was_removed_hears_nothing(zk: ZooKeeper) -> None:
    heard: list[State] = []
    zk.add_listener(heard.append)
    zk.remove_listener(heard.append)
    zk.remove_listener(heard.append)
    zk.close()
    assert heard == []


# ---- starting and failing


def test_start_waits_for_a_session_and_stop_ends_it(hosts: str) -> None:
    zk = ZooKeeper(hosts)
    zk.start()
    states = [zk.state]
    zk.stop()
    zk.close()
    assert [*states, zk.state] == [State.CONNECTED, State.CLOSED]
    with pytest.raises(ClientClosedError):
        zk.start()


def test_a_client_that_never_connects_says_within_its_timeout_which_hosts_it_tried() -> None:
    one, other = free_ports(2)
    with ZooKeeper(f"127.0.0.1:{one},127.0.0.1:{other}", timeout=0.5) as zk:
        began = monotonic()
        with pytest.raises(ConnectionLossError) as caught:
            zk.start()
        assert monotonic() - began < 5  # not the 10 s that it has if it is not told
    assert f"127.0.0.1:{one}: Connection refused" in str(caught.value)
    assert f"127.0.0.1:{other}: Connection refused" in str(caught.value)


def test_a_client_whose_loop_fails_raises_instead_of_hanging(hosts: str, caplog: pytest.LogCaptureFixture) -> None:
    async def connect(host: str, port: int) -> None:
        raise TypeError("a defect in somebody's function")

    with ZooKeeper(hosts, connect=connect) as zk:  # type: ignore[arg-type]  # that is the point
        for _ in range(2):
            with pytest.raises(ClientClosedError):
                zk.get("/")
    assert "a defect in somebody's function" in caplog.text


def test_a_call_in_the_clients_own_thread_is_refused(hosts: str, caplog: pytest.LogCaptureFixture) -> None:
    async def connect(host: str, port: int) -> None:
        client.get("/")

    with ZooKeeper(hosts, connect=connect) as client, pytest.raises(ClientClosedError):  # type: ignore[arg-type]  # a defect
        client.get("/")
    assert "would wait for itself" in caplog.text


# ---- signals


def interrupted(wait: Callable[[], object]) -> None:
    """Press Ctrl-C while the main thread waits."""
    timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - here it may come as soon as the timer runs
        timer.start()
        wait()
    timer.join()


def test_an_interrupt_ends_the_wait_and_leaves_the_client_usable(zk: ZooKeeper, hosts: str) -> None:
    with ZooKeeper(hosts) as other, other.Lock("/lock") as held:
        interrupted(lambda: next(zk.watch("/")))
        interrupted(lambda: zk.Lock("/lock").acquire())
        assert zk.exists("/") is not None
        held.check()
    assert zk.Lock("/lock").contenders() == ()


def test_an_interrupt_ends_a_call_that_was_not_sent_yet(hosts: str, zk: ZooKeeper) -> None:
    reachable = threading.Event()

    async def connect(host: str, port: int) -> ByteStream:
        while not reachable.is_set():
            await anyio.sleep(0.01)
        return await anyio.connect_tcp(host, port)

    with ZooKeeper(hosts, connect=connect) as late:
        interrupted(lambda: late.create("/a"))
        interrupted(lambda: late.transaction().create("/b").commit())
        reachable.set()
        assert late.get_children("/") == ()


def test_signals_at_any_moment_leave_the_client_usable(hosts: str) -> None:
    run(
        f"""
        import random, signal, sys, warnings
        from zkclient import ZooKeeper

        # between the making of a coroutine and handing it over there is no place that a signal could not come to
        warnings.filterwarnings("ignore", "coroutine .* was never awaited")
        sys.unraisablehook = lambda _: None

        class Alarm(Exception):
            pass

        def ring(number, frame):
            raise Alarm

        chance = random.Random(1)
        signal.signal(signal.SIGALRM, ring)
        for _ in range(5):
            with ZooKeeper("{hosts}") as zk:
                for _ in range(30):
                    try:
                        signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-4, 5e-3))
                        for _ in range(20):
                            zk.ensure_path("/")
                            zk.Lock("/lock").contenders()
                            with zk.transaction() as txn:
                                txn.create("/x-", sequence=True, ephemeral=True)
                        signal.setitimer(signal.ITIMER_REAL, 0)  # Python may lose it, in a finaliser
                    except Alarm:
                        zk.ensure_path("/")
        """
    )


def test_a_signal_while_a_lock_is_acquired_leaves_it_free(hosts: str) -> None:
    run(
        f"""
        import random, signal, time
        from zkclient import ZooKeeper

        class Alarm(Exception):
            pass

        def ring(number, frame):
            raise Alarm

        chance = random.Random(1)
        signal.signal(signal.SIGALRM, ring)
        with ZooKeeper("{hosts}") as zk:
            zk.ensure_path("/")
            locks = [zk.Lock(f"/lock-{{number}}") for number in range(200)]
            took = 1.0
            for lock in locks[:5]:  # one may come upon a machine that stalls
                began = time.perf_counter()
                lock.acquire()
                took = min(took, time.perf_counter() - began)
                lock.release()
            for lock in locks:
                held = None
                try:
                    signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.3, 1.1) * took)
                    held = lock.acquire()
                    time.sleep(5)
                except Alarm:
                    if held is not None:
                        lock.release()
            zk.sync()
            left = [lock for lock in locks if lock.contenders()]
            assert not left, len(left)
        """
    )


def test_no_finaliser_runs_in_a_waiting_thread_in_which_a_signal_would_be_lost(zk: ZooKeeper) -> None:
    finalisers: list[str] = []

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and Path(frame.f_code.co_filename).stem in ("_weakrefset", "weakref"):
            finalisers.append(frame.f_code.co_qualname)

    sys.setprofile(profile)
    try:
        for _ in range(5):
            with zk.Lock("/lock"):
                pass
    finally:
        sys.setprofile(None)
    assert finalisers == []


# ---- fork


def in_child(work: Callable[[], object]) -> str:
    """What `work` gives in a forked child, as text."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        said = "nothing"
        try:
            said = str(work())
        except BaseException as error:
            said = repr(error)
        finally:
            os.write(writer, said.encode())
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as text:
        said = text.read()
    assert os.waitpid(child, 0)[1] == 0
    return said


def test_a_child_forked_while_threads_call_has_a_client_that_works(zk: ZooKeeper) -> None:
    stop = threading.Event()
    parents = zk.session_id

    def call(_: int) -> None:
        while not stop.is_set():
            zk.get("/")
            zk.Lock("/lock").contenders()

    def work() -> bool:
        zk.create("/child-", ephemeral=True, sequence=True)
        with zk.Lock("/lock"):
            return zk.session_id not in (0, parents)

    callers = threading.Thread(target=in_threads, args=(4, call))
    callers.start()
    try:
        assert [in_child(work) for _ in range(10)] == ["True"] * 10
    finally:
        stop.set()
        callers.join()
    assert zk.session_id == parents


def test_a_child_of_a_child_works_too(zk: ZooKeeper) -> None:
    assert in_child(lambda: in_child(lambda: zk.exists("/") is not None)) == "True"


def test_what_was_begun_before_the_fork_says_so_in_the_child(zk: ZooKeeper) -> None:
    stream = zk.watch("/")
    transaction = zk.transaction().create("/a")
    assert "forked" in in_child(transaction.commit)
    assert "forked" in in_child(lambda: next(stream))
    transaction.commit()
    assert next(stream).path == "/"


def test_listeners_go_with_the_client_into_the_child(zk: ZooKeeper) -> None:
    heard: SimpleQueue[State] = SimpleQueue()
    zk.add_listener(heard.put)

    def work() -> State:
        zk.start()
        return heard.get(timeout=10)

    assert in_child(work) == "State.CONNECTED"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_multiprocessing_have_clients_that_work(
    method: str, hosts: str, zk: ZooKeeper, tmp_path: Path
) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        f"""
import multiprocessing
from zkclient import ZooKeeper

zk = ZooKeeper("{hosts}")

def work(number):
    with zk.Lock("/lock"):
        return zk.create(f"/m{{number}}", str(zk.session_id))

if __name__ == "__main__":
    zk.start()
    with multiprocessing.get_context("{method}").Pool(2) as pool:
        print(pool.map(work, range(6)))
        pool.close()
        pool.join()
"""
    )
    assert run(program) == f"{[f'/m{number}' for number in range(6)]}\n"
    assert zk.exists("/lock").num_children == 0  # type: ignore[union-attr]  # it is there


def test_workers_forked_before_and_after_the_first_call_serve_and_end_well(hosts: str, zk: ZooKeeper) -> None:
    """A web server's master loads the application, forks its workers, and goes on."""
    output = run(
        f"""
        import os, threading
        from zkclient import ZooKeeper
        zk = ZooKeeper("{hosts}")
        for begun in (False, True):
            workers = []
            for number in range(3):
                if (worker := os.fork()) == 0:
                    zk.create("/worker-", ephemeral=True, sequence=True)
                    raise SystemExit
                workers.append(worker)
            if not begun:
                zk.create("/master", ephemeral=True)
            print([os.waitpid(worker, 0)[1] for worker in workers], flush=True)
        print(zk.get_children("/", read="linearizable"))
        """
    )
    assert output == "[0, 0, 0]\n[0, 0, 0]\n('master',)\n"
    assert zk.get_children("/") == ()


# ---- the end of the process


def test_a_program_ends_at_once_with_calls_under_way_and_iterators_unfinished(hosts: str, zk: ZooKeeper) -> None:
    took = seconds_to_end(
        f"""
        import threading
        from zkclient import ZooKeeper
        zk = ZooKeeper("{hosts}")
        zk.create("/a", ephemeral=True)
        unfinished = [zk.watch("/"), zk.walk("/"), zk.pages("/"), zk.Election("/leader").leaders()]
        next(unfinished[1])
        def call():
            while True:
                zk.get("/")
        def listen():
            next(zk.watch("/nothing"))
        def queue():
            zk.Lock("/lock").acquire()
        held = zk.Lock("/lock").acquire()
        for work in (call, call, listen, queue):
            threading.Thread(target=work, daemon=True).start()
        threading.Thread(target=lambda: [zk.get("/") for _ in range(100)]).start()
        zk.add_listener(print)
        """
    )
    assert took < EXIT_SECONDS_MAX + TO_SPARE_S
    assert zk.get_children("/", read="linearizable") == ("lock",)
    assert zk.exists("/lock").num_children == 0  # type: ignore[union-attr]  # it is there


def test_a_program_ends_in_time_although_the_servers_are_gone() -> None:
    program = """
        import os, signal, sys, threading
        from zkclient import ZooKeeper
        pid, hosts, number = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
        clients = [ZooKeeper(hosts) for _ in range(10)]
        for zk in clients:
            zk.create("/a-", ephemeral=True, sequence=True)
        os.kill(pid, number)
        for zk in clients:
            threading.Thread(target=zk.get, args=("/",), daemon=True).start()
    """
    for number in (signal.SIGSTOP, signal.SIGKILL):
        with quick_directory() as data, start_server(data) as gone:
            took = seconds_to_end(program, str(gone.pid), gone.hosts, str(int(number)))
            assert took < EXIT_SECONDS_MAX + TO_SPARE_S


def test_callbacks_in_the_loop_know_it_from_the_first_one_on() -> None:
    """What a thread asked for before the loop ran is no exception."""

    async def scope_of_a_callback() -> object:
        loop = asyncio.get_running_loop()
        made: asyncio.Future[object] = loop.create_future()

        def make() -> None:
            try:
                made.set_result(anyio.CancelScope())
            except Exception as error:
                made.set_exception(error)

        loop.call_soon(make)
        return await made

    for _ in range(10):
        assert isinstance(LoopThread().run(scope_of_a_callback()), anyio.CancelScope)


def test_a_task_group_that_failed_in_the_block_does_not_spoil_its_end(hosts: str) -> None:
    """Of Python 3.11: the task that was in it counts as being cancelled for ever."""

    async def fail() -> None:
        raise ValueError("mine")

    async def main() -> str:
        async with AsyncZooKeeper(hosts) as zk:
            await zk.ensure_path("/")
            with pytest.raises(ExceptionGroup):  # noqa: PT012 - leaving the block is what is tested
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(zk.Queue("/empty").get())
                    tasks.create_task(fail())
            async with zk.TreeCache("/"), zk.LeaderLatch("/leader") as latch:
                await latch.wait()
        return "came back"

    assert asyncio.run(main()) == "came back"
