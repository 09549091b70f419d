"""What an operator can set, and where it comes from: a TOML file < the environment (ZK_…) < flags.

Owns names, defaults and checks of the settings; a mistake is answered with where it is, what is wrong and what is
allowed. Opens nothing but the TOML file. Read server.py next.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path

from zk.model.limits import DEFAULT_LIMITS, Limits
from zk.model.record import ServerId, record

SERVER_ID_MAX = 255
VOTERS_MAX = 7

Flag = str | int | Sequence[str] | None


class ConfigError(ValueError):
    """A setting is wrong: the text says where, what, and what is allowed."""


@record
class Address:
    """Where to listen or to connect: a host name or a numeric address, and a TCP port (0, to listen on any free
    one)."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@record
class ServerConfig:
    """One server. `cluster` is the ensemble's name: servers of another one are turned away. `peers` is every voter,
    itself included, with the address at which it talks to the others; empty: the server is alone."""

    id: ServerId = ServerId(1)
    cluster: str = "zk"
    listen: Address = Address("127.0.0.1", 2181)
    data: Path = Path("zk-data")
    peers: tuple[tuple[ServerId, Address], ...] = ()
    tick_ms: int = 2_000
    limits: Limits = DEFAULT_LIMITS

    @property
    def voters(self) -> tuple[ServerId, ...]:
        return tuple(server for server, _ in self.peers) or (self.id,)


@record
class _Setting:
    """A value as it was found, and `where`: what to call it in a complaint."""

    value: object
    where: str

    def wrong(self, allowed: str) -> ConfigError:
        return ConfigError(f"{self.where}: {self.value!r} is not allowed; {allowed}")


_KEYS = ("id", "cluster", "listen", "data", "peers", "tick_ms", "session_timeout_ms")
_SESSION_TIMEOUTS = ("session_timeout_ms_min", "session_timeout_ms_max")  # limits too, but set by session_timeout_ms
_LIMITS = tuple(field.name for field in fields(Limits) if field.name not in _SESSION_TIMEOUTS)
_VARIABLES = {f"ZK_{key.upper()}": key for key in _KEYS}
_VARIABLES |= {f"ZK_LIMITS_{key.upper()}": f"limits.{key}" for key in _LIMITS}


def load_config(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Flag]) -> ServerConfig:
    """Put a configuration together; raise ConfigError if it can't be one.

    `flags` has the keys of the TOML file's top level (`peers` as a sequence of 'ID=HOST:PORT'); a flag that is None
    was not given. Variables of the environment that begin with ZK_ and resemble none of ours are somebody else's and
    ignored.
    """
    settings = _from_file(path) if path is not None else {}
    settings |= _from_environment(environ)
    settings |= {key: _Setting(value, "--" + _flag(key)) for key, value in flags.items() if value is not None}
    return _build(settings)


def _flag(key: str) -> str:
    return "peer" if key == "peers" else key.replace("_", "-")


# ---- sources


def _from_file(path: Path) -> dict[str, _Setting]:
    import tomllib  # here, because a server without a file should not wait for it

    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    limits = table.pop("limits", {})
    if not isinstance(limits, dict):
        raise ConfigError(f"{path}: limits: {limits!r} is not allowed; it is a table: [limits]")
    for key in table:
        if key not in _KEYS:
            raise ConfigError(f"{path}: unknown key {key!r}{_suggestion(key, (*_KEYS, 'limits'))}")
    for key in limits:
        if key in _SESSION_TIMEOUTS:
            raise ConfigError(f'{path}: limits.{key} is set by session_timeout_ms = "MIN:MAX" at the top of the file')
        if key not in _LIMITS:
            raise ConfigError(f"{path}: unknown key {key!r} in [limits]{_suggestion(key, _LIMITS)}")
    return {key: _Setting(value, f"{path}: {key}") for key, value in table.items()} | {
        f"limits.{key}": _Setting(value, f"{path}: limits.{key}") for key, value in limits.items()
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Setting]:
    found = {}
    for name, value in environ.items():
        if name in _VARIABLES:
            found[_VARIABLES[name]] = _Setting(value, f"environment variable {name}")
        elif name.startswith("ZK_") and (suggestion := _suggestion(name, tuple(_VARIABLES), cutoff=0.85)):
            raise ConfigError(f"unknown environment variable {name}{suggestion}")
    return found


