"""Asking one server for its status, without a session."""

import anyio

from zk.model.errors import APIError
from zk.model.replies import Reply, StatusReply
from zk.model.requests import Call, GetStatus
from zk.wire.native import ClientConnection, ProtocolError
from zkclient.driver import RECEIVE_BYTES, reason_of
from zkclient.errors import ConnectionLossError, OperationTimeoutError
from zkclient.hosts import split_host
from zkclient.machine import CLIENT_NAME


async def status_of(host: str, *, timeout: float = 5.0) -> StatusReply:
    """What the server at `host` ('host:port') is doing. Needs no session and no quorum.

    Raises ConnectionLossError if it can't be reached, OperationTimeoutError if it does not answer in `timeout` seconds.
    """
    name, port = split_host(host)
    try:
        with anyio.fail_after(timeout):
            return await _ask(name, port)
    except TimeoutError:
        raise OperationTimeoutError(f"{host} did not say its status within {timeout:g} s") from None
    except (OSError, anyio.EndOfStream, anyio.BrokenResourceError, ProtocolError) as error:
        raise ConnectionLossError(f"{host}: {reason_of(error)}") from error


async def _ask(host: str, port: int) -> StatusReply:
    connection = ClientConnection(CLIENT_NAME)
    async with await anyio.connect_tcp(host.strip("[]"), port) as stream:
        await stream.send(connection.hello() + connection.call(Call(1, GetStatus())))
        while True:
            for item in connection.receive(await stream.receive(RECEIVE_BYTES)):
                if isinstance(item, Reply):
                    if isinstance(item.body, APIError):
                        raise item.body
                    assert isinstance(item.body, StatusReply)
                    return item.body
