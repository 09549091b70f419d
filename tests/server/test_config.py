"""A configuration is put together from three sources; a mistake in any is answered with where, what, and what is
allowed."""

from dataclasses import replace
from pathlib import Path

import pytest

from zk.model.limits import DEFAULT_LIMITS
from zk.model.record import ServerId
from zk.server.config import Address, ConfigError, Flag, ServerConfig, TlsConfig, load_config
from zk.wire.zookeeper.words import WORDS

THREE = ("1=127.0.0.1:3001", "2=127.0.0.1:3002", "3=127.0.0.1:3003")


def from_toml(tmp_path: Path, text: str) -> ServerConfig:
    path = tmp_path / "zk.toml"
    path.write_text(text)
    return load_config(path, {}, {})


def from_flags(**flags: Flag) -> ServerConfig:
    return load_config(None, {}, flags)


def test_without_any_setting_one_server_is_alone_on_the_usual_port() -> None:
    assert load_config(None, {}, {}) == ServerConfig(
        id=ServerId(1),
        cluster="zk",
        listen=Address("127.0.0.1", 2181),
        data=Path("zk-data"),
        peers=(),
        tick_ms=2_000,
        limits=replace(DEFAULT_LIMITS, session_timeout_ms_min=4_000, session_timeout_ms_max=40_000),
    )
    assert load_config(None, {}, {}).voters == (1,)


def test_every_key_of_a_file_is_read(tmp_path: Path) -> None:
    config = from_toml(
        tmp_path,
        """
        id = 2
        cluster = "test-1.a"
        listen = "[::1]:2182"
        data = "/var/lib/zk"
        tick_ms = 100
        session_timeout_ms = "500:60000"
        container_check_ms = 1000
        read_only_mode = true
        four_letter_words = ["ruok", "srvr"]
        super_digest = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="
        sasl_users = ["alice:a:b"]
        tls_listen = "0.0.0.0:2281"
        tls_cert = "server.pem"
        tls_key = "server.key"
        tls_ca = "ca.pem"

        [peers]
        1 = "one.example:3001"
        2 = "two.example:3001"

        [limits]
        frame_bytes_max = 1000
        connections_max = 7
        """,
    )
    assert config == ServerConfig(
        id=ServerId(2),
        cluster="test-1.a",
        listen=Address("::1", 2182),
        data=Path("/var/lib/zk"),
        peers=((ServerId(1), Address("one.example", 3001)), (ServerId(2), Address("two.example", 3001))),
        tick_ms=100,
        container_check_ms=1_000,
        read_only_mode=True,
        four_letter_words=frozenset({"ruok", "srvr", "isro"}),  # the last because of read-only mode
        super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
        sasl_users={"alice": "a:b"},
        tls=TlsConfig(Address("0.0.0.0", 2281), Path("server.pem"), Path("server.key"), Path("ca.pem")),
        limits=replace(
            DEFAULT_LIMITS,
            frame_bytes_max=1000,
            connections_max=7,
            session_timeout_ms_min=500,
            session_timeout_ms_max=60_000,
        ),
    )


def test_the_environment_overrides_the_file_and_a_flag_both(tmp_path: Path) -> None:
    path = tmp_path / "zk.toml"
    path.write_text('data = "file"\nlisten = "127.0.0.1:1"\ntick_ms = 11\n')
    environ = {"ZK_LISTEN": "127.0.0.1:2", "ZK_TICK_MS": "12", "ZK_LIMITS_CONNECTIONS_MAX": "5", "PATH": "/bin"}
    config = load_config(path, environ, {"tick_ms": 13, "data": None})
    assert (config.data, config.listen, config.tick_ms) == (Path("file"), Address("127.0.0.1", 2), 13)
    assert config.limits.connections_max == 5


def test_session_timeouts_are_2_to_20_ticks_unless_set() -> None:
    limits = from_flags(tick_ms=100).limits
    assert (limits.session_timeout_ms_min, limits.session_timeout_ms_max) == (200, 2_000)
    limits = from_flags(tick_ms=100, session_timeout_ms="5:6").limits
    assert (limits.session_timeout_ms_min, limits.session_timeout_ms_max) == (5, 6)


