"""How a server is reached: a byte stream by host and port, with TLS on top if wanted; and in words, why it was not."""

import os
from collections.abc import Awaitable, Callable
from socket import gaierror
from ssl import SSLContext, SSLError

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream

from zkclient.quick import QuickStream, asyncio_loop

Connect = Callable[[str, int], Awaitable[ByteStream]]
"""How a server is reached, by host and port; one of UNREACHABLE says that it is not."""

UNREACHABLE = (OSError, ValueError, anyio.BrokenResourceError, anyio.EndOfStream)
"""ValueError: what is no name of a host. The last two: a TLS handshake that the other side does not take part in."""


async def over_tcp(host: str, port: int) -> ByteStream:
    """A plain connection."""
    stream = await anyio.connect_tcp(host, port)
    loop = asyncio_loop()
    if loop is None:
        return stream
    socket = None
    try:
        try:
            socket = stream.extra(SocketAttribute.raw_socket).dup()
        finally:
            await anyio.aclose_forcefully(stream)  # the connection lives on in the duplicate
        _, quick = await loop.create_connection(QuickStream, sock=socket)
    except BaseException:
        if socket is not None:
            socket.close()
        raise
    return quick


def over_tls(connect: Connect, context: SSLContext) -> Connect:
    """`connect`, and TLS on what it gives. The server's certificate is checked as `context` says, against its host."""

    async def connect_tls(host: str, port: int) -> ByteStream:
        stream = await connect(host, port)
        try:
            return await TLSStream.wrap(
                stream,
                hostname=host,
                ssl_context=context,
                server_side=False,
                standard_compatible=False,  # frames tell their own ends: nothing can be cut off unnoticed
            )
        except BaseException as error:
            await anyio.aclose_forcefully(stream)
            if isinstance(error, anyio.EndOfStream):
                raise OSError("the server closed the connection instead of answering in TLS") from None
            raise

    return connect_tls


def reason_of(error: BaseException) -> str:
    """What the system said, without what was wrapped around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(sorted({reason_of(one) for one in error.exceptions}))
    if isinstance(error, OSError) and not isinstance(error, gaierror | SSLError) and error.errno is not None:
        return os.strerror(error.errno)  # event loops have put texts of their own into the error
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or "the connection was closed"
