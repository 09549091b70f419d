"""The commands on znodes. Each is written once, for the command line and for the shell (see console.py)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from zk.cli.console import Console, verb
from zk.cli.exits import ExitCode
from zk.cli.output import Record, data_fields, note
from zk.cli.texts import acl_record, parse_acl, parse_zxid, stat_record, time_text, zxid_text
from zk.cli.transfer import PathArgument, export, import_
from zk.model.acl import OPEN_ACL
from zk.model.errors import NoNodeError
from zk.model.paths import join
from zk.model.record import Zxid
from zk.model.replies import PageEntry

if TYPE_CHECKING:
    from zkclient import AsyncZooKeeper

DataArgument = Annotated[str, typer.Argument(metavar="DATA", help="The data itself, or - for stdin, or @FILE.")]
VersionOption = Annotated[
    int, typer.Option("--version", "-v", help="Refuse unless the node has this version; -1: any.")
]
LinearizableOption = Annotated[
    bool, typer.Option("--linearizable", "-L", help="See every write that was answered anywhere before this read.")
]
AclOption = Annotated[
    list[str] | None, typer.Option("--acl", metavar="SCHEME:ID:PERMS", help="Who may do what; may be repeated.")
]


async def get(console: Console, path: PathArgument, linearizable: LinearizableOption = False) -> None:
    """Write a znode's data to stdout."""
    path = console.path(path)
    async with console.client() as zk:
        data, stat = await zk.get(path, read=_consistency(linearizable))
    console.printer.data({"path": path, **data_fields(data), "stat": stat_record(stat)}, data)


async def set_(console: Console, path: PathArgument, data: DataArgument, version: VersionOption = -1) -> None:
    """Replace a znode's data."""
    path = console.path(path)
    content = console.data(data)
    async with console.client() as zk:
        stat = await zk.set(path, content, version=version)
    console.printer.one({"path": path, "stat": stat_record(stat)}, f"{path} is at version {stat.version}")


async def create(
    console: Console,
    path: PathArgument,
    data: DataArgument = "",
    ephemeral: Annotated[
        bool, typer.Option("--ephemeral", "-e", help="Gone when the session ends: this command then waits for Ctrl-C.")
    ] = False,
    sequential: Annotated[bool, typer.Option("--sequential", "-q", help="Add a growing number to the name.")] = False,
    container: Annotated[bool, typer.Option("--container", help="Gone when its last child is.")] = False,
    ttl_ms: Annotated[int, typer.Option("--ttl", metavar="MS", min=0, help="Gone when unchanged for so long.")] = 0,
    parents: Annotated[bool, typer.Option("--parents", "-p", help="Create missing parents.")] = False,
    acl: AclOption = None,
) -> None:
    """Create a znode and print its path.

    An ephemeral node lives as long as the session that made it. So `zk create -e` keeps its session open, and the node
    there, until Ctrl-C, or ends with code 9 if the session is lost. In the shell it lives as long as the shell.
    """
    target = console.path(path)
    if sequential and path.endswith("/") and target != "/":
        target += "/"  # the whole name is the number
    content = console.data(data)
    entries = parse_acl(acl) if acl else OPEN_ACL
    async with console.client() as zk:
        created = await zk.create(
            target,
            content,
            ephemeral=ephemeral,
            sequence=sequential,
            container=container,
            ttl_ms=ttl_ms,
            makepath=parents,
            acl=entries,
        )
        console.printer.one({"path": created}, created)
        if ephemeral:
            await console.hold(zk, f"holding {created}")


async def rm(
    console: Console,
    path: PathArgument,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="All that is below it too.")] = False,
    version: VersionOption = -1,
) -> None:
    """Delete a znode."""
    async with console.client() as zk:
        await zk.delete(console.path(path), version=version, recursive=recursive)


async def ls(
    console: Console,
    path: Annotated[str, typer.Argument(metavar="[PATH]")] = ".",
    long: Annotated[bool, typer.Option("--long", "-l", help="With each child's figures.")] = False,
    prefix: Annotated[str, typer.Option(help="Only names that begin so.")] = "",
    limit: Annotated[int, typer.Option("--limit", "-n", min=0, help="Stop after so many; 0: list all.")] = 0,
    after: Annotated[str, typer.Option(metavar="NAME", help="Begin after this name.")] = "",
    linearizable: LinearizableOption = False,
) -> None:
    """List a znode's children by name, page by page: also a million of them."""
    path = console.path(path)
    columns = ["name", "version", "data_length", "num_children", "mtime", "owner"] if long else ["name"]
    rows = console.printer.many(columns, plain=None if long else "name")
    left = limit
    async with console.client() as zk:
        pages = zk.pages(
            path,
            prefix=prefix,
            start_after=after,
            page_size=min(limit, 1_000) if limit else 1_000,
            with_data=long,
            read=_consistency(linearizable),
        )
        async for page in pages:
            for entry in page[:left] if limit else page:
                rows.add(_child_record(entry) if long else {"name": entry.name})
            left -= len(page)
            if limit and left <= 0:
                break
    rows.close()


def _consistency(linearizable: bool) -> Literal["session", "linearizable"]:
    return "linearizable" if linearizable else "session"


def _child_record(entry: PageEntry) -> Record:
    if entry.stat is None:
        return {"name": entry.name}  # not readable for this session
    return {
        "name": entry.name,
        "version": entry.stat.version,
        "data_length": entry.stat.data_length,
        "num_children": entry.stat.num_children,
        "mtime": time_text(entry.stat.mtime),
        "owner": f"{entry.stat.ephemeral_owner:#x}" if entry.stat.ephemeral_owner else None,
    }


