"""The order of events of `zk demo`: start, work, kill the leading server, kill the leading worker, verify.

The processes are real ones, started here and ended here. The controller is also a client: it registers the jobs, and
counts the results by a watch that goes on over the failover.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import zkclient
from anyio import to_thread

import zk
from zk.cli import ensemble, lifeline
from zk.cli.demo import plan, verify, worker
from zk.cli.demo.display import Display, Scene, display_for
from zk.cli.demo.journal import read_journals
from zk.cli.demo.probe import Probe
from zk.cli.exits import ExitCode
from zk.cli.output import note
from zk.cli.status import ask_all
from zk.model.errors import ZKError
from zk.model.events import EventType
from zk.model.paths import basename
from zk.server.testing import free_ports

SERVERS = 3
WORKERS = ("w1", "w2", "w3", "w4")
BACKENDS = ("asyncio", "trio")  # workers take turns: the client runs on both
SESSION_TIMEOUT_MS = "1000:40000"  # what the servers allow, so that a killed worker's locks are soon free
WORK_S = 8.0  # the pauses in the jobs come to this, so that there is something to watch
DOWN_S = 1.0  # how long the killed server stays down
DEADLINE_S = 60.0  # a good run takes a third of this
JOBS_PER_TRANSACTION = 200
FILES_MAX = 5_000


def run(directory: Path | None) -> int:
    """Run the demo on the files below `directory`, by default on this program's own. The exit code: 0 if all holds."""
    own = (Path(zk.__file__).parent, Path(zkclient.__file__).parent)
    source = plan.Source(own if directory is None else (directory.resolve(),))
    jobs = source.jobs()
    if not 1 <= len(jobs) <= FILES_MAX:
        note(f"zk: {directory} has {len(jobs)} files; the demo takes 1 to {FILES_MAX}")
        return ExitCode.USAGE
    place = Path(tempfile.mkdtemp(prefix="zk-demo-"))
    try:
        with display_for(Scene(len(jobs))) as display:
            display.say(f"{len(jobs)} files copied from {' and '.join(map(str, source.directories))} to {place}")
            good = anyio.run(Demo(source.copy(jobs, place / "files"), jobs, place, display).run)
    except KeyboardInterrupt:
        shutil.rmtree(place)
        raise
    if good:
        shutil.rmtree(place)
        return ExitCode.OK
    note(f"what the processes said and wrote is kept in {place}")
    return ExitCode.ERROR


