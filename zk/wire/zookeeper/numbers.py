"""The numbers of ZooKeeper's protocol that the model does not have: opcodes, reserved xids.

Error codes (zk.model.errors), events (zk.model.events), watch modes and kinds of znodes are the model's, for there they
have ZooKeeper's numbers.
"""


class OpCode:
    """What a request asks for. Plain ints, since an enum's members are dearer to look up, and every request does."""

    CLOSE_SESSION = -11
    CREATE_SESSION = -10
    ERROR = -1
    CREATE = 1
    DELETE = 2
    EXISTS = 3
    GET_DATA = 4
    SET_DATA = 5
    GET_ACL = 6
    SET_ACL = 7
    GET_CHILDREN = 8
    SYNC = 9
    PING = 11
    GET_CHILDREN2 = 12
    CHECK = 13
    MULTI = 14
    CREATE2 = 15
    RECONFIG = 16
    CHECK_WATCHES = 17
    REMOVE_WATCHES = 18
    CREATE_CONTAINER = 19
    DELETE_CONTAINER = 20
    CREATE_TTL = 21
    MULTI_READ = 22
    AUTH = 100
    SET_WATCHES = 101
    SASL = 102
    GET_EPHEMERALS = 103
    GET_ALL_CHILDREN_NUMBER = 104
    SET_WATCHES2 = 105
    ADD_WATCH = 106
    WHO_AM_I = 107


class Xid:
    """Xids that are no call's number."""

    EVENT = -1
    PING = -2
    AUTH = -4
    SET_WATCHES = -8


STATE_SYNC_CONNECTED = 3
"""The state in every event of a server: only clients know of others."""

CONNECT_REQUEST_BYTES_MIN = 28
"""Protocol version, last zxid, timeout, session id, and the length of a password that may be null."""

SECRET_BYTES = 16
"""A session's password; in the answer to a client whose session is over, so many zeroes."""

FRAME_HEAD_BYTES = 4
REPLY_HEAD_BYTES = 16
"""xid (int), zxid (long), error code (int)."""
