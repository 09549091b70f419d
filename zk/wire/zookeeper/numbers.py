"""The numbers of ZooKeeper's protocol that the model does not have: opcodes, reserved xids.

Error codes (zk.model.errors), events (zk.model.events), watch modes and kinds of znodes are the model's, for there they
have ZooKeeper's numbers.
"""

from typing import Final


class OpCode:
    """What a request asks for. Plain ints, since an enum's members are dearer to look up, and every request does."""

    CLOSE_SESSION: Final = -11
    CREATE_SESSION: Final = -10
    ERROR: Final = -1
    CREATE: Final = 1
    DELETE: Final = 2
    EXISTS: Final = 3
    GET_DATA: Final = 4
    SET_DATA: Final = 5
    GET_ACL: Final = 6
    SET_ACL: Final = 7
    GET_CHILDREN: Final = 8
    SYNC: Final = 9
    PING: Final = 11
    GET_CHILDREN2: Final = 12
    CHECK: Final = 13
    MULTI: Final = 14
    CREATE2: Final = 15
    RECONFIG: Final = 16
    CHECK_WATCHES: Final = 17
    REMOVE_WATCHES: Final = 18
    CREATE_CONTAINER: Final = 19
    DELETE_CONTAINER: Final = 20
    CREATE_TTL: Final = 21
    MULTI_READ: Final = 22
    AUTH: Final = 100
    SET_WATCHES: Final = 101
    SASL: Final = 102
    GET_EPHEMERALS: Final = 103
    GET_ALL_CHILDREN_NUMBER: Final = 104
    SET_WATCHES2: Final = 105
    ADD_WATCH: Final = 106
    WHO_AM_I: Final = 107


class Xid:
    """Xids that are no call's number."""

    EVENT: Final = -1
    PING: Final = -2
    AUTH: Final = -4
    SET_WATCHES: Final = -8


STATE_SYNC_CONNECTED = 3
"""The state in every event of a server: only clients know of others."""

CONNECT_REQUEST_BYTES_MIN = 28
"""Protocol version, last zxid, timeout, session id, and the length of a password that may be null."""

SECRET_BYTES = 16
"""A session's password; in the answer to a client whose session is over, so many zeroes."""

FRAME_HEAD_BYTES = 4
REPLY_HEAD_BYTES = 16
"""xid (int), zxid (long), error code (int)."""
