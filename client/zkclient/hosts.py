"""Connect strings: 'host1:2181,host2:2181/chroot'."""

from zk.model.errors import BadArgumentsError
from zk.model.paths import validate
from zk.model.record import record

DEFAULT_PORT = 2181


@record
class Hosts:
    """Where the servers are, as 'host:port' each, and the path below which the client lives ('' for the whole tree)."""

    servers: tuple[str, ...]
    chroot: str


def parse_hosts(text: str) -> Hosts:
    """Raises BadArgumentsError, saying which part is wrong."""
    if not isinstance(text, str):
        raise BadArgumentsError(hint=f"hosts is text, 'host:port,host:port/chroot', not {text!r}")
    servers, slash, chroot = text.partition("/")
    if slash and chroot:
        validate("/" + chroot)
    parts = tuple(f"{host}:{port}" for host, port in (split_host(part.strip()) for part in servers.split(",")))
    return Hosts(parts, "/" + chroot if chroot else "")


def split_host(text: str) -> tuple[str, int]:
    """'host:port', 'host' or '[ipv6]:port' as host (brackets kept) and port. Raises BadArgumentsError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or (":" in host and not bracketed):
        raise BadArgumentsError(hint=f"{text!r} is not a server's address: write 'host:port' or '[ipv6]:port'")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadArgumentsError(hint=f"the port in {text!r} must be a number from 1 to 65535")
    return host, int(port)
