"""A worker of the demo, as a process of its own: an application that uses the service through its client.

All workers do jobs; the one that wins the election also hands them out. A worker that loses its session just ends: what
it had not recorded is somebody else's then. Nothing here retries a write, since the client does each exactly once.
"""

import signal
import sys
from pathlib import Path

import anyio
from anyio import to_thread
from zkclient import AsyncZooKeeper, Held, NoNodeError, TransactionFailed

from zk.cli import lifeline
from zk.cli.demo import plan
from zk.cli.demo.journal import Journal, What
from zk.model.events import EventType
from zk.model.paths import basename

SESSION_TIMEOUT_MS = 2_000  # so long a killed worker's locks and jobs wait
QUEUE_LENGTH = 4  # jobs that wait at one worker


async def work(servers: str, name: str, source: plan.Source, journal: Journal, pause_s: float) -> None:
    """Take part until cancelled."""
    async with (
        AsyncZooKeeper(servers, session_timeout_ms=SESSION_TIMEOUT_MS) as zk,
        anyio.create_task_group() as tasks,
    ):
        queue = f"{plan.QUEUES}/{name}"
        await zk.create(queue)
        await zk.create(f"{plan.WORKERS}/{name}", ephemeral=True)
        tasks.start_soon(lead_when_elected, zk, name, journal)
        with zk.watch(queue, recursive=True) as changes:  # set before the look into the queue: nothing falls between
            todo = await zk.get_children(queue)
            while True:
                for job in todo:
                    await do_job(zk, name, job, source, journal, pause_s)
                change = await anext(changes)
                match change.type:
                    case EventType.CREATED:
                        todo = (basename(change.path),)
                    case EventType.RESYNC:  # the service does not remember that far back: look again
                        todo = await zk.get_children(queue)
                    case _:
                        todo = ()


async def do_job(
    zk: AsyncZooKeeper, name: str, job: str, source: plan.Source, journal: Journal, pause_s: float
) -> None:
    """Hash a job's file under the job's lock, and record the result in one transaction that only the holder can do."""
    async with zk.Lock(f"{plan.LOCKS}/{job}", identifier=name) as held:
        journal.write(What.GRANTED, job, held.token)
        try:
            file = str(await zk.get(f"{plan.JOBS}/{job}"))
        except NoNodeError:
            return  # done already: found in the queue, and then told by the watch too
        sha256, size = await to_thread.run_sync(plan.sha256, source.locate(file))
        await anyio.sleep(pause_s)  # real work would take longer than hashing a small file
        async with zk.transaction(guard=held) as transaction:
            transaction.create(f"{plan.RESULTS}/{job}", plan.Result(file, sha256, size, name, held.token).encode())
            transaction.delete(f"{plan.JOBS}/{job}")
            transaction.delete(f"{plan.QUEUES}/{name}/{job}")
        journal.write(What.RECORDED, job, held.token)


async def lead_when_elected(zk: AsyncZooKeeper, name: str, journal: Journal) -> None:
    async with zk.Election(plan.LEADER, name) as leadership:
        journal.write(What.LEADS, "", leadership.token)
        await hand_out_jobs(zk, leadership)


async def hand_out_jobs(zk: AsyncZooKeeper, leadership: Held) -> None:
    """Keep every worker's queue filled, and give what dead workers left behind to the living.

    Each round reads how things stand, leaving one-shot watches, and does all its moves in one transaction that is void
    once this process no longer leads: two leaders can't both hand out a job.
    """
    while True:
        changed = anyio.Event()

        async def children(path: str, changed: anyio.Event = changed) -> tuple[str, ...]:
            return await zk.get_children(path, watch=lambda _: changed.set())

        # In this order: who is not there now does nothing more, and a job that is still there after the queues were
        # read, and was in none of them, is in nobody's hands.
        workers = await children(plan.WORKERS)
        queues = {name: await children(f"{plan.QUEUES}/{name}") for name in await children(plan.QUEUES)}
        jobs = await children(plan.JOBS)
        transaction = zk.transaction(guard=leadership)
        moves = 0
        for job, origin, worker in plan.assignments(jobs, workers, queues, QUEUE_LENGTH):
            if origin is not None:
                transaction.delete(f"{plan.QUEUES}/{origin}/{job}")
            transaction.create(f"{plan.QUEUES}/{worker}/{job}")
            moves += 1
        if moves:
            try:
                await transaction.commit()
            except TransactionFailed:
                continue  # it stood otherwise when the transaction was ordered: look again
        await changed.wait()


async def _main(servers: str, name: str, source: plan.Source, journals: Path, pause_s: float) -> None:
    """Work until SIGTERM, then close the session."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(work, servers, name, source, Journal(journals, name), pause_s)
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                tasks.cancel_scope.cancel()


def arguments(servers: str, name: str, source: plan.Source, journals: Path, pause_s: float, backend: str) -> list[str]:
    """How python runs a worker. `backend`: 'asyncio' or 'trio'; the client runs on both."""
    return ["-m", __name__, servers, name, str(journals), str(pause_s), backend, *map(str, source.directories)]


if __name__ == "__main__":
    lifeline.follow()
    servers, name, journals, pause_s, backend, *directories = sys.argv[1:]
    source = plan.Source(tuple(map(Path, directories)))
    anyio.run(_main, servers, name, source, Path(journals), float(pause_s), backend=backend)
