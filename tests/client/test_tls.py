"""The client over TLS: to a server behind something that ends TLS before it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSListener
from zkclient import AsyncZooKeeper, ConnectionLossError, ZooKeeper, status_of

from zk.server.testing import ServerProcess

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def tls_before(server: str, authority: trustme.CA, name: str = "localhost") -> AsyncIterator[int]:
    """A port on which connections to `server` can be had over TLS, certified for `name`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    host, port = server.split(":")

    async def serve(client: ByteStream) -> None:
        async with client, await anyio.connect_tcp(host, int(port)) as backend, anyio.create_task_group() as both:
            both.start_soon(pump, client, backend, both.cancel_scope)
            both.start_soon(pump, backend, client, both.cancel_scope)

    async def pump(source: ByteStream, target: ByteStream, scope: anyio.CancelScope) -> None:
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await target.send(await source.receive())
        scope.cancel()

    listener = await anyio.create_tcp_listener(local_host="localhost")
    async with TLSListener(listener, context, standard_compatible=False) as secured, anyio.create_task_group() as tasks:
        tasks.start_soon(secured.serve, serve)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def test_all_goes_over_tls(
    server: ServerProcess, corner: str, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async with tls_before(str(server.address), authority) as port:
        async with AsyncZooKeeper(f"localhost:{port}{corner}", tls=trusting) as zk:
            await zk.create("/big", "x" * 500_000, makepath=True)
            assert len((await zk.get("/big")).data) == 500_000
        assert (await status_of(f"localhost:{port}", tls=trusting)).server_id == 1

        def in_a_thread() -> bytes:
            with ZooKeeper(f"localhost:{port}{corner}", tls=trusting) as blocking:
                return blocking.get("/big").data[:1]

        assert await anyio.to_thread.run_sync(in_a_thread) == b"x"


async def test_a_server_that_is_not_who_it_should_be_is_not_talked_to(
    server: ServerProcess, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    for name, context in (("elsewhere.test", trusting), ("localhost", ssl.create_default_context())):
        async with (
            tls_before(str(server.address), authority, name) as port,
            AsyncZooKeeper(f"localhost:{port}", tls=context, timeout=0.5) as zk,
        ):
            with pytest.raises(ConnectionLossError, match=f"localhost:{port}: .*certificate verify failed"):
                await zk.exists("/")


async def test_a_server_that_speaks_no_tls_is_named_as_such(server: ServerProcess, trusting: ssl.SSLContext) -> None:
    async with AsyncZooKeeper(str(server.address), tls=trusting, timeout=0.5) as zk:
        with pytest.raises(ConnectionLossError, match=f"{server.address}: the server closed .* TLS"):
            await zk.exists("/")


async def test_a_client_without_tls_learns_that_the_server_speaks_something_else(
    server: ServerProcess, authority: trustme.CA
) -> None:
    async with (
        tls_before(str(server.address), authority) as port,
        AsyncZooKeeper(f"localhost:{port}", timeout=0.5) as zk,
    ):
        with pytest.raises(ConnectionLossError, match=f"localhost:{port}: the server closed the connection"):
            await zk.exists("/")


@pytest.mark.parametrize("hosts", ["no..such..name", "nosuchhost.invalid", "x" * 70])
async def test_a_name_that_leads_nowhere_is_told_as_the_reason(hosts: str) -> None:
    async with AsyncZooKeeper(hosts, timeout=0.5) as zk:
        with pytest.raises(ConnectionLossError, match=hosts):
            await zk.exists("/")