async def stat(console: Console, path: PathArgument, linearizable: LinearizableOption = False) -> None:
    """Show a znode's eleven figures."""
    path = console.path(path)
    async with console.client() as zk:
        found = await zk.exists(path, read=_consistency(linearizable))
    if found is None:
        raise NoNodeError(path)
    record = stat_record(found)
    console.printer.one({"path": path, **record}, "\n".join(f"{key:15} {value}" for key, value in record.items()))


async def exists(console: Console, path: PathArgument, linearizable: LinearizableOption = False) -> int:
    """Say whether a znode exists; exit code 0 if it does, 3 if not."""
    path = console.path(path)
    async with console.client() as zk:
        found = await zk.exists(path, read=_consistency(linearizable)) is not None
    console.printer.one({"path": path, "exists": found}, "yes" if found else "no")
    return ExitCode.OK if found else ExitCode.NO_NODE


async def count(
    console: Console,
    path: Annotated[str, typer.Argument(metavar="[PATH]")] = ".",
    linearizable: LinearizableOption = False,
) -> None:
    """Count the znodes below a path, itself not counted."""
    path = console.path(path)
    async with console.client() as zk:
        found = await zk.count(path, read=_consistency(linearizable))
    console.printer.one({"path": path, "count": found}, str(found))


async def tree(console: Console, path: Annotated[str, typer.Argument(metavar="[PATH]")] = ".") -> None:
    """Show all that is below a path, indented; with -o, the paths."""
    top = console.path(path)
    rows = console.printer.many(["path"], plain="indented")

    async def show(zk: "AsyncZooKeeper", parent: str, depth: int) -> None:
        async for page in zk.pages(parent):
            for entry in page:
                rows.add({"path": join(parent, entry.name), "indented": "  " * depth + entry.name})
                await show(zk, join(parent, entry.name), depth + 1)

    async with console.client() as zk:
        await show(zk, top, 0)
    rows.close()


async def acl(
    console: Console,
    path: PathArgument,
    entries: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SCHEME:ID:PERMS]…", help="The new ACL, as in world:anyone:r auth::cdrwa."),
    ] = None,
    version: VersionOption = -1,
) -> None:
    """Show a znode's ACL, or replace it. PERMS are letters of cdrwa: create, delete, read, write, admin."""
    path = console.path(path)
    wanted = parse_acl(entries or ())
    async with console.client() as zk:
        if wanted:
            await zk.set_acls(path, wanted, version=version)
            return
        found, _ = await zk.get_acls(path)
    rows = console.printer.many(["scheme", "id", "perms"], plain="acl")
    for entry in found:
        rows.add(acl_record(entry))
    rows.close()


async def watch(
    console: Console,
    path: PathArgument,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Also all that is below it.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="ZXID", help="First what changed after this transaction, if still known.")
    ] = None,
) -> None:
    """Print what happens to a znode and its children, line by line, until Ctrl-C.

    The stream goes on over reconnects without a gap. A RESYNC says that it could not: read everything again.
    In the shell it prints above the prompt, and `unwatch` ends it.
    """
    path = console.path(path)
    start = None if since is None else Zxid(parse_zxid(since))

    async def stream(zk: "AsyncZooKeeper", begun: Callable[[], None]) -> None:
        rows = console.printer.many(["event", "path", "zxid"], plain="line")
        with zk.watch(path, recursive=recursive, since=start) as events:
            await zk.exists(path)  # once it is answered, the watch is set
            note(f"watching {path}")
            begun()
            async for event in events:
                kind, zxid = event.type.name, zxid_text(event.zxid)
                rows.add({"event": kind, "path": event.path, "zxid": zxid, "line": f"{kind} {event.path} {zxid}"})
                rows.flush()

    await console.follow(stream, f"watch {path}")


async def status(
    console: Console,
    servers: Annotated[
        list[str] | None, typer.Argument(metavar="[HOST:PORT]…", help="Which servers; default: those of --server.")
    ] = None,
) -> int:
    """Show what every server is doing. Exit code 0 if a leader is among them, else 8."""
    from zk.cli.status import ask_all  # here, since it brings in the client

    answers = await ask_all(tuple(servers or console.servers))
    rows = console.printer.many(
        ["server", "id", "role", "leader", "epoch", "zxid", "sessions", "znodes", "watches", "connections", "digest"]
    )
    for server, answer in answers.items():
        if isinstance(answer, Exception):
            rows.add({"server": server, "role": "unreachable", "error": str(answer)})
            note(f"zk: {answer}")
        else:
            rows.add(
                {
                    "server": server,
                    "id": answer.server_id,
                    "role": answer.role,
                    "leader": answer.leader or None,
                    "epoch": answer.epoch,
                    "zxid": zxid_text(answer.zxid),
                    "sessions": answer.sessions,
                    "znodes": answer.znodes,
                    "watches": answer.watches,
                    "connections": answer.connections,
                    "digest": answer.digest,
                    "version": answer.version,
                }
            )
    rows.close()
    leads = any(not isinstance(answer, Exception) and answer.role == "leader" for answer in answers.values())
    return ExitCode.OK if leads else ExitCode.CONNECTION


async def whoami(console: Console) -> None:
    """Show who the service takes this session for."""
    rows = console.printer.many(["scheme", "id"])
    async with console.client() as zk:
        for identity in await zk.whoami():
            rows.add({"scheme": identity.scheme, "id": identity.id})
    rows.close()


VERBS = tuple(
    verb(each)
    for each in (
        *(get, set_, create, rm, ls, tree, stat, exists, count, watch, acl, whoami, status),
        *(import_, export),
    )
)
