"""MessagePack as this project uses it. The one file that imports msgpack, so that its options stand in one place."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types: the names below have them

OutOfData: type[Exception] = msgpack.OutOfData
"""What a stream unpacker raises when the rest of a value has not arrived."""

MALFORMED = (ValueError, msgpack.UnpackException)
"""What unpacking raises at bytes that are not MessagePack, at text that is not UTF-8, and at anything over a limit."""

pack: Callable[[object], bytes] = msgpack.Packer().pack
"""Encode one value. Int subclasses count as ints. OverflowError above 64 bits, UnicodeEncodeError at surrogates."""

unpack: Callable[[bytes], object] = partial(msgpack.unpackb, use_list=False)
"""Decode exactly one value that one of our own servers encoded; arrays become tuples. Raises MALFORMED."""


class StreamUnpacker(Protocol):
    """The part of msgpack.Unpacker that is used here. It iterates over the values that are complete."""

    def feed(self, data: bytes, /) -> None: ...
    def __iter__(self) -> Iterator[object]: ...
    def skip(self) -> None: ...
    def tell(self) -> int: ...


def stream_unpacker(value_bytes_max: int, array_items_max: int) -> StreamUnpacker:
    """An unpacker for bytes that anybody may have sent: no maps, no extension types, no long arrays, no long values."""
    unpacker: StreamUnpacker = msgpack.Unpacker(
        use_list=False,
        read_size=4096,
        max_buffer_size=0,  # the frame reader counts what it feeds
        max_str_len=value_bytes_max,
        max_bin_len=value_bytes_max,
        max_array_len=array_items_max,
        max_map_len=0,
        max_ext_len=0,
    )
    return unpacker
