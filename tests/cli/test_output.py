"""How results are written, without a server."""

import json
import sys
from collections.abc import Callable

import pytest
import yaml

from zk.cli.output import Format, Printer, as_text, data_fields


def written(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_text_is_what_a_person_can_read() -> None:
    assert as_text("Zürich\n\tb".encode()) == "Zürich\n\tb"
    assert as_text(b"\xff\xfe") is None
    assert as_text(b"a\x00b") is None
    assert as_text(b"\x1b[2J") is None  # it would clear the reader's screen


def test_data_that_is_no_text_travels_as_base64() -> None:
    assert data_fields(b"hello") == {"data": "hello"}
    assert data_fields(b"\x00\xff") == {"data_base64": "AP8="}


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (None, "b\na\n"),
        (Format.RAW, "b\na\n"),
        (Format.JSONL, '{"name":"b","version":1}\n{"name":"a","version":20}\n'),
        (Format.TABLE, "name  version\nb           1\na          20\n"),
    ],
)
def test_rows_in_each_format(style: Format | None, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Printer(style).many(["name", "version"], plain="name")
    rows.add({"name": "b", "version": 1})
    rows.add({"name": "a", "version": 20})
    rows.close()
    assert written(capsys) == expected


@pytest.mark.parametrize(("style", "load"), [(Format.JSON, json.loads), (Format.YAML, yaml.safe_load)])
@pytest.mark.parametrize("names", [[], ["a"], ["a", "b"]])
def test_json_and_yaml_are_one_list(
    style: Format, load: Callable[[str], object], names: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Printer(style).many(["name"])
    for name in names:
        rows.add({"name": name})
    rows.close()
    assert load(written(capsys)) == [{"name": name} for name in names]


def test_lines_and_jsonl_are_written_as_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    for style in (None, Format.JSONL, Format.RAW):
        Printer(style).many(["name"], plain="name").add({"name": "first"})
        assert "first" in written(capsys)  # before any close: a watch never closes


def test_a_table_of_nothing_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    for style in (None, Format.TABLE):
        Printer(style).many(["name"]).close()
    assert written(capsys) == ""


def test_a_line_stays_a_line_whatever_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    rows = Printer(Format.TABLE).many(["name", "owner"])
    rows.add({"name": "two\nlines", "owner": None})
    rows.close()
    assert written(capsys) == "name        owner\ntwo\\nlines      -\n"


def test_a_pipe_gets_the_exact_bytes(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Printer().data({}, b"\x00\xff no newline")
    assert capfdbinary.readouterr().out == b"\x00\xff no newline"


def test_a_terminal_gets_text_that_ends_its_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    Printer().data({}, b"text")
    Printer().data({}, b"\x00\x1b")
    out, err = capsys.readouterr()
    assert out == "text\n\\x00\\x1b\n"
    assert "-o raw" in err