def test_peers_read_the_same_from_flags_and_environment() -> None:
    expected = tuple((ServerId(n), Address("127.0.0.1", 3000 + n)) for n in (1, 2, 3))
    assert from_flags(id=1, peers=THREE).peers == expected
    assert load_config(None, {"ZK_PEERS": ",".join(THREE), "ZK_ID": "3"}, {}).peers == expected


def test_all_four_letter_words_are_answered_unless_some_are_chosen() -> None:
    assert from_flags().four_letter_words == from_flags(four_letter_words="*").four_letter_words == frozenset(WORDS)
    assert from_flags(four_letter_words="ruok, isro").four_letter_words == {"ruok", "isro"}
    assert from_flags(four_letter_words="").four_letter_words == frozenset()


def test_in_read_only_mode_isro_is_answered_whatever_else_is() -> None:
    assert from_flags(four_letter_words="ruok", read_only_mode=True).four_letter_words == {"ruok", "isro"}


def test_users_come_from_flags_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# of the shop\n\nalice:first\nbob: x:y \n")
    file.chmod(0o600)
    config = from_flags(sasl_users=("carol:third",), sasl_users_file=str(file))
    assert config.sasl_users == {"carol": "third", "alice": "first", "bob": " x:y "}
    assert config.cautions() == []
    file.chmod(0o640)
    assert config.cautions() == [f"{file} has passwords, and others than its owner may read it: chmod 600 {file}"]


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("alice:hidden-1\nhidden-2\n")
    (tmp_path / "good").write_text("alice:hidden-1\n")
    mistakes: list[tuple[dict[str, Flag], str]] = [
        ({"sasl_users": ("hidden",)}, "--sasl-user: this value is not allowed; NAME:PASSWORD is"),
        ({"sasl_users_file": str(file)}, f"{file}, line 2: this value is not allowed; NAME:PASSWORD is"),
        ({"super_digest": "super:hidden"}, "--super-digest: this value is not allowed; super:BASE64SHA1 is"),
        ({"super_digest": "hidden:D/InIHSb7yEEbrWz8b9l71RjZJU="}, "--super-digest: this value is not allowed"),
        (
            {"sasl_users": ("alice:hidden-2",), "sasl_users_file": str(tmp_path / "good")},
            "--sasl-users-file: the user 'alice' has another password outside of the file",
        ),
    ]
    for flags, complaint in mistakes:
        with pytest.raises(ConfigError) as raised:
            load_config(None, {}, flags)
        assert str(raised.value).startswith(complaint)
        assert "hidden" not in str(raised.value)
    config = from_flags(sasl_users=("alice:hidden",), super_digest="super:D/InIHSb7yEEbrWz8b9l71RjZJU=")
    assert "hidden" not in repr(config)
    assert "D/InI" not in repr(config)


