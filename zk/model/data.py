"""The data of a znode: bytes, which may be missing altogether."""


class _NoData(bytes):
    """As empty as b"", and equal to it."""

    def __repr__(self) -> str:
        return "NO_DATA"


NO_DATA = _NoData()
"""Data that is null. ZooKeeper's clients tell it from empty data, so it is kept: ask with `is`. All else sees b""."""
