"""How a connection begins: the client's magic and hello, the server's greeting or its farewell."""

from dataclasses import fields
from typing import Any

from zk.model.errors import MarshallingError, UnimplementedError
from zk.model.limits import Limits
from zk.model.record import record
from zk.wire.framing import Frame, ProtocolError
from zk.wire.native.replies import FAREWELL_XID, reply_bytes_max
from zk.wire.packing import pack

MAGIC: bytes = b"\xc1zk1"
"""The first bytes in both directions. 0xc1 occurs in no MessagePack, and begins no other protocol of this port."""

VERSION = 1
VERSION_MIN = 1
FEATURES = ("exactly-once", "linearizable-reads", "watch-since", "pages")
NAME_LENGTH_MAX = 256
FEATURES_MAX = 64


@record
class ClientHello:
    """The versions of the protocol that the client speaks, its name for the logs, what it can make use of."""

    version: int
    version_min: int
    name: str
    features: tuple[str, ...] = ()


@record
class ServerLimits:
    """What the server refuses: see Limits for each. A reply has at most `reply_bytes_max`."""

    frame_bytes_max: int
    reply_bytes_max: int
    data_bytes_max: int
    path_length_max: int
    acl_entries_max: int
    multi_operations_max: int
    paths_per_set_watches_max: int
    children_per_page_max: int
    watches_per_connection_max: int
    outstanding_requests_max: int


@record
class ServerHello:
    """The version that both speak from here on, the server's name, what it can do, what it refuses."""

    version: int
    name: str
    features: tuple[str, ...]
    limits: ServerLimits


def announced(limits: Limits) -> ServerLimits:
    """The limits that a client should know."""
    return ServerLimits(
        limits.frame_bytes_max,
        reply_bytes_max(limits),
        limits.data_bytes_max,
        limits.path_length_max,
        limits.acl_entries_max,
        limits.multi_operations_max,
        limits.paths_per_set_watches_max,
        limits.children_per_page_max,
        limits.watches_per_connection_max,
        limits.outstanding_requests_max,
    )


def encode_client_hello(hello: ClientHello) -> bytes:
    return MAGIC + pack((hello.version, hello.version_min, hello.name, hello.features))


def decode_client_hello(frame: Frame) -> ClientHello:
    """Raises APIError if the frame is no hello, or comes from a client of another age."""
    try:
        version, version_min, name, features, *_ = frame  # a later version may say more
    except ValueError:
        raise MarshallingError("", _FIRST_FRAME) from None
    if (
        type(version) is not int
        or type(version_min) is not int
        or type(name) is not str
        or len(name) > NAME_LENGTH_MAX
        or type(features) is not tuple
        or len(features) > FEATURES_MAX
        or not all(type(feature) is str and len(feature) <= NAME_LENGTH_MAX for feature in features)
    ):
        raise MarshallingError("", _FIRST_FRAME)
    if version < VERSION_MIN or version_min > VERSION:
        spoken = f"the client speaks versions {version_min} to {version}, this server {VERSION_MIN} to {VERSION}"
        raise UnimplementedError("", spoken)
    return ClientHello(version, version_min, name, features)


_FIRST_FRAME = "the first frame must be [version, lowest version, client name, [feature, …]]"


def encode_server_hello(hello: ServerHello) -> bytes:
    limits = tuple(getattr(hello.limits, field.name) for field in fields(ServerLimits))
    return MAGIC + pack((hello.version, hello.name, hello.features, limits))


def decode_server_hello(frame: Frame) -> ServerHello:
    """Raises ProtocolError if the frame is no greeting; a farewell in its place gives its reason."""
    raise_farewell(frame)
    try:
        shape: Any = frame  # taking it apart checks it
        version, name, features, limits, *_ = shape
        count = len(fields(ServerLimits))
        hello = ServerHello(version, name, tuple(features), ServerLimits(*limits[:count]))
    except (TypeError, ValueError) as error:
        raise ProtocolError("the server's first frame is no greeting") from error
    return hello


def raise_farewell(frame: Frame) -> None:
    """If the frame is a server's farewell, raise ProtocolError with what it says."""
    if frame[:1] == (FAREWELL_XID,):
        hint = frame[4] if len(frame) > 4 else "it gave no reason"
        raise ProtocolError(f"the server closed the connection: {hint}")
