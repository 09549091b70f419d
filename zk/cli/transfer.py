"""`zk import` and `zk export`: trees that come from elsewhere, and go there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zk.cli.console import Console
from zk.cli.exits import ExitCode
from zk.cli.output import note
from zk.cli.progress import progress
from zk.cli.texts import zxid_text

if TYPE_CHECKING:
    from zk.importing.source import Source


async def import_(
    console: Console,
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
) -> int:
    """Bring a tree here from elsewhere, with all its stats: data, ACLs, versions, zxids, containers, TTLs.

    Only where there is no tree yet. Nothing is seen before all of it has arrived: if it is broken off, or fails,
    nothing is left of it. Ephemeral nodes are left out: their sessions are not brought.
    """
    if zookeeper_data is None:
        raise typer.BadParameter("say where the tree comes from: --zookeeper-data DIR")
    return await _import_directory(console, zookeeper_data, zookeeper_log, salvage)


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