class Demo:
    """One run. `place` is where the servers' data, all logs and the workers' journals go."""

    def __init__(self, source: plan.Source, jobs: tuple[plan.Job, ...], place: Path, display: Display) -> None:
        self.source = source
        self.jobs = jobs
        self.place = place
        self.display = display
        self.scene = display.scene
        ports = free_ports(2 * SERVERS)
        self.members = tuple(
            ensemble.Member(n, ports[2 * n - 2], ports[2 * n - 1], place / f"s{n}") for n in range(1, SERVERS + 1)
        )
        self.connect = ensemble.connect_string(self.members)
        self.processes: dict[str, subprocess.Popen[str]] = {}  # servers s1… and workers w1…, by name
        self.outage_ms = 0.0

    async def run(self) -> bool:
        """Do everything; whether all holds."""
        try:
            with anyio.fail_after(DEADLINE_S):
                return await self._run()
        except TimeoutError:
            states = {**self.scene.servers, **self.scene.workers}
            self.display.say(
                f"gave up after {DEADLINE_S:.0f} s, with {self.scene.done} of {self.scene.total} files done; "
                + ", ".join(f"{name} {state}" for name, state in states.items())
            )
            return False
        finally:
            lifeline.stop_all(self.processes.values())

    async def _run(self) -> bool:
        async with anyio.create_task_group() as background:
            for member in self.members:
                self._start_server(member)
            background.start_soon(self._look_at_servers)
            await self._until(lambda: sorted(self.scene.servers.values()) == ["follows", "follows", "leads"])
            self.display.say(f"three servers run, {self._leading_server()} leads; fsync is on")
            probe = Probe(self.connect)
            async with zkclient.AsyncZooKeeper(self.connect) as client, anyio.create_task_group() as tasks:
                await self._register(client)
                tasks.start_soon(probe.run)
                tasks.start_soon(self._look_at_workers, client)
                await self._work(client, probe)
                tasks.cancel_scope.cancel()
            unasked = [name for name, process in self.processes.items() if process.poll() not in (None, -9)]
            await to_thread.run_sync(lifeline.stop_all, [self.processes[name] for name in WORKERS])
            good = await self._verify(probe, unasked)
            background.cancel_scope.cancel()
        return good

    # ---- processes

    def _start_server(self, member: ensemble.Member) -> None:
        arguments = ensemble.server_arguments(member, self.members, "--session-timeout-ms", SESSION_TIMEOUT_MS)
        self._spawn(f"s{member.id}", arguments)
        self.scene.servers[f"s{member.id}"] = "starts"

    def _start_workers(self) -> None:
        pause_s = WORK_S * len(WORKERS) / len(self.jobs)
        for number, name in enumerate(WORKERS):
            backend = BACKENDS[number % len(BACKENDS)]
            self._spawn(name, worker.arguments(self.connect, name, self.source, self.place, pause_s, backend))
            self.scene.workers[name] = "works"
        self.display.say(f"{len(WORKERS)} worker processes start; each job rests {pause_s:.2f} s under its lock")

    def _spawn(self, name: str, arguments: list[str]) -> None:
        with (self.place / f"{name}.log").open("a") as log:
            self.processes[name] = lifeline.spawn(arguments, log.fileno())

    def _kill(self, name: str) -> None:
        """SIGKILL: the process gets to say nothing."""
        self.processes[name].kill()
        self.processes[name].wait()

    # ---- what the display shows, and what others wait for

    async def _look_at_servers(self) -> None:
        """Ask all servers what they do, again and again."""
        names = {member.address: f"s{member.id}" for member in self.members}
        while True:
            for address, answer in (await ask_all(tuple(names))).items():
                name = names[address]
                if self.processes[name].poll() is not None:
                    self.scene.servers[name] = "killed"
                elif isinstance(answer, ZKError):
                    self.scene.servers[name] = "starts"
                else:
                    self.scene.servers[name] = {"leader": "leads", "follower": "follows"}.get(answer.role, "starts")
            self.display.changed()
            await anyio.sleep(0.1)

    async def _look_at_workers(self, client: zkclient.AsyncZooKeeper) -> None:
        async for leader in client.Election(plan.LEADER).leaders():
            for name in WORKERS:
                if self.scene.workers.get(name, "killed") != "killed":
                    self.scene.workers[name] = "leads" if name == leader else "works"
            if leader is not None:
                self.display.say(f"{leader} won the workers' election and hands out the jobs")

    def _leading_server(self) -> str | None:
        return next((name for name, state in self.scene.servers.items() if state == "leads"), None)

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await anyio.sleep(0.02)

    # ---- the job

    async def _register(self, client: zkclient.AsyncZooKeeper) -> None:
        for path in (plan.JOBS, plan.WORKERS, plan.QUEUES, plan.LOCKS, plan.RESULTS):
            await client.ensure_path(path)
        for start in range(0, len(self.jobs), JOBS_PER_TRANSACTION):
            async with client.transaction() as transaction:
                for job in self.jobs[start : start + JOBS_PER_TRANSACTION]:
                    transaction.create(f"{plan.JOBS}/{job.name}", job.file)
        self.display.say(f"{len(self.jobs)} files are registered as jobs")

    async def _work(self, client: zkclient.AsyncZooKeeper, probe: Probe) -> None:
        """Start the workers, let the faults happen on their way, and count results until all are there."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._faults, client, probe)
            with client.watch(plan.RESULTS, recursive=True) as changes:
                self._start_workers()
                counted: set[str] = set()
                while len(counted) < len(self.jobs):
                    change = await anext(changes)
                    match change.type:
                        case EventType.CREATED:
                            new = {basename(change.path)} - counted
                        case EventType.RESYNC:  # the service does not remember that far back: look again
                            new = set(await client.get_children(plan.RESULTS)) - counted
                        case _:
                            new = set()
                    counted |= new
                    for job in new:
                        await self._count(client, job)

    async def _count(self, client: zkclient.AsyncZooKeeper, job: str) -> None:
        data, _ = await client.get(f"{plan.RESULTS}/{job}")
        by = plan.Result.decode(data).worker
        self.scene.done += 1
        self.scene.recorded[by] = self.scene.recorded.get(by, 0) + 1
        self.display.changed()

    # ---- the faults

    async def _faults(self, client: zkclient.AsyncZooKeeper, probe: Probe) -> None:
        await self._until(lambda: self.scene.done * 3 >= self.scene.total)
        await self._kill_leading_server(probe)
        await self._until(lambda: self.scene.done * 3 >= self.scene.total * 2)
        await self._kill_leading_worker(client)

    async def _kill_leading_server(self, probe: Probe) -> None:
        await self._until(lambda: self._leading_server() is not None)
        name = self._leading_server()
        assert name is not None
        written, killed_s = len(probe.acknowledged_s), time.monotonic()
        self._kill(name)
        self.scene.servers[name] = "killed"
        self.display.say(f"{name}, the leading server, is killed with -9")
        await self._until(lambda: len(probe.acknowledged_s) > written + 1)  # one may have been under way
        self.outage_ms = probe.outage_ms(killed_s)
        self.display.say(f"writes flow again; they had stopped for {self.outage_ms:.0f} ms")
        await anyio.sleep(DOWN_S)
        self._start_server(next(member for member in self.members if f"s{member.id}" == name))
        await self._until(lambda: self.scene.servers[name] == "follows")
        self.display.say(f"{name} is started again, has caught up and follows")

    async def _kill_leading_worker(self, client: zkclient.AsyncZooKeeper) -> None:
        while (name := await client.Election(plan.LEADER).leader()) is None:
            await anyio.sleep(0.02)
        self._kill(name)
        self.scene.workers[name] = "killed"
        jobs = len(await client.get_children(f"{plan.QUEUES}/{name}"))
        self.display.say(f"{name}, the leading worker, is killed with -9; {jobs} jobs wait until its session expires")

    # ---- the account

    async def _verify(self, probe: Probe, unasked: list[str]) -> bool:
        async with zkclient.AsyncZooKeeper(self.connect) as client:
            results, jobs_left, probe_version = await verify.read_tree(client)
        evidence = verify.Evidence(
            self.source,
            self.jobs,
            results,
            jobs_left,
            read_journals(self.place),
            len(probe.acknowledged_s),
            probe_version,
        )
        findings = [
            *await to_thread.run_sync(lambda: list(verify.verify(evidence))),
            await verify.agreement(tuple(member.address for member in self.members)),
            verify.Finding("no process ended unasked", not unasked, ", ".join(unasked) or "none of seven"),
        ]
        for finding in findings:
            self.display.finding(finding)
        self.display.say(f"the service took no writes for {self.outage_ms:.0f} ms at the failover")
        return all(finding.holds for finding in findings)
