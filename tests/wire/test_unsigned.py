"""Unsigned integers, held against the standard library's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from librt.strings import BytesWriter

from zk.wire.unsigned import read_u16, read_u32, write_u16, write_u32, write_u64

WRITERS = {2: write_u16, 4: write_u32, 8: write_u64}
READERS = {2: read_u16, 4: read_u32}


def edges(size: int) -> list[int]:
    half = 1 << (8 * size - 1)
    return [0, 1, half - 1, half, 2 * half - 1]


def written(size: int, value: int) -> bytes:
    out = BytesWriter()
    WRITERS[size](out, value)
    return out.getvalue()


@given(st.sampled_from(sorted(WRITERS)), st.data())
def test_what_is_written_is_big_endian_and_is_read_again(size: int, data: st.DataObject) -> None:
    value = data.draw(st.integers(0, (1 << 8 * size) - 1) | st.sampled_from(edges(size)))
    encoded = written(size, value)
    assert encoded == value.to_bytes(size, "big")
    if size in READERS:
        assert READERS[size](b"?" + encoded + b"?", 1) == value


@pytest.mark.parametrize("size", sorted(WRITERS))
@pytest.mark.parametrize("excess", [-(1 << 64), -1, 1 << 64, 1 << 70])
def test_what_does_not_fit_is_refused(size: int, excess: int) -> None:
    for value in (excess, 1 << 8 * size):
        with pytest.raises(OverflowError):
            written(size, value)


@pytest.mark.parametrize("size", sorted(READERS))
def test_data_that_ends_too_early_is_an_index_error(size: int) -> None:
    with pytest.raises(IndexError):
        READERS[size](bytes(size), 1)
