"""`zk config`: what is shown can be read again, and has no secrets; it checks what a server would trip over."""

from pathlib import Path

import pytest
import trustme

from zk.cli.main import main
from zk.server.config import load_config

DIGEST = "super:D/InIHSb7yEEbrWz8b9l71RjZJU="


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with everything in it."""
    certificate = trustme.CA().issue_cert("localhost")
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    (tmp_path / "users").write_text("bob:hidden-2\n")
    (tmp_path / "users").chmod(0o600)
    path = tmp_path / "zk.toml"
    path.write_text(
        f"""
        id = 2
        listen = "[::1]:2182"
        container_check_ms = 1000
        read_only_mode = true
        four_letter_words = "ruok,srvr"
        super_digest = "{DIGEST}"
        sasl_users = ["alice:hidden-1"]
        sasl_users_file = "{tmp_path}/users"
        tls_listen = "127.0.0.1:2281"
        tls_cert = "{tmp_path}/cert.pem"
        tls_key = "{tmp_path}/key.pem"
        [peers]
        1 = "a:1"
        2 = "b:2"
        [limits]
        connections_max = 7
        """
    )
    return path


def test_what_is_shown_is_the_same_configuration_without_its_secrets(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "hidden" not in shown
    assert DIGEST not in shown
    assert "# super_digest is set\n# sasl_users are alice, bob\n" in shown
    again = tmp_path / "again.toml"
    again.write_text(shown + "\n")
    secrets = {"super_digest": DIGEST, "sasl_users": ("alice:hidden-1",)}
    assert load_config(again, {}, secrets) == load_config(file, {}, {})


def test_the_defaults_are_shown_as_a_file_that_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "show"]) == 0
    path = tmp_path / "defaults.toml"
    path.write_text(capsys.readouterr().out)
    assert load_config(path, {}, {}) == load_config(None, {}, {})


def test_a_good_file_is_called_good(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", str(file)]) == 0
    assert capsys.readouterr().err == f"{file}: good\n"


def test_passwords_that_others_may_read_are_spoken_of(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "users").chmod(0o644)
    assert main(["config", "check", str(file)]) == 0
    assert "others than its owner may read it: chmod 600" in capsys.readouterr().err


def test_a_certificate_that_a_server_could_not_use_is_a_mistake(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key.pem").unlink()
    assert main(["config", "check", str(file)]) == 2
    assert f"{tmp_path}/key.pem: can't be read (No such file or directory)" in capsys.readouterr().err
