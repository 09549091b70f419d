"""The loop of `zk shell`: a line in, the same typer command as `zk LINE` run on the shell's session."""

import inspect
import os
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Annotated

import anyio
import typer
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.patch_stdout import patch_stdout
from typer.main import get_group
from zkclient import State

from zk.cli.console import DirectConsole
from zk.cli.exits import ExitCode, report
from zk.cli.output import note
from zk.cli.shell.completion import ShellCompleter
from zk.cli.shell.console import ShellConsole
from zk.cli.verbs import VERBS
from zk.model.errors import NoNodeError


class Leave(Exception):  # noqa: N818 - not an error: the user wants to leave
    """Raised by `exit`."""


def run(servers: str | None, auth: str | None) -> int:
    """Run the shell until its end. The exit code: at a prompt 0, for a script the first error's."""
    # A command on another session (--server, --auth) needs no ear for signals: the shell has it.
    return anyio.run(_run, DirectConsole(servers, auth, until_stopped=nullcontext))


async def _run(direct: DirectConsole) -> int:
    code: int = ExitCode.INTERRUPTED
    async with direct.client() as zk, anyio.create_task_group() as tasks:
        console = ShellConsole(direct, zk, tasks)
        interpreter = Interpreter(console)
        at_prompt = sys.stdin.isatty()

        async def heed_signals() -> None:
            """Ctrl-C ends the command, at a prompt, or a whole script; SIGTERM everything. The session is closed."""
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for number in signals:
                    if number == signal.SIGINT and at_prompt:
                        interpreter.interrupt()
                    else:
                        tasks.cancel_scope.cancel()

        tasks.start_soon(heed_signals)
        status = await zk.status()
        if at_prompt:
            note(f"server {status.server_id} ({status.role}), session {zk.session_id:#x}; `help` lists the commands")
            code = await _at_prompt(console, interpreter)
        else:
            code = await _script(interpreter)
        tasks.cancel_scope.cancel()
    return code


class Interpreter:
    """Runs lines."""

    def __init__(self, console: ShellConsole) -> None:
        self._console = console
        self._group = get_group(build())
        self._running: anyio.CancelScope | None = None

    @property
    def options(self) -> dict[str, list[str]]:
        """The options of every command, by its name."""
        return {
            name: sorted(option for parameter in command.params for option in parameter.opts if option.startswith("--"))
            for name, command in self._group.commands.items()
        }

    async def run(self, line: str) -> int:
        """Run one line and return its exit code. Raises Leave."""
        try:
            words = shlex.split(line, comments=True)
            if not words:
                return ExitCode.OK
            outcome = self._group.main(words, prog_name="zk", standalone_mode=False, obj=self._console)
            if inspect.iscoroutine(outcome):
                outcome = await self._finish(outcome)
        except Leave:
            raise
        except Exception as error:
            return report(error)
        sys.stdout.flush()
        return outcome or ExitCode.OK

    def interrupt(self) -> None:
        """Give up the command that is running, if any."""
        if self._running is not None:
            self._running.cancel()

    async def _finish(self, outcome: Coroutine[None, None, int | None]) -> int | None:
        with anyio.CancelScope() as self._running:
            return await outcome
        return ExitCode.INTERRUPTED


async def _at_prompt(console: ShellConsole, interpreter: Interpreter) -> int:
    prompt: PromptSession[str] = PromptSession(
        history=_history(), completer=ShellCompleter(console, interpreter.options), complete_while_typing=False
    )
    while True:
        connected = "" if console.zk.state is State.CONNECTED else f" ({console.zk.state.value})"
        try:
            with patch_stdout(raw=True):  # what watches print meanwhile appears above the prompt
                line = await prompt.prompt_async(f"zk{connected} {console.directory}> ", handle_sigint=False)
            await interpreter.run(line)
        except KeyboardInterrupt:
            continue  # Ctrl-C gives up the line, as in every shell
        except (EOFError, Leave):
            return ExitCode.OK


async def _script(interpreter: Interpreter) -> int:
    """Run the lines of stdin. All of them, also after an error, as at the prompt; the first error is the exit code."""
    first_error = 0
    async for line in _lines(sys.stdin.fileno()):
        try:
            code = await interpreter.run(line)
        except Leave:
            break
        first_error = first_error or code
    return first_error


async def _lines(file: int) -> AsyncIterator[str]:
    """The lines of a file, a pipe or a socket, as they come. Waiting for one can be cancelled, which a thread can't."""
    pending = b""
    while True:
        with suppress(PermissionError):  # a regular file is always readable, so epoll refuses to wait for it
            await anyio.wait_readable(file)
        data = os.read(file, 65_536)
        *lines, pending = (pending + data).split(b"\n")
        for line in lines if data else [pending]:
            yield line.decode(errors="replace")
        if not data:
            return


def _history() -> History:
    """Lines of earlier shells, in a file that only its owner may read; in memory if there can be no file."""
    directory = Path(typer.get_app_dir("zk"))
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = directory / "history"
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(file)


# ---- commands that only the shell has


def build() -> typer.Typer:
    """The shell's commands: those on znodes, and those about the shell itself."""
    app = typer.Typer(add_completion=False, no_args_is_help=False, help="Commands of the shell.")
    for command in VERBS:
        app.command(rich_help_panel="Znodes")(command)
    for own in (cd, pwd, unwatch, help_, exit_):
        app.command(own.__name__.rstrip("_"), rich_help_panel="The shell")(own)
    app.command("quit", hidden=True)(exit_)
    return app


def _console(context: typer.Context) -> ShellConsole:
    console = context.find_root().obj
    assert isinstance(console, ShellConsole)
    return console


async def cd(context: typer.Context, path: Annotated[str, typer.Argument(metavar="[PATH]")] = "/") -> None:
    """Go to a znode: relative paths start there. Without a path, to the root."""
    console = _console(context)
    target = console.path(path)
    if await console.zk.exists(target) is None:
        raise NoNodeError(target)
    console.directory = target


def pwd(context: typer.Context) -> None:
    """Say where you are."""
    print(_console(context).directory)


def unwatch(
    context: typer.Context,
    number: Annotated[int | None, typer.Argument(help="As listed; without it: list the watches.")] = None,
) -> None:
    """End a watch of this shell, or list them all."""
    streams = _console(context).streams
    if number is None:
        for key, (name, _) in sorted(streams.items()):
            print(f"{key}  {name}")
    elif number in streams:
        streams.pop(number)[1].cancel()
    else:
        raise typer.BadParameter(f"there is no watch {number}; `unwatch` alone lists them")


def help_(
    context: typer.Context, command: Annotated[str | None, typer.Argument(help="A command; without it: all.")] = None
) -> int:
    """List the commands, or explain one."""
    words = [command, "--help"] if command else ["--help"]
    return int(get_group(build()).main(words, prog_name="zk", standalone_mode=False) or 0)


def exit_() -> None:
    """Leave the shell, which ends its session. Ctrl-D does it too."""
    raise Leave
