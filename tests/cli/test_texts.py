"""ACLs, zxids and words as people write them."""

import pytest
import typer

from zk.cli.shell.completion import split_words
from zk.cli.texts import acl_record, parse_acl, parse_zxid, time_text, zxid_text
from zk.model.acl import Acl


def test_an_acl_is_read_as_it_is_written() -> None:
    texts = ["world:anyone:r", "digest:me:c2VjcmV0/+==:cdrwa", "ip:10.0.0.0/8:rw", "auth::cdrwa"]
    entries = parse_acl(texts)
    assert entries == (
        Acl(1, "world", "anyone"),
        Acl(31, "digest", "me:c2VjcmV0/+=="),
        Acl(3, "ip", "10.0.0.0/8"),
        Acl(31, "auth", ""),
    )
    assert [acl_record(entry)["acl"] for entry in entries] == texts


@pytest.mark.parametrize("text", ["", "world", "world:anyone", "world:anyone:", "world:anyone:rx", ":anyone:r"])
def test_a_malformed_acl_is_refused_with_its_form(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="SCHEME:ID:PERMS"):
        parse_acl([text])


def test_a_zxid_is_read_as_it_is_shown() -> None:
    assert parse_zxid(zxid_text(0x1_0000_0003)) == 0x1_0000_0003
    assert parse_zxid("17") == 17
    with pytest.raises(typer.BadParameter, match="is not a zxid"):
        parse_zxid("abc")


def test_times_are_utc_to_the_millisecond() -> None:
    assert time_text(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", [""]),
        ("ge", ["ge"]),
        ("get ", ["get", ""]),
        ("get /a", ["get", "/a"]),
        ("get '/a b' ", ["get", "/a b", ""]),
        ("get '/a", ["get", "'/a"]),
    ],
)
def test_the_word_being_typed_is_the_last(line: str, words: list[str]) -> None:
    assert split_words(line) == words
