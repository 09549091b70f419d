"""What an operator can set, and where it comes from: a TOML file < the environment (ZK_…) < flags.

Owns names and defaults of the settings; a mistake is answered with where it is, what is wrong and what is allowed.
Opens nothing but the TOML file and the file of SASL users. Read values.py (their forms) and server.py next.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field, fields, replace
from pathlib import Path

from zk.model.limits import DEFAULT_LIMITS, MIB, Limits
from zk.model.record import ServerId, record
from zk.server import values
from zk.server.values import SERVER_ID_MAX, Address, ConfigError, Setting
from zk.wire.zookeeper.words import WORDS

__all__ = ["Address", "ConfigError", "Flag", "ServerConfig", "TlsConfig", "load_config"]

Flag = str | int | bool | Sequence[str] | None


@record
class TlsConfig:
    """Where clients connect over TLS, and the PEM files for it. With `ca`, a client must present a certificate that
    one of its authorities signed."""

    listen: Address
    cert: Path
    key: Path
    ca: Path | None = None


@record
class ServerConfig:
    """One server. `cluster` is the ensemble's name: servers of another one are turned away. `peers` is every voter,
    itself included, with the address at which it talks to the others; empty: the server is alone."""

    id: ServerId = ServerId(1)
    cluster: str = "zk"
    listen: Address = Address("127.0.0.1", 2181)
    tls: TlsConfig | None = None
    data: Path = Path("zk-data")
    peers: tuple[tuple[ServerId, Address], ...] = ()
    tick_ms: int = 2_000
    container_check_ms: int = 60_000  # how often containers and TTL nodes are looked after
    read_only_mode: bool = False  # whether a server without a quorum serves reads to clients that ask for it
    four_letter_words: frozenset[str] = frozenset(WORDS)  # those that are answered
    super_digest: str = field(default="", repr=False)  # 'super:BASE64SHA1', whose password may do everything
    sasl_users: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)  # passwords by name
    sasl_users_file: Path | None = None  # where some of them come from
    limits: Limits = DEFAULT_LIMITS

    @property
    def voters(self) -> tuple[ServerId, ...]:
        return tuple(server for server, _ in self.peers) or (self.id,)

    @property
    def members(self) -> tuple[str, ...]:
        """The ensemble as /zookeeper/config shows it: a line for each server. Its one port for other servers stands
        for ZooKeeper's two."""
        return tuple(f"server.{server}={address}:{address.port}:participant" for server, address in self.peers)

    def cautions(self) -> list[str]:
        """What the operator should know, though nothing is wrong."""
        file = self.sasl_users_file
        if file is not None and file.stat().st_mode & 0o077:
            return [f"{file} has passwords, and others than its owner may read it: chmod 600 {file}"]
        return []


_KEYS = (
    "id",
    "cluster",
    "listen",
    "data",
    "peers",
    "tick_ms",
    "session_timeout_ms",
    "container_check_ms",
    "read_only_mode",
    "four_letter_words",
    "super_digest",
    "sasl_users",
    "sasl_users_file",
    "tls_listen",
    "tls_cert",
    "tls_key",
    "tls_ca",
)
_FLAGS = {"peers": "peer", "sasl_users": "sasl-user"}  # which are repeated
_SESSION_TIMEOUTS = ("session_timeout_ms_min", "session_timeout_ms_max")  # limits too, but set by session_timeout_ms
_LIMITS = tuple(field.name for field in fields(Limits) if field.name not in _SESSION_TIMEOUTS)
_REQUEST_BYTES_MAX = 32 * MIB  # a write of more could not be passed on to another server: half of PEER_FRAME_BYTES_MAX
_MOST = dict.fromkeys(("frame_bytes_max", "zookeeper_frame_bytes_max", "data_bytes_max"), _REQUEST_BYTES_MAX)
_VARIABLES = {f"ZK_{key.upper()}": key for key in _KEYS}
_VARIABLES |= {f"ZK_LIMITS_{key.upper()}": f"limits.{key}" for key in _LIMITS}


def load_config(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, Flag]) -> ServerConfig:
    """Put a configuration together; raise ConfigError if it can't be one.

    `flags` has the keys of the TOML file's top level (`peers` as a sequence of 'ID=HOST:PORT', `sasl_users` as one of
    'NAME:PASSWORD'); a flag that is None was not given. Variables of the environment that begin with ZK_ and resemble
    none of ours are somebody else's and ignored.
    """
    settings = _from_file(path) if path is not None else {}
    settings |= _from_environment(environ)
    settings |= {key: Setting(value, "--" + _flag(key)) for key, value in flags.items() if value is not None}
    return _build(settings)


