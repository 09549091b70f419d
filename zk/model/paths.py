"""Paths of znodes: what is a path, and how paths relate. The rules are ZooKeeper's (PathUtils)."""

import re

from zk.model.errors import BadArgumentsError

RESERVED = frozenset({"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"})

_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff]")
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_\-:@=+,][A-Za-z0-9_\-:@=+,.]*)+")  # the usual path, accepted by one match


def validate(path: str) -> None:
    """Raise BadArgumentsError (-8), saying what is wrong and where, unless `path` is a well-formed absolute path."""
    if _PLAIN.fullmatch(path) or path == "/":
        return
    fault = _fault(path, "")
    if fault is not None:
        raise BadArgumentsError(path, fault)


def validate_prefix(path: str) -> None:
    """Like `validate`, for the prefix of a sequential name: it may end in '/', since the suffix is still to come."""
    fault = _fault(path, "0")
    if fault is not None:
        raise BadArgumentsError(path, fault)


def is_plain(name: str) -> bool:
    """Whether `name` is, without a closer look, one that a node may have: of letters, digits, '-' and '_'."""
    return name.isalnum() or name.replace("-", "").replace("_", "").isalnum()


def _fault(path: str, suffix: str) -> str | None:
    """What is wrong with `path`, if it is to be a path with `suffix` behind it."""
    if not path:
        return "a path must not be empty; the root is '/'"
    if path[0] != "/":
        meant = f"/{path}"
        suggestion = f"; did you mean '{meant}'?" if _fault(meant, suffix) is None else ""
        return f"a path must start with '/'{suggestion}"
    full = path + suffix
    if full[-1] == "/":
        return "a path must not end with '/'"
    found = _FORBIDDEN.search(full)
    if found is not None:
        return f"character {found.group()!r} at position {found.start()} is not allowed in a path"
    for component in full[1:].split("/"):
        if component == "":
            return "a path must not have an empty component ('//')"
        if component in (".", ".."):
            return f"relative component {component!r} is not allowed in a path"
    return None


def parent(path: str) -> str:
    """The parent's path; the root is its own parent."""
    return path[: path.rfind("/")] or "/"


def basename(path: str) -> str:
    """The last component; empty for the root."""
    return path[path.rfind("/") + 1 :]


def join(directory: str, name: str) -> str:
    """The path of the child `name` of `directory`."""
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


def is_inside(path: str, root: str) -> bool:
    """Whether `path` is `root` itself or anything below it."""
    return path == root or root == "/" or path.startswith(root + "/")
