"""The operations that are asked for most, read by hand at a fraction of what the general way costs. Whatever looks in
any way different from what is usual is left to that way (operations.py), which also says what is wrong with it.
"""

from zk.model.acl import OPEN_ACL
from zk.model.data import NO_DATA
from zk.model.record import Zxid
from zk.model.requests import Call, Create, CreateMode, Exists, GetData, SetData
from zk.wire.native.operations import INT32_MAX, INT32_MIN, Op
from zk.wire.scalars import NIL, ScalarReader

LINEARIZABLE = -1
"""The level of a read that must be linearizable; 0 is the session's own order, above that: at least this zxid."""

_FALSE = 0xC2
_TRUE = 0xC3
_MODES = list(CreateMode)  # numbered from 0 on


class CallReader:
    """Reads the calls at the beginning of what was received, within the limits."""

    def __init__(self, path_length_max: int, data_bytes_max: int, frame_bytes_max: int) -> None:
        self._path_length_max = path_length_max
        self._data_bytes_max = data_bytes_max
        self._frame_bytes_max = frame_bytes_max

    def read(self, data: bytes, calls: list[Call]) -> int:
        """Add the calls with which `data` begins, as long as they are frequent ones; where they end."""
        reader = ScalarReader(data, 0)
        end = 0
        try:
            while end < len(data):
                call = self._read_call(reader)
                if call is None or reader.at - end > self._frame_bytes_max:
                    break
                calls.append(call)
                end = reader.at
        except (ValueError, IndexError):
            pass  # the rest of it may be still to come
        return end

    def _read_call(self, reader: ScalarReader) -> Call | None:
        """None, ValueError or IndexError if it is none of these."""
        count = reader.read_array()
        if not 5 <= count <= 8:
            return None
        xid, level, op = reader.read_int(), reader.read_int(), reader.read_int()
        if xid < 0 or level < LINEARIZABLE:
            return None
        if count == 5:
            if op not in (Op.GET_DATA, Op.EXISTS):
                return None
            path = reader.read_text()
            watch = reader.skip(_TRUE)
            if (not watch and not reader.skip(_FALSE)) or len(path) > self._path_length_max:
                return None
            read = GetData(path, watch) if op == Op.GET_DATA else Exists(path, watch)
            return Call(xid, read, 0, Zxid(0), True) if level == LINEARIZABLE else Call(xid, read, 0, Zxid(level))
        write: SetData | Create | None = None
        if op == Op.SET_DATA and count == 6:
            write = read_set_data(reader)
        elif op == Op.CREATE and count == 8:
            write = read_create(reader)
        if write is None or level == LINEARIZABLE:
            return None
        if len(write.path) > self._path_length_max or len(write.data) > self._data_bytes_max:
            return None
        return Call(xid, write, level)


def read_set_data(reader: ScalarReader) -> SetData | None:
    """The fields of one; None, ValueError or IndexError if they are unusual ones."""
    path = reader.read_text()
    data = NO_DATA if reader.skip(NIL) else reader.read_binary()
    version = reader.read_int()
    return SetData(path, data, version) if INT32_MIN <= version <= INT32_MAX else None


def read_create(reader: ScalarReader) -> Create | None:
    """Likewise."""
    path = reader.read_text()
    data = NO_DATA if reader.skip(NIL) else reader.read_binary()
    if not reader.skip(NIL):
        return None  # an ACL of its own
    mode, ttl_ms = reader.read_int(), reader.read_int()
    return Create(path, data, OPEN_ACL, _MODES[mode], ttl_ms) if 0 <= mode < len(_MODES) else None
