"""The index of children: the path of a node that has children -> the paths of these, in no particular order.

The paths are the very strings that are the keys of the znodes, so the index holds no text of its own.
"""

from collections.abc import Iterator, Mapping

Children = dict[str, dict[str, None]]


def below(children: Mapping[str, Mapping[str, None]], path: str) -> Iterator[str]:
    """The paths of all descendants of `path`."""
    pending = [path]
    while pending:
        for child in children.get(pending.pop(), ()):
            yield child
            if child in children:
                pending.append(child)
