"""The console of `zk shell`: one session for all commands, streams in the background, a place in the tree."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import typer
from anyio.abc import TaskGroup, TaskStatus
from zkclient import AsyncZooKeeper

from zk.cli.console import Console, DirectConsole, Stream
from zk.cli.exits import report
from zk.cli.output import Format, Printer


class ShellConsole(Console):
    """What commands stand on in the shell. `streams` are the watches in the background, by their number."""

    def __init__(self, direct: DirectConsole, zk: AsyncZooKeeper, tasks: TaskGroup) -> None:
        super().__init__(Printer(exact=False))
        self.zk = zk
        self.streams: dict[int, tuple[str, anyio.CancelScope]] = {}
        self._direct = direct
        self._tasks = tasks

    @property
    def servers(self) -> tuple[str, ...]:
        return self._direct.servers

    def data(self, text: str) -> bytes:
        if text == "-":
            raise typer.BadParameter("'-' (stdin) is where the shell reads its commands from; @FILE reads a file")
        return super().data(text)

    def derive(self, servers: str | None, auth: str | None, output: Format | None) -> Console:
        """A command with --server or --auth is about another session than the shell's, so it gets one of its own."""
        if servers is not None or auth is not None:
            return self._direct.derive(servers, auth, output)
        derived = ShellConsole(self._direct, self.zk, self._tasks)
        derived.printer, derived.directory, derived.streams = Printer(output, exact=False), self.directory, self.streams
        return derived

    @asynccontextmanager
    async def client(self) -> AsyncIterator[AsyncZooKeeper]:
        yield self.zk

    async def hold(self, zk: AsyncZooKeeper, text: str) -> None:
        """Nothing to wait for: the session lasts as long as the shell."""

    async def follow(self, stream: Stream, name: str) -> None:
        """Put the stream in the background once it has begun. An error before is the command's; a later one is said."""
        number = max(self.streams, default=0) + 1

        async def run(*, task_status: TaskStatus[None]) -> None:
            begun = False

            def on_begun() -> None:
                nonlocal begun
                begun = True
                self.streams[number] = (name, scope)
                task_status.started()

            with anyio.CancelScope() as scope:
                try:
                    await stream(self.zk, on_begun)
                except Exception as error:
                    if not begun:
                        raise
                    report(error)
            self.streams.pop(number, None)

        await self._tasks.start(run)
