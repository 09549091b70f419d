"""Asking one server for its status, without a session."""

from ssl import SSLContext

import anyio

from zk.model.errors import APIError
from zk.model.replies import Reply, StatusReply
from zk.model.requests import Call, GetStatus
from zk.wire.native import ClientConnection, ProtocolError
from zkclient.connecting import UNREACHABLE, Connect, over_tcp, over_tls, reason_of
from zkclient.driver import RECEIVE_BYTES
from zkclient.errors import ConnectionLossError, OperationTimeoutError
from zkclient.hosts import split_host
from zkclient.machine import CLIENT_NAME


async def status_of(host: str, *, timeout: float = 5.0, tls: SSLContext | None = None) -> StatusReply:
    """What the server at `host` ('host:port') is doing, asked over TLS if it is given. Needs no session and no quorum.

    Raises ConnectionLossError if it can't be reached, OperationTimeoutError if it does not answer in `timeout` seconds.
    """
    name, port = split_host(host)
    connect = over_tcp if tls is None else over_tls(over_tcp, tls)
    try:
        with anyio.fail_after(timeout):
            return await _ask(connect, name.strip("[]"), port)
    except TimeoutError:
        raise OperationTimeoutError(f"{host} did not say its status within {timeout:g} s") from None
    except (*UNREACHABLE, ProtocolError) as error:
        raise ConnectionLossError(f"{host}: {reason_of(error)}") from error


async def _ask(connect: Connect, host: str, port: int) -> StatusReply:
    connection = ClientConnection(CLIENT_NAME)
    async with await connect(host, port) as stream:
        await stream.send(connection.hello() + connection.call(Call(1, GetStatus())))
        while True:
            for item in connection.receive(await stream.receive(RECEIVE_BYTES)):
                if isinstance(item, Reply):
                    if isinstance(item.body, APIError):
                        raise item.body
                    assert isinstance(item.body, StatusReply)
                    return item.body