def _suggestion(key: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    import difflib  # here, because only a mistake needs it

    close = difflib.get_close_matches(key, known, n=1, cutoff=cutoff)
    if close:
        return f"; did you mean {close[0]!r}?"
    return "" if cutoff > 0.6 else f"; known are {', '.join(known)}"


# ---- values


def _build(settings: Mapping[str, _Setting]) -> ServerConfig:
    config = ServerConfig()
    if "id" in settings:
        config = replace(config, id=ServerId(_integer(settings["id"], 1, SERVER_ID_MAX)))
    if "cluster" in settings:
        config = replace(config, cluster=_name(settings["cluster"]))
    if "listen" in settings:
        config = replace(config, listen=_address(settings["listen"], port_min=0))
    if "data" in settings:
        config = replace(config, data=_path(settings["data"]))
    if "peers" in settings:
        config = replace(config, peers=_peers(settings["peers"]))
        _check_membership(config, settings)
    if "tick_ms" in settings:
        config = replace(config, tick_ms=_integer(settings["tick_ms"], 10, 60_000))
    low, high = 2 * config.tick_ms, 20 * config.tick_ms
    if "session_timeout_ms" in settings:
        low, high = _range(settings["session_timeout_ms"])
    limits = {key: _integer(settings[f"limits.{key}"], 1, 1 << 40) for key in _LIMITS if f"limits.{key}" in settings}
    limits |= {"session_timeout_ms_min": low, "session_timeout_ms_max": high}
    return replace(config, limits=replace(DEFAULT_LIMITS, **limits))


def _check_membership(config: ServerConfig, settings: Mapping[str, _Setting]) -> None:
    peers = settings["peers"]
    known = ", ".join(str(server) for server, _ in config.peers)
    if config.peers and "id" not in settings:
        raise ConfigError(
            f"{peers.where}: with peers, a server must be told its own id (id, ZK_ID or --id): one of {known}"
        )
    if config.peers and config.id not in config.voters:
        raise ConfigError(
            f"{settings['id'].where}: {config.id} is not among the peers ({known}); a server is its own peer too"
        )


def _integer(setting: _Setting, low: int, high: int) -> int:
    allowed = f"a whole number from {low} to {high} is"
    value = setting.value
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            raise setting.wrong(allowed) from None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise setting.wrong(allowed)
    return value


def _address(setting: _Setting, port_min: int) -> Address:
    allowed = f"HOST:PORT is, with a port from {port_min} to 65535 (an IPv6 address in brackets: [::1]:2181)"
    if not isinstance(setting.value, str):
        raise setting.wrong(allowed)
    host, colon, port = setting.value.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or (":" in host) != bracketed or not (port.isascii() and port.isdigit()):
        raise setting.wrong(allowed)
    if not port_min <= int(port) <= 65_535:
        raise setting.wrong(allowed)
    return Address(host, int(port))


def _name(setting: _Setting) -> str:
    if not isinstance(setting.value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", setting.value):
        raise setting.wrong("1 to 64 letters, digits, '.', '_' and '-' are")
    return setting.value


def _path(setting: _Setting) -> Path:
    if not isinstance(setting.value, str) or not setting.value or "\0" in setting.value:
        raise setting.wrong("the path of a directory is")
    return Path(setting.value).expanduser()


def _peers(setting: _Setting) -> tuple[tuple[ServerId, Address], ...]:
    """A table {ID = 'HOST:PORT'} in TOML, a sequence of 'ID=HOST:PORT' in flags, the same joined by commas in the
    environment."""
    allowed = f'up to {VOTERS_MAX} different ID=HOST:PORT are (in TOML a table: [peers] 1 = "HOST:PORT")'
    value = setting.value
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        if isinstance(value, str):
            value = [item for item in value.split(",") if item]
        if not isinstance(value, Sequence) or not all(isinstance(item, str) and "=" in item for item in value):
            raise setting.wrong(allowed)
        pairs = [tuple(item.split("=", 1)) for item in value]
    peers = {}
    for server, address in pairs:
        where = f"{setting.where}: {server}"
        peers[ServerId(_integer(_Setting(server, where), 1, SERVER_ID_MAX))] = _address(
            _Setting(address, where), port_min=1
        )
    if len(peers) != len(pairs) or len(set(peers.values())) != len(pairs) or len(pairs) > VOTERS_MAX:
        raise setting.wrong(allowed)
    return tuple(sorted(peers.items()))


def _range(setting: _Setting) -> tuple[int, int]:
    allowed = "MIN:MAX in milliseconds is, with 1 <= MIN <= MAX <= 86400000"
    if not isinstance(setting.value, str) or setting.value.count(":") != 1:
        raise setting.wrong(allowed)
    try:
        low, high = (int(part) for part in setting.value.split(":"))
    except ValueError:
        raise setting.wrong(allowed) from None
    if not 1 <= low <= high <= 86_400_000:
        raise setting.wrong(allowed)
    return low, high
