"""The native client protocol: a stream of MessagePack arrays behind a handshake. docs/protocol.md describes it."""

from zk.wire.framing import ProtocolError
from zk.wire.native.connection import ClientConnection, ServerConnection
from zk.wire.native.handshake import MAGIC, ClientHello, ServerHello, ServerLimits

__all__ = [
    "MAGIC",
    "ClientConnection",
    "ClientHello",
    "ProtocolError",
    "ServerConnection",
    "ServerHello",
    "ServerLimits",
]
