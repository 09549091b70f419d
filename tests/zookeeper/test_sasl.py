"""SASL with ZooKeeper's own clients, and frame by frame as ZooKeeper answers it."""

import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from queue import Queue

import pytest
from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NoAuthError
from kazoo.protocol.states import KeeperState
from kazoo.security import make_acl

from zk.server.config import Address
from zk.server.testing import start_server
from zk.testing.zookeeper import JAR, start_zookeeper, zookeeper_missing
from zk.tree.acl import digest_identity
from zk.wire.sasl import REALM, URI, proof_of, session_key
from zk.wire.zookeeper.jute import Reader, buffer_bytes, flag_bytes, int32_bytes, int64_bytes, text_bytes
from zk.wire.zookeeper.numbers import OpCode, Xid

OK, AUTH_FAILED = 0, -115
SUPER = "super:secret"
SUPER_DIGEST = digest_identity(SUPER.encode()).id


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    options = ("--sasl-user", "bob:secret", "--super-digest", SUPER_DIGEST)
    with start_server(tmp_path_factory.mktemp("ours"), options=options) as server:
        yield server.address


@pytest.fixture(scope="module", params=["ours", "zookeeper"])
def service(
    request: pytest.FixtureRequest, ours: Address, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Address]:
    """This service, and ZooKeeper's: one test for both is what they have in common."""
    with ExitStack() as stack:
        if request.param == "ours":
            yield ours
            return
        if missing := zookeeper_missing():
            pytest.skip(missing)
        directory = tmp_path_factory.mktemp("zookeeper")
        section = "Server { org.apache.zookeeper.server.auth.DigestLoginModule required user_bob=secret; };"
        properties = {
            "java.security.auth.login.config": str(jaas(directory, section)),
            "zookeeper.authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider",
            "zookeeper.DigestAuthenticationProvider.superDigest": SUPER_DIGEST,
        }
        servers = stack.enter_context(start_zookeeper(directory, properties=properties, quick_start=True))
        yield servers.servers[0].address


def jaas(directory: Path, section: str) -> Path:
    file = directory / "jaas.conf"
    file.write_text(section)
    return file


class Connection:
    """Frames to one server. `None` for an answer: the connection is closed."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection((address.host, address.port), timeout=10)
        self._xid = 0
        connect = int32_bytes(0) + int64_bytes(0) + int32_bytes(10_000) + int64_bytes(0) + buffer_bytes(bytes(16))
        assert self._exchange(connect + flag_bytes(False)) is not None

    def _exchange(self, frame: bytes) -> Reader | None:
        self._socket.sendall(buffer_bytes(frame))
        return self._frame()

    def _frame(self) -> Reader | None:
        head = self._socket.recv(4, socket.MSG_WAITALL)
        return Reader(self._socket.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)) if head else None

    def call(self, opcode: int, record: bytes, xid: int = 0) -> tuple[int, Reader]:
        """The answer's error code, and what follows it."""
        self._xid += 1
        reader = self._exchange(int32_bytes(xid or self._xid) + int32_bytes(opcode) + record)
        assert reader is not None
        assert (reader.int32(), reader.int64() >= 0) == (xid or self._xid, True)
        return reader.int32(), reader

    def sasl(self, token: bytes) -> tuple[int, bytes | None]:
        code, reader = self.call(OpCode.SASL, buffer_bytes(token))
        return code, reader.buffer()

    def auth(self, scheme: str, credential: bytes) -> int:
        packet = int32_bytes(0) + text_bytes(scheme) + buffer_bytes(credential)
        return self.call(OpCode.AUTH, packet, Xid.AUTH)[0]

    def nonce(self) -> str:
        code, challenge = self.sasl(b"")
        found = re.fullmatch(
            rb'realm="zk-sasl-md5",nonce="([\w+/=]{40})",charset=utf-8,algorithm=md5-sess', challenge or b""
        )
        assert code == OK
        assert found is not None
        return found[1].decode()

    def who(self) -> set[tuple[str, str]]:
        """Schemes and names; of a digest, only the user's."""
        code, reader = self.call(OpCode.WHO_AM_I, b"")
        assert code == OK
        return {(reader.text() or "", (reader.text() or "").partition(":")[0]) for _ in range(reader.int32())}

    @property
    def closed(self) -> bool:
        return self._frame() is None

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def connection(service: Address) -> Iterator[Connection]:
    connection = Connection(service)
    yield connection
    connection.close()


def response(nonce: str, password: str, user: str = "bob", uri: str = URI) -> tuple[bytes, bytes]:
    """What proves the password, and what the server must prove then."""
    key = session_key(user, REALM, password, nonce, "theirs")
    proofs = [proof_of(key, nonce, "00000001", "theirs", f"{what}:{uri}") for what in ("AUTHENTICATE", "")]
    said = (
        f'charset=utf-8,username="{user}",realm="{REALM}",nonce="{nonce}",nc=00000001,cnonce="theirs",'
        f'digest-uri="{uri}",maxbuf=65536,response={proofs[0]},qop=auth'
    )
    return said.encode(), f"rspauth={proofs[1]}".encode()


