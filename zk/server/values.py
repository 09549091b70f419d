"""The forms that settings come in, each with its check: addresses, paths, numbers, lists, secrets.

A value that is not allowed raises ConfigError, which says where it stands, what is wrong, and what is allowed. Knows
nothing of which settings there are: that is config.py.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from zk.model.record import ServerId, record
from zk.wire.zookeeper.words import WORDS

SERVER_ID_MAX = 255
VOTERS_MAX = 7
SHA1_BYTES = 20


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
class Setting:
    """A value as it was found, and `where`: what to call it in a complaint."""

    value: object
    where: str

    def wrong(self, allowed: str) -> ConfigError:
        return ConfigError(f"{self.where}: {self.value!r} is not allowed; {allowed}")

    def wrong_secret(self, allowed: str) -> ConfigError:
        """The same, without the value."""
        return ConfigError(f"{self.where}: this value is not allowed; {allowed}")


def integer(setting: Setting, low: int, high: int) -> int:
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


def address(setting: Setting, port_min: int) -> Address:
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


def name(setting: Setting) -> str:
    if not isinstance(setting.value, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", setting.value):
        raise setting.wrong("1 to 64 letters, digits, '.', '_' and '-' are")
    return setting.value


def path(setting: Setting, of: str) -> Path:
    if not isinstance(setting.value, str) or not setting.value or "\0" in setting.value:
        raise setting.wrong(f"the path of a {of} is")
    return Path(setting.value).expanduser()


def yes_or_no(setting: Setting) -> bool:
    value = {"true": True, "false": False}.get(setting.value) if isinstance(setting.value, str) else setting.value
    if not isinstance(value, bool):
        raise setting.wrong("true and false are")
    return value


def _items(setting: Setting, wrong: ConfigError) -> list[str]:
    """Several texts: a list in TOML and in flags, joined by commas in the environment."""
    value = setting.value
    if isinstance(value, str):
        return [item for item in value.split(",") if item]
    if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
        raise wrong
    return list(value)


def peers(setting: Setting) -> tuple[tuple[ServerId, Address], ...]:
    """A table {ID = 'HOST:PORT'} in TOML, else several 'ID=HOST:PORT'."""
    wrong = setting.wrong(f'up to {VOTERS_MAX} different ID=HOST:PORT are (in TOML a table: [peers] 1 = "HOST:PORT")')
    if isinstance(setting.value, Mapping):
        pairs = list(setting.value.items())
    else:
        pairs = []
        for item in _items(setting, wrong):
            server, equals, where_to = item.partition("=")
            if not equals:
                raise wrong
            pairs.append((server, where_to))
    found = {}
    for server, where_to in pairs:
        where = f"{setting.where}: {server}"
        found[ServerId(integer(Setting(server, where), 1, SERVER_ID_MAX))] = address(
            Setting(where_to, where), port_min=1
        )
    if len(found) != len(pairs) or len(set(found.values())) != len(pairs) or len(pairs) > VOTERS_MAX:
        raise wrong
    return tuple(sorted(found.items()))


def words(setting: Setting) -> frozenset[str]:
    """Which four-letter words are answered; '*' stands for all."""
    wrong = setting.wrong(f"several of {', '.join(WORDS)} are, or * for all")
    chosen = frozenset(item.strip() for item in _items(setting, wrong))
    if chosen == {"*"}:
        return frozenset(WORDS)
    if not chosen <= frozenset(WORDS):
        raise wrong
    return chosen


# ---- secrets: never shown, not even in a complaint


def super_digest(setting: Setting) -> str:
    wrong = setting.wrong_secret(
        "super:BASE64SHA1 is, where BASE64SHA1 is what `printf 'super:PASSWORD' | openssl sha1 -binary | base64` prints"
    )
    if not isinstance(setting.value, str) or not setting.value.startswith("super:"):
        raise wrong
    try:
        digest = base64.b64decode(setting.value.removeprefix("super:"), validate=True)
    except ValueError:
        raise wrong from None
    if len(digest) != SHA1_BYTES:
        raise wrong
    return setting.value


def sasl_users(setting: Setting) -> dict[str, str]:
    """Passwords by name, from several 'NAME:PASSWORD'."""
    items = _items(setting, setting.wrong_secret("NAME:PASSWORD is, repeated for each user"))
    return _users((setting.where, item) for item in items)


def sasl_users_file(setting: Setting) -> dict[str, str]:
    """The same from the lines of a file; empty ones and those that begin with # don't count."""
    file = path(setting, "file")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ConfigError(f"{setting.where}: {file} can't be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ConfigError(f"{setting.where}: {file} is not UTF-8 text") from None
    return _users(
        (f"{file}, line {number}", line)
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    )


def _users(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    users: dict[str, str] = {}
    for where, item in found:
        user, colon, password = item.partition(":")
        if not colon or not user.strip() or not password:
            raise Setting(item, where).wrong_secret("NAME:PASSWORD is, both not empty")
        if user in users:
            raise ConfigError(f"{where}: the user {user!r} has a password already")
        users[user] = password
    return users


# ---- ranges


def timeouts(setting: Setting) -> tuple[int, int]:
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
