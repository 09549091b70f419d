"""What a command stands on: where its client comes from, where relative paths start, how results are written.

A command is an async function `command(console, …)`, declared once with `verb`. It runs in two places: `zk COMMAND`
hands it a `DirectConsole`, which connects for this one command; `zk shell` hands it a console (zk/cli/shell) under
which all commands share one session.
"""

import inspect
import os
import posixpath
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec

import typer

from zk.cli.output import Format, Printer, note

if TYPE_CHECKING:  # not at run time: `zk server` and --help do without the client
    from zkclient import AsyncZooKeeper

DEFAULT_SERVERS = "127.0.0.1:2181"
CALL_TIMEOUT_S = 5.0  # enough for an election; a person waits no longer for a server that isn't there

Parameters = ParamSpec("Parameters")
Outcome = Coroutine[None, None, int | None]  # what a command comes to: its exit code; None stands for 0
# What has no end of its own; it calls its second argument once it has begun.
Stream = Callable[["AsyncZooKeeper", Callable[[], None]], Coroutine[None, None, None]]
Verb = Callable[Concatenate["Console", Parameters], Outcome]

ServerOption = Annotated[
    str | None,
    typer.Option("--server", "-s", metavar="HOST:PORT[,…]", help=f"Default: $ZK_SERVER, else {DEFAULT_SERVERS}."),
]
AuthOption = Annotated[
    str | None,
    typer.Option(
        "--auth", metavar="USER:PASSWORD", help="Who to be (scheme digest). Default: $ZK_AUTH, which ps doesn't show."
    ),
]
OutputOption = Annotated[
    Format | None, typer.Option("--output", "-o", help="Default: text for people, plain when not on a terminal.")
]


class Console(ABC):
    """The surroundings of one command."""

    def __init__(self, printer: Printer, directory: str = "/") -> None:
        self.printer = printer
        self.directory = directory

    def path(self, text: str) -> str:
        """The absolute path that `text` means here."""
        return "/" + posixpath.normpath(posixpath.join(self.directory, text)).strip("/")

    def data(self, text: str) -> bytes:
        """The data that an argument means: '-' is stdin, '@FILE' a file, everything else itself."""
        if text == "-":
            return sys.stdin.buffer.read()
        if text.startswith("@"):
            return Path(text[1:]).read_bytes()
        return text.encode()

    @property
    @abstractmethod
    def servers(self) -> tuple[str, ...]:
        """The addresses this console was given, each HOST:PORT."""

    @abstractmethod
    def derive(self, servers: str | None, auth: str | None, output: Format | None) -> "Console":
        """The console of one command that was given these options; None: not given."""

    @abstractmethod
    def client(self) -> AbstractAsyncContextManager["AsyncZooKeeper"]:
        """The client for a command."""

    @abstractmethod
    async def hold(self, zk: "AsyncZooKeeper", text: str) -> None:
        """Keep the session, on which something that the command made rests, until the user ends it."""

    @abstractmethod
    async def follow(self, stream: Stream, name: str) -> None:
        """Run a stream until the user ends it."""


@asynccontextmanager
async def until_signal() -> AsyncIterator[None]:
    """A block that SIGINT (Ctrl-C) or SIGTERM ends, in good order and without an error."""
    import anyio  # here, since what needs no client shall start without it

    async with anyio.create_task_group() as tasks:

        async def heed() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                await anext(signals)
                tasks.cancel_scope.cancel()

        tasks.start_soon(heed)
        yield
        tasks.cancel_scope.cancel()


class DirectConsole(Console):
    """For `zk COMMAND`: connects for the command, closes the session after it. What has no end of its own goes on
    inside `until_stopped`."""

    def __init__(
        self,
        servers: str | None = None,
        auth: str | None = None,
        printer: Printer | None = None,
        directory: str = "/",
        until_stopped: Callable[[], AbstractAsyncContextManager[None]] = until_signal,
    ) -> None:
        super().__init__(printer or Printer(), directory)
        self._servers = servers or os.environ.get("ZK_SERVER") or DEFAULT_SERVERS
        self._auth = auth or os.environ.get("ZK_AUTH")
        self._until_stopped = until_stopped

    @property
    def servers(self) -> tuple[str, ...]:
        return tuple(part.strip() for part in self._servers.split(","))

    def derive(self, servers: str | None, auth: str | None, output: Format | None) -> "DirectConsole":
        printer = Printer(output)
        return DirectConsole(servers or self._servers, auth or self._auth, printer, self.directory, self._until_stopped)

    @asynccontextmanager
    async def client(self) -> AsyncIterator["AsyncZooKeeper"]:
        from zkclient import AsyncZooKeeper

        async with AsyncZooKeeper(self._servers, timeout=CALL_TIMEOUT_S) as zk:
            if self._auth is not None:
                await zk.add_auth("digest", self._auth)
            yield zk

    async def hold(self, zk: "AsyncZooKeeper", text: str) -> None:
        import anyio
        from zkclient import SessionExpiredError, State

        lost = anyio.Event()
        zk.add_listener(lambda state: lost.set() if state is State.LOST else None)
        note(f"{text}; Ctrl-C ends it")
        async with self._until_stopped():
            await lost.wait()
            raise SessionExpiredError

    async def follow(self, stream: Stream, name: str) -> None:
        async with self.client() as zk, self._until_stopped():
            await stream(zk, lambda: None)


def verb(command: Verb[Parameters]) -> Callable[..., Outcome]:
    """Make a command of an async function: for typer it has the function's own parameters and the options that every
    command has. Called by typer it returns the coroutine, still to be awaited: by `zk` itself or by the shell.
    """

    def build(
        context: typer.Context,
        server: ServerOption = None,
        auth: AuthOption = None,
        output: OutputOption = None,
        *args: Parameters.args,
        **own: Parameters.kwargs,
    ) -> Outcome:
        console = context.find_root().obj
        assert isinstance(console, Console)
        return command(console.derive(server, auth, output), *args, **own)

    def keywords(function: Callable[..., object], names: slice) -> list[inspect.Parameter]:
        parameters = list(inspect.signature(function).parameters.values())[names]
        return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]

    build.__name__ = command.__name__.rstrip("_")
    build.__doc__ = command.__doc__
    build.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # read by inspect, unknown to the checker
        [*keywords(build, slice(0, 1)), *keywords(command, slice(1, None)), *keywords(build, slice(1, 4))]
    )
    return build