HERE = ("ip", "127.0.0.1")

# ---- this service and ZooKeeper, frame by frame


def test_a_proved_password_is_an_identity(connection: Connection) -> None:
    said, expected = response(connection.nonce(), "secret")
    assert connection.sasl(said) == (OK, expected)
    assert connection.who() == {HERE, ("sasl", "bob")}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda nonce: response(nonce, "another")[0],
        lambda nonce: response(nonce, "secret", uri="imap/zk-sasl-md5")[0],
        lambda nonce: response("bm90IHRoaXM", "secret")[0],
        lambda nonce: b"",
        lambda nonce: b'"',
    ],
    ids=["password", "service", "nonce", "nothing", "garbage"],
)
def test_what_proves_nothing_is_refused_and_the_connection_closed(connection: Connection, wrong: object) -> None:
    assert callable(wrong)
    assert connection.sasl(wrong(connection.nonce())) == (AUTH_FAILED, None)
    assert connection.closed


def test_whose_digest_is_the_super_digest_is_super(connection: Connection) -> None:
    assert connection.auth("digest", SUPER.encode()) == OK
    assert connection.who() == {HERE, ("digest", "super"), ("super", "")}


def test_any_digest_and_the_own_address_are_good_credentials(connection: Connection) -> None:
    assert [connection.auth("digest", text) for text in (b"ann:secret", b"no colon", b"")] == [OK, OK, OK]
    assert connection.auth("ip", b"10.0.0.1") == OK
    assert connection.who() == {HERE, ("digest", "ann"), ("digest", "no colon"), ("digest", "")}


@pytest.mark.parametrize("scheme", ["x509", "world", "super", "sasl", "nonsense", ""])
def test_other_schemes_are_refused_and_the_connection_closed(connection: Connection, scheme: str) -> None:
    assert connection.auth(scheme, b"ann:secret") == AUTH_FAILED
    assert connection.closed


# ---- this service alone


def test_an_unknown_user_is_refused_whoever_came_before(ours: Address) -> None:
    """ZooKeeper 3.8 lets it in with the password of the user who proved one last."""
    first, second = Connection(ours), Connection(ours)
    assert first.sasl(response(first.nonce(), "secret")[0])[0] == OK
    assert second.sasl(response(second.nonce(), "secret", user="nobody")[0]) == (AUTH_FAILED, None)
    first.close()
    second.close()


def test_a_server_without_users_answers_as_one_without_jaas_does(tmp_path: Path) -> None:
    with start_server(tmp_path) as server:
        connection = Connection(server.address)
        assert [connection.sasl(b""), connection.sasl(b"whatever")] == [(OK, None), (OK, None)]
        assert connection.who() == {HERE}
        connection.close()


# ---- ZooKeeper's clients


def sasl_options(password: str) -> dict[str, str]:
    return {"mechanism": "DIGEST-MD5", "username": "bob", "password": password}


def test_kazoo_proves_its_user_and_owns_what_it_makes(ours: Address) -> None:
    bob, other = KazooClient(str(ours), sasl_options=sasl_options("secret")), KazooClient(str(ours))
    try:
        bob.start()
        other.start()
        bob.create("/kazoo", b"his", acl=[make_acl("auth", "", all=True)])
        assert [(acl.id.scheme, acl.id.id) for acl in bob.get_acls("/kazoo")[0]] == [("sasl", "bob")]
        with pytest.raises(NoAuthError):
            other.get("/kazoo")
        other.add_auth("digest", SUPER)
        assert other.get("/kazoo")[0] == b"his"
    finally:
        for client in (bob, other):
            client.stop()
            client.close()


def test_kazoo_is_told_that_its_password_is_wrong(ours: Address) -> None:
    states: Queue[tuple[str, str]] = Queue()
    client = KazooClient(str(ours), sasl_options=sasl_options("another"))
    client.add_listener(lambda state: states.put((state, client.client_state)))  # which soon is CLOSED
    client.start_async()
    try:
        assert [states.get(timeout=10), states.get(timeout=10)] == [
            (KazooState.CONNECTED, KeeperState.CONNECTED),
            (KazooState.LOST, KeeperState.AUTH_FAILED),
        ]
    finally:
        client.stop()
        client.close()


@pytest.mark.skipif(zookeeper_missing() is not None, reason=str(zookeeper_missing()))
def test_zookeepers_java_client_proves_its_user(ours: Address, tmp_path: Path) -> None:
    section = "Client { org.apache.zookeeper.server.auth.DigestLoginModule required username=bob password=secret; };"
    login = f"-Djava.security.auth.login.config={jaas(tmp_path, section)}"
    command = ["java", "-XX:TieredStopAtLevel=1", login, "-cp", str(JAR), "org.apache.zookeeper.ZooKeeperMain"]
    told = subprocess.run(
        [*command, "-server", str(ours), "whoami"], capture_output=True, text=True, timeout=60, check=True
    )
    assert "SaslAuthenticated" in told.stdout
    assert re.search(r"^sasl: bob$", told.stdout, re.MULTILINE)