def _flag(key: str) -> str:
    return _FLAGS.get(key) or key.replace("_", "-")


# ---- sources


def _from_file(path: Path) -> dict[str, Setting]:
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
    return {key: Setting(value, f"{path}: {key}") for key, value in table.items()} | {
        f"limits.{key}": Setting(value, f"{path}: limits.{key}") for key, value in limits.items()
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, Setting]:
    found = {}
    for name, value in environ.items():
        if name in _VARIABLES:
            found[_VARIABLES[name]] = Setting(value, f"environment variable {name}")
        elif name.startswith("ZK_") and (suggestion := _suggestion(name, tuple(_VARIABLES), cutoff=0.85)):
            raise ConfigError(f"unknown environment variable {name}{suggestion}")
    return found


def _suggestion(key: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    import difflib  # here, because only a mistake needs it

    close = difflib.get_close_matches(key, known, n=1, cutoff=cutoff)
    if close:
        return f"; did you mean {close[0]!r}?"
    return "" if cutoff > 0.6 else f"; known are {', '.join(known)}"


# ---- the whole


def _build(settings: Mapping[str, Setting]) -> ServerConfig:
    config = ServerConfig(tls=_tls(settings))
    if "id" in settings:
        config = replace(config, id=ServerId(values.integer(settings["id"], 1, SERVER_ID_MAX)))
    if "cluster" in settings:
        config = replace(config, cluster=values.name(settings["cluster"]))
    if "listen" in settings:
        config = replace(config, listen=values.address(settings["listen"], port_min=0))
    if "data" in settings:
        config = replace(config, data=values.path(settings["data"], "directory"))
    if "peers" in settings:
        config = replace(config, peers=values.peers(settings["peers"]))
        _check_membership(config, settings)
    if "tick_ms" in settings:
        config = replace(config, tick_ms=values.integer(settings["tick_ms"], 10, 60_000))
    if "container_check_ms" in settings:
        interval_ms = values.integer(settings["container_check_ms"], 10, 86_400_000)
        config = replace(config, container_check_ms=interval_ms)
    if "read_only_mode" in settings:
        config = replace(config, read_only_mode=values.yes_or_no(settings["read_only_mode"]))
    if "four_letter_words" in settings:
        config = replace(config, four_letter_words=values.words(settings["four_letter_words"]))
    if config.read_only_mode:  # by this word clients that were let in to read look for a server that has a quorum
        config = replace(config, four_letter_words=config.four_letter_words | {"isro"})
    if "super_digest" in settings:
        config = replace(config, super_digest=values.super_digest(settings["super_digest"]))
    low, high = 2 * config.tick_ms, 20 * config.tick_ms
    if "session_timeout_ms" in settings:
        low, high = values.timeouts(settings["session_timeout_ms"])
    limits = {
        key: values.integer(settings[f"limits.{key}"], 1, _MOST.get(key, 1 << 40))
        for key in _LIMITS
        if f"limits.{key}" in settings
    }
    limits |= {"session_timeout_ms_min": low, "session_timeout_ms_max": high}
    return replace(_with_sasl_users(config, settings), limits=replace(DEFAULT_LIMITS, **limits))


def _check_membership(config: ServerConfig, settings: Mapping[str, Setting]) -> None:
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


def _with_sasl_users(config: ServerConfig, settings: Mapping[str, Setting]) -> ServerConfig:
    users = values.sasl_users(settings["sasl_users"]) if "sasl_users" in settings else {}
    file = None
    if "sasl_users_file" in settings:
        setting = settings["sasl_users_file"]
        file = values.path(setting, "file")
        from_file = values.sasl_users_file(setting)
        for name in users.keys() & from_file.keys():
            raise ConfigError(f"{setting.where}: the user {name!r} has another password outside of the file")
        users |= from_file
    return replace(config, sasl_users=users, sasl_users_file=file)


def _tls(settings: Mapping[str, Setting]) -> TlsConfig | None:
    """All of it, or nothing."""
    files = {
        key: values.path(settings[key], "PEM file") for key in ("tls_cert", "tls_key", "tls_ca") if key in settings
    }
    if "tls_listen" not in settings:
        for key in files:
            raise ConfigError(f"{settings[key].where}: is of no use without tls_listen, the HOST:PORT for TLS")
        return None
    listen = settings["tls_listen"]
    for key, what in (("tls_cert", "the server's certificate"), ("tls_key", "the certificate's key")):
        if key not in files:
            raise ConfigError(f"{listen.where}: needs {key} too, a PEM file with {what}")
    return TlsConfig(values.address(listen, port_min=0), files["tls_cert"], files["tls_key"], files.get("tls_ca"))
