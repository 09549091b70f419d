"""`zk server`, `zk config` and `zk ensemble`: the commands that run servers. They need no client and import none.

The flags of `zk server` are the settings of zk/server/config.py, which owns their defaults and checks and also finds
them in the TOML file and the environment.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zk.cli import lifeline
from zk.cli.exits import ExitCode
from zk.cli.output import note

if TYPE_CHECKING:  # the server is imported by the commands that need it
    from zk.server.config import Flag, ServerConfig

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="TOML file; the environment (ZK_…) and flags win.")
]


def server(
    config: ConfigOption = None,
    server_id: Annotated[str | None, typer.Option("--id", metavar="N", help="This server's number, 1 to 255.")] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="The ensemble's name: servers of another are turned away.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where clients connect. Default: 127.0.0.1:2181.")
    ] = None,
    data: Annotated[str | None, typer.Option(metavar="DIR", help="The data directory. Default: ./zk-data.")] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=HOST:PORT",
            help="A voter and the address where it talks to the others; once for each, this server included. "
            "Without it the server is alone.",
        ),
    ] = None,
    session_timeout_ms: Annotated[
        str | None, typer.Option(metavar="MIN:MAX", help="What clients may ask for. Default: 2 to 20 ticks.")
    ] = None,
    tick_ms: Annotated[
        str | None, typer.Option(metavar="MS", help="The unit of session timeouts. Default: 2000.")
    ] = None,
    container_check_ms: Annotated[
        str | None,
        typer.Option(metavar="MS", help="How often containers and TTL nodes are looked after. Default: 60000."),
    ] = None,
    read_only_mode: Annotated[
        bool, typer.Option("--read-only-mode", help="Without a quorum, serve reads to clients that ask for it.")
    ] = False,
    four_letter_words: Annotated[
        str | None, typer.Option(metavar="WORD,…", help="ZooKeeper's words that are answered. Default: *, all.")
    ] = None,
    super_digest: Annotated[
        str | None,
        typer.Option(metavar="super:BASE64SHA1", help="Who knows this password of 'super' may do everything."),
    ] = None,
    sasl_user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PASSWORD", help="Who may log in by SASL DIGEST-MD5; once for each. See the next, too."
        ),
    ] = None,
    sasl_users_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The same, a line for each, hidden from `ps`; # begins a comment."),
    ] = None,
    tls_listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where clients connect over TLS; needs the next two.")
    ] = None,
    tls_cert: Annotated[str | None, typer.Option(metavar="FILE", help="The server's certificate, PEM.")] = None,
    tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="The certificate's key, PEM.")] = None,
    tls_ca: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Authorities, PEM: clients must present a certificate of one of them."),
    ] = None,
    stop_on_eof: Annotated[
        bool, typer.Option("--stop-on-eof", hidden=True, help="Stop when stdin ends, as it does with the parent.")
    ] = False,
) -> int:
    """Run one server, in this process. Without arguments: alone, durable, on 127.0.0.1:2181 with its data in ./zk-data.

    SIGTERM or Ctrl-C stops it in order: a leader hands over, connections drain.
    """
    if stop_on_eof:
        lifeline.follow()
    flags: dict[str, Flag] = {
        "id": server_id,
        "cluster": cluster,
        "listen": listen,
        "data": data,
        "peers": peer,
        "tick_ms": tick_ms,
        "session_timeout_ms": session_timeout_ms,
        "container_check_ms": container_check_ms,
        "read_only_mode": read_only_mode or None,
        "four_letter_words": four_letter_words,
        "super_digest": super_digest,
        "sasl_users": sasl_user,
        "sasl_users_file": sasl_users_file,
        "tls_listen": tls_listen,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_ca": tls_ca,
    }
    settings = _load(config, flags)

    from zk.server.server import run  # only now: a mistake is told at once

    return run(settings)


def salvage(
    data: Annotated[
        Path,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False, help="The data directory of a server that is not running."
        ),
    ],
) -> int:
    """Make a damaged log acceptable again: keep what is good before the damage, and say what that cost.

    For a server that refuses to start. What was written behind the damage is lost, acknowledged or not; the damaged
    files are kept beside the log. One of several servers need not lose anything: empty its directory instead, and the
    others give it all they have.
    """
    from zk.storage.errors import StorageError
    from zk.storage.files import open_directory
    from zk.storage.salvage import salvage as salvage_log

    try:
        done = salvage_log(open_directory(str(data)), lambda: os.urandom(16).hex())
    except StorageError as error:
        note(f"zk: {error}")
        return ExitCode.ERROR
    if done is None:
        print(f"{data}: the log is not damaged; nothing was changed")
        return ExitCode.OK
    print(f"damage: {done.defect.file} at offset {done.defect.offset}: {done.defect.why}")
    print(f"kept: {done.records_kept} records, up to zxid 0x{done.last_zxid:x}")
    if done.new_disk:
        print("the ensemble takes this server in again, with what the others have, before it votes")
    for each in done.notes:
        print(each)
    return ExitCode.OK


config_app = typer.Typer(no_args_is_help=True, help="Look at a server's configuration.")


@config_app.command()
def check(file: Annotated[Path, typer.Argument(help="The TOML file.")]) -> None:
    """Say whether a server would start with this file (and the environment). Exit code 2 if not."""
    from zk.server.config import ConfigError
    from zk.server.tls import server_context

    config = _load(file, {})
    if config.tls is not None:
        try:
            server_context(config.tls)
        except ConfigError as error:
            note(f"zk: {error}")
            raise typer.Exit(ExitCode.USAGE) from None
    for caution in config.cautions():
        note(f"{file}: {caution}")
    note(f"{file}: good")


@config_app.command()
def show(
    file: Annotated[Path | None, typer.Argument(help="The TOML file; without it: the defaults.")] = None,
) -> None:
    """Print all settings as a server would use them, as TOML: defaults, the file and the environment together.

    Passwords are not shown.
    """
    config = _load(file, {})
    low, high = config.limits.session_timeout_ms_min, config.limits.session_timeout_ms_max
    print(f"id = {config.id}")
    print(f"cluster = {json.dumps(config.cluster)}")
    print(f"listen = {json.dumps(str(config.listen))}")  # a JSON string is a TOML string
    print(f"data = {json.dumps(str(config.data))}")
    print(f"tick_ms = {config.tick_ms}")
    print(f'session_timeout_ms = "{low}:{high}"')
    print(f"container_check_ms = {config.container_check_ms}")
    print(f"read_only_mode = {json.dumps(config.read_only_mode)}")
    print(f"four_letter_words = {json.dumps(sorted(config.four_letter_words))}")
    print("# super_digest is " + ("set" if config.super_digest else "not set"))
    print("# sasl_users are " + (", ".join(config.sasl_users) or "none"))
    if config.sasl_users_file is not None:
        print(f"sasl_users_file = {json.dumps(str(config.sasl_users_file))}")
    if config.tls is not None:
        print(f"tls_listen = {json.dumps(str(config.tls.listen))}")
        print(f"tls_cert = {json.dumps(str(config.tls.cert))}")
        print(f"tls_key = {json.dumps(str(config.tls.key))}")
        if config.tls.ca is not None:
            print(f"tls_ca = {json.dumps(str(config.tls.ca))}")
    print("\n[peers]")
    for server, address in config.peers:
        print(f"{server} = {json.dumps(str(address))}")
    print("\n[limits]")
    for field in fields(config.limits):
        if not field.name.startswith("session_timeout_ms"):
            print(f"{field.name} = {getattr(config.limits, field.name)}")


def _load(file: Path | None, flags: Mapping[str, "Flag"]) -> "ServerConfig":
    from zk.server.config import ConfigError, load_config

    try:
        return load_config(file, os.environ, flags)
    except ConfigError as error:
        note(f"zk: {error}")
        raise typer.Exit(ExitCode.USAGE) from None


ensemble_app = typer.Typer(no_args_is_help=True, help="Servers on this machine, for development.")


@ensemble_app.command()
def up(
    size: Annotated[int, typer.Option(min=1, max=7, help="How many servers.")] = 3,
    base_port: Annotated[
        int,
        typer.Option(
            min=1, max=65_000, help="Clients connect here and on the next ports; servers to each other at 100 more."
        ),
    ] = 2181,
    data: Annotated[
        Path | None, typer.Option(help="Keep the data here. Default: a temporary directory, removed at the end.")
    ] = None,
) -> int:
    """Run an ensemble in this terminal until Ctrl-C. Prints the connect string on stdout, logs on stderr."""
    from zk.cli import ensemble

    return ensemble.up(size, base_port, data)
