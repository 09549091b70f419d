"""Arguments of the command line as values, and values as a person reads them: ACLs, zxids, stats."""

from collections.abc import Sequence

import typer

from zk.cli.output import Value
from zk.model.acl import PERM_LETTERS, Acl, perms_from, perms_text
from zk.model.stat import Stat


def parse_acl(texts: Sequence[str]) -> tuple[Acl, ...]:
    """ACL entries written as SCHEME:ID:PERMS, as in world:anyone:cdrwa or ip:10.0.0.0/8:r."""
    return tuple(_parse_entry(text) for text in texts)


def _parse_entry(text: str) -> Acl:
    scheme, colon, rest = text.partition(":")
    name, second_colon, letters = rest.rpartition(":")
    if not (scheme and colon and second_colon and letters) or not set(letters) <= set(PERM_LETTERS):
        raise typer.BadParameter(
            f"{text!r} is not SCHEME:ID:PERMS, with PERMS of the letters c d r w a (create, delete, read, write, admin)"
        )
    return Acl(perms_from(letters), scheme, name)


def acl_record(acl: Acl) -> dict[str, Value]:
    letters = perms_text(acl.perms)
    return {"acl": f"{acl.scheme}:{acl.id}:{letters}", "scheme": acl.scheme, "id": acl.id, "perms": letters}


def zxid_text(zxid: int) -> str:
    return f"{zxid:#x}"


def parse_zxid(text: str) -> int:
    """A zxid as `zxid_text` writes it, or in decimal."""
    try:
        return int(text, 0)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a zxid, such as 0x100000003") from None


def stat_record(stat: Stat) -> dict[str, Value]:
    """A stat with zxids and the session in hexadecimal and times in UTC: exact, and readable."""
    return {
        "czxid": zxid_text(stat.czxid),
        "mzxid": zxid_text(stat.mzxid),
        "pzxid": zxid_text(stat.pzxid),
        "ctime": time_text(stat.ctime),
        "mtime": time_text(stat.mtime),
        "version": stat.version,
        "cversion": stat.cversion,
        "aversion": stat.aversion,
        "ephemeral_owner": f"{stat.ephemeral_owner:#x}",
        "data_length": stat.data_length,
        "num_children": stat.num_children,
    }


def time_text(time_ms: int) -> str:
    """Milliseconds since 1970 in ISO 8601, UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
