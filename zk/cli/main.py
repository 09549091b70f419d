"""The `zk` command: which commands there are, and how one runs. Read console.py and verbs.py next.

Commands import what they need when they run: `zk server` waits for no client, and `zk get` for no server.
"""

import inspect
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer
from typer.main import get_command

from zk.build import VERSION
from zk.cli import serving
from zk.cli.console import AuthOption, DirectConsole, ServerOption
from zk.cli.exits import report
from zk.cli.sim import sim
from zk.cli.verbs import VERBS


def _version(wanted: bool) -> None:
    if wanted:
        print(VERSION)
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and the build.")
    ] = False,
) -> None:
    """A coordination service: znodes, sessions, watches, locks, elections.

    Exit codes: 0 ok, 1 error, 2 usage, 3 no node, 4 exists, 5 bad version, 6 not empty, 7 auth, 8 connection,
    9 session or lock lost.
    """


def shell(server: ServerOption = None, auth: AuthOption = None) -> int:
    """A prompt where the commands on znodes share one session: with cd, completion, history, and live watches.

    Reads commands from stdin, one per line and without a prompt, when that is not a terminal.
    """
    from zk.cli.shell import repl

    return repl.run(server, auth)


def demo(
    source: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The files to work on. Default: this program's own source.")
    ] = None,
) -> int:
    """See the service at work: three servers and four workers as processes, with servers and workers killed on the way.

    The workers elect a leader, take a lock for each file, hash it and record the result exactly once. At the end all
    of it is verified; the exit code is 0 only if everything holds. Takes less than half a minute.
    """
    from zk.cli.demo import controller

    return controller.run(source)


def build() -> typer.Typer:
    """The whole command line."""
    app = typer.Typer(callback=_options, no_args_is_help=True)
    servers, znodes, tour, proof = "Servers", "Znodes, on --server HOST:PORT[,…] or $ZK_SERVER", "A tour", "Its proof"
    app.command(rich_help_panel=servers)(serving.server)
    app.add_typer(serving.ensemble_app, name="ensemble", rich_help_panel=servers)
    app.add_typer(serving.config_app, name="config", rich_help_panel=servers)
    app.command(rich_help_panel=servers)(serving.salvage)
    app.command(rich_help_panel=tour)(demo)
    app.command(rich_help_panel=proof)(sim)
    for command in VERBS:
        app.command(rich_help_panel=znodes)(command)
    app.command(rich_help_panel=znodes)(shell)
    return app


def run() -> None:
    """The entry point: run one command and exit with its code."""
    sys.exit(main(sys.argv[1:]))


async def _finish(outcome: Coroutine[None, None, int | None]) -> int | None:
    return await outcome


def main(arguments: list[str]) -> int:
    """Run one command, say in one line what went wrong, return the exit code."""
    try:
        outcome = get_command(build()).main(arguments, prog_name="zk", standalone_mode=False, obj=DirectConsole())
        if inspect.iscoroutine(outcome):
            import anyio  # here, since a server needs none of it

            outcome = anyio.run(_finish, outcome)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the interpreter's own flush is content
        return 1
    except BaseException as error:
        return report(error)
    return outcome or 0
