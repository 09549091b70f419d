"""MessagePack by hand, held against the library."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from zk.wire.packing import pack
from zk.wire.scalars import NIL, ScalarReader, write_array, write_binary, write_int, write_text

INT64 = st.integers(-(2**63), 2**63 - 1)
EDGES = sorted(
    {sign * (2**bits + step) for bits in (5, 7, 8, 15, 16, 31, 32, 63) for step in (-1, 0) for sign in (1, -1)}
)
TEXT = st.text(max_size=70)
BINARY = st.binary(max_size=300)
LONG_BYTES = (31, 32, 255, 256, 32_767, 32_768, 65_535, 65_536)


def written(value: int | str | bytes) -> bytes:
    out = BytesWriter()
    if isinstance(value, int):
        write_int(out, value)
    elif isinstance(value, str):
        write_text(out, value)
    else:
        write_binary(out, value)
    return out.getvalue()


def read(kind: type, data: bytes, at: int = 0) -> tuple[object, int]:
    """The value, and where it ends."""
    reader = ScalarReader(data, at)
    value = {int: reader.read_int, str: reader.read_text, bytes: reader.read_binary}[kind]()
    return value, reader.at


@given(INT64 | TEXT | BINARY)
def test_what_is_written_is_what_the_library_writes_and_is_read_again(value: int | str | bytes) -> None:
    data = written(value)
    assert data == pack(value)
    assert read(type(value), b"?" + data + b"?", 1) == (value, 1 + len(data))


@pytest.mark.parametrize("value", EDGES)
def test_integers_at_the_edges_of_their_forms_are_as_the_librarys(value: int) -> None:
    data = written(value)
    assert data == pack(value)
    if value < 2**63:
        assert read(int, data) == (value, len(data))


@pytest.mark.parametrize("size", LONG_BYTES)
def test_long_values_are_as_the_librarys(size: int) -> None:
    for value in ("t" * size, b"b" * size):
        data = written(value)
        assert data == pack(value)
        assert read(type(value), data) == (value, len(data))


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1])
def test_what_has_more_than_64_bits_is_not_written(value: int) -> None:
    with pytest.raises(OverflowError):
        written(value)


@pytest.mark.parametrize("value", [2**63, 2**64 - 1])
def test_what_has_more_than_63_bits_is_left_to_the_library(value: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        read(int, pack(value))


@pytest.mark.parametrize("value", [5, 200, 300, 70_000, 2**40, -1, -100, -200, -40_000, -(2**40)])
@pytest.mark.parametrize("form", [b"\xcc", b"\xcd", b"\xce", b"\xcf", b"\xd0", b"\xd1", b"\xd2", b"\xd3"])
def test_integers_in_a_longer_form_than_they_need_are_read(value: int, form: bytes) -> None:
    size, signed = 1 << (form[0] & 3), form >= b"\xd0"
    try:
        data = form + value.to_bytes(size, "big", signed=signed)
    except OverflowError:
        return  # it does not fit into this form
    assert read(int, data) == (value, len(data))


@given(INT64 | TEXT | BINARY, st.data())
def test_a_value_that_is_cut_off_is_an_index_error(value: int | str | bytes, data: st.DataObject) -> None:
    whole = written(value)
    with pytest.raises(IndexError):
        read(type(value), whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize("kind", [int, str, bytes])
@pytest.mark.parametrize("value", [7, -7, 2**40, "text", "t" * 40, b"bytes", None, True, 0.5, (1, 2), tuple(range(20))])
def test_another_kind_of_value_is_a_value_error(kind: type, value: object) -> None:
    if type(value) is not kind:
        with pytest.raises(ValueError, match="not a"):
            read(kind, pack(value))


def test_text_that_is_not_utf_8_is_a_value_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        read(str, b"\xa2\xff\xff")


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_an_array_begins_as_the_librarys(count: int) -> None:
    out = BytesWriter()
    write_array(out, count)
    begin = out.getvalue()
    assert begin == pack((None,) * count)[: len(begin)]
    assert ScalarReader(begin, 0).read_array() == count
    with pytest.raises(IndexError):
        ScalarReader(begin[:-1], 0).read_array()


@pytest.mark.parametrize("value", [7, "text", b"bytes", None])
def test_another_value_is_no_array(value: object) -> None:
    with pytest.raises(ValueError, match="not an array"):
        ScalarReader(pack(value), 0).read_array()


def test_only_the_expected_byte_is_skipped() -> None:
    reader = ScalarReader(pack((None, 1)), 0)
    assert [reader.skip(NIL), reader.skip(0x92), reader.skip(0x92), reader.skip(NIL), reader.read_int()] == [
        *(False, True, False, True),
        1,
    ]
