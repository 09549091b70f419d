"""What happened, one readable line per event; and its hash, by which two runs are compared.

A trace is asked for, since writing one costs ten times the run itself.
"""

import hashlib
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum

from zk.broadcast.records import Entry

_ZXIDS = frozenset({"zxid", "last", "prev", "common", "commit", "base", "generation", "at_least", "floor_zxid"})


class Trace:
    """Lines go to `write` as they come; `digest` covers all of them."""

    def __init__(self, write: Callable[[str], object] = lambda line: None) -> None:
        self._write = write
        self._hash = hashlib.blake2b(digest_size=16)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def line(self, now_us: int, who: str, what: str) -> None:
        text = f"{now_us / 1000:12.3f} {who:<8} {what}"
        self._hash.update(text.encode())
        self._write(text)


def describe(value: object) -> str:
    """A value in one line: zxids as epoch.counter, a run of entries by its ends, long bytes by their length."""
    return _describe("", value)


def zxid_text(zxid: int) -> str:
    """Epoch and counter: 3.17"""
    return f"{zxid >> 32}.{zxid & 0xFFFF_FFFF}"


def _describe(name: str, value: object) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        inner = " ".join(f"{field.name}={_describe(field.name, getattr(value, field.name))}" for field in fields(value))
        return f"{type(value).__name__}({inner})"
    if isinstance(value, int) and not isinstance(value, (bool, Enum)) and name in _ZXIDS:
        return zxid_text(value)
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes) and len(value) > 12:
        return f"<{len(value)} bytes>"
    if isinstance(value, (tuple, list)):
        if len(value) > 3 and isinstance(value[0], Entry) and isinstance(value[-1], Entry):
            return f"[{zxid_text(value[0].zxid)} … {zxid_text(value[-1].zxid)}: {len(value)} entries]"
        if name == "epochs":
            return "[" + " ".join(zxid_text(last) for _, last in value) + "]"
        shown = ", ".join(_describe("", item) for item in value[:8])
        return f"[{shown}{', …' if len(value) > 8 else ''}]"
    return repr(value)
