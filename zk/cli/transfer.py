"""`zk import` and `zk export`: trees that come from elsewhere, and go there."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zk.cli.console import Console
from zk.cli.exits import ExitCode
from zk.cli.output import data_fields, note
from zk.cli.progress import progress
from zk.cli.texts import stat_record, zxid_text
from zk.model.requests import CreateMode

if TYPE_CHECKING:
    from zk.importing.source import Source

PathArgument = Annotated[str, typer.Argument(metavar="PATH", help="A znode; in the shell relative to where you are.")]


async def import_(
    console: Console,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="Lines of JSON as `zk export` writes them; - for stdin.")
    ] = None,
    path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Of lines: where the first node goes, and all others below it.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Of lines: nodes that are there get the data and ACLs of theirs.")
    ] = False,
    zookeeper_data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The data directory (dataDir) of a ZooKeeper 3.4 to 3.9 that is stopped."),
    ] = None,
    zookeeper_log: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Its logs, if it has another directory for them (dataLogDir).")
    ] = None,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Of damaged files, take what comes before the damage.")
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="HOST:PORT[,…]", help="A ZooKeeper that runs: it is copied, and then followed."),
    ] = None,
    from_auth: Annotated[
        str | None,
        typer.Option(metavar="USER:PASSWORD", help="Who to be there (scheme digest): one who may read everything."),
    ] = None,
    until_caught_up: Annotated[
        bool, typer.Option("--until-caught-up", help="Cut over by itself once nothing new comes from there.")
    ] = False,
) -> int:
    """Bring a tree here from elsewhere: the files of a ZooKeeper, a ZooKeeper that runs, or lines of JSON.

    What comes from a ZooKeeper keeps all its stats: versions, zxids, sequential names go on. That goes only where
    there is no tree yet, and nothing is seen before all of it has arrived: if it is broken off, or fails, nothing is
    left of it. Lines create nodes as any client does, below nodes that are there already.

    With --from, Ctrl-C cuts over: what was copied is seen from then on. Stop the writers of the source before; a
    second Ctrl-C, or the first while it is still copying, gives it up. Ephemeral nodes are left out: their sessions
    are not brought.
    """
    if [file, zookeeper_data, from_].count(None) != 2:
        raise typer.BadParameter("say where the tree comes from: FILE, --zookeeper-data DIR or --from HOST:PORT")
    if from_ is not None:
        return await _import_live(console, from_, from_auth, until_caught_up)
    if zookeeper_data is not None:
        return await _import_directory(console, zookeeper_data, zookeeper_log, salvage)
    assert file is not None
    return await _import_lines(console, file, None if path is None else console.path(path), overwrite)


async def _import_lines(console: Console, file: str, top: str | None, overwrite: bool) -> int:
    from zk.importing.lines import moved, read_lines  # here, as the client: only this command needs it
    from zk.importing.subtree import create_all

    lines = read_lines(console.data("-" if file == "-" else f"@{file}").decode().split("\n"))
    if not lines:
        raise ValueError(f"{file}: there is no line in it")
    if top is not None:
        lines = moved(lines, top)
    async with console.client() as zk:
        with progress("importing", len(lines)) as advance:
            count = await create_all(zk, lines, overwrite=overwrite, progress=advance)
    left_out = sum(line.mode is CreateMode.EPHEMERAL for line in lines)
    console.printer.one(
        {"imported": count, "ephemerals_left_out": left_out},
        f"imported {count} znodes" + (f"; {left_out} ephemerals are left out" if left_out else ""),
    )
    return ExitCode.OK


async def _import_live(console: Console, hosts: str, auth: str | None, until_caught_up: bool) -> int:
    import anyio  # here, as the client: only this command needs it

    from zk.importing.live import LiveImport
    from zk.importing.restore import ImportEndedError

    async with console.client() as zk:
        live = LiveImport(zk, hosts, auth, note)

        async def heed(scope: anyio.CancelScope) -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for number in signals:
                    if number == signal.SIGTERM or not live.following or live.cut_over.is_set():
                        scope.cancel()
                    else:
                        note("cutting over, as soon as nothing new comes; Ctrl-C again gives it up")
                        live.cut_over.set()

        copied = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(heed, tasks.cancel_scope)
            copied = await live.run(until_caught_up)
            tasks.cancel_scope.cancel()
        if copied is None:
            raise ImportEndedError("given up: nothing was imported")
    console.printer.one(
        {
            "imported": copied.znodes,
            "data_bytes": copied.data_bytes,
            "last_zxid": zxid_text(copied.zxid),
            "ephemerals_left_out": copied.ephemerals,
        },
        f"imported {copied.znodes} znodes, as of zxid {zxid_text(copied.zxid)}; {copied.ephemerals} ephemerals "
        "are left out",
    )
    note("ZooKeeper tells nobody which nodes are containers or have a TTL: these came as persistent nodes")
    return ExitCode.OK


async def export(console: Console, path: PathArgument) -> None:
    """Write a znode and all below it as lines of JSON, for `zk import`: data, ACL, kind, and its stat for information.

    The nodes are not read at one instant; who must have a state that there was exports when nobody writes.
    """
    from zk.importing.lines import to_line
    from zk.importing.subtree import nodes_below

    top = console.path(path)
    count = hidden = 0
    async with console.client() as zk:
        async for found, node in nodes_below(zk, top):
            print(to_line(found, node, data_fields(node.data), stat_record(node.stat)))
            count += 1
            hidden += any(each.scheme == "digest" and each.id.endswith(":x") for each in node.acl)
    note(f"exported {count} znodes")
    if hidden:
        note(f"{hidden} of them have ACLs with digests that are shown as 'x' to who may not administer them (--auth)")


async def _import_directory(console: Console, data: Path, log: Path | None, salvage: bool) -> int:
    from zk.importing.directory import read_directory  # here, as the client: only this command needs it
    from zk.importing.restore import Restoring
    from zk.importing.source import DamagedSourceError

    try:
        source = read_directory(data, log, salvage=salvage)
    except DamagedSourceError as error:
        note(f"zk: {error}")
        note("zk: nothing was imported. --salvage imports what comes before the damage, and says what is lost")
        return ExitCode.ERROR
    for each in source.notes:
        note(f"note: {each}")
    for each in source.lost:
        note(f"LOST: {each}")
    note(f"{data}: {_described(source)}")
    async with console.client() as zk:
        restoring = Restoring(zk)
        await restoring.begin(source.last_zxid)
        with progress("importing", len(source.znodes)) as advance:
            await restoring.bring(source.znodes.items(), progress=advance)
        await restoring.finish(len(source.znodes))
    console.printer.one(
        {
            "imported": len(source.znodes),
            "data_bytes": source.data_bytes,
            "last_zxid": zxid_text(source.last_zxid),
            "ephemerals_left_out": source.ephemerals,
            "sessions_left_out": source.sessions,
            "lost": len(source.lost),
        },
        f"imported {len(source.znodes)} znodes",
    )
    return ExitCode.OK


def _described(source: "Source") -> str:
    return (
        f"{len(source.znodes)} znodes, {source.data_bytes} bytes of data, up to zxid {zxid_text(source.last_zxid)}; "
        f"{source.ephemerals} ephemerals of {source.sessions} open sessions are left out"
    )
