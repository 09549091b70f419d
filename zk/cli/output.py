"""How results are written: as text for people, as json, jsonl, yaml or raw for programs. Results go to stdout; notes
and errors go to stderr, so that a pipe carries data only.

Without -o, a command writes what reads best: on a terminal with a little colour, otherwise plain. Nothing here knows
the client or the commands.
"""

import base64
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import StrEnum

NOTHING = "-"  # an empty cell

Value = str | int | bool | None
Record = Mapping[str, "Value | Mapping[str, Value]"]


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    YAML = "yaml"
    RAW = "raw"


def as_text(data: bytes) -> str | None:
    """The data as text, or None if a person could not read it (no UTF-8, or control characters)."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(character.isprintable() or character in "\t\n\r" for character in text) else None


def data_fields(data: bytes) -> dict[str, Value]:
    """A znode's data as fields of a record: `data` if it is text, else `data_base64`."""
    text = as_text(data)
    return {"data": text} if text is not None else {"data_base64": base64.b64encode(data).decode()}


def note(text: str) -> None:
    """Something the person should know that is not the result; it appears behind the results so far."""
    with suppress(BrokenPipeError):  # that nobody reads the results is no reason to keep the note back
        sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


class Printer:
    """Writes the results of one command to stdout. `style` None: what reads best.

    `exact`: where nobody asked for a format and nobody watches, a znode's data is written byte for byte. Not so where
    the results of several commands follow each other.
    """

    def __init__(self, style: Format | None = None, *, exact: bool = True) -> None:
        self.style = style
        self._exact = exact

    @property
    def terminal(self) -> bool:
        return sys.stdout.isatty()

    def line(self, text: str) -> None:
        print(text)

    def one(self, record: Record, plain: str) -> None:
        """A single result: `plain` for people and for raw, the record for the structured formats."""
        match self.style:
            case None | Format.RAW:
                self.line(plain)
            case Format.TABLE:
                self._align([[key, _cell(value)] for key, value in _flat(record).items()])
            case _:
                self._structured(record)

    def data(self, record: Record, data: bytes) -> None:
        """A znode's data: the exact bytes, unless a terminal needs text that ends its line."""
        if self.style in (Format.TABLE, Format.JSON, Format.JSONL, Format.YAML):
            self.one(record, "")
        elif self.style is None and (self.terminal or not self._exact):
            text = as_text(data)
            self.line(repr(data)[2:-1] if text is None else text.removesuffix("\n"))
            if text is None:
                note(f"({len(data)} bytes that are no text, shown with escapes; -o raw gives them as they are)")
        else:
            sys.stdout.flush()
            sys.stdout.buffer.write(data)

    def many(self, columns: Sequence[str], plain: str | None = None) -> "Rows":
        """Results that come one after the other. `plain` names the column that is the whole line when nobody asked
        for a format."""
        return Rows(self, columns, plain)

    def _structured(self, value: Record | Sequence[Record]) -> None:
        match self.style:
            case Format.JSONL:
                self.line(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
            case Format.JSON:
                self.line(json.dumps(value, ensure_ascii=False, indent=2))
            case _:
                import yaml  # here, since few need it and its import takes 15 ms

                self.line(yaml.safe_dump(value, allow_unicode=True, sort_keys=False).rstrip("\n"))

    def _align(self, rows: Sequence[Sequence[str]], header: bool = False) -> None:
        """Columns side by side; numbers to the right. Nothing is cut off: a pipe must see all of it."""
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        body = rows[1:] if header else rows
        numeric = [all(row[i].isdecimal() for row in body if row[i] != NOTHING) for i in range(len(widths))]
        for number, row in enumerate(rows):
            cells = [
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(row, widths, numeric, strict=True)
            ]
            text = "  ".join(cells).rstrip()
            self.line(f"\x1b[1m{text}\x1b[0m" if header and number == 0 and self.terminal else text)


class Rows:
    """The rows of one result. What can be written at once is (lines, jsonl); a table or a json list at `close`."""

    def __init__(self, printer: Printer, columns: Sequence[str], plain: str | None) -> None:
        self._printer = printer
        self._columns = columns
        self._plain = plain
        self._kept: list[Record] = []

    def add(self, record: Record) -> None:
        match self._printer.style:
            case Format.JSONL:
                self._printer._structured(record)
            case Format.RAW:
                self._printer.line(_cell(record[self._plain or self._columns[0]]))
            case None if self._plain is not None:
                self._printer.line(_cell(record[self._plain]))
            case _:
                self._kept.append(record)

    def flush(self) -> None:
        """Let be seen what was written so far, also by a pipe."""
        sys.stdout.flush()

    def close(self) -> None:
        match self._printer.style:
            case Format.JSON | Format.YAML:
                self._printer._structured(self._kept)
            case Format.TABLE | None if self._kept:
                cells = [[_cell(record.get(column)) for column in self._columns] for record in self._kept]
                self._printer._align([list(self._columns), *cells], header=True)
            case _:
                pass


def _flat(record: Record) -> dict[str, Value]:
    flat: dict[str, Value] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat.update(value)
        else:
            flat[key] = value
    return flat


def _cell(value: object) -> str:
    match value:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case _:
            return str(value).replace("\n", "\\n")
