"""Connections over TLS: the same as others for who speaks and who answers; certificates; what is said of failures."""

import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trustme
from zkclient import AsyncZooKeeper

from tests.server.conftest import Caller, Edge, OpenEdge
from zk.model.acl import Identity
from zk.model.replies import Body, PathsReply
from zk.model.requests import Call, Exists
from zk.replica.events import ClientConnected
from zk.server.clients import HANDSHAKES_PER_ROUND
from zk.server.config import Address, ConfigError, TlsConfig
from zk.server.listener import listen
from zk.server.testing import free_ports, start_server
from zk.server.tls import server_context

pytestmark = pytest.mark.trio

ANYWHERE = Address("127.0.0.1", 0)


class Certificates:
    """An authority, a server's certificate, a client's; and what a client needs to trust the server."""

    def __init__(self, directory: Path) -> None:
        self._authority = trustme.CA(organization_name="tests", key_type=trustme.KeyType.ECDSA)
        server = self._authority.issue_cert("localhost")
        self.client_pem = directory / "client.pem"
        self.client = self._authority.issue_cert("client.example", common_name="client", organization_name="A, B & Co")
        self.cert, self.key, self.ca = directory / "server.pem", directory / "server.key", directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        server.private_key_pem.write_to_path(str(self.key))
        server.cert_chain_pems[0].write_to_path(str(self.cert))
        self.client.private_key_and_cert_chain_pem.write_to_path(str(self.client_pem))

    def config(self, listen: Address = ANYWHERE, *, with_clients: bool = True) -> TlsConfig:
        return TlsConfig(listen, self.cert, self.key, self.ca if with_clients else None)

    def trusting(self, certificate: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._authority.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class SecuredEdge:
    """An Edge that listens for TLS, too."""

    def __init__(self, edge: Edge, config: TlsConfig) -> None:
        self.edge = edge
        listening = listen(config.listen)
        self.address = listening.getsockname()
        edge.clients.listen(listening, server_context(config))
        edge.wake()
        self._streams: list[trio.SocketStream] = []

    async def stream(self) -> trio.SocketStream:
        self._streams.append(await trio.open_tcp_stream(*self.address))
        return self._streams[-1]

    async def secured(self, context: ssl.SSLContext) -> trio.SSLStream[trio.SocketStream]:
        return trio.SSLStream(await self.stream(), context, server_hostname="localhost")

    def close(self) -> None:
        for stream in self._streams:
            stream.socket.close()


@asynccontextmanager
async def secured_edge(open_edge: OpenEdge, config: TlsConfig, **limits: int) -> AsyncIterator[SecuredEdge]:
    async with open_edge(**limits) as edge:
        secured = SecuredEdge(edge, config)
        try:
            yield secured
        finally:
            secured.close()


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


# ---- in and out


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_calls_and_large_answers_go_over_tls(
    open_edge: OpenEdge, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    def large(call: Call) -> Body:
        return PathsReply(tuple(f"/{n:099}" for n in range(1_000)))

    context = certificates.trusting()
    context.maximum_version = version
    async with secured_edge(open_edge, certificates.config(with_clients=False)) as secured:
        secured.edge.body = large
        stream = await secured.secured(context)
        caller = Caller(stream)
        await caller.hello()
        await caller.send(10)
        await caller.send(10, Exists("/" + "x" * 4_000))
        assert await caller.receive(20) == list(range(1, 21))
        await stream.aclose()
        await secured.edge.until(lambda: len(secured.edge.disconnected) == 1)


async def test_it_does_not_matter_how_the_encrypted_bytes_are_cut(
    open_edge: OpenEdge, certificates: Certificates
) -> None:
    async with secured_edge(open_edge, certificates.config(with_clients=False)) as secured:
        caller = Caller(await secured.secured(certificates.trusting()))
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certificates.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
        stream = await secured.stream()

        async def say(begin: int, end: int) -> None:
            data = outgoing.read()
            for part in (data[:begin], data[begin:end], data[end:]):
                if part:
                    await stream.send_all(part)
                    await secured.edge.settled()

        while True:
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            await say(1, 200)
            incoming.write(await stream.receive_some(65_536))
        tls.write(caller.native.hello() + caller.encoded(2))  # which the server reads together with its handshake's end
        await say(7, 60)
        tls.write(caller.encoded(1))
        await say(1, 2)
        await secured.edge.until(lambda: secured.edge.calls() == [1, 2, 3])


async def test_a_goodbye_within_tls_ends_the_connection(open_edge: OpenEdge, certificates: Certificates) -> None:
    async with secured_edge(open_edge, certificates.config(with_clients=False)) as secured:
        stream = await secured.secured(certificates.trusting())
        caller = Caller(stream)
        await caller.hello()
        await caller.greeting()
        with trio.fail_after(5):
            await stream.unwrap()  # waits for the server's own
        await secured.edge.until(lambda: len(secured.edge.disconnected) == 1)


# ---- who it is


async def test_the_certificate_of_a_client_is_an_identity(open_edge: OpenEdge, certificates: Certificates) -> None:
    async with secured_edge(open_edge, certificates.config()) as secured:
        stream = await secured.secured(certificates.trusting(certificates.client))
        await stream.do_handshake()
        await secured.edge.settled()
        assert secured.edge.events == []  # nothing is known of it before the first bytes inside
        await Caller(stream).hello()
        await secured.edge.until(lambda: len(secured.edge.connected) == 1)
        [event] = [event for event in secured.edge.events if isinstance(event, ClientConnected)]
        [address, certificate] = event.identities
        assert address == Identity("ip", "127.0.0.1")
        assert certificate.scheme == "x509"
        assert certificate.id.startswith("CN=client,OU=Testing cert ")
        assert certificate.id.endswith(",O=A\\, B & Co")


async def test_without_authorities_no_certificate_is_asked_for(open_edge: OpenEdge, certificates: Certificates) -> None:
    async with secured_edge(open_edge, certificates.config(with_clients=False)) as secured:
        await Caller(await secured.secured(certificates.trusting(certificates.client))).hello()
        await secured.edge.until(lambda: len(secured.edge.connected) == 1)
        assert secured.edge.events == [ClientConnected(secured.edge.connected[0], (Identity("ip", "127.0.0.1"),))]


# ---- failures


async def test_a_failed_handshake_is_told_in_one_line(
    open_edge: OpenEdge, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    strangers = trustme.CA(key_type=trustme.KeyType.ECDSA)
    async with secured_edge(open_edge, certificates.config()) as secured:

        async def fail(context: ssl.SSLContext) -> None:
            with suppress(trio.BrokenResourceError):
                stream = await secured.secured(context)
                await stream.do_handshake()
                assert await stream.receive_some() == b""

        def mistrust() -> None:
            with socket.create_connection(secured.address) as plain, suppress(ssl.SSLError):
                ssl.create_default_context().wrap_socket(plain, server_hostname="localhost")

        await fail(certificates.trusting())
        await fail(certificates.trusting(strangers.issue_cert("client.example")))
        await trio.to_thread.run_sync(mistrust)
        for words in (b"ruok\n", b"GET / HTTP/1.1\r\n\r\n", Caller(await secured.stream()).native.hello() + b"...."):
            stream = await secured.stream()
            await stream.send_all(words)
            with suppress(trio.BrokenResourceError):
                while await stream.receive_some():
                    pass
        await secured.edge.settled()
        secured.edge.clients.tick()
        assert secured.edge.events == []
    assert complaints(caplog) == [
        "refused 1 connections: TLS with 127.0.0.1: it presents no certificate, and tls_ca asks for one",
        "refused 1 connections: TLS with 127.0.0.1: its certificate is not accepted: "
        "unable to get local issuer certificate",
        "refused 1 connections: TLS with 127.0.0.1: it does not accept this server's certificate "
        "(tlsv1 alert unknown ca)",
        "refused 3 connections: TLS with 127.0.0.1: it does not speak TLS: clients without TLS belong to the address "
        "of `listen`",
    ]


async def test_bytes_that_make_no_sense_end_the_connection_and_no_other(
    open_edge: OpenEdge, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    async with secured_edge(open_edge, certificates.config(with_clients=False)) as secured:
        good = Caller(await secured.secured(certificates.trusting()))
        await good.hello()
        stream = await secured.stream()
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = certificates.trusting().wrap_bio(incoming, outgoing, server_hostname="localhost")
        while True:
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
                break
            await stream.send_all(outgoing.read())
            incoming.write(await stream.receive_some(65_536))
        tls.write(good.native.hello() + good.encoded(1))
        await stream.send_all(outgoing.read() + b"\x17\x03\x03\x00\x20" + b"x" * 32)
        await secured.edge.settled()
        secured.edge.wake()  # for what was posted at the end of a round
        await secured.edge.until(lambda: len(secured.edge.disconnected) == 1)
        secured.edge.clients.tick()
        [complaint] = complaints(caplog)
        assert complaint.startswith("refused 1 connections: TLS with 127.0.0.1: ")
        await good.send()
        assert await good.receive(1) == [2]


async def test_a_handshake_has_its_time_limit(open_edge: OpenEdge, certificates: Certificates) -> None:
    async with secured_edge(open_edge, certificates.config(), handshake_timeout_ms=100) as secured:
        stream = await secured.stream()
        await secured.edge.settled()
        secured.edge.clients.now_ms = 100
        secured.edge.clients.tick()
        secured.edge.wake()
        with trio.fail_after(5):
            while await stream.receive_some():
                pass
        assert secured.edge.events == []


async def test_handshakes_are_spread_over_rounds(open_edge: OpenEdge, certificates: Certificates) -> None:
    async with secured_edge(open_edge, certificates.config(with_clients=False)) as secured:
        context = certificates.trusting()
        count = 3 * HANDSHAKES_PER_ROUND
        callers = [Caller(await secured.secured(context)) for _ in range(count)]
        async with trio.open_nursery() as nursery:
            for caller in callers:
                nursery.start_soon(caller.hello)
        await secured.edge.until(lambda: len(secured.edge.connected) == count)


async def test_files_that_cannot_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    cert, key = certificates.cert, certificates.key
    nothing, other = tmp_path / "nothing", tmp_path / "other.key"
    trustme.CA().issue_cert("x").private_key_pem.write_to_path(str(other))
    empty = tmp_path / "empty"
    empty.touch()
    for config, complaint in (
        (TlsConfig(ANYWHERE, nothing, key), f"{nothing}: can't be read (No such file or directory)"),
        (TlsConfig(ANYWHERE, cert, nothing), f"{nothing}: can't be read (No such file or directory)"),
        (TlsConfig(ANYWHERE, cert, key, nothing), f"{nothing}: can't be read (No such file or directory)"),
        (TlsConfig(ANYWHERE, cert, other), f"{other}: is not the key of the certificate in {cert}"),
        (TlsConfig(ANYWHERE, key, cert), f"{key} and {cert}: not a certificate and its key, as PEM"),
        (TlsConfig(ANYWHERE, cert, key, empty), f"{empty}: has no certificates of authorities, as PEM"),
    ):
        with pytest.raises(ConfigError) as raised:
            server_context(config)
        assert str(raised.value).startswith(complaint)


# ---- the whole


def use_kazoo(port: int, certificates: Certificates) -> None:
    """ZooKeeper's clients are served in the same way, and an ACL that names the client's certificate is theirs."""
    kazoo = pytest.importorskip("kazoo.client", reason="kazoo is not installed: pip install 'zkensemble[bench]'")
    security = pytest.importorskip("kazoo.security")
    pem = str(certificates.client_pem)
    client = kazoo.KazooClient(f"localhost:{port}", use_ssl=True, ca=str(certificates.ca), certfile=pem, keyfile=pem)
    client.start()
    try:
        client.create("/mine", b"y" * 300_000, acl=[security.make_acl("auth", "", all=True)])
        assert client.get("/mine")[0] == b"y" * 300_000
        [acl] = client.get_acls("/mine")[0]
        assert acl.id.scheme == "x509"
        assert acl.id.id.startswith("CN=client,OU=Testing cert ")
    finally:
        client.stop()
        client.close()


async def test_a_server_serves_its_clients_over_tls(certificates: Certificates, tmp_path: Path) -> None:
    [port] = free_ports(1)
    files = ("--tls-cert", str(certificates.cert), "--tls-key", str(certificates.key), "--tls-ca", str(certificates.ca))
    with start_server(tmp_path, options=("--tls-listen", f"127.0.0.1:{port}", *files)) as server:
        context = certificates.trusting(certificates.client)
        async with AsyncZooKeeper(f"localhost:{port}", tls=context) as zk:
            await zk.create("/over-tls", b"x" * 500_000)
            assert len((await zk.get("/over-tls")).data) == 500_000
            assert [who.scheme for who in await zk.whoami()] == ["ip", "x509"]
        await trio.to_thread.run_sync(use_kazoo, port, certificates)
        async with AsyncZooKeeper(server.hosts) as zk:
            assert len((await zk.get("/over-tls")).data) == 500_000

        def ask() -> bytes:
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain, server_hostname="localhost") as secured,
            ):
                secured.sendall(b"ruok")
                return secured.recv(100) + secured.recv(100)

        assert await trio.to_thread.run_sync(ask) == b"imok"
        with socket.create_connection(("127.0.0.1", port)) as plain:
            plain.sendall(b"ruok\n")
            server.wait_for_line("TLS with 127.0.0.1: it does not speak TLS")
