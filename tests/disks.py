"""Where servers keep their data in tests of something else than the disk.

A disk that others use as well may take seconds for a sync at any moment. Tests that measure time, or wait for less than
that, are tests of what happens in between, and of nothing if that is what they meet.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from zk.model.limits import MIB

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2_048 * MIB  # far more than a few servers set aside


@contextmanager
def quick_directory() -> Iterator[Path]:
    """A directory in memory, where the system has one with enough room; else on the disk for temporary files."""
    in_memory = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES
    with TemporaryDirectory(prefix="zk-", dir=MEMORY if in_memory else None) as directory:
        yield Path(directory)
