"""Texts and ACLs as Java wrote them."""

from struct import pack

import pytest

from zk.importing.fields import FileReader
from zk.model.acl import Acl
from zk.model.errors import MarshallingError


def text(encoded: bytes) -> bytes:
    return pack(">i", len(encoded)) + encoded


def test_what_is_beyond_the_first_plane_was_written_as_two_surrogates() -> None:
    java = "a\ud83d\ude00".encode(errors="surrogatepass")
    assert FileReader(text(java)).string() == "a\U0001f600"
    assert FileReader(text("a\U0001f600é".encode())).string() == "a\U0001f600é"
    assert FileReader(pack(">i", -1)).string() == ""


@pytest.mark.parametrize("encoded", [b"\xff", "\ud83d".encode(errors="surrogatepass")])
def test_what_is_no_text_is_told(encoded: bytes) -> None:
    with pytest.raises(MarshallingError, match="the text at byte 4 is not in UTF-8"):
        FileReader(text(encoded)).string()


def test_an_acl() -> None:
    encoded = pack(">ii", 1, 31) + text(b"digest") + text("ann:é=".encode())
    assert FileReader(encoded).acl() == (Acl(31, "digest", "ann:é="),)
    with pytest.raises(MarshallingError):
        FileReader(encoded[:-1]).acl()
    with pytest.raises(MarshallingError):
        FileReader(pack(">i", 1 << 30)).acl()
