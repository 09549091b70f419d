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