def test_variables_that_orchestrators_set_for_a_service_called_zk_are_not_ours() -> None:
    environ = {"ZK_SERVER": "a:1", "ZK_PORT": "tcp://10.0.0.1:2181", "ZK_SERVICE_HOST": "10.0.0.1"}
    assert load_config(None, environ, {}) == ServerConfig()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("lisen = 'x:1'", "unknown key 'lisen'; did you mean 'listen'?"),
        (
            "zzz = 1",
            "unknown key 'zzz'; known are id, cluster, listen, data, peers, tick_ms, session_timeout_ms, container",
        ),
        ("[limits]\nconection_max = 1", "unknown key 'conection_max' in [limits]; did you mean 'connections_max'?"),
        ("[limits]\nsession_timeout_ms_min = 1", "is set by session_timeout_ms"),
        ("[limits]\nframe_bytes_max = 0", "limits.frame_bytes_max: 0 is not allowed; a whole number from 1 to"),
        ("[limits]\nframe_bytes_max = 33554433", "33554433 is not allowed; a whole number from 1 to 33554432 is"),
        ("limits = 3", "limits: 3 is not allowed; it is a table"),
        ("id = 256", "id: 256 is not allowed; a whole number from 1 to 255 is"),
        ("id = true", "id: True is not allowed"),
        ("tick_ms = 1.5", "tick_ms: 1.5 is not allowed"),
        ("cluster = 'a b'", "cluster: 'a b' is not allowed; 1 to 64 letters, digits, '.', '_' and '-' are"),
        ("data = ''", "data: '' is not allowed; the path of a directory is"),
        ("session_timeout_ms = 4000", "session_timeout_ms: 4000 is not allowed; MIN:MAX in milliseconds is"),
        ("id = 1\n[peers]\n1 = 'a:0'", "peers: 1: 'a:0' is not allowed; HOST:PORT is, with a port from 1 to 65535"),
        ("id = 1\n[peers]\nx = 'a:1'", "peers: x: 'x' is not allowed; a whole number from 1 to 255 is"),
        ("id = 1\nid = 2", "is not TOML"),
        ("container_check_ms = 9", "container_check_ms: 9 is not allowed; a whole number from 10 to 86400000 is"),
        ("read_only_mode = 1", "read_only_mode: 1 is not allowed; true and false are"),
        (
            "four_letter_words = ['ruok', 'kill']",
            "four_letter_words: ['ruok', 'kill'] is not allowed; several of ruok, ",
        ),
        ("tls_listen = 'a:1'", "tls_listen: needs tls_cert too, a PEM file with the server's certificate"),
        ("tls_listen = 'a:1'\ntls_cert = 'c'", "tls_listen: needs tls_key too, a PEM file with the certificate's key"),
        ("tls_ca = 'c'", "tls_ca: is of no use without tls_listen, the HOST:PORT for TLS"),
        ("tls_listen = 'a:1'\ntls_cert = ''", "tls_cert: '' is not allowed; the path of a PEM file is"),
        ("sasl_users_file = '/nowhere'", "sasl_users_file: /nowhere can't be read (No such file or directory)"),
        ("sasl_users = 'a:b,a:c'", "sasl_users: the user 'a' has a password already"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_the_file(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as raised:
        from_toml(tmp_path, text)
    assert str(raised.value).startswith(str(tmp_path / "zk.toml"))
    assert complaint in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: can't be read \(No such file or directory\)"):
        load_config(tmp_path / "nowhere.toml", {}, {})


@pytest.mark.parametrize("text", ["2181", "localhost", "localhost:", ":2181", "a:65536", "a:-1", "a:x", "::1:2181", ""])
def test_what_is_not_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--listen: .* is not allowed; HOST:PORT is"):
        from_flags(listen=text)


@pytest.mark.parametrize("text", ["", "5", "9:5", "0:5", "a:b", "1:2:3"])
def test_what_is_not_a_range_of_timeouts_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--session-timeout-ms: .* is not allowed; MIN:MAX in milliseconds is"):
        from_flags(session_timeout_ms=text)


@pytest.mark.parametrize(
    "peers",
    [("1",), ("1=a:1", "1=b:1"), ("1=a:1", "2=a:1"), tuple(f"{n}=a:{n}" for n in range(1, 9))],
    ids=["no address", "one id twice", "one address twice", "eight"],
)
def test_peers_must_be_up_to_seven_different_ones(peers: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"--peer: .* is not allowed; up to 7 different ID=HOST:PORT are"):
        from_flags(id=1, peers=peers)


def test_a_server_with_peers_must_know_which_of_them_it_is() -> None:
    with pytest.raises(ConfigError, match=r"--peer: with peers, a server must be told its own id .*: one of 1, 2, 3"):
        from_flags(peers=THREE)
    with pytest.raises(ConfigError, match=r"--id: 4 is not among the peers \(1, 2, 3\)"):
        from_flags(id=4, peers=THREE)


def test_a_misspelt_variable_is_an_error() -> None:
    with pytest.raises(ConfigError, match="unknown environment variable ZK_LISTNE; did you mean 'ZK_LISTEN'"):
        load_config(None, {"ZK_LISTNE": "a:1"}, {})


def test_an_address_reads_as_it_was_written() -> None:
    assert str(Address("::1", 2181)) == "[::1]:2181"
    assert str(Address("localhost", 2181)) == "localhost:2181"
