"""MessagePack as this project uses it. The one file that imports msgpack, so that its options stand in one place."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

import msgpack  # type: ignore[import-untyped]  # msgpack ships no types: the names below have them

OutOfData: type[Exception] = msgpack.OutOfData
"""What a Walker raises when the rest of a value has not arrived."""

MALFORMED = (ValueError, msgpack.UnpackException)
"""What unpacking raises at bytes that are not MessagePack, at text that is not UTF-8, at maps and extension types."""

pack: Callable[[object], bytes] = msgpack.Packer().pack
"""Encode one value. Int subclasses count as ints. OverflowError above 64 bits, UnicodeEncodeError at surrogates."""

_Unpacker = partial(msgpack.Unpacker, use_list=False, max_buffer_size=0, max_map_len=0, max_ext_len=0)


def unpack(data: bytes) -> object:
    """Decode exactly one value; arrays become tuples. Raises MALFORMED."""
    value: object = msgpack.unpackb(data, use_list=False, max_map_len=0, max_ext_len=0)
    return value


class Walker(Protocol):
    """Walks over the values of a stream without building them."""

    def feed(self, data: bytes | bytearray, /) -> None:
        """Here are the next bytes."""

    def skip(self) -> None:
        """Walk to the end of the next value. OutOfData if it has not arrived: feed more, and skip goes on."""

    def tell(self) -> int:
        """How many bytes it has walked over."""


def new_walker() -> Walker:
    """A Walker at the beginning of a stream."""
    made: Walker = _Unpacker(read_size=4096)
    return made


def unpack_all(data: bytes | bytearray) -> Iterable[Any]:
    """The values that stand one behind the other in `data`. Raises MALFORMED."""
    unpacker = _Unpacker(read_size=len(data))
    unpacker.feed(data)
    values: Iterable[Any] = unpacker
    return values
