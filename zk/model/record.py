"""`record`: the one way to declare a value here; and the integer types that must not be mixed up."""

from dataclasses import dataclass
from typing import NewType, TypeVar, dataclass_transform

T = TypeVar("T")

Zxid = NewType("Zxid", int)  # u64 = epoch:32 | counter:32; the position of a transaction in the one total order
Epoch = NewType("Epoch", int)  # u32; one leader's reign
ServerId = NewType("ServerId", int)  # 1..255, given by the operator
SessionId = NewType("SessionId", int)  # 63 bits, never 0 for a live session
ConnectionId = NewType("ConnectionId", int)  # a serial number of this process; never a file descriptor


@dataclass_transform(frozen_default=True)
def record(cls: type[T]) -> type[T]:
    """Declare a slots dataclass that the type checker holds immutable.

    Not `frozen=True` at run time: that makes every construction three times dearer, on paths that build one per
    request.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


def epoch_of(zxid: int) -> Epoch:
    """The epoch in which `zxid` was proposed."""
    return zxid >> 32  # type: ignore[return-value]  # Epoch(…) is a call, and this is called for every message


def counter_of(zxid: int) -> int:
    """The position of `zxid` within its epoch; 0 is the epoch's own marker."""
    return zxid & 0xFFFF_FFFF


def make_zxid(epoch: int, counter: int) -> Zxid:
    """The zxid at `counter` of `epoch`."""
    return epoch << 32 | counter  # type: ignore[return-value]  # as above
