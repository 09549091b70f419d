"""A zxid and its two parts. Beside record.py, which can't be compiled: these are called for every transaction."""

from zk.model.record import Epoch, Zxid


def epoch_of(zxid: int) -> Epoch:
    """The epoch in which `zxid` was proposed."""
    return zxid >> 32  # type: ignore[return-value]  # Epoch(…) is a call, and this is called for every message


def counter_of(zxid: int) -> int:
    """The position of `zxid` within its epoch; 0 is the epoch's own marker."""
    return zxid & 0xFFFF_FFFF


def make_zxid(epoch: int, counter: int) -> Zxid:
    """The zxid at `counter` of `epoch`."""
    return epoch << 32 | counter  # type: ignore[return-value]  # as above
