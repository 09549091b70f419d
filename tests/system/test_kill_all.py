"""All servers killed with -9 at the same moment, under load, again and again: what was acknowledged stays, what was
refused never was."""

import random
from pathlib import Path

import anyio
import pytest
from zkclient import AsyncZooKeeper
from zkclient.errors import BadVersionError, NoNodeError

from zk.server.testing import Ensemble, start_ensemble

ROUNDS = 20
WRITERS = 6


class Books:
    """What the writers were told. A write that was neither acknowledged nor refused may have been done or not."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()


async def write(zk: AsyncZooKeeper, books: Books, name: str, acknowledge: anyio.Event, enough: int) -> None:
    """Creates, changes and deletes of this writer's own nodes, with refusals in between, until it is cancelled."""
    for number in range(1_000_000):
        path = f"/books/{name}-{number}"
        books.unknown.add(path)
        await zk.create(path, "created")
        books.acknowledged[path] = "created"
        if number % 3 == 1:
            await zk.set(path, "changed", version=0)
            books.acknowledged[path] = "changed"
        books.unknown.discard(path)
        if number % 3 == 2:
            books.unknown.add(path)
            await zk.delete(path)
            del books.acknowledged[path]
            books.deleted.add(path)
            books.unknown.discard(path)
        with pytest.raises(NoNodeError):
            await zk.create(f"/books/nowhere/{name}-{number}", "refused")
        books.refused.add(f"/books/nowhere/{name}-{number}")
        with pytest.raises(BadVersionError):
            await zk.set("/books", f"refused {name}-{number}", version=99)
        if number >= enough:
            acknowledge.set()


async def load_until_killed(ensemble: Ensemble, books: Books, round_number: int, enough: int) -> None:
    """Writers on every server; once one has come far enough, all servers die while the writers are still at it."""
    enough_event = anyio.Event()
    async with anyio.create_task_group() as tasks:
        for number in range(WRITERS):
            host = str(ensemble.servers[number % len(ensemble.servers)].address)
            name = f"r{round_number}-w{number}"

            async def writer(host: str = host, name: str = name) -> None:
                async with AsyncZooKeeper(host, timeout=30) as zk:
                    await write(zk, books, name, enough_event, enough)

            tasks.start_soon(writer)
        await enough_event.wait()
        ensemble.kill()
        tasks.cancel_scope.cancel()


async def check(ensemble: Ensemble, books: Books) -> None:
    """Hold what the ensemble has against the books."""
    async with AsyncZooKeeper(ensemble.hosts, timeout=30) as zk:
        await zk.sync()
        names = set(await zk.get_children("/books"))
        certain = {path.rpartition("/")[2] for path in books.acknowledged if path not in books.unknown}
        unknown = {path.rpartition("/")[2] for path in books.unknown}
        assert certain <= names, f"acknowledged and gone: {sorted(certain - names)[:5]}"
        extra = names - certain - unknown
        assert not extra, f"deleted, or never written, and there: {sorted(extra)[:5]}"
        for path, text in books.acknowledged.items():
            if path not in books.unknown:
                assert str(await zk.get(path)) == text, path
        assert (await zk.get("/books")).stat.version == 0, "a write that was refused has been done"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_twenty_times_all_servers_killed_under_load_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    chance = random.Random(20)
    books = Books()

    async def prepare(connect_string: str) -> None:
        async with AsyncZooKeeper(connect_string, timeout=30) as zk:
            await zk.create("/books", "")

    with start_ensemble(tmp_path, 3) as ensemble:
        anyio.run(prepare, ensemble.hosts)
        for round_number in range(ROUNDS):
            anyio.run(load_until_killed, ensemble, books, round_number, chance.randrange(2, 12))
            ensemble.start()
            ensemble.wait_until_serving()
            anyio.run(check, ensemble, books)
        ensemble.wait_until_agreed()  # the end of the last session may still be under way
    assert len(books.acknowledged) > ROUNDS
